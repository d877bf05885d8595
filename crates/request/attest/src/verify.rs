//! From a text to verified attributes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{Compact, Digest, PublicKey, Sha256, Time};
use bailiwick_credential::trust::{Attestor, Method};
use bailiwick_outbound::Fetcher;
use serde_json::{Map, Value};

use crate::claims::{self, wrong};
use crate::content::ContentError;
use crate::error::AttestError;
use crate::issuer::IssuerProfile;
use crate::keys::KeyFinder;
use crate::method::{self, Seen, trust_domain};

/// Difference between clocks that is borne with.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// A token that nobody has verified. It says which registered issuer to look up, and nothing else.
#[derive(Debug)]
pub struct Evidence<'a> {
    pub(crate) token: Compact<'a>,
    pub(crate) claims: Map<String, Value>,
}

impl<'a> Evidence<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`AttestError::Token`].
    pub fn parse(text: &'a [u8]) -> Result<Self, AttestError> {
        let token = Compact::parse_foreign(text)?;
        let claims = token.untrusted_claims()?;
        Ok(Self { token, claims })
    }

    /// `iss` as it stands there.
    #[must_use]
    pub fn untrusted_issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// The trust domain of `sub` as it stands there, where it is a SPIFFE ID.
    #[must_use]
    pub fn untrusted_trust_domain(&self) -> Option<&str> {
        self.claims
            .get("sub")
            .and_then(Value::as_str)
            .and_then(trust_domain)
    }

    /// Whether an issuer may be meant.
    #[must_use]
    pub fn may_be_of(&self, method: Method, issuer: &str) -> bool {
        let is_id_jag = self.token.header().typ.as_deref() == Some(method::ID_JAG);
        match method {
            Method::Aws | Method::UnixPeer => false,
            Method::IdJag => is_id_jag && self.untrusted_issuer() == Some(issuer),
            _ if is_id_jag => false,
            Method::SpiffeJwt => self.untrusted_trust_domain() == Some(issuer),
            _ => self.untrusted_issuer() == Some(issuer),
        }
    }
}

/// A workload as its issuer vouched for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    /// Its issuer.
    pub issuer: IssuerProfile,
    /// What was read, by the names of the table.
    pub attributes: BTreeMap<String, String>,
    /// SHA-256 over issuer and token, for the record.
    pub token_hash: Digest,
    /// What may be taken once only, when this kind of issuer names each token.
    pub once: Option<Digest>,
    /// `iat`, or `nbf`, where it stands there.
    pub issued_at: Option<Time>,
    /// `exp`.
    pub expires_at: Time,
}

impl Attested {
    /// Whether it still counts: keys may have been fetched since it was verified.
    ///
    /// # Errors
    /// [`AttestError::Expired`].
    pub fn require_alive(&self, now: Time) -> Result<(), AttestError> {
        claims::require_unexpired(self.expires_at, LEEWAY, now)
    }
}

/// Verifies evidence. One per process.
pub struct Attester {
    attestors: BTreeMap<Method, Attestor>,
    keys: KeyFinder,
}

impl Attester {
    /// An attester that fetches keys through `fetcher`.
    ///
    /// # Errors
    /// [`ContentError`] when the content is damaged.
    pub fn new(fetcher: Arc<Fetcher>) -> Result<Self, ContentError> {
        let attestors = crate::attestors()?.into_iter().map(|a| (a.method, a)).collect();
        let keys = KeyFinder::new(fetcher);
        Ok(Self { attestors, keys })
    }

    /// What is known of a method.
    #[must_use]
    pub fn attestor(&self, method: Method) -> Option<&Attestor> {
        self.attestors.get(&method)
    }

    /// Verifies `evidence` as a token of `issuer` for `audience`.
    ///
    /// # Errors
    /// [`AttestError`].
    pub async fn verify(
        &self,
        evidence: &Evidence<'_>,
        issuer: &IssuerProfile,
        audience: &str,
        now: Time,
    ) -> Result<Attested, AttestError> {
        let attestor = self.attestors.get(&issuer.method).ok_or(AttestError::Issuer)?;
        if !evidence.may_be_of(issuer.method, &issuer.issuer) {
            return Err(AttestError::Issuer);
        }
        let (header, claims) = (evidence.token.header(), &evidence.claims);
        // What does not need the key is judged before anything is fetched: a token for somebody else, or of
        // yesterday, costs its issuer nothing.
        claims::require_audience(claims, audience)?;
        let expires_at = claims::require_alive(claims, attestor.lifetime_max_s, LEEWAY, now)?;
        let key = self.key_of(evidence, issuer).await?;
        evidence.token.verify(&key)?;
        let attributes = claims::attributes(claims, attestor)?;
        let seen = Seen {
            issuer,
            typ: header.typ.as_deref(),
            claims,
            attributes: &attributes,
        };
        method::require(issuer.method, &seen)?;
        let once = match (attestor.single_use, claims.get("jti")) {
            (false, None) => None,
            (false, Some(_)) if !attestor.single_use_if_named => None,
            (_, Some(Value::String(jti))) if (1..=512).contains(&jti.len()) => {
                Some(hash(issuer, jti.as_bytes()))
            }
            _ => return Err(wrong("jti", "it has to be text of 1 to 512 bytes")),
        };
        let begins = |name| claims.get(name).and_then(Value::as_i64).map(Time::from_secs);
        Ok(Attested {
            issuer: issuer.clone(),
            attributes,
            token_hash: hash(issuer, &evidence.token.untrusted_payload()?),
            once,
            issued_at: begins("iat").or_else(|| begins("nbf")),
            expires_at,
        })
    }
}

impl Attester {
    /// The key that a token names.
    pub(crate) async fn key_of(
        &self,
        evidence: &Evidence<'_>,
        issuer: &IssuerProfile,
    ) -> Result<Arc<PublicKey>, AttestError> {
        let kid = evidence.token.header().kid.as_deref();
        let kid = kid.ok_or(AttestError::Token(bailiwick_base::CompactError::Header(
            "`kid` is missing",
        )))?;
        self.keys.find(issuer, kid).await
    }
}

pub(crate) fn hash(issuer: &IssuerProfile, part: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    hash.update_field(issuer.tenant.as_str().as_bytes());
    hash.update_field(issuer.issuer.as_bytes());
    hash.update_field(part);
    hash.finish()
}
