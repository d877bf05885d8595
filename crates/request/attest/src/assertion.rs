//! Assertions of parties that have no trust rule: a client that describes itself proves that it holds its key.

use bailiwick_base::{Digest, Time};
use serde_json::Value;

use crate::claims::{self, wrong};
use crate::error::AttestError;
use crate::issuer::IssuerProfile;
use crate::verify::{Attester, Evidence, LEEWAY, hash};

/// The longest life of an assertion.
const LIFETIME_MAX_S: u64 = 300;

/// An assertion that holds, to be used once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asserted {
    /// SHA-256 over tenant, party and `jti`.
    pub once: Digest,
    /// `iat`.
    pub issued_at: Time,
    /// `exp`.
    pub expires_at: Time,
}

impl Attester {
    /// Verifies that `party` itself signed `evidence` for `audience` (RFC 7523 §3): `iss` and `sub` are its name.
    ///
    /// # Errors
    /// [`AttestError`].
    pub async fn verify_own(
        &self,
        evidence: &Evidence<'_>,
        party: &IssuerProfile,
        audience: &str,
        now: Time,
    ) -> Result<Asserted, AttestError> {
        let (header, members) = (evidence.token.header(), &evidence.claims);
        if !matches!(
            header.typ.as_deref(),
            None | Some("jwt" | "client-authentication+jwt")
        ) {
            return Err(AttestError::Type);
        }
        let named = |claim: &str| members.get(claim).and_then(Value::as_str) == Some(party.issuer.as_str());
        if !named("iss") || !named("sub") {
            return Err(AttestError::Issuer);
        }
        claims::require_audience(members, audience)?;
        let expires_at = claims::require_alive(members, LIFETIME_MAX_S, LEEWAY, now)?;
        let issued_at = members.get("iat").and_then(Value::as_i64).map(Time::from_secs);
        let issued_at = issued_at.ok_or_else(|| wrong("iat", "it has to be a whole number of seconds"))?;
        let jti = members
            .get("jti")
            .and_then(Value::as_str)
            .filter(|jti| (1..=512).contains(&jti.len()));
        let jti = jti.ok_or_else(|| wrong("jti", "it has to be text of 1 to 512 bytes"))?;
        let key = self.key_of(evidence, party).await?;
        evidence.token.verify(&key)?;
        Ok(Asserted {
            once: hash(party, jti.as_bytes()),
            issued_at,
            expires_at,
        })
    }
}
