//! The machine's clock: the only place where time comes from outside.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bailiwick_base::{Clock, Time};

/// Wall-clock time that never goes back while the process lives, and a monotonic reading.
pub(crate) struct SystemClock {
    start: Instant,
    floor: AtomicI64,
}

impl SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everybody else is given"
    )]
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            floor: AtomicI64::new(i64::MIN),
        }
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everybody else is given"
    )]
    fn now(&self) -> Time {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(wall.as_micros()).unwrap_or(i64::MAX);
        let floor = self.floor.fetch_max(micros, Ordering::Relaxed);
        Time::from_micros(micros.max(floor))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// The present, for the command line.
#[must_use]
pub fn now() -> Time {
    SystemClock::new().now()
}
