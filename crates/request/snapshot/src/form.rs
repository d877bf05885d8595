//! The form of each kind of fact. One structure beside each of the rooms' own, because these are written down for
//! another program: a room may change, a version of the form does not.

mod client;
mod grant;
mod identity;
mod mark;
mod server;
mod signing_key;
mod task;
mod tenant;
mod trust;

use bailiwick_base::{Epoch, Id, IdKind, StatePos, TenantId, Time};
use bailiwick_decide::Fact;
use serde::{Deserialize, Serialize};

use crate::error::BodyError;

/// A thing and how it is written down inside of a tenant.
pub(crate) trait Form<T>: Sized {
    /// How `thing` is written.
    fn of(thing: &T) -> Result<Self, BodyError>;
}

/// The value of a member, or that member's name and why it is none.
pub(crate) fn read<T, E: std::fmt::Display>(
    member: &'static str,
    read: Result<T, E>,
) -> Result<T, BodyError> {
    read.map_err(|e| BodyError::member(member, e))
}

/// The word of a member, or that member's name.
pub(crate) fn word<T>(member: &'static str, text: &str, read: Option<T>) -> Result<T, BodyError> {
    read.ok_or_else(|| {
        BodyError::member(
            member,
            format!("`{}` is not known", bailiwick_base::limits::shown(text)),
        )
    })
}

fn tenant(member: &'static str, text: &str) -> Result<TenantId, BodyError> {
    read(member, TenantId::parse(text))
}

fn id<K: IdKind>(member: &'static str, tenant: &TenantId, text: &str) -> Result<Id<K>, BodyError> {
    read(member, Id::parse(tenant, text))
}

/// The text of an id that has to be of this tenant: only the tenant of the whole fact is written down.
fn id_text<K: IdKind>(member: &'static str, tenant: &TenantId, id: &Id<K>) -> Result<String, BodyError> {
    if id.tenant() == tenant {
        return Ok(id.to_string());
    }
    Err(BodyError::member(member, "it is an id of another tenant"))
}

fn text_of(member: &'static str, bytes: &[u8]) -> Result<String, BodyError> {
    read(member, std::str::from_utf8(bytes).map(str::to_owned))
}

fn at(micros: Option<i64>) -> Option<Time> {
    micros.map(Time::from_micros)
}

/// A fact, by its kind.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FactForm {
    Client(client::ClientForm),
    EpochFloor(u64),
    Identity(Box<identity::IdentityForm>),
    Mark(mark::MarkForm),
    MarkLifted(mark::ScopeForm),
    Policies(PoliciesForm),
    Position(PositionForm),
    PublicClient(client::PublicClientForm),
    Server(server::ServerForm),
    SigningKeys(signing_key::SigningKeysForm),
    Task(Box<task::TaskForm>),
    Tenant(tenant::TenantForm),
    Trust(Box<trust::TrustForm>),
}

/// The policies of a tenant, as Cedar text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PoliciesForm {
    tenant: String,
    text: String,
}

/// A position of the state log.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PositionForm {
    position: u64,
    epoch: u64,
}

impl Form<Fact> for FactForm {
    fn of(fact: &Fact) -> Result<Self, BodyError> {
        Ok(match fact {
            Fact::Client(client) => Self::Client(Form::of(client.as_ref())?),
            Fact::EpochFloor(floor) => Self::EpochFloor(floor.0),
            Fact::Identity(identity) => Self::Identity(Box::new(Form::of(identity.as_ref())?)),
            Fact::Mark(mark) => Self::Mark(Form::of(mark)?),
            Fact::MarkLifted(scope) => Self::MarkLifted(Form::of(scope)?),
            Fact::Policies(tenant, text) => Self::Policies(PoliciesForm {
                tenant: tenant.to_string(),
                text: text.to_string(),
            }),
            Fact::Position(position, epoch) => Self::Position(PositionForm {
                position: position.0,
                epoch: epoch.0,
            }),
            Fact::PublicClient(client) => Self::PublicClient(Form::of(client.as_ref())?),
            Fact::Server(server) => Self::Server(Form::of(server.as_ref())?),
            Fact::SigningKeys(tenant, keys) => {
                Self::SigningKeys(signing_key::SigningKeysForm::of(tenant, keys)?)
            }
            Fact::Task(task, grant) => Self::Task(Box::new(task::TaskForm::of(task, grant)?)),
            Fact::Tenant(tenant, algorithm) => Self::Tenant(tenant::TenantForm::of(tenant, *algorithm)),
            Fact::Trust(trust) => Self::Trust(Box::new(Form::of(trust.as_ref())?)),
        })
    }
}

impl FactForm {
    /// The fact that is written here.
    pub(crate) fn into_fact(self) -> Result<Fact, BodyError> {
        Ok(match self {
            Self::Client(form) => Fact::Client(form.read()?.into()),
            Self::EpochFloor(floor) => Fact::EpochFloor(Epoch(floor)),
            Self::Identity(form) => Fact::Identity(form.read()?.into()),
            Self::Mark(form) => Fact::Mark(form.read()?),
            Self::MarkLifted(form) => Fact::MarkLifted(form.read()?),
            Self::Policies(form) => {
                Fact::Policies(tenant("policies/tenant", &form.tenant)?, form.text.into())
            }
            Self::Position(form) => Fact::Position(StatePos(form.position), Epoch(form.epoch)),
            Self::PublicClient(form) => Fact::PublicClient(form.read()?.into()),
            Self::Server(form) => Fact::Server(form.read()?.into()),
            Self::SigningKeys(form) => {
                let (tenant, keys) = form.read()?;
                Fact::SigningKeys(tenant, keys.into())
            }
            Self::Task(form) => {
                let (task, grant) = form.read()?;
                Fact::Task(task.into(), grant.into())
            }
            Self::Tenant(form) => {
                let (tenant, algorithm) = form.read()?;
                Fact::Tenant(tenant.into(), algorithm)
            }
            Self::Trust(form) => Fact::Trust(form.read()?.into()),
        })
    }
}
