//! `/v1/logs`

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bailiwick_base::{IdentityId, TenantId};
use bailiwick_wire as wire;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;

use crate::Deps;
use crate::deps::LogError;
use crate::problem::RouteError;
use crate::query::{Path, Query};
use crate::session::Session;

/// Entries of one answer.
const ENTRIES_MAX: u64 = 1_000;
/// Entries of one answer when no number is asked for.
const LAST: u64 = 20;
/// Entries of everybody that are looked at for the last ones of one tenant.
const LOOKED_MAX: u64 = 100_000;
/// Names beside one entry.
const NAMES_MAX: usize = 8;
/// Openings of one answer.
const OPENINGS_MAX: usize = 10_000;

fn broken(error: &LogError) -> RouteError {
    match error {
        LogError::Failed(_) => RouteError::broken("the log could not be read", error),
        LogError::Pruned(said) => RouteError::new(StatusCode::GONE, "log.pruned", said.clone())
            .hint("see where each log begins with `bailiwick log ls`"),
    }
}

/// Nothing of what is asked for is kept any more.
fn require_kept(info: &wire::NamedLog, index: u64) -> Result<(), RouteError> {
    let Some(pruned) = info.pruned.as_ref().filter(|_| index < info.begins) else {
        return Ok(());
    };
    let (begins, at, reason) = (info.begins, &pruned.at, &pruned.reason);
    Err(broken(&LogError::Pruned(format!(
        "entry `{index}` is gone: the log begins with entry `{begins}` since it was pruned at {at}, because `{reason}`"
    ))))
}

pub(crate) fn require_known(deps: &Deps, log: &str) -> Result<(), RouteError> {
    info(deps, log).map(drop)
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
    let mut logs = deps.logs.list();
    let of_decisions = logs.iter_mut().filter(|log| log.log == "decisions");
    of_decisions.for_each(|log| (log.keep_days, log.legal_hold) = deps.pruning.shown());
    Json(wire::Page::whole(logs))
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
    let info = info(&deps, &log)?;
    let index = match wanted.entry.parse::<u64>() {
        Ok(index) => index,
        Err(_) => deps
            .logs
            .index_of(&wanted.entry)
            .await
            .map_err(|e| broken(&e))?
            .ok_or_else(|| no_decision(&info))?,
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

fn no_decision(info: &wire::NamedLog) -> RouteError {
    let error = RouteError::not_found("entry");
    match &info.pruned {
        None => error.hint("give an index, or the id of a decision"),
        Some(pruned) => error.hint(format!(
            "give an index, or the id of a decision; what was recorded until {} was pruned, the log begins with entry {}",
            pruned.newest_at, info.begins
        )),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range {
    #[serde(default)]
    from: Option<u64>,
    #[serde(default)]
    last: Option<u64>,
    /// In front of this index, instead of the end.
    #[serde(default)]
    before: Option<u64>,
}

/// Entries of every tenant and of the installation; each says whose it is.
pub(crate) async fn entries(
    State(deps): State<Deps>,
    Path(log): Path<String>,
    Query(range): Query<Range>,
    _: Session,
) -> Result<Json<wire::Page<wire::LogEntry>>, RouteError> {
    let info = info(&deps, &log)?;
    let until = range.before.unwrap_or(info.sequenced).min(info.sequenced);
    let last = range.last.unwrap_or(LAST).min(ENTRIES_MAX);
    let from = range.from.unwrap_or(until.saturating_sub(last).max(info.begins));
    require_kept(
        &info,
        range.from.or(before_of(range.before)).unwrap_or(info.begins),
    )?;
    let mut items = if from < until {
        let page = deps.logs.entries(&log, from, few(until - from), None).await;
        page.map_err(|e| broken(&e))?
    } else {
        Vec::new()
    };
    items.iter_mut().for_each(|entry| name(&deps, entry));
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
pub(crate) struct Back {
    #[serde(default)]
    last: Option<u64>,
    /// In front of this index, instead of the end.
    #[serde(default)]
    before: Option<u64>,
}

/// The newest entries of one tenant, in order; nothing of anybody else is opened. `next` is the `before` of the page
/// in front of this one.
pub(crate) async fn entries_of(
    State(deps): State<Deps>,
    Path((slug, log)): Path<(String, String)>,
    Query(back): Query<Back>,
    _: Session,
) -> Result<Json<wire::Page<wire::LogEntry>>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let info = info(&deps, &log)?;
    let before = back.before.unwrap_or(info.sequenced).min(info.sequenced);
    require_kept(&info, before_of(back.before).unwrap_or(info.begins))?;
    let last = few(back.last.unwrap_or(LAST));
    let (mut items, until) = newest(&deps, (&info, &tenant), before, last).await?;
    items.iter_mut().for_each(|entry| name(&deps, entry));
    let first = items.first();
    let next = match first.map(number) {
        Some(1) => None,
        _ if items.len() == last => first.map(|entry| entry.index),
        _ => Some(until).filter(|until| *until > info.begins),
    };
    Ok(Json(wire::Page {
        total: items.last().map(number).unwrap_or_default(),
        next: next.map(|next| next.to_string()),
        items,
    }))
}

/// The last entries of the tenant in front of `before`, and where the search ended: it looks at so many entries of
/// everybody and no more.
async fn newest(
    deps: &Deps,
    (info, tenant): (&wire::NamedLog, &TenantId),
    before: u64,
    last: usize,
) -> Result<(Vec<wire::LogEntry>, u64), RouteError> {
    let floor = before.saturating_sub(LOOKED_MAX).max(info.begins);
    let (mut found, mut until) = (Vec::new(), before);
    while until > floor && found.len() < last && found.first().map(number) != Some(1) {
        let from = until.saturating_sub(ENTRIES_MAX).max(floor);
        let (mut part, mut at) = (Vec::new(), from);
        while at < until {
            let page = deps
                .logs
                .entries(&info.log, at, few(until - at), Some(tenant))
                .await;
            let page = page.map_err(|e| broken(&e))?;
            let Some(end) = page.last() else { break };
            at = end.index + 1;
            let own = |entry: &wire::LogEntry| entry.tenant.as_deref() == Some(tenant.as_str());
            part.extend(page.into_iter().filter(own));
        }
        part.append(&mut found);
        (found, until) = (part, from);
    }
    let surplus = found.len().saturating_sub(last);
    found.drain(..surplus);
    Ok((found, until))
}

/// Says what the identities and operators of an entry are called, as far as they are known.
fn name(deps: &Deps, entry: &mut wire::LogEntry) {
    let tenant = entry.tenant.as_deref().and_then(|t| TenantId::parse(t).ok());
    let Some(payload) = &entry.payload else { return };
    let objects = payload.get("objects").and_then(Value::as_array);
    let objects = objects
        .into_iter()
        .flatten()
        .filter_map(|object| object.get("id"));
    let ids = objects.chain(
        ["actor", "nhi"]
            .into_iter()
            .filter_map(|member| payload.get(member)),
    );
    for id in ids.filter_map(Value::as_str).take(NAMES_MAX) {
        let known = |tenant| IdentityId::parse(tenant, id).ok();
        let called = match tenant.as_ref().and_then(known) {
            Some(id) => super::name_of(deps, &id),
            None => super::marks::operator_name(deps, id),
        };
        if let Some(called) = called {
            entry.names.insert(id.to_owned(), called);
        }
    }
}

/// The number of an entry within its tenant and log, without gaps from 1 on.
fn number(entry: &wire::LogEntry) -> u64 {
    let number = entry.leaf.get("tenant_seq");
    number.and_then(Value::as_u64).unwrap_or_default()
}

/// The last index in front of `before`, where one is named.
fn before_of(before: Option<u64>) -> Option<u64> {
    before.map(|before| before.saturating_sub(1))
}

fn few(wanted: u64) -> usize {
    usize::try_from(wanted.min(ENTRIES_MAX)).unwrap_or(usize::MAX)
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
