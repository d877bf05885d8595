//! A policy set with an index, and the engine's raw answer.

use std::collections::BTreeSet;

use cedar_policy::{Decision, Entities, EntityUid, PolicySet, Request};

use super::compiled::{Compiled, Needs};
use super::index::{Index, Keyed};
use crate::engine::{Raw, evaluate_core};

/// The raw answer of the engine, before the rule that an evaluation error denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawAnswer {
    /// As Cedar decides: a permit and no forbid.
    pub decision: Decision,
    /// The policies that determined it.
    pub determining: BTreeSet<String>,
    /// The policies that could not be evaluated.
    pub errors: BTreeSet<String>,
}

/// A policy set that answers as Cedar's authorizer does, looking only at the policies that can match.
#[derive(Debug)]
pub struct Sliced {
    policies: Vec<Compiled>,
    index: Index,
}

impl Sliced {
    /// Indexes the policies of `set`.
    #[must_use]
    pub fn new(set: &PolicySet) -> Self {
        let policies: Vec<Compiled> = set
            .policies()
            .map(|p| Compiled::with_needs(p.clone(), Needs::default()))
            .collect();
        Self {
            index: Index::new(&policies),
            policies,
        }
    }

    /// The answer to `asked`, with the index or without it.
    #[must_use]
    pub fn authorize(&self, asked: &Request, entities: &Entities, indexed: bool) -> RawAnswer {
        let everything = || evaluate_core(asked.as_ref().clone(), entities, &self.policies).answer();
        let (Some(action), Some(principal), Some(resource)) =
            (asked.action(), asked.principal(), asked.resource())
        else {
            return everything();
        };
        if !indexed {
            return everything();
        }
        let groups = |uid: &EntityUid| -> Vec<EntityUid> {
            entities
                .ancestors(uid)
                .map(|found| found.cloned().collect())
                .unwrap_or_default()
        };
        let (a, p, r) = (groups(action), groups(principal), groups(resource));
        let found = self.index.matching(
            Keyed {
                uid: action,
                groups: &a,
            },
            Keyed {
                uid: principal,
                groups: &p,
            },
            Keyed {
                uid: resource,
                groups: &r,
            },
        );
        let policies = found.iter().filter_map(|n| self.policies.get(*n));
        evaluate_core(asked.as_ref().clone(), entities, policies).answer()
    }
}

impl Raw<'_> {
    fn answer(&self) -> RawAnswer {
        let ids = |list: &[&Compiled]| list.iter().map(|c| c.id.clone()).collect::<BTreeSet<_>>();
        let (decision, determining) = if !self.forbids.is_empty() {
            (Decision::Deny, ids(&self.forbids))
        } else if self.permits.is_empty() {
            (Decision::Deny, BTreeSet::new())
        } else {
            (Decision::Allow, ids(&self.permits))
        };
        RawAnswer {
            decision,
            determining,
            errors: ids(&self.errors),
        }
    }
}
