//! `POST /t/{tenant}/ssf/poll/{stream}` (RFC 8936).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bailiwick_base::SubscriptionId;
use bailiwick_signal::{Delivery, Status, Subscription};
use bailiwick_signals::{Asked, Signal, Window, jti, window};
use bailiwick_store::{Progress, StoreError, Tx};
use http::request::Parts;
use http::{HeaderValue, header};
use serde_json::{Map, Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::Receiver;
use crate::command::store_error;
use crate::problem::RouteError;
use crate::signals::{put_aside, read, signed};
use crate::{Deps, body};

/// The most SETs of an answer.
const EVENTS_MAX: usize = 64;
/// Acknowledgements of one poll.
const ACKS_MAX: usize = 1_000;
/// Entries that are looked at for one poll.
const ENTRIES: u32 = 2_000;
/// Entries without anything to tell, after which the position is written all the same.
const QUIET_MAX: u64 = 10_000;
/// How long a poll waits for something to happen.
const WAIT: Duration = Duration::from_secs(20);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(250);

pub(crate) async fn handler(
    State(deps): State<Deps>,
    Path((slug, id)): Path<(String, String)>,
    parts: Parts,
    body: Body,
) -> Result<Response, RouteError> {
    let receiver = Receiver::reading(&deps, &slug, &parts)?;
    let asked: Asked = super::streams::members(body::whole(&parts.headers, body).await?)?;
    if asked.ack.len().saturating_add(asked.set_errs.len()) > ACKS_MAX {
        let detail = format!("more than {ACKS_MAX} acknowledgements in one poll");
        return Err(RouteError::invalid("signal.limit", detail));
    }
    let stream = receiver.lookup(&deps, &id).await?;
    if stream.delivery != Delivery::Poll {
        return Err(RouteError::invalid(
            "signal.delivery",
            "this stream is pushed, not polled",
        ));
    }
    let most = asked
        .max_events
        .map_or(EVENTS_MAX, |most| usize::try_from(most).unwrap_or(EVENTS_MAX));
    let most = most.min(EVENTS_MAX);
    let mut found = look(&deps, &receiver, &stream, &asked).await?;
    if found.waiting.is_empty() && most > 0 && !asked.return_immediately && stream.status == Status::Enabled {
        found = wait(&deps, &receiver, &stream, found).await?;
        receiver.require_living(&deps)?;
    }
    let mut response = axum::Json(answer(&deps, &stream, &found.waiting, most).await?).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn answer(
    deps: &Deps,
    stream: &Subscription,
    waiting: &[Signal],
    most: usize,
) -> Result<Value, RouteError> {
    let _place = turn(deps).await;
    let told = match stream.status {
        Status::Enabled => waiting.get(..most.min(waiting.len())).unwrap_or_default(),
        Status::Disabled | Status::Paused => &[],
    };
    let names = told
        .iter()
        .map(|signal| jti(&stream.id, signal.index, signal.part));
    let sets = signed(deps, stream, told).await?;
    let sets: Map<String, Value> = names.zip(sets.into_iter().map(Value::from)).collect();
    let more = stream.status == Status::Enabled && waiting.len() > told.len();
    Ok(json!({"sets": sets, "moreAvailable": more}))
}

/// One after the other, in the order in which they came; the semaphore is never closed.
async fn turn(deps: &Deps) -> Option<OwnedSemaphorePermit> {
    Arc::clone(&deps.signals.answers).acquire_owned().await.ok()
}

/// Counts what was acknowledged, and gives what is waiting.
async fn look(
    deps: &Deps,
    receiver: &Receiver,
    stream: &Subscription,
    asked: &Asked,
) -> Result<Window, RouteError> {
    let _place = turn(deps).await;
    let named = asked.ack.iter().chain(asked.set_errs.keys()).cloned();
    let done: BTreeSet<String> = named.collect();
    let before = progress(deps, &stream.id).await.map_err(|e| store_error(&e))?;
    let head = deps.cell.load().state_pos().0;
    let (mut at, mut taken, mut is_changed) = (before.position, before.taken.clone(), false);
    let mut found = loop {
        let (signals, end) = read(deps, stream, (at, head), ENTRIES)
            .await
            .map_err(|e| store_error(&e))?;
        complaints(deps, stream, &signals, asked).await?;
        let found = window(&stream.id, signals, end, taken, &done);
        is_changed |= found.is_changed;
        if !found.waiting.is_empty() || end >= head {
            break found;
        }
        (at, taken) = (end, found.taken);
    };
    found.is_changed = is_changed || found.position >= before.position.saturating_add(QUIET_MAX);
    if found.is_changed {
        proceed(deps, receiver, stream, &found).await?;
    }
    Ok(found)
}

/// What was not usable is on record, and is over.
async fn complaints(
    deps: &Deps,
    stream: &Subscription,
    signals: &[Signal],
    asked: &Asked,
) -> Result<(), RouteError> {
    for signal in signals {
        let name = jti(&stream.id, signal.index, signal.part);
        if let Some(error) = asked.set_errs.get(&name) {
            let said = error.description.as_deref().unwrap_or_default();
            let why = format!("{} {said}", error.err);
            let done = put_aside(deps, stream, &name, &why).await;
            done.map_err(|e| store_error(&e))?;
        }
    }
    Ok(())
}

async fn proceed(
    deps: &Deps,
    receiver: &Receiver,
    stream: &Subscription,
    found: &Window,
) -> Result<(), RouteError> {
    let id = stream.id.clone();
    let (position, taken) = (found.position, found.taken.clone());
    let work = async move |tx: &mut Tx| {
        let now = tx.subscription().progress(&id).await?;
        // Two polls at once: whoever saw less does not take back what the other counted.
        let mut taken: BTreeSet<_> = taken.union(&now.taken).copied().collect();
        let position = position.max(now.position);
        taken.retain(|(index, _)| *index >= position);
        let progress = Progress {
            position,
            taken,
            ..now
        };
        tx.subscription().proceed(&id, &progress).await?;
        Ok(Vec::new())
    };
    receiver.command(deps, work).await.map(drop)
}

async fn progress(deps: &Deps, id: &SubscriptionId) -> Result<Progress, StoreError> {
    let mut reader = deps.store.reader(id.tenant()).await?;
    reader.subscription().progress(id).await
}

/// Until something is there, within limits: a place among those who wait, and a time.
async fn wait(
    deps: &Deps,
    receiver: &Receiver,
    stream: &Subscription,
    mut found: Window,
) -> Result<Window, RouteError> {
    let Ok(_place) = Arc::clone(&deps.signals.polls).try_acquire_owned() else {
        return Ok(found);
    };
    let began = deps.clock.monotonic();
    let mut seen = deps.cell.load().state_pos().0;
    let nothing = Asked::default();
    while found.waiting.is_empty() && deps.clock.monotonic().saturating_sub(began) < WAIT {
        // An answer that never comes is the wait.
        let _passed = tokio::time::timeout(LOOK, std::future::pending::<()>()).await;
        let head = deps.cell.load().state_pos().0;
        if head != seen {
            seen = head;
            found = look(deps, receiver, stream, &nothing).await?;
        }
    }
    Ok(found)
}
