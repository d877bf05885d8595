//! The index over policies: only those whose head can match a call are looked at.
//!
//! A head says `action`, `principal` and `resource`, each as anything, one entity (`==`), a group (`in`) or a
//! type (`is`). A policy is filed under its three keys; a call asks under each of its ids, their groups and
//! their types. Every policy whose head holds is found (a key is never narrower than its head); one that is
//! found and does not hold evaluates to false, as it would without the index.

use std::collections::BTreeMap;

use cedar_policy::{ActionConstraint, EntityTypeName, EntityUid, PrincipalConstraint, ResourceConstraint};
use smallvec::SmallVec;

use super::compiled::Compiled;

/// An id with the groups it is in, itself left out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keyed<'a> {
    pub(crate) uid: &'a EntityUid,
    pub(crate) groups: &'a [EntityUid],
}

#[derive(Debug, Clone)]
struct Level<T> {
    any: Option<Box<T>>,
    kinds: BTreeMap<EntityTypeName, T>,
    uids: imbl::HashMap<EntityUid, T>,
}

impl<T> Default for Level<T> {
    fn default() -> Self {
        Self {
            any: None,
            kinds: BTreeMap::new(),
            uids: imbl::HashMap::new(),
        }
    }
}

impl<T: Default + Clone> Level<T> {
    fn slot(&mut self, key: Key) -> &mut T {
        match key {
            Key::Any => self.any.get_or_insert_default(),
            Key::Kind(kind) => self.kinds.entry(kind).or_default(),
            Key::Uid(uid) => self.uids.entry(uid).or_default(),
        }
    }

    fn visit<'a>(&'a self, keyed: Keyed<'_>, seen: &mut impl FnMut(&'a T)) {
        if let Some(any) = &self.any {
            seen(any);
        }
        if !self.kinds.is_empty()
            && let Some(found) = self.kinds.get(keyed.uid.type_name())
        {
            seen(found);
        }
        if !self.uids.is_empty() {
            for uid in std::iter::once(keyed.uid).chain(keyed.groups) {
                if let Some(found) = self.uids.get(uid) {
                    seen(found);
                }
            }
        }
    }
}

enum Key {
    Any,
    Kind(EntityTypeName),
    Uid(EntityUid),
}

/// Positions of policies, by action, principal and resource.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index(Level<Level<Level<Vec<usize>>>>);

/// Positions of the policies to look at.
pub(crate) type Found = SmallVec<[usize; 8]>;

impl Index {
    pub(crate) fn new(policies: &[Compiled]) -> Self {
        let mut index = Self::default();
        for (n, compiled) in policies.iter().enumerate() {
            let actions = match compiled.policy.action_constraint() {
                ActionConstraint::Any => vec![Key::Any],
                ActionConstraint::Eq(uid) => vec![Key::Uid(uid)],
                ActionConstraint::In(mut uids) => {
                    uids.sort();
                    uids.dedup();
                    uids.into_iter().map(Key::Uid).collect()
                }
            };
            for action in actions {
                let principal = match compiled.policy.principal_constraint() {
                    PrincipalConstraint::Any => Key::Any,
                    PrincipalConstraint::Is(kind) => Key::Kind(kind),
                    PrincipalConstraint::Eq(uid)
                    | PrincipalConstraint::In(uid)
                    | PrincipalConstraint::IsIn(_, uid) => Key::Uid(uid),
                };
                let resource = match compiled.policy.resource_constraint() {
                    ResourceConstraint::Any => Key::Any,
                    ResourceConstraint::Is(kind) => Key::Kind(kind),
                    ResourceConstraint::Eq(uid)
                    | ResourceConstraint::In(uid)
                    | ResourceConstraint::IsIn(_, uid) => Key::Uid(uid),
                };
                index.0.slot(action).slot(principal).slot(resource).push(n);
            }
        }
        index
    }

    /// The policies that can match, each once, in their order.
    pub(crate) fn matching(&self, action: Keyed<'_>, principal: Keyed<'_>, resource: Keyed<'_>) -> Found {
        let mut found = Found::new();
        self.0.visit(action, &mut |level| {
            level.visit(principal, &mut |level| {
                level.visit(resource, &mut |positions| found.extend_from_slice(positions));
            });
        });
        // An action in two groups of one `in` list is found twice.
        found.sort_unstable();
        found.dedup();
        found
    }
}
