//! Receipts: after a stop is committed, somebody looks where it holds, who was let through last, and what of it is
//! not confirmed. What cannot be done now is done by the next look; a receipt stays open until nothing is left.

mod config;
pub(crate) mod drill;
mod ends;
mod foresee;
pub(crate) mod points;
pub(crate) mod reckon;
mod residue;
mod second;
mod tend;

use std::collections::BTreeMap;
use std::time::Duration;

use bailiwick_base::{Epoch, Time};
use bailiwick_decide::{DenyReason, Effect, MarkEffect, MarkScope};
use bailiwick_store::{Actor, Context, KeptReceipt, Reach, ReceiptState, RequestId, SetMark, Tx};
use bailiwick_wire::{self as wire, Known, LogPlace, ReceiptBody, ReceiptPoint};
use serde_json::{Value, json};

pub use self::config::{KillConfig, KillConfigError};
pub use self::drill::Drills;
use self::ends::held_from;
pub(crate) use self::ends::{Ends, contained};
pub(crate) use self::foresee::foresee;
pub(crate) use self::second::{sign, signable, withdraw};
pub(crate) use self::tend::{Tending, complete, tend};

use self::points::Point;
use self::reckon::{After, LOOKED_MAX, Reckoned, reckon};
use crate::Deps;
use crate::command::{CommandError, answer, store_error};
use crate::effective::scope_in_words;
use crate::problem::RouteError;
use crate::stop::{Pressed, reach_of};

/// How long after a stop the last outcome of a call under it is in the log.
const SETTLED: Duration = Duration::from_secs(3);
/// How often it is tried anew to write a receipt that somebody else wrote meanwhile.
const ATTEMPTS_MAX: usize = 3;

pub(crate) fn to_body(kept: &KeptReceipt) -> Result<ReceiptBody, RouteError> {
    serde_json::from_value(kept.body.clone()).map_err(|e| RouteError::broken("a receipt cannot be read", &e))
}

pub(crate) fn from_body(body: &ReceiptBody) -> Result<Value, RouteError> {
    serde_json::to_value(body).map_err(|e| RouteError::broken("a receipt cannot be written", &e))
}

/// How the mark of a receipt stands when it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MarkState {
    /// Somebody lifted it.
    Lifted,
    /// It was set anew since, maybe after it was lifted: that has a receipt of its own.
    Renewed,
    /// It is the one that the receipt is of.
    Stands,
}

pub(crate) fn to_wire(kept: &KeptReceipt) -> Result<wire::Receipt, RouteError> {
    let body = to_body(kept)?;
    Ok(wire::Receipt {
        id: kept.epoch.0,
        scope: scope_in_words(&kept.scope),
        effect: kept.effect.as_str().to_owned(),
        reversible: kept.effect.is_reversible(),
        state: kept.state.as_str().to_owned(),
        known: body.known(),
        committed_at: kept.at.to_string(),
        position: kept.entry,
        told: kept.told,
        body,
        names: BTreeMap::new(),
        document: kept.document(),
    })
}

pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl Deps {
    /// The receipt of the mark that was set at `epoch`.
    pub(crate) async fn receipt(
        &self,
        reach: Reach,
        epoch: Epoch,
    ) -> Result<Option<KeptReceipt>, RouteError> {
        let mut reader = self.store.reader(reach).await.map_err(|e| store_error(&e))?;
        reader
            .kill_receipt()
            .lookup(epoch)
            .await
            .map_err(|e| store_error(&e))
    }

    /// Where the records of this node are.
    pub(crate) fn node(&self) -> String {
        let logs = self.logs.list().into_iter();
        logs.filter(|log| log.log == "decisions")
            .map(|log| log.origin)
            .next()
            .unwrap_or_default()
    }

    /// One line for each enforcement point that `scope` concerns, before anybody has looked.
    pub(crate) fn lines(
        &self,
        scope: &MarkScope,
        (effect, epoch): (MarkEffect, Epoch),
        received: Duration,
    ) -> Vec<ReceiptPoint> {
        let node = self.node();
        let points = self.points(scope, effect, epoch).into_iter();
        points
            .map(|(point, call)| {
                let refused = self.refuses(point, &call);
                let after = self.clock.monotonic().saturating_sub(received);
                ReceiptPoint {
                    node: node.clone(),
                    point: point.as_str().to_owned(),
                    known: Known::Unconfirmed,
                    refusal_us: refused.then(|| micros(after)),
                    acknowledged_at: refused.then(|| self.clock.now().to_string()),
                    refusal: None,
                    last_permitted: None,
                    permitted_after: 0,
                }
            })
            .collect()
    }

    /// Looks where a committed stop holds, and writes down what was found.
    pub(crate) async fn contain(
        &self,
        reach: Reach,
        epoch: Epoch,
        pressed: Option<&Pressed>,
    ) -> Result<(), RouteError> {
        // Asked once: it may take as long as a lease of a node that is silent.
        let (mut ends, mut asked) = (pressed.map(|stop| stop.ends.clone()), pressed.is_some());
        for _ in 0..ATTEMPTS_MAX {
            let Some(kept) = self.receipt(reach.clone(), epoch).await? else {
                return Ok(());
            };
            if kept.state == ReceiptState::Closed {
                return Ok(());
            }
            let mut body = to_body(&kept)?;
            if let Some(stop) = pressed {
                body.committed_us = Some(micros(stop.committed));
                body.contained_us = stop.ends.contained_us;
            }
            if !asked && !self.is_told_of_nodes(&kept, &body) {
                let told = contained(self, &reach, epoch, held_from(&kept)).await;
                (ends, asked) = (Some(told), true);
            }
            let mark = self.look(&kept, &mut body, ends.as_ref()).await?;
            let state = state_of(&kept, &body, mark);
            if self.advance(&kept, state, &body, "kill.contain").await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes a receipt; `false` when somebody else wrote it meanwhile, `true` also when nothing changed.
    pub(crate) async fn advance(
        &self,
        kept: &KeptReceipt,
        state: ReceiptState,
        body: &ReceiptBody,
        command: &'static str,
    ) -> Result<bool, RouteError> {
        let body = from_body(body)?;
        if state == kept.state && body == kept.body {
            return Ok(true);
        }
        let id = self
            .ids
            .uuid()
            .map_err(|e| RouteError::broken("randomness failed", &e))?;
        let context = Context::new(reach_of(&kept.scope), Actor::System("receipts"), RequestId(id));
        let before = kept.clone();
        let written = self
            .store
            .transact(context, async move |tx: &mut Tx| {
                tx.kill_receipt()
                    .advance(command, &before, state, body.clone())
                    .await?;
                answer(&())
            })
            .await;
        match written {
            Ok(_) => Ok(true),
            Err(CommandError::Store(bailiwick_store::StoreError::Conflict { .. })) => Ok(false),
            Err(error) => Err(RouteError::from(error)),
        }
    }

    /// Presents a call at each point, looks for calls that were let through, and for what is left.
    async fn look(
        &self,
        kept: &KeptReceipt,
        body: &mut ReceiptBody,
        ends: Option<&Ends>,
    ) -> Result<MarkState, RouteError> {
        let mut mark = self.mark_state(kept).await?;
        let node = self.node();
        if let Some(ends) = ends.filter(|ends| !ends.nodes.is_empty()) {
            body.nodes.clone_from(&ends.nodes);
        }
        // The lines of the node that pressed it come first; another one adds its own points from its own log.
        let pressed_here = body.points.first().is_none_or(|line| line.node == node);
        let is_guest = !body.points.iter().any(|line| line.node == node);
        if is_guest && mark == MarkState::Stands {
            let mut own = self.lines(&kept.scope, (kept.effect, before(kept.epoch)), Duration::ZERO);
            for line in &mut own {
                line.refusal_us = None;
            }
            body.points.extend(own);
        }
        if mark == MarkState::Stands {
            self.present(kept, body).await;
        }
        if mark == MarkState::Stands && !body.looked_from.contains_key(&node) {
            // Clocks of two machines are not compared: what knew the mark is told by its epoch.
            let stop = After {
                epoch: kept.epoch,
                committed: pressed_here.then_some(kept.at),
                reborn: (!kept.effect.is_reversible()).then_some(kept.at),
            };
            let found = reckon(self, &kept.scope, Some(stop), LOOKED_MAX).await?;
            // A record that was overtaken says so a moment later; before that, its call seems to be let through.
            let passed = found.after.values().any(|count| *count > 0);
            let is_early = passed && self.clock.now().since(kept.at) < SETTLED;
            // What was let through behind a lift says nothing of the time before it.
            mark = self.mark_state(kept).await?;
            if mark == MarkState::Stands && !is_early {
                note(body, (&node, kept.effect), &found);
                residue::of_log(body, kept, &found, self.clock.now());
            }
        }
        for line in &mut body.points {
            line.known = known_of(line);
        }
        residue::bring_up_to_date(self, kept, body, mark).await?;
        let all_hold = mark == MarkState::Stands
            && body.points.iter().all(|line| line.known == Known::Revoked)
            && self.is_told_of_nodes(kept, body)
            && !self.is_unwitnessed(kept);
        if all_hold && body.contained_at.is_none() {
            body.contained_at = Some(contained_at(kept, body).to_string());
        }
        Ok(mark)
    }

    /// How the mark of a receipt stands. A freeze that stands for a kill is looked after until it is lifted.
    async fn mark_state(&self, kept: &KeptReceipt) -> Result<MarkState, RouteError> {
        if !kept.effect.is_reversible() {
            return Ok(MarkState::Stands);
        }
        let marks = self.marks_of(kept).await?;
        let set = marks.iter().find(|set| set.mark.effect == kept.effect);
        Ok(match set {
            None => MarkState::Lifted,
            Some(set) if set.mark.epoch == kept.epoch || kept.state == ReceiptState::Pending => {
                MarkState::Stands
            }
            Some(_) => MarkState::Renewed,
        })
    }

    async fn marks_of(&self, kept: &KeptReceipt) -> Result<Vec<SetMark>, RouteError> {
        let reach = reach_of(&kept.scope);
        let mut reader = self.store.reader(reach).await.map_err(|e| store_error(&e))?;
        let marks = reader.mark().lookup(&kept.scope).await;
        marks.map_err(|e| store_error(&e))
    }

    /// Whether the mark of a receipt has not been lifted.
    pub(crate) async fn stands(&self, kept: &KeptReceipt) -> Result<bool, RouteError> {
        let marks = self.marks_of(kept).await?;
        Ok(marks.iter().any(|m| m.mark.effect == kept.effect))
    }

    /// The refusal probe: a call with a credential that the scope names, decided and recorded like any other. It is
    /// safe, because nothing is forwarded whatever the answer is.
    async fn present(&self, kept: &KeptReceipt, body: &mut ReceiptBody) {
        for (point, call) in self.points(&kept.scope, kept.effect, before(kept.epoch)) {
            let node = self.node();
            let name = point.as_str();
            let Some(line) = body.points.iter_mut().find(|l| {
                l.point == name && l.node == node && (l.refusal.is_none() || l.acknowledged_at.is_none())
            }) else {
                continue;
            };
            if !point.records() {
                if self.refuses(point, &call) {
                    line.acknowledged_at
                        .get_or_insert_with(|| self.clock.now().to_string());
                }
                continue;
            }
            let is_marked = self.cell.load().marked(&call).is_some();
            let Ok(recorded) = self.pep.evaluate(call).await else {
                continue;
            };
            let at = self.clock.now().to_string();
            // A node that is cut off or doubts its clock refuses everybody, which says nothing about this stop.
            let of_all = [DenyReason::ClockUntrusted, DenyReason::SnapshotStale];
            let refused =
                matches!(recorded.value().effect, Effect::Deny(reason) if !of_all.contains(&reason));
            if is_marked && refused {
                line.acknowledged_at.get_or_insert_with(|| at.clone());
                line.refusal = Some(LogPlace {
                    log: "decisions".to_owned(),
                    index: recorded.sequenced().index,
                    at,
                    decision: Some(recorded.value().id.to_string()),
                    outcome: None,
                });
            }
        }
    }
}

/// The last acknowledgement, or when the last node could permit nothing any more, whichever came later; never before
/// the commit.
fn contained_at(kept: &KeptReceipt, body: &ReceiptBody) -> Time {
    let acknowledged = body
        .points
        .iter()
        .filter_map(|line| line.acknowledged_at.as_deref())
        .filter_map(|at| Time::parse(at).ok());
    let spans = body.nodes.iter().map(|end| end.after_us).chain(body.contained_us);
    let ended = spans.map(|us| kept.at.after(Duration::from_micros(us)));
    acknowledged.chain(ended).fold(kept.at, Time::max)
}

/// The epoch of tokens that were issued just before a mark.
pub(crate) fn before(epoch: Epoch) -> Epoch {
    Epoch(epoch.0.saturating_sub(1))
}

/// A point that let a call through after the stop was durable is live, whatever else was seen of it.
fn known_of(line: &ReceiptPoint) -> Known {
    let records = Point::parse(&line.point).is_none_or(Point::records);
    let refused = if records {
        line.refusal.is_some()
    } else {
        line.acknowledged_at.is_some()
    };
    match (line.permitted_after, refused) {
        (1.., _) => Known::Live,
        (0, true) => Known::Revoked,
        (0, false) => Known::Unconfirmed,
    }
}

/// What the log says of each point. Milder marks let calls through, so nothing is counted against them.
fn note(body: &mut ReceiptBody, (node, effect): (&str, MarkEffect), found: &Reckoned) {
    body.looked_from.insert(node.to_owned(), found.from);
    for line in body.points.iter_mut().filter(|line| line.node == node) {
        line.last_permitted = found.last.get(&line.point).cloned();
        if effect.is_whole() {
            line.permitted_after = found.after.get(&line.point).copied().unwrap_or(0);
        }
    }
}

/// Where nothing of it is to hold any more, nothing is left to be confirmed.
fn state_of(kept: &KeptReceipt, body: &ReceiptBody, mark: MarkState) -> ReceiptState {
    if mark != MarkState::Stands {
        return ReceiptState::Closed;
    }
    let waits = body.pending.as_ref().is_some_and(|p| p.signed_by.is_none());
    let is_open = body.points.iter().any(|line| line.known != Known::Revoked)
        || body.residue.iter().any(|item| item.closed_at.is_none())
        || body.looked_from.is_empty();
    match (waits && kept.state == ReceiptState::Pending, is_open) {
        (true, _) => ReceiptState::Pending,
        (false, true) => ReceiptState::Open,
        (false, false) => ReceiptState::Closed,
    }
}

/// A new receipt's body.
pub(crate) fn pressed(by: &str, reason: &str, at: Time) -> ReceiptBody {
    ReceiptBody {
        pressed_at: at.to_string(),
        by: by.to_owned(),
        reason: reason.to_owned(),
        ..ReceiptBody::default()
    }
}

/// `{}` where a body cannot be written, so that a stop never waits for its receipt.
pub(crate) fn lenient(body: &ReceiptBody) -> Value {
    from_body(body).unwrap_or_else(|_| json!({}))
}
