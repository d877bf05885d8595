//! Counts calls for the rates of grants: how many within the window, this one included.
//!
//! Up to [`EXACT_MAX`] calls a window every call is remembered with its time, so the count is exact. Above that
//! the window is kept in 64 slots and the oldest slot counts as a whole: the count may be too high by a 64th of
//! the window, never too low. Memory is bounded: when there is no room for another series, its calls count as
//! more than any rate allows. After a restart the calls of the windows that are still open are counted again from
//! the decision log; as far as that cannot be read, those windows count as full.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bailiwick_base::{TaskId, Time};

/// Series kept at once.
const SERIES_MAX: usize = 65_536;
/// Largest rate whose calls are remembered one by one.
const EXACT_MAX: u32 = 256;
/// Slots of a window above that.
const SLOTS: u8 = 64;
/// How often a full meter looks for series it may forget.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How often something may be done: so many calls within any window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    pub(crate) calls: u32,
    pub(crate) window: Duration,
}

enum Counts {
    Exact(VecDeque<Time>),
    /// Slot number and calls in it, oldest first.
    Slots(VecDeque<(i64, u32)>),
}

struct Series {
    counts: Counts,
    window: Duration,
    used_at: Time,
}

#[derive(Default)]
struct Book {
    series: BTreeMap<(TaskId, usize), Series>,
    swept_at: Option<Time>,
    /// What tasks that were open then had done by then is not known.
    unknown_until: Option<Time>,
}

pub(crate) struct Meter {
    book: Mutex<Book>,
    series_max: usize,
}

impl Default for Meter {
    fn default() -> Self {
        Self::bounded(SERIES_MAX)
    }
}

impl Meter {
    pub(crate) fn bounded(series_max: usize) -> Self {
        Self {
            book: Mutex::default(),
            series_max,
        }
    }

    /// Counts this call. A call beyond the limit is not kept, so that refused calls do not prolong a refusal, and
    /// there is nothing of it to give back.
    pub(crate) fn count(&self, task: &TaskId, scope: usize, allowance: Allowance, now: Time) -> u32 {
        let mut guard = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let book = &mut *guard;
        let key = (task.clone(), scope);
        if !book.series.contains_key(&key) && !book.has_room(self.series_max, now) {
            return u32::MAX;
        }
        let series = book
            .series
            .entry(key)
            .or_insert_with(|| Series::new(allowance, now));
        series.count(allowance, now)
    }

    /// From here on, a window that reaches back to `until` or before counts as full.
    pub(crate) fn forget_until(&self, until: Time) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.unknown_until = book.unknown_until.max(Some(until));
    }

    /// Whether a window that ends now reaches into what is not known of a task opened at `opened_at`.
    pub(crate) fn is_unknown(&self, opened_at: Time, window: Duration, now: Time) -> bool {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.unknown_until
            .is_some_and(|until| opened_at <= until && now.before(window) <= until)
    }

    /// Takes back a call that was kept (its count was within the allowance) and then refused for another reason.
    pub(crate) fn give_back(&self, task: &TaskId, scope: usize, at: Time) {
        let mut guard = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = guard.series.get_mut(&(task.clone(), scope)) {
            series.give_back(at);
        }
    }
}

impl Book {
    fn has_room(&mut self, max: usize, now: Time) -> bool {
        if self.series.len() < max {
            return true;
        }
        if self
            .swept_at
            .is_none_or(|at| now.since(at) >= SWEEP_EVERY || now < at)
        {
            self.swept_at = Some(now);
            self.series
                .retain(|_, series| now.since(series.used_at) <= series.window);
        }
        self.series.len() < max
    }
}

impl Series {
    fn new(allowance: Allowance, now: Time) -> Self {
        let counts = if allowance.calls <= EXACT_MAX {
            Counts::Exact(VecDeque::new())
        } else {
            Counts::Slots(VecDeque::new())
        };
        Self {
            counts,
            window: allowance.window,
            used_at: now,
        }
    }

    fn slot(&self, at: Time) -> i64 {
        // Rounded up, so that 64 slots are never shorter than the window.
        let width = self.window.as_micros().div_ceil(u128::from(SLOTS)).max(1);
        at.micros().div_euclid(i64::try_from(width).unwrap_or(i64::MAX))
    }

    fn count(&mut self, allowance: Allowance, now: Time) -> u32 {
        self.used_at = now;
        let slot = self.slot(now);
        match &mut self.counts {
            Counts::Exact(times) => {
                let start = now.before(self.window);
                while times.front().is_some_and(|at| *at <= start) {
                    times.pop_front();
                }
                let within = u32::try_from(times.len()).unwrap_or(u32::MAX);
                if within < allowance.calls {
                    times.push_back(now);
                }
                within.saturating_add(1)
            }
            Counts::Slots(slots) => {
                while slots
                    .front()
                    .is_some_and(|(at, _)| *at < slot.saturating_sub(i64::from(SLOTS)))
                {
                    slots.pop_front();
                }
                let within = slots
                    .iter()
                    .fold(0_u32, |sum, (_, calls)| sum.saturating_add(*calls));
                if within < allowance.calls {
                    match slots.back_mut() {
                        Some((at, calls)) if *at >= slot => *calls = calls.saturating_add(1),
                        _ => slots.push_back((slot, 1)),
                    }
                }
                within.saturating_add(1)
            }
        }
    }

    fn give_back(&mut self, at: Time) {
        let slot = self.slot(at);
        match &mut self.counts {
            Counts::Exact(times) => {
                if let Some(last) = times.iter().rposition(|kept| *kept == at) {
                    times.remove(last);
                }
            }
            Counts::Slots(slots) => {
                if let Some((_, calls)) = slots.iter_mut().rev().find(|(kept, _)| *kept <= slot) {
                    *calls = calls.saturating_sub(1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use bailiwick_base::TenantId;
    use proptest::prelude::*;

    use super::*;

    fn task(n: u128) -> TaskId {
        TaskId::from_parts(TenantId::parse("acme").unwrap(), uuid::Uuid::from_u128(n))
    }

    fn at(micros: i64) -> Time {
        Time::from_micros(1_790_000_000_000_000 + micros)
    }

    proptest! {
        /// Whatever comes when: within any window never more than the rate gets through, and a call is refused
        /// only when the exact count, over a window longer by a 64th (and the rounding of 65 slots to microseconds), is full.
        #[test]
        fn no_window_ever_holds_more_than_the_rate(
            calls in prop_oneof![1_u32..6, 257_u32..300],
            window in 1_u64..5_000,
            steps in proptest::collection::vec((0_i64..200, 1_usize..40), 1..120),
        ) {
            let allowance = Allowance { calls, window: Duration::from_micros(window) };
            let (meter, mut now) = (Meter::default(), 0);
            let mut passed: VecDeque<i64> = VecDeque::new();
            for (step, burst) in steps {
                now += step;
                for _ in 0..burst {
                    let permitted = meter.count(&task(1), 0, allowance, at(now)) <= calls;
                    let window = i64::try_from(window).unwrap();
                    let within = |span: i64| passed.iter().filter(|t| **t > now - span).count();
                    if permitted {
                        prop_assert!(within(window) < calls as usize);
                        passed.push_back(now);
                    } else {
                        let slack = if calls <= EXACT_MAX { 0 } else { window / i64::from(SLOTS) + 66 };
                        prop_assert!(within(window + slack) >= calls as usize);
                    }
                }
            }
        }
    }

    #[test]
    fn a_full_meter_refuses_and_recovers() {
        let meter = Meter::bounded(2);
        let allowance = Allowance {
            calls: 5,
            window: Duration::from_secs(10),
        };
        for n in 1..=2 {
            assert_eq!(meter.count(&task(n), 0, allowance, at(0)), 1);
        }
        assert_eq!(
            meter.count(&task(3), 0, allowance, at(1)),
            u32::MAX,
            "no room is no right"
        );
        assert_eq!(
            meter.count(&task(1), 0, allowance, at(2)),
            2,
            "those who are in go on"
        );
        let later = at(11_000_000);
        assert_eq!(
            meter.count(&task(3), 0, allowance, later),
            1,
            "what is idle makes room"
        );
    }

    #[test]
    fn a_call_given_back_does_not_count() {
        for calls in [2, 1_000] {
            let meter = Meter::default();
            let allowance = Allowance {
                calls,
                window: Duration::from_secs(10),
            };
            assert_eq!(meter.count(&task(1), 0, allowance, at(0)), 1);
            assert_eq!(meter.count(&task(1), 0, allowance, at(5)), 2);
            meter.give_back(&task(1), 0, at(5));
            assert_eq!(meter.count(&task(1), 0, allowance, at(6)), 2);
            meter.give_back(&task(9), 0, at(6));
        }
    }
}
