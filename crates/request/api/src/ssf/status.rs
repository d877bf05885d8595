//! `/t/{tenant}/ssf/status` (SSF 1.0 §8.1.2).

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bailiwick_signal::{Refusal, Status, Subscription, set_status};
use bailiwick_store::{Tx, WithSecret};
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::streams::Which;
use super::{Receiver, refused};
use crate::Deps;
use crate::body;
use crate::command::{answer, committed};
use crate::problem::RouteError;
use crate::query::{Path, Query};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    stream_id: String,
    status: String,
    #[serde(default)]
    reason: Option<String>,
}

pub(crate) async fn find(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    Query(which): Query<Which>,
    parts: Parts,
) -> Result<Json<Value>, RouteError> {
    let receiver = Receiver::reading(&deps, &slug, &parts)?;
    let stream = receiver.lookup(&deps, which.required()?).await?;
    Ok(Json(shown(&stream)))
}

pub(crate) async fn set(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    parts: Parts,
    body: Body,
) -> Result<Response, RouteError> {
    let receiver = Receiver::managing(&deps, &slug, &parts)?;
    let asked: Asked = body::whole(&parts.headers, body).await?;
    let status = Status::parse(&asked.status).ok_or_else(|| {
        RouteError::invalid("signal.status", "`status` is one of: disabled, enabled, paused")
    })?;
    let id = receiver.lookup(&deps, &asked.stream_id).await?.id;
    let receipt = receiver
        .command(&deps, async move |tx: &mut Tx| {
            let found = tx.subscription().lookup(&id).await?;
            let found = found.ok_or_else(|| RouteError::not_found("stream"))?;
            let was = found.clone();
            let set = match set_status(found, status, asked.reason.as_deref(), tx.now()) {
                Err(Refusal::Unchanged(_)) => return answer(&shown(&was)),
                other => other.map_err(|e| refused(&e))?,
            };
            let now = shown(&set.after);
            if was.status == Status::Disabled {
                // What happened while nothing was kept is not told later.
                let mut progress = tx.subscription().progress(&id).await?;
                (progress.position, progress.taken) = (tx.position().0, Default::default());
                (progress.attempts, progress.failing_since, progress.trouble) = (0, None, None);
                tx.subscription().proceed(&id, &progress).await?;
            }
            tx.subscription().apply(set, WithSecret::Keep).await?;
            answer(&now)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}

fn shown(stream: &Subscription) -> Value {
    let mut shown = json!({"stream_id": stream.id.to_string(), "status": stream.status.as_str()});
    if let (Some(reason), Some(members)) = (&stream.status_reason, shown.as_object_mut()) {
        members.insert("reason".to_owned(), json!(reason));
    }
    shown
}
