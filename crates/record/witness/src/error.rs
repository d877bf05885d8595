//! Why a node does not start, or cannot keep its witness.

use std::io;
use std::path::PathBuf;

use bailiwick_store::StoreError;

/// The witness cannot be compared, or says no.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// There is no id for the entry.
    #[error("randomness failed")]
    Randomness,
    /// It says no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store does not answer, or does not take the acceptance.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WitnessError {
    /// The stable code, where the witness itself says no.
    #[must_use]
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::Refused(refused) => Some(refused.code()),
            Self::Randomness | Self::Store(_) => None,
        }
    }
}

/// The witness is not usable, or the data folder is not the one it has seen.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A log is shorter than it was, and what it recorded is still in the store.
    #[error(
        "the {log} log has {have} entries and its witness `{path}` saw {seen}: entries were cut off, or `{folder}` is \
         an older copy; put back the newest `{folder}`, or go on without what is missing: bailiwick witness accept"
    )]
    Cut {
        /// `state` or `decisions`.
        log: &'static str,
        /// Its folder.
        folder: PathBuf,
        /// The witness file.
        path: PathBuf,
        /// Entries under the checkpoint of the folder.
        have: u64,
        /// Entries under the checkpoint of the witness.
        seen: u64,
    },
    /// The file does not read as one that a node wrote.
    #[error(
        "the witness file `{path}` is damaged, {why}: put back the newest copy of it, or, if there is none: bailiwick \
         witness accept"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The store's epoch is below one that was witnessed.
    #[error(
        "this installation is at revocation epoch {have} and its witness `{path}` saw {seen}: put back the newest \
         data folder, or go on without the kills that are missing: bailiwick witness accept"
    )]
    Epoch {
        /// The witness file.
        path: PathBuf,
        /// Epoch of the store.
        have: u64,
        /// Epoch of the witness.
        seen: u64,
    },
    /// The log tells another history than the one that was witnessed.
    #[error(
        "the {log} log is not the one its witness `{path}` saw: its first {size} entries are others, so its history \
         was forked or rewritten; put back the data folder that was running, or go on from this one: bailiwick \
         witness accept"
    )]
    Forked {
        /// `state` or `decisions`.
        log: &'static str,
        /// The witness file.
        path: PathBuf,
        /// Entries under the checkpoint of the witness.
        size: u64,
    },
    /// The file would be lost and restored together with what it vouches for.
    #[error(
        "the witness file `{path}` is inside the data folder `{data}`, with which it would be rolled back: give \
         another place with --witness"
    )]
    Inside {
        /// The witness file.
        path: PathBuf,
        /// The data folder.
        data: PathBuf,
    },
    /// A log cannot be compared.
    #[error("the {log} log in `{folder}` cannot be compared with its witness: {why}")]
    Log {
        /// `state` or `decisions`.
        log: &'static str,
        /// Its folder.
        folder: PathBuf,
        /// What its tiles say.
        why: String,
    },
    /// There is no file, and the installation has begun.
    #[error(
        "the witness file `{path}` is missing, and this installation has {stored} entries: put it back, mount its \
         folder, or name its place with --witness; if it is lost: bailiwick witness accept"
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// Entries of the state log in the store.
        stored: u64,
    },
    /// There is nothing that would have to be accepted.
    #[error("the witness `{path}` agrees with the data folder: there is nothing to accept")]
    Nothing {
        /// The file.
        path: PathBuf,
    },
    /// Store and logs are older than the witness.
    #[error(
        "this data folder, or its database, is older than its witness `{path}`: its state log has {have} entries, the \
         witness saw {seen}, so it is a restored backup or an older copy; put back the newest one, or go on from this \
         one, which ends every token: bailiwick witness accept"
    )]
    Older {
        /// The witness file.
        path: PathBuf,
        /// Entries under the checkpoint of the folder.
        have: u64,
        /// Entries under the checkpoint of the witness.
        seen: u64,
    },
    /// The file is of another installation.
    #[error(
        "the witness file `{path}` is of another installation than log `{origin}`: name the right one with --witness, \
         or put the data folder back that it belongs to"
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// The log that it does not know, or not under this key.
        origin: String,
    },
    /// The system does not let us read it.
    #[error("the witness file `{path}` cannot be read: make it readable for this user, or mount its folder")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The system does not let us write it.
    #[error(
        "the witness file `{path}` cannot be written: make its folder writable for this user, or name another place \
         with --witness"
    )]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Refused {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Cut { .. } => "witness.log-cut",
            Self::Damaged { .. } => "witness.damaged",
            Self::Epoch { .. } => "witness.epoch-behind",
            Self::Forked { .. } => "witness.log-forked",
            Self::Inside { .. } => "witness.inside",
            Self::Log { .. } => "witness.log-unreadable",
            Self::Missing { .. } => "witness.missing",
            Self::Nothing { .. } => "witness.agrees",
            Self::Older { .. } => "witness.older-folder",
            Self::Other { .. } => "witness.other",
            Self::Unreadable { .. } => "witness.unreadable",
            Self::Unwritable { .. } => "witness.unwritable",
        }
    }

    /// Whether state that was recorded is missing: kills among it.
    pub(crate) const fn is_loss(&self) -> bool {
        matches!(
            self,
            Self::Epoch { .. } | Self::Forked { .. } | Self::Older { .. }
        )
    }

    /// Whether an operator may go on in spite of it.
    #[must_use]
    pub const fn is_acceptable(&self) -> bool {
        matches!(
            self,
            Self::Cut { .. }
                | Self::Damaged { .. }
                | Self::Epoch { .. }
                | Self::Forked { .. }
                | Self::Missing { .. }
                | Self::Older { .. }
        )
    }
}
