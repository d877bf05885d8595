//! Tenant policies: reading, checking and indexing them.
//!
//! A tenant's text stands beside the default policies (`content/policies/default.cedar`), never instead of
//! them: a tenant narrows what they permit with `forbid`. Annotations:
//!
//! - `@id("…")` names a policy; decisions name it `tenant/…`.
//! - `@hold("…")` on a permit asks for a person before the call goes on.
//! - `@supplied("subject.role: String, action.soft: Bool")` declares properties of an AuthZEN subject,
//!   resource, action or context that policies may read; what is not declared does not enter. Under its own
//!   name a property enters because the enforcement point vouches for it, with `@supplied_by("idn_…")` only
//!   from that one; declared as `subject.untrusted_role` it enters as `untrusted_role` from anyone. A
//!   declaration holds for all policies of the tenant. Types: `Bool`, `Long`, `String`, `decimal`,
//!   `Set<String>`; a property of another type is absent.

use std::sync::{Arc, LazyLock};

use bailiwick_grant::{Declared, Mentions, schema_for};
use cedar_policy::ffi::DetailedError;
use cedar_policy::{Effect, Policy, PolicyId, PolicySet, ValidationMode, ValidationWarning, Validator};

pub(crate) mod compiled;
pub(crate) mod index;
mod sliced;
mod supplied;
mod text;

pub use sliced::{RawAnswer, Sliced};
pub(crate) use supplied::{Part, Supplied};

use compiled::Compiled;
use index::Index;

/// Bytes of one tenant's policies.
pub const POLICIES_MAX: usize = 4 * 1024 * 1024;
/// Operators and brackets of one policy; bounds how deep its expressions can nest.
pub const OPERATORS_MAX: usize = 1000;

/// The policies that stand beside those of every tenant.
pub const DEFAULTS: &str = include_str!("../../../../../content/policies/default.cedar");

static BUILTIN: LazyLock<Arc<TenantPolicies>> = LazyLock::new(|| Arc::new(TenantPolicies::read("")));

/// Why a policy text is refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policies, line {line}, column {column}: {message}")]
pub struct PolicyError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and, where Cedar knows it, what would be right.
    pub message: String,
}

impl PolicyError {
    pub(crate) fn at(text: &str, offset: usize, message: impl Into<String>) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        Self {
            line: before.bytes().filter(|b| *b == b'\n').count() + 1,
            column: before.get(line_start..).unwrap_or("").chars().count() + 1,
            message: message.into(),
        }
    }

    fn of(text: &str, error: &DetailedError) -> Self {
        let offset = error.source_locations.first().map_or(0, |l| l.loc.start);
        let mut message = error.message.clone();
        if let Some(help) = &error.help {
            message.push_str("; ");
            message.push_str(help);
        }
        Self::at(text, offset, message)
    }
}

/// Checks a tenant's policies strictly against the schema that fits them: done when they are written.
///
/// # Errors
/// [`PolicyError`] for the first offence.
pub fn validate(text: &str) -> Result<(), PolicyError> {
    let (set, named, supplied) = parse(text)?;
    let mut mentions = Mentions::default();
    for policy in &named {
        let found = Mentions::of(policy).map_err(|e| PolicyError::at(text, 0, e.to_string()))?;
        mentions.merge(&found);
    }
    let declared: Vec<Declared> = supplied.declared().cloned().collect();
    let schema = schema_for(&mentions, &declared).map_err(|e| {
        namespaced(text, &mentions).unwrap_or_else(|| PolicyError::at(text, 0, e.to_string()))
    })?;
    let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
    if let Some(error) = first(text, result.validation_errors().map(DetailedError::from)) {
        return Err(error);
    }
    // A forbid that can never apply guards nothing, whatever its author thinks.
    let impossible = result
        .validation_warnings()
        .filter(|w| matches!(w, ValidationWarning::ImpossiblePolicy(_)));
    first(text, impossible.map(DetailedError::from)).map_or(Ok(()), Err)
}

/// The first offence in the text. Cedar gives them in no order, one for each action a policy may apply to.
fn first(text: &str, offences: impl Iterator<Item = DetailedError>) -> Option<PolicyError> {
    offences
        .map(|error| PolicyError::of(text, &error))
        .min_by(|a, b| (a.line, a.column, &a.message).cmp(&(b.line, b.column, &b.message)))
}

/// The place of the first entity type with a namespace: the schema has none.
fn namespaced(text: &str, mentions: &Mentions) -> Option<PolicyError> {
    let names = mentions.types.iter().filter(|name| name.contains("::"));
    let found = names.filter_map(|name| {
        let mut places = text.match_indices(name.as_str()).map(|(at, _)| at);
        let is_code = |at: &usize| {
            let line = text.get(..*at).and_then(|before| before.rsplit('\n').next());
            line.is_some_and(|line| !line.contains("//"))
        };
        Some((places.find(is_code)?, name))
    });
    let (at, name) = found.min()?;
    let message = format!("`{name}` names a namespace, and entity types here have none");
    Some(PolicyError::at(text, at, message))
}

/// The set as Cedar read it, the same policies under their own names, and what they declare.
fn parse(text: &str) -> Result<(PolicySet, Vec<Policy>, Supplied), PolicyError> {
    text::require_bounded(text)?;
    let set: PolicySet = text
        .parse()
        .map_err(|e: cedar_policy::ParseErrors| PolicyError::of(text, &DetailedError::from(&e)))?;
    let refused = |message: String| PolicyError::at(text, 0, message);
    if let Some(template) = set.templates().next() {
        return Err(refused(format!(
            "policy `{}` is a template, write the entity in place of the slot",
            template.id()
        )));
    }
    let mut named = Vec::new();
    let mut supplied = Supplied::default();
    for policy in set.policies() {
        let name = policy
            .annotation("id")
            .map_or_else(|| policy.id().to_string(), str::to_owned);
        if name.is_empty() || name.len() > 128 || name.contains(char::is_control) {
            return Err(refused(
                "an `@id` has 1 to 128 characters without control characters".to_owned(),
            ));
        }
        if policy.annotation("hold").is_some() && policy.effect() == Effect::Forbid {
            return Err(refused(format!("policy `{name}` forbids, so it cannot `@hold`")));
        }
        supplied.read(&name, policy).map_err(refused)?;
        named.push(policy.new_id(PolicyId::new(&name)));
    }
    named.sort_by(|a, b| a.id().cmp(b.id()));
    if let Some([first, _]) = named.array_windows::<2>().find(|[a, b]| a.id() == b.id()) {
        return Err(refused(format!("two policies have the id `{}`", first.id())));
    }
    Ok((set, named, supplied))
}

/// The policies of one tenant, the default ones among them.
#[derive(Debug)]
pub(crate) struct TenantPolicies {
    pub(crate) policies: Vec<Compiled>,
    pub(crate) index: Index,
    pub(crate) supplied: Supplied,
    /// Why the text could not be read; then every call of the tenant is denied.
    pub(crate) broken: Option<String>,
}

impl TenantPolicies {
    /// The default policies alone.
    pub(crate) fn builtin() -> Arc<Self> {
        BUILTIN.clone()
    }

    /// The default policies and the tenant's `text`. The text was validated when it was written; if it cannot
    /// be read now, nothing is permitted.
    pub(crate) fn read(text: &str) -> Self {
        let mut broken = None;
        let mut policies = Vec::new();
        let mut all = Supplied::default();
        for (prefix, source) in [("default", DEFAULTS), ("tenant", text)] {
            match parse(source) {
                Ok((_, named, supplied)) => {
                    all = supplied;
                    for policy in named {
                        let id = PolicyId::new(format!("{prefix}/{}", policy.id()));
                        match Compiled::new(policy.new_id(id)) {
                            Ok(compiled) => policies.push(compiled),
                            Err(error) => broken = Some(error.to_string()),
                        }
                    }
                }
                Err(error) => broken = Some(error.to_string()),
            }
        }
        Self {
            index: Index::new(&policies),
            policies,
            supplied: all,
            broken,
        }
    }
}
