//! What is said, what is taken, and what counts as none.

use std::time::Duration;

use bailiwick_sidecar::{Action, Happened, Hearer, Holds};
use proptest::prelude::*;

use crate::{BOUNDS, answered, fed, heard, holds, said, secs};

#[test]
fn nothing_is_acknowledged_before_it_is_durable_and_in_memory() {
    let mut hearer = Hearer::new(BOUNDS, Holds::default(), 0);
    let first = hearer.handle(Happened::Due, secs(0.0));
    assert_eq!(said(&first), Some((1, Holds::default(), false)));
    let kept = hearer.handle(answered(1, holds(3, 40), true), secs(0.1));
    assert_eq!(kept, [Action::Keep(holds(3, 40))]);
    // Until it is durable nothing is said, however much time passes.
    assert_eq!(hearer.handle(Happened::Due, secs(1.5)), []);
    let taken = hearer.handle(Happened::Kept, secs(1.6));
    assert_eq!(taken[..2], [Action::Take(holds(3, 40)), Action::Heard(secs(0.0))]);
    assert_eq!(said(&taken), Some((2, holds(3, 40), false)));
}

#[test]
fn what_could_not_be_kept_is_neither_taken_nor_acknowledged() {
    let mut hearer = fed(holds(3, 40));
    let actions = hearer.handle(answered(12, holds(4, 41), true), secs(0.2));
    assert_eq!(actions, [Action::Keep(holds(4, 41))]);
    assert_eq!(hearer.handle(Happened::NotKept, secs(0.2)), []);
    let later = hearer.handle(Happened::Due, secs(0.3));
    assert_eq!(said(&later), Some((13, holds(3, 40), false)));
    assert_eq!(heard(&later), None);
}

#[test]
fn an_answer_without_anything_new_makes_the_word_as_fresh_as_its_question() {
    let mut hearer = fed(holds(3, 40));
    let actions = hearer.handle(answered(12, holds(3, 40), false), secs(1.1));
    assert_eq!(heard(&actions), Some(secs(0.1)));
    assert_eq!(said(&actions), Some((13, holds(3, 40), false)));
}

#[test]
fn an_answer_without_a_snapshot_is_nothing_to_a_memory_that_holds_none() {
    let mut hearer = Hearer::new(BOUNDS, holds(3, 40), 0);
    hearer.handle(Happened::Due, secs(0.0));
    let actions = hearer.handle(answered(1, holds(3, 40), false), secs(0.1));
    assert_eq!(actions, []);
}

#[test]
fn nothing_older_than_what_was_ever_taken_is_taken_after_a_restart_either() {
    for old in [holds(2, 41), holds(4, 39), holds(0, 0)] {
        let mut hearer = Hearer::new(BOUNDS, holds(3, 40), 0);
        hearer.handle(Happened::Due, secs(0.0));
        let actions = hearer.handle(answered(1, old, true), secs(0.1));
        let ever = holds(3, 40);
        assert_eq!(actions, [Action::Older { offered: old, ever }]);
    }
}

#[test]
fn a_conversation_that_took_too_long_counts_as_none() {
    let mut hearer = fed(holds(3, 40));
    // The process was stopped for three times the lease; the answer had been there all the time.
    let actions = hearer.handle(answered(12, holds(3, 40), false), secs(15.1));
    assert_eq!(heard(&actions), None);
    // An answer to a question that was given up is nobody's.
    let mut hearer = fed(holds(3, 40));
    hearer.handle(Happened::Due, secs(2.2));
    let next = hearer.handle(Happened::Due, secs(2.4));
    assert_eq!(said(&next), Some((13, holds(3, 40), false)));
    let actions = hearer.handle(answered(12, holds(3, 40), false), secs(2.4));
    assert_eq!(heard(&actions), None);
}

#[test]
fn a_word_that_is_not_answered_is_said_again_and_not_without_a_pause() {
    let mut hearer = fed(holds(3, 40));
    let (mut beat, mut now, mut words) = (12, 0.2, 0);
    while now < 5.2 {
        let mut actions = hearer.handle(Happened::Unanswered { beat }, secs(now));
        while said(&actions).is_none() {
            now += 0.01;
            actions = hearer.handle(Happened::Due, secs(now));
        }
        assert_eq!(said(&actions).unwrap().1, holds(3, 40));
        beat = said(&actions).unwrap().0;
        words += 1;
    }
    assert!((8..=20).contains(&words), "{words} words in five seconds");
}

#[test]
fn whoever_leaves_says_so_once_and_hears_nothing_more() {
    let mut hearer = fed(holds(3, 40));
    let actions = hearer.handle(Happened::Leaving, secs(0.5));
    assert_eq!(said(&actions), Some((13, holds(3, 40), true)));
    assert_eq!(hearer.handle(answered(12, holds(9, 90), true), secs(0.6)), []);
    let actions = hearer.handle(answered(13, holds(9, 90), true), secs(0.7));
    assert_eq!(actions, [Action::Left]);
    // Nor does it wait for somebody who does not answer.
    let mut hearer = fed(holds(3, 40));
    hearer.handle(Happened::Leaving, secs(0.5));
    assert_eq!(hearer.handle(Happened::Due, secs(2.6)), [Action::Left]);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Answer(u64, u64, bool, bool),
    Kept(bool),
    Pass(u16),
    Unanswered,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..6, 0_u64..6, any::<bool>(), any::<bool>())
            .prop_map(|(e, p, s, late)| Step::Answer(e, p, s, late)),
        any::<bool>().prop_map(Step::Kept),
        (0_u16..4000).prop_map(Step::Pass),
        Just(Step::Unanswered),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_words_name_what_is_held_and_nothing_goes_back(
        steps in proptest::collection::vec(step(), 1..120)
    ) {
        let mut hearer = Hearer::new(BOUNDS, Holds::default(), 0);
        let (mut now, mut open, mut beat) = (secs(0.0), None, 0_u64);
        let (mut durable, mut memory, mut asked) = (Holds::default(), Holds::default(), None);
        let mut keeping: Option<Holds> = None;
        let mut fresh = Duration::ZERO;
        for step in std::iter::once(Step::Pass(0)).chain(steps) {
            let happened = match step {
                Step::Answer(epoch, position, snapshot, late) => {
                    let number = if late { open.unwrap_or(beat).saturating_sub(1) } else { open.unwrap_or(beat) };
                    answered(number, holds(epoch, position), snapshot)
                }
                Step::Kept(true) if keeping.is_some() => {
                    durable = keeping.unwrap();
                    Happened::Kept
                }
                Step::Kept(_) if keeping.is_some() => Happened::NotKept,
                Step::Kept(_) => Happened::Due,
                Step::Pass(ms) => {
                    now += Duration::from_millis(u64::from(ms));
                    Happened::Due
                }
                Step::Unanswered => Happened::Unanswered { beat: open.unwrap_or(beat) },
            };
            if matches!(happened, Happened::Kept | Happened::NotKept) {
                keeping = None;
            }
            for action in hearer.handle(happened, now) {
                match action {
                    Action::Heard(at) => {
                        prop_assert!(Some(at) == asked, "as fresh as its question");
                        prop_assert!(now - at <= BOUNDS.talk() || matches!(happened, Happened::Kept));
                        fresh = fresh.max(at);
                    }
                    Action::Keep(holds) => {
                        prop_assert!(holds.reaches(&durable));
                        keeping = Some(holds);
                    }
                    Action::Left => prop_assert!(false, "nobody asked for that"),
                    Action::Older { offered, .. } => prop_assert!(!offered.reaches(&durable)),
                    Action::Say { beat: number, holds, leaves, .. } => {
                        prop_assert!(number > beat && !leaves && keeping.is_none());
                        prop_assert_eq!(holds, memory, "a word names what is in memory");
                        prop_assert!(durable.reaches(&holds), "and what is durable");
                        (beat, open, asked) = (number, Some(number), Some(now));
                    }
                    Action::Take(holds) => {
                        prop_assert!(holds.reaches(&memory), "memory never goes back");
                        prop_assert_eq!(holds, durable);
                        memory = holds;
                    }
                }
            }
        }
    }
}
