//! What nodes say of themselves in the shared store, and the bounds they keep.

use std::time::Duration;

use bailiwick_base::{Epoch, NodeName};

/// How long one conversation with the store may take: reading, then the beat. A later answer counts as none.
const TALK_MAX: Duration = Duration::from_secs(2);

/// The same for a node of this lease.
pub(crate) fn talk_max(lease: Duration) -> Duration {
    lease.min(TALK_MAX)
}

/// How old a node's word may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    warn: Duration,
    refuse: Duration,
}

/// Bounds that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundsError {
    /// Which bound.
    pub bound: &'static str,
    /// Seconds found.
    pub found: u64,
    /// What it has to be.
    pub expected: String,
}

impl std::fmt::Display for BoundsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`: {} is not {}", self.bound, self.found, self.expected)
    }
}

impl std::error::Error for BoundsError {}

impl Bounds {
    /// Longest bound, seconds.
    pub const SECS_MAX: u64 = 30;

    /// Warns at `warn`, refuses at `refuse` seconds.
    ///
    /// # Errors
    /// [`BoundsError`] unless `1 ≤ warn ≤ refuse ≤ 30`.
    pub fn of_secs(warn: u64, refuse: u64) -> Result<Self, BoundsError> {
        let wrong = |bound, found, expected: String| BoundsError {
            bound,
            found,
            expected,
        };
        if !(1..=Self::SECS_MAX).contains(&refuse) {
            return Err(wrong("refuse_secs", refuse, format!("1 to {}", Self::SECS_MAX)));
        }
        if !(1..=refuse).contains(&warn) {
            return Err(wrong("warn_secs", warn, format!("1 to refuse_secs ({refuse})")));
        }
        Ok(Self {
            warn: Duration::from_secs(warn),
            refuse: Duration::from_secs(refuse),
        })
    }

    /// The age at which a node warns.
    #[must_use]
    pub fn warn(self) -> Duration {
        self.warn
    }

    /// How long one conversation with a store that others share may take; a later one counts as none.
    #[must_use]
    pub fn talk_max(self) -> Duration {
        talk_max(self.refuse)
    }

    /// The age at which a node refuses: its lease.
    #[must_use]
    pub fn refuse(self) -> Duration {
        self.refuse
    }
}

/// What a node is for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Answers what it has and is to get nothing new; never leads.
    Draining,
    /// May not write or answer any more; only an operator lets it back.
    Fenced,
    /// Has a place, and has not begun.
    Invited,
    /// Stopped cleanly: it answers nothing until it starts again.
    Left,
    /// Answers.
    Live,
}

/// The row of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Which node.
    pub node: NodeName,
    /// The fence of its last start.
    pub fence: u64,
    /// Rises with every word.
    pub beat: u64,
    /// The epoch its memory held then.
    pub epoch: Epoch,
    /// How long it answers on one word.
    pub lease: Duration,
    /// What it is for the others.
    pub standing: Standing,
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lead {
    /// Which node.
    pub node: NodeName,
    /// Its fence when it took the lead.
    pub fence: u64,
    /// Rises with every change.
    pub term: u64,
}

/// What the store held right after a beat, in one view.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words {
    /// Every node, this one too.
    pub nodes: Vec<Word>,
    /// Who leads; nobody at the beginning.
    pub lead: Option<Lead>,
}
