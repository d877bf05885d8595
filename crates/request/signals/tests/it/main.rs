//! Tests of `signals`, one binary.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod caep;
mod polls;
mod status_lists;
mod streams;
mod told;
mod webhooks;

use bailiwick_base::{IdentityId, SubscriptionId, TenantId, Time};
use bailiwick_signal::{Delivery, EventKind, Limits, NewSubscription, Subscription, subscribe};
use bailiwick_signals::Record;
use serde_json::Value;

pub(crate) const ISSUER: &str = "https://bailiwick.example/t/acme";

pub(crate) fn stream() -> Subscription {
    let tenant = TenantId::parse("acme").unwrap();
    let plan = NewSubscription {
        id: SubscriptionId::parse(&tenant, &format!("sbs_{}", "a".repeat(26))).unwrap(),
        receiver: Some(IdentityId::parse(&tenant, &format!("idn_{}", "a".repeat(26))).unwrap()),
        delivery: Delivery::Poll,
        asked: EventKind::REQUESTED.map(|kind| kind.uri().to_owned()).to_vec(),
        description: None,
        has_secret: false,
    };
    subscribe(plan, [], &Limits::default(), Time::from_secs(1))
        .unwrap()
        .after
}

pub(crate) fn record(index: u64, command: &str, payload: Value) -> Record {
    Record {
        index,
        kind: format!("state.{command}"),
        at: Time::from_secs(1_700_000_000),
        payload,
    }
}
