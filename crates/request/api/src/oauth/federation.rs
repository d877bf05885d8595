//! Workloads of other issuers: what is needed to verify them, and what was used.

use bailiwick_attest::{Attested, Attester};
use bailiwick_base::{Digest, Sha256, TenantId, Time};
use bailiwick_pep::token::{ReplayMemory, Seen};

/// Evidence that is remembered as used, in all.
const REMEMBERED_MAX: usize = 262_144;
/// The same for one issuer of one tenant.
const REMEMBERED_PER_ISSUER_MAX: usize = 65_536;

/// Verifies workloads, and remembers what may be used once. One per process.
pub struct Federation {
    pub(crate) attester: Attester,
    used: ReplayMemory,
    started_at: Time,
    /// Held while a rule is added: an issuer speaks for one tenant, also when two are faster than the snapshot.
    pub(crate) adding: tokio::sync::Mutex<()>,
}

/// Why evidence that is whole is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsedError {
    #[error("evidence was used before: ask the platform for a new token for every request")]
    Before,
    #[error("evidence was made before this server started: ask the platform for a new token")]
    TooEarly,
    #[error("too much evidence at once from this issuer: wait a few minutes")]
    TooMany,
}

impl Federation {
    /// What is made before `started_at` may have been used before, and is refused where once is the rule.
    #[must_use]
    pub fn new(attester: Attester, started_at: Time) -> Self {
        Self {
            attester,
            used: ReplayMemory::new(REMEMBERED_MAX, REMEMBERED_PER_ISSUER_MAX),
            started_at: Time::from_secs(started_at.secs()),
            adding: tokio::sync::Mutex::new(()),
        }
    }

    /// Uses evidence up, where its issuer names each token.
    pub(crate) fn take(&self, tenant: &TenantId, attested: &Attested, now: Time) -> Result<(), UsedError> {
        let Some(token) = attested.once else {
            return Ok(());
        };
        if attested.issued_at.is_none_or(|at| at < self.started_at) {
            return Err(UsedError::TooEarly);
        }
        // A minute past its end covers the leeway with which ends are judged.
        let ends_at = attested.expires_at.after(std::time::Duration::from_secs(60));
        match self
            .used
            .take(owner(tenant, &attested.issuer.issuer), token, ends_at, now)
        {
            Ok(()) => Ok(()),
            Err(Seen::Before) => Err(UsedError::Before),
            Err(Seen::Full) => Err(UsedError::TooMany),
        }
    }
}

fn owner(tenant: &TenantId, issuer: &str) -> Digest {
    let mut hash = Sha256::new();
    hash.update_field(tenant.as_str().as_bytes());
    hash.update_field(issuer.as_bytes());
    hash.finish()
}
