//! `POST /access/v1/evaluation`

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::request::Parts;
use serde_json::Value;

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
    let question = message::question(&body, &tenant, &pep.claims.nhi)?;
    let call = call_of(deps, &tenant, question)?;
    let recorded = deps.pep().evaluate(call).await.map_err(|d| unrecorded(&d))?;
    Ok(echo(deps, parts, axum::Json(answer_of(recorded.value()))))
}
