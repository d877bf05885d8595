//! The machine's clock with a shift that tests turn.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bailiwick_base::{Clock, Time};

/// Not held.
const RUNS: i64 = i64::MIN;

/// Runs like the machine's clock, ahead of it by as much as was told, or stands.
pub(crate) struct ShiftedClock {
    start: Time,
    shift: AtomicI64,
    /// The machine's time that it stands at, in microseconds.
    held: AtomicI64,
    is_doubted: AtomicBool,
}

impl ShiftedClock {
    pub(crate) fn new() -> Self {
        Self {
            start: bailiwick_server::now(),
            shift: AtomicI64::new(0),
            held: AtomicI64::new(RUNS),
            is_doubted: AtomicBool::new(false),
        }
    }

    /// From now on it moves only when it is told.
    pub(crate) fn hold(&self) {
        self.held
            .store(bailiwick_server::now().micros(), Ordering::SeqCst);
    }

    /// Runs again.
    pub(crate) fn release(&self) {
        self.held.store(RUNS, Ordering::SeqCst);
    }

    /// As after a leap of the wall clock, or no more.
    pub(crate) fn doubt(&self, is_doubted: bool) {
        self.is_doubted.store(is_doubted, Ordering::SeqCst);
    }

    /// Moves forward at once.
    pub(crate) fn advance(&self, span: Duration) {
        self.shift
            .fetch_add(i64::try_from(span.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Time {
        let base = match self.held.load(Ordering::SeqCst) {
            RUNS => bailiwick_server::now().micros(),
            held => held,
        };
        Time::from_micros(base + self.shift.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.now().since(self.start)
    }

    fn is_doubted(&self) -> bool {
        self.is_doubted.load(Ordering::SeqCst)
    }
}
