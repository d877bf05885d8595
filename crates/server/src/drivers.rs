//! Background work: each driver is one loop that ends with the stop signal.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_api::Deps;
use bailiwick_journal::{JournalError, StateTiles};
use bailiwick_mcp::Gateway;
use bailiwick_store::{Entry, Store, StoreError};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often idle sessions are looked for.
const SWEEP: Duration = Duration::from_secs(30);
/// How often measurements are folded.
const UPKEEP: Duration = Duration::from_secs(5);
/// How often what is due is looked for.
const RECONCILE: Duration = Duration::from_secs(1);
/// How often heartbeats that stopped are looked for.
const SILENT: Duration = Duration::from_secs(1);
/// Entries published at once.
const CATCH_UP: u32 = 10_000;

/// Waits for the next beat; `false` when the service stops.
async fn beat(every: Duration, stop: &CancellationToken) -> bool {
    tokio::time::timeout(every, stop.cancelled()).await.is_err()
}

/// Publishes committed entries of the state log as tiles, in order. Entries that do not follow what is signed
/// end all work on this store: nothing is signed behind a divergence, and nobody is answered from it.
pub(crate) async fn publish_state(
    tiles: Arc<StateTiles>,
    deps: Deps,
    mut committed: UnboundedReceiver<Vec<Entry>>,
) {
    let (store, cell, witness) = (&deps.store, &deps.cell, &deps.witness);
    while let Some(first) = committed.recv().await {
        let mut entries = first;
        while let Ok(more) = committed.try_recv() {
            entries.extend(more);
        }
        let failed = match offer(&tiles, entries).await {
            Ok(()) => {
                witness.published(cell.load().epoch());
                continue;
            }
            Err(error) => error,
        };
        tracing::warn!(%failed, "state log not published; catching up from the store");
        match catch_up(&tiles, store).await {
            Err(error) if error.is_divergence() => {
                tracing::error!(
                    %error,
                    "the store is not the one whose log is signed: every call and command is refused; stop, and \
                     put back the newest `state.db`, or the whole data folder of one backup"
                );
                cell.expire();
                store.close().await;
                return;
            }
            Err(error) => tracing::error!(%error, "state log could not be published"),
            Ok(()) => witness.published(cell.load().epoch()),
        }
    }
}

/// Why the published log is behind the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Behind {
    /// The tiles do not take the entries.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Whoever published them ended.
    #[error("the state log's publisher stopped: {0}")]
    Publisher(#[from] tokio::task::JoinError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store has fewer entries than were signed.
    #[error("the store has {stored} entries, but {signed} of the state log are signed")]
    Older {
        /// Entries in the store.
        stored: u64,
        /// Entries in the tiles.
        signed: u64,
    },
}

impl Behind {
    /// The store tells another history than the one that is signed.
    pub(crate) fn is_divergence(&self) -> bool {
        matches!(
            self,
            Self::Older { .. }
                | Self::Journal(JournalError::Rewritten { .. } | JournalError::OutOfOrder { .. })
                | Self::Store(StoreError::LogCorrupt { .. })
        )
    }
}

async fn offer(tiles: &Arc<StateTiles>, entries: Vec<Entry>) -> Result<(), Behind> {
    let tiles = Arc::clone(tiles);
    let publish = move || tiles.publish(entries.iter().map(|e| (e.index, e.leaf.as_slice())));
    tokio::task::spawn_blocking(publish).await??;
    Ok(())
}

/// Publishes whatever the store has and the tiles do not.
pub(crate) async fn catch_up(tiles: &Arc<StateTiles>, store: &Store) -> Result<(), Behind> {
    loop {
        // The last entry that is signed comes along, to be compared.
        let signed = tiles.size();
        let entries = store.entries(signed.saturating_sub(1), CATCH_UP).await?;
        let stored = entries.last().map_or(signed.saturating_sub(1), |e| e.index + 1);
        if stored < signed {
            return Err(Behind::Older { stored, signed });
        }
        if stored == signed && signed == 0 {
            return Ok(());
        }
        offer(tiles, entries).await?;
        if stored == signed {
            return Ok(());
        }
    }
}

/// Folds what was measured, so that it does not grow while nobody asks for it.
pub(crate) async fn upkeep(measured: PrometheusHandle, stop: CancellationToken) {
    while beat(UPKEEP, &stop).await {
        measured.run_upkeep();
    }
}

/// Ends the tasks whose heartbeat stopped.
pub(crate) async fn silent_tasks(deps: Deps, stop: CancellationToken) {
    while beat(SILENT, &stop).await {
        deps.cell.wake_if_stale(deps.clock.monotonic());
        bailiwick_api::end_silent(&deps).await;
    }
}

/// Carries on what is due: rotations of third-party secrets and of signing keys, and leases whose task may not hold
/// them. Nothing waits for anything else.
pub(crate) async fn reconcile(deps: Deps, stop: CancellationToken) {
    let (reconciler, mut running) = (bailiwick_api::Reconciler::default(), JoinSet::new());
    while beat(RECONCILE, &stop).await {
        let mut due = reconciler.own_round(&deps);
        if deps.nodes.leads() {
            due.extend(reconciler.round(&deps).await);
        }
        for work in due {
            running.spawn(work);
        }
        while running.try_join_next().is_some() {}
    }
    while running.join_next().await.is_some() {}
}

/// Ends sessions nobody used for long.
pub(crate) async fn sweep(deps: Deps, gateway: Arc<Gateway>, stop: CancellationToken) {
    while beat(SWEEP, &stop).await {
        gateway.sweep();
        deps.cell.forget(deps.clock.now());
    }
}
