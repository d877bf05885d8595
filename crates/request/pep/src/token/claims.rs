//! The claims every access token has (RFC 9068 §2.2) plus the tenant.

use bailiwick_base::limits::{ACT_DEPTH_MAX, TEXT_MAX};
use bailiwick_base::{TenantId, Time};
use bailiwick_credential::Confirmation;
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::error::TokenError;
use super::keys::IssuerKeys;
use super::verifier::VerifierConfig;

/// The largest `NumericDate` that is read: year 9999.
const SECONDS_MAX: i64 = 253_402_300_799;

/// The claims of RFC 9068, read strictly and bound to the issuer. Stage one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// `sub`.
    pub subject: String,
    /// `client_id`.
    pub client: String,
    /// `jti`.
    pub token: String,
    /// `tenant`, equal to the issuer's.
    pub tenant: TenantId,
    /// `iat`.
    pub issued_at: Time,
    /// `exp`.
    pub expires_at: Time,
    /// `nbf`.
    pub not_before: Option<Time>,
    /// `scope`, as it stands there.
    pub scope: String,
    /// The actors (RFC 8693 §4.1), outermost first.
    pub actors: SmallVec<[String; 2]>,
    /// `cnf`.
    pub confirmation: Option<Confirmation>,
}

impl Registered {
    /// Reads the claims of a token whose signature was verified with a key of `issuer`.
    pub(super) fn read(
        members: &Map<String, Value>,
        issuer: &IssuerKeys,
        config: &VerifierConfig,
    ) -> Result<Self, TokenError> {
        if !is_audience(members.get("aud"), issuer.audience()) {
            return Err(TokenError::Audience);
        }
        if members.get("tenant").and_then(Value::as_str) != Some(issuer.tenant().as_str()) {
            return Err(TokenError::Tenant);
        }
        let (issued_at, expires_at) = (seconds(members, "iat")?, seconds(members, "exp")?);
        let not_before = members
            .contains_key("nbf")
            .then(|| seconds(members, "nbf"))
            .transpose()?;
        if expires_at <= issued_at || expires_at.since(issued_at) > config.lifetime_max {
            return Err(TokenError::Lifetime);
        }
        Ok(Self {
            subject: text(members, "sub")?,
            client: text(members, "client_id")?,
            token: text(members, "jti")?,
            tenant: issuer.tenant().clone(),
            issued_at,
            expires_at,
            not_before,
            scope: match members.get("scope") {
                None => String::new(),
                Some(Value::String(scope)) => scope.clone(),
                Some(_) => {
                    return Err(TokenError::Claim {
                        claim: "scope",
                        rule: "it has to be text",
                    });
                }
            },
            actors: actors(members)?,
            confirmation: Confirmation::from_claims(members)?,
        })
    }

    /// Whether the token is alive now. Asked on every use, remembered or not.
    ///
    /// # Errors
    /// [`TokenError::Expired`], [`TokenError::NotYetValid`].
    pub(super) fn require_alive(&self, config: &VerifierConfig, now: Time) -> Result<(), TokenError> {
        if now >= self.expires_at.after(config.leeway) {
            return Err(TokenError::Expired);
        }
        let latest = now.after(config.leeway);
        if self.issued_at > latest || self.not_before.is_some_and(|at| at > latest) {
            return Err(TokenError::NotYetValid);
        }
        Ok(())
    }
}

/// Exactly one audience, ours, byte for byte; as text or as a list of one (RFC 7519 §4.1.3).
pub(super) fn is_audience(value: Option<&Value>, ours: &str) -> bool {
    match value {
        Some(Value::String(one)) => one == ours,
        Some(Value::Array(list)) => matches!(list.as_slice(), [Value::String(one)] if one == ours),
        _ => false,
    }
}

pub(super) fn seconds(members: &Map<String, Value>, claim: &'static str) -> Result<Time, TokenError> {
    match members.get(claim).and_then(Value::as_i64) {
        Some(at) if (0..=SECONDS_MAX).contains(&at) => Ok(Time::from_secs(at)),
        _ => Err(TokenError::Claim {
            claim,
            rule: "it has to be a whole number of seconds",
        }),
    }
}

pub(super) fn text(members: &Map<String, Value>, claim: &'static str) -> Result<String, TokenError> {
    match members.get(claim) {
        Some(Value::String(text)) if is_plain(text) => Ok(text.clone()),
        _ => Err(TokenError::Claim {
            claim,
            rule: "it has to be text of 1 to 256 bytes without control characters",
        }),
    }
}

fn is_plain(text: &str) -> bool {
    (1..=TEXT_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Each level an object that names its `sub`; nobody twice with the same issuer.
fn actors(members: &Map<String, Value>) -> Result<SmallVec<[String; 2]>, TokenError> {
    let mut chain: SmallVec<[String; 2]> = SmallVec::new();
    let mut seen: SmallVec<[(Option<&Value>, &str); 4]> = SmallVec::new();
    let mut next = members.get("act");
    while let Some(level) = next {
        let level = level
            .as_object()
            .ok_or(TokenError::Actors("every level has to be an object"))?;
        let subject = match level.get("sub") {
            Some(Value::String(subject)) if is_plain(subject) => subject,
            _ => return Err(TokenError::Actors("every level has to name its `sub`")),
        };
        let actor = (level.get("iss"), subject.as_str());
        if seen.contains(&actor) {
            return Err(TokenError::Actors("nobody may act twice in it"));
        }
        if chain.len() == ACT_DEPTH_MAX {
            return Err(TokenError::Actors("it is longer than 4"));
        }
        seen.push(actor);
        chain.push(subject.clone());
        next = level.get("act");
    }
    Ok(chain)
}
