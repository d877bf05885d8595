//! The text of a snapshot: what stands in front, the facts in their order, the public keys of the tenants' issuers.

use bailiwick_base::{Epoch, NodeName, PublicKey, StatePos, TenantId, Time, canonical, json};
use bailiwick_credential::signing_key::SigningState;
use bailiwick_decide::{Fact, MarkScope};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::BodyError;
use crate::form::{self, Form};

/// The version of the form that is written and read.
pub const VERSION: u64 = 1;
/// Bytes of a body.
pub const BODY_MAX: usize = 256 * 1024 * 1024;

/// For whom a snapshot is and when it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// The sidecar it is for; no other takes it.
    pub sidecar: NodeName,
    /// When it was made, by the clock of the node.
    pub at: Time,
    /// The tenants whose facts it may hold.
    pub tenants: Vec<TenantId>,
}

/// A public key that a tenant's issuer signs tokens with. Which of them are believed, the facts say
/// ([`Fact::SigningKeys`]), by RFC 7638 thumbprint.
#[derive(Debug, Clone)]
pub struct PublishedKey {
    /// The tenant.
    pub tenant: TenantId,
    /// The key.
    pub key: PublicKey,
}

/// A snapshot as it was read.
#[derive(Debug, Clone)]
pub struct Body {
    /// For whom, and when.
    pub heading: Heading,
    /// The epoch that its last fact names.
    pub epoch: Epoch,
    /// The floor of the installation: tokens with a lower epoch are dead.
    pub floor: Epoch,
    /// The position of the state log that its last fact names.
    pub position: StatePos,
    /// The facts in their order; a [`Fact::Position`] is the last.
    pub facts: Vec<Fact>,
    /// The keys that are published.
    pub keys: Vec<PublishedKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BodyForm {
    v: u64,
    sidecar: String,
    epoch: u64,
    floor: u64,
    position: u64,
    at: i64,
    tenants: Vec<String>,
    facts: Vec<form::FactForm>,
    keys: Vec<KeyForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyForm {
    tenant: String,
    jwk: Map<String, Value>,
}

/// What the facts say of themselves: floor, epoch and position.
fn summed(facts: &[Fact]) -> Result<(Epoch, Epoch, StatePos), BodyError> {
    let floors = facts.iter().filter_map(|fact| match fact {
        Fact::EpochFloor(floor) => Some(*floor),
        _ => None,
    });
    match facts.last() {
        Some(Fact::Position(position, epoch)) => Ok((floors.max().unwrap_or_default(), *epoch, *position)),
        _ => Err(BodyError::member("facts", "the last one has to be a position")),
    }
}

/// Whose fact it is; nobody's where it concerns the installation.
fn tenant_of(fact: &Fact) -> Option<&TenantId> {
    match fact {
        Fact::Client(client) => Some(client.id.tenant()),
        Fact::EpochFloor(_) | Fact::Position(..) => None,
        Fact::Identity(identity) => Some(identity.id.tenant()),
        Fact::Mark(mark) => scope_tenant(&mark.scope),
        Fact::MarkLifted(scope) => scope_tenant(scope),
        Fact::Policies(tenant, _) | Fact::SigningKeys(tenant, _) => Some(tenant),
        Fact::PublicClient(client) => Some(client.id.tenant()),
        Fact::Server(server) => Some(&server.tenant),
        Fact::Task(task, _) => Some(task.id.tenant()),
        Fact::Tenant(tenant, _) => Some(&tenant.id),
        Fact::Trust(trust) => Some(trust.id.tenant()),
    }
}

fn scope_tenant(scope: &MarkScope) -> Option<&TenantId> {
    match scope {
        MarkScope::All => None,
        MarkScope::Token(id) => Some(id.tenant()),
        MarkScope::Task(id) => Some(id.tenant()),
        MarkScope::Identity(id) => Some(id.tenant()),
        MarkScope::Agent(tenant, _)
        | MarkScope::Issuer(tenant, _)
        | MarkScope::Owner(tenant, _)
        | MarkScope::Server(tenant, _)
        | MarkScope::Tenant(tenant)
        | MarkScope::Tool(tenant, _, _) => Some(tenant),
    }
}

fn require_own(heading: &Heading, facts: &[Fact], keys: &[PublishedKey]) -> Result<(), BodyError> {
    let tenants = facts.iter().filter_map(tenant_of);
    let mut tenants = tenants.chain(keys.iter().map(|key| &key.tenant));
    match tenants.find(|tenant| !heading.tenants.contains(tenant)) {
        Some(tenant) => Err(BodyError::Foreign(tenant.to_string())),
        None => Ok(()),
    }
}

/// Each key is one that the facts name as published.
fn require_published(facts: &[Fact], keys: &[PublishedKey]) -> Result<(), BodyError> {
    let is_published = |key: &PublishedKey| {
        let (kid, algorithm) = (key.key.thumbprint(), key.key.algorithm());
        facts.iter().any(|fact| match fact {
            Fact::SigningKeys(tenant, known) if *tenant == key.tenant => known.iter().any(|known| {
                known.kid == kid && known.algorithm == algorithm && known.state() != SigningState::Removed
            }),
            _ => false,
        })
    };
    if keys.iter().all(is_published) {
        return Ok(());
    }
    Err(BodyError::member(
        "keys",
        "one of them is not published by its tenant",
    ))
}

/// The canonical text (RFC 8785) of `facts`, which end with a [`Fact::Position`], and of the public keys of the
/// tenants' issuers.
///
/// # Errors
/// [`BodyError`] when a fact is somebody else's, a key is not one the facts name, or a value has no canonical form.
pub fn body_of(heading: &Heading, facts: &[Fact], keys: &[PublishedKey]) -> Result<String, BodyError> {
    let (floor, epoch, position) = summed(facts)?;
    require_own(heading, facts, keys)?;
    require_published(facts, keys)?;
    let body = BodyForm {
        v: VERSION,
        sidecar: heading.sidecar.to_string(),
        epoch: epoch.0,
        floor: floor.0,
        position: position.0,
        at: heading.at.micros(),
        tenants: heading.tenants.iter().map(ToString::to_string).collect(),
        facts: facts.iter().map(form::FactForm::of).collect::<Result<_, _>>()?,
        keys: keys
            .iter()
            .map(|key| KeyForm {
                tenant: key.tenant.to_string(),
                jwk: key.key.to_jwk(),
            })
            .collect(),
    };
    let bytes = canonical::to_vec(&body).map_err(|e| BodyError::Form(e.to_string()))?;
    String::from_utf8(bytes).map_err(|e| BodyError::Form(e.to_string()))
}

#[derive(Deserialize)]
struct Versioned {
    v: u64,
}

/// Reads what [`body_of`] wrote. Call it behind [`crate::verify_snapshot`].
///
/// # Errors
/// [`BodyError`] naming the member, word or version that is not known, a fact of another tenant, or a heading that is
/// not what the facts say.
pub fn read_body(text: &str) -> Result<Body, BodyError> {
    let wrong = |e: json::JsonError| BodyError::Form(e.to_string());
    let form = json::parse_as::<BodyForm>(text.as_bytes(), BODY_MAX);
    // A body of another version may be of another form: then the version is what to say.
    let found = match &form {
        Ok(form) => form.v,
        Err(_) => json::parse_as::<Versioned>(text.as_bytes(), BODY_MAX).map_or(VERSION, |body| body.v),
    };
    if found != VERSION {
        return Err(BodyError::Version {
            found,
            known: VERSION,
        });
    }
    let form = form.map_err(wrong)?;
    let heading = Heading {
        sidecar: form::read("sidecar", NodeName::parse(&form.sidecar))?,
        at: Time::from_micros(form.at),
        tenants: form
            .tenants
            .iter()
            .map(|tenant| form::read("tenants", TenantId::parse(tenant)))
            .collect::<Result<_, _>>()?,
    };
    let facts: Vec<Fact> = form
        .facts
        .into_iter()
        .map(form::FactForm::into_fact)
        .collect::<Result<_, _>>()?;
    let key = |key: KeyForm| -> Result<PublishedKey, BodyError> {
        Ok(PublishedKey {
            tenant: form::read("keys/tenant", TenantId::parse(&key.tenant))?,
            key: form::read("keys/jwk", PublicKey::from_jwk(&key.jwk))?,
        })
    };
    let keys: Vec<PublishedKey> = form.keys.into_iter().map(key).collect::<Result<_, _>>()?;
    let (floor, epoch, position) = summed(&facts)?;
    let said = [
        ("floor", form.floor, floor.0),
        ("epoch", form.epoch, epoch.0),
        ("position", form.position, position.0),
    ];
    if let Some((member, ..)) = said.into_iter().find(|(_, said, is)| said != is) {
        return Err(BodyError::Heading { member });
    }
    require_own(&heading, &facts, &keys)?;
    require_published(&facts, &keys)?;
    Ok(Body {
        heading,
        epoch,
        floor,
        position,
        facts,
        keys,
    })
}
