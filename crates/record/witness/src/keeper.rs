//! Writing the witness while a node runs.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bailiwick_base::{Epoch, StatePos};
use bailiwick_journal::{DecisionLog, Disk, StateTiles};
use tokio::sync::{Notify, watch};

use crate::error::{Refused, WitnessError};
use crate::examine::Examined;
use crate::word::Word;

/// How long somebody waits for the witness before he is told that it does not hold yet.
const HOLD_MAX: Duration = Duration::from_secs(5);
/// How old the checkpoints in the file may become while nothing is killed.
const EVERY: Duration = Duration::from_secs(1);

/// The witness does not have it, or not in time.
#[derive(Debug, thiserror::Error)]
#[error("the witness file does not hold epoch {epoch} yet")]
pub struct NotHeld {
    /// The epoch that was asked for.
    pub epoch: Epoch,
}

/// What the file is known to hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Held {
    epoch: Epoch,
    size: u64,
    decisions: u64,
}

/// Keeps the witness of one node.
pub struct Keeper {
    /// None for an installation without a witness.
    file: Option<KeptFile>,
    held: watch::Sender<Held>,
    /// The furthest position of the state log that somebody waits for.
    wanted: AtomicU64,
    news: Notify,
}

struct KeptFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    state: Arc<StateTiles>,
    decisions: Arc<DecisionLog>,
    /// What it says, once this keeper wrote it.
    written: Mutex<Option<Word>>,
}

impl Keeper {
    /// Takes over from what was examined, and writes for the first time. Blocks on the disk.
    ///
    /// # Errors
    /// [`Refused::Unwritable`].
    pub fn begin(
        examined: Examined,
        state: &Arc<StateTiles>,
        decisions: &Arc<DecisionLog>,
        epoch: Epoch,
    ) -> Result<Arc<Self>, WitnessError> {
        let Examined { disk, path, .. } = examined;
        let keeper = Self::of(path.map(|path| KeptFile {
            disk,
            path,
            state: Arc::clone(state),
            decisions: Arc::clone(decisions),
            written: Mutex::new(None),
        }));
        keeper.write(epoch)?;
        Ok(Arc::new(keeper))
    }

    /// For an installation without a witness.
    #[must_use]
    pub fn exempt() -> Arc<Self> {
        Arc::new(Self::of(None))
    }

    fn of(file: Option<KeptFile>) -> Self {
        Self {
            file,
            held: watch::Sender::new(Held::default()),
            wanted: AtomicU64::new(0),
            news: Notify::new(),
        }
    }

    /// Brings the file to `epoch`, which must be committed, and to the checkpoints that are shown. Blocks on the disk.
    fn write(&self, epoch: Epoch) -> Result<(), Refused> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let mut written = file.written.lock().unwrap_or_else(PoisonError::into_inner);
        let state = file.state.checkpoint();
        let size = state.checkpoint().size;
        let decisions = file.decisions.checkpoint();
        let decided = decisions.checkpoint().size;
        let texts = [state, decisions];
        let checkpoints = texts.iter().map(|signed| signed.note().to_string()).collect();
        let word = Word {
            epoch: written.as_ref().map_or(epoch, |before| before.epoch.max(epoch)),
            checkpoints,
        };
        if written.as_ref() == Some(&word) {
            return Ok(());
        }
        if let Err(refused) = word.write(&*file.disk, &file.path) {
            // What the file says now nobody knows: the next attempt writes it anew.
            *written = None;
            return Err(refused);
        }
        self.held.send_replace(Held {
            epoch: word.epoch,
            size,
            decisions: decided,
        });
        *written = Some(word);
        Ok(())
    }

    /// Writes what is new until `stop` comes: a new epoch, or a position that somebody waits for, at once, everything
    /// else within a second. A witness that cannot be written, or hangs, stops no call: kills are then committed and
    /// not contained.
    pub async fn run(
        self: Arc<Self>,
        epoch: impl Fn() -> Epoch + Send,
        stop: impl Future<Output = ()> + Send,
    ) {
        if self.file.is_none() {
            return;
        }
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                _woken = tokio::time::timeout(EVERY, self.news.notified()) => {}
            }
            let (keeper, epoch) = (Arc::clone(&self), epoch());
            let written = match tokio::task::spawn_blocking(move || keeper.write(epoch)).await {
                Ok(written) => written.map_err(told),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = written {
                metrics::counter!("bailiwick_witness_errors_total").increment(1);
                tracing::error!(error, "the witness is behind: what is killed is not contained");
            }
        }
    }

    /// The state log was published, and `epoch` is committed.
    pub fn published(&self, epoch: Epoch) {
        let held = *self.held.borrow();
        if epoch > held.epoch || held.size < self.wanted.load(Ordering::SeqCst) {
            self.news.notify_one();
        }
    }

    /// Returns once the file holds `epoch` and a checkpoint of the state log over its first `pos` entries; at once
    /// for an installation without a witness.
    ///
    /// # Errors
    /// [`NotHeld`] when that takes longer than five seconds.
    pub async fn hold(&self, epoch: Epoch, pos: StatePos) -> Result<(), NotHeld> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        // In this order: a publication meanwhile finds the wish, or is found here.
        self.wanted.fetch_max(pos.0, Ordering::SeqCst);
        if file.state.checkpoint().checkpoint().size >= pos.0 {
            self.published(epoch);
        }
        let mut held = self.held.subscribe();
        let reached = held.wait_for(|held| held.epoch >= epoch && held.size >= pos.0);
        match tokio::time::timeout(HOLD_MAX, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotHeld { epoch }),
        }
    }

    /// Entries of the decision log under the checkpoint that the file is known to hold; none without a witness.
    #[must_use]
    pub fn seen_decisions(&self) -> Option<u64> {
        let held = *self.held.borrow();
        self.file.as_ref().map(|_| held.decisions)
    }

    /// The epoch and the size of the state log that the file is known to hold; none without a witness.
    #[must_use]
    pub fn held(&self) -> Option<(Epoch, StatePos)> {
        let held = *self.held.borrow();
        self.file.as_ref().map(|_| (held.epoch, StatePos(held.size)))
    }
}

fn told(refused: Refused) -> String {
    match std::error::Error::source(&refused) {
        Some(source) => format!("{refused}: {source}"),
        None => refused.to_string(),
    }
}
