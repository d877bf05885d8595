//! The conversation of a sidecar, driven by hand.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its input fails")]

mod freshness;
mod word;

use std::time::Duration;

use bailiwick_base::{Epoch, StatePos};
use bailiwick_sidecar::{Action, Bounds, Happened, Hearer, Holds};

pub(crate) const BOUNDS: Bounds = Bounds {
    refuse: Duration::from_secs(5),
    warn: Duration::from_secs(2),
};

pub(crate) fn secs(n: f64) -> Duration {
    Duration::from_secs(100) + Duration::from_secs_f64(n)
}

pub(crate) fn holds(epoch: u64, position: u64) -> Holds {
    Holds {
        epoch: Epoch(epoch),
        position: StatePos(position),
    }
}

pub(crate) fn answered(beat: u64, holds: Holds, snapshot: bool) -> Happened {
    Happened::Answered {
        beat,
        holds,
        snapshot,
    }
}

/// What is said, if anything is.
pub(crate) fn said(actions: &[Action]) -> Option<(u64, Holds, bool)> {
    actions.iter().find_map(|action| match action {
        Action::Say {
            beat, holds, leaves, ..
        } => Some((*beat, *holds, *leaves)),
        _ => None,
    })
}

pub(crate) fn heard(actions: &[Action]) -> Option<Duration> {
    actions.iter().find_map(|action| match action {
        Action::Heard(at) => Some(*at),
        _ => None,
    })
}

/// A machine that took a first snapshot, asked for at 0 and answered at 0.1.
pub(crate) fn fed(first: Holds) -> Hearer {
    let mut hearer = Hearer::new(BOUNDS, Holds::default(), 10);
    assert_eq!(said(&hearer.handle(Happened::Due, secs(0.0))).unwrap().0, 11);
    let actions = hearer.handle(answered(11, first, true), secs(0.1));
    assert_eq!(actions, [Action::Keep(first)]);
    let actions = hearer.handle(Happened::Kept, secs(0.1));
    assert_eq!(heard(&actions), Some(secs(0.0)));
    assert_eq!(said(&actions).unwrap(), (12, first, false));
    hearer
}
