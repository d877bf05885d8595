use bailiwick_base::Epoch;
use bailiwick_node::{Action, Happened, Lead, Standing, Word};

use crate::{led, member, name, round, secs, word, words};

fn others(standing: Standing) -> Vec<Word> {
    let mut b = word("b", 4, 0);
    b.standing = standing;
    vec![word("a", 1, 0), b]
}

#[test]
fn where_nobody_leads_the_first_one_takes_it_and_leads_when_the_store_says_so() {
    let mut a = member();
    let asked = round(
        &mut a,
        (secs(1.0), secs(1.0)),
        0,
        words(others(Standing::Live), None),
    );
    assert!(asked.contains(&Action::Take { from: 0 }));
    assert_eq!(a.leading(), None, "asking is not leading");
    let leads = round(
        &mut a,
        (secs(1.1), secs(1.1)),
        0,
        words(others(Standing::Live), led("a", 1)),
    );
    assert!(leads.contains(&Action::Lead { term: 1 }));
    assert_eq!(a.leading(), Some(1));
}

#[test]
fn a_living_leader_is_left_alone_and_a_silent_one_is_followed_when_its_word_is_over() {
    let mut a = member();
    let takes = |a: &mut _, at: f64, beat: u64| {
        let rows = vec![word("a", 1, 0), word("b", beat, 0)];
        let actions = round(a, (secs(at), secs(at)), 0, words(rows, led("b", 3)));
        actions.contains(&Action::Take { from: 3 })
    };
    assert!(!takes(&mut a, 1.0, 1));
    assert!(!takes(&mut a, 4.0, 2));
    assert!(!takes(&mut a, 9.0, 2));
    assert!(takes(&mut a, 9.2, 2));
}

#[test]
fn a_leader_that_left_or_is_drained_or_fenced_or_began_anew_is_followed_at_once() {
    for standing in [Standing::Left, Standing::Draining, Standing::Fenced] {
        let mut a = member();
        let actions = round(
            &mut a,
            (secs(1.0), secs(1.0)),
            0,
            words(others(standing), led("b", 3)),
        );
        assert!(actions.contains(&Action::Take { from: 3 }), "{standing:?}");
    }
    let mut a = member();
    let before = Lead {
        node: name("b"),
        fence: 0,
        term: 3,
    };
    let actions = round(
        &mut a,
        (secs(1.0), secs(1.0)),
        0,
        words(others(Standing::Live), Some(before)),
    );
    assert!(actions.contains(&Action::Take { from: 3 }));
}

#[test]
fn a_drained_node_never_takes_the_lead() {
    let mut a = member();
    let mut own = word("a", 1, 0);
    own.standing = Standing::Draining;
    let actions = round(&mut a, (secs(1.0), secs(1.0)), 0, words(vec![own], None));
    assert!(!actions.iter().any(|action| matches!(action, Action::Take { .. })));
}

#[test]
fn a_leader_yields_when_its_word_is_over_and_leads_again_only_on_fresh_word() {
    let mut a = member();
    round(
        &mut a,
        (secs(1.0), secs(1.0)),
        0,
        words(others(Standing::Live), led("a", 1)),
    );
    assert_eq!(a.leading(), Some(1));
    let late = a.handle(Happened::Tick, secs(6.1));
    assert!(late.contains(&Action::Yield));
    assert_eq!(a.leading(), None);
    a.handle(Happened::Took { epoch: Epoch(0) }, secs(6.2));
    let again = a.handle(
        Happened::Beaten(words(others(Standing::Live), led("a", 1))),
        secs(6.2),
    );
    assert!(again.contains(&Action::Lead { term: 1 }), "{again:?}");
}

#[test]
fn a_lead_that_another_took_is_yielded() {
    let mut a = member();
    round(
        &mut a,
        (secs(1.0), secs(1.0)),
        0,
        words(others(Standing::Live), led("a", 1)),
    );
    let actions = round(
        &mut a,
        (secs(1.3), secs(1.3)),
        0,
        words(others(Standing::Live), led("b", 2)),
    );
    assert!(actions.contains(&Action::Yield));
    assert_eq!(a.leading(), None);
}
