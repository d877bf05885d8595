//! Sending to one subscription, until nothing is left or something fails.

use std::time::Duration;

use bailiwick_base::{Secret, SubscriptionId, Time, json, limits};
use bailiwick_decide::Thing;
use bailiwick_inventory::State;
use bailiwick_outbound::{AddressRange, AddressRule, Endpoint, Message};
use bailiwick_signal::{Delivery, Place, Status, Subscription, set_status};
use bailiwick_signals::{Heard, Secrets, Signal, heard_push, heard_webhook, jti, message, wait_for};
use bailiwick_store::{Actor, Context, Progress, Reach, RequestId, StoreError, Tx, WithSecret};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::json;

use super::{Running, read, signed};
use crate::Deps;
use crate::command::CommandError;

/// Entries that are looked at in one turn.
const ENTRIES: u32 = 1_000;
/// Messages of one turn: then others have theirs.
const MESSAGES: usize = 32;
/// How long a turn lasts before others have theirs: a receiver may be slow with each message.
const TURN_MAX: Duration = Duration::from_secs(10);
/// Entries without anything to tell, after which the position is written all the same.
const QUIET_MAX: u64 = 10_000;
/// How often one SET is offered to somebody who says that it is not usable.
const OFFERS_MAX: u64 = 5;
/// Bytes of what is kept of a failure.
const TROUBLE_MAX: usize = 200;
/// How a failure begins that is about one SET.
const REFUSED: &str = "refused: ";
/// Bytes of a sealed secret.
const SECRET_MAX: usize = 8 * 1024;

pub(super) async fn run(deps: &Deps, subscription: Subscription, mut running: Running, head: u64) {
    let done = turn(deps, &subscription, &mut running, head).await;
    if let Err(error) = done {
        let id = &subscription.id;
        tracing::warn!(subscription = %id, %error, "what happened could not be told");
        running.next.retry_at = deps.clock.now().after(wait_for(4));
    }
}

async fn turn(
    deps: &Deps,
    subscription: &Subscription,
    running: &mut Running,
    head: u64,
) -> Result<(), StoreError> {
    match wanted(deps, subscription).await? {
        Wanted::Gone(why) => return give_up(deps, subscription, why).await,
        Wanted::Later => {
            running.next.retry_at = deps.clock.now().after(wait_for(4));
            return Ok(());
        }
        Wanted::Now => {}
    }
    let before = {
        let mut reader = deps.store.reader(subscription.id.tenant()).await?;
        reader.subscription().progress(&subscription.id).await?
    };
    if before.retry_at > deps.clock.now() {
        running.next.retry_at = before.retry_at;
        return Ok(());
    }
    let from = before.position.max(running.next.position);
    let (mut waiting, end) = read(deps, subscription, (from, head), ENTRIES).await?;
    waiting.retain(|signal| !before.taken.contains(&(signal.index, signal.part)));
    let secret = {
        let mut reader = deps.store.reader(subscription.id.tenant()).await?;
        reader.subscription().reveal(&subscription.id).await?
    };
    let mut now = before.clone();
    let (mut told, mut heard) = (0, Heard::Taken);
    let began = deps.clock.monotonic();
    let is_over = || deps.clock.monotonic().saturating_sub(began) >= TURN_MAX;
    for signal in waiting.iter().take(MESSAGES) {
        if told > 0 && (is_over() || wanted(deps, subscription).await? != Wanted::Now) {
            break;
        }
        heard = send(deps, subscription, signal, secret.as_ref()).await;
        match &heard {
            Heard::Taken => {}
            Heard::Refused(why) if was_refused(&now) && now.attempts + 1 >= OFFERS_MAX => {
                let set = jti(&subscription.id, signal.index, signal.part);
                put_aside(deps, subscription, &set, why).await?;
            }
            Heard::Failed(_) | Heard::Gone | Heard::Refused(_) => break,
        }
        told += 1;
        now = Progress {
            verified_at: now.verified_at,
            ..Progress::default()
        };
        heard = Heard::Taken;
    }
    advance(&mut now, &before, &waiting, told, end);
    settle(deps, subscription, running, (before, now), (told, heard)).await
}

/// Whether somebody is to be told anything at this moment.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Gone(&'static str),
    Later,
    Now,
}

/// A stream is as alive as its receiver; either may have been stopped since the last message.
async fn wanted(deps: &Deps, subscription: &Subscription) -> Result<Wanted, StoreError> {
    let found = {
        let mut reader = deps.store.reader(subscription.id.tenant()).await?;
        reader.subscription().lookup(&subscription.id).await?
    };
    let is_enabled = found.is_some_and(|s| s.status == Status::Enabled && s.removed_at.is_none());
    if !is_enabled {
        return Ok(Wanted::Later);
    }
    let Some(receiver) = &subscription.receiver else {
        return Ok(Wanted::Now);
    };
    let snapshot = deps.cell.load();
    let issuer = deps.issuer(subscription.id.tenant());
    let mark = snapshot.mark_on(Thing::Identity(receiver), &issuer);
    let is_stopped = mark.is_some_and(|mark| mark.effect.is_whole());
    let now = deps.clock.now();
    Ok(
        match snapshot
            .identity(receiver)
            .map(|known| (&known.state, known.expires_at))
        {
            None | Some((State::Retired { .. }, _)) => Wanted::Gone("its receiver has ended"),
            Some((_, expires_at)) if expires_at <= now => Wanted::Gone("its receiver has expired"),
            Some((State::Suspended { .. }, _)) => Wanted::Later,
            Some((State::Active | State::Probation, _)) if is_stopped => Wanted::Later,
            Some((State::Active | State::Probation, _)) => Wanted::Now,
        },
    )
}

/// The first one that was not told is where it goes on.
fn advance(now: &mut Progress, before: &Progress, waiting: &[Signal], told: usize, end: u64) {
    let first = waiting.get(told);
    now.position = first.map_or(end, |signal| signal.index);
    let done = waiting
        .iter()
        .take(told)
        .map(|signal| (signal.index, signal.part));
    now.taken = before.taken.iter().copied().chain(done).collect();
    now.taken.retain(|(index, _)| *index >= now.position);
}

/// Writes how far it is, and when to come again.
async fn settle(
    deps: &Deps,
    subscription: &Subscription,
    running: &mut Running,
    (before, mut now): (Progress, Progress),
    (told, heard): (usize, Heard),
) -> Result<(), StoreError> {
    let at = deps.clock.now();
    match &heard {
        Heard::Taken => {}
        Heard::Failed(why) => failed(&mut now, why.clone(), at),
        Heard::Refused(why) => {
            if !was_refused(&now) {
                now.attempts = 0;
            }
            failed(&mut now, format!("{REFUSED}{why}"), at);
        }
        Heard::Gone => {
            let why = "whoever took it answered 410: nothing more is wanted";
            give_up(deps, subscription, why).await?;
        }
    }
    running.next.position = now.position;
    running.next.retry_at = now.retry_at;
    let is_far = now.position >= before.position.saturating_add(QUIET_MAX);
    if told > 0 || heard != Heard::Taken || is_far {
        write(deps, subscription, now.clone()).await?;
    }
    let failing = now.failing_since.map(|since| at.since(since));
    if failing.is_some_and(|span| span >= deps.signals.give_up_after) {
        let why = format!(
            "nothing was taken for {} h",
            deps.signals.give_up_after.as_secs() / 3_600
        );
        give_up(deps, subscription, &why).await?;
    }
    Ok(())
}

fn failed(now: &mut Progress, why: String, at: Time) {
    now.attempts += 1;
    now.retry_at = at.after(wait_for(now.attempts));
    now.failing_since = Some(now.failing_since.unwrap_or(at));
    now.trouble = Some(why.chars().take(TROUBLE_MAX).collect());
}

/// Whether the last failure was the word of the receiver about this one SET.
fn was_refused(progress: &Progress) -> bool {
    progress
        .trouble
        .as_deref()
        .is_some_and(|why| why.starts_with(REFUSED))
}

async fn write(deps: &Deps, subscription: &Subscription, progress: Progress) -> Result<(), StoreError> {
    let id = subscription.id.clone();
    let work = async move |tx: &mut Tx| -> Result<Vec<u8>, StoreError> {
        // What a receiver asked for meanwhile stays.
        let verified_at = tx.subscription().progress(&id).await?.verified_at;
        let progress = Progress {
            verified_at,
            ..progress.clone()
        };
        tx.subscription().proceed(&id, &progress).await?;
        Ok(Vec::new())
    };
    deps.store
        .transact(deps.duty(context(deps, subscription)?), work)
        .await
        .map(drop)
}

fn context(deps: &Deps, subscription: &Subscription) -> Result<Context, StoreError> {
    let request = deps.ids.uuid().map_err(|_| StoreError::Unavailable {
        detail: "randomness failed".to_owned(),
    })?;
    let reach = Reach::from(subscription.id.tenant());
    Ok(Context::new(reach, Actor::System("signals"), RequestId(request)))
}

/// What is on record of a SET that somebody cannot use.
pub(crate) fn not_usable(subscription: &SubscriptionId, jti: &str, why: &str) -> serde_json::Value {
    json!({"subscription": subscription.to_string(), "jti": jti, "why": limits::shown(why)})
}

/// Goes on without it, on record.
async fn put_aside(deps: &Deps, subscription: &Subscription, jti: &str, why: &str) -> Result<(), StoreError> {
    let detail = not_usable(&subscription.id, jti, why);
    let work = async move |tx: &mut Tx| -> Result<Vec<u8>, StoreError> {
        tx.note("subscription.put-aside", detail.clone()).await?;
        Ok(Vec::new())
    };
    deps.store
        .transact(context(deps, subscription)?, work)
        .await
        .map(drop)
}

async fn give_up(deps: &Deps, subscription: &Subscription, why: &str) -> Result<(), StoreError> {
    tracing::warn!(subscription = %subscription.id, why, "nothing is told there any more");
    let (id, why) = (subscription.id.clone(), why.to_owned());
    let work = async move |tx: &mut Tx| -> Result<Vec<u8>, CommandError> {
        let Some(found) = tx.subscription().lookup(&id).await? else {
            return Ok(Vec::new());
        };
        // Removed or disabled meanwhile: there is nothing left to do.
        if let Ok(transition) = set_status(found, Status::Disabled, Some(&why), tx.now()) {
            tx.subscription().apply(transition, WithSecret::Keep).await?;
        }
        Ok(Vec::new())
    };
    let done = deps
        .store
        .transact(deps.duty(context(deps, subscription)?), work)
        .await;
    match done {
        Ok(_) | Err(CommandError::Route(_)) => Ok(()),
        Err(CommandError::Store(error)) => Err(error),
    }
}

/// Where it may go: what the operator said of this place, and for streams what the installation says of all.
pub(crate) fn destination(deps: &Deps, delivery: &Delivery) -> Result<(Endpoint, AddressRule), String> {
    let place =
        |place: &Place, plaintext: bool| Endpoint::parse(&place.url, plaintext).map_err(|e| e.to_string());
    let (endpoint, rule) = match delivery {
        Delivery::Poll => return Err("a poll has no place".to_owned()),
        Delivery::Push(to) => {
            let ours = &deps.signals;
            (
                place(to, ours.danger_push_plaintext)?,
                ours.push_addresses.clone(),
            )
        }
        Delivery::Webhook(to) => {
            let ranges: Result<Vec<AddressRange>, _> = to
                .allow_addresses
                .iter()
                .map(|text| AddressRange::parse(text))
                .collect();
            let ranges = ranges.map_err(|e| e.to_string())?;
            (place(to, to.danger_plaintext)?, AddressRule::allowing(ranges))
        }
    };
    rule.require_endpoint(&endpoint).map_err(|e| e.to_string())?;
    Ok((endpoint, rule))
}

async fn send(
    deps: &Deps,
    subscription: &Subscription,
    signal: &Signal,
    secret: Option<&Secret<Vec<u8>>>,
) -> Heard {
    let sent = async {
        let (endpoint, rule) = destination(deps, &subscription.delivery)?;
        let message = match &subscription.delivery {
            Delivery::Webhook(_) => webhook(deps, subscription, signal, secret)?,
            Delivery::Poll | Delivery::Push(_) => pushed(deps, subscription, signal, secret).await?,
        };
        let answer = deps.sender.send(&endpoint, &rule, message).await;
        answer.map_err(|error| error.to_string())
    };
    match (sent.await, &subscription.delivery) {
        (Err(why), _) => Heard::Failed(why),
        (Ok(answer), Delivery::Webhook(_)) => heard_webhook(answer.status.as_u16()),
        (Ok(answer), _) => heard_push(answer.status.as_u16(), answer.body.reveal()),
    }
}

async fn pushed(
    deps: &Deps,
    subscription: &Subscription,
    signal: &Signal,
    secret: Option<&Secret<Vec<u8>>>,
) -> Result<Message, String> {
    let sets = signed(deps, subscription, std::slice::from_ref(signal))
        .await
        .map_err(|error| error.text())?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/secevent+jwt"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(secret) = secret {
        let value = HeaderValue::from_bytes(secret.reveal()).map_err(|e| e.to_string())?;
        headers.insert(AUTHORIZATION, value);
    }
    Ok(Message {
        method: Method::POST,
        headers,
        body: Secret::new(sets.into_iter().next().unwrap_or_default().into_bytes()),
    })
}

fn webhook(
    deps: &Deps,
    subscription: &Subscription,
    signal: &Signal,
    secret: Option<&Secret<Vec<u8>>>,
) -> Result<Message, String> {
    let sealed = secret.ok_or("the webhook has no secret")?;
    let secrets: Secrets = json::parse_as(sealed.reveal(), SECRET_MAX)
        .map_err(|_| "the secret of the webhook cannot be read")?;
    let now = deps.clock.now();
    let issuer = deps.issuer(subscription.id.tenant());
    let (id, body) = message(signal, &subscription.id, &issuer);
    let signature = secrets.sign(&id, now, &body, now).map_err(|e| e.to_string())?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in [
        ("webhook-id", id),
        ("webhook-timestamp", now.secs().to_string()),
        ("webhook-signature", signature),
    ] {
        let value = HeaderValue::from_str(&value).map_err(|e| e.to_string())?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(Message {
        method: Method::POST,
        headers,
        body: Secret::new(body.into_bytes()),
    })
}
