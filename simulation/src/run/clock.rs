//! The clock of one process: it runs a little fast or slow, and its wall time may jump.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bailiwick_base::{Clock, Time};

use super::world::START;

/// Simulated microseconds since the beginning, for everybody.
#[derive(Debug, Clone, Default)]
pub(crate) struct Instant(Arc<AtomicU64>);

impl Instant {
    pub(crate) fn set(&self, micros: u64) {
        self.0.store(micros, Ordering::Relaxed);
    }

    pub(crate) fn micros(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a machine's clock does, whichever process reads it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drift {
    /// How much too fast, in millionths.
    pub(crate) ppm: i64,
    /// How far the wall time is off, microseconds.
    pub(crate) jump: Arc<AtomicI64>,
}

/// The clock of one process, as the product's: monotonic since its start, wall time that never goes back while it
/// lives.
#[derive(Debug)]
pub(crate) struct ProcessClock {
    now: Instant,
    drift: Drift,
    started: u64,
    floor: AtomicI64,
}

impl ProcessClock {
    pub(crate) fn new(now: &Instant, drift: &Drift) -> Self {
        Self {
            now: now.clone(),
            drift: drift.clone(),
            started: now.micros(),
            floor: AtomicI64::new(i64::MIN),
        }
    }

    /// Simulated microseconds at which this clock will show `monotonic`, rounded up.
    pub(crate) fn when(&self, monotonic: Duration) -> u64 {
        let span = i128::try_from(monotonic.as_micros()).unwrap_or(i128::MAX / 2_000_000);
        let real = span.saturating_mul(1_000_000) / i128::from(1_000_000 + self.drift.ppm);
        self.started
            .saturating_add(u64::try_from(real).unwrap_or(u64::MAX / 2))
            .saturating_add(1)
    }

    fn run(&self, micros: u64) -> i64 {
        let micros = i128::from(micros) * i128::from(1_000_000 + self.drift.ppm) / 1_000_000;
        i64::try_from(micros).unwrap_or(i64::MAX)
    }
}

impl Clock for ProcessClock {
    fn now(&self) -> Time {
        let wall = START
            .micros()
            .saturating_add(self.run(self.now.micros()))
            .saturating_add(self.drift.jump.load(Ordering::Relaxed));
        let floor = self.floor.fetch_max(wall, Ordering::Relaxed);
        Time::from_micros(wall.max(floor))
    }

    fn monotonic(&self) -> Duration {
        let span = self.run(self.now.micros().saturating_sub(self.started));
        Duration::from_micros(u64::try_from(span).unwrap_or(0))
    }
}
