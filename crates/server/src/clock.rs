//! The machine's clock: the only place where time comes from outside.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bailiwick_base::{Clock, Time};
use rustix::time::{ClockId, clock_gettime};

/// Wall-clock time that never goes back while the process lives, and a monotonic reading that counts the time for
/// which the machine was asleep: a word does not stay young because nobody was there to see it age.
pub(crate) struct SystemClock {
    start: Duration,
    floor: AtomicI64,
}

impl SystemClock {
    pub(crate) fn new() -> Self {
        Self {
            start: since_boot(),
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
        since_boot().saturating_sub(self.start)
    }
}

fn since_boot() -> Duration {
    let read = clock_gettime(ClockId::Boottime);
    let (secs, nanos) = (u64::try_from(read.tv_sec), u32::try_from(read.tv_nsec));
    Duration::new(secs.unwrap_or(0), nanos.unwrap_or(0))
}

/// The present, for the command line.
#[must_use]
pub fn now() -> Time {
    SystemClock::new().now()
}
