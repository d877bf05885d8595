//! The life of a task: open → closed.

use bailiwick_base::limits::TEXT_MAX;
use bailiwick_base::{IdentityId, TaskId, Time, Transition};

use crate::limits::{Limits, MAY_ACT_MAX};
use crate::model::{Task, TaskState};
use crate::refusal::{Refusal, span};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct TaskPlan {
    /// Its id, freshly minted; the tenant is the id's.
    pub id: TaskId,
    /// Who does the work.
    pub identity: IdentityId,
    /// When that identity ends; the task ends no later.
    pub identity_expires_at: Time,
    /// What the work is.
    pub purpose: String,
    /// Who asked for it.
    pub requested_by: String,
    /// When it opens; now when absent.
    pub opens_at: Option<Time>,
    /// When it ends by itself.
    pub closes_at: Time,
    /// Who may act for the identity under a token of this task.
    pub may_act: Vec<IdentityId>,
}

/// Opens a task. That the identity is in service is the inventory's rule; it is asked first.
///
/// # Errors
/// [`Refusal`] when purpose or requester are missing, the window is empty, past or too long, or the task would
/// outlive its identity.
pub fn open_task(plan: TaskPlan, limits: &Limits, now: Time) -> Result<Transition<Task>, Refusal> {
    if plan.id.tenant() != plan.identity.tenant() {
        return Err(Refusal::OtherOwner("identity"));
    }
    let opens_at = plan.opens_at.unwrap_or(now);
    if plan.closes_at <= opens_at {
        return Err(Refusal::WindowEmpty {
            opens_at,
            closes_at: plan.closes_at,
        });
    }
    if plan.closes_at <= now {
        return Err(Refusal::ExpiryPast {
            at: plan.closes_at,
            now,
        });
    }
    let window = plan.closes_at.since(opens_at);
    if window > limits.task_window_max {
        let (asked, max) = (span(window.as_secs()), span(limits.task_window_max.as_secs()));
        return Err(Refusal::WindowTooLong { asked, max });
    }
    if plan.identity_expires_at <= now {
        return Err(Refusal::IdentityEnded(plan.identity_expires_at));
    }
    if plan.closes_at > plan.identity_expires_at {
        return Err(Refusal::ExpiryTooFar {
            at: plan.closes_at,
            max: plan.identity_expires_at,
        });
    }
    let may_act = actors(plan.may_act, &plan.identity)?;
    let task = Task {
        id: plan.id,
        identity: plan.identity,
        purpose: required(&plan.purpose, "purpose", Refusal::PurposeMissing)?,
        requested_by: required(&plan.requested_by, "requester", Refusal::RequesterMissing)?,
        opens_at,
        closes_at: plan.closes_at,
        state: TaskState::Open,
        may_act,
    };
    Ok(Transition::made("task.open", task))
}

/// Those who may act: identities of the tenant, each once, never the identity itself.
fn actors(mut named: Vec<IdentityId>, identity: &IdentityId) -> Result<Vec<IdentityId>, Refusal> {
    named.sort();
    named.dedup();
    if named.len() > MAY_ACT_MAX {
        let (len, max) = (named.len(), MAY_ACT_MAX);
        return Err(Refusal::MayActTooMany { len, max });
    }
    if named.iter().any(|id| id.tenant() != identity.tenant()) {
        return Err(Refusal::OtherOwner("may_act"));
    }
    if named.contains(identity) {
        return Err(Refusal::MayActSelf);
    }
    Ok(named)
}

/// Closes a task for good: every credential of it is dead.
///
/// # Errors
/// [`Refusal::TaskClosed`], [`Refusal::ReasonMissing`].
pub fn close_task(task: Task, reason: &str, now: Time) -> Result<Transition<Task>, Refusal> {
    if let TaskState::Closed { at, .. } = task.state {
        return Err(Refusal::TaskClosed(at));
    }
    let reason = required(reason, "reason", Refusal::ReasonMissing)?;
    let after = Task {
        state: TaskState::Closed {
            at: now,
            reason: reason.clone(),
        },
        ..task.clone()
    };
    Ok(Transition::changed("task.close", task, after).because(reason))
}

/// A text that must be there: trimmed, something in it that can be seen, at most [`TEXT_MAX`] bytes, no control characters.
pub(crate) fn required(text: &str, field: &'static str, missing: Refusal) -> Result<String, Refusal> {
    let text = text.trim();
    if text.len() > TEXT_MAX {
        return Err(Refusal::TooLong {
            field,
            len: text.len(),
            max: TEXT_MAX,
        });
    }
    if text.chars().any(char::is_control) {
        return Err(Refusal::ControlCharacter(field));
    }
    if bailiwick_base::limits::can_be_seen(text) {
        Ok(text.to_owned())
    } else {
        Err(missing)
    }
}

/// An end that is ahead and not beyond any of its limits.
pub(crate) fn ending(at: Time, latest: impl IntoIterator<Item = Time>, now: Time) -> Result<Time, Refusal> {
    if at <= now {
        return Err(Refusal::ExpiryPast { at, now });
    }
    match latest.into_iter().min() {
        Some(max) if at > max => Err(Refusal::ExpiryTooFar { at, max }),
        _ => Ok(at),
    }
}
