//! What can be wrong with the files of a log, and why a record was not appended.

use std::io;
use std::path::{Path, PathBuf};

use bailiwick_audit::checkpoint::{CheckpointError, IssueError};
use bailiwick_audit::entry::LeafError;
use bailiwick_audit::merkle::ProveError;
use bailiwick_audit::note::NoteError;
use bailiwick_audit::proof::ProofFileError;
use bailiwick_audit::tile::{AppendError, ResumeError};
use bailiwick_base::{SealError, Time};

/// The log cannot be opened, read, published or exported.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// An entry does not fit the tree.
    #[error("entry `{index}` cannot be integrated")]
    Append {
        /// Index of the entry.
        index: u64,
        /// Why.
        #[source]
        source: AppendError,
    },
    /// The file that says where a pruned log begins is not the one that was written.
    #[error("`{path}` does not say where this log begins: {reason}: put it back from the backup")]
    Base {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The stored checkpoint is not this log's, or not signed by its key.
    #[error("the checkpoint in `{path}` is not valid: restore it, or verify the log with its key")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: CheckpointError,
    },
    /// Bytes in front of the tail are not what was written.
    #[error("the log is damaged: entry `{index}` at byte `{offset}` of `{path}`: {reason}")]
    Damaged {
        /// Segment file.
        path: PathBuf,
        /// Where the damage was found, in bytes from the start of the file.
        offset: u64,
        /// The entry that should be there.
        index: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// The parts of a proof file do not prove its entry.
    #[error("no proof file of entry `{index}` can be made")]
    Disclose {
        /// Index of the entry.
        index: u64,
        /// Why.
        #[source]
        source: ProofFileError,
    },
    /// A file operation failed.
    #[error("`{path}`: {action} failed: {source}")]
    File {
        /// What was attempted.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The log's key cannot sign notes.
    #[error("the log's key cannot sign checkpoints")]
    Key(#[source] NoteError),
    /// The leaf of an entry cannot be made or read.
    #[error("the leaf of entry `{index}` is not valid")]
    Leaf {
        /// Index of the entry.
        index: u64,
        /// Why.
        #[source]
        source: LeafError,
    },
    /// Another process has the log open.
    #[error("`{path}` is in use by another process: stop it first")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The entry is durable or will be, but no checkpoint covers it yet.
    #[error("entry `{index}` is not integrated yet: the checkpoint has `{size}` entries")]
    NotIntegrated {
        /// Index asked for.
        index: u64,
        /// Size of the checkpoint.
        size: u64,
    },
    /// Entries of the state log were offered out of order.
    #[error("entry `{index}` was offered where entry `{expected}` follows")]
    OutOfOrder {
        /// Index that was offered.
        index: u64,
        /// Index that follows.
        expected: u64,
    },
    /// A proof cannot be made.
    #[error("no proof can be made from the tiles")]
    Prove(#[source] ProveError),
    /// The entry is gone: the log was pruned.
    #[error(
        "entry `{index}` is gone: the log begins with entry `{minimum}` since it was pruned at {at}, because `{reason}`"
    )]
    Pruned {
        /// Index asked for.
        index: u64,
        /// First entry that is kept.
        minimum: u64,
        /// When it was pruned.
        at: Time,
        /// Why.
        reason: String,
    },
    /// A checkpoint could not be signed.
    #[error("no checkpoint could be issued")]
    Publish(#[source] IssueError),
    /// Tiles and checkpoint do not fit together.
    #[error("the tiles in `{path}` do not belong to its checkpoint")]
    Resume {
        /// The file; the folder of the log where none can be told from the others.
        path: PathBuf,
        /// Why.
        #[source]
        source: ResumeError,
    },
    /// An entry that was offered again has another leaf than the one that is published.
    #[error("entry `{index}` differs from the published one: the log was rewritten or restored")]
    Rewritten {
        /// Index of the entry.
        index: u64,
    },
    /// A payload does not open.
    #[error("the payload of entry `{index}` does not open")]
    Seal {
        /// Index of the entry.
        index: u64,
        /// Why.
        #[source]
        source: SealError,
    },
    /// A setting is outside its limits.
    #[error("`{setting}` is `{found}`: use {expected}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// What was given.
        found: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A tile is cut, or longer than it can be.
    #[error("the tile `{path}` has `{found}` bytes, which is not its length: put it back from the backup")]
    TileLength {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
    },
    /// A thread of the log could not be started, or ended.
    #[error("the log's {name} thread is not running")]
    Thread {
        /// Which one.
        name: &'static str,
    },
}

impl JournalError {
    /// Wraps an I/O error with what was attempted where.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

/// Why a record did not become an entry. A denial for the call behind it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAppended {
    /// As many records wait as are allowed to.
    #[error("the decision log's queue is full: `{max}` records wait for the disk")]
    QueueFull {
        /// Records that may wait.
        max: usize,
    },
    /// The payload could not be sealed, so it may not be stored.
    #[error("the payload cannot be sealed: {0}")]
    Seal(#[source] SealError),
    /// The payload or the leaf is longer than allowed.
    #[error("`{found}` bytes of {part} are more than the `{max}` a record may have")]
    TooLong {
        /// `payload` or `leaf`.
        part: &'static str,
        /// Bytes offered.
        found: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The log cannot be written. Says what to do.
    #[error("the decision log is not writable: {0}")]
    Unwritable(String),
}
