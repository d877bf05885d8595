//! Security event tokens of transmitters that an operator registered (RFC 8417, SSF 1.0 §10).

use std::time::Duration;

use bailiwick_base::{Digest, Time, canonical};
use serde_json::{Map, Value, json};

use crate::claims::{self, wrong};
use crate::error::AttestError;
use crate::issuer::IssuerProfile;
use crate::verify::{Attester, Evidence, LEEWAY, hash};

/// Their type (RFC 8417 §2.3).
const SECURITY_EVENT: &str = "secevent+jwt";
/// How old one may be: less than the day for which it is known which ones came before.
const AGE_MAX: Duration = Duration::from_secs(23 * 3_600);

/// What a transmitter tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Its name, for this transmitter alone.
    pub once: Digest,
    /// What it says, however often it is signed: a transmitter that heard no answer sends the same with another
    /// signature, from another key or at another time.
    pub content: Digest,
    /// `jti`.
    pub jti: String,
    /// About whom.
    pub subject: Value,
    /// The one event, by its type.
    pub events: Map<String, Value>,
}

impl Attester {
    /// Verifies what `transmitter` tells `audience`.
    ///
    /// # Errors
    /// [`AttestError`]: which claim, or the key.
    pub async fn verify_event(
        &self,
        evidence: &Evidence<'_>,
        transmitter: &IssuerProfile,
        audience: &str,
        now: Time,
    ) -> Result<Told, AttestError> {
        let (header, members) = (evidence.token.header(), &evidence.claims);
        if header.typ.as_deref() != Some(SECURITY_EVENT) {
            return Err(AttestError::Type);
        }
        if evidence.untrusted_issuer() != Some(transmitter.issuer.as_str()) {
            return Err(AttestError::Issuer);
        }
        claims::require_audience(members, audience)?;
        for absent in ["exp", "sub"] {
            if members.contains_key(absent) {
                return Err(wrong(absent, "a security event token does not have it"));
            }
        }
        let issued_at = members.get("iat").and_then(Value::as_i64).map(Time::from_secs);
        let issued_at = issued_at.ok_or_else(|| wrong("iat", "it has to be a whole number of seconds"))?;
        if issued_at > now.after(LEEWAY) {
            return Err(AttestError::NotYetValid);
        }
        if now.since(issued_at) >= AGE_MAX {
            return Err(AttestError::Expired);
        }
        let jti = members
            .get("jti")
            .and_then(Value::as_str)
            .filter(|jti| (1..=512).contains(&jti.len()))
            .ok_or_else(|| wrong("jti", "it has to be text of 1 to 512 bytes"))?;
        let events = members
            .get("events")
            .and_then(Value::as_object)
            .filter(|events| events.len() == 1 && events.values().all(Value::is_object))
            .ok_or_else(|| {
                wrong(
                    "events",
                    "it has to be an object of one event, which is an object",
                )
            })?;
        let subject = members
            .get("sub_id")
            .filter(|subject| subject.is_object())
            .ok_or_else(|| wrong("sub_id", "it has to be a subject identifier"))?;
        let key = self.key_of(evidence, transmitter).await?;
        evidence.token.verify(&key)?;
        let content = canonical::to_vec(&json!({"jti": jti, "sub_id": subject, "events": events}))
            .map_err(|_| wrong("events", "it has no canonical form"))?;
        Ok(Told {
            once: hash(transmitter, jti.as_bytes()),
            content: Digest::of(&content),
            jti: jti.to_owned(),
            subject: subject.clone(),
            events: events.clone(),
        })
    }
}
