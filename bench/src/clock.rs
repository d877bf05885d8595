//! The machine's clock.

use std::time::{Duration, Instant, SystemTime};

use bailiwick_base::{Clock, Time};

pub(crate) struct Machine(Instant);

impl Machine {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Machine {
    fn now(&self) -> Time {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(0))
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}
