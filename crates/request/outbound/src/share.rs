//! Shares: fetches that run at once, shared out among tenants. A server that one tenant trusts may be slow on purpose,
//! and whoever makes it be asked may be a stranger; neither takes the places of the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bailiwick_base::TenantId;

/// What runs for each tenant.
pub(crate) struct Shares {
    each_max: usize,
    taken: Mutex<BTreeMap<TenantId, usize>>,
}

/// A place, until it is dropped.
pub(crate) struct Share {
    shares: Arc<Shares>,
    tenant: TenantId,
}

impl Shares {
    pub(crate) fn new(each_max: usize) -> Arc<Self> {
        Arc::new(Self {
            each_max,
            taken: Mutex::default(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<TenantId, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for this tenant, if it has one left.
    pub(crate) fn take(self: &Arc<Self>, tenant: &TenantId) -> Option<Share> {
        let mut taken = self.taken();
        let of_tenant = taken.get(tenant).copied().unwrap_or_default();
        if of_tenant >= self.each_max {
            return None;
        }
        taken.insert(tenant.clone(), of_tenant + 1);
        Some(Share {
            shares: Arc::clone(self),
            tenant: tenant.clone(),
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        match taken.get_mut(&self.tenant) {
            Some(of_tenant) if *of_tenant > 1 => *of_tenant -= 1,
            _ => {
                taken.remove(&self.tenant);
            }
        }
    }
}
