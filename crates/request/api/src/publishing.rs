//! The state log as tiles: what is committed is published in order.

use std::sync::Arc;

use bailiwick_journal::{JournalError, StateTiles};
use bailiwick_store::{Entry, Store, StoreError};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::Deps;

/// Entries published at once.
const CATCH_UP: u32 = 10_000;

/// Publishes committed entries of the state log as tiles, in order. Entries that do not follow what is signed
/// end all work on this store: nothing is signed behind a divergence, and nobody is answered from it.
pub async fn publish_state(tiles: Arc<StateTiles>, deps: Deps, mut committed: UnboundedReceiver<Vec<Entry>>) {
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
pub enum Behind {
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
    fn is_divergence(&self) -> bool {
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
///
/// # Errors
/// [`Behind`]: the store cannot be read, or tells another history.
pub async fn catch_up(tiles: &Arc<StateTiles>, store: &Store) -> Result<(), Behind> {
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
