//! Where a token becomes a caller.

use std::collections::BTreeMap;

use bailiwick_base::{TenantId, Time};
use bailiwick_pep::token::{TokenError, VerifiedToken, Verifier};
use uuid::Uuid;

use super::bug::Bug;

/// The verifier of the product, with room for a defect in front of it.
pub(crate) struct Door {
    verifier: Verifier,
    /// Planted: what was verified before, by `jti` alone.
    remembered: Option<BTreeMap<Uuid, VerifiedToken>>,
}

impl Door {
    pub(crate) fn new(verifier: Verifier, bug: Option<Bug>) -> Self {
        Self {
            verifier,
            remembered: (bug == Some(Bug::CacheWithoutTenant)).then(BTreeMap::new),
        }
    }

    pub(crate) fn verify(
        &mut self,
        tenant: &TenantId,
        token: &[u8],
        now: Time,
    ) -> Result<VerifiedToken, TokenError> {
        let verified = self.verifier.verify(tenant, token, now)?;
        let Some(remembered) = &mut self.remembered else {
            return Ok(verified);
        };
        let first = remembered.entry(verified.claims.token.uuid());
        Ok(first.or_insert(verified).clone())
    }
}
