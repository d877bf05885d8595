//! What was verified before, by the hash of the whole token.
//!
//! A caller cannot choose the key: it is SHA-256 over every byte of the token, header and signature included.
//! Only the work of verifying is saved. Tenant, key set and clock are compared again on every use, and whether
//! anything was revoked is decided for every call elsewhere.

use std::sync::Arc;

use bailiwick_base::{Digest, TenantId};
use quick_cache::sync::Cache;

use super::claims::Registered;
use super::keys::IssuerKeys;
use super::profile::Profile;

pub(super) struct Entry<P: Profile> {
    /// For the clock.
    pub(super) registered: Registered,
    pub(super) claims: P::Claims,
    pub(super) issuer: Arc<IssuerKeys>,
}

pub(super) struct VerifiedCache<P: Profile>(Option<Cache<Digest, Arc<Entry<P>>>>);

impl<P: Profile> VerifiedCache<P> {
    /// Remembers so many tokens; none for zero.
    pub(super) fn new(capacity: usize) -> Self {
        Self((capacity > 0).then(|| Cache::new(capacity)))
    }

    pub(super) fn lookup(&self, token: &Digest) -> Option<Arc<Entry<P>>> {
        self.0.as_ref()?.get(token)
    }

    pub(super) fn insert(&self, token: Digest, entry: Arc<Entry<P>>) {
        if let Some(cache) = &self.0 {
            cache.insert(token, entry);
        }
    }

    pub(super) fn remove(&self, token: &Digest) {
        if let Some(cache) = &self.0 {
            cache.remove(token);
        }
    }

    /// Forgets a whole tenant.
    pub(super) fn forget(&self, tenant: &TenantId) {
        if let Some(cache) = &self.0 {
            cache.retain(|_, entry| entry.registered.tenant != *tenant);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, Cache::len)
    }
}
