//! The machine's clock: the only place where time comes from outside.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bailiwick_base::{Clock, Reading, SteadyTime, Time};
use rustix::time::{ClockId, clock_gettime};

/// Time that never goes back while the process lives, and a monotonic reading that counts the time for which the
/// machine was asleep: a word does not stay young because nobody was there to see it age.
pub(crate) struct SystemClock {
    start: Duration,
    steady: SteadyTime,
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the clock that everybody else is given"
)]
fn wall() -> Time {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_micros(i64::try_from(wall.as_micros()).unwrap_or(i64::MAX))
}

impl SystemClock {
    pub(crate) fn new() -> Self {
        Self {
            start: since_boot(),
            steady: SteadyTime::starting(wall(), Duration::ZERO),
        }
    }

    fn read(&self) -> Reading {
        self.steady.read(wall(), self.monotonic())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        self.read().at
    }

    fn monotonic(&self) -> Duration {
        since_boot().saturating_sub(self.start)
    }

    fn is_doubted(&self) -> bool {
        self.read().is_doubted
    }

    fn go_on_from(&self, past: Time) {
        self.steady.go_on_from(past, self.monotonic());
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
    wall()
}
