use std::time::Duration;

use bailiwick_base::Epoch;
use bailiwick_node::{Action, Bounds, End, Happened, Member, PointEnd, Standing, Word};

use crate::{led, member, round, secs, word, words};

const COMMITTED: f64 = 10.0;

/// Node `a`, led by itself, that knows `others` and committed a stop of epoch 7 at 10 s.
fn stopping(others: &[Word]) -> Member {
    let mut a = member();
    let mut rows = vec![word("a", 1, 6)];
    rows.extend_from_slice(others);
    round(&mut a, (secs(9.9), secs(9.95)), 6, words(rows, led("a", 1)));
    let first = a.handle(
        Happened::Committed {
            stop: 1,
            epoch: Epoch(7),
        },
        secs(COMMITTED),
    );
    assert_eq!(first, vec![Action::Read]);
    a.handle(Happened::Silent, secs(COMMITTED));
    a
}

fn ends(actions: &[Action]) -> Option<Vec<(String, End)>> {
    actions.iter().find_map(|action| match action {
        Action::Contained { stop: 1, points } => {
            let end = |p: &PointEnd| (p.node.to_string(), p.end);
            Some(points.iter().map(end).collect())
        }
        _ => None,
    })
}

fn after(a: &mut Member, at: f64, others: &[Word]) -> Option<Vec<(String, End)>> {
    let mut rows = vec![word("a", (at * 10.0) as u64, 7)];
    rows.extend_from_slice(others);
    ends(&round(a, (secs(at), secs(at)), 7, words(rows, led("a", 1))))
}

#[test]
fn alone_a_stop_is_contained_with_the_next_word() {
    let mut a = stopping(&[]);
    assert_eq!(
        after(&mut a, 10.1, &[]),
        Some(vec![("a".to_owned(), End::Acknowledged)])
    );
    assert_eq!(after(&mut a, 10.2, &[]), None, "told once");
}

#[test]
fn everybody_acknowledges_or_it_is_not_contained() {
    let mut a = stopping(&[word("b", 4, 6), word("c", 4, 6)]);
    assert_eq!(after(&mut a, 10.1, &[word("b", 5, 7), word("c", 4, 6)]), None);
    // An acknowledgement stands, whatever the row says later.
    let done = after(&mut a, 10.2, &[word("b", 5, 7), word("c", 5, 8)]).unwrap();
    assert_eq!(
        done.iter().map(|(_, end)| *end).collect::<Vec<_>>(),
        [End::Acknowledged; 3]
    );
}

#[test]
fn a_beat_with_an_older_epoch_is_no_acknowledgement() {
    let mut a = stopping(&[word("b", 4, 6)]);
    assert_eq!(after(&mut a, 10.1, &[word("b", 5, 6)]), None);
    assert_eq!(after(&mut a, 10.2, &[word("b", 6, 6)]), None);
}

#[test]
fn a_silent_node_is_done_when_its_lease_cannot_last_any_longer() {
    let mut a = stopping(&[word("b", 4, 6)]);
    // First seen at 9.95; five seconds and a fiftieth.
    assert_eq!(after(&mut a, 15.04, &[word("b", 4, 6)]), None);
    let done = after(&mut a, 15.06, &[word("b", 4, 6)]).unwrap();
    assert_eq!(done[1], ("b".to_owned(), End::Lapsed));
}

#[test]
fn a_beat_that_was_first_seen_after_the_commit_counts_from_the_commit() {
    let mut a = stopping(&[word("b", 4, 6)]);
    // It was read before the commit, however late it was written: it lasts from then.
    assert_eq!(after(&mut a, 12.0, &[word("b", 5, 6)]), None);
    assert_eq!(after(&mut a, 15.09, &[word("b", 5, 6)]), None);
    assert_eq!(
        after(&mut a, 15.11, &[word("b", 5, 6)]).unwrap()[1].1,
        End::Lapsed
    );
}

/// Node `a` stops something at 10 s; `b` was last heard of at 1 s.
fn stopping_beside_a_silent_node() -> Member {
    let mut a = member();
    let rows = words(vec![word("a", 1, 6), word("b", 4, 6)], led("a", 1));
    round(&mut a, (secs(1.0), secs(1.0)), 6, rows);
    a.handle(
        Happened::Committed {
            stop: 1,
            epoch: Epoch(7),
        },
        secs(COMMITTED),
    );
    a.handle(Happened::Silent, secs(COMMITTED));
    a
}

#[test]
fn a_node_that_was_silent_for_long_holds_up_for_one_conversation_only() {
    let mut a = stopping_beside_a_silent_node();
    assert_eq!(after(&mut a, 12.03, &[word("b", 4, 6)]), None);
    let done = after(&mut a, 12.05, &[word("b", 4, 6)]).unwrap();
    assert_eq!(done[1], ("b".to_owned(), End::Lapsed));
}

#[test]
fn a_silent_node_that_read_just_before_the_commit_is_waited_for_while_it_may_answer() {
    let mut a = stopping_beside_a_silent_node();
    let mut b = Member::new(crate::name("b"), 1, Bounds::of_secs(2, 5).unwrap(), secs(0.0));
    // It comes back, reads without the stop, and its row does not tell of it yet.
    let back = b.handle(Happened::Hinted, secs(9.99));
    assert!(back.contains(&Action::Read));
    b.handle(Happened::Took { epoch: Epoch(6) }, secs(9.995));
    assert!(!b.may_answer(secs(10.1)));
    assert_eq!(
        after(&mut a, 10.1, &[word("b", 4, 6)]),
        None,
        "five seconds since it was seen"
    );
    let rows = || words(vec![word("a", 2, 7), word("b", 5, 6)], led("a", 1));
    b.handle(Happened::Beaten(rows()), secs(10.2));
    // It permits what the stop forbids, until its word is over.
    assert!(b.may_answer(secs(14.99)) && !b.may_answer(secs(15.0)));
    for at in [10.3, 12.5, 15.09] {
        assert_eq!(after(&mut a, at, &[word("b", 5, 6)]), None, "at {at}");
    }
    assert_eq!(
        after(&mut a, 15.11, &[word("b", 5, 6)]).unwrap()[1].1,
        End::Lapsed
    );
}

#[test]
fn a_conversation_that_took_too_long_counts_as_none() {
    let mut b = Member::new(crate::name("b"), 1, Bounds::of_secs(2, 5).unwrap(), secs(5.0));
    b.handle(Happened::Hinted, secs(9.0));
    b.handle(Happened::Took { epoch: Epoch(6) }, secs(9.1));
    let rows = || words(vec![word("b", 5, 6)], led("a", 1));
    let late = b.handle(Happened::Beaten(rows()), secs(11.01));
    assert!(
        !late.iter().any(|action| matches!(action, Action::Hear { .. })),
        "{late:?}"
    );
    assert!(late.contains(&Action::Read), "it asks anew: {late:?}");
    assert!(
        b.may_answer(secs(10.0)) && !b.may_answer(secs(10.01)),
        "as fresh as before"
    );
    // Nor is a beat written on what took that long to read.
    let slow = b.handle(Happened::Took { epoch: Epoch(7) }, secs(13.1));
    assert!(
        !slow.iter().any(|action| matches!(action, Action::Beat { .. })),
        "{slow:?}"
    );
    assert!(slow.contains(&Action::Read), "{slow:?}");
}

#[test]
fn a_node_alone_hears_a_slow_store_too() {
    let mut b = Member::new(crate::name("b"), 1, Bounds::of_secs(2, 5).unwrap(), secs(5.0))
        .alone(Duration::from_secs(1));
    let heard = round(
        &mut b,
        (secs(6.0), secs(10.0)),
        6,
        words(vec![word("b", 5, 6)], None),
    );
    assert!(heard.contains(&Action::Hear { asked: secs(6.0) }), "{heard:?}");
}

#[test]
fn a_long_lease_is_waited_for_and_a_fenced_node_too() {
    let mut slow = word("b", 4, 6);
    slow.lease = Duration::from_secs(30);
    let mut fenced = word("c", 4, 6);
    (fenced.standing, fenced.fence) = (Standing::Fenced, 2);
    let mut a = stopping(&[slow.clone(), word("c", 4, 6)]);
    // Whoever was fenced may go on until its word is over: the fence keeps it from writing, not from answering.
    assert_eq!(after(&mut a, 14.0, &[slow.clone(), fenced.clone()]), None);
    assert_eq!(after(&mut a, 40.0, &[slow.clone(), fenced.clone()]), None);
    let done = after(&mut a, 41.0, &[slow, fenced]).unwrap();
    assert_eq!((done[1].1, done[2].1), (End::Lapsed, End::Lapsed));
}

#[test]
fn who_left_or_never_began_is_not_waited_for() {
    let (mut left, mut invited) = (word("b", 4, 6), word("c", 0, 0));
    (left.standing, invited.standing) = (Standing::Left, Standing::Invited);
    let mut a = stopping(&[left.clone(), invited.clone()]);
    let done = after(&mut a, 10.1, &[left, invited]).unwrap();
    assert_eq!(
        done,
        vec![("a".to_owned(), End::Acknowledged), ("b".to_owned(), End::Left)]
    );
}

#[test]
fn rows_that_were_asked_for_before_the_commit_say_nothing_of_it() {
    let mut a = member();
    a.handle(Happened::Hinted, secs(9.0));
    a.handle(Happened::Took { epoch: Epoch(7) }, secs(9.1));
    a.handle(
        Happened::Committed {
            stop: 1,
            epoch: Epoch(7),
        },
        secs(9.5),
    );
    let early = a.handle(
        Happened::Beaten(words(vec![word("a", 1, 7)], led("a", 1))),
        secs(9.6),
    );
    assert_eq!(ends(&early), None);
    assert!(early.contains(&Action::Read), "it is chased: {early:?}");
}

#[test]
fn a_row_that_is_gone_or_set_back_is_no_acknowledgement_and_no_farewell() {
    let rolled = |beat, epoch, standing| {
        let mut b = word("b", beat, epoch);
        b.standing = standing;
        b
    };
    for row in [
        None,
        Some(rolled(3, 7, Standing::Live)),
        Some(rolled(3, 6, Standing::Left)),
        Some(rolled(0, 0, Standing::Invited)),
    ] {
        let mut a = stopping(&[word("b", 4, 6)]);
        let rows: Vec<Word> = row.into_iter().collect();
        for at in [10.1, 12.5, 14.9] {
            assert_eq!(after(&mut a, at, &rows), None, "{rows:?} at {at}");
        }
        let done = after(&mut a, 15.11, &rows).unwrap();
        assert_eq!(done[1], ("b".to_owned(), End::Lapsed), "{rows:?}");
    }
}
