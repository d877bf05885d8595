//! Which keys may speak for which tenant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bailiwick_base::{PublicKey, TenantId};

/// The keys of one issuer, the tenant it speaks for, and the audience its tokens are for.
#[derive(Debug, Clone)]
pub struct IssuerKeys {
    issuer: String,
    tenant: TenantId,
    audience: String,
    keys: BTreeMap<String, Arc<PublicKey>>,
    /// Different for every published set; what was verified under another one is verified again.
    generation: u64,
}

impl IssuerKeys {
    /// `iss`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The one tenant it speaks for.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The one audience of its access tokens.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.audience
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn lookup(&self, kid: &str) -> Option<&Arc<PublicKey>> {
        self.keys.get(kid)
    }
}

/// Every issuer this node believes. Published by the server when keys change; never by a token.
#[derive(Debug)]
pub struct KeySource {
    issuers: ArcSwap<BTreeMap<String, Arc<IssuerKeys>>>,
    generations: AtomicU64,
}

impl KeySource {
    /// No issuer: every token is refused.
    #[must_use]
    pub fn new() -> Self {
        Self {
            issuers: ArcSwap::default(),
            generations: AtomicU64::new(1),
        }
    }

    /// Publishes the keys of an issuer by their `kid`, in place of those before. An empty issuer or audience
    /// would match nothing on purpose and is not published.
    pub fn publish(
        &self,
        issuer: &str,
        tenant: &TenantId,
        audience: &str,
        keys: impl IntoIterator<Item = (String, Arc<PublicKey>)>,
    ) {
        if issuer.is_empty() || audience.is_empty() {
            return;
        }
        let published = Arc::new(IssuerKeys {
            issuer: issuer.to_owned(),
            tenant: tenant.clone(),
            audience: audience.to_owned(),
            keys: keys.into_iter().collect(),
            generation: self.generations.fetch_add(1, Ordering::Relaxed),
        });
        self.issuers.rcu(|before| {
            let mut after = BTreeMap::clone(before);
            after.insert(issuer.to_owned(), published.clone());
            after
        });
    }

    /// Forgets an issuer: its tokens are refused at once, remembered or not.
    pub fn withdraw(&self, issuer: &str) {
        self.issuers.rcu(|before| {
            let mut after = BTreeMap::clone(before);
            after.remove(issuer);
            after
        });
    }

    /// The keys of an issuer, byte for byte.
    #[must_use]
    pub fn lookup(&self, issuer: &str) -> Option<Arc<IssuerKeys>> {
        self.issuers.load().get(issuer).cloned()
    }
}

impl Default for KeySource {
    fn default() -> Self {
        Self::new()
    }
}
