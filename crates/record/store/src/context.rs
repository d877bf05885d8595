//! For whom and by whom a transaction runs.

use bailiwick_base::{Digest, IdentityId, OperatorId, TenantId};
use bailiwick_inventory::installation;
use uuid::Uuid;

/// Whose rows a transaction or a reader may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Reads the rows of every tenant and writes none; a transaction of this reach appends its own entry.
    DangerAllTenants,
    /// What belongs to no tenant: operators, the mark on everything, the epoch floor.
    Installation,
    /// One tenant.
    Tenant(TenantId),
}

impl Reach {
    /// The tenant under which its entries are written.
    pub(crate) fn home(&self) -> TenantId {
        match self {
            Self::DangerAllTenants | Self::Installation => installation(),
            Self::Tenant(tenant) => tenant.clone(),
        }
    }

    /// What row security is told.
    pub(crate) fn rows(&self) -> String {
        match self {
            Self::DangerAllTenants => EVERY.to_owned(),
            Self::Installation | Self::Tenant(_) => self.home().to_string(),
        }
    }
}

impl From<&TenantId> for Reach {
    fn from(tenant: &TenantId) -> Self {
        Self::Tenant(tenant.clone())
    }
}

/// The name under which row security lets every row be read.
const EVERY: &str = "*";

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A non-human identity.
    Identity(IdentityId),
    /// An operator.
    Operator(OperatorId),
    /// A part of the system acting by a rule, e.g. `drift`, `expiry`, `claim-socket`.
    System(&'static str),
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Identity(id) => write!(f, "identity:{id}"),
            Self::Operator(id) => write!(f, "operator:{id}"),
            Self::System(part) => write!(f, "system:{part}"),
        }
    }
}

/// The id of one request, random: it also keeps payloads from being guessed. Mint it with `base::Ids::uuid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(pub Uuid);

/// A client's promise that two requests with this key are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Idempotency {
    pub(crate) key: Digest,
    pub(crate) request: Digest,
}

/// Which queue a transaction waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lane {
    /// Large: the batch it is in ends with it.
    Bulk,
    /// Kill, revoke, suspend: before everything else.
    Kill,
    /// Everything else.
    #[default]
    Ordinary,
}

/// What every transaction states first.
#[derive(Debug, Clone)]
pub struct Context {
    pub(crate) reach: Reach,
    pub(crate) actor: Actor,
    pub(crate) request: RequestId,
    pub(crate) idempotency: Option<Idempotency>,
    pub(crate) lane: Lane,
    /// A leader's duty, under this term.
    pub(crate) term: Option<u64>,
}

impl Context {
    /// A transaction of `reach` by `actor`.
    #[must_use]
    pub fn new(reach: Reach, actor: Actor, request: RequestId) -> Self {
        Self {
            reach,
            actor,
            request,
            idempotency: None,
            lane: Lane::Ordinary,
            term: None,
        }
    }

    /// The same with an idempotency key; `request` is the digest of what was asked (method, path, body). The
    /// key itself is never stored, only its SHA-256. Keys are kept per tenant and actor.
    #[must_use]
    pub fn idempotent(self, key: &str, request: Digest) -> Self {
        let actor = self.actor.to_string();
        self.idempotent_of(&actor, key, request)
    }

    /// The same for a command of `actor` that somebody else carries out: `actor`, who repeats it, hears what came of it.
    #[must_use]
    pub fn idempotent_of(mut self, actor: &str, key: &str, request: Digest) -> Self {
        let mut sha = bailiwick_base::Sha256::new();
        sha.update_field(actor.as_bytes());
        sha.update_field(key.as_bytes());
        self.idempotency = Some(Idempotency {
            key: sha.finish(),
            request,
        });
        self
    }

    /// The same without an idempotency key: for what follows from the same request.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.idempotency = None;
        self
    }

    /// The same as a leader's duty: refused when this node does not lead under `term` any more.
    #[must_use]
    pub fn leading(mut self, term: u64) -> Self {
        self.term = Some(term);
        self
    }

    /// The same in another queue.
    #[must_use]
    pub fn lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }
}
