//! Who calls: the token of the message and the proof it needs, and the challenges that answer a bad one (RFC 6750,
//! RFC 9449, RFC 9728).

use axum::response::Response;
use bailiwick_base::TenantId;
use bailiwick_decide::Bearer;
use bailiwick_pep::Denial;
use bailiwick_pep::token::{NONCE_HEADER, Presented, ProofVerifier, TokenError};
use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use super::respond;
use crate::gateway::Gateway;

pub(super) fn require(
    gateway: &Gateway,
    tenant: &TenantId,
    presented: &Presented<'_>,
) -> Result<Bearer, Box<Response>> {
    if !presented.headers.contains_key(AUTHORIZATION) {
        let body = respond::problem("token.missing", "send an access token");
        return Err(Box::new(challenge(gateway, tenant, None, body)));
    }
    let verified = gateway
        .authenticator
        .verify(tenant, presented, gateway.clock.now());
    let refused = |error| Box::new(refused(gateway, tenant, presented, error));
    let bearer = verified.map_err(refused)?;
    if bearer.claims.tenant != *tenant {
        let text = "the token is another tenant's";
        let body = respond::problem("token.wrong-tenant", text);
        return Err(Box::new(challenge(gateway, tenant, Some(text), body)));
    }
    Ok(bearer)
}

/// HTTP 401 for a token, or for the proof beside it, under the scheme in which it would do.
fn refused(gateway: &Gateway, tenant: &TenantId, presented: &Presented<'_>, error: TokenError) -> Response {
    let (code, text) = match error {
        TokenError::Bearer => (
            "token.malformed",
            "the Authorization header is not of the form Bearer TOKEN or DPoP TOKEN".to_owned(),
        ),
        _ => (error.code(), error.to_string()),
    };
    let body = respond::problem(code, &text);
    if !presented.is_proving() && error != TokenError::SenderConstrained {
        return challenge(gateway, tenant, Some(&text), body);
    }
    let code = match error {
        TokenError::Proof(error) => error.oauth(),
        _ => "invalid_token",
    };
    let value = format!(
        "{}, error=\"{code}\", error_description=\"{}\"",
        proving(gateway, tenant),
        quoted(&text)
    );
    challenged(StatusCode::UNAUTHORIZED, &value, body)
}

/// HTTP 401. `error` only when a token was sent (RFC 6750 §3.1); without one, both schemes are offered.
fn challenge(gateway: &Gateway, tenant: &TenantId, invalid: Option<&str>, body: Bytes) -> Response {
    let mut value = format!("Bearer resource_metadata=\"{}\"", metadata_url(gateway, tenant));
    if let Some(text) = invalid {
        value.push_str(&format!(
            ", error=\"invalid_token\", error_description=\"{}\"",
            quoted(text)
        ));
    }
    let mut response = challenged(StatusCode::UNAUTHORIZED, &value, body);
    if invalid.is_none()
        && let Ok(value) = HeaderValue::from_str(&proving(gateway, tenant))
    {
        response.headers_mut().append(WWW_AUTHENTICATE, value);
    }
    response
}

/// The challenge to prove possession (RFC 9449 §7.1).
fn proving(gateway: &Gateway, tenant: &TenantId) -> String {
    let algorithms = ProofVerifier::ALGORITHMS.map(|algorithm| algorithm.as_str());
    format!(
        "DPoP algs=\"{}\", resource_metadata=\"{}\"",
        algorithms.join(" "),
        metadata_url(gateway, tenant)
    )
}

/// Gives whoever proves the nonce for the next time (RFC 9449 §8.2).
pub(super) fn with_nonce(gateway: &Gateway, proving: bool, mut response: Response) -> Response {
    if proving && let Ok(nonce) = HeaderValue::from_str(&gateway.authenticator.nonce(gateway.clock.now())) {
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static(NONCE_HEADER), nonce);
    }
    response
}

/// HTTP 401 for a credential that a decision found dead.
pub(super) fn dead(gateway: &Gateway, tenant: &TenantId, denial: &Denial, body: Bytes) -> Response {
    challenge(gateway, tenant, Some(&denial.text), body)
}

/// HTTP 403 with the scope that would do.
pub(super) fn insufficient(gateway: &Gateway, tenant: &TenantId, scope: &str, body: Bytes) -> Response {
    let url = metadata_url(gateway, tenant);
    let value = format!(
        "Bearer error=\"insufficient_scope\", scope=\"{}\", resource_metadata=\"{url}\"",
        quoted(scope)
    );
    challenged(StatusCode::FORBIDDEN, &value, body)
}

fn challenged(status: StatusCode, value: &str, body: Bytes) -> Response {
    let mut response = respond::body(status, body);
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    response
}

fn metadata_url(gateway: &Gateway, tenant: &TenantId) -> String {
    format!(
        "{}/.well-known/oauth-protected-resource/t/{tenant}/mcp",
        gateway.config.base_url
    )
}

/// Fit for a quoted string of a header.
fn quoted(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_ascii_graphic() && !matches!(c, '"' | '\\') || c == ' ' {
                c
            } else {
                '\''
            }
        })
        .collect()
}

/// The body of a refusal that is no answer to a call.
pub(super) fn denial_problem(denial: &Denial) -> Bytes {
    let body = json!({"code": denial.reason.code(), "title": denial.text, "decision_id": denial.decision.to_string()});
    Bytes::from(body.to_string())
}
