//! A wall clock that jumps by years and minutes.

use std::time::Duration;

use bailiwick_base::{SteadyTime, Time};

const START: i64 = 1_763_750_000;
const YEARS: i64 = 10 * 365 * 86_400;

struct Clocks {
    steady: SteadyTime,
    ran: i64,
}

impl Clocks {
    fn new() -> Self {
        Self {
            steady: SteadyTime::starting(Time::from_secs(START), Duration::ZERO),
            ran: 0,
        }
    }

    /// Seconds pass, and the wall clock says the true time and `wrong` seconds. Gives how far the time is from the
    /// true one, and whether it is doubted.
    fn after(&mut self, secs: i64, wrong: i64) -> (i64, bool) {
        self.ran += secs;
        let wall = Time::from_secs(START + self.ran + wrong);
        let read = self
            .steady
            .read(wall, Duration::from_secs(self.ran.unsigned_abs()));
        (read.at.secs() - START - self.ran, read.is_doubted)
    }
}

#[test]
fn a_clock_that_falls_back_or_stands_still_stops_nothing_from_expiring() {
    for wrong in [-1, -300, -YEARS] {
        let mut clocks = Clocks::new();
        assert_eq!(clocks.after(10, 0), (0, false));
        assert_eq!(clocks.after(1, wrong), (0, false));
        assert_eq!(clocks.after(300, wrong), (0, false));
        // It stands still.
        assert_eq!(clocks.after(600, wrong - 600), (0, false));
        assert_eq!(clocks.after(1, 0), (0, false));
    }
}

#[test]
fn a_leap_of_years_is_doubted_and_leaves_no_trace_when_it_was_an_error() {
    let mut clocks = Clocks::new();
    assert_eq!(clocks.after(10, 0), (0, false));
    assert_eq!(clocks.after(1, YEARS), (0, true));
    assert_eq!(clocks.after(28, YEARS), (0, true));
    assert_eq!(clocks.after(1, 0), (0, false));
    // The next one begins anew.
    assert_eq!(clocks.after(1, YEARS), (0, true));
    assert_eq!(clocks.after(20, YEARS), (0, true));
}

#[test]
fn a_leap_that_lasts_is_the_time_within_a_minute() {
    let mut clocks = Clocks::new();
    assert_eq!(clocks.after(10, 0), (0, false));
    assert_eq!(clocks.after(1, 3_600), (0, true));
    assert_eq!(clocks.after(29, 3_600), (0, true));
    assert_eq!(clocks.after(1, 3_600), (3_600, false));
    // Back again: it goes on from where it was.
    assert_eq!(clocks.after(5, 0), (3_600, false));
}

#[test]
fn a_wall_clock_that_wanders_is_not_taken_for_one_that_lasts() {
    let mut clocks = Clocks::new();
    for n in 1..20 {
        assert_eq!(clocks.after(20, n * 100_000), (0, true), "{n}");
    }
}

#[test]
fn minutes_ahead_are_followed_at_once() {
    let mut clocks = Clocks::new();
    assert_eq!(clocks.after(10, 299), (299, false));
    assert_eq!(clocks.after(10, 0), (299, false));
}

#[test]
fn what_was_recorded_is_past() {
    let mut clocks = Clocks::new();
    clocks
        .steady
        .go_on_from(Time::from_secs(START + 400), Duration::ZERO);
    assert_eq!(clocks.after(10, 0), (400, false));
    clocks
        .steady
        .go_on_from(Time::from_secs(START), Duration::from_secs(10));
    assert_eq!(clocks.after(10, 0), (400, false));
}

#[test]
fn whatever_the_wall_clock_does_time_never_goes_back_nor_slower_than_it_passes() {
    let mut state = 7_u64;
    let mut draw = |below: i64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        i64::try_from(state % below.unsigned_abs()).unwrap()
    };
    for _ in 0..200 {
        let mut clocks = Clocks::new();
        let mut before = i64::MIN;
        for _ in 0..200 {
            let wrong = match draw(4) {
                0 => 0,
                1 => draw(600) - 300,
                2 => draw(2 * YEARS) - YEARS,
                _ => YEARS,
            };
            let (off, _) = clocks.after(draw(20), wrong);
            assert!(off >= before.max(0), "{off} after {before}");
            before = off;
        }
    }
}
