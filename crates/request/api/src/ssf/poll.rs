//! `POST /t/{tenant}/ssf/poll/{stream}` (RFC 8936).

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bailiwick_base::SubscriptionId;
use bailiwick_outbound::Lane;
use bailiwick_signal::{Delivery, Status, Subscription};
use bailiwick_signals::{Asked, Signal, Window, jti, window};
use bailiwick_store::{Progress, StoreError, Tx};
use http::request::Parts;
use http::{HeaderValue, header};
use serde_json::{Map, Value, json};

use super::Receiver;
use crate::command::store_error;
use crate::problem::RouteError;
use crate::query::Path;
use crate::signals::{not_usable, read, signed};
use crate::{Deps, body};

/// The most SETs of an answer.
const EVENTS_MAX: usize = 64;
/// Acknowledgements of one poll.
const ACKS_MAX: usize = 1_000;
/// Complaints of one poll: as many as there were SETs in an answer, because each is an entry of its own.
const COMPLAINTS_MAX: usize = EVENTS_MAX;
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
    let limit = |detail: String| Err(RouteError::invalid("signal.limit", detail));
    if asked.ack.len() > ACKS_MAX {
        return limit(format!("`ack`: more than {ACKS_MAX} SETs in one poll"));
    }
    if asked.set_errs.len() > COMPLAINTS_MAX {
        return limit(format!("`setErrs`: more than {COMPLAINTS_MAX} SETs in one poll"));
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
    let _place = turn(deps, stream).await?;
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

/// A place among those who are answered at once: a tenant has its share, and its own queue.
async fn turn(deps: &Deps, stream: &Subscription) -> Result<Lane, RouteError> {
    let lane = deps.signals.answers.take(stream.id.tenant()).await;
    lane.ok_or_else(|| {
        RouteError::unavailable(
            "request.busy",
            "too many polls of this tenant at once: ask again in a second",
        )
    })
}

/// Counts what was acknowledged, and gives what is waiting.
async fn look(
    deps: &Deps,
    receiver: &Receiver,
    stream: &Subscription,
    asked: &Asked,
) -> Result<Window, RouteError> {
    let _place = turn(deps, stream).await?;
    let named = asked.ack.iter().chain(asked.set_errs.keys()).cloned();
    let done: BTreeSet<String> = named.collect();
    let before = progress(deps, &stream.id).await.map_err(|e| store_error(&e))?;
    let head = deps.cell.load().state_pos().0;
    let (mut at, mut taken, mut is_changed) = (before.position, before.taken.clone(), false);
    let mut complained = Vec::new();
    let mut found = loop {
        let (signals, end) = read(deps, stream, (at, head), ENTRIES)
            .await
            .map_err(|e| store_error(&e))?;
        complained.extend(complaints(stream, &signals, &taken, asked));
        let found = window(&stream.id, signals, end, taken, &done);
        is_changed |= found.is_changed;
        if !found.waiting.is_empty() || end >= head {
            break found;
        }
        (at, taken) = (end, found.taken);
    };
    found.is_changed = is_changed || found.position >= before.position.saturating_add(QUIET_MAX);
    if found.is_changed {
        proceed(deps, receiver, stream, (&found, complained)).await?;
    }
    Ok(found)
}

/// Place of a SET that is not usable, and what is to be on record of it.
type Complaint = ((u64, u32), Value);

/// What the receiver cannot use and did not say before.
fn complaints(
    stream: &Subscription,
    signals: &[Signal],
    taken: &BTreeSet<(u64, u32)>,
    asked: &Asked,
) -> Vec<Complaint> {
    let mut out = Vec::new();
    for signal in signals {
        let place = (signal.index, signal.part);
        let name = jti(&stream.id, signal.index, signal.part);
        if let Some(error) = asked.set_errs.get(&name).filter(|_| !taken.contains(&place)) {
            let said = error.description.as_deref().unwrap_or_default();
            let why = format!("{} {said}", error.err);
            out.push((place, not_usable(&stream.id, &name, &why)));
        }
    }
    out
}

/// Writes what was counted, with an entry for each SET that was not usable, in one transaction.
async fn proceed(
    deps: &Deps,
    receiver: &Receiver,
    stream: &Subscription,
    (found, complained): (&Window, Vec<Complaint>),
) -> Result<(), RouteError> {
    let id = stream.id.clone();
    let (position, taken) = (found.position, found.taken.clone());
    let work = async move |tx: &mut Tx| {
        let now = tx.subscription().progress(&id).await?;
        for (place, detail) in &complained {
            // Two polls at once may say the same.
            if place.0 >= now.position && !now.taken.contains(place) {
                tx.note("subscription.put-aside", detail.clone()).await?;
            }
        }
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
    let Some(_place) = deps.signals.polls.take(stream.id.tenant()).await else {
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
