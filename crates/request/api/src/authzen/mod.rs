//! AuthZEN Authorization API 1.0.
//!
//! The enforcement point that asks authenticates with a token of ours whose scope holds `authzen:evaluate`; the
//! tenant is the token's. A denial is HTTP 200.

pub(crate) mod evaluation;
pub(crate) mod evaluations;
mod message;
pub(crate) mod metadata;

use bailiwick_base::TenantId;
use bailiwick_decide::{Arguments, Bearer, Call, Decision, Door, Effect, NamedEntity, Target};
use http::HeaderValue;
use http::request::Parts;
use serde_json::{Map, Value, json};
use smallvec::SmallVec;

use crate::point::DecisionPoint;
use crate::presented;
use crate::problem::RouteError;
use message::Question;

/// The scope an enforcement point needs.
pub(crate) const SCOPE: (&str, &str) = ("authzen", "evaluate");

/// The enforcement point that asks, and its tenant.
fn authenticate(
    deps: &impl DecisionPoint,
    parts: &Parts,
    wanted: Option<&str>,
) -> Result<(TenantId, Bearer), RouteError> {
    let tenant = match wanted {
        Some(slug) => Some(TenantId::parse(slug).map_err(|_| RouteError::not_found("tenant"))?),
        None => None,
    };
    presented::admitted(deps, tenant.as_ref(), parts, ("enforcement point", &[SCOPE]))
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

fn call_of(deps: &impl DecisionPoint, tenant: &TenantId, question: Question) -> Result<Call, RouteError> {
    let id = deps
        .pep()
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
fn echo(deps: &impl DecisionPoint, parts: &Parts, answer: axum::Json<Value>) -> axum::response::Response {
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
