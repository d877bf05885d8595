//! A task and its grant.

use bailiwick_base::{IdentityId, Time};
use bailiwick_credential::{Task, TaskState};
use bailiwick_grant::Grant;
use serde::{Deserialize, Serialize};

use super::grant::GrantForm;
use super::{id, id_text, tenant};
use crate::error::BodyError;

/// A task and its grant.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TaskForm {
    tenant: String,
    id: String,
    identity: String,
    purpose: String,
    requested_by: String,
    opens_at: i64,
    closes_at: i64,
    closed: Option<ClosedForm>,
    may_act: Vec<String>,
    grant: GrantForm,
}

/// When it was closed, and why.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClosedForm {
    at: i64,
    reason: String,
}

impl TaskForm {
    pub(super) fn of(task: &Task, grant: &Grant) -> Result<Self, BodyError> {
        let tenant = task.id.tenant();
        let actor = |id: &IdentityId| id_text("task/may_act", tenant, id);
        Ok(Self {
            tenant: tenant.to_string(),
            id: task.id.to_string(),
            identity: id_text("task/identity", tenant, &task.identity)?,
            purpose: task.purpose.clone(),
            requested_by: task.requested_by.clone(),
            opens_at: task.opens_at.micros(),
            closes_at: task.closes_at.micros(),
            closed: match &task.state {
                TaskState::Open => None,
                TaskState::Closed { at, reason } => Some(ClosedForm {
                    at: at.micros(),
                    reason: reason.clone(),
                }),
            },
            may_act: task.may_act.iter().map(actor).collect::<Result<_, _>>()?,
            grant: GrantForm::of(tenant, grant)?,
        })
    }

    pub(super) fn read(self) -> Result<(Task, Grant), BodyError> {
        let tenant = tenant("task/tenant", &self.tenant)?;
        let actor = |text: &String| id("task/may_act", &tenant, text);
        let task = Task {
            id: id("task/id", &tenant, &self.id)?,
            identity: id("task/identity", &tenant, &self.identity)?,
            purpose: self.purpose,
            requested_by: self.requested_by,
            opens_at: Time::from_micros(self.opens_at),
            closes_at: Time::from_micros(self.closes_at),
            state: match self.closed {
                None => TaskState::Open,
                Some(form) => TaskState::Closed {
                    at: Time::from_micros(form.at),
                    reason: form.reason,
                },
            },
            may_act: self.may_act.iter().map(actor).collect::<Result<_, _>>()?,
        };
        Ok((task, self.grant.read(&tenant)?))
    }
}
