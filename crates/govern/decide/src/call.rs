//! A call: one attempted action at an enforcement point, normalised.

use std::sync::Arc;

use bailiwick_base::{DecisionId, Digest, IdentityId, ServerName, TaskId, TenantId, Time, TokenId};
use bailiwick_credential::Claims;
use serde_json::{Map, Value};
use smallvec::SmallVec;

/// One attempted action, in the words of the decision point.
#[derive(Debug, Clone)]
pub struct Call {
    /// The id the decision will have; its tenant is the tenant of the call.
    pub id: DecisionId,
    /// The enforcement point it arrived at.
    pub door: Door,
    /// Who calls.
    pub principal: Principal,
    /// What is to be done to what.
    pub target: Target,
    /// The parsed arguments.
    pub arguments: Arguments,
    /// What the meter of the enforcement point read for the rates of the caller's grant.
    pub rates: SmallVec<[RateReading; 2]>,
}

impl Call {
    /// The tenant whose policies decide.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        self.id.tenant()
    }
}

/// The kind of enforcement point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// AuthZEN evaluation for a PEP outside.
    Authzen,
    /// `bailiwick check` and the explanation of a decision: nothing is forwarded.
    Check,
    /// The egress proxy.
    Egress,
    /// The MCP gateway.
    Gateway,
    /// The token endpoint and task tokens.
    Issue,
    /// The workload API: what proves an identity to others.
    Spiffe,
}

impl Door {
    /// Stable name, as recorded.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authzen => "authzen",
            Self::Check => "check",
            Self::Egress => "egress",
            Self::Gateway => "gateway",
            Self::Issue => "issue",
            Self::Spiffe => "spiffe",
        }
    }
}

/// Who calls.
#[derive(Debug, Clone)]
pub enum Principal {
    /// The bearer of one of our access tokens, verified.
    Bearer(Bearer),
    /// An identity that authenticated otherwise (a client assertion at the token endpoint), or an operator's
    /// hypothetical call on its behalf.
    Identity {
        /// The identity.
        id: IdentityId,
        /// The task it wants to act under.
        task: Option<TaskId>,
    },
    /// An AuthZEN subject that an authenticated enforcement point vouches for.
    Named(Named),
}

/// A verified access token.
#[derive(Debug, Clone)]
pub struct Bearer {
    /// Its claims.
    pub claims: Arc<Claims>,
    /// SHA-256 of the token text.
    pub token_hash: Digest,
}

/// An AuthZEN subject.
#[derive(Debug, Clone)]
pub struct Named {
    /// The subject itself; `type` maps to a Cedar entity type.
    pub subject: NamedEntity,
    /// `context.task`, which a grant needs.
    pub task: Option<TaskId>,
    /// The identity of the enforcement point that asks.
    pub pep: IdentityId,
}

/// An AuthZEN entity: `{type, id, properties}`.
#[derive(Debug, Clone, Default)]
pub struct NamedEntity {
    /// `type`.
    pub kind: String,
    /// `id`.
    pub id: String,
    /// `properties`; enter policies as `untrusted_*` unless declared as supplied by that enforcement point.
    pub properties: Map<String, Value>,
}

/// What is to be done to what.
#[derive(Debug, Clone)]
pub enum Target {
    /// A request to a destination, through the egress proxy.
    Http {
        /// The destination; none where nobody added one for that place.
        server: Option<ServerName>,
        /// Method; `CONNECT` for what goes through without inspection.
        method: String,
        /// `host[:port]/path`, without the query.
        place: String,
    },
    /// Issue or renew access tokens for the caller's task (`token.issue`).
    Issue {
        /// What the tokens will say; `token` is the first one's.
        claims: Arc<Claims>,
        /// The ids (`jti`) of all of them.
        tokens: Vec<TokenId>,
        /// The token that is exchanged (RFC 8693); the caller bears the token of the actor then.
        subject: Option<Bearer>,
        /// What a workload showed of its issuer, as a digest: of the token, or of the signature of a request.
        evidence: Option<Digest>,
    },
    /// A method of an upstream MCP server.
    Mcp {
        /// Upstream server.
        server: ServerName,
        /// JSON-RPC method, e.g. `tools/call`.
        method: String,
        /// The item it names, if any.
        item: Option<(ItemKind, String)>,
    },
    /// An AuthZEN action on an AuthZEN resource.
    Named {
        /// `action.name`.
        action: String,
        /// `action.properties`.
        action_properties: Map<String, Value>,
        /// `resource`.
        resource: NamedEntity,
        /// `context`, without `task`.
        context: Map<String, Value>,
    },
}

/// What kind of thing an MCP method names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemKind {
    /// `prompts/get`: `params.name`.
    Prompt,
    /// `resources/read`, `resources/subscribe`: `params.uri`.
    Resource,
    /// `tools/call`: `params.name`.
    Tool,
}

/// The arguments of a call and the digest of the exact bytes that are forwarded.
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    /// Parsed by the strict reader; empty when the method has none.
    pub values: Map<String, Value>,
    /// SHA-256 of the argument bytes as they will be forwarded; `None` without arguments.
    pub digest: Option<Digest>,
}

/// One rate of the grant as the meter read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateReading {
    /// Position of the scope in its grant.
    pub scope: usize,
    /// Calls within the window, this one included.
    pub calls: u32,
    /// When the meter read it.
    pub at: Time,
}
