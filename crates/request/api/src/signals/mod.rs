//! Telling others what happened: what is due, and who waits for whom.
//!
//! The source is the state log itself: a subscription has a position in it and nothing else. What is worked out again
//! after a crash has the same `jti`, so nothing is lost and what comes twice is known to be the same.

mod config;
mod deliver;
mod turns;

pub use config::{SignalConfig, SignalConfigError};
pub(crate) use deliver::{destination, not_usable};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bailiwick_base::SubscriptionId;
use bailiwick_inventory::TenantState;
use bailiwick_outbound::{AddressRule, LaneConfig, Lanes};
use bailiwick_signal::{Delivery, Limits, Status, Subscription};
use bailiwick_signals::{Record, Signal, is_told, signals};
use bailiwick_store::StoreError;

use crate::Deps;
use crate::oauth::status_list::StatusLists;
use crate::reconcile::Work;
use turns::{Turn, Turns};

/// Polls that are answered at once: each may cost dozens of signatures. One tenant has a quarter of the places, and no
/// queue of its own that others would wait behind.
const ANSWERS: LaneConfig = LaneConfig {
    all_max: 8,
    each_max: 2,
    waiting_each_max: 32,
    wait_max: Duration::from_secs(5),
};
/// Polls that wait for something to happen.
const POLLS: LaneConfig = LaneConfig {
    all_max: 128,
    each_max: 16,
    waiting_each_max: 0,
    wait_max: Duration::ZERO,
};

/// What is kept in memory; without it, as after a start, everything is looked at once.
pub struct Signals {
    pub(crate) push_addresses: AddressRule,
    pub(crate) danger_push_plaintext: bool,
    pub(crate) give_up_after: Duration,
    pub(crate) limits: Limits,
    pub(crate) polls: Lanes,
    pub(crate) answers: Lanes,
    pub(crate) lists: StatusLists,
    turns: Arc<Mutex<Turns>>,
}

impl Signals {
    /// None running.
    ///
    /// # Errors
    /// [`SignalConfigError`].
    pub fn new(config: &SignalConfig) -> Result<Self, SignalConfigError> {
        Ok(Self {
            push_addresses: AddressRule::parse(&config.push_allow_addresses)?,
            danger_push_plaintext: config.danger_push_plaintext,
            give_up_after: Duration::from_secs(config.give_up_hours.saturating_mul(3_600)),
            limits: Limits::default(),
            polls: Lanes::new(POLLS),
            answers: Lanes::new(ANSWERS),
            lists: StatusLists::default(),
            turns: Arc::default(),
        })
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a turn, however its work ended.
struct Running {
    turns: Arc<Mutex<Turns>>,
    id: SubscriptionId,
    next: Turn,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.end(self.id.clone(), self.next);
    }
}

/// Who is to be told something now and is not being told already.
pub(crate) async fn due(deps: &Deps) -> Vec<Work> {
    let head = deps.cell.load().state_pos().0;
    if deps.signals.turns().is_quiet_at(head) {
        return Vec::new();
    }
    let living = match deps.store.subscriptions().await {
        Ok(living) => living,
        Err(error) => {
            tracing::warn!(%error, "who is to be told something could not be read");
            return Vec::new();
        }
    };
    let taken = take(deps, living, head);
    taken
        .into_iter()
        .map(|(subscription, running)| -> Work {
            let deps = deps.clone();
            Box::pin(async move { deliver::run(&deps, subscription, running, head).await })
        })
        .collect()
}

fn take(deps: &Deps, living: Vec<Subscription>, head: u64) -> Vec<(Subscription, Running)> {
    let (now, snapshot) = (deps.clock.now(), deps.cell.load());
    let mut turns = deps.signals.turns();
    let ids: BTreeSet<_> = living.iter().map(|s| s.id.clone()).collect();
    turns.keep(&ids);
    let mut wanted: BTreeMap<SubscriptionId, Subscription> = living
        .into_iter()
        .filter(|subscription| {
            let is_served = snapshot
                .tenant(subscription.id.tenant())
                .is_some_and(|(tenant, _)| tenant.state == TenantState::Active);
            is_served && subscription.status == Status::Enabled && subscription.delivery != Delivery::Poll
        })
        .map(|subscription| (subscription.id.clone(), subscription))
        .collect();
    let admitted = turns.admit(wanted.keys(), head, now);
    let taken = admitted.into_iter().filter_map(|(id, next)| {
        let subscription = wanted.remove(&id)?;
        let turns = Arc::clone(&deps.signals.turns);
        Some((subscription, Running { turns, id, next }))
    });
    taken.collect()
}

/// What a subscription is to be told of the entries in `[from, to)`, and the index up to which that is all.
pub(crate) async fn read(
    deps: &Deps,
    subscription: &Subscription,
    (from, to): (u64, u64),
    max: u32,
) -> Result<(Vec<Signal>, u64), StoreError> {
    let tenant = subscription.id.tenant();
    let (entries, end) = deps
        .store
        .openings_since(tenant, (from, to), max, is_told)
        .await?;
    let issuer = deps.issuer(tenant);
    let mut out = Vec::new();
    for entry in entries {
        let record = Record {
            index: entry.index,
            payload: entry.value()?,
            kind: entry.kind,
            at: entry.at,
        };
        out.extend(signals(&record, subscription, &issuer));
    }
    Ok((out, end))
}

/// The SET about a signal, signed with the key that signs for the tenant.
pub(crate) async fn signed(
    deps: &Deps,
    subscription: &Subscription,
    told: &[Signal],
) -> Result<Vec<String>, crate::RouteError> {
    let tenant = subscription.id.tenant();
    let issuer = deps.issuer(tenant);
    let audience = subscription
        .receiver
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let now = deps.clock.now();
    let claims = told
        .iter()
        .map(|signal| bailiwick_signals::claims(signal, &subscription.id, (&issuer, &audience), now))
        .collect();
    crate::signing_keys::sign_all(deps, tenant, bailiwick_signals::SECURITY_EVENT, claims).await
}
