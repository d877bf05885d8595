//! Kill, suspend, resume: the one order (decisions page, section 4).
//!
//! kill journal without flush → deny in memory → flush of the journal beside the state-log transaction →
//! `committed`. A crash between any two steps comes back denied, because a start replays the journal before
//! it listens.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bailiwick_base::{Digest, Epoch, IdentityId};
use bailiwick_decide::{Mark, MarkEffect, MarkScope};
use bailiwick_inventory::{self as inventory, State};
use bailiwick_journal::{KillEntry, KillMark, Slot};
use bailiwick_pep::PendingMark;
use bailiwick_store::{Actor, Context, Lane, Reach, Receipt, RequestId, StoreError, Tx};
use bailiwick_wire as wire;
use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::Deps;
use crate::command::{CommandError, answer};
use crate::problem::RouteError;
use crate::receipts::{self, Ends};
use crate::received::{Heard, Until};
use crate::session::Session;
use crate::stopping::{end_members, stopped, write_mark};

/// Revocations by clients under way at once: a quarter of the kill journal's pages.
const REVOCATIONS_MAX: usize = 64;
/// Identities that one transaction ends beside the mark; the rest follow in batches of this size.
const MEMBERS_MAX: usize = 256;

/// What is to be stopped.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    pub(crate) scope: MarkScope,
    pub(crate) effect: MarkEffect,
    pub(crate) reason: String,
}

/// How far it got, on the clock of this node.
#[derive(Clone)]
pub(crate) struct Stopped {
    reach: Reach,
    pub(crate) receipt: Arc<Receipt>,
    pub(crate) denied: Duration,
    pub(crate) committed: Duration,
    pub(crate) cancelled: u64,
    pub(crate) points: Vec<wire::PointReading>,
    /// Whether a receipt of it is kept: of what an operator stops.
    pub(crate) kept: bool,
    /// When no node permitted any more what it forbids; where a receipt is kept and its giver waited for that.
    pub(crate) ends: Ends,
}

/// What the kill journal knows of the command: its key, and what was asked under it.
fn asked(entry: &KillEntry) -> Option<(String, Digest)> {
    let key = entry.idempotency.clone()?;
    Some((key, Digest::from_hex(&entry.request)?))
}

/// Whose entry it is.
pub(crate) fn reach_of(scope: &MarkScope) -> Reach {
    match scope {
        MarkScope::All => Reach::Installation,
        MarkScope::Token(id) => Reach::from(id.tenant()),
        MarkScope::Task(id) => Reach::from(id.tenant()),
        MarkScope::Identity(id) => Reach::from(id.tenant()),
        MarkScope::Agent(tenant, _)
        | MarkScope::Owner(tenant, _)
        | MarkScope::Issuer(tenant, _)
        | MarkScope::Server(tenant, _)
        | MarkScope::Tool(tenant, ..)
        | MarkScope::Tenant(tenant) => Reach::from(tenant),
    }
}

/// Who stops, as the kill journal says it.
struct Given {
    actor: String,
    request: String,
    idempotency: Option<String>,
    share: Option<OwnedSemaphorePermit>,
    pending: Option<wire::PendingKill>,
    signed: Option<Signed>,
    drill: bool,
}

impl Given {
    fn of(actor: String, request: Digest) -> Self {
        Self {
            actor,
            request: request.to_string(),
            idempotency: None,
            share: None,
            pending: None,
            signed: None,
            drill: false,
        }
    }

    fn by(session: &Session, request: Digest) -> Self {
        Self {
            idempotency: session.idempotency.clone(),
            ..Self::of(Actor::Operator(session.operator.clone()).to_string(), request)
        }
    }
}

/// The second operator's word for a kill that waits, which is taken with its mark or not at all.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    /// The receipt of the freeze that stands for it.
    pub(crate) freeze: Epoch,
    /// Who signed.
    pub(crate) by: String,
}

/// On whose word a stop is written.
#[derive(Debug, Clone)]
enum Giver {
    /// The kill journal's. Where its freeze was signed, that was said; the kill stands by itself.
    Journal,
    /// Whoever gave it, and the second operator where he signed.
    Operator(Option<Signed>),
}

/// A stop that is in force in memory.
#[derive(Debug)]
struct Held {
    stop: Stop,
    /// Who gave it.
    actor: String,
    /// Its idempotency key, and the digest of what was asked under it.
    asked: Option<(String, Digest)>,
    /// Its place in the kill journal, unless that could not be written.
    slot: Option<Slot>,
    pending: PendingMark,
    /// What its receipt says so far, where one is kept.
    receipt: Option<wire::ReceiptBody>,
    signed: Option<Signed>,
    /// Its place among the revocations, where it is one.
    _share: Option<OwnedSemaphorePermit>,
}

/// Stops that are in force here and that the state log has not taken yet.
#[derive(Debug)]
pub struct Unsettled {
    held: Mutex<Vec<Held>>,
    /// Clients end tokens of their own in the same journal as operators kill: they must leave room there.
    revocations: Arc<Semaphore>,
    /// Committed since somebody looked last where stops hold.
    pressed: Mutex<Vec<Pressed>>,
    /// Receipts that whoever pressed the stop completes first, for only they know how long it took.
    own: Arc<Mutex<BTreeSet<Epoch>>>,
}

/// A receipt is left to its holder; from its drop on, everybody may complete it.
#[derive(Debug)]
pub(crate) struct Own {
    epoch: Epoch,
    of: Arc<Mutex<BTreeSet<Epoch>>>,
}

impl Drop for Own {
    fn drop(&mut self) {
        let mut own = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        own.remove(&self.epoch);
    }
}

/// A stop whose receipt is to be completed.
#[derive(Debug)]
pub(crate) struct Pressed {
    pub(crate) reach: Reach,
    pub(crate) epoch: Epoch,
    /// How long its commit took.
    pub(crate) committed: Duration,
    pub(crate) ends: Ends,
    /// Kept until the receipt is complete, where nobody else may look first.
    pub(crate) _own: Option<Own>,
}

/// Stops that are completed with their own measurement; of more, only what is durable is told.
const PRESSED_MAX: usize = 4_096;

impl Default for Unsettled {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
            revocations: Arc::new(Semaphore::new(REVOCATIONS_MAX)),
            pressed: Mutex::default(),
            own: Arc::default(),
        }
    }
}

impl Unsettled {
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self, epoch: Epoch) -> Own {
        let of = Arc::clone(&self.own);
        of.lock().unwrap_or_else(PoisonError::into_inner).insert(epoch);
        Own { epoch, of }
    }

    /// Whether somebody here completes this receipt first.
    pub(crate) fn is_own(&self, epoch: Epoch) -> bool {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.contains(&epoch)
    }

    fn press(&self, stop: Pressed) {
        let mut pressed = self.pressed.lock().unwrap_or_else(PoisonError::into_inner);
        if pressed.len() < PRESSED_MAX {
            pressed.push(stop);
        }
    }

    /// What was committed since, to be looked at.
    pub(crate) fn take_pressed(&self) -> Vec<Pressed> {
        std::mem::take(&mut *self.pressed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The lines of a receipt as the answer to a kill shows them.
fn readings(lines: &[wire::ReceiptPoint]) -> Vec<wire::PointReading> {
    let refused = lines
        .iter()
        .filter_map(|line| Some((line.point.clone(), line.refusal_us?)));
    refused
        .map(|(point, refusal_us)| wire::PointReading { point, refusal_us })
        .collect()
}

/// For the histograms of `/metrics`.
fn measure(denied: Duration, committed: Duration) {
    metrics::histogram!("bailiwick_kill_denied_seconds").record(denied.as_secs_f64());
    metrics::histogram!("bailiwick_kill_committed_seconds").record(committed.as_secs_f64());
}

impl Deps {
    /// Stops, in the fixed order.
    pub(crate) async fn stop(
        &self,
        session: &Session,
        stop: Stop,
        request: Digest,
        heard: Heard,
    ) -> Result<Stopped, RouteError> {
        let given = Given::by(session, request);
        self.stop_by(session, given, (stop, request), heard).await
    }

    /// The same as a freeze that stands for a kill until a second operator signs it.
    pub(crate) async fn freeze_for(
        &self,
        session: &Session,
        (stop, request): (Stop, Digest),
        heard: Heard,
        pending: wire::PendingKill,
    ) -> Result<Stopped, RouteError> {
        let given = Given {
            pending: Some(pending),
            ..Given::by(session, request)
        };
        self.stop_by(session, given, (stop, request), heard).await
    }

    /// The kill that a freeze stands for.
    pub(crate) async fn kill_signed(
        &self,
        session: &Session,
        (stop, request): (Stop, Digest),
        heard: Heard,
        signed: Signed,
    ) -> Result<Stopped, RouteError> {
        let given = Given {
            signed: Some(signed),
            ..Given::by(session, request)
        };
        self.stop_by(session, given, (stop, request), heard).await
    }

    async fn stop_by(
        &self,
        session: &Session,
        given: Given,
        (stop, request): (Stop, Digest),
        heard: Heard,
    ) -> Result<Stopped, RouteError> {
        let context = self.context(session, reach_of(&stop.scope), request)?;
        self.stop_given(context, given, stop, heard).await
    }

    /// The kill of a drill's canary, on nobody's order but the schedule's or the operator's who asked for the drill.
    pub(crate) async fn stop_canary(
        &self,
        stop: Stop,
        actor: Actor,
        received: Duration,
    ) -> Result<Stopped, RouteError> {
        let id = self
            .ids
            .uuid()
            .map_err(|e| RouteError::broken("randomness failed", &e))?;
        let given = Given {
            drill: true,
            ..Given::of(actor.to_string(), Digest::of(id.as_bytes()))
        };
        let context = Context::new(reach_of(&stop.scope), actor, RequestId(id));
        self.stop_given(context, given, stop, Heard::whole(received))
            .await
    }

    /// An identity ends a token of its own: the same order as a kill.
    pub(crate) async fn revoke(
        &self,
        identity: &IdentityId,
        stop: Stop,
        received: Duration,
    ) -> Result<Stopped, RouteError> {
        self.stop_as(Actor::Identity(identity.clone()), stop, received)
            .await
    }

    /// A transmitter of others told of something that has to stop: the same order, and the same share of the journal.
    pub(crate) async fn stop_told(&self, stop: Stop, received: Duration) -> Result<Stopped, RouteError> {
        self.stop_as(Actor::System("transmitter"), stop, received).await
    }

    async fn stop_as(&self, actor: Actor, stop: Stop, received: Duration) -> Result<Stopped, RouteError> {
        let id = self
            .ids
            .uuid()
            .map_err(|e| RouteError::broken("randomness failed", &e))?;
        let share = Arc::clone(&self.unsettled.revocations).try_acquire_owned();
        let share = share.map_err(|_| {
            RouteError::unavailable(
                "request.busy",
                "too many revocations at once: try again in a second",
            )
        })?;
        let given = Given {
            share: Some(share),
            ..Given::of(actor.to_string(), Digest::of(id.as_bytes()))
        };
        let context = Context::new(reach_of(&stop.scope), actor, RequestId(id));
        self.stop_given(context, given, stop, Heard::whole(received))
            .await
    }

    async fn stop_given(
        &self,
        context: Context,
        given: Given,
        stop: Stop,
        Heard { at: received, until }: Heard,
    ) -> Result<Stopped, RouteError> {
        let context = context.lane(Lane::Kill);
        let entry = KillEntry {
            at: self.clock.now(),
            actor: given.actor,
            marks: vec![KillMark {
                scope: stop.scope.clone(),
                effect: stop.effect,
            }],
            provisional_epoch: self.cell.load().epoch().next(),
            request: given.request,
            idempotency: given.idempotency,
        };
        let slot = self.journal(&entry);
        let cancelled = self.in_flight(&stop.scope, stop.effect);
        let is_kept = given.share.is_none();
        let asked = asked(&entry);
        let mut held = self.deny(stop, (entry.actor, asked), slot, given.share);
        let denied = self.clock.monotonic().saturating_sub(received);
        let lines = self.lines(&held.stop.scope, (held.stop.effect, self.just_before()), received);
        let points = readings(&lines);
        held.signed = given.signed;
        held.receipt = is_kept.then(|| wire::ReceiptBody {
            denied_us: Some(receipts::micros(denied)),
            cancelled_calls: cancelled,
            points: lines,
            pending: given.pending,
            drill: given.drill,
            ..receipts::pressed(&held.actor, &held.stop.reason, entry.at)
        });
        let deps = self.clone();
        let (tell, told) = oneshot::channel();
        let work = async move {
            let carried = deps
                .carry(context, held, (received, denied, cancelled), points)
                .await;
            let mut stopped = match carried {
                Ok(stopped) => stopped,
                Err(error) => return drop(tell.send(Err(error))),
            };
            // Its giver may be gone: what is in force goes on.
            match until {
                Until::Committed => {
                    drop(tell.send(Ok(stopped.clone())));
                    deps.see_contained(&mut stopped).await;
                }
                Until::Contained => {
                    deps.see_contained(&mut stopped).await;
                    drop(tell.send(Ok(stopped)));
                }
            }
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "what is in force is carried to its end, whether or not its giver waits for the answer"
        )]
        drop(tokio::spawn(work));
        told.await
            .map_err(|e| RouteError::broken("a stop ended before it was written", &e))?
    }

    /// When no node permits any more what a committed stop forbids; whoever looks where it holds is told of it then.
    async fn see_contained(&self, stopped: &mut Stopped) {
        if !stopped.kept {
            return;
        }
        let receipt = &stopped.receipt;
        let own = (!receipt.replayed).then(|| self.unsettled.own(receipt.epoch));
        stopped.ends = receipts::contained(self, &stopped.reach, receipt.epoch, receipt.pos).await;
        if own.is_some() {
            self.unsettled.press(Pressed {
                reach: stopped.reach.clone(),
                epoch: receipt.epoch,
                committed: stopped.committed,
                ends: stopped.ends.clone(),
                _own: own,
            });
        }
    }

    /// A stop that is in force, until it is committed.
    async fn carry(
        &self,
        context: Context,
        held: Held,
        (received, denied, cancelled): (Duration, Duration, u64),
        points: Vec<wire::PointReading>,
    ) -> Result<Stopped, RouteError> {
        let reach = reach_of(&held.stop.scope);
        let kept = held.receipt.is_some();
        let receipt = self.commit_stop(context, held).await?;
        let committed = self.clock.monotonic().saturating_sub(received);
        measure(denied, committed);
        Ok(Stopped {
            reach,
            receipt,
            denied,
            committed,
            cancelled,
            points,
            kept,
            ends: Ends::default(),
        })
    }

    /// Brings a stop that is in force into the state log.
    async fn commit_stop(&self, context: Context, held: Held) -> Result<Arc<Receipt>, RouteError> {
        let (durable, written) = tokio::join!(
            self.flush(held.slot.is_some()),
            self.write_stop(
                context,
                held.stop.clone(),
                held.receipt.clone(),
                Giver::Operator(held.signed.clone())
            )
        );
        match written {
            Ok(receipt) => {
                self.settle(held);
                Ok(receipt)
            }
            // Nothing was committed, and nothing stays: the committed marks speak.
            Err(CommandError::Route(refused)) => {
                self.settle(held);
                Err(refused)
            }
            Err(CommandError::Store(error)) if is_refusal(&error) => {
                self.settle(held);
                Err(crate::command::store_error(&error))
            }
            Err(CommandError::Store(error)) => {
                self.unsettled.lock().push(held);
                Err(not_committed(&error, durable))
            }
        }
    }

    /// Into the kill journal, without a flush. That this fails is no reason to let anybody run: the state log
    /// may still take the stop.
    fn journal(&self, entry: &KillEntry) -> Option<Slot> {
        self.kill_journal
            .write(entry)
            .inspect_err(|error| {
                tracing::error!(error = %crate::problem::chain(error), "kill journal not written");
            })
            .ok()
    }

    /// The epoch of tokens that were issued before a mark that is set now.
    fn just_before(&self) -> Epoch {
        receipts::before(self.cell.load().epoch())
    }

    /// In force in memory from here on.
    fn deny(
        &self,
        stop: Stop,
        (actor, asked): (String, Option<(String, Digest)>),
        slot: Option<Slot>,
        share: Option<OwnedSemaphorePermit>,
    ) -> Held {
        let pending = self.cell.mark_pending(&Mark {
            scope: stop.scope.clone(),
            effect: stop.effect,
            epoch: self.cell.load().epoch().next(),
        });
        Held {
            stop,
            actor,
            asked,
            slot,
            pending,
            receipt: None,
            signed: None,
            _share: share,
        }
    }

    /// Whether the kill journal has it for good.
    async fn flush(&self, written: bool) -> bool {
        if !written {
            return false;
        }
        let journal = Arc::clone(&self.kill_journal);
        let flushed = match tokio::task::spawn_blocking(move || journal.flush()).await {
            Ok(flushed) => flushed.map_err(|e| crate::problem::chain(&e)),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = &flushed {
            tracing::error!(error, "kill journal not flushed");
        }
        flushed.is_ok()
    }

    fn settle(&self, held: Held) {
        if let Some(slot) = held.slot
            && let Err(error) = self.kill_journal.settle(slot)
        {
            // An entry that is carried out again stops what is stopped already.
            tracing::warn!(error = %crate::problem::chain(&error), "kill journal entry not settled");
        }
        self.cell.settle(held.pending);
    }

    /// Brings stops that the state log has not taken yet into it. The service calls this whenever the store
    /// answers.
    pub async fn retry_stops(&self) {
        let waiting = std::mem::take(&mut *self.unsettled.lock());
        for held in waiting {
            match self.write_held(&held).await {
                Ok(()) => self.settle(held),
                Err(error) => {
                    tracing::warn!(error = error.detail(), "a stop is not in the state log yet");
                    self.unsettled.lock().push(held);
                }
            }
        }
    }

    /// Carries out what the kill journal holds and the state log may not: at start, before listening.
    ///
    /// # Errors
    /// When the store does not take it; the service must not start then.
    pub async fn replay_kills(&self, entries: Vec<(Slot, KillEntry)>) -> Result<(), RouteError> {
        for (slot, entry) in entries {
            let asked = asked(&entry);
            let mut marks = entry.marks.into_iter().peekable();
            while let Some(mark) = marks.next() {
                let stop = Stop {
                    scope: mark.scope,
                    effect: mark.effect,
                    reason: String::new(),
                };
                // The entry is settled with the last of its marks.
                let slot = marks.peek().is_none().then_some(slot);
                let given = (entry.actor.clone(), asked.clone());
                let held = self.deny(stop, given, slot, None);
                self.write_held(&held).await?;
                self.settle(held);
            }
        }
        Ok(())
    }

    async fn write_held(&self, held: &Held) -> Result<(), RouteError> {
        let id = self
            .ids
            .uuid()
            .map_err(|e| RouteError::broken("randomness failed", &e))?;
        let mut context = Context::new(
            reach_of(&held.stop.scope),
            Actor::System("kill-journal"),
            RequestId(id),
        );
        // Its giver repeats the command and hears what came of it; what was committed before is not done again.
        if let Some((key, request)) = &held.asked {
            context = context.idempotent_of(&held.actor, key, *request);
        }
        let mut stop = held.stop.clone();
        let receipt = held.receipt.clone().or_else(|| {
            let is_kept = held.actor.starts_with("operator:");
            is_kept.then(|| wire::ReceiptBody {
                points: self.lines(
                    &stop.scope,
                    (stop.effect, self.just_before()),
                    self.clock.monotonic(),
                ),
                ..receipts::pressed(&held.actor, &stop.reason, self.clock.now())
            })
        });
        let given = format!("carried out from the kill journal, given by {}", held.actor);
        stop.reason = if stop.reason.is_empty() {
            given
        } else {
            format!("{} ({given})", stop.reason)
        };
        let context = context.lane(Lane::Kill);
        let write = |context| self.write_stop(context, stop.clone(), receipt.clone(), Giver::Journal);
        let written = match write(context.clone()).await {
            // Its giver used the key for something else meanwhile: that is no reason to let anybody run.
            Err(CommandError::Store(StoreError::IdempotencyReused)) => write(context.alone()).await,
            written => written,
        };
        match written {
            // Refused by the room: it was carried out before.
            Ok(_) | Err(CommandError::Route(_)) => Ok(()),
            Err(CommandError::Store(error)) if is_refusal(&error) => Ok(()),
            Err(error @ CommandError::Store(_)) => Err(error.into()),
        }
    }

    /// The mark with the first members in one transaction, so that an answer means the mark is durable; what is
    /// left of a large family follows in batches, because none may hold the writer for long, and so does whoever
    /// was registered just before, here or at another node, and was not in memory when it began.
    async fn write_stop(
        &self,
        context: Context,
        stop: Stop,
        receipt: Option<wire::ReceiptBody>,
        giver: Giver,
    ) -> Result<Arc<Receipt>, CommandError> {
        let body = receipt
            .as_ref()
            .map(|body| (receipts::lenient(body), body.pending.is_some()));
        let members = self.members(&stop.scope);
        let first: Vec<IdentityId> = members.into_iter().take(MEMBERS_MAX).collect();
        let (following, whole) = (context.clone().alone(), stop.clone());
        // A giver's retry is an answer and no act; from the journal it may be what a crash left undone.
        let is_answered = matches!(giver, Giver::Operator(_));
        let deps = self.clone();
        let receipt = self
            .store
            .transact(context, async move |tx: &mut Tx| {
                let epoch = write_mark(tx, &whole, &first, body.as_ref()).await?;
                if let Giver::Operator(Some(signed)) = &giver {
                    receipts::sign(tx, &whole.scope, signed, epoch).await?;
                }
                match &whole.scope {
                    MarkScope::Identity(id) => {
                        answer(&crate::v1::identities::to_wire(&deps, &stopped(tx, id).await?))
                    }
                    _ => answer(&epoch.0),
                }
            })
            .await?;
        let left = if receipt.replayed && is_answered {
            Vec::new()
        } else {
            self.members_left(&stop)
        };
        for batch in left.chunks(MEMBERS_MAX) {
            let (batch, stop) = (batch.to_vec(), stop.clone());
            self.store
                .transact(following.clone(), async move |tx: &mut Tx| {
                    end_members(tx, &stop, &batch).await?;
                    answer(&())
                })
                .await
                .map_err(|e: CommandError| e)?;
        }
        Ok(receipt)
    }

    /// Members that a committed stop has not reached, by what is in memory now: everything before its commit is.
    fn members_left(&self, stop: &Stop) -> Vec<IdentityId> {
        if !stop.effect.is_whole() || matches!(stop.scope, MarkScope::Identity(_)) {
            return Vec::new();
        }
        let mut members = self.members(&stop.scope);
        let snapshot = self.cell.load();
        members.retain(|id| {
            let state = snapshot.identity(id).map(|identity| &identity.state);
            stop.effect == MarkEffect::Kill || !matches!(state, Some(State::Suspended { .. }))
        });
        members
    }

    /// Living identities a scope names directly or by label; a tenant and the installation are marks only.
    pub(crate) fn members(&self, scope: &MarkScope) -> Vec<IdentityId> {
        let snapshot = self.cell.load();
        let living = |i: &inventory::Identity| !matches!(i.state, State::Retired { .. });
        match scope {
            MarkScope::Identity(id) => vec![id.clone()],
            MarkScope::Agent(tenant, label) => snapshot
                .identities(tenant)
                .filter(|i| living(i) && i.labels.agent.as_ref() == Some(label))
                .map(|i| i.id.clone())
                .collect(),
            MarkScope::Owner(tenant, team) => snapshot
                .identities(tenant)
                .filter(|i| living(i) && i.owner.team == *team)
                .map(|i| i.id.clone())
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// The store understood the command and will never take it, however often it is repeated.
fn is_refusal(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::IdempotencyReused
            | StoreError::Limit { .. }
            | StoreError::OtherTenant { .. }
            | StoreError::TenantUnknown(_)
            | StoreError::Unchanged { .. }
    )
}

fn not_committed(error: &StoreError, durable: bool) -> RouteError {
    let refused =
        |code, text: &str| RouteError::new(StatusCode::SERVICE_UNAVAILABLE, code, format!("{text}: {error}"));
    if durable {
        return refused(
            "kill.local-only",
            "denied on this node and durable in its kill journal, but not in the state log",
        )
        .hint("it stays denied, and enters the state log as soon as the store takes writes");
    }
    refused(
        "kill.memory-only",
        "denied on this node as long as it runs, but neither in its kill journal nor in the state log",
    )
    .hint("keep the service running, make its data folder writable, and repeat the command")
}

impl Deps {
    /// Open calls that fall under a scope: what a dry run counts and a kill cancels.
    pub(crate) fn in_flight(&self, scope: &MarkScope, effect: MarkEffect) -> u64 {
        let mark = Mark {
            scope: scope.clone(),
            effect,
            epoch: Epoch(u64::MAX),
        };
        let marked = self.cell.load().with_mark(&mark);
        self.pep.in_flight(|call| marked.marked(call).is_some())
    }
}
