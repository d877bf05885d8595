//! Commands on grants: (state, command, now) to a new state or a refusal.

use bailiwick_base::{GrantId, Time};
use bailiwick_credential::{ScopeSet, Task, TaskState};

use crate::model::{Grant, Scope};
use crate::reason::Refusal;
use crate::{SCOPES_MAX, compile};

/// Gives `task` its grant. The policies are compiled and checked strictly here, so that what is written can
/// be decided.
///
/// # Errors
/// [`Refusal`] when the task is closed, the scopes are none, too many or not valid, or the grant would
/// outlive its task.
pub fn open(
    id: GrantId,
    task: &Task,
    scopes: Vec<Scope>,
    expires_at: Time,
    now: Time,
) -> Result<Grant, Refusal> {
    if matches!(task.state, TaskState::Closed { .. }) || now >= task.closes_at {
        return Err(Refusal::TaskClosed);
    }
    if scopes.is_empty() {
        return Err(Refusal::NoScope);
    }
    if scopes.len() > SCOPES_MAX {
        return Err(Refusal::TooManyScopes(scopes.len()));
    }
    if expires_at > task.closes_at {
        return Err(Refusal::BeyondTask {
            ends_at: expires_at,
            closes_at: task.closes_at,
        });
    }
    if expires_at <= now {
        return Err(Refusal::Ended(expires_at));
    }
    let grant = Grant {
        id,
        task: task.id.clone(),
        identity: task.identity.clone(),
        scopes,
        expires_at,
    };
    compile::validate(&grant).map_err(|e| Refusal::Scope(e.to_string()))?;
    Ok(grant)
}

impl Grant {
    /// The coarse scopes that tokens of the task carry: `server:tool`, without conditions.
    #[must_use]
    pub fn coarse_scopes(&self) -> ScopeSet {
        self.scopes.iter().map(Scope::coarse).collect()
    }
}
