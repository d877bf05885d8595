//! What whoever connects to others needs from outside; `server` connects each.

use bailiwick_base::{CredentialId, Secret};

use crate::dial::BoxFuture;

/// The credentials that upstream servers are opened with.
pub trait UpstreamSecrets: Send + Sync + 'static {
    /// The secret itself; `None` when it is revoked, expired or its key is not open.
    fn secret<'a>(&'a self, id: &'a CredentialId) -> BoxFuture<'a, Option<Secret<Vec<u8>>>>;
}

/// Starts background work; only `server` owns the runtime.
pub trait Spawner: Send + Sync + 'static {
    /// Runs `work` to its end, independent of the caller.
    fn spawn(&self, work: BoxFuture<'static, ()>);
}
