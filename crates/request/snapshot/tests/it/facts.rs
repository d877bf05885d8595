//! Every kind of fact comes back as it was.

use std::collections::BTreeSet;

use bailiwick_base::{Epoch, StatePos};
use bailiwick_decide::Fact;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::{made, round, shown};

fn ended(mut facts: Vec<Fact>) -> Vec<Fact> {
    facts.push(Fact::Position(StatePos(77), Epoch(5)));
    facts
}

/// The name of a fact's kind. A new kind does not compile here: give it a form and a generator first.
fn kind(fact: &Fact) -> &'static str {
    match fact {
        Fact::Client(_) => "client",
        Fact::EpochFloor(_) => "floor",
        Fact::Identity(_) => "identity",
        Fact::Mark(_) => "mark",
        Fact::MarkLifted(_) => "lifted",
        Fact::Policies(..) => "policies",
        Fact::Position(..) => "position",
        Fact::PublicClient(_) => "public client",
        Fact::Server(_) => "server",
        Fact::SigningKeys(..) => "signing keys",
        Fact::Task(..) => "task",
        Fact::Tenant(..) => "tenant",
        Fact::Trust(_) => "trust",
    }
}

proptest! {
    #[test]
    fn facts_come_back_as_they_were(facts in proptest::collection::vec(made::fact(), 0..12)) {
        let facts = ended(facts);
        let read = round(&facts).unwrap();
        prop_assert_eq!(shown(&read.facts), shown(&facts));
        prop_assert_eq!((read.epoch, read.position), (Epoch(5), StatePos(77)));
    }
}

#[test]
fn every_kind_of_fact_comes_back_alone() {
    let mut runner = TestRunner::deterministic();
    let mut kinds = BTreeSet::new();
    for _ in 0..2_000 {
        let fact = made::fact().new_tree(&mut runner).unwrap().current();
        kinds.insert(kind(&fact));
        let facts = ended(vec![fact]);
        assert_eq!(shown(&round(&facts).unwrap().facts), shown(&facts));
        if kinds.len() == 13 {
            return;
        }
    }
    panic!("only {kinds:?} were made");
}
