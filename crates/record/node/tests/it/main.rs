//! The machine of one node, driven by hand.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its input fails")]

mod containment;
mod freshness;
mod lead;
mod sidecars;

use std::time::Duration;

use bailiwick_base::{Epoch, NodeName};
use bailiwick_node::{Action, Bounds, Happened, Lead, Member, Standing, Word, Words};

pub(crate) const FIRST: Duration = Duration::from_secs(100);

pub(crate) fn secs(n: f64) -> Duration {
    FIRST + Duration::from_secs_f64(n)
}

pub(crate) fn name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

pub(crate) fn word(node: &str, beat: u64, epoch: u64) -> Word {
    Word {
        node: name(node),
        fence: 1,
        beat,
        epoch: Epoch(epoch),
        lease: Duration::from_secs(5),
        standing: Standing::Live,
    }
}

pub(crate) fn led(by: &str, term: u64) -> Option<Lead> {
    Some(Lead {
        node: name(by),
        fence: 1,
        term,
    })
}

/// Node `a`, which read everything at the beginning.
pub(crate) fn member() -> Member {
    Member::new(name("a"), 1, Bounds::of_secs(2, 5).unwrap(), FIRST)
}

/// One whole conversation with the store, begun and ended at these moments, at an epoch.
pub(crate) fn round(
    member: &mut Member,
    (asked, done): (Duration, Duration),
    epoch: u64,
    words: Words,
) -> Vec<Action> {
    let mut out = member.handle(Happened::Hinted, asked);
    assert!(out.contains(&Action::Read), "{out:?}");
    let beat = member.handle(Happened::Took { epoch: Epoch(epoch) }, asked);
    assert!(beat.contains(&Action::Beat { epoch: Epoch(epoch) }), "{beat:?}");
    out.extend(beat);
    out.extend(member.handle(Happened::Beaten(words), done));
    out
}

pub(crate) fn words(nodes: Vec<Word>, lead: Option<Lead>) -> Words {
    Words { nodes, lead }
}
