//! This node among the others: drives the protocol of `bailiwick-node` with the shared store, the snapshot and the
//! clock. It decides nothing by itself.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bailiwick_base::{Clock, Epoch, NodeName};
use bailiwick_decide::SnapshotError;
use bailiwick_inventory::Operator;
use bailiwick_keys::{Keyring, KeysError};
use bailiwick_node::{Action, Bounds, Happened, Member, PointEnd, Standing, Words};
use bailiwick_pep::SnapshotCell;
use bailiwick_store::{Context, Hints, Reach, Store, StoreError};
use bailiwick_wire::NodeHealth;
use tokio::sync::{mpsc, oneshot};

use crate::Deps;
use crate::sidecars::Sidecars;

/// How long one exchange with the store may take before it counts as silence.
const STORE_TIME_MAX: Duration = Duration::from_secs(4);
/// The same where much may have to be read.
const READ_TIME_MAX: Duration = Duration::from_secs(10);
/// Attempts at a first word.
const FIRST_WORDS_MAX: u32 = 5;
/// How often a node reads that is alone on its store, as the proof that the store answers.
const READ_ALONE: Duration = Duration::from_secs(1);
/// Stops that may wait for containment at once.
const WAITING_MAX: usize = 1_024;
/// How much longer than every lease a stop waits to be contained: for the reading that shows it.
const CONTAIN_EXTRA: Duration = Duration::from_secs(1);
/// Leader's term of a node that does not lead.
const NO_TERM: u64 = 0;

/// Why a node does not start among others.
#[derive(Debug, thiserror::Error)]
pub enum NodeStartError {
    /// Commits do not wait for a replica that may take over.
    #[error(
        "the database has {replicas} asynchronous replica(s): what was acknowledged could be lost when one takes over; \
         set `synchronous_standby_names` there, or say in `store.async_replica_waiver` who accepts that, and why"
    )]
    AsynchronousReplica {
        /// How many.
        replicas: u64,
    },
    /// An operator fenced it meanwhile.
    #[error("node `{0}` was fenced while it started")]
    Fenced(NodeName),
    /// The keys that nodes share cannot be taken.
    #[error("keys that nodes share")]
    Keys(#[from] KeysError),
    /// No conversation with the store was quick enough to count.
    #[error("the store takes more than {0:?} to answer: look at the database and the network to it")]
    Slow(Duration),
    /// What was read cannot be used.
    #[error("the snapshot cannot be built")]
    Snapshot(#[from] SnapshotError),
    /// The store did not do it.
    #[error("store")]
    Store(#[from] StoreError),
}

/// Takes the keys that other nodes placed, and offers them those that are not placed yet. `waiver` is that of
/// asynchronous replicas; `older`: somebody accepted a store that is older than what this node saw.
///
/// # Errors
/// [`NodeStartError`].
pub async fn share_keys(
    store: &Store,
    keyring: &Keyring,
    state_origin: &str,
    (waiver, older): (Option<&str>, bool),
) -> Result<(), NodeStartError> {
    let replicas = store.unsynchronised_replicas().await?;
    if replicas > 0 && waiver.is_none() {
        return Err(NodeStartError::AsynchronousReplica { replicas });
    }
    let placed = store.shared_keys().await?;
    keyring.log_signer(state_origin)?;
    Ok(keyring.share(state_origin, &placed, older)?)
}

/// Reads everything into the cell and says so: when the reading began. Nothing may be answered before.
///
/// # Errors
/// [`NodeStartError`].
pub async fn first_word(
    store: &Store,
    cell: &SnapshotCell,
    clock: &dyn Clock,
    bounds: Bounds,
) -> Result<Duration, NodeStartError> {
    cell.publish(store.facts().await?)?;
    // Whoever heard at the process before this one may be fresh on less: nothing is said for them yet.
    let are_heard = store.sidecars().await?.iter().any(|row| {
        let is_ours = row.said.node.as_ref() == Some(store.name());
        is_ours && !row.said.left
    });
    // However long that took, the word itself has to come as quickly as any: others count on it.
    for _ in 0..FIRST_WORDS_MAX {
        let asked = clock.monotonic();
        store.catch_up().await?;
        let held = if are_heard { Epoch(0) } else { cell.load().epoch() };
        if store.beat(held, bounds.refuse()).await?.is_none() {
            return Err(NodeStartError::Fenced(store.name().clone()));
        }
        if clock.monotonic().saturating_sub(asked) <= bounds.talk_max() {
            cell.heard(asked);
            return Ok(asked);
        }
    }
    Err(NodeStartError::Slow(bounds.talk_max()))
}

/// A stop whose giver waits.
struct Waiting {
    epoch: Epoch,
    answer: oneshot::Sender<Vec<PointEnd>>,
}

/// What the rest of the doors know of the nodes.
pub struct Nodes {
    /// This node.
    pub node: NodeName,
    bounds: Bounds,
    /// Origin of the state log, the same on every node.
    pub(crate) state_origin: String,
    term: AtomicU64,
    /// An operator fenced this node, or it was started again elsewhere, as the store told it.
    fenced: AtomicBool,
    words: ArcSwap<Words>,
    /// Who hears here without a store.
    pub(crate) sidecars: Sidecars,
    waiting: mpsc::Sender<Waiting>,
    waited: Mutex<Option<mpsc::Receiver<Waiting>>>,
}

impl Nodes {
    /// A node that has not talked to anybody.
    #[must_use]
    pub fn new(node: NodeName, bounds: Bounds, state_origin: String) -> Self {
        let (waiting, waited) = mpsc::channel(WAITING_MAX);
        Self {
            node,
            bounds,
            state_origin,
            term: AtomicU64::new(NO_TERM),
            fenced: AtomicBool::new(false),
            words: ArcSwap::default(),
            sidecars: Sidecars::new(bounds),
            waiting,
            waited: Mutex::new(Some(waited)),
        }
    }

    /// How old a word may be: this node's, and that of a sidecar.
    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Whether this node leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.term.load(Ordering::Acquire) != NO_TERM
    }

    /// The term under which it leads; one that no store knows where it does not.
    fn term(&self) -> u64 {
        self.term.load(Ordering::Acquire)
    }

    /// What all nodes said when this one last heard.
    #[must_use]
    pub fn words(&self) -> Arc<Words> {
        self.words.load_full()
    }

    /// Waits until no node permits any more what a stop of this epoch forbids, as long as the longest lease lasts.
    /// Each node's part; nothing when that could not be confirmed in time.
    pub(crate) async fn contained(&self, epoch: Epoch) -> Option<Vec<PointEnd>> {
        let lease = self
            .words()
            .nodes
            .iter()
            .map(|word| word.lease)
            .max()
            .unwrap_or_default();
        let longest = lease + lease / 50 + CONTAIN_EXTRA;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { epoch, answer };
        self.waiting.try_send(waiting).ok()?;
        tokio::time::timeout(longest, answered).await.ok()?.ok()
    }
}

impl Deps {
    /// Whether what is due is this node's to look after.
    pub(crate) fn has_duty(&self) -> bool {
        !self.store.is_shared() || self.nodes.leads()
    }

    /// A write that is the leader's duty: refused when another node leads by then.
    pub(crate) fn duty(&self, context: Context) -> Context {
        if self.store.is_shared() {
            context.leading(self.nodes.term())
        } else {
            context
        }
    }
}

/// Keeps this node's word fresh until `stop` resolves. `asked` is when the reading began that the first snapshot was
/// made of.
pub async fn keep_word(deps: Deps, asked: Duration, stop: impl Future<Output = ()>) {
    let taken = deps
        .nodes
        .waited
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let Some(mut waited) = taken else {
        return;
    };
    let member = Member::new(
        deps.nodes.node.clone(),
        deps.store.fence(),
        deps.nodes.bounds,
        asked,
    );
    let member = if deps.store.is_shared() {
        member
    } else {
        member.alone(READ_ALONE)
    };
    let mut driver = Driver {
        member,
        open: BTreeMap::new(),
        next: 0,
        deps,
    };
    let mut hints = driver.deps.store.hints().await;
    let mut stop = pin!(stop);
    loop {
        let event = tokio::select! {
            () = &mut stop => return,
            Some(waiting) = waited.recv() => driver.begin(waiting),
            event = driver.next_event(&mut hints) => event,
        };
        driver.take(event).await;
    }
}

/// Tells the others that this node stopped, for which they wait no longer: so nothing here answers from before that on,
/// not the connections either that still have a request to end.
pub async fn leave(deps: &Deps) {
    deps.cell.expire();
    let now = deps.clock.monotonic();
    deps.cell.wake_if_stale(now);
    // Who heard here a moment ago may still be fresh: the others go on waiting for this node as long as a lease lasts.
    if deps.nodes.sidecars.lowest(Epoch(u64::MAX), now) < Epoch(u64::MAX) {
        return;
    }
    if let Err(error) = deps.store.leave().await {
        tracing::warn!(%error, "the other nodes were not told that this one stopped; its lease ends by itself");
    }
}

struct Driver {
    deps: Deps,
    member: Member,
    open: BTreeMap<u64, oneshot::Sender<Vec<PointEnd>>>,
    next: u64,
}

impl Driver {
    fn begin(&mut self, waiting: Waiting) -> Happened {
        self.next += 1;
        self.open.retain(|_, answer| !answer.is_closed());
        self.open.insert(self.next, waiting.answer);
        Happened::Committed {
            stop: self.next,
            epoch: waiting.epoch,
        }
    }

    async fn next_event(&self, hints: &mut Hints) -> Happened {
        let now = self.deps.clock.monotonic();
        let Some(tick) = self.member.next_tick() else {
            return std::future::pending().await;
        };
        match tokio::time::timeout(tick.saturating_sub(now), hints.next()).await {
            Ok(()) => Happened::Hinted,
            Err(_) => Happened::Tick,
        }
    }

    async fn take(&mut self, event: Happened) {
        let now = self.deps.clock.monotonic();
        let mut actions = VecDeque::from(self.member.handle(event, now));
        while let Some(action) = actions.pop_front() {
            if let Some(event) = self.act(action).await {
                let now = self.deps.clock.monotonic();
                actions.extend(self.member.handle(event, now));
            }
        }
    }

    /// Others wait for the sidecars that hear here without knowing them: a beat names what the last of them holds.
    async fn beat(&self, epoch: Epoch) -> Happened {
        self.tend_sidecars().await;
        let now = self.deps.clock.monotonic();
        let epoch = self.deps.nodes.sidecars.lowest(epoch, now);
        let beat = self.deps.store.beat(epoch, self.deps.nodes.bounds.refuse());
        match tokio::time::timeout(STORE_TIME_MAX, beat).await {
            Ok(Ok(Some(words))) => {
                self.deps.nodes.words.store(Arc::new(words.clone()));
                Happened::Beaten(words)
            }
            Ok(Ok(None)) => Happened::Unwanted,
            Ok(Err(error)) => silent(&error),
            Err(_) => Happened::Silent,
        }
    }

    async fn act(&mut self, action: Action) -> Option<Happened> {
        match action {
            Action::Beat { epoch } => return Some(self.beat(epoch).await),
            Action::Contained { stop, points } => {
                let answer = self.open.remove(&stop);
                drop(answer.map(|answer| answer.send(points)));
            }
            Action::Fenced => {
                self.deps.nodes.fenced.store(true, Ordering::Release);
                tracing::error!(
                    node = %self.deps.nodes.node,
                    "this node was fenced: every call and command is refused until `bailiwick node readmit` lets it in and it is started \
                     again"
                );
                self.deps.cell.expire();
                self.deps.cell.wake_if_stale(self.deps.clock.monotonic());
            }
            Action::Hear { asked } => {
                self.deps.cell.heard(asked);
                self.deps.nodes.sidecars.turn();
                self.retry_stops();
            }
            Action::Lead { term } => {
                tracing::info!(term, "this node leads");
                self.deps.nodes.term.store(term, Ordering::Release);
            }
            Action::Read => {
                return Some(match tokio::time::timeout(READ_TIME_MAX, self.read()).await {
                    Ok(Ok(epoch)) => Happened::Took { epoch },
                    Ok(Err(error)) => silent(&error),
                    Err(_) => Happened::Silent,
                });
            }
            Action::Take { from } => {
                let taking = self.deps.store.take_lead(from);
                if let Ok(Err(error)) = tokio::time::timeout(STORE_TIME_MAX, taking).await {
                    tracing::warn!(%error, "the lead could not be taken");
                }
            }
            Action::Wake => {
                self.deps.cell.wake_if_stale(self.deps.clock.monotonic());
                tracing::warn!("the store was not heard within the bound: calls are refused");
            }
            Action::Warn { age } => {
                let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(
                    age_ms,
                    "the store does not answer; calls are refused once the bound is passed"
                );
            }
            Action::Yield => {
                tracing::info!("this node leads no more");
                self.deps.nodes.term.store(NO_TERM, Ordering::Release);
            }
        }
        None
    }

    /// What sidecars said stands in their rows before the beat that counts on it.
    async fn tend_sidecars(&self) {
        let tended = tokio::time::timeout(STORE_TIME_MAX, self.deps.tend_sidecars()).await;
        if let Ok(Err(error)) = tended {
            match error {
                StoreError::Busy { .. } | StoreError::Unavailable { .. } => {}
                error => tracing::error!(%error, "what is kept of sidecars cannot be read"),
            }
        }
    }

    /// Beside everything else: a stop that the state log takes slowly must not make this node's word old.
    fn retry_stops(&self) {
        if self.deps.unsettled.is_empty() {
            return;
        }
        let deps = self.deps.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "what is in force is carried to its end, whatever this node's word does meanwhile"
        )]
        drop(tokio::spawn(async move { deps.retry_stops().await }));
    }

    /// What others committed, into memory; operators too, whom no fact tells.
    async fn read(&self) -> Result<Epoch, StoreError> {
        let store = &self.deps.store;
        store.catch_up().await?;
        if store.take_operators_changed() {
            let read = async { store.reader(Reach::Installation).await?.operator().list().await };
            let operators: Vec<Operator> = read.await.inspect_err(|_| store.note_operators_changed())?;
            self.deps.know_operators(&operators);
        }
        Ok(self.deps.cell.load().epoch())
    }
}

impl Deps {
    /// Other nodes that may have permitted calls of the last hour: their decision logs are theirs alone.
    pub(crate) fn other_nodes(&self) -> u64 {
        let words = self.nodes.words();
        let others = words.nodes.iter().filter(|word| word.node != self.nodes.node);
        others.filter(|word| word.standing != Standing::Invited).count() as u64
    }
}

/// What a node that answers says of itself.
pub const READY: &str = "ready";
/// What one says that may not write or answer any more.
const FENCED: &str = "fenced";
/// How long the store may take to answer the question after health.
const PROBE: Duration = Duration::from_secs(1);

/// How this node is, among the others; `decision_log` is whether that takes records.
pub async fn health(deps: &Deps, decision_log: bool) -> NodeHealth {
    let snapshot = deps.cell.load();
    let store = matches!(
        tokio::time::timeout(PROBE, deps.store.position()).await,
        Ok(Ok(_))
    );
    let (monotonic, words) = (deps.clock.monotonic(), deps.nodes.words());
    let fresh = deps.cell.is_fresh(monotonic);
    let keys = snapshot
        .tenants()
        .all(|(tenant, _)| deps.keyring.signer(&tenant.id).is_ok());
    let kill_switch = deps.drills.trouble().is_none();
    let (sidecars, silent_sidecars) = deps.count_sidecars(monotonic);
    let fenced = deps.nodes.fenced.load(Ordering::Acquire);
    let fine = store && fresh && decision_log && keys && kill_switch;
    let live = words.nodes.iter().filter(|word| word.standing == Standing::Live);
    NodeHealth {
        status: match (fenced, fine) {
            (true, _) => FENCED,
            (false, true) => READY,
            (false, false) => "not-ready",
        }
        .to_owned(),
        fenced,
        store,
        keys,
        decision_log,
        kill_switch,
        epoch: snapshot.epoch().0,
        position: snapshot.state_pos().0,
        node: deps.nodes.node.to_string(),
        fresh,
        age_ms: deps.cell.age_ms(monotonic),
        leader: words.lead.as_ref().map(|lead| lead.node.to_string()),
        live_nodes: live.count() as u64,
        sidecars,
        silent_sidecars,
    }
}

fn silent(error: &StoreError) -> Happened {
    match error {
        StoreError::Busy { .. } | StoreError::Unavailable { .. } => {
            tracing::debug!(%error, "the store was not heard");
        }
        // This node's memory cannot follow the store: its word grows old, and it refuses.
        _ => {
            tracing::error!(%error, "what the store holds cannot be taken into account: start this node anew")
        }
    }
    Happened::Silent
}
