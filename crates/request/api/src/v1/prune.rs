//! `/v1/logs/{log}/prune`

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bailiwick_base::Time;
use bailiwick_store::{Actor, Reach};
use bailiwick_wire as wire;
use http::StatusCode;

use crate::Deps;
use crate::body::Strict;
use crate::command::{committed, request_digest};
use crate::problem::RouteError;
use crate::prune::{Wanted, prune};
use crate::query::Path;
use crate::session::Session;

/// Longest reason, in bytes.
const REASON_MAX: usize = 1_024;

/// Removes the oldest entries of this node's decision log, or says what would go.
pub(crate) async fn handler(
    State(deps): State<Deps>,
    Path(log): Path<String>,
    session: Session,
    Strict(body): Strict<wire::PruneLog>,
) -> Result<Response, RouteError> {
    super::logs::require_known(&deps, &log)?;
    if log == "state" {
        let detail =
            "the state log is never pruned: what holds is worked out from it, from its first entry on";
        return Err(RouteError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "log.never-pruned",
            detail,
        ));
    }
    let wanted = wanted(&body)?;
    let request = request_digest(&format!("logs/{log}/prune"), &body)?;
    if !body.dry_run
        && let Some(done) = deps.replayed(&session, Reach::Installation, request).await?
    {
        return Ok(committed(&done, StatusCode::OK));
    }
    let context = deps.context(&session, Reach::Installation, request)?;
    let actor = Actor::Operator(session.operator.clone());
    let done = prune(&deps, (context, actor), &wanted, body.dry_run).await?;
    Ok(Json(done).into_response())
}

fn wanted(body: &wire::PruneLog) -> Result<Wanted, RouteError> {
    let reason = body.reason.trim().to_owned();
    if reason.is_empty() || reason.len() > REASON_MAX || reason.chars().any(char::is_control) {
        let detail = format!("`reason` must be one line of 1 to {REASON_MAX} bytes: say why; it is recorded");
        return Err(RouteError::invalid("log.prune-reason", detail));
    }
    let (since, until) = match (&body.keep_since, body.up_to) {
        (Some(since), None) => (super::time("keep_since", since)?, u64::MAX),
        (None, Some(until)) => (Time::from_micros(i64::MAX), until),
        _ => {
            let detail =
                "give one of `keep_since`, a time, and `up_to`, an index: what is in front of it goes";
            return Err(RouteError::invalid("log.prune-bound", detail));
        }
    };
    Ok(Wanted { since, until, reason })
}
