//! Room tests of `credential`.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its input fails")]

mod claims;
mod consent;
mod correct;
mod exchange;
mod foreign;
mod issuing;
mod lease;
mod rotation;
mod rotation_aws;
mod signing_key;
mod transitions;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{Id, IdKind, Ids, ManualClock, SeededEntropy, TenantId, Time};
use bailiwick_credential::{Limits, Task, TaskPlan, open_task};

pub(crate) fn at(seconds: i64) -> Time {
    Time::from_secs(1_790_000_000 + seconds)
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

/// An id that is the same for the same seed.
pub(crate) fn id<K: IdKind>(of: &str, seed: u64) -> Id<K> {
    let ids = Ids::new(
        Arc::new(ManualClock::at(at(0))),
        Arc::new(SeededEntropy::new(seed)),
    );
    ids.mint(&tenant(of)).unwrap()
}

pub(crate) fn plan() -> TaskPlan {
    TaskPlan {
        id: id("acme", 1),
        identity: id("acme", 2),
        identity_expires_at: at(100_000),
        purpose: "sum up the invoices of September".to_owned(),
        requested_by: "opr_1".to_owned(),
        opens_at: None,
        closes_at: at(3_600),
        may_act: Vec::new(),
    }
}

pub(crate) fn task() -> Task {
    open_task(plan(), &Limits::default(), at(0)).unwrap().after
}

pub(crate) const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
