//! What works once works once in the whole installation: a node that takes it asks the store that all share.

use std::time::Duration;

use bailiwick_base::{Digest, Sha256, TenantId, Time};
use bailiwick_store::{Once, OnceKind};
use http::StatusCode;

use super::error::OauthError;
use crate::Deps;

/// How long the store may take to say whether another node took it.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long a name is kept past the end of what it names: more than any leeway with which ends are judged.
const KEPT: Duration = Duration::from_secs(120);

/// The name of what this issuer names so.
pub(super) fn of_issuer(issuer: &str, once: Digest) -> Digest {
    let mut hash = Sha256::new();
    hash.update_field(issuer.as_bytes());
    hash.update_field(&once.0);
    hash.finish()
}

/// Uses up, at every node, what ends then; this node has looked at its own memory before.
///
/// # Errors
/// `replayed` when another node took it; 503 when nobody can tell.
pub(super) async fn require_first(
    deps: &Deps,
    tenant: &TenantId,
    (once, ends_at): (Digest, Time),
    replayed: impl FnOnce() -> OauthError,
) -> Result<(), OauthError> {
    let what = Once {
        kind: OnceKind::Assertion,
        once,
        asked: None,
        ends_at: ends_at.after(KEPT),
    };
    let taking = deps.store.take_once(tenant, what, deps.clock.now());
    match tokio::time::timeout(ANSWER_MAX, taking).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(replayed()),
        Ok(Err(_)) | Err(_) => Err(OauthError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            "the store that all nodes share does not answer: ask again with a new assertion".to_owned(),
        )),
    }
}
