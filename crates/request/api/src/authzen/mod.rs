//! AuthZEN Authorization API 1.0.
//!
//! The enforcement point that asks authenticates with a token of ours whose scope holds `authzen:evaluate`; the
//! tenant is the token's. A denial is HTTP 200.

pub(crate) mod evaluation;
pub(crate) mod evaluations;
mod message;
pub(crate) mod metadata;

use bailiwick_base::TenantId;
use bailiwick_decide::{Arguments, Bearer, Call, Decision, Door, Effect, NamedEntity, Principal, Target};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};
use smallvec::SmallVec;

use crate::Deps;
use crate::presented;
use crate::problem::RouteError;
use message::Question;

/// The scope an enforcement point needs.
pub(crate) const SCOPE: (&str, &str) = ("authzen", "evaluate");

/// The enforcement point that asks, and its tenant.
fn authenticate(deps: &Deps, parts: &Parts, wanted: Option<&str>) -> Result<(TenantId, Bearer), RouteError> {
    let unauthorized = |why: &str| {
        RouteError::new(
            StatusCode::UNAUTHORIZED,
            "invalid_token",
            format!("enforcement point: {why}"),
        )
    };
    if !parts.headers.contains_key(http::header::AUTHORIZATION) {
        return Err(unauthorized("no token was sent"));
    }
    let now = deps.clock.now();
    let tenant = match wanted {
        Some(slug) => Some(TenantId::parse(slug).map_err(|_| RouteError::not_found("tenant"))?),
        None => None,
    };
    let verified = presented::verified(deps, tenant.as_ref(), parts)
        .map_err(|error| unauthorized(&error.to_string()).challenged(deps, parts, error))?;
    let (tenant, bearer) = (verified.tenant.clone(), verified.bearer());
    if !bearer.claims.scopes.contains(SCOPE.0, SCOPE.1) {
        return Err(RouteError::new(
            StatusCode::FORBIDDEN,
            "insufficient_scope",
            "an enforcement point needs the scope authzen:evaluate",
        ));
    }
    let presented = Call {
        id: deps
            .pep
            .next_id(&tenant)
            .map_err(|e| RouteError::broken("randomness failed", &e))?,
        door: Door::Authzen,
        principal: Principal::Bearer(bearer.clone()),
        target: named("evaluate", "", ""),
        arguments: Arguments::default(),
        rates: SmallVec::new(),
    };
    if let Some(reason) = deps.cell.load().ended(&presented, now) {
        return Err(unauthorized(reason.code()));
    }
    Ok((tenant, bearer))
}

/// An action on a resource of that type and id; nothing more is said about either.
pub(crate) fn named(action: &str, kind: &str, id: &str) -> Target {
    Target::Named {
        action: action.to_owned(),
        action_properties: Map::new(),
        resource: NamedEntity {
            kind: kind.to_owned(),
            id: id.to_owned(),
            properties: Map::new(),
        },
        context: Map::new(),
    }
}

fn call_of(deps: &Deps, tenant: &TenantId, question: Question) -> Result<Call, RouteError> {
    let id = deps
        .pep
        .next_id(tenant)
        .map_err(|e| RouteError::broken("randomness failed", &e))?;
    Ok(Call {
        id,
        door: Door::Authzen,
        principal: question.principal,
        target: question.target,
        arguments: Arguments::default(),
        rates: SmallVec::new(),
    })
}

/// `{decision, context}`.
fn answer_of(decision: &Decision) -> Value {
    let (permitted, code) = match &decision.effect {
        Effect::Permit => (true, None),
        Effect::Deny(reason) => (false, Some(reason.code())),
        Effect::Hold(_) => (false, Some("approval.required")),
    };
    let mut context = json!({
        "evaluation_id": decision.id.to_string(),
        "epoch": decision.epoch.0,
        "state_pos": decision.state_pos.0,
    });
    if let (Some(code), Some(members)) = (code, context.as_object_mut()) {
        members.insert("code".to_owned(), Value::from(code));
        members.insert("reason".to_owned(), json!({"en": decision.reasons.text}));
    }
    json!({"decision": permitted, "context": context})
}

/// Echoes `X-Request-ID`, as the text asks.
fn echo(deps: &Deps, parts: &Parts, answer: axum::Json<Value>) -> axum::response::Response {
    use axum::response::IntoResponse;
    let mut response = presented::with_nonce(deps, parts, answer.into_response());
    if let Some(id) = parts
        .headers
        .get("x-request-id")
        .filter(|v: &&HeaderValue| v.len() <= 256)
    {
        response.headers_mut().insert("x-request-id", id.clone());
    }
    response
}

fn unrecorded(denial: &bailiwick_pep::Denial) -> RouteError {
    RouteError::unavailable(denial.reason.code(), denial.text.clone())
}
