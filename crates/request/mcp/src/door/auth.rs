//! Who calls: the bearer token of the message, and the challenges that answer a bad one (RFC 6750, RFC 9728).

use axum::response::Response;
use bailiwick_base::{TenantId, limits};
use bailiwick_decide::Bearer;
use bailiwick_pep::Denial;
use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

use super::respond;
use crate::gateway::Gateway;

pub(super) fn require(
    gateway: &Gateway,
    tenant: &TenantId,
    headers: &HeaderMap,
) -> Result<Bearer, Box<Response>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        let body = respond::problem("token.missing", "send an access token");
        return Err(Box::new(challenge(gateway, tenant, None, body)));
    };
    let invalid = |code, text: &str| {
        Box::new(challenge(
            gateway,
            tenant,
            Some(text),
            respond::problem(code, text),
        ))
    };
    if values.next().is_some() {
        return Err(invalid("token.malformed", "two Authorization headers"));
    }
    let text = value.to_str().unwrap_or_default();
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(invalid(
            "token.malformed",
            "the Authorization header is not of the form Bearer TOKEN",
        ));
    }
    if token.len() > limits::TOKEN_MAX {
        return Err(invalid("token.too-long", "the token is too long"));
    }
    let verified = gateway.authenticator.verify(tenant, token, gateway.clock.now());
    let bearer = verified.map_err(|refusal| invalid(refusal.code, &refusal.text))?;
    if bearer.claims.tenant != *tenant {
        return Err(invalid("token.wrong-tenant", "the token is another tenant's"));
    }
    Ok(bearer)
}

/// HTTP 401. `error` only when a token was sent (RFC 6750 §3.1).
fn challenge(gateway: &Gateway, tenant: &TenantId, invalid: Option<&str>, body: Bytes) -> Response {
    let mut value = format!("Bearer resource_metadata=\"{}\"", metadata_url(gateway, tenant));
    if let Some(text) = invalid {
        value.push_str(&format!(
            ", error=\"invalid_token\", error_description=\"{}\"",
            quoted(text)
        ));
    }
    challenged(StatusCode::UNAUTHORIZED, &value, body)
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
