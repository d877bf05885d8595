//! The machine and the cell together: until when is answered.

use std::sync::Arc;

use bailiwick_base::{Clock, ManualClock, Time};
use bailiwick_decide::{Fact, Snapshot};
use bailiwick_pep::SnapshotCell;
use bailiwick_sidecar::{Action, Happened, Hearer, Holds};

use crate::{BOUNDS, answered, holds, secs};

/// What a driver does with the actions, and whether the cell may be answered from.
struct Point {
    clock: Arc<ManualClock>,
    cell: SnapshotCell,
    hearer: Hearer,
    beat: u64,
}

impl Point {
    fn new(ever: Holds) -> Self {
        let start = Time::from_micros(i64::try_from(secs(0.0).as_micros()).unwrap());
        Self {
            clock: Arc::new(ManualClock::at(start)),
            cell: SnapshotCell::new(Snapshot::empty(), BOUNDS.refuse),
            hearer: Hearer::new(BOUNDS, ever, 0),
            beat: 0,
        }
    }

    fn pass(&mut self, seconds: f64) {
        self.clock.advance(std::time::Duration::from_secs_f64(seconds));
    }

    fn handle(&mut self, happened: Happened) {
        let mut happened = Some(happened);
        while let Some(event) = happened.take() {
            for action in self.hearer.handle(event, self.clock.monotonic()) {
                match action {
                    Action::Heard(at) => self.cell.heard(at),
                    Action::Keep(_) => happened = Some(Happened::Kept),
                    Action::Say { beat, .. } => self.beat = beat,
                    Action::Take(holds) => {
                        let next = Snapshot::empty().apply([Fact::Position(holds.position, holds.epoch)]);
                        self.cell.replace(next.unwrap()).unwrap();
                    }
                    Action::Left | Action::Older { .. } => {}
                }
            }
        }
    }

    fn answer(&mut self, holds: Holds, snapshot: bool) {
        self.handle(answered(self.beat, holds, snapshot));
    }

    fn is_fresh(&self) -> bool {
        self.cell.is_fresh(self.clock.monotonic())
    }
}

#[test]
fn nothing_is_answered_before_it_was_heard() {
    let mut point = Point::new(Holds::default());
    point.handle(Happened::Due);
    assert!(!point.is_fresh());
    point.answer(holds(1, 1), true);
    assert!(point.is_fresh());
}

#[test]
fn a_process_that_stood_still_answers_nothing_until_it_was_heard_anew() {
    let mut point = Point::new(Holds::default());
    point.handle(Happened::Due);
    point.answer(holds(1, 1), true);
    point.pass(15.0);
    assert!(!point.is_fresh(), "three leases later");
    // The answer that had been there before it stood still.
    point.answer(holds(1, 1), false);
    assert!(!point.is_fresh());
    point.pass(0.1);
    point.handle(Happened::Due);
    point.answer(holds(1, 1), false);
    assert!(point.is_fresh());
}

#[test]
fn without_a_node_it_answers_as_long_as_its_lease_and_no_longer() {
    let mut point = Point::new(Holds::default());
    point.handle(Happened::Due);
    point.answer(holds(1, 1), true);
    let mut seconds = 0.0;
    while seconds < 4.9 {
        point.pass(0.1);
        seconds += 0.1;
        point.handle(Happened::Unanswered { beat: point.beat });
        assert!(point.is_fresh(), "after {seconds}");
    }
    point.pass(0.2);
    point.handle(Happened::Unanswered { beat: point.beat });
    assert!(!point.is_fresh());
    point.pass(1.0);
    point.handle(Happened::Due);
    point.answer(holds(1, 1), false);
    assert!(point.is_fresh(), "it comes back with the node");
}

#[test]
fn a_node_that_offers_what_is_old_lets_it_grow_stale() {
    let mut point = Point::new(holds(7, 70));
    for _ in 0..40 {
        point.pass(0.25);
        point.handle(Happened::Due);
        point.answer(holds(6, 71), true);
        assert!(!point.is_fresh(), "what was taken before a restart counts");
    }
}
