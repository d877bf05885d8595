//! The store itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bailiwick_base::{Clock, Epoch, KeyShelf, NodeName, Sealer, StatePos};
use futures_util::future::LocalBoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::context::{Context, Lane, Reach};
use crate::engine::{Conn, Engine, StoreConfig};
use crate::error::StoreError;
use crate::tx::{Audience, Ground, Head, Reader, Receipt, Tx, View};
use crate::writer::{BoxedWork, Observer, Queues, Refused, Stats, Verdict, Work, Writer};

/// What the store needs from outside.
pub struct StoreDeps {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Encryption under the tenants' keys.
    pub sealer: Arc<dyn Sealer>,
    /// This node's name.
    pub node: NodeName,
    /// Where this process runs, if only one of this node can run there at a time: whoever ran there before has ended.
    pub seat: Option<String>,
    /// The keys that nodes share, where there may be several.
    pub shelf: Option<Arc<dyn KeyShelf>>,
    /// Told of every commit in order, before the caller is answered: the place to publish facts.
    pub observer: Option<Observer>,
}

/// Transactions that may wait in each queue.
const QUEUE_MAX: usize = 4_096;
/// Connections that read.
const READERS_MAX: u32 = 4;

/// The one store of an installation. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<Engine>,
    /// For the heartbeat, which must not wait behind everybody else's questions.
    pulse: Engine,
    ground: Arc<Ground>,
    kills: mpsc::Sender<BoxedWork>,
    others: mpsc::Sender<BoxedWork>,
    stats: Arc<Stats>,
    /// The fence of this start.
    fence: u64,
    beats: tokio::sync::Mutex<Beats>,
    audience: Arc<Audience>,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    done: tokio::sync::Mutex<Option<oneshot::Receiver<()>>>,
}

/// The connection of beats, which wait for nobody, and the number of the last one.
pub(crate) struct Beats {
    pub(crate) conn: Option<Conn>,
    pub(crate) last: u64,
    /// This node said that it stopped: it says nothing more.
    pub(crate) over: bool,
}

const SELECT_HEAD: &str = "SELECT epoch, epoch_floor, log_size, log_at, id FROM epoch WHERE id = 1";

/// The writer's thread: it says how its start went, and then works.
fn work(
    starting: impl Future<Output = Result<Writer, StoreError>>,
    started: oneshot::Sender<Result<(u64, u64), StoreError>>,
    queues: Queues,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            drop(started.send(Err(StoreError::Unavailable {
                detail: e.to_string(),
            })));
            return;
        }
    };
    runtime.block_on(async move {
        match starting.await {
            Ok(writer) => {
                drop(started.send(Ok(writer.begun())));
                writer.work(queues).await;
            }
            Err(e) => drop(started.send(Err(e))),
        }
    });
}

impl Store {
    /// Opens the store, brings the schema up to date and starts the writer.
    ///
    /// # Errors
    /// [`StoreError`] naming the place and the fix: folder, disk, schema, role, connection.
    pub async fn open(config: StoreConfig, deps: StoreDeps) -> Result<Self, StoreError> {
        let engine = Arc::new(Engine::open(&config, READERS_MAX).await?);
        let ground = Arc::new(Ground {
            clock: deps.clock,
            sealer: deps.sealer,
            shelf: deps.shelf.filter(|_| engine.is_shared()),
            node: deps.node,
            seat: deps.seat,
        });
        let (kills, kill_queue) = mpsc::channel(QUEUE_MAX);
        let (others, other_queue) = mpsc::channel(QUEUE_MAX);
        let (stop, stopping) = oneshot::channel();
        let (started, starting) = oneshot::channel();
        let (done, finished) = oneshot::channel();
        let queues = Queues {
            kills: kill_queue,
            others: other_queue,
            stop: stopping,
        };
        let stats = Arc::new(Stats::default());
        let audience = Arc::new(Audience::new(deps.observer));
        let writer_audience = Arc::clone(&audience);
        let (writer_engine, writer_ground, writer_stats) =
            (Arc::clone(&engine), Arc::clone(&ground), Arc::clone(&stats));
        let body = move || {
            let writer = Writer::start(writer_engine, writer_ground, writer_audience, writer_stats);
            work(writer, started, queues);
            // Nobody waits when the store was dropped without being closed.
            let _ = done.send(());
        };
        thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(body)
            .map_err(|e| StoreError::Unavailable {
                detail: e.to_string(),
            })?;
        let (fence, beat) = starting.await.map_err(|_| StoreError::Stopped)??;
        let inner = Inner {
            pulse: engine.apart(),
            engine,
            ground,
            kills,
            others,
            stats,
            fence,
            beats: tokio::sync::Mutex::new(Beats {
                conn: None,
                last: beat,
                over: false,
            }),
            audience,
            stop: Mutex::new(Some(stop)),
            done: tokio::sync::Mutex::new(Some(finished)),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Runs `body` in a transaction. What it returns is the answer: it is kept when the context has an
    /// idempotency key, and a repetition gets it again without running `body`.
    ///
    /// `body` runs on the writer and may run more than once; it must do nothing but use its transaction and
    /// pure functions. Dropping the returned future does not stop it.
    ///
    /// # Errors
    /// The error of `body`, or [`StoreError`]; nothing was changed then, except after
    /// [`StoreError::Uncertain`].
    pub async fn transact<E, F>(&self, ctx: Context, body: F) -> Result<Arc<Receipt>, E>
    where
        E: From<StoreError> + Send + 'static,
        F: AsyncFnMut(&mut Tx) -> Result<Vec<u8>, E> + Send + 'static,
    {
        let queue = if ctx.lane == Lane::Kill {
            &self.inner.kills
        } else {
            &self.inner.others
        };
        let (reply, answer) = oneshot::channel();
        let access = matches!(ctx.reach, Reach::DangerAllTenants);
        let job = TypedWork {
            ctx: Arc::new(ctx),
            body,
            reply: Some(reply),
            refusal: None,
            access,
        };
        queue.try_send(Box::new(job)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => E::from(StoreError::Busy {
                what: "too many commands wait",
            }),
            mpsc::error::TrySendError::Closed(_) => E::from(StoreError::Stopped),
        })?;
        answer.await.unwrap_or_else(|_| Err(E::from(StoreError::Stopped)))
    }

    /// A reader of one tenant, or of the installation: one consistent view that ends when it is dropped.
    ///
    /// # Errors
    /// [`StoreError::WriteAcrossTenants`] for all tenants at once, which needs a transaction and its entry;
    /// else what the engine says.
    pub async fn reader(&self, reach: impl Into<Reach>) -> Result<Reader, StoreError> {
        let reach = reach.into();
        if matches!(reach, Reach::DangerAllTenants) {
            return Err(StoreError::WriteAcrossTenants);
        }
        self.view(reach).await
    }

    /// A view of every row, for what the installation itself needs: the snapshot, the count.
    pub(crate) async fn every(&self) -> Result<View, StoreError> {
        self.view(Reach::DangerAllTenants).await
    }

    async fn view(&self, reach: Reach) -> Result<View, StoreError> {
        let conn = self.inner.engine.read(&reach.rows()).await?;
        Ok(View::new(conn, reach, Arc::clone(&self.inner.ground)))
    }

    /// The position of the state log and the epoch that holds there.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn position(&self) -> Result<(StatePos, Epoch), StoreError> {
        let head = self.quick_view().await?.head().await?;
        Ok((StatePos(head.size), Epoch(head.epoch)))
    }

    /// A view that waits behind nobody else's questions.
    pub(crate) async fn quick_view(&self) -> Result<View, StoreError> {
        let reach = Reach::DangerAllTenants;
        let conn = self.inner.pulse.read(&reach.rows()).await?;
        Ok(View::new(conn, reach, Arc::clone(&self.inner.ground)))
    }

    /// Tokens with an older epoch than this are dead.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn epoch_floor(&self) -> Result<Epoch, StoreError> {
        Ok(Epoch(self.every().await?.head().await?.floor))
    }

    /// Whether other nodes may be on this store.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.inner.engine.is_shared()
    }

    pub(crate) fn fence_of_start(&self) -> u64 {
        self.inner.fence
    }

    /// This node.
    #[must_use]
    pub fn name(&self) -> &NodeName {
        &self.inner.ground.node
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    pub(crate) fn ground(&self) -> &Ground {
        &self.inner.ground
    }

    pub(crate) fn beats(&self) -> &tokio::sync::Mutex<Beats> {
        &self.inner.beats
    }

    pub(crate) fn audience(&self) -> &Audience {
        &self.inner.audience
    }

    /// Commits of the engine and transactions in them since the store was opened.
    #[must_use]
    pub fn stats(&self) -> (u64, u64) {
        self.inner.stats.read()
    }

    /// Refuses new transactions, waits for those that are queued, and closes the engine.
    pub async fn close(&self) {
        let stop = self
            .inner
            .stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(stop) = stop {
            // The writer may have stopped by itself.
            let _ = stop.send(());
        }
        if let Some(done) = self.inner.done.lock().await.take() {
            drop(done.await);
        }
        self.inner.audience.end();
        self.inner.pulse.close().await;
        self.inner.engine.close().await;
    }
}

impl View {
    pub(crate) async fn head(&mut self) -> Result<Head, StoreError> {
        let cells = self
            .fetch(SELECT_HEAD, Vec::new())
            .await?
            .into_iter()
            .next()
            .unwrap_or_default();
        crate::writer::head_of(cells).map(|(head, _)| head)
    }
}

struct TypedWork<E, F> {
    ctx: Arc<Context>,
    body: F,
    reply: Option<oneshot::Sender<Result<Arc<Receipt>, E>>>,
    refusal: Option<E>,
    /// Reads all tenants, which is recorded by itself.
    access: bool,
}

impl<E, F> Work for TypedWork<E, F>
where
    E: From<StoreError> + Send + 'static,
    F: AsyncFnMut(&mut Tx) -> Result<Vec<u8>, E> + Send + 'static,
{
    fn context(&self) -> &Arc<Context> {
        &self.ctx
    }

    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> LocalBoxFuture<'a, Result<Vec<u8>, Refused>> {
        Box::pin(async move {
            let recorded = if self.access {
                tx.note("all-tenants.read", serde_json::Value::Null)
                    .await
                    .map_err(E::from)
            } else {
                Ok(())
            };
            let answer = match recorded {
                Ok(()) => (self.body)(tx).await,
                Err(e) => Err(e),
            };
            answer.map_err(|e| {
                self.refusal = Some(e);
                Refused
            })
        })
    }

    fn finish(self: Box<Self>, outcome: Result<Arc<Receipt>, Verdict>) {
        let answer = match outcome {
            Ok(receipt) => Ok(receipt),
            Err(Verdict::Store(error)) => Err(E::from(error)),
            Err(Verdict::Own) => Err(self.refusal.unwrap_or_else(|| E::from(StoreError::Stopped))),
        };
        // The caller may have gone away; the transaction stands all the same.
        drop(self.reply.map(|reply| reply.send(answer)));
    }
}
