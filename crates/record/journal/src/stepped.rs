//! The decision log without threads: whoever holds it says when what waits is written and when a checkpoint is
//! issued. Writer, publisher and everything they write are those of [`DecisionLog`].

use std::path::Path;
use std::sync::Arc;

use crate::error::JournalError;
use crate::log::{DecisionLog, Deps, LogConfig};
use crate::publish::Publisher;
use crate::replay::Recovery;
use crate::write::Writer;

/// A decision log that does nothing by itself.
pub struct SteppedLog {
    log: Arc<DecisionLog>,
    writer: Writer,
    publisher: Publisher,
}

impl SteppedLog {
    /// Opens the log in `dir` as [`DecisionLog::open`] does, and starts nothing.
    ///
    /// # Errors
    /// As [`DecisionLog::open`].
    pub fn open(dir: &Path, config: LogConfig, deps: Deps) -> Result<(Self, Recovery), JournalError> {
        let parts = DecisionLog::assemble(dir, config, deps, false)?;
        parts.log.end_publishing();
        let stepped = Self {
            log: Arc::new(parts.log),
            writer: parts.writer,
            publisher: parts.publisher,
        };
        Ok((stepped, parts.recovery))
    }

    /// The log, to append to and to read from. What is appended resolves in [`SteppedLog::write`];
    /// [`DecisionLog::integrate`] fails while something is not published.
    #[must_use]
    pub fn log(&self) -> &Arc<DecisionLog> {
        &self.log
    }

    /// Writes what waits, flushes it and answers whoever waits for it. Nothing is done when nothing waits.
    pub fn write(&mut self) {
        self.writer.step();
    }

    /// Makes the tiles of everything durable, signs and shows their checkpoint; gives its size.
    ///
    /// # Errors
    /// [`JournalError`]; the next attempt goes on where this one stopped.
    pub fn publish(&mut self) -> Result<u64, JournalError> {
        self.publisher.step()
    }
}

impl std::fmt::Debug for SteppedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SteppedLog({})", self.log.dir().display())
    }
}
