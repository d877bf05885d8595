//! A time made of two clocks, neither of which is believed blindly: it never goes back, runs on while the wall
//! clock stands or falls behind, and does not follow a long leap before it has lasted.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::Time;

/// How far the wall clock may leap ahead and be followed at once: following only ends things earlier.
const LEAP_MAX: i64 = 300_000_000;
/// How long a longer leap must last until it is the time. A machine that slept comes back with one.
const LASTING: i64 = 30_000_000;

#[derive(Debug, Clone, Copy)]
struct Leap {
    /// Wall clock minus monotonic clock after it.
    lead: i64,
    /// Monotonic.
    since: i64,
}

/// What two clocks say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The time.
    pub at: Time,
    /// The wall clock has leapt ahead and nobody can tell yet whether it is right: what has expired is not known.
    pub is_doubted: bool,
}

/// A time that never goes back.
#[derive(Debug)]
pub struct SteadyTime {
    /// The time minus the monotonic clock, microseconds; only grows.
    lead: AtomicI64,
    /// Whether `leap` holds one, so that who reads an undisturbed time takes no lock.
    has_leapt: AtomicBool,
    leap: Mutex<Option<Leap>>,
}

fn micros(monotonic: Duration) -> i64 {
    i64::try_from(monotonic.as_micros()).unwrap_or(i64::MAX)
}

impl SteadyTime {
    /// Begins with what the wall clock says.
    #[must_use]
    pub fn starting(wall: Time, monotonic: Duration) -> Self {
        Self {
            lead: AtomicI64::new(wall.micros().saturating_sub(micros(monotonic))),
            has_leapt: AtomicBool::new(false),
            leap: Mutex::new(None),
        }
    }

    /// `past` has been: the time is not before it.
    pub fn go_on_from(&self, past: Time, monotonic: Duration) {
        let lead = past.micros().saturating_sub(micros(monotonic));
        self.lead.fetch_max(lead, Ordering::Relaxed);
    }

    /// The time, given what both clocks say now.
    #[must_use]
    pub fn read(&self, wall: Time, monotonic: Duration) -> Reading {
        let ran = micros(monotonic);
        let lead = wall.micros().saturating_sub(ran);
        let believed = self.lead.load(Ordering::Relaxed);
        if lead.saturating_sub(believed) > LEAP_MAX && !self.has_lasted(lead, ran) {
            return Reading {
                at: Time::from_micros(believed.saturating_add(ran)),
                is_doubted: true,
            };
        }
        if self.has_leapt.load(Ordering::Relaxed) {
            self.has_leapt.store(false, Ordering::Relaxed);
            *self.leap() = None;
        }
        if lead > believed {
            self.lead.fetch_max(lead, Ordering::Relaxed);
        }
        Reading {
            at: Time::from_micros(believed.max(lead).saturating_add(ran)),
            is_doubted: false,
        }
    }

    /// Whether the wall clock has gone on from this leap for long enough.
    fn has_lasted(&self, lead: i64, ran: i64) -> bool {
        let mut leap = self.leap();
        match *leap {
            Some(before) if before.lead.abs_diff(lead) <= LEAP_MAX.unsigned_abs() => {
                ran.saturating_sub(before.since) >= LASTING
            }
            _ => {
                *leap = Some(Leap { lead, since: ran });
                self.has_leapt.store(true, Ordering::Relaxed);
                false
            }
        }
    }

    /// Every change under the lock is one assignment.
    fn leap(&self) -> MutexGuard<'_, Option<Leap>> {
        self.leap.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
