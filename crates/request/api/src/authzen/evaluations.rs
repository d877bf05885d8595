//! `POST /access/v1/evaluations`: a batch, recorded with one wait.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bailiwick_base::TenantId;
use bailiwick_decide::{Call, Effect};
use http::request::Parts;
use serde_json::{Value, json};

use super::message::{Questions, Semantic};
use super::{answer_of, authenticate, call_of, echo, message, unrecorded};
use crate::body;
use crate::point::DecisionPoint;
use crate::problem::RouteError;
use crate::query::Path;

pub(crate) async fn handler<P: DecisionPoint>(
    State(deps): State<P>,
    parts: Parts,
    body: Body,
) -> Result<Response, RouteError> {
    evaluate(&deps, &parts, None, body).await
}

pub(crate) async fn in_tenant<P: DecisionPoint>(
    State(deps): State<P>,
    Path(slug): Path<String>,
    parts: Parts,
    body: Body,
) -> Result<Response, RouteError> {
    evaluate(&deps, &parts, Some(&slug), body).await
}

async fn evaluate(
    deps: &impl DecisionPoint,
    parts: &Parts,
    slug: Option<&str>,
    body: Body,
) -> Result<Response, RouteError> {
    let (tenant, pep) = authenticate(deps, parts, slug)?;
    let body: Value = body::whole(&parts.headers, body).await?;
    let questions = message::questions(&body, &tenant, &pep.claims.nhi)?;
    let batch = questions.batch;
    let mut answers = answers(deps, &tenant, questions).await?;
    let body = match (batch, answers.pop()) {
        (false, Some(only)) => only,
        (_, last) => {
            answers.extend(last);
            json!({"evaluations": answers})
        }
    };
    Ok(echo(deps, parts, axum::Json(body)))
}

/// Short-circuiting semantics decide one after the other, so that what is not answered is not decided.
async fn answers(
    deps: &impl DecisionPoint,
    tenant: &TenantId,
    questions: Questions,
) -> Result<Vec<Value>, RouteError> {
    if questions.semantic == Semantic::ExecuteAll {
        let calls: Vec<Call> = questions
            .items
            .into_iter()
            .map(|q| call_of(deps, tenant, q))
            .collect::<Result<_, _>>()?;
        let recorded = deps.pep().evaluate_all(calls).await.map_err(|d| unrecorded(&d))?;
        return Ok(recorded.iter().map(|r| answer_of(r.value())).collect());
    }
    let mut out = Vec::new();
    for question in questions.items {
        let call = call_of(deps, tenant, question)?;
        let recorded = deps.pep().evaluate(call).await.map_err(|d| unrecorded(&d))?;
        let permitted = recorded.value().effect == Effect::Permit;
        out.push(answer_of(recorded.value()));
        if permitted == (questions.semantic == Semantic::PermitOnFirstPermit) {
            break;
        }
    }
    Ok(out)
}
