//! Operator sessions: a one-minute JWT signed with the operator's own Ed25519 key.
//!
//! The service holds only public keys; nothing that it stores can impersonate an operator.

use std::time::Duration;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use axum::extract::FromRequestParts;
use bailiwick_base::{OperatorId, Time, json, limits};
use bailiwick_inventory::{Operator, installation};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use crate::Deps;
use crate::problem::RouteError;

/// `typ` of a session.
pub const SESSION_TYPE: &str = "bailiwick-session+jwt";
/// Longest life of a session.
pub const SESSION_TTL: Duration = Duration::from_secs(60);
/// How far the clocks of operator and service may be apart.
const SKEW: Duration = Duration::from_secs(30);

/// Who commands, authenticated.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) operator: OperatorId,
    /// `idempotency-key` of the request.
    pub(crate) idempotency: Option<String>,
    /// A second operator's session, in `bailiwick-countersign`.
    pub(crate) second: Option<OperatorId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    iat: i64,
    exp: i64,
    #[serde(rename = "jti")]
    _jti: String,
}

/// The bearer credential of a request: one header, the scheme in any case (RFC 9110 §11.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, credential) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| credential.trim_matches(' '))
}

fn refused(why: &str) -> RouteError {
    RouteError::new(
        StatusCode::UNAUTHORIZED,
        "session.invalid",
        format!("operator session refused: {why}"),
    )
    .hint("run `bailiwick claim` on the service's machine to become an operator")
}

impl FromRequestParts<Deps> for Session {
    type Rejection = RouteError;

    async fn from_request_parts(parts: &mut Parts, deps: &Deps) -> Result<Self, RouteError> {
        let bearer = bearer(&parts.headers).ok_or_else(|| refused("no session was sent"))?;
        let now = deps.clock.now();
        let operators = deps.operators.load();
        let operator = verify(bearer, &operators, &deps.base_url, now)?;
        let second = match parts
            .headers
            .get("bailiwick-countersign")
            .and_then(|v| v.to_str().ok())
        {
            None => None,
            Some(text) => Some(verify(text, &operators, &deps.base_url, now)?),
        };
        if second.as_ref() == Some(&operator) {
            return Err(refused("the countersignature is by the same operator"));
        }
        let idempotency = match parts.headers.get("idempotency-key").map(|v| v.to_str()) {
            None => None,
            Some(Ok(key)) if (8..=128).contains(&key.len()) => Some(key.to_owned()),
            Some(_) => {
                return Err(RouteError::invalid(
                    "idempotency.malformed",
                    "idempotency-key must be 8 to 128 characters",
                ));
            }
        };
        Ok(Self {
            operator,
            idempotency,
            second,
        })
    }
}

/// Signature first; nothing of the claims is believed before it holds.
fn verify(token: &str, operators: &[Operator], base_url: &str, now: Time) -> Result<OperatorId, RouteError> {
    if token.len() > limits::TOKEN_MAX {
        return Err(refused("too long"));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(refused("not a compact JWT"));
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| refused("not base64url"));
    let parsed: Header =
        json::parse_as(&decode(header)?, limits::TOKEN_MAX).map_err(|_| refused("header not understood"))?;
    if parsed.alg != "EdDSA" || parsed.typ != SESSION_TYPE {
        return Err(refused("not an operator session"));
    }
    let claims_bytes = decode(claims)?;
    let parsed: Claims =
        json::parse_as(&claims_bytes, limits::TOKEN_MAX).map_err(|_| refused("claims not understood"))?;
    let id = OperatorId::parse(&installation(), &parsed.iss).map_err(|_| refused("no such operator"))?;
    let operator = operators
        .iter()
        .find(|o| o.id == id)
        .ok_or_else(|| refused("no such operator"))?;
    let signed = token.len() - signature.len() - 1;
    let message = token
        .as_bytes()
        .get(..signed)
        .ok_or_else(|| refused("not a compact JWT"))?;
    UnparsedPublicKey::new(&ED25519, operator.public_key)
        .verify(message, &decode(signature)?)
        .map_err(|_| refused("signature does not hold"))?;
    let (issued, expires) = (Time::from_secs(parsed.iat), Time::from_secs(parsed.exp));
    if parsed.aud != base_url {
        return Err(refused("made for another installation"));
    }
    if expires <= now
        || issued > now.after(SKEW)
        || expires > issued.after(SESSION_TTL)
        || expires > now.after(SESSION_TTL + SKEW)
    {
        return Err(refused(
            "expired, not yet valid, or too long-lived; compare the clocks",
        ));
    }
    Ok(id)
}
