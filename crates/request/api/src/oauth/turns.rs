//! Turns: documents that are fetched at once, shared out. Whoever asks for one has not been authenticated, and who
//! answers for one may be slow on purpose.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bailiwick_base::TenantId;

/// In all. Fewer than the fetcher itself runs at once, so that it is never the one to refuse.
const ALL_MAX: usize = 128;
/// For one tenant; fewer than the fetcher runs at once for it.
const PER_TENANT_MAX: usize = 16;
/// The same from one host.
const PER_HOST_MAX: usize = 4;

type Taken = BTreeMap<TenantId, BTreeMap<String, usize>>;

/// Turns that are taken, by tenant and host.
#[derive(Default, Clone)]
pub(super) struct Turns(Arc<Mutex<Taken>>);

/// A turn, until it is dropped.
pub(super) struct Turn {
    turns: Turns,
    tenant: TenantId,
    host: String,
}

impl Turns {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn for this tenant at this host, if there is one left.
    pub(super) fn take(&self, tenant: &TenantId, host: &str) -> Option<Turn> {
        let mut taken = self.taken();
        let all: usize = taken.values().flat_map(BTreeMap::values).sum();
        let of_tenant: usize = taken.get(tenant).map_or(0, |hosts| hosts.values().sum());
        let of_host = taken.get(tenant).and_then(|hosts| hosts.get(host)).copied();
        let of_host = of_host.unwrap_or_default();
        if all >= ALL_MAX || of_tenant >= PER_TENANT_MAX || of_host >= PER_HOST_MAX {
            return None;
        }
        let hosts = taken.entry(tenant.clone()).or_default();
        hosts.insert(host.to_owned(), of_host + 1);
        Some(Turn {
            turns: self.clone(),
            tenant: tenant.clone(),
            host: host.to_owned(),
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut taken = self.turns.taken();
        let Some(hosts) = taken.get_mut(&self.tenant) else {
            return;
        };
        if let Some(of_host) = hosts.get_mut(&self.host) {
            *of_host = of_host.saturating_sub(1);
        }
        hosts.retain(|_, of_host| *of_host > 0);
        if hosts.is_empty() {
            taken.remove(&self.tenant);
        }
    }
}
