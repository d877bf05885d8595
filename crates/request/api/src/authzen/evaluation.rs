//! `POST /access/v1/evaluation`

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use serde_json::Value;

use super::{answer_of, authenticate, call_of, echo, message, unrecorded};
use crate::Deps;
use crate::body;
use crate::problem::RouteError;

pub(crate) async fn handler(
    State(deps): State<Deps>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, RouteError> {
    evaluate(&deps, &headers, None, body).await
}

pub(crate) async fn in_tenant(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, RouteError> {
    evaluate(&deps, &headers, Some(&slug), body).await
}

async fn evaluate(
    deps: &Deps,
    headers: &HeaderMap,
    slug: Option<&str>,
    body: Body,
) -> Result<Response, RouteError> {
    let (tenant, pep) = authenticate(deps, headers, slug)?;
    let body: Value = body::whole(headers, body).await?;
    let question = message::question(&body, &tenant, &pep.claims.nhi)?;
    let call = call_of(deps, &tenant, question)?;
    let recorded = deps.pep.evaluate(call).await.map_err(|d| unrecorded(&d))?;
    Ok(echo(headers, axum::Json(answer_of(recorded.value()))))
}
