//! Which properties of an AuthZEN subject, resource, action or context policies may read.
//!
//! ```cedar
//! @supplied("subject.role: String, resource.status: String, action.soft: Bool")
//! @supplied_by("idn_…")
//! permit (principal is user, action == Action::"write", resource is record)
//! when { principal has role && principal.role == "admin" };
//! ```
//!
//! A property that is declared enters under its own name, because the enforcement point vouches for it; with
//! `@supplied_by` only from that enforcement point. Declared as `subject.untrusted_role`, the property `role`
//! enters as `untrusted_role` from anyone. What is not declared does not enter. A declaration holds for all
//! policies of the tenant.

use std::collections::BTreeMap;

use bailiwick_base::IdentityId;
use bailiwick_grant::{Declared, vocabulary};
use cedar_policy::Policy;

/// The parts of an AuthZEN evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Action,
    Context,
    Resource,
    Subject,
}

/// Everything the policies of one tenant declare; for each, the enforcement point that must be the one that
/// asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Supplied(BTreeMap<Declared, Option<String>>);

impl Supplied {
    /// Takes in the annotations of a policy.
    pub(crate) fn read(&mut self, name: &str, policy: &Policy) -> Result<(), String> {
        let by = policy.annotation("supplied_by").filter(|b| !b.is_empty());
        let Some(list) = policy.annotation("supplied") else {
            if by.is_some() {
                return Err(format!("policy `{name}`: `@supplied_by` without `@supplied`"));
            }
            return Ok(());
        };
        for entry in list.split(',').map(str::trim) {
            let declared = declared(entry).ok_or_else(|| {
                format!("policy `{name}`: `@supplied` takes entries such as `subject.role: String`, found `{entry}`")
            })?;
            if let Some(other) = self
                .0
                .keys()
                .find(|d| d.part == declared.part && d.name == declared.name && d.kind != declared.kind)
            {
                return Err(format!(
                    "policy `{name}`: `{}.{}` is declared as {} elsewhere",
                    other.part, other.name, other.kind
                ));
            }
            let by = by.map(str::to_owned);
            match self.0.get(&declared) {
                Some(held) if *held != by => {
                    return Err(format!(
                        "policy `{name}`: `{}.{}` is supplied by another enforcement point elsewhere",
                        declared.part, declared.name
                    ));
                }
                _ => self.0.insert(declared, by),
            };
        }
        Ok(())
    }

    pub(crate) fn declared(&self) -> impl Iterator<Item = &Declared> {
        self.0.keys()
    }

    /// What may enter for `part` when `pep` asks: attribute, property and type.
    pub(crate) fn of(&self, part: Part, pep: &IdentityId) -> impl Iterator<Item = (&str, &str, &str)> {
        let (part, pep) = (part.name(), pep.to_string());
        self.0
            .iter()
            .filter(move |(d, _)| d.part == part)
            .filter_map(move |(d, by)| match d.name.strip_prefix(vocabulary::UNTRUSTED) {
                Some(property) => Some((d.name.as_str(), property, d.kind.as_str())),
                None if by.as_ref().is_none_or(|by| *by == pep) => {
                    Some((d.name.as_str(), d.name.as_str(), d.kind.as_str()))
                }
                None => None,
            })
    }
}

impl Part {
    const ALL: [Self; 4] = [Self::Action, Self::Context, Self::Resource, Self::Subject];

    const fn name(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Context => "context",
            Self::Resource => "resource",
            Self::Subject => "subject",
        }
    }
}

fn declared(entry: &str) -> Option<Declared> {
    let (name, kind) = entry.split_once(':')?;
    let (part, name) = name.trim().split_once('.')?;
    let kind = kind.trim();
    let known = Part::ALL.iter().any(|p| p.name() == part)
        && ["Bool", "Long", "Set<String>", "String", "decimal"].contains(&kind);
    let fits = !name.is_empty()
        && name != vocabulary::UNTRUSTED
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    (known && fits).then(|| Declared {
        part: part.to_owned(),
        name: name.to_owned(),
        kind: kind.to_owned(),
    })
}
