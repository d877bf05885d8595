//! What the pipeline counts for operators. The handles are found once: looking one up costs more than the rest
//! of a decision's bookkeeping.

use bailiwick_decide::{Door, Effect};
use metrics::{Counter, counter};

const DOORS: [Door; 6] = [
    Door::Authzen,
    Door::Check,
    Door::Egress,
    Door::Gateway,
    Door::Issue,
    Door::Spiffe,
];

pub(crate) struct Counters {
    /// Per door: deny, hold, permit.
    decided: [(Door, [Counter; 3]); 6],
    unrecorded: Counter,
}

impl Counters {
    pub(crate) fn new() -> Self {
        let of = |door: Door, effect: &'static str| counter!("bailiwick_decisions_total", "door" => door.as_str(), "effect" => effect);
        let decided = DOORS.map(|door| (door, ["deny", "hold", "permit"].map(|effect| of(door, effect))));
        Self {
            decided,
            unrecorded: counter!("bailiwick_records_failed_total"),
        }
    }

    pub(crate) fn decided(&self, door: Door, effect: &Effect) {
        let Some((_, [deny, hold, permit])) = self.decided.iter().find(|(of, _)| *of == door) else {
            return;
        };
        match effect {
            Effect::Deny(_) => deny.increment(1),
            Effect::Hold(_) => hold.increment(1),
            Effect::Permit => permit.increment(1),
        }
    }

    pub(crate) fn unrecorded(&self) {
        self.unrecorded.increment(1);
    }
}
