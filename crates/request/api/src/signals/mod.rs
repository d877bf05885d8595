//! Telling others what happened: what is due, and who waits for whom.
//!
//! The source is the state log itself: a subscription has a position in it and nothing else. What is worked out again
//! after a crash has the same `jti`, so nothing is lost and what comes twice is known to be the same.

mod config;
mod deliver;

pub use config::{SignalConfig, SignalConfigError};
pub(crate) use deliver::{destination, put_aside};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bailiwick_base::{SubscriptionId, TenantId, Time};
use bailiwick_inventory::TenantState;
use bailiwick_outbound::AddressRule;
use bailiwick_signal::{Delivery, Limits, Status, Subscription};
use bailiwick_signals::{Record, Signal, is_told, signals};
use bailiwick_store::StoreError;
use tokio::sync::Semaphore;

use crate::Deps;
use crate::oauth::status_list::StatusLists;
use crate::reconcile::Work;

/// Places of one tenant: what hangs in one receiver keeps nobody else's.
const TENANT_PLACES: usize = 8;
/// Places of everybody.
const PLACES: usize = 128;
/// Polls that are answered at once, of everybody: each may cost dozens of signatures.
const ANSWERS_MAX: usize = 8;
/// Polls that wait for something to happen, of everybody.
const POLLS_MAX: usize = 64;

/// What is kept in memory; without it, as after a start, everything is looked at once.
pub struct Signals {
    pub(crate) push_addresses: AddressRule,
    pub(crate) danger_push_plaintext: bool,
    pub(crate) give_up_after: Duration,
    pub(crate) limits: Limits,
    pub(crate) polls: Arc<Semaphore>,
    pub(crate) answers: Arc<Semaphore>,
    pub(crate) lists: StatusLists,
    turns: Arc<Mutex<Turns>>,
}

#[derive(Default)]
struct Turns {
    of: BTreeMap<SubscriptionId, Turn>,
    /// The end of the log at the last look, when nothing was left to do then.
    quiet_at: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    running: bool,
    /// Nothing before this entry is to be told.
    position: u64,
    retry_at: Time,
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
            polls: Arc::new(Semaphore::new(POLLS_MAX)),
            answers: Arc::new(Semaphore::new(ANSWERS_MAX)),
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
        turns.of.insert(
            self.id.clone(),
            Turn {
                running: false,
                ..self.next
            },
        );
    }
}

/// Who is to be told something now and is not being told already.
pub(crate) async fn due(deps: &Deps) -> Vec<Work> {
    let head = deps.cell.load().state_pos().0;
    if deps.signals.turns().quiet_at == Some(head) {
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
    let ids: std::collections::BTreeSet<_> = living.iter().map(|s| s.id.clone()).collect();
    turns.of.retain(|id, turn| turn.running || ids.contains(id));
    let mut running: BTreeMap<TenantId, usize> = BTreeMap::new();
    for (id, _) in turns.of.iter().filter(|(_, turn)| turn.running) {
        *running.entry(id.tenant().clone()).or_default() += 1;
    }
    let mut everywhere: usize = running.values().sum();
    let (mut taken, mut left) = (Vec::new(), false);
    for subscription in living {
        let is_served = snapshot
            .tenant(subscription.id.tenant())
            .is_some_and(|(tenant, _)| tenant.state == TenantState::Active);
        if !is_served || subscription.status != Status::Enabled || subscription.delivery == Delivery::Poll {
            continue;
        }
        let turn = turns.of.entry(subscription.id.clone()).or_default();
        if !turn.running && turn.position >= head {
            continue;
        }
        left = true;
        let of_tenant = running.entry(subscription.id.tenant().clone()).or_default();
        if turn.running || turn.retry_at > now || *of_tenant >= TENANT_PLACES || everywhere >= PLACES {
            continue;
        }
        (*of_tenant, everywhere, turn.running) = (*of_tenant + 1, everywhere + 1, true);
        let running = Running {
            turns: Arc::clone(&deps.signals.turns),
            id: subscription.id.clone(),
            next: *turn,
        };
        taken.push((subscription, running));
    }
    turns.quiet_at = (!left).then_some(head);
    taken
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
    let claims = told
        .iter()
        .map(|signal| bailiwick_signals::claims(signal, &subscription.id, &issuer, &audience))
        .collect();
    crate::signing_keys::sign_all(deps, tenant, bailiwick_signals::SECURITY_EVENT, claims).await
}
