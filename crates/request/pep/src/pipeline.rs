//! The one pipeline: rates → decide → record → look at the marks again → permit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bailiwick_base::{Clock, DecisionId, EntropyError, Ids, TaskId, TenantId, Time};
use bailiwick_decide::{
    Call, Decision, DenyReason, Door, Effect, Principal, Rate, RateReading, Reasons, Snapshot, decide,
};
use futures_util::future::join_all;
use smallvec::SmallVec;

use crate::cell::SnapshotCell;
use crate::counters::Counters;
use crate::meter::{Allowance, Meter};
use crate::permit::{Denial, Permit, require_permit};
use crate::record::{Outcome, Recorded, Recorder};

/// Every enforcement point of this process goes through one of these.
pub struct Pep {
    cell: Arc<SnapshotCell>,
    recorder: Arc<dyn Recorder>,
    meter: Meter,
    clock: Arc<dyn Clock>,
    ids: Ids,
    /// How long a record may take before the call is refused.
    budget: Duration,
    flights: Flights,
    counters: Counters,
}

/// How often a decision is taken anew because a mark came while it was being recorded.
const ATTEMPTS_MAX: usize = 3;

/// Calls that were permitted and have not ended.
#[derive(Default)]
pub(crate) struct Flights {
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, Arc<Call>>>,
}

impl Flights {
    fn begin(&self, call: Arc<Call>) -> u64 {
        let flight = self.next.fetch_add(1, Ordering::Relaxed);
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(flight, call);
        flight
    }

    fn end(&self, flight: u64) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&flight);
    }
}

/// The snapshot a decision was taken by, and when. While the cell still holds that very snapshot there is
/// nothing to look at again.
#[derive(Clone)]
pub(crate) struct Basis {
    at: Time,
    snapshot: Option<Arc<Snapshot>>,
}

/// What a permit keeps of its pipeline while the call runs.
pub(crate) struct Flight {
    pep: Arc<Pep>,
    call: Arc<Call>,
    /// What it was decided by, and when.
    basis: Basis,
    number: u64,
    outcome: Option<Outcome>,
}

impl Flight {
    pub(crate) fn set(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    /// Whether the call must stop, its lifetime included.
    pub(crate) fn must_stop(&self) -> Option<DenyReason> {
        let now = self.pep.clock.now().max(self.basis.at);
        self.pep.must_stop(
            &self.call,
            &Basis {
                at: now,
                snapshot: None,
            },
        )
    }

    /// The same watch, apart from the permit.
    pub(crate) fn watch(&self) -> Watch {
        Watch {
            pep: Arc::clone(&self.pep),
            call: Arc::clone(&self.call),
            basis: self.basis.clone(),
        }
    }

    /// Resolves when the call must stop.
    pub(crate) async fn ended(&self) -> DenyReason {
        self.pep.ended(&self.call, &self.basis).await
    }
}

/// Looks after a running call from outside of whoever holds its permit. It gives no right to anything: whoever could
/// be kept from looking at the permit (by a peer that does not read) is ended by somebody who cannot.
pub struct Watch {
    pep: Arc<Pep>,
    call: Arc<Call>,
    basis: Basis,
}

impl Watch {
    /// Resolves with the reason once the call must stop, as [`Permit::revoked`](crate::Permit::revoked) does.
    pub async fn revoked(&self) -> DenyReason {
        self.pep.ended(&self.call, &self.basis).await
    }
}

impl Drop for Flight {
    /// A call whose enforcement point went away was cancelled.
    fn drop(&mut self) {
        self.pep.flights.end(self.number);
        self.pep
            .recorder
            .record_outcome(&self.call, self.outcome.unwrap_or(Outcome::Cancelled));
    }
}

impl Pep {
    /// A pipeline over one cell and one recorder. Install the metrics exporter first: its counters are found
    /// here, once.
    #[must_use]
    pub fn new(
        cell: Arc<SnapshotCell>,
        recorder: Arc<dyn Recorder>,
        clock: Arc<dyn Clock>,
        ids: Ids,
        budget: Duration,
    ) -> Self {
        Self {
            cell,
            recorder,
            meter: Meter::default(),
            clock,
            ids,
            budget,
            flights: Flights::default(),
            counters: Counters::new(),
        }
    }

    /// Counts a call that was permitted at `at`, before this process began. Oldest first.
    pub fn recall(&self, call: &Call, at: Time) {
        let Some(task) = task_of(call) else {
            return;
        };
        for (scope, rate) in self.cell.load().rates_of(call) {
            self.count_again(task, scope, rate, at);
        }
    }

    /// The same for a call whose names the log does not hold: it counts for every rate of its task.
    pub fn recall_unnamed(&self, task: &TaskId, at: Time) {
        let snapshot = self.cell.load();
        let scopes = snapshot.task(task).map(|(_, grant)| &grant.scopes);
        for (scope, granted) in scopes.into_iter().flatten().enumerate() {
            if let Some(rate) = granted.rate {
                self.count_again(task, scope, rate, at);
            }
        }
    }

    fn count_again(&self, task: &TaskId, scope: usize, rate: Rate, at: Time) {
        let allowance = Allowance {
            calls: rate.calls,
            window: rate.window,
        };
        self.meter.count(task, scope, allowance, at);
    }

    /// What was permitted until `until` could not be counted again: rates that look back so far are exceeded.
    pub fn forget_until(&self, until: Time) {
        self.meter.forget_until(until);
    }

    /// The snapshot every call is judged by.
    #[must_use]
    pub fn cell(&self) -> &Arc<SnapshotCell> {
        &self.cell
    }

    /// An id for the next call of `tenant`.
    ///
    /// # Errors
    /// [`EntropyError`]: nothing may be decided then.
    pub fn next_id(&self, tenant: &TenantId) -> Result<DecisionId, EntropyError> {
        self.ids.mint(tenant)
    }

    /// Decides and records; the permit is there only when the record is durable and no mark came meanwhile.
    ///
    /// # Errors
    /// The denial, which is recorded too unless recording itself failed.
    pub async fn permit(self: &Arc<Self>, mut call: Call) -> Result<Permit, Denial> {
        let (decision, basis) = self.decide(&mut call);
        let recorded = self.record(&call, decision).await?;
        require_permit(recorded.value())?;
        let call = Arc::new(call);
        let number = self.flights.begin(Arc::clone(&call));
        let mut flight = Flight {
            pep: Arc::clone(self),
            call: Arc::clone(&call),
            basis,
            number,
            outcome: None,
        };
        // Registered first, looked at second: a kill between the two finds the call in flight.
        if let Some(reason) = self.must_stop(&call, &flight.basis) {
            flight.outcome = Some(Outcome::Overtaken);
            return Err(stopped(&call, reason));
        }
        Ok(Permit::from_recorded(recorded, flight))
    }

    /// Decides and records for an enforcement point outside (AuthZEN), which forwards by itself. When a mark
    /// comes while a permit is being recorded, the call is decided and recorded once more.
    ///
    /// # Errors
    /// The denial when the decision could not be recorded.
    pub async fn evaluate(&self, mut call: Call) -> Result<Recorded<Decision>, Denial> {
        for _ in 0..ATTEMPTS_MAX {
            let (decision, basis) = self.decide(&mut call);
            let recorded = self.record(&call, decision).await?;
            if !self.is_outdated(&call, &basis, recorded.value()) {
                return Ok(recorded);
            }
        }
        Err(stopped(&call, DenyReason::SnapshotStale))
    }

    /// Decides a batch and records all of it at once: the records share their flush. A permit that a mark
    /// overtook is decided again alone.
    ///
    /// # Errors
    /// The denial when a decision could not be recorded; then none of the batch counts.
    pub async fn evaluate_all(&self, calls: Vec<Call>) -> Result<Vec<Recorded<Decision>>, Denial> {
        let mut judged = Vec::with_capacity(calls.len());
        for mut call in calls {
            let (decision, basis) = self.decide(&mut call);
            judged.push((call, decision, basis));
        }
        let records = judged
            .iter()
            .map(|(call, decision, _)| self.record(call, decision.clone()));
        let recorded = join_all(records).await;
        let mut out = Vec::with_capacity(judged.len());
        for ((call, _, basis), recorded) in judged.into_iter().zip(recorded) {
            let recorded = recorded?;
            let is_outdated = self.is_outdated(&call, &basis, recorded.value());
            out.push(if is_outdated {
                self.evaluate(call).await?
            } else {
                recorded
            });
        }
        Ok(out)
    }

    /// Whether a recorded permit was overtaken by a mark. What it permitted will not happen, and its record is
    /// told so.
    fn is_outdated(&self, call: &Call, basis: &Basis, decision: &Decision) -> bool {
        let outdated = decision.effect == Effect::Permit && self.must_stop(call, basis).is_some();
        if outdated {
            self.recorder.record_outcome(call, Outcome::Overtaken);
        }
        outdated
    }

    /// Resolves when the call must stop because something narrowed. That its time ran out meanwhile does not
    /// end a call that began in time.
    async fn ended(&self, call: &Call, basis: &Basis) -> DenyReason {
        let mut narrowed = self.cell.narrowed();
        loop {
            // Listening begins before looking, so nothing falls between the two.
            narrowed.mark_unchanged();
            if let Some(reason) = self.must_stop(call, basis) {
                return reason;
            }
            if narrowed.changed().await.is_err() {
                // The cell is gone: the process ends, and so does every call.
                return DenyReason::SnapshotStale;
            }
        }
    }

    /// Why a call that was permitted must stop, if it must: the marks alone are looked at first, because a kill
    /// wakes every open call at once; whatever else narrowed shows when it is decided again as of then.
    fn must_stop(&self, call: &Call, basis: &Basis) -> Option<DenyReason> {
        if !self.cell.is_fresh(self.clock.monotonic()) {
            return Some(DenyReason::SnapshotStale);
        }
        let snapshot = self.cell.load();
        if basis
            .snapshot
            .as_ref()
            .is_some_and(|before| Arc::ptr_eq(before, &snapshot))
        {
            return None;
        }
        if let Some((reason, _)) = snapshot.marked(call) {
            return Some(reason);
        }
        match decide(&snapshot, call, basis.at).effect {
            Effect::Permit => None,
            Effect::Deny(reason) => Some(reason),
            Effect::Hold(_) => Some(DenyReason::UnknownObligation),
        }
    }

    fn decide(&self, call: &mut Call) -> (Decision, Basis) {
        let snapshot = self.cell.load();
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        let mut decision = if !self.cell.is_fresh(monotonic) {
            unsure(&snapshot, call, DenyReason::SnapshotStale)
        } else if self.clock.is_doubted() {
            unsure(&snapshot, call, DenyReason::ClockUntrusted)
        } else {
            self.decide_metered(&snapshot, call, now)
        };
        decision.age_ms = self.cell.age_ms(monotonic);
        self.counters.decided(call.door, &decision.effect);
        (
            decision,
            Basis {
                at: now,
                snapshot: Some(snapshot),
            },
        )
    }

    fn decide_metered(&self, snapshot: &Snapshot, call: &mut Call, now: Time) -> Decision {
        let kept = self.read_rates(snapshot, call, now);
        let decision = decide(snapshot, call, now);
        // A hypothetical call uses nothing up, and neither does one that is refused.
        if (decision.effect != Effect::Permit || call.door == Door::Check)
            && let Some(task) = task_of(call)
        {
            for scope in kept {
                self.meter.give_back(task, scope, now);
            }
        }
        decision
    }

    /// Reads the meter for the rates of the call's grant, in the call itself: the decision stays pure. Gives the
    /// scopes whose meter kept the call.
    fn read_rates(&self, snapshot: &Snapshot, call: &mut Call, now: Time) -> SmallVec<[usize; 2]> {
        call.rates.clear();
        let mut kept = SmallVec::new();
        let rates = snapshot.rates_of(call);
        let Some(task) = task_of(call).filter(|_| !rates.is_empty()).cloned() else {
            return kept;
        };
        for (scope, rate) in rates {
            let allowance = Allowance {
                calls: rate.calls,
                window: rate.window,
            };
            let is_unknown = snapshot
                .task(&task)
                .is_none_or(|(task, _)| self.meter.is_unknown(task.opens_at, rate.window, now));
            let calls = if is_unknown {
                u32::MAX
            } else {
                self.meter.count(&task, scope, allowance, now)
            };
            if calls <= rate.calls {
                kept.push(scope);
            }
            call.rates.push(RateReading {
                scope,
                calls,
                at: now,
            });
        }
        kept
    }

    /// Resolves when the record is durable. That order is what every enforcement point relies on; the tests that
    /// show it are themselves tested with a build where it is broken (`forward-before-record`).
    async fn record(&self, call: &Call, decision: Decision) -> Result<Recorded<Decision>, Denial> {
        #[cfg(bailiwick_planted = "forward-before-record")]
        {
            drop(self.recorder.record(call, &decision));
            return Ok(Recorded::new(decision, crate::record::Sequenced { index: 0 }));
        }
        #[cfg(not(bailiwick_planted = "forward-before-record"))]
        match tokio::time::timeout(self.budget, self.recorder.record(call, &decision)).await {
            Ok(Ok(sequenced)) => Ok(Recorded::new(decision, sequenced)),
            Ok(Err(error)) => Err(self.unrecorded(&call.id, &error.to_string())),
            Err(_) => Err(self.unrecorded(&call.id, "not in time")),
        }
    }

    /// Nothing was recorded, so nothing is permitted.
    fn unrecorded(&self, call: &DecisionId, why: &str) -> Denial {
        self.counters.unrecorded();
        tracing::error!(why, "a decision could not be recorded; the call is refused");
        Denial {
            reason: DenyReason::NotRecorded,
            text: "the decision could not be recorded, so the call is refused; try again".to_owned(),
            decision: call.clone(),
        }
    }

    /// Records a call that was refused before anything was left to decide, with the rule that refused it.
    pub async fn refuse(&self, call: &Call, reason: DenyReason, text: String) -> Denial {
        let snapshot = self.cell.load();
        let decision = Decision {
            id: call.id.clone(),
            effect: Effect::Deny(reason),
            reasons: Reasons {
                text: text.clone(),
                ..Reasons::default()
            },
            obligations: SmallVec::new(),
            epoch: snapshot.epoch(),
            state_pos: snapshot.state_pos(),
            age_ms: self.cell.age_ms(self.clock.monotonic()),
        };
        self.counters.decided(call.door, &decision.effect);
        let denial = Denial {
            reason,
            text,
            decision: call.id.clone(),
        };
        match self.record(call, decision).await {
            Ok(_) => denial,
            Err(unrecorded) => unrecorded,
        }
    }

    /// How many open calls `matches` holds for.
    #[must_use]
    pub fn in_flight(&self, matches: impl Fn(&Call) -> bool) -> u64 {
        let open = self.flights.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().filter(|call| matches(call)).count() as u64
    }

    /// Decides without recording and without any right coming from it: the probe after a kill.
    #[must_use]
    pub fn probe(&self, call: &Call) -> Decision {
        decide(&self.cell.load(), call, self.clock.now())
    }
}

/// The task whose grant's rates apply.
fn task_of(call: &Call) -> Option<&TaskId> {
    match &call.principal {
        Principal::Bearer(bearer) => Some(&bearer.claims.task),
        Principal::Identity { task, .. } => task.as_ref(),
        Principal::Named(named) => named.task.as_ref(),
    }
}

/// A kill came between the decision and the call.
fn stopped(call: &Call, reason: DenyReason) -> Denial {
    Denial {
        reason,
        text: "stopped between the decision and the call".to_owned(),
        decision: call.id.clone(),
    }
}

/// This node does not know enough to say yes.
fn unsure(snapshot: &Snapshot, call: &Call, reason: DenyReason) -> Decision {
    let text = match reason {
        DenyReason::ClockUntrusted => "the clock of this node has just leapt: try again in a minute",
        _ => "this node has not heard from its store in time",
    };
    Decision {
        id: call.id.clone(),
        effect: Effect::Deny(reason),
        reasons: Reasons {
            text: text.to_owned(),
            ..Reasons::default()
        },
        obligations: SmallVec::new(),
        epoch: snapshot.epoch(),
        state_pos: snapshot.state_pos(),
        age_ms: 0,
    }
}
