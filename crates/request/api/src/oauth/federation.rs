//! Workloads of other issuers: what is needed to verify them, and what was used.

use std::sync::Arc;

use bailiwick_attest::{Attested, Attester, LEEWAY, StsAttester};
use bailiwick_base::{Digest, Sha256, TenantId, Time};
use bailiwick_outbound::Fetcher;
use bailiwick_pep::token::{ReplayMemory, Seen};

use super::strangers::Strangers;
use super::turns::Turns;

/// Evidence that is remembered as used, in all.
const REMEMBERED_MAX: usize = 262_144;
/// The same for one issuer of one tenant.
const REMEMBERED_PER_ISSUER_MAX: usize = 65_536;

/// Verifies workloads, and remembers what may be used once. One per process.
pub struct Federation {
    pub(crate) attester: Attester,
    pub(crate) sts: Option<StsAttester>,
    /// Fetches documents of clients.
    pub(crate) documents: Fetcher,
    /// How many of them are fetched at once.
    pub(super) turns: Turns,
    /// What the log says of those who are not known.
    pub(super) strangers: Strangers,
    used: ReplayMemory,
    started_at: Time,
    /// Held while a rule is added: an issuer speaks for one tenant, also when two are faster than the snapshot.
    pub(crate) adding: Arc<tokio::sync::Mutex<()>>,
}

/// Why evidence that is whole is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsedError {
    #[error("evidence was used before: ask the platform for a new token for every request")]
    Before,
    #[error(
        "evidence may have been used before this server started: ask the platform for a new token in {0} s"
    )]
    TooEarly(u64),
    #[error("too much evidence at once from this issuer: wait a few minutes")]
    TooMany,
}

impl Federation {
    /// What is made before `started_at` may have been used before, and is refused where once is the rule.
    #[must_use]
    pub fn new(attester: Attester, documents: Fetcher, started_at: Time) -> Self {
        Self {
            attester,
            sts: None,
            documents,
            turns: Turns::default(),
            strangers: Strangers::default(),
            used: ReplayMemory::new(REMEMBERED_MAX, REMEMBERED_PER_ISSUER_MAX),
            started_at,
            adding: Arc::default(),
        }
    }

    /// With a way to ask AWS who signed a request.
    #[must_use]
    pub fn with_sts(self, sts: StsAttester) -> Self {
        Self {
            sts: Some(sts),
            ..self
        }
    }

    /// Uses evidence up, where its issuer names each token. The issuer has been trusted `since`.
    pub(crate) fn take(
        &self,
        tenant: &TenantId,
        attested: &Attested,
        since: Time,
        now: Time,
    ) -> Result<(), UsedError> {
        let once = (attested.once, attested.issued_at, attested.expires_at);
        self.take_once(tenant, &attested.issuer.issuer, once, since, now)
    }

    /// The same for whatever names each of its tokens: the name, when it was made, and when it ends.
    pub(crate) fn take_once(
        &self,
        tenant: &TenantId,
        issuer: &str,
        (once, issued_at, expires_at): (Option<Digest>, Option<Time>, Time),
        since: Time,
        now: Time,
    ) -> Result<(), UsedError> {
        let Some(token) = once else {
            return Ok(());
        };
        self.require_unused(issued_at, since, now)?;
        // A minute past its end covers the leeway with which ends are judged.
        let ends_at = expires_at.after(std::time::Duration::from_secs(60));
        match self.used.take(owner(tenant, issuer), token, ends_at, now) {
            Ok(()) => Ok(()),
            Err(Seen::Before) => Err(UsedError::Before),
            Err(Seen::Full) => Err(UsedError::TooMany),
        }
    }

    /// Whatever passed before the start up to its very instant may have been used then, and is not remembered; by
    /// the leeway it may say that it was made later. An issuer that is trusted only since then vouched for nothing
    /// before, as long as the token is no older than that trust.
    fn require_unused(&self, issued_at: Option<Time>, since: Time, now: Time) -> Result<(), UsedError> {
        let usable_before = self.started_at.after(LEEWAY);
        let is_later = |at: Time| at > usable_before || since >= self.started_at && at.secs() >= since.secs();
        if issued_at.is_some_and(is_later) {
            return Ok(());
        }
        let first = usable_before.secs().saturating_add(1);
        let wait = u64::try_from(first.saturating_sub(now.secs())).unwrap_or_default();
        Err(UsedError::TooEarly(wait))
    }
}

fn owner(tenant: &TenantId, issuer: &str) -> Digest {
    let mut hash = Sha256::new();
    hash.update_field(tenant.as_str().as_bytes());
    hash.update_field(issuer.as_bytes());
    hash.finish()
}
