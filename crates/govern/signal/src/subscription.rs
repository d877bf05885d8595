//! How a subscription begins, changes and ends.

use std::collections::BTreeSet;

use bailiwick_base::{IdentityId, SubscriptionId, Time, Transition};

use crate::limits::{EVENTS_MAX, Limits, RANGES_MAX, SUBJECT_MAX, TEXT_MAX, URL_MAX};
use crate::model::{Delivery, EventKind, Status, Subscription};
use crate::refusal::Refusal;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct NewSubscription {
    /// Id.
    pub id: SubscriptionId,
    /// Whose stream; `None` for a webhook.
    pub receiver: Option<IdentityId>,
    /// How.
    pub delivery: Delivery,
    /// What, by URI or by its last part.
    pub asked: Vec<String>,
    /// The receiver's own words.
    pub description: Option<String>,
    /// Whether a secret is sealed beside it.
    pub has_secret: bool,
}

/// What a receiver changes; absent is left as it is.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// How.
    pub delivery: Option<Delivery>,
    /// What.
    pub asked: Option<Vec<String>>,
    /// Words; `Some(None)` takes them away.
    pub description: Option<Option<String>>,
    /// Whether the secret beside it is another one (`Some(false)`: none).
    pub secret: Option<bool>,
}

/// Begins one. `others` are the living ones of the tenant.
///
/// # Errors
/// [`Refusal`]: a second stream of one receiver, too many of them, or a field out of bounds.
pub fn subscribe<'a>(
    wanted: NewSubscription,
    others: impl IntoIterator<Item = &'a Subscription>,
    limits: &Limits,
    now: Time,
) -> Result<Transition<Subscription>, Refusal> {
    let mut living = 0;
    for other in others {
        living += 1;
        if wanted.receiver.is_some() && other.receiver == wanted.receiver {
            return Err(Refusal::Already(other.id.to_string()));
        }
    }
    if living >= limits.subscriptions_max {
        return Err(Refusal::TooMany(limits.subscriptions_max));
    }
    let subscription = Subscription {
        id: wanted.id,
        receiver: wanted.receiver,
        events: known(&wanted.asked)?,
        asked: wanted.asked,
        delivery: wanted.delivery,
        description: wanted.description,
        left_out: BTreeSet::new(),
        status: Status::Enabled,
        status_reason: None,
        secret_since: wanted.has_secret.then_some(now),
        created_at: now,
        changed_at: now,
        removed_at: None,
    };
    require_bounds(&subscription)?;
    Ok(Transition::made("subscription.add", subscription))
}

/// Changes what the receiver may change.
///
/// # Errors
/// [`Refusal`].
pub fn change(before: Subscription, wanted: Change, now: Time) -> Result<Transition<Subscription>, Refusal> {
    require_living(&before)?;
    let mut after = before.clone();
    if let Some(delivery) = wanted.delivery {
        after.delivery = delivery;
    }
    if let Some(asked) = wanted.asked {
        after.events = known(&asked)?;
        after.asked = asked;
    }
    if let Some(description) = wanted.description {
        after.description = description;
    }
    if let Some(has_secret) = wanted.secret {
        after.secret_since = has_secret.then_some(now);
    }
    after.changed_at = now;
    require_bounds(&after)?;
    Ok(Transition::changed("subscription.change", before, after))
}

/// Puts another secret beside it.
///
/// # Errors
/// [`Refusal::Removed`].
pub fn renew_secret(before: Subscription, now: Time) -> Result<Transition<Subscription>, Refusal> {
    require_living(&before)?;
    let after = Subscription {
        secret_since: Some(now),
        changed_at: now,
        ..before.clone()
    };
    Ok(Transition::changed("subscription.renew-secret", before, after))
}

/// Sets the status.
///
/// # Errors
/// [`Refusal::Removed`], [`Refusal::Unchanged`], [`Refusal::Limit`].
pub fn set_status(
    before: Subscription,
    status: Status,
    reason: Option<&str>,
    now: Time,
) -> Result<Transition<Subscription>, Refusal> {
    require_living(&before)?;
    if before.status == status && before.status_reason.as_deref() == reason {
        return Err(Refusal::Unchanged(status.as_str()));
    }
    within("reason", reason.map_or(0, str::len), TEXT_MAX)?;
    let command = match status {
        Status::Disabled => "subscription.disable",
        Status::Enabled => "subscription.enable",
        Status::Paused => "subscription.pause",
    };
    let after = Subscription {
        status,
        status_reason: reason.map(str::to_owned),
        changed_at: now,
        ..before.clone()
    };
    let transition = Transition::changed(command, before, after);
    Ok(match reason {
        Some(reason) => transition.because(reason),
        None => transition,
    })
}

/// Says nothing more about a subject (canonical JSON).
///
/// # Errors
/// [`Refusal::Removed`], [`Refusal::Limit`], [`Refusal::Unchanged`].
pub fn leave_out(
    before: Subscription,
    subject: String,
    limits: &Limits,
    now: Time,
) -> Result<Transition<Subscription>, Refusal> {
    require_living(&before)?;
    within("subject", subject.len(), SUBJECT_MAX)?;
    within("subjects", before.left_out.len() + 1, limits.left_out_max)?;
    let bytes = before.left_out.iter().map(String::len).sum::<usize>() + subject.len();
    within("bytes of subjects", bytes, limits.left_out_bytes_max)?;
    let mut after = before.clone();
    if !after.left_out.insert(subject) {
        return Err(Refusal::Unchanged("removed"));
    }
    after.changed_at = now;
    Ok(Transition::changed("subscription.leave-out", before, after))
}

/// Speaks of a subject again.
///
/// # Errors
/// [`Refusal::Removed`], [`Refusal::Unchanged`].
pub fn take_in(before: Subscription, subject: &str, now: Time) -> Result<Transition<Subscription>, Refusal> {
    require_living(&before)?;
    let mut after = before.clone();
    if !after.left_out.remove(subject) {
        return Err(Refusal::Unchanged("added"));
    }
    after.changed_at = now;
    Ok(Transition::changed("subscription.take-in", before, after))
}

/// Ends it.
///
/// # Errors
/// [`Refusal::Removed`], [`Refusal::Missing`] without a reason.
pub fn withdraw(before: Subscription, reason: &str, now: Time) -> Result<Transition<Subscription>, Refusal> {
    require_living(&before)?;
    if reason.trim().is_empty() {
        return Err(Refusal::Missing("reason"));
    }
    within("reason", reason.len(), TEXT_MAX)?;
    let after = Subscription {
        removed_at: Some(now),
        changed_at: now,
        secret_since: None,
        ..before.clone()
    };
    Ok(Transition::changed("subscription.remove", before, after).because(reason))
}

/// Types that are not known are ignored (SSF 1.0 §8.1.1.1), but one has to be.
fn known(asked: &[String]) -> Result<BTreeSet<EventKind>, Refusal> {
    within("events_requested", asked.len(), EVENTS_MAX)?;
    for uri in asked {
        within("events_requested", uri.len(), URL_MAX)?;
    }
    let known: BTreeSet<EventKind> = asked.iter().filter_map(|uri| EventKind::parse(uri)).collect();
    if known.is_empty() {
        return Err(Refusal::Events("events_requested"));
    }
    Ok(known)
}

fn require_living(subscription: &Subscription) -> Result<(), Refusal> {
    match subscription.removed_at {
        Some(_) => Err(Refusal::Removed(subscription.id.to_string())),
        None => Ok(()),
    }
}

fn require_bounds(subscription: &Subscription) -> Result<(), Refusal> {
    within(
        "description",
        subscription.description.as_ref().map_or(0, String::len),
        TEXT_MAX,
    )?;
    if let Some(place) = subscription.delivery.place() {
        within("endpoint_url", place.url.len(), URL_MAX)?;
        within("allow_addresses", place.allow_addresses.len(), RANGES_MAX)?;
    }
    match &subscription.delivery {
        Delivery::Webhook(_) if subscription.receiver.is_some() => Err(Refusal::Misplaced("receiver")),
        Delivery::Webhook(_) if subscription.secret_since.is_none() => Err(Refusal::Missing("secret")),
        Delivery::Poll if subscription.secret_since.is_some() => {
            Err(Refusal::Misplaced("authorization_header"))
        }
        Delivery::Poll | Delivery::Push(_) if subscription.receiver.is_none() => {
            Err(Refusal::Missing("receiver"))
        }
        Delivery::Poll | Delivery::Push(_) | Delivery::Webhook(_) => Ok(()),
    }
}

pub(crate) const fn within(field: &'static str, found: usize, max: usize) -> Result<(), Refusal> {
    if found > max {
        return Err(Refusal::Limit { field, max });
    }
    Ok(())
}
