//! An identity.

use bailiwick_base::{AgentLabel, Composition, Time};
use bailiwick_inventory::{Composed, Identity, Kind, Labels, Origin, Owner, State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Form, id, read, tenant, word};
use crate::error::BodyError;

/// An identity.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IdentityForm {
    tenant: String,
    id: String,
    kind: String,
    name: String,
    platform: String,
    team: String,
    contact: String,
    application: Option<String>,
    purpose: String,
    agent: Option<String>,
    workflow: Option<String>,
    origin: String,
    state: StateForm,
    composition: Option<ComposedForm>,
    created_at: i64,
    expires_at: i64,
    changed_at: i64,
}

/// Where it stands.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateForm {
    Active(Nothing),
    Probation(Nothing),
    Retired(RetiredForm),
    Suspended(SuspendedForm),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetiredForm {
    reason: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SuspendedForm {
    was_active: bool,
    reason: String,
}

/// What it is made of.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ComposedForm {
    present: Map<String, Value>,
    former: Option<Map<String, Value>>,
    since: i64,
}

impl Form<Identity> for IdentityForm {
    fn of(identity: &Identity) -> Result<Self, BodyError> {
        Ok(Self {
            tenant: identity.id.tenant().to_string(),
            id: identity.id.to_string(),
            kind: identity.kind.as_str().to_owned(),
            name: identity.name.clone(),
            platform: identity.platform.clone(),
            team: identity.owner.team.clone(),
            contact: identity.owner.contact.clone(),
            application: identity.application.clone(),
            purpose: identity.purpose.clone(),
            agent: identity.labels.agent.as_ref().map(ToString::to_string),
            workflow: identity.labels.workflow.clone(),
            origin: identity.origin.as_str().to_owned(),
            state: StateForm::of(&identity.state),
            composition: identity.composition.as_ref().map(ComposedForm::of),
            created_at: identity.created_at.micros(),
            expires_at: identity.expires_at.micros(),
            changed_at: identity.changed_at.micros(),
        })
    }
}

impl IdentityForm {
    pub(super) fn read(self) -> Result<Identity, BodyError> {
        let agent = self.agent.as_deref().map(AgentLabel::parse);
        Ok(Identity {
            id: id("identity/id", &tenant("identity/tenant", &self.tenant)?, &self.id)?,
            kind: word("identity/kind", &self.kind, Kind::parse(&self.kind))?,
            name: self.name,
            platform: self.platform,
            owner: Owner {
                team: self.team,
                contact: self.contact,
            },
            application: self.application,
            purpose: self.purpose,
            labels: Labels {
                agent: read("identity/agent", agent.transpose())?,
                workflow: self.workflow,
            },
            origin: word("identity/origin", &self.origin, Origin::parse(&self.origin))?,
            state: self.state.read(),
            composition: self.composition.map(ComposedForm::read).transpose()?,
            created_at: Time::from_micros(self.created_at),
            expires_at: Time::from_micros(self.expires_at),
            changed_at: Time::from_micros(self.changed_at),
        })
    }
}

impl StateForm {
    fn of(state: &State) -> Self {
        match state {
            State::Active => Self::Active(Nothing {}),
            State::Probation => Self::Probation(Nothing {}),
            State::Retired { reason } => Self::Retired(RetiredForm {
                reason: reason.clone(),
            }),
            State::Suspended { was_active, reason } => Self::Suspended(SuspendedForm {
                was_active: *was_active,
                reason: reason.clone(),
            }),
        }
    }

    fn read(self) -> State {
        match self {
            Self::Active(_) => State::Active,
            Self::Probation(_) => State::Probation,
            Self::Retired(RetiredForm { reason }) => State::Retired { reason },
            Self::Suspended(SuspendedForm { was_active, reason }) => State::Suspended { was_active, reason },
        }
    }
}

impl ComposedForm {
    fn of(composed: &Composed) -> Self {
        Self {
            present: composed.present.to_json(),
            former: composed.former.as_ref().map(Composition::to_json),
            since: composed.since.micros(),
        }
    }

    fn read(self) -> Result<Composed, BodyError> {
        let made = |parts: Map<String, Value>| {
            read(
                "identity/composition",
                Composition::from_json(&Value::Object(parts)),
            )
        };
        Ok(Composed {
            present: made(self.present)?,
            former: self.former.map(made).transpose()?,
            since: Time::from_micros(self.since),
        })
    }
}
