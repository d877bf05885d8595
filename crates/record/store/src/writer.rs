//! The one writer: takes what waits into one SQL transaction, a savepoint for each, one commit for all.
//!
//! It runs on its own thread, so a caller that goes away never leaves half a transaction behind.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bailiwick_base::{Epoch, SharedKey, StatePos, TenantId, Time};
use bailiwick_decide::Fact;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::context::{Context, Lane, Reach};
use crate::engine::{Conn, Engine, Failure};
use crate::error::StoreError;
use crate::idempotency;
use crate::log;
use crate::node;
use crate::row::{Cell, Fields, args, signed};
use crate::seat;
use crate::tx::{Audience, Entry, Ground, Head, Receipt, StagedEntry, Tx, View};

/// Called for every committed transaction, in the order of positions, before its caller gets the answer.
pub type Observer = Box<dyn Fn(&Receipt) + Send + Sync>;

/// How long a batch may go on taking what waits before it commits. A kill does not wait for that: it comes
/// next and ends the batch.
const HOLD_MAX: Duration = Duration::from_millis(20);
/// Transactions in one batch.
const BATCH_MAX: usize = 512;
/// How often a batch is run again after a serialisation failure or a broken connection.
const ATTEMPTS_MAX: u32 = 6;
/// How long one closure may take.
const JOB_TIME_MAX: Duration = Duration::from_secs(10);

/// A transaction that waits. It can run more than once until it is finished.
pub(crate) trait Work: Send {
    fn context(&self) -> &Arc<Context>;
    /// Runs the closure. `Ok` is the answer; `Err` means the caller's own refusal or error, which is kept.
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> LocalBoxFuture<'a, Result<Vec<u8>, Refused>>;
    /// Answers the caller.
    fn finish(self: Box<Self>, outcome: Result<Arc<Receipt>, Verdict>);
}

/// The closure said no; the reason stays with the job.
pub(crate) struct Refused;

/// Why a transaction did not commit.
pub(crate) enum Verdict {
    /// The closure said no.
    Own,
    Store(StoreError),
}

pub(crate) type BoxedWork = Box<dyn Work>;

/// The queues into the writer.
pub(crate) struct Queues {
    pub(crate) kills: mpsc::Receiver<BoxedWork>,
    pub(crate) others: mpsc::Receiver<BoxedWork>,
    pub(crate) stop: oneshot::Receiver<()>,
}

/// How often the engine committed, and for how many transactions.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    commits: AtomicU64,
    transactions: AtomicU64,
}

impl Stats {
    pub(crate) fn read(&self) -> (u64, u64) {
        (
            self.commits.load(Ordering::Relaxed),
            self.transactions.load(Ordering::Relaxed),
        )
    }
}

pub(crate) struct Writer {
    stats: Arc<Stats>,
    engine: Arc<Engine>,
    ground: Arc<Ground>,
    audience: Arc<Audience>,
    conn: Option<Conn>,
    fence: u64,
    /// The last beat under this name when it started.
    beat: u64,
    /// Last sequence number and pseudonym of tenants, valid while the log has `known_size` entries.
    seqs: BTreeMap<TenantId, u64>,
    references: BTreeMap<TenantId, Arc<str>>,
    known_size: u64,
    /// The term under which this node leads, as the running batch read it.
    lead: Option<u64>,
}

enum Outcome {
    Done(Receipt),
    Own,
    Failed(StoreError),
}

const SELECT_HEAD: &str = "SELECT epoch.epoch, epoch.epoch_floor, epoch.log_size, epoch.log_at, node.fence, \
                           (SELECT lease.term FROM lease WHERE lease.name = 'lead' AND lease.node = node.node \
                           AND lease.fence = node.fence) \
                           FROM epoch, node WHERE epoch.id = 1 AND node.node = $1";
const UPDATE_HEAD: &str = "UPDATE epoch SET epoch = $1, epoch_floor = $2, log_size = $3, log_at = $4 WHERE id = 1 AND log_size = $5";
const SIZE: &str = "SELECT log_size FROM epoch WHERE id = 1";

impl Writer {
    /// Connects and takes the fence of this node.
    pub(crate) async fn start(
        engine: Arc<Engine>,
        ground: Arc<Ground>,
        audience: Arc<Audience>,
        stats: Arc<Stats>,
    ) -> Result<Self, StoreError> {
        let mut conn = engine.connect().await?;
        let before = seat::require_free(&mut conn, &ground, engine.is_shared()).await?;
        conn.begin().await.map_err(Failure::into_error)?;
        let (fence, beat) = seat::begin(&mut conn, &ground, before).await?;
        let size = conn.fetch(SIZE, Vec::new()).await.map_err(Failure::into_error)?;
        conn.execute("COMMIT", Vec::new())
            .await
            .map_err(Failure::into_error)?;
        let size = Fields::of("epoch", size.into_iter().next().unwrap_or_default()).number("log_size")?;
        audience.start_at(size);
        Ok(Self {
            stats,
            engine,
            ground,
            audience,
            conn: Some(conn),
            fence,
            beat,
            seqs: BTreeMap::new(),
            references: BTreeMap::new(),
            known_size: 0,
            lead: None,
        })
    }

    /// The fence of this start, and the last beat before it.
    pub(crate) fn begun(&self) -> (u64, u64) {
        (self.fence, self.beat)
    }

    /// Works until the store is closed and the queues are empty.
    pub(crate) async fn work(mut self, mut queues: Queues) {
        let mut closing = false;
        loop {
            let first = tokio::select! {
                biased;
                Some(job) = queues.kills.recv() => job,
                Some(job) = queues.others.recv() => job,
                _ = &mut queues.stop, if !closing => {
                    // What is already queued is still done; new ones are refused at the door.
                    queues.kills.close();
                    queues.others.close();
                    closing = true;
                    continue;
                }
                else => break,
            };
            self.batch(first, &mut queues).await;
        }
        if let Some(conn) = self.conn.take() {
            conn.close().await;
        }
    }

    async fn batch(&mut self, first: BoxedWork, queues: &mut Queues) {
        let mut jobs = vec![first];
        let mut outcome = self.attempt(&mut jobs, queues).await;
        for _ in 1..ATTEMPTS_MAX {
            match &outcome {
                Err(failure) if failure.again => {}
                _ => break,
            }
            outcome = self.attempt(&mut jobs, queues).await;
        }
        match outcome {
            Ok(outcomes) => {
                for (job, outcome) in jobs.into_iter().zip(outcomes) {
                    self.answer(job, outcome);
                }
            }
            Err(failure) => {
                tracing::warn!(error = %failure.error, waiting = jobs.len(), "the store could not commit");
                for job in jobs {
                    job.finish(Err(Verdict::Store(failure.error.clone())));
                }
            }
        }
    }

    fn answer(&self, job: BoxedWork, outcome: Outcome) {
        match outcome {
            Outcome::Done(receipt) => {
                let receipt = Arc::new(receipt);
                if !receipt.replayed {
                    self.audience.tell(&receipt);
                }
                job.finish(Ok(receipt));
            }
            Outcome::Own => job.finish(Err(Verdict::Own)),
            Outcome::Failed(error) => job.finish(Err(Verdict::Store(error))),
        }
    }

    /// Runs the jobs, and those that wait behind them, in one SQL transaction.
    async fn attempt(
        &mut self,
        jobs: &mut Vec<BoxedWork>,
        queues: &mut Queues,
    ) -> Result<Vec<Outcome>, Failure> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.engine.connect().await.map_err(Failure::of_connection)?,
        };
        let mut batch = Batch::new(conn);
        match self.transact(&mut batch, jobs, queues).await {
            Ok(outcomes) => {
                self.conn = Some(batch.conn);
                Ok(outcomes)
            }
            Err(failure) => {
                // Nothing of this batch may be believed, the caches neither.
                self.seqs.clear();
                self.references.clear();
                if !failure.lost && batch.conn.execute("ROLLBACK", Vec::new()).await.is_ok() {
                    self.conn = Some(batch.conn);
                }
                Err(failure)
            }
        }
    }

    async fn transact(
        &mut self,
        batch: &mut Batch,
        jobs: &mut Vec<BoxedWork>,
        queues: &mut Queues,
    ) -> Result<Vec<Outcome>, Failure> {
        self.begin(batch).await?;
        self.hear_others(batch).await?;
        let mut outcomes = Vec::new();
        let started = self.ground.clock.monotonic();
        while let Some(job) = jobs.get_mut(outcomes.len()) {
            let lane = job.context().lane;
            outcomes.push(self.run_job(batch, job.as_mut()).await?);
            let held = self.ground.clock.monotonic().saturating_sub(started);
            let hurried = lane != Lane::Ordinary || held >= HOLD_MAX;
            if outcomes.len() == jobs.len() && jobs.len() < BATCH_MAX {
                let next = match queues.kills.try_recv() {
                    Ok(kill) => Some(kill),
                    Err(_) if hurried => None,
                    Err(_) => queues.others.try_recv().ok(),
                };
                jobs.extend(next);
            }
        }
        log::insert(&mut batch.conn, std::mem::take(&mut batch.staged)).await?;
        batch.write_head().await?;
        let keys = self.place_keys(batch).await?;
        batch.commit().await?;
        self.known_size = batch.head.size;
        if let Some(shelf) = &self.ground.shelf {
            shelf.placed(&keys);
        }
        self.stats.commits.fetch_add(1, Ordering::Relaxed);
        let done = u64::try_from(outcomes.len()).unwrap_or(0);
        self.stats.transactions.fetch_add(done, Ordering::Relaxed);
        Ok(outcomes)
    }

    /// Takes the lock, reads the counters, and looks at the fence.
    async fn begin(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        batch.conn.begin().await?;
        let rows = batch
            .conn
            .fetch(SELECT_HEAD, args![self.ground.node.as_str()])
            .await?;
        let cells = rows.into_iter().next().unwrap_or_default();
        self.lead = match cells.get(5) {
            Some(Cell::Int(term)) => u64::try_from(*term).ok(),
            _ => None,
        };
        let (head, fence) = head_of(cells).map_err(Failure::plain)?;
        if fence != self.fence {
            let node = self.ground.node.to_string();
            return Err(Failure::plain(StoreError::Fenced { node }));
        }
        if head.size != self.known_size {
            self.seqs.clear();
            self.references.clear();
        }
        (batch.head, batch.began) = (head, head);
        Ok(())
    }

    /// What other nodes committed since this one was last told comes first: their keys, then their facts, before
    /// anything is built on them. The lock is held, so nothing newer can come between.
    async fn hear_others(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let told = StatePos(self.audience.told());
        if batch.head.size <= told.0 {
            return Ok(());
        }
        let reach = Reach::DangerAllTenants;
        batch.conn.name_tenant(&reach.rows()).await?;
        let lent = std::mem::replace(&mut batch.conn, Conn::Lent);
        let mut view = View::new(lent, reach, Arc::clone(&self.ground));
        let changes = view.changes(told).await;
        batch.conn = view.conn;
        // That this node is too far behind says nothing about what is to be written: nobody takes it for a refusal.
        let changes = changes.map_err(|error| match (view.failure, error) {
            (Some(failure), _) => failure,
            (None, error @ StoreError::Limit { .. }) => Failure::plain(StoreError::Unavailable {
                detail: format!("{error}: start this node anew"),
            }),
            (None, error) => Failure::plain(error),
        })?;
        self.audience.tell_changes(changes);
        Ok(())
    }

    /// Keys that changed here go into the same commit as what was recorded of them. When another node was first,
    /// nothing of this batch may stand.
    async fn place_keys(&mut self, batch: &mut Batch) -> Result<Vec<SharedKey>, Failure> {
        let Some(shelf) = &self.ground.shelf else {
            return Ok(Vec::new());
        };
        let mut keys = shelf.waiting();
        if keys.is_empty() {
            return Ok(keys);
        }
        if !node::place(&mut batch.conn, &keys).await? {
            batch.conn.name_tenant(&Reach::DangerAllTenants.rows()).await?;
            for theirs in node::every_key(&mut batch.conn).await? {
                shelf
                    .adopt(&theirs)
                    .map_err(|e| Failure::plain(StoreError::Seal(e)))?;
            }
            return Err(Failure::plain(StoreError::Busy {
                what: "another node changed the same keys",
            }));
        }
        for key in &mut keys {
            key.version += 1;
        }
        Ok(keys)
    }

    /// Runs one job so that it can be undone alone. `Err` ends the whole batch.
    async fn run_job(&mut self, batch: &mut Batch, job: &mut dyn Work) -> Result<Outcome, Failure> {
        let ctx = Arc::clone(job.context());
        if ctx.term.is_some() && ctx.term != self.lead {
            return Ok(Outcome::Failed(StoreError::NotLeading));
        }
        let home = ctx.reach.home();
        batch.set_savepoint().await?;
        batch.conn.name_tenant(&ctx.reach.rows()).await?;
        let now = Time::from_micros(self.ground.clock.now().micros().max(batch.head.at));
        let lent = std::mem::replace(&mut batch.conn, Conn::Lent);
        let view = View::new(lent, ctx.reach.clone(), Arc::clone(&self.ground));
        let mut tx = Tx::new(view, ctx, batch.head, now);
        tx.seq = self.seqs.get(&home).copied();
        tx.reference = self.references.get(&home).cloned();
        let outcome = supervised(job, &mut tx).await;
        let Tx {
            view,
            head,
            staged,
            seq,
            reference,
            ..
        } = tx;
        batch.conn = view.conn;
        match (view.failure, outcome) {
            // Another transaction was first, or the connection is gone: everything so far runs again.
            (Some(failure), _) if failure.again || failure.lost => Err(failure),
            (None, Outcome::Done(receipt)) => {
                batch.keep(head, staged);
                self.seqs.extend(seq.map(|seq| (home.clone(), seq)));
                self.references
                    .extend(reference.map(|reference| (home, reference)));
                Ok(Outcome::Done(receipt))
            }
            (failure, outcome) => {
                if batch.undo().await? == Undone::Everything {
                    self.begin(batch).await?;
                }
                Ok(match (failure, outcome) {
                    // A closure that swallowed the error of a statement is not believed.
                    (Some(failure), Outcome::Done(_)) => Outcome::Failed(failure.error),
                    (_, outcome) => outcome,
                })
            }
        }
    }
}

/// Runs a job against panics and against standing still.
async fn supervised(job: &mut dyn Work, tx: &mut Tx) -> Outcome {
    let running = AssertUnwindSafe(run(job, tx)).catch_unwind();
    match tokio::time::timeout(JOB_TIME_MAX, running).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Outcome::Failed(StoreError::Panicked {
            what: "its closure panicked",
        }),
        Err(_) => {
            // A statement may be under way on the connection: nobody can use it any more.
            let error = StoreError::Busy {
                what: "a command held the writer for more than 10 s",
            };
            tx.view.failure.get_or_insert(Failure {
                error: error.clone(),
                again: false,
                lost: true,
            });
            Outcome::Failed(error)
        }
    }
}

/// One SQL transaction with the work of many.
struct Batch {
    conn: Conn,
    began: Head,
    head: Head,
    staged: Vec<StagedEntry>,
    savepoint: Savepoint,
}

/// What an undo goes back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Savepoint {
    /// There is a savepoint, and work to be kept behind it.
    Behind,
    /// Nothing was done yet: the beginning.
    Clean,
    /// A savepoint stands here.
    Here,
    /// There is work to be kept and no savepoint yet.
    Wanted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Undone {
    Everything,
    OneJob,
}

impl Batch {
    fn new(conn: Conn) -> Self {
        let head = Head {
            epoch: 0,
            floor: 0,
            size: 0,
            at: 0,
        };
        Self {
            conn,
            began: head,
            head,
            staged: Vec::new(),
            savepoint: Savepoint::Clean,
        }
    }

    /// Makes it possible to undo what comes next, with as few statements as that takes: none for a job that
    /// is alone.
    async fn set_savepoint(&mut self) -> Result<(), Failure> {
        match self.savepoint {
            Savepoint::Clean | Savepoint::Here => return Ok(()),
            Savepoint::Behind => self.conn.script("RELEASE SAVEPOINT job; SAVEPOINT job").await?,
            Savepoint::Wanted => self.conn.script("SAVEPOINT job").await?,
        }
        self.savepoint = Savepoint::Here;
        Ok(())
    }

    fn keep(&mut self, head: Head, staged: Vec<StagedEntry>) {
        self.head = head;
        self.staged.extend(staged);
        self.savepoint = match self.savepoint {
            Savepoint::Clean | Savepoint::Wanted => Savepoint::Wanted,
            Savepoint::Behind | Savepoint::Here => Savepoint::Behind,
        };
    }

    async fn undo(&mut self) -> Result<Undone, Failure> {
        if self.savepoint == Savepoint::Clean {
            self.conn.execute("ROLLBACK", Vec::new()).await?;
            return Ok(Undone::Everything);
        }
        self.conn.execute("ROLLBACK TO SAVEPOINT job", Vec::new()).await?;
        Ok(Undone::OneJob)
    }

    async fn write_head(&mut self) -> Result<(), Failure> {
        let (began, head) = (self.began, self.head);
        if began == head {
            return Ok(());
        }
        let values = args![
            signed(head.epoch),
            signed(head.floor),
            signed(head.size),
            head.at,
            signed(began.size)
        ];
        if self.conn.execute(UPDATE_HEAD, values).await? == 1 {
            return self.conn.hint().await;
        }
        let error = StoreError::Conflict {
            table: "epoch",
            row: "1".to_owned(),
        };
        Err(Failure {
            error,
            again: true,
            lost: false,
        })
    }

    async fn commit(&mut self) -> Result<(), Failure> {
        self.conn
            .execute("COMMIT", Vec::new())
            .await
            .map(drop)
            .map_err(|failure| {
                if failure.lost {
                    // The commit may have been done: running it again could do everything twice.
                    return Failure {
                        error: StoreError::Uncertain,
                        again: false,
                        lost: true,
                    };
                }
                failure
            })
    }
}

pub(crate) fn head_of(cells: crate::row::Cells) -> Result<(Head, u64), StoreError> {
    let mut fields = Fields::of("epoch", cells);
    let head = Head {
        epoch: fields.number("epoch")?,
        floor: fields.number("epoch_floor")?,
        size: fields.number("log_size")?,
        at: fields.int("log_at")?,
    };
    Ok((head, fields.number("fence")?))
}

/// One job: replay a known answer, or run the closure, judge the balance, keep the answer.
async fn run(job: &mut dyn Work, tx: &mut Tx) -> Outcome {
    match idempotency::replay(tx).await {
        Err(error) => return Outcome::Failed(error),
        Ok(Some(receipt)) => return Outcome::Done(receipt),
        Ok(None) => {}
    }
    let Ok(answer) = job.run(tx).await else {
        return Outcome::Own;
    };
    match conclude(tx, answer).await {
        Ok(receipt) => Outcome::Done(receipt),
        Err(error) => Outcome::Failed(error),
    }
}

async fn conclude(tx: &mut Tx, answer: Vec<u8>) -> Result<Receipt, StoreError> {
    tx.require_balance()?;
    idempotency::keep(tx, &answer).await?;
    let (pos, epoch) = (StatePos(tx.head.size), Epoch(tx.head.epoch));
    let mut facts = std::mem::take(&mut tx.facts);
    if tx.head != tx.began {
        facts.push(Fact::Position(pos, epoch));
    }
    let entry = |staged: &StagedEntry| Entry {
        index: staged.index,
        leaf: staged.leaf.clone(),
    };
    let entries = tx.staged.iter().map(entry).collect();
    Ok(Receipt {
        pos,
        epoch,
        facts,
        entries,
        answer,
        replayed: false,
    })
}
