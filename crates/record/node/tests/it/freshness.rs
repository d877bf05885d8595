use bailiwick_base::Epoch;
use bailiwick_node::{Action, Bounds, Happened, Member, Standing};

use crate::{FIRST, led, member, round, secs, word, words};

#[test]
fn a_word_is_as_old_as_the_question_and_not_as_the_answer() {
    let mut a = member();
    let heard = round(
        &mut a,
        (secs(1.0), secs(3.0)),
        0,
        words(vec![word("a", 1, 0)], led("a", 1)),
    );
    assert!(heard.contains(&Action::Hear { asked: secs(1.0) }));
    assert!(a.may_answer(secs(6.0)));
    assert!(!a.may_answer(secs(6.001)));
}

#[test]
fn a_beat_never_names_what_is_not_in_memory_and_comes_only_after_it() {
    let mut a = member();
    assert_eq!(a.handle(Happened::Tick, FIRST), vec![Action::Read]);
    // An answer out of turn is none.
    assert_eq!(
        a.handle(Happened::Beaten(words(vec![word("a", 9, 9)], None)), FIRST),
        vec![]
    );
    assert_eq!(
        a.handle(Happened::Took { epoch: Epoch(4) }, FIRST),
        vec![Action::Beat { epoch: Epoch(4) }]
    );
    assert_eq!(a.handle(Happened::Took { epoch: Epoch(5) }, FIRST), vec![]);
}

#[test]
fn silence_warns_once_then_wakes_once_and_refuses() {
    let mut a = member();
    let mut seen = Vec::new();
    let mut now = FIRST;
    while now < secs(8.0) {
        let actions = a.handle(Happened::Tick, now);
        if actions.contains(&Action::Read) {
            seen.extend(a.handle(Happened::Silent, now));
        }
        seen.extend(actions.into_iter().filter(|action| *action != Action::Read));
        assert_eq!(a.may_answer(now), now <= secs(5.0));
        now += std::time::Duration::from_millis(50);
    }
    assert!(
        matches!(seen.as_slice(), [Action::Warn { .. }, Action::Wake]),
        "{seen:?}"
    );
    // One word, and it warns anew when that is old.
    let _heard = round(
        &mut a,
        (secs(8.0), secs(8.1)),
        0,
        words(vec![word("a", 2, 0)], led("a", 1)),
    );
    assert!(a.may_answer(secs(13.0)));
    assert!(matches!(
        a.handle(Happened::Tick, secs(10.5)).first(),
        Some(Action::Warn { .. })
    ));
}

#[test]
fn a_hint_during_a_reading_makes_one_more_and_a_lost_hint_costs_time_only() {
    let mut a = member();
    assert_eq!(a.handle(Happened::Tick, FIRST), vec![Action::Read]);
    assert_eq!(a.handle(Happened::Hinted, secs(0.01)), vec![]);
    assert_eq!(a.handle(Happened::Hinted, secs(0.01)), vec![]);
    a.handle(Happened::Took { epoch: Epoch(0) }, secs(0.02));
    let after = a.handle(
        Happened::Beaten(words(vec![word("a", 1, 0)], led("a", 1))),
        secs(0.03),
    );
    assert!(after.contains(&Action::Read), "{after:?}");
    a.handle(Happened::Took { epoch: Epoch(0) }, secs(0.04));
    let after = a.handle(
        Happened::Beaten(words(vec![word("a", 2, 0)], led("a", 1))),
        secs(0.05),
    );
    assert!(!after.contains(&Action::Read), "{after:?}");
    assert!(a.next_tick().unwrap() <= secs(0.3));
}

#[test]
fn a_node_whose_fence_was_raised_refuses_for_ever() {
    let mut fenced = word("a", 1, 0);
    fenced.standing = Standing::Fenced;
    let mut newer = word("a", 1, 0);
    newer.fence = 2;
    for row in [vec![fenced], vec![newer], vec![]] {
        let mut a = member();
        let actions = round(&mut a, (secs(1.0), secs(1.1)), 0, words(row, led("a", 1)));
        assert!(actions.contains(&Action::Fenced));
        assert!(!a.may_answer(secs(1.1)));
        assert_eq!(round_of_nothing(&mut a), vec![]);
        assert_eq!(a.next_tick(), None);
    }
}

fn round_of_nothing(a: &mut bailiwick_node::Member) -> Vec<Action> {
    [Happened::Tick, Happened::Hinted, Happened::Silent]
        .into_iter()
        .flat_map(|event| a.handle(event, secs(60.0)))
        .collect()
}

#[test]
fn bounds_are_kept_between_one_and_thirty_seconds() {
    assert!(Bounds::of_secs(1, 1).is_ok() && Bounds::of_secs(30, 30).is_ok());
    for (warn, refuse) in [(0, 5), (6, 5), (2, 0), (2, 31), (31, 31)] {
        let error = Bounds::of_secs(warn, refuse).unwrap_err();
        assert!(error.to_string().contains("_secs`"), "{error}");
    }
}

/// Alone on its store, a node whose store answers at once never warns and never refuses, however short its bounds are.
#[test]
fn alone_with_a_store_that_answers_its_word_is_never_old() {
    for (warn, refuse) in [(1, 1), (1, 5), (2, 5), (2, 2), (30, 30)] {
        let bounds = Bounds::of_secs(warn, refuse).unwrap();
        let mut a = Member::new(crate::name("a"), 1, bounds, FIRST).alone(std::time::Duration::from_secs(1));
        let mut beat = 0;
        while a.next_tick().unwrap() < secs(20.0) {
            let now = a.next_tick().unwrap();
            let actions = a.handle(Happened::Tick, now);
            assert_eq!(actions, vec![Action::Read], "{bounds:?} at {now:?}");
            assert!(a.may_answer(now), "{bounds:?} at {now:?}");
            beat += 1;
            a.handle(Happened::Took { epoch: Epoch(0) }, now);
            let heard = a.handle(
                Happened::Beaten(words(vec![word("a", beat, 0)], led("a", 1))),
                now,
            );
            assert!(heard.contains(&Action::Hear { asked: now }), "{heard:?}");
        }
        assert!(beat >= 19, "{bounds:?}: {beat}");
    }
}
