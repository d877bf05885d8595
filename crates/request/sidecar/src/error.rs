//! Why a sidecar does not join, start or believe.

use std::path::PathBuf;

use bailiwick_journal::JournalError;
use bailiwick_keys::KeysError;
use bailiwick_snapshot::BodyError;

/// Names what is wrong and the next step. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum SidecarError {
    /// The node said no, with its code.
    #[error("{detail}")]
    Answer {
        /// HTTP status.
        status: u16,
        /// The node's code.
        code: String,
        /// Its words.
        detail: String,
    },
    /// The answer is not what was asked for.
    #[error("answer of the node is not believed: {0}")]
    Answered(String),
    /// The snapshot is not what it has to be.
    #[error("snapshot is not believed")]
    Body(#[from] BodyError),
    /// A private CA that cannot be read.
    #[error("CA file `{path}`: {why}: give --ca FILE, a PEM file with the certificate of the CA")]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file of the data folder.
    #[error("`{path}`: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the next step.
        why: String,
    },
    /// The data folder is something else already.
    #[error(
        "data folder `{0}` is in use already: a sidecar joins once, with a folder of its own: give another --data"
    )]
    InUse(PathBuf),
    /// The decision log.
    #[error("decision log")]
    Journal(#[from] JournalError),
    /// Keys.
    #[error("keys")]
    Keys(#[from] KeysError),
    /// A value of the command line or of the answer.
    #[error("`{field}`: {why}")]
    Malformed {
        /// Which.
        field: &'static str,
        /// What it has to be.
        why: String,
    },
    /// There is no folder of a sidecar.
    #[error("`{0}` is no data folder of a sidecar: make one with `bailiwick sidecar join`")]
    NotJoined(PathBuf),
    /// Randomness.
    #[error("the source of randomness failed")]
    Randomness(#[from] bailiwick_base::EntropyError),
    /// An operator took it out.
    #[error(
        "sidecar `{0}` was removed by an operator: it refuses everything, and its name is not given again"
    )]
    Removed(String),
    /// The node is not there, or not in time.
    #[error("no node at {url}: {why}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
}

impl SidecarError {
    /// Its stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Answer { .. } => "sidecar.refused",
            Self::Answered(_) | Self::Body(_) => "sidecar.answer",
            Self::Ca { .. } => "sidecar.ca",
            Self::File { .. } => "sidecar.folder",
            Self::InUse(_) => "sidecar.in-use",
            Self::Journal(_) => "sidecar.log",
            Self::Keys(_) | Self::Randomness(_) => "sidecar.keys",
            Self::Malformed { .. } => "sidecar.malformed",
            Self::NotJoined(_) => "sidecar.not-joined",
            Self::Removed(_) => "sidecar.removed",
            Self::Unreachable { .. } => "sidecar.unreachable",
        }
    }
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
