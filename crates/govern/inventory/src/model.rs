//! What the inventory holds.

use bailiwick_base::{
    AgentLabel, Composition, CredentialId, Digest, IdentityId, ServerName, TenantId, Time, ToolName,
};

/// A firm that is looked after; the isolation border.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Slug.
    pub id: TenantId,
    /// Name for people.
    pub name: String,
    /// Employees, for the ratio of machine identities to people.
    pub employees: u32,
    /// The pseudonym that log leaves carry instead of the slug: 16 hexadecimal digits.
    pub reference: String,
    /// Whether it is served.
    pub state: TenantState,
    /// When it was added.
    pub created_at: Time,
}

/// Whether a tenant is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TenantState {
    /// Served.
    Active,
    /// Closed for good; the slug is never reused.
    Closed,
}

/// What sort of non-human identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Actions are chosen by a model at run time.
    Agent,
    /// A static key of an application.
    ApiKey,
    /// A job of a build or deployment pipeline.
    CiJob,
    /// A scheduled or triggered job of a cloud platform.
    CloudRunJob,
    /// An MCP server, ours to reach or somebody else's.
    McpServer,
    /// A consent that lets one application act at another.
    OauthGrant,
    /// An account of a directory or platform that no person logs in to.
    ServiceAccount,
    /// A webhook or integration that calls in from outside.
    Webhook,
    /// Running software that can be attested.
    Workload,
}

/// The accountable human or team.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Team or person.
    pub team: String,
    /// Where to reach them (address or handle).
    pub contact: String,
}

/// Labels that join and group identities.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    /// The logical agent this identity belongs to.
    pub agent: Option<AgentLabel>,
    /// The workflow it takes part in.
    pub workflow: Option<String>,
}

/// How the identity came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Registered by its owner or an operator.
    Registered,
    /// Observed and not registered.
    Shadow,
}

/// Where an identity stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Registered, its baseline is not trusted yet.
    Probation,
    /// In service.
    Active,
    /// Stopped; can be resumed to what it was.
    Suspended {
        /// Whether it was active (else in probation) before.
        was_active: bool,
        /// Why it was stopped.
        reason: String,
    },
    /// Ended; a tombstone remains.
    Retired {
        /// Why.
        reason: String,
    },
}

/// What an identity is declared to be made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composed {
    /// What holds now.
    pub present: Composition,
    /// What held before it changed; none when it never did.
    pub former: Option<Composition>,
    /// Since when.
    pub since: Time,
}

/// A registered non-human identity: one principal on one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Id, tenant included.
    pub id: IdentityId,
    /// What sort.
    pub kind: Kind,
    /// Name for people, unique among the living of a tenant.
    pub name: String,
    /// Platform it lives on (`bailiwick` for our own).
    pub platform: String,
    /// Who answers for it.
    pub owner: Owner,
    /// Application it belongs to.
    pub application: Option<String>,
    /// What it is for.
    pub purpose: String,
    /// Labels.
    pub labels: Labels,
    /// Registered or shadow.
    pub origin: Origin,
    /// Where it stands.
    pub state: State,
    /// What it is made of, where that is declared.
    pub composition: Option<Composed>,
    /// When it was made.
    pub created_at: Time,
    /// When it ends by itself.
    pub expires_at: Time,
    /// When its state last changed.
    pub changed_at: Time,
}

/// How an upstream server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// An HTTP service of others, which agents reach through the egress proxy.
    Destination {
        /// `https://host[:port]`, without a path.
        url: String,
        /// Address ranges (CIDR) that may be connected to although they are not public; recorded and shown.
        allow_addresses: Vec<String>,
        /// Whether `http:` is allowed; recorded and shown.
        allow_plaintext: bool,
        /// The header the secret is put in with (`Name: Bearer {secret}`), with a credential only.
        header: Option<String>,
        /// Whether a task may be granted to go through without inspection; recorded and shown.
        tunnel: bool,
        /// Certificate (PEM) of the private CA that vouches for it; public roots when absent.
        ca: Option<String>,
    },
    /// A program that speaks MCP on its standard streams, started by the launcher.
    Exec {
        /// Absolute path of the program.
        program: String,
        /// Its arguments, never a shell line.
        args: Vec<String>,
        /// Files whose SHA-256 must match before a start: path and digest.
        digests: Vec<(String, Digest)>,
    },
    /// Streamable HTTP.
    Http {
        /// Endpoint.
        url: String,
        /// Address ranges (CIDR) that may be connected to although they are not public; recorded and shown.
        allow_addresses: Vec<String>,
        /// Whether `http:` is allowed; recorded and shown.
        allow_plaintext: bool,
    },
}

/// Whether a tool definition may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PinState {
    /// Seen, but changed since it was pinned: hidden and refused.
    Drifted,
    /// Seen, but never pinned: hidden and refused.
    New,
    /// As an operator saw it when the server was added or pinned.
    Pinned,
    /// Pinned, and an operator says that it only reads: it may be called where a mark lets nothing else happen.
    Reads,
}

/// One tool of an upstream server and the digest of its whole definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolPin {
    /// Name.
    pub name: ToolName,
    /// SHA-256 of the canonical definition (name, title, description, schemas, annotations).
    pub digest: Digest,
    /// The canonical definition, for the operator's comparison.
    pub definition: Vec<u8>,
    /// Usable or not.
    pub state: PinState,
}

/// An MCP server behind the gateway, or a destination behind the egress proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamServer {
    /// Tenant it belongs to.
    pub tenant: TenantId,
    /// Its name in URLs and scopes.
    pub name: ServerName,
    /// Its own identity (kind MCP server; API key for a destination).
    pub identity: IdentityId,
    /// How it is reached.
    pub connection: Connection,
    /// The sealed credential it is opened with, if any.
    pub credential: Option<CredentialId>,
    /// Its tools as pinned.
    pub pins: Vec<ToolPin>,
    /// When it was added.
    pub created_at: Time,
}
