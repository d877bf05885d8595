//! The present snapshot: one pointer, read at the moment of use.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bailiwick_base::{StatePos, Time};
use bailiwick_decide::{Fact, Mark, Snapshot, SnapshotError};
use tokio::sync::watch;

/// The oldest age that is told, milliseconds: about 31 years.
const AGE_MAX_MS: u64 = 1_000_000_000_000;

/// Holds the snapshot that every enforcement point of this process reads.
///
/// Writers are the store's observer (facts, in the order of positions) and a kill (its mark, before anything is
/// durable). Readers never wait, and a kill never waits for a publication, however large: it swaps the pointer,
/// and a publication that was worked out from the old one is worked out again.
pub struct SnapshotCell {
    current: ArcSwap<Snapshot>,
    /// One publication at a time, in the order of positions. Marks do not take it.
    publishing: Mutex<()>,
    /// Rises whenever rights may have become narrower; open calls and streams wait on it.
    narrowed: watch::Sender<u64>,
    /// Rises with every publication; whoever passes the snapshot on waits on it.
    moved: watch::Sender<u64>,
    /// Monotonic microseconds of the last word from the authority; zero before the first.
    fresh_at: AtomicU64,
    /// The age at which that word is too old.
    lease: Duration,
    /// A committed fact could not be used: nothing here may be believed any more.
    broken: AtomicBool,
    /// Number of the next pending stop.
    pending: AtomicU64,
}

/// A stop that is in force in memory and not committed yet. Without [`SnapshotCell::settle`] it stays in force as
/// long as the process lives.
#[derive(Debug)]
#[must_use = "a stop that is never settled stays in force"]
pub struct PendingMark(u64);

impl SnapshotCell {
    /// A cell that holds `first`. Until the first [`SnapshotCell::heard`], and without another one for
    /// `lease`, everything is refused.
    #[must_use]
    pub fn new(first: Snapshot, lease: Duration) -> Self {
        Self {
            current: ArcSwap::from_pointee(first),
            publishing: Mutex::new(()),
            narrowed: watch::Sender::new(0),
            moved: watch::Sender::new(0),
            fresh_at: AtomicU64::new(0),
            lease,
            broken: AtomicBool::new(false),
            pending: AtomicU64::new(0),
        }
    }

    /// The snapshot as it is now.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Takes facts into account.
    ///
    /// # Errors
    /// [`SnapshotError`] when a fact cannot be used; the old snapshot stays.
    pub fn publish(&self, facts: impl IntoIterator<Item = Fact>) -> Result<(), SnapshotError> {
        self.publish_where(facts, |_| true).map(drop)
    }

    /// Takes into account what a commit at `pos` made true, unless the snapshot holds that position already: then
    /// whoever brought it there told the present, and this would be older. Whether it was taken.
    ///
    /// # Errors
    /// As [`SnapshotCell::publish`].
    pub fn publish_up_to(
        &self,
        pos: StatePos,
        facts: impl IntoIterator<Item = Fact>,
    ) -> Result<bool, SnapshotError> {
        self.publish_where(facts, |held| held < pos)
    }

    /// Takes into account what was read as of later than `from`, unless the snapshot went on meanwhile. Whether it
    /// was taken.
    ///
    /// # Errors
    /// As [`SnapshotCell::publish`].
    pub fn publish_from(
        &self,
        from: StatePos,
        facts: impl IntoIterator<Item = Fact>,
    ) -> Result<bool, SnapshotError> {
        self.publish_where(facts, |held| held == from)
    }

    fn publish_where(
        &self,
        facts: impl IntoIterator<Item = Fact>,
        fits: impl Fn(StatePos) -> bool,
    ) -> Result<bool, SnapshotError> {
        let facts: Vec<Fact> = facts.into_iter().collect();
        let narrows = facts.iter().any(Fact::narrows);
        {
            let _one = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
            if !fits(self.current.load().state_pos()) {
                return Ok(false);
            }
            loop {
                let before = self.current.load();
                let after = Arc::new(before.apply(facts.iter().cloned())?);
                if Arc::ptr_eq(&self.current.compare_and_swap(&*before, after), &before) {
                    break;
                }
            }
        }
        if narrows {
            self.narrowed
                .send_modify(|version| *version = version.wrapping_add(1));
        }
        self.moved
            .send_modify(|version| *version = version.wrapping_add(1));
        Ok(true)
    }

    /// Puts `next` in place of the snapshot: everything was told anew, and what was not told is gone. For a point that
    /// sets no stops itself: pending ones would be gone too.
    ///
    /// # Errors
    /// [`SnapshotError::Older`] when `next` is older than what is held.
    pub fn replace(&self, next: Snapshot) -> Result<(), SnapshotError> {
        {
            let _one = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
            let held = self.current.load();
            if next.state_pos() < held.state_pos() || next.epoch() < held.epoch() {
                return Err(SnapshotError::Older {
                    found: next.state_pos(),
                    found_epoch: next.epoch(),
                    held: held.state_pos(),
                    held_epoch: held.epoch(),
                });
            }
            self.current.store(Arc::new(next));
        }
        self.narrowed
            .send_modify(|version| *version = version.wrapping_add(1));
        Ok(())
    }

    /// Forgets the tasks that nobody has to know any more; gives how many.
    pub fn forget(&self, now: Time) -> usize {
        // Found outside of the exchange, which is tried again whenever somebody else was first.
        let forgotten = self.current.load().forgotten(now);
        if !forgotten.is_empty() {
            self.current.rcu(|before| before.without_tasks(&forgotten));
        }
        forgotten.len()
    }

    /// Denies in memory, at once and for good.
    pub fn mark(&self, mark: &Mark) {
        self.current.rcu(|before| before.with_mark(mark));
        self.narrowed
            .send_modify(|version| *version = version.wrapping_add(1));
    }

    /// Denies in memory, at once, while the stop is being committed: the first step of every kill. Whoever the
    /// scope names is stopped, whatever the epoch of their credential.
    pub fn mark_pending(&self, mark: &Mark) -> PendingMark {
        let number = self.pending.fetch_add(1, Ordering::Relaxed);
        self.current.rcu(|before| before.with_pending(number, mark));
        self.narrowed
            .send_modify(|version| *version = version.wrapping_add(1));
        PendingMark(number)
    }

    /// The stop is committed and published, or was refused with nothing committed: from here on the committed
    /// marks alone speak.
    pub fn settle(&self, PendingMark(number): PendingMark) {
        self.current.rcu(|before| before.without_pending(number));
    }

    /// Wakes whenever rights may have become narrower.
    #[must_use]
    pub fn narrowed(&self) -> watch::Receiver<u64> {
        self.narrowed.subscribe()
    }

    /// Wakes whenever facts were published.
    #[must_use]
    pub fn moved(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// The authority was heard at `monotonic`.
    pub fn heard(&self, monotonic: Duration) {
        self.fresh_at
            .fetch_max(micros(monotonic).max(1), Ordering::Release);
    }

    /// Wakes open calls and streams when the lease is over, so that they stop too. The server calls this while
    /// the authority is silent.
    pub fn wake_if_stale(&self, monotonic: Duration) -> bool {
        let stale = !self.is_fresh(monotonic);
        if stale {
            self.narrowed
                .send_modify(|version| *version = version.wrapping_add(1));
        }
        stale
    }

    /// The authority's last word could not be taken into account: nothing is answered until it is heard anew,
    /// and fresh word alone does not mend that.
    pub fn expire(&self) {
        self.broken.store(true, Ordering::Release);
    }

    /// How old the word of the authority is; `None` before the first.
    #[must_use]
    pub fn age(&self, monotonic: Duration) -> Option<Duration> {
        let heard = Some(self.fresh_at.load(Ordering::Acquire)).filter(|at| *at > 0)?;
        Some(Duration::from_micros(micros(monotonic).saturating_sub(heard)))
    }

    /// The same in whole milliseconds; the longest there is before the first.
    #[must_use]
    pub fn age_ms(&self, monotonic: Duration) -> u64 {
        let whole = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        // What no canonical number can hold is never written.
        self.age(monotonic).map_or(AGE_MAX_MS, whole).min(AGE_MAX_MS)
    }

    /// Whether this enforcement point may still answer.
    #[must_use]
    pub fn is_fresh(&self, monotonic: Duration) -> bool {
        !self.broken.load(Ordering::Acquire) && self.age(monotonic).is_some_and(|age| age <= self.lease)
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
