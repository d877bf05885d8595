//! One process of the product: its enforcement pipeline, decision log, kill journal and word, driven by events.
//!
//! The order of a stop is that of `crates/request/api/src/stop.rs`: kill journal without a flush, denied in memory,
//! then the journal's flush beside the store's transaction.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bailiwick_audit::entry::Kind;
use bailiwick_base::{
    Clock as _, DecisionId, Epoch, IdentityId, Ids, NodeName, SeededEntropy, StatePos, TenantId, ToolName,
};
use bailiwick_credential::{Claims, TaskState};
use bailiwick_decide::{Call, Decision, Mark, MarkEffect, MarkScope, Snapshot};
use bailiwick_inventory::State;
use bailiwick_journal::{
    DecisionLog, Deps, INSTALLATION_REF, KillEntry, KillJournal, KillMark, LogConfig, NotAppended, Record,
    Slot, SteppedLog, payload,
};
use bailiwick_pep::token::{KeySource, Verifier, VerifierConfig};
use bailiwick_pep::{
    Denial, NotRecorded, Outcome, PendingMark, Pep, Permit, RecordFuture, Recorder, Sequenced, SnapshotCell,
};

use super::bug::Bug;
use super::clock::ProcessClock;
use super::database::{Change, News, Refused};
use super::door::Door;
use super::history::Violation;
use super::world::{Plain, World, log_key};
use crate::disk::FusedDisk;
use bailiwick_node::{Action, Bounds, Happened, Member, Words};

/// Where a process keeps its files.
pub(crate) const LOG: &str = "/data/log";
const KILLS: &str = "/data/kill.journal";
/// Longer than any run takes: only the simulated log decides whether a record is made.
const RECORD_BUDGET: Duration = Duration::from_secs(86_400);
const SEGMENT_BYTES: u64 = 256 << 10;

/// What a process asks of the store.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Beat(Epoch),
    Commit {
        told: StatePos,
        change: Change,
        errand: Errand,
    },
    Read {
        told: StatePos,
    },
    /// Takes the lead where the term is still this one.
    Take(u64),
}

/// Whose change it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    Lift(u64),
    Register,
    Stop(u64),
}

/// What the store answers.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Beat(Option<Words>),
    Commit(Result<News, Refused>),
    Read(Result<News, Refused>),
    Take,
}

/// What a process does to the outside. Nothing of it happens when the process stopped before.
#[derive(Debug)]
pub(crate) enum Output {
    Ask(Ask),
    /// A call is answered.
    Answered {
        call: u64,
        verdict: Verdict,
    },
    /// No node permits any more what this stop forbids.
    Contained(u64),
    /// The kill journal is to be flushed.
    FlushKills(u64),
    /// It leads from here on, under this term.
    Leads(u64),
    /// A stop is answered.
    Told {
        stop: u64,
        tell: Tell,
    },
    /// A lift is answered, or its answer is given up.
    LiftOver {
        lift: u64,
    },
}

#[derive(Debug)]
pub(crate) enum Verdict {
    Denied(Denial),
    Permitted {
        /// Whose decision it is, and where its record stands.
        id: DecisionId,
        index: u64,
        epoch: Epoch,
        claims: Arc<Claims>,
    },
    /// The token is not one, or the process is not there.
    Refused,
}

/// What the giver of a stop hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tell {
    Committed(Epoch),
    /// Not in the store; in this node's journal for good.
    Local,
    /// Nowhere for certain.
    Nowhere,
    Refused,
}

type Permitting = Pin<Box<dyn Future<Output = Result<Permit, Denial>>>>;

struct Waiting {
    call: u64,
    claims: Arc<Claims>,
    permitting: Permitting,
}

/// A stop that is in force in memory.
#[derive(Debug)]
pub(crate) struct Held {
    scope: MarkScope,
    effect: MarkEffect,
    slot: Option<Slot>,
    pending: PendingMark,
    /// Whether the journal has it for good, once that is known.
    durable: Option<bool>,
    /// Whether the store is asked at this moment.
    asked: bool,
    /// What the store said to the first attempt, once that is known.
    first: Option<Option<Epoch>>,
    told: bool,
}

/// Everything a process needs from its machine.
pub(crate) struct Ground<'a> {
    pub(crate) world: &'a Arc<World>,
    pub(crate) name: &'a NodeName,
    pub(crate) disk: FusedDisk,
    pub(crate) clock: Arc<ProcessClock>,
    pub(crate) seed: u64,
    pub(crate) bounds: Bounds,
    pub(crate) bug: Option<Bug>,
}

pub(crate) struct Process {
    world: Arc<World>,
    pub(crate) disk: FusedDisk,
    pub(crate) clock: Arc<ProcessClock>,
    pub(crate) cell: Arc<SnapshotCell>,
    pub(crate) log: SteppedLog,
    pep: Arc<Pep>,
    kills: KillJournal,
    door: Door,
    member: Member,
    pub(crate) fence: u64,
    told: StatePos,
    silent: bool,
    bug: Option<Bug>,
    waiting: Vec<Waiting>,
    held: BTreeMap<u64, Held>,
    /// Stops that the journal still holds from an earlier life.
    replay: Vec<(Slot, KillEntry)>,
    pub(crate) listening: bool,
}

/// What opening the files of a process found.
pub(crate) struct Opened {
    log: SteppedLog,
    kills: KillJournal,
    replay: Vec<(Slot, KillEntry)>,
}

impl Opened {
    pub(crate) fn log(&self) -> &SteppedLog {
        &self.log
    }

    pub(crate) fn log_mut(&mut self) -> &mut SteppedLog {
        &mut self.log
    }
}

/// Opens decision log and kill journal as a start does.
pub(crate) fn open(ground: &Ground<'_>) -> Result<Opened, String> {
    let disk = Arc::new(ground.disk.clone());
    let (kills, replay) = KillJournal::open(&*disk, Path::new(KILLS)).map_err(|e| chain(&e))?;
    let origin = format!("bailiwick.test/decisions/{}", ground.name);
    let config = LogConfig {
        first_segment_bytes: SEGMENT_BYTES,
        segment_bytes: SEGMENT_BYTES,
        ..LogConfig::new(ground.name.clone(), origin.as_str())
    };
    let deps = Deps {
        clock: ground.clock.clone(),
        sealer: Arc::new(Plain),
        key: log_key(&origin).map_err(|e| e.to_string())?,
        disk,
    };
    let (log, _) = SteppedLog::open(Path::new(LOG), config, deps).map_err(|e| chain(&e))?;
    Ok(Opened { log, kills, replay })
}

impl Process {
    /// A process that took its fence and read everything; it does not listen yet.
    pub(crate) fn begin(
        ground: &Ground<'_>,
        opened: Opened,
        fence: u64,
        news: News,
    ) -> Result<Self, Violation> {
        let asked = ground.clock.monotonic();
        let snapshot = Snapshot::empty()
            .apply(news.facts)
            .map_err(|e| Violation::broken(&e))?;
        let cell = Arc::new(SnapshotCell::new(snapshot, ground.bounds.refuse()));
        cell.heard(asked);
        let recorder = Arc::new(JournalRecorder {
            log: Arc::clone(opened.log.log()),
            cell: Arc::clone(&cell),
        });
        let ids = Ids::new(ground.clock.clone(), Arc::new(SeededEntropy::new(ground.seed)));
        let pep = Pep::new(
            Arc::clone(&cell),
            recorder,
            ground.clock.clone(),
            ids,
            RECORD_BUDGET,
        );
        let keys = Arc::new(KeySource::new());
        ground.world.publish_keys(&keys);
        Ok(Self {
            world: Arc::clone(ground.world),
            disk: ground.disk.clone(),
            clock: Arc::clone(&ground.clock),
            cell,
            pep: Arc::new(pep),
            log: opened.log,
            kills: opened.kills,
            replay: opened.replay,
            door: Door::new(Verifier::new(keys, VerifierConfig::default()), ground.bug),
            member: Member::new(ground.name.clone(), fence, ground.bounds, asked),
            fence,
            told: news.pos,
            silent: false,
            bug: ground.bug,
            waiting: Vec::new(),
            held: BTreeMap::new(),
            listening: false,
        })
    }

    /// The stops of earlier lives, in force from here on, as changes for the store. A start waits for them.
    pub(crate) fn replays(&mut self) -> Vec<(Slot, PendingMark, Change)> {
        let mut out = Vec::new();
        for (slot, entry) in std::mem::take(&mut self.replay) {
            if self.bug == Some(Bug::ReplayLeftOut) {
                continue;
            }
            for mark in entry.marks {
                let pending = self.deny(&mark.scope, mark.effect);
                let members = self.members(&mark.scope);
                let change = Change::Stop {
                    members,
                    scope: mark.scope,
                    effect: mark.effect,
                };
                out.push((slot, pending, change));
            }
        }
        out
    }

    /// A stop of an earlier life is in the store, or was carried out before.
    pub(crate) fn replayed(&mut self, slot: Slot, pending: PendingMark, news: Result<News, Refused>) {
        if let Ok(news) = news {
            self.take(news);
        }
        self.settle_slot(Some(slot));
        self.cell.settle(pending);
    }

    /// How far the store is taken into account.
    pub(crate) fn position(&self) -> (StatePos, Epoch) {
        (self.told, self.cell.load().epoch())
    }

    /// A call arrives.
    pub(crate) fn call(
        &mut self,
        call: u64,
        (tenant, token): (&TenantId, &str),
        tool: &ToolName,
    ) -> Vec<Output> {
        let refused = || {
            vec![Output::Answered {
                call,
                verdict: Verdict::Refused,
            }]
        };
        let Ok(verified) = self.door.verify(tenant, token.as_bytes(), self.clock.now()) else {
            return refused();
        };
        let Ok(id) = self.pep.next_id(&verified.tenant) else {
            return refused();
        };
        let made = self.world.call(id, &verified, tool);
        let pep = Arc::clone(&self.pep);
        self.waiting.push(Waiting {
            call,
            claims: verified.claims,
            permitting: Box::pin(async move { pep.permit(made).await }),
        });
        // Decided and queued in this very moment; the rest waits for the flush.
        self.look_at_calls()
    }

    /// Whether something waits for a flush of the decision log.
    pub(crate) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The decision log writes what waits.
    pub(crate) fn write(&mut self) -> Vec<Output> {
        self.log.write();
        self.look_at_calls()
    }

    fn look_at_calls(&mut self) -> Vec<Output> {
        let mut out = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        let waiting = std::mem::take(&mut self.waiting);
        for mut one in waiting {
            let Poll::Ready(done) = one.permitting.as_mut().poll(&mut context) else {
                self.waiting.push(one);
                continue;
            };
            let verdict = match done {
                Err(denial) => Verdict::Denied(denial),
                Ok(permit) => {
                    let (index, epoch) = (permit.sequenced().index, permit.decision().epoch);
                    let id = permit.decision().id.clone();
                    permit.finish(Outcome::Returned);
                    Verdict::Permitted {
                        id,
                        index,
                        epoch,
                        claims: one.claims,
                    }
                }
            };
            out.push(Output::Answered {
                call: one.call,
                verdict,
            });
        }
        out
    }

    /// The claims of a new token for identity `n`, if it may have one here and now.
    pub(crate) fn issue(&self, tenant: &TenantId, n: u128, nth: u128) -> Option<Claims> {
        if !self.listening || !self.cell.is_fresh(self.clock.monotonic()) {
            return None;
        }
        let snapshot = self.cell.load();
        let identity = snapshot.identity(&super::world::identity_id(tenant, n))?;
        let (task, _) = snapshot.task(&super::world::task_id(tenant, n))?;
        let lives = identity.state == State::Active && task.state == TaskState::Open;
        lives.then(|| {
            let now = self.clock.now();
            self.world.claims(tenant, n, nth, snapshot.epoch(), now)
        })
    }

    /// An operator's stop arrives.
    pub(crate) fn stop(&mut self, stop: u64, scope: MarkScope, effect: MarkEffect) -> Vec<Output> {
        let entry = KillEntry {
            at: self.clock.now(),
            actor: "operator:simulated".to_owned(),
            marks: vec![KillMark {
                scope: scope.clone(),
                effect,
            }],
            provisional_epoch: self.cell.load().epoch().next(),
            request: stop.to_string(),
            idempotency: None,
        };
        let slot = self.kills.write(&entry).ok();
        let pending = self.deny(&scope, effect);
        let held = Held {
            scope,
            effect,
            slot,
            pending,
            durable: slot.is_none().then_some(false),
            asked: true,
            first: None,
            told: false,
        };
        let ask = self.ask_for(stop, &held);
        self.held.insert(stop, held);
        vec![Output::FlushKills(stop), ask]
    }

    fn deny(&self, scope: &MarkScope, effect: MarkEffect) -> PendingMark {
        self.cell.mark_pending(&Mark {
            scope: scope.clone(),
            effect,
            epoch: self.cell.load().epoch().next(),
        })
    }

    fn ask_for(&self, stop: u64, held: &Held) -> Output {
        Output::Ask(Ask::Commit {
            told: self.told,
            change: Change::Stop {
                scope: held.scope.clone(),
                effect: held.effect,
                members: self.members(&held.scope),
            },
            errand: Errand::Stop(stop),
        })
    }

    /// Living identities that a scope names.
    fn members(&self, scope: &MarkScope) -> Vec<IdentityId> {
        let snapshot = self.cell.load();
        let of = |tenant: &TenantId, fits: &dyn Fn(&bailiwick_inventory::Identity) -> bool| {
            let living = snapshot
                .identities(tenant)
                .filter(|i| !matches!(i.state, State::Retired { .. }) && fits(i));
            living.map(|i| i.id.clone()).collect()
        };
        match scope {
            MarkScope::Identity(id) => vec![id.clone()],
            MarkScope::Agent(tenant, label) => of(tenant, &|i| i.labels.agent.as_ref() == Some(label)),
            MarkScope::Owner(tenant, team) => of(tenant, &|i| i.owner.team == *team),
            _ => Vec::new(),
        }
    }

    /// The kill journal is flushed for this stop.
    pub(crate) fn flush_kills(&mut self, stop: u64) -> Vec<Output> {
        let flushed = self.kills.flush().is_ok();
        let Some(held) = self.held.get_mut(&stop) else {
            return Vec::new();
        };
        held.durable.get_or_insert(flushed);
        self.tell(stop)
    }

    /// Whoever gave the stop is answered once journal and store have both spoken.
    fn tell(&mut self, stop: u64) -> Vec<Output> {
        let Some(held) = self.held.get_mut(&stop).filter(|held| !held.told) else {
            return Vec::new();
        };
        let (Some(durable), Some(first)) = (held.durable, held.first) else {
            return Vec::new();
        };
        held.told = true;
        let tell = match (first, durable) {
            (Some(epoch), _) => Tell::Committed(epoch),
            (None, true) => Tell::Local,
            (None, false) => Tell::Nowhere,
        };
        let mut out = vec![Output::Told { stop, tell }];
        if let Some(epoch) = first {
            self.settle(stop);
            out.extend(self.feel(Happened::Committed { stop, epoch }));
        }
        out
    }

    fn settle(&mut self, stop: u64) {
        if let Some(held) = self.held.remove(&stop) {
            self.settle_slot(held.slot);
            self.cell.settle(held.pending);
        }
    }

    fn settle_slot(&self, slot: Option<Slot>) {
        if let Some(slot) = slot {
            // An entry that is carried out again stops what is stopped already.
            let _settled = self.kills.settle(slot);
        }
    }

    /// Stops that a killed process brings back, because the journal's file had them.
    pub(crate) fn written(&self) -> Vec<u64> {
        let written = self.held.iter().filter(|(_, held)| held.slot.is_some());
        written.map(|(stop, _)| *stop).collect()
    }

    /// The end of a suspension, or somebody new.
    pub(crate) fn command(&mut self, errand: Errand, change: Change) -> Vec<Output> {
        vec![Output::Ask(Ask::Commit {
            told: self.told,
            change,
            errand,
        })]
    }

    /// The store answered, or did not in time.
    pub(crate) fn reply(&mut self, ask: &Ask, reply: Option<Reply>) -> Vec<Output> {
        match (ask, reply) {
            (Ask::Commit { errand, .. }, Some(Reply::Commit(done))) => self.committed(*errand, Some(done)),
            (Ask::Commit { errand, .. }, _) => self.committed(*errand, None),
            (Ask::Beat(_), Some(Reply::Beat(Some(words)))) => self.feel(Happened::Beaten(words)),
            (Ask::Beat(_), Some(Reply::Beat(None))) => self.feel(Happened::Unwanted),
            (Ask::Read { .. }, Some(Reply::Read(Ok(news)))) => {
                self.catch_up(news);
                let epoch = self.cell.load().epoch();
                self.feel(Happened::Took { epoch })
            }
            // Whether the lead was taken is seen with the next beat.
            (Ask::Take(_), _) => Vec::new(),
            _ => {
                self.silent = true;
                self.feel(Happened::Silent)
            }
        }
    }

    fn catch_up(&mut self, news: News) {
        if std::mem::take(&mut self.silent) && self.bug == Some(Bug::MarkLostOnReconnect) {
            // What was missed is left out.
            self.told = self.told.max(news.pos);
            return;
        }
        self.take(news);
    }

    /// What became true, unless it is known already.
    fn take(&mut self, news: News) {
        if news.pos <= self.told {
            return;
        }
        if self.cell.publish(news.facts).is_err() {
            // Without these facts the process would decide on old word.
            self.cell.expire();
        }
        self.told = news.pos;
    }

    /// `None`: nobody knows whether it was carried out.
    fn committed(&mut self, errand: Errand, done: Option<Result<News, Refused>>) -> Vec<Output> {
        let epoch = match &done {
            Some(Ok(news)) => Some(news.epoch),
            _ => None,
        };
        let was_refused = matches!(done, Some(Err(Refused::Rule)));
        if let Some(Ok(news)) = done {
            self.take(news);
        }
        match errand {
            Errand::Lift(lift) => vec![Output::LiftOver { lift }],
            Errand::Register => Vec::new(),
            Errand::Stop(stop) => {
                let Some(held) = self.held.get_mut(&stop) else {
                    return Vec::new();
                };
                held.asked = false;
                if held.first.is_some() {
                    // A later attempt: the stop was answered before.
                    if epoch.is_some() || was_refused {
                        let told = held.told;
                        self.settle(stop);
                        return match epoch.filter(|_| told) {
                            Some(epoch) => vec![Output::Told {
                                stop,
                                tell: Tell::Committed(epoch),
                            }],
                            None => Vec::new(),
                        };
                    }
                    return Vec::new();
                }
                if was_refused {
                    self.settle(stop);
                    return vec![Output::Told {
                        stop,
                        tell: Tell::Refused,
                    }];
                }
                held.first = Some(epoch);
                self.tell(stop)
            }
        }
    }

    /// Time went on, or somebody hinted.
    pub(crate) fn feel(&mut self, event: Happened) -> Vec<Output> {
        let mut events = VecDeque::from([event]);
        let mut out = Vec::new();
        while let Some(event) = events.pop_front() {
            for action in self.member.handle(event, self.clock.monotonic()) {
                self.act(action, &mut out);
            }
        }
        out
    }

    fn act(&mut self, action: Action, out: &mut Vec<Output>) {
        match action {
            Action::Beat { epoch } => out.push(Output::Ask(Ask::Beat(epoch))),
            Action::Contained { stop, .. } => out.push(Output::Contained(stop)),
            Action::Fenced => {
                self.cell.expire();
                self.cell.wake_if_stale(self.clock.monotonic());
            }
            Action::Hear { asked } => {
                self.cell.heard(asked);
                out.extend(self.retry_stops());
            }
            Action::Read => out.push(Output::Ask(Ask::Read { told: self.told })),
            Action::Take { from } => out.push(Output::Ask(Ask::Take(from))),
            Action::Wake => {
                self.cell.wake_if_stale(self.clock.monotonic());
            }
            Action::Lead { term } => out.push(Output::Leads(term)),
            // What a leader does beside is not simulated.
            Action::Warn { .. } | Action::Yield => {}
        }
    }

    /// Stops that the store has not taken yet are brought again.
    fn retry_stops(&mut self) -> Vec<Output> {
        let waiting = self
            .held
            .iter()
            .filter(|(_, held)| held.first == Some(None) && !held.asked);
        let stops: Vec<u64> = waiting.map(|(stop, _)| *stop).collect();
        let mut out = Vec::new();
        for stop in stops {
            if let Some(held) = self.held.get_mut(&stop) {
                held.asked = true;
            }
            if let Some(held) = self.held.get(&stop) {
                out.push(self.ask_for(stop, held));
            }
        }
        out
    }

    /// When the process wants to be woken next, in simulated microseconds.
    pub(crate) fn next_tick(&self) -> Option<u64> {
        self.member.next_tick().map(|tick| self.clock.when(tick))
    }
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// The pipeline's recorder over the decision log, as `server` has it.
struct JournalRecorder {
    log: Arc<DecisionLog>,
    cell: Arc<SnapshotCell>,
}

impl JournalRecorder {
    fn record_of(&self, call: &Call, kind: Kind<'static>, at: (Epoch, StatePos), payload: Vec<u8>) -> Record {
        let snapshot = self.cell.load();
        let found = snapshot.tenant(call.tenant()).map(|(tenant, _)| tenant);
        Record {
            kind,
            tenant: found.map(|tenant| tenant.id.clone()),
            tenant_ref: found.map_or(INSTALLATION_REF.into(), |tenant| tenant.reference.as_str().into()),
            epoch: at.0,
            state_pos: at.1,
            payload,
        }
    }
}

fn refused(error: NotAppended) -> NotRecorded {
    match error {
        NotAppended::QueueFull { .. } => NotRecorded::QueueFull,
        other => NotRecorded::Unwritable(other.to_string()),
    }
}

impl Recorder for JournalRecorder {
    fn record<'a>(&'a self, call: &'a Call, decision: &'a Decision) -> RecordFuture<'a> {
        let at = (decision.epoch, decision.state_pos);
        let payload = payload::decision(call, decision);
        let queued = self
            .log
            .append(self.record_of(call, payload::kind(call, decision), at, payload));
        Box::pin(async move {
            let index = queued.await.map_err(refused)?;
            Ok(Sequenced { index })
        })
    }

    fn record_outcome(&self, call: &Call, outcome: Outcome) {
        let word = match outcome {
            Outcome::Cancelled => "cancelled",
            Outcome::Failed => "failed",
            Outcome::Overtaken => "overtaken",
            Outcome::Returned => "returned",
        };
        let snapshot = self.cell.load();
        let at = (snapshot.epoch(), snapshot.state_pos());
        let payload = payload::outcome(&call.id, word);
        // Nobody waits for an outcome, and none is promised.
        let _queued = self
            .log
            .append_unwaited(self.record_of(call, Kind::OUTCOME, at, payload));
    }
}
