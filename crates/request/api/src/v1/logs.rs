//! `/v1/logs`

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bailiwick_wire as wire;
use http::{HeaderValue, header};
use serde::Deserialize;

use crate::Deps;
use crate::deps::LookError;
use crate::problem::RouteError;
use crate::session::Session;

/// Entries of one answer.
const ENTRIES_MAX: usize = 1_000;
/// Openings of one answer.
const OPENINGS_MAX: usize = 10_000;

fn broken(error: &LookError) -> RouteError {
    RouteError::broken("the log could not be read", error)
}

fn unknown(log: &str) -> RouteError {
    RouteError::not_found("log").hint(format!("`{log}` is neither state nor decisions"))
}

fn info(deps: &Deps, log: &str) -> Result<wire::NamedLog, RouteError> {
    deps.logs
        .list()
        .into_iter()
        .find(|l| l.log == log)
        .ok_or_else(|| unknown(log))
}

pub(crate) async fn list(State(deps): State<Deps>, _: Session) -> Json<wire::Page<wire::NamedLog>> {
    Json(wire::Page::whole(deps.logs.list()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    entry: String,
    #[serde(default)]
    disclose: bool,
}

/// The `.tlog-proof` of an entry, named by index or (decisions) by decision id.
pub(crate) async fn prove(
    State(deps): State<Deps>,
    Path(log): Path<String>,
    Query(wanted): Query<Wanted>,
    _: Session,
) -> Result<Response, RouteError> {
    info(&deps, &log)?;
    let index = match wanted.entry.parse::<u64>() {
        Ok(index) => index,
        Err(_) => deps
            .logs
            .index_of(&wanted.entry)
            .await
            .map_err(|e| broken(&e))?
            .ok_or_else(|| RouteError::not_found("entry").hint("give an index, or the id of a decision"))?,
    };
    let proof = deps
        .logs
        .prove(&log, index, wanted.disclose)
        .await
        .map_err(|e| broken(&e))?
        .ok_or_else(|| RouteError::not_found("entry"))?;
    let mut response = Body::from(proof).into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    Ok(response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range {
    #[serde(default)]
    from: Option<u64>,
    #[serde(default)]
    last: Option<u64>,
}

pub(crate) async fn entries(
    State(deps): State<Deps>,
    Path(log): Path<String>,
    Query(range): Query<Range>,
    _: Session,
) -> Result<Json<wire::Page<wire::LogEntry>>, RouteError> {
    let info = info(&deps, &log)?;
    let from = match (range.from, range.last) {
        (Some(from), _) => from,
        (None, last) => info
            .sequenced
            .saturating_sub(last.unwrap_or(20).min(ENTRIES_MAX as u64)),
    };
    let items = deps
        .logs
        .entries(&log, from, ENTRIES_MAX)
        .await
        .map_err(|e| broken(&e))?;
    let next = from.saturating_add(items.len() as u64);
    let next = (next < info.sequenced && !items.is_empty()).then(|| next.to_string());
    Ok(Json(wire::Page {
        items,
        total: info.sequenced,
        next,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    #[serde(default)]
    from: u64,
    #[serde(default)]
    max: Option<usize>,
}

/// The entries `from..from + max` with their payloads and the key that opens each commitment, as JSON lines.
pub(crate) async fn openings(
    State(deps): State<Deps>,
    Path(log): Path<String>,
    Query(page): Query<Page>,
    _: Session,
) -> Result<Response, RouteError> {
    info(&deps, &log)?;
    let max = page.max.unwrap_or(OPENINGS_MAX).min(OPENINGS_MAX);
    let bytes = deps
        .logs
        .openings(&log, page.from, max)
        .await
        .map_err(|e| broken(&e))?;
    let mut response = Body::from(bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/jsonl"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
