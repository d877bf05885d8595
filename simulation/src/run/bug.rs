//! Bugs that are planted to show that the simulator would find them.

/// A defect of the installation that is simulated. Each is put beside the product's code, not into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// The door remembers a verified token by its `jti` alone.
    CacheWithoutTenant,
    /// The decision log's entries are written and never flushed.
    FlushRemoved,
    /// The kill journal is written and never flushed.
    KillFlushRemoved,
    /// A node that hears from the store again goes on from the newest position and leaves out what it missed.
    MarkLostOnReconnect,
    /// The store lets a process write under the name of a newer one.
    NoFence,
    /// What is new is read from a copy of the store that lags behind.
    ReadFromReplica,
    /// A start serves before the kill journal's stops are in force.
    ReplayLeftOut,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::CacheWithoutTenant,
        Self::FlushRemoved,
        Self::KillFlushRemoved,
        Self::MarkLostOnReconnect,
        Self::NoFence,
        Self::ReadFromReplica,
        Self::ReplayLeftOut,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CacheWithoutTenant => "cache-without-tenant",
            Self::FlushRemoved => "flush-removed",
            Self::KillFlushRemoved => "kill-flush-removed",
            Self::MarkLostOnReconnect => "mark-lost-on-reconnect",
            Self::NoFence => "no-fence",
            Self::ReadFromReplica => "read-from-replica",
            Self::ReplayLeftOut => "replay-left-out",
        }
    }

    /// The promises that it breaks: found by another one, it was not found.
    #[must_use]
    pub const fn breaks(self) -> &'static [&'static str] {
        match self {
            Self::CacheWithoutTenant => &["a permit is for who called"],
            // What is lost is shorter than its own checkpoint, which a start refuses.
            Self::FlushRemoved => &[
                "a node starts again whatever happened to it",
                "all logs verify",
                "nothing acknowledged is lost",
            ],
            // Half of a page that was lost is damage, which a start refuses as well.
            Self::KillFlushRemoved => &[
                "a node starts again whatever happened to it",
                "no call that began after the acknowledgement is permitted there",
                "nothing acknowledged is lost",
            ],
            Self::MarkLostOnReconnect => &[
                "no call that began after `contained` is permitted",
                "no call that began after the acknowledgement is permitted there",
            ],
            Self::NoFence => &[
                "one process leads under a term",
                "a fenced node permits nothing once its word is over",
            ],
            Self::ReadFromReplica => &[
                "no call that began after `contained` is permitted",
                "no node answers below an epoch that it acknowledged",
            ],
            Self::ReplayLeftOut => &[
                "no call that began after the acknowledgement is permitted there",
                "nothing acknowledged is lost",
            ],
        }
    }

    /// The bug of this name.
    #[must_use]
    pub fn lookup(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| bug.as_str() == name)
    }

    /// Files whose data a process with this bug never flushes.
    pub(crate) const fn unflushed(self) -> &'static [&'static str] {
        match self {
            Self::FlushRemoved => &["segments"],
            Self::KillFlushRemoved => &["kill.journal"],
            _ => &[],
        }
    }
}
