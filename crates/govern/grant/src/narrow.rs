//! Asking for less than a grant gives (RFC 9396 at the token endpoint).
//!
//! A token carries coarse scopes, and its conditions are read from the grant of its task. So a token can leave out
//! scopes of the grant, but it cannot add a condition to one: what is asked for has to be what the token will allow.

use bailiwick_credential::ScopeSet;

use crate::model::Scope;

/// Why a token cannot allow exactly what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAsked {
    /// Nothing was asked for.
    #[error("nothing is asked for: name at least one action")]
    Nothing,
    /// The grant has no such scope.
    #[error(
        "[{n}]: the task does not grant `{scope}` in these words; a narrower task has to be opened for it"
    )]
    Ungranted {
        /// Which of those asked for.
        n: usize,
        /// It, as text.
        scope: String,
    },
    /// The token would allow more.
    #[error(
        "the token would also allow `{scope}`, which the task grants: ask for it too, or have a narrower task opened"
    )]
    Wider {
        /// What was not asked for, as text.
        scope: String,
    },
}

/// The coarse scopes of a token that allows exactly what is `asked`, under a grant of the scopes `granted`.
///
/// Each scope asked for is one of the grant, word for word, or cut to one of its actions.
///
/// # Errors
/// [`NotAsked`] when there is no such token.
pub fn narrow(granted: &[Scope], asked: &[Scope]) -> Result<ScopeSet, NotAsked> {
    if asked.is_empty() {
        return Err(NotAsked::Nothing);
    }
    for (n, scope) in asked.iter().enumerate() {
        let coarse = scope.coarse();
        if !granted
            .iter()
            .any(|held| cut(held, &coarse).as_ref() == Some(scope))
        {
            let scope = scope.to_string();
            return Err(NotAsked::Ungranted { n, scope });
        }
    }
    let coarse: ScopeSet = asked.iter().map(Scope::coarse).collect();
    match held(granted, &coarse)
        .into_iter()
        .find(|allowed| !asked.iter().any(|asked| reaches(asked, allowed)))
    {
        Some(wider) => Err(NotAsked::Wider {
            scope: wider.to_string(),
        }),
        None => Ok(coarse),
    }
}

/// What a token with the coarse scopes `carried` allows under a grant of the scopes `granted`: each of these, cut to
/// the actions that the token carries.
#[must_use]
pub fn held(granted: &[Scope], carried: &ScopeSet) -> Vec<Scope> {
    let mut out: Vec<Scope> = Vec::new();
    for scope in granted {
        for coarse in carried.iter() {
            let Some(cut) = cut(scope, coarse) else { continue };
            if !out.contains(&cut) {
                out.push(cut);
            }
        }
    }
    out
}

/// The part of a scope that a coarse scope reaches.
fn cut(scope: &Scope, coarse: &str) -> Option<Scope> {
    let (server, action) = coarse.split_once(':')?;
    if server != scope.server.as_str() {
        return None;
    }
    match (&scope.action, action) {
        (_, "*") => Some(scope.clone()),
        (Some(held), named) if held.as_str() == named => Some(scope.clone()),
        (Some(_), _) => None,
        (None, named) => Some(Scope {
            action: Some(bailiwick_base::ToolName::parse(named).ok()?),
            ..scope.clone()
        }),
    }
}

/// Whether `wide` allows all that `scope` does: the same actions or all of them, with the same conditions or none.
fn reaches(wide: &Scope, scope: &Scope) -> bool {
    let same = wide.conditions == scope.conditions && wide.rate == scope.rate;
    let free = wide.conditions.is_empty() && wide.rate.is_none();
    wide.server == scope.server && (wide.action.is_none() || wide.action == scope.action) && (same || free)
}
