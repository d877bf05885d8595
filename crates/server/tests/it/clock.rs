//! The machine's clock with a shift that tests turn.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bailiwick_base::{Clock, Time};

/// Runs like the machine's clock, ahead of it by as much as was told.
pub(crate) struct ShiftedClock {
    start: Time,
    shift: AtomicI64,
}

impl ShiftedClock {
    pub(crate) fn new() -> Self {
        Self {
            start: bailiwick_server::now(),
            shift: AtomicI64::new(0),
        }
    }

    /// Moves forward at once.
    pub(crate) fn advance(&self, span: Duration) {
        self.shift
            .fetch_add(i64::try_from(span.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Time {
        Time::from_micros(bailiwick_server::now().micros() + self.shift.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.now().since(self.start)
    }
}
