//! What opens an upstream server or a destination, asked for when a connection is made.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bailiwick_base::{Clock, CredentialId, Secret, Time};
use bailiwick_outbound::{BoxFuture, UpstreamSecrets};
use bailiwick_pep::SnapshotCell;
use bailiwick_store::{Store, StoreError};
use zeroize::Zeroizing;

use crate::effective::View;

/// The secrets of upstream servers, from the store.
pub struct Secrets {
    store: Store,
    cell: Arc<SnapshotCell>,
    base_url: String,
    clock: Arc<dyn Clock>,
    /// Of servers that are looked at before they are added.
    staged: Mutex<BTreeMap<CredentialId, Zeroizing<Vec<u8>>>>,
}

impl Secrets {
    /// Whose tokens `base_url` names, so that a mark on their issuer counts.
    #[must_use]
    pub fn new(store: Store, cell: Arc<SnapshotCell>, base_url: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            cell,
            base_url: base_url.to_owned(),
            clock,
            staged: Mutex::default(),
        }
    }

    /// Opens with `secret` what has no row yet, until [`Secrets::unstage`].
    pub fn stage(&self, id: &CredentialId, secret: &[u8]) {
        let secret = Zeroizing::new(secret.to_vec());
        self.staged().insert(id.clone(), secret);
    }

    /// Forgets what was staged.
    pub fn unstage(&self, id: &CredentialId) {
        self.staged().remove(id);
    }

    fn staged(&self) -> MutexGuard<'_, BTreeMap<CredentialId, Zeroizing<Vec<u8>>>> {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its own secret, or the one that consumers of a third-party credential are to use. None once it has expired or
    /// was revoked, and while the identity that such a credential belongs to is stopped.
    async fn kept(&self, id: &CredentialId, now: Time) -> Result<Option<Secret<Vec<u8>>>, StoreError> {
        let mut reader = self.store.reader(id.tenant()).await?;
        if let Some(own) = reader.credential().lookup(id).await? {
            return match own.expires_at > now {
                true => reader.credential().reveal(id).await,
                false => Ok(None),
            };
        }
        let Some(known) = reader.third_party().lookup(id).await? else {
            return Ok(None);
        };
        if known.ended().is_some() || known.expires_at <= now {
            return Ok(None);
        }
        if let Some(why) = View::at(&self.cell.load(), &self.base_url, now).stopped(&known.identity) {
            tracing::debug!(tenant = %id.tenant(), credential = %known.name, why, "a credential opens nothing");
            return Ok(None);
        }
        match known.offers_new() {
            true => reader.third_party().reveal_staged(id).await,
            false => reader.third_party().reveal(id).await,
        }
    }
}

impl UpstreamSecrets for Secrets {
    fn secret<'a>(&'a self, id: &'a CredentialId) -> BoxFuture<'a, Option<Secret<Vec<u8>>>> {
        Box::pin(async move {
            let staged = self.staged().get(id).map(|staged| Secret::new(staged.to_vec()));
            if staged.is_some() {
                return staged;
            }
            let found = self.kept(id, self.clock.now()).await;
            found.unwrap_or_else(|error: StoreError| {
                tracing::error!(%error, "an upstream credential could not be opened");
                None
            })
        })
    }
}
