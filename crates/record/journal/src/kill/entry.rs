//! What the kill journal holds of a kill, suspend or revoke.

use bailiwick_base::{
    AgentLabel, Epoch, IdentityId, ServerName, TaskId, TenantId, Time, TokenId, ToolName, json,
};
use bailiwick_decide::{MarkEffect, MarkScope};
use serde_json::{Map, Value};

use crate::json::Writer;

const ENTRY_VERSION: u64 = 1;
/// More than fits a page.
const READ_MAX: usize = 8192;

/// One command that narrows rights, complete enough to be carried out again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillEntry {
    /// When it was received.
    pub at: Time,
    /// Who gave it, as text.
    pub actor: String,
    /// What it stops.
    pub marks: Vec<KillMark>,
    /// The epoch the marks have in memory until the state log assigns theirs.
    pub provisional_epoch: Epoch,
    /// The request it came with.
    pub request: String,
    /// Its idempotency key, if it had one.
    pub idempotency: Option<String>,
}

/// One stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillMark {
    /// On what.
    pub scope: MarkScope,
    /// Reversible or not.
    pub effect: MarkEffect,
}

impl KillEntry {
    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        let mut object = Writer::object(&mut out);
        object.text("actor", &self.actor);
        object.number("at", self.at.micros());
        if let Some(idempotency) = &self.idempotency {
            object.text("idempotency", idempotency);
        }
        object.list("marks", &self.marks, |out, mark| {
            let mut object = Writer::object(out);
            object.text("effect", mark.effect.as_str());
            object.nested("scope", |inner| write_scope(inner, &mark.scope));
            object.end();
        });
        object.number("provisional_epoch", self.provisional_epoch.0);
        object.text("request", &self.request);
        object.number("v", ENTRY_VERSION);
        object.end();
        out
    }

    /// Reads what [`KillEntry::encode`] wrote.
    ///
    /// # Errors
    /// What is wrong, as text.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let value = json::parse(bytes, READ_MAX).map_err(|error| error.to_string())?;
        let object = value.as_object().ok_or("not an object")?;
        if number(object, "v")? != ENTRY_VERSION {
            return Err("made by a newer version".to_owned());
        }
        let marks = object
            .get("marks")
            .and_then(Value::as_array)
            .ok_or("`marks` is not a list")?;
        let entry = Self {
            at: Time::from_micros(
                object
                    .get("at")
                    .and_then(Value::as_i64)
                    .ok_or("`at` is not a time")?,
            ),
            actor: text(object, "actor")?.to_owned(),
            marks: marks.iter().map(read_mark).collect::<Result<_, _>>()?,
            provisional_epoch: Epoch(number(object, "provisional_epoch")?),
            request: text(object, "request")?.to_owned(),
            idempotency: object
                .get("idempotency")
                .map(|_| text(object, "idempotency"))
                .transpose()?
                .map(str::to_owned),
        };
        // One entry has one form: nothing was lost or added in reading.
        if entry.encode() == bytes {
            Ok(entry)
        } else {
            Err("not in canonical form".to_owned())
        }
    }
}

fn write_scope(object: &mut Writer<'_>, scope: &MarkScope) {
    let mut named = |kind: &'static str, name: &str, tenant: &TenantId| {
        object.text("kind", kind);
        object.text("name", name);
        object.text("tenant", tenant.as_str());
    };
    match scope {
        MarkScope::Token(id) => named("token", &id.to_string(), id.tenant()),
        MarkScope::Task(id) => named("task", &id.to_string(), id.tenant()),
        MarkScope::Identity(id) => named("identity", &id.to_string(), id.tenant()),
        MarkScope::Agent(tenant, label) => named("agent", label.as_str(), tenant),
        MarkScope::Owner(tenant, owner) => named("owner", owner, tenant),
        MarkScope::Issuer(tenant, issuer) => named("issuer", issuer, tenant),
        MarkScope::Server(tenant, server) => named("server", server.as_str(), tenant),
        MarkScope::Tool(tenant, server, tool) => {
            object.text("kind", "tool");
            object.text("name", tool.as_str());
            object.text("server", server.as_str());
            object.text("tenant", tenant.as_str());
        }
        MarkScope::Tenant(tenant) => {
            object.text("kind", "tenant");
            object.text("tenant", tenant.as_str());
        }
        MarkScope::All => object.text("kind", "all"),
    }
}

fn read_mark(value: &Value) -> Result<KillMark, String> {
    let object = value.as_object().ok_or("a mark is not an object")?;
    let word = text(object, "effect")?;
    let effect = MarkEffect::parse(word)
        .ok_or_else(|| format!("`{}` is not an effect", bailiwick_base::limits::shown(word)))?;
    let scope = object
        .get("scope")
        .and_then(Value::as_object)
        .ok_or("`scope` is not an object")?;
    Ok(KillMark {
        scope: read_scope(scope)?,
        effect,
    })
}

fn read_scope(object: &Map<String, Value>) -> Result<MarkScope, String> {
    let kind = text(object, "kind")?;
    if kind == "all" {
        return Ok(MarkScope::All);
    }
    let tenant = TenantId::parse(text(object, "tenant")?).map_err(wrong)?;
    if kind == "tenant" {
        return Ok(MarkScope::Tenant(tenant));
    }
    let name = text(object, "name")?;
    Ok(match kind {
        "agent" => MarkScope::Agent(tenant, AgentLabel::parse(name).map_err(wrong)?),
        "identity" => MarkScope::Identity(IdentityId::parse(&tenant, name).map_err(wrong)?),
        "issuer" => MarkScope::Issuer(tenant, name.to_owned()),
        "owner" => MarkScope::Owner(tenant, name.to_owned()),
        "server" => MarkScope::Server(tenant, ServerName::parse(name).map_err(wrong)?),
        "task" => MarkScope::Task(TaskId::parse(&tenant, name).map_err(wrong)?),
        "token" => MarkScope::Token(TokenId::parse(&tenant, name).map_err(wrong)?),
        "tool" => {
            let server = ServerName::parse(text(object, "server")?).map_err(wrong)?;
            MarkScope::Tool(tenant, server, ToolName::parse(name).map_err(wrong)?)
        }
        other => {
            return Err(format!(
                "`{}` is not a scope",
                bailiwick_base::limits::shown(other)
            ));
        }
    })
}

fn wrong(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    object
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("`{name}` is not text"))
}

fn number(object: &Map<String, Value>, name: &str) -> Result<u64, String> {
    object
        .get(name)
        .and_then(Value::as_u64)
        .ok_or_else(|| format!("`{name}` is not a number"))
}
