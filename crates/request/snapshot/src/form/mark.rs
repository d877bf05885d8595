//! A mark and what it is set on.

use bailiwick_base::{AgentLabel, Epoch, ServerName, ToolName};
use bailiwick_decide::{Mark, MarkEffect, MarkScope};
use serde::{Deserialize, Serialize};

use super::{Form, id, read, tenant, word};
use crate::error::BodyError;

/// A mark.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MarkForm {
    scope: ScopeForm,
    effect: String,
    epoch: u64,
}

/// What it is set on: its kind, the tenant, and the parts of its name.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScopeForm {
    kind: String,
    tenant: Option<String>,
    name: Vec<String>,
}

impl Form<Mark> for MarkForm {
    fn of(mark: &Mark) -> Result<Self, BodyError> {
        Ok(Self {
            scope: Form::of(&mark.scope)?,
            effect: mark.effect.as_str().to_owned(),
            epoch: mark.epoch.0,
        })
    }
}

impl MarkForm {
    pub(super) fn read(self) -> Result<Mark, BodyError> {
        Ok(Mark {
            scope: self.scope.read()?,
            effect: word("mark/effect", &self.effect, MarkEffect::parse(&self.effect))?,
            epoch: Epoch(self.epoch),
        })
    }
}

impl Form<MarkScope> for ScopeForm {
    fn of(scope: &MarkScope) -> Result<Self, BodyError> {
        let (kind, tenant, name) = match scope {
            MarkScope::Agent(tenant, label) => ("agent", Some(tenant), vec![label.to_string()]),
            MarkScope::All => ("all", None, Vec::new()),
            MarkScope::Identity(id) => ("identity", Some(id.tenant()), vec![id.to_string()]),
            MarkScope::Issuer(tenant, issuer) => ("issuer", Some(tenant), vec![issuer.clone()]),
            MarkScope::Owner(tenant, team) => ("owner", Some(tenant), vec![team.clone()]),
            MarkScope::Server(tenant, server) => ("server", Some(tenant), vec![server.to_string()]),
            MarkScope::Task(id) => ("task", Some(id.tenant()), vec![id.to_string()]),
            MarkScope::Tenant(tenant) => ("tenant", Some(tenant), Vec::new()),
            MarkScope::Token(id) => ("token", Some(id.tenant()), vec![id.to_string()]),
            MarkScope::Tool(tenant, server, tool) => {
                ("tool", Some(tenant), vec![server.to_string(), tool.to_string()])
            }
        };
        Ok(Self {
            kind: kind.to_owned(),
            tenant: tenant.map(ToString::to_string),
            name,
        })
    }
}

impl ScopeForm {
    pub(super) fn read(self) -> Result<MarkScope, BodyError> {
        const MEMBER: &str = "mark/scope";
        let tenant = self
            .tenant
            .as_deref()
            .map(|text| tenant(MEMBER, text))
            .transpose()?;
        let name: Vec<&str> = self.name.iter().map(String::as_str).collect();
        Ok(match (self.kind.as_str(), tenant, name.as_slice()) {
            ("agent", Some(tenant), [label]) => {
                MarkScope::Agent(tenant, read(MEMBER, AgentLabel::parse(label))?)
            }
            ("all", None, []) => MarkScope::All,
            ("identity", Some(tenant), [text]) => MarkScope::Identity(id(MEMBER, &tenant, text)?),
            ("issuer", Some(tenant), [issuer]) => MarkScope::Issuer(tenant, (*issuer).to_owned()),
            ("owner", Some(tenant), [team]) => MarkScope::Owner(tenant, (*team).to_owned()),
            ("server", Some(tenant), [server]) => {
                MarkScope::Server(tenant, read(MEMBER, ServerName::parse(server))?)
            }
            ("task", Some(tenant), [text]) => MarkScope::Task(id(MEMBER, &tenant, text)?),
            ("tenant", Some(tenant), []) => MarkScope::Tenant(tenant),
            ("token", Some(tenant), [text]) => MarkScope::Token(id(MEMBER, &tenant, text)?),
            ("tool", Some(tenant), [server, tool]) => MarkScope::Tool(
                tenant,
                read(MEMBER, ServerName::parse(server))?,
                read(MEMBER, ToolName::parse(tool))?,
            ),
            (kind, ..) => return word(MEMBER, kind, None),
        })
    }
}
