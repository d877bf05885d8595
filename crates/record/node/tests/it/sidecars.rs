//! Who hears at a node without a store, and until when it may be fresh.

use std::time::Duration;

use bailiwick_base::{Digest, Epoch, TenantId};
use bailiwick_node::{Attachments, End, Seat, Sidecar, SidecarSaid};

use crate::{name, secs};

const LEASE: Duration = Duration::from_secs(5);

fn sidecar(text: &str) -> Sidecar {
    Sidecar {
        name: name(text),
        tenants: vec![TenantId::parse("acme").unwrap()],
        seat: Seat::Joined,
        key: None,
        vkey: None,
        invite: None,
    }
}

fn process(number: u8) -> Digest {
    Digest::of(&[number])
}

/// Heard and answered at the start, on epoch 4.
fn attached() -> Attachments {
    let mut here = Attachments::new(LEASE);
    here.word(&sidecar("s1"), process(1), (Epoch(0), false), secs(0.0));
    here.answer(&name("s1"), Epoch(4), secs(0.0));
    here
}

fn end(here: &mut Attachments, epoch: u64, at: f64) -> Option<End> {
    let ends = here.ends((Epoch(epoch), None), secs(at));
    ends.first().and_then(|end| end.end)
}

#[test]
fn a_stop_holds_when_each_said_so_or_cannot_be_fresh() {
    let mut here = attached();
    assert_eq!(
        (end(&mut here, 5, 0.1), here.lowest(secs(0.1))),
        (None, Some(Epoch(4)))
    );
    // That it was told of the stop is no acknowledgement.
    here.word(&sidecar("s1"), process(1), (Epoch(4), false), secs(1.0));
    here.answer(&name("s1"), Epoch(5), secs(1.0));
    assert_eq!(
        (end(&mut here, 5, 1.1), here.lowest(secs(1.1))),
        (None, Some(Epoch(4)))
    );
    here.word(&sidecar("s1"), process(1), (Epoch(5), false), secs(1.2));
    assert_eq!(end(&mut here, 5, 1.2), Some(End::Acknowledged));
    assert_eq!(here.lowest(secs(1.2)), Some(Epoch(5)));
    assert_eq!(here.lowest(secs(6.2)), None, "a lease after the last answer");
}

#[test]
fn a_silent_one_is_waited_for_a_lease_and_a_fiftieth_from_its_last_answer_on_less() {
    let mut here = attached();
    here.word(&sidecar("s1"), process(1), (Epoch(4), false), secs(2.0));
    here.answer(&name("s1"), Epoch(4), secs(2.0));
    // It says nothing more; whatever it is told after the stop brings the stop.
    here.answer(&name("s1"), Epoch(5), secs(3.0));
    assert_eq!(here.next_lapse(), Some(secs(2.0) + LEASE + LEASE / 50));
    assert_eq!(end(&mut here, 5, 7.0), None);
    assert_eq!(end(&mut here, 5, 7.1), Some(End::Lapsed));
    assert_eq!(here.counts(secs(7.2)), (0, 1));
}

#[test]
fn one_that_comes_anew_is_fresh_on_what_it_is_told_and_holds_up_nobody() {
    let mut here = attached();
    assert_eq!(here.lowest(secs(6.0)), None);
    here.word(&sidecar("s1"), process(1), (Epoch(0), false), secs(7.0));
    assert_eq!(here.lowest(secs(7.0)), None, "nothing was told to it");
    here.answer(&name("s1"), Epoch(9), secs(7.0));
    assert_eq!(
        here.lowest(secs(7.0)),
        Some(Epoch(9)),
        "a beat never names less than before"
    );
    assert_eq!(end(&mut here, 9, 7.1), Some(End::Lapsed));
    // After a start it says that it holds nothing; what it may be fresh on stays.
    here.word(&sidecar("s1"), process(1), (Epoch(0), false), secs(7.2));
    assert_eq!(here.lowest(secs(7.2)), Some(Epoch(9)));
}

#[test]
fn one_that_left_is_waited_for_no_longer_and_one_of_before_the_start_is() {
    let mut here = attached();
    here.word(&sidecar("s1"), process(1), (Epoch(4), true), secs(1.0));
    assert_eq!(
        (end(&mut here, 5, 1.0), here.lowest(secs(1.0))),
        (Some(End::Left), None)
    );
    here.answer(&name("s1"), Epoch(4), secs(1.0));
    assert_eq!(
        here.lowest(secs(1.0)),
        None,
        "its farewell makes it fresh on nothing"
    );
    let mut here = Attachments::new(LEASE);
    here.begin(&sidecar("s1"), &SidecarSaid::default(), secs(0.0));
    assert_eq!(
        (end(&mut here, 1, 1.0), here.lowest(secs(1.0))),
        (None, Some(Epoch(0)))
    );
    let left = SidecarSaid {
        left: true,
        ..SidecarSaid::default()
    };
    here.begin(&sidecar("s2"), &left, secs(0.0));
    let ends = here.ends((Epoch(1), None), secs(5.2));
    let ends: Vec<Option<End>> = ends.into_iter().map(|end| end.end).collect();
    assert_eq!(ends, [Some(End::Lapsed), Some(End::Left)]);
}

#[test]
fn what_one_process_holds_says_nothing_of_another_with_its_key() {
    // A copy of its folder was started: it acknowledges the stop, and the first may be fresh on the epoch before.
    let mut here = attached();
    here.word(&sidecar("s1"), process(2), (Epoch(0), false), secs(1.0));
    here.answer(&name("s1"), Epoch(5), secs(1.0));
    here.word(&sidecar("s1"), process(2), (Epoch(5), false), secs(1.1));
    assert_eq!(
        (end(&mut here, 5, 1.2), here.lowest(secs(1.2))),
        (None, Some(Epoch(4)))
    );
    assert_eq!(here.next_lapse(), Some(secs(0.0) + LEASE + LEASE / 50));
    assert_eq!(end(&mut here, 5, 5.2), Some(End::Acknowledged));
    // Nor does its farewell.
    let mut here = attached();
    here.word(&sidecar("s1"), process(2), (Epoch(0), true), secs(1.0));
    assert_eq!(end(&mut here, 5, 1.1), None);
    assert_eq!(end(&mut here, 5, 5.2), Some(End::Left));
    // Where two take turns, each is waited for.
    let mut here = attached();
    for turn in 0..200_u32 {
        let at = 1.0 + f64::from(turn) / 100.0;
        let epoch = Epoch(u64::from(4 + turn));
        here.word(
            &sidecar("s1"),
            process((turn % 2) as u8),
            (epoch, false),
            secs(at),
        );
        here.answer(&name("s1"), epoch, secs(at));
    }
    assert_eq!(end(&mut here, 203, 5.5), None);
    // Of a start, whoever spoke to the process before this one may not be who speaks now.
    let mut here = Attachments::new(LEASE);
    here.begin(&sidecar("s1"), &SidecarSaid::default(), secs(0.0));
    here.word(&sidecar("s1"), process(1), (Epoch(7), false), secs(1.0));
    assert_eq!(end(&mut here, 7, 1.0), None);
    assert_eq!(end(&mut here, 7, 5.2), Some(End::Acknowledged));
}

#[test]
fn who_decides_for_others_is_not_asked_and_many_epochs_are_waited_for_longer() {
    let mut here = attached();
    let globex = TenantId::parse("globex").unwrap();
    assert!(here.ends((Epoch(5), Some(&globex)), secs(0.1)).is_empty());
    for epoch in 5..200_u64 {
        here.answer(&name("s1"), Epoch(epoch), secs(1.0 + epoch_at(epoch)));
    }
    assert_eq!(here.lowest(secs(3.0)), Some(Epoch(4)));
    assert_eq!(
        end(&mut here, 199, 5.2),
        None,
        "not shorter than the last answer that was folded in"
    );
    here.drop_lapsed(&name("s1"), secs(5.2));
    assert!(here.knows(&name("s1")));
    here.drop_lapsed(&name("s1"), secs(9.0));
    assert!(!here.knows(&name("s1")));
}

fn epoch_at(epoch: u64) -> f64 {
    f64::from(u32::try_from(epoch).unwrap()) / 100.0
}
