//! `/t/{tenant}/ssf/subjects/{add,remove}` (SSF 1.0 §8.1.3). Every subject is in from the start.

use axum::body::Body;
use axum::extract::State;
use bailiwick_signal::{Refusal, leave_out, take_in};
use bailiwick_signals::subject;
use bailiwick_store::{Tx, WithSecret};
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde_json::Value;

use super::{Receiver, refused};
use crate::Deps;
use crate::body;
use crate::problem::RouteError;
use crate::query::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    stream_id: String,
    subject: Value,
    /// What the receiver knows of it; nothing here depends on that.
    #[serde(default, rename = "verified")]
    _verified: Option<bool>,
}

pub(crate) async fn add(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    parts: Parts,
    body: Body,
) -> Result<StatusCode, RouteError> {
    turned(&deps, &slug, &parts, body, true).await?;
    Ok(StatusCode::OK)
}

pub(crate) async fn withdraw(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    parts: Parts,
    body: Body,
) -> Result<StatusCode, RouteError> {
    turned(&deps, &slug, &parts, body, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn turned(deps: &Deps, slug: &str, parts: &Parts, body: Body, is_in: bool) -> Result<(), RouteError> {
    let receiver = Receiver::managing(deps, slug, parts)?;
    let asked: Asked = body::whole(&parts.headers, body).await?;
    let subject = subject(&asked.subject).ok_or_else(|| {
        RouteError::invalid(
            "signal.subject",
            "`subject` is no subject identifier: it needs a `format`",
        )
    })?;
    let id = receiver.lookup(deps, &asked.stream_id).await?.id;
    let doors = deps.clone();
    receiver
        .command(deps, async move |tx: &mut Tx| {
            let found = tx.subscription().lookup(&id).await?;
            let found = found.ok_or_else(|| RouteError::not_found("stream"))?;
            let turned = if is_in {
                take_in(found, &subject, tx.now())
            } else {
                leave_out(found, subject.clone(), &doors.signals.limits, tx.now())
            };
            let turned = match turned {
                // It is as asked.
                Err(Refusal::Unchanged(_)) => return Ok(Vec::new()),
                other => other.map_err(|e| refused(&e))?,
            };
            tx.subscription().apply(turned, WithSecret::Keep).await?;
            Ok(Vec::new())
        })
        .await?;
    Ok(())
}
