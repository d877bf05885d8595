//! Upstream MCP servers.

use serde::{Deserialize, Serialize};

use crate::identity::Owner;

/// `POST /v1/tenants/{tenant}/servers`. Exactly one of `url`, `exec` and `destination`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewServer {
    /// Name in URLs and scopes.
    pub name: String,
    /// Streamable HTTP endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Absolute path of a program that speaks MCP on its standard streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<String>,
    /// Arguments of the program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// `FILE=SHA256` pairs that must match before each start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<String>,
    /// `https://host[:port]` of an HTTP service that agents reach through the egress proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Methods of a destination that may be granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Header that a destination's secret is put in with: `Name: Bearer {secret}`, or `{basic:USER}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Whether a task may be granted to go through to a destination without inspection (`CONNECT`).
    #[serde(default)]
    pub tunnel: bool,
    /// Certificate (PEM) of the private CA that vouches for a destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_ca: Option<String>,
    /// CIDR ranges that may be connected to although they are not public.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// Whether `http:` is allowed.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// The secret that opens it, base64; sealed on arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Instead, the name of a third-party credential: what its consumers are to use opens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_from: Option<String>,
    /// Owner of the server's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Purpose of the server's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// Expiry of the server's identity, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A tool of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Name.
    pub name: String,
    /// `pinned`, `reads` (pinned, and known to only read), `drifted` or `new`.
    pub state: String,
    /// What holds now, stops and times taken into account: the state, or `killed`, `suspended`.
    #[serde(default)]
    pub effective: String,
    /// The mark that stops it, such as `kill of agent report-writer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<String>,
    /// SHA-256 of the canonical definition.
    pub digest: String,
}

/// An upstream server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Name.
    pub name: String,
    /// Tenant.
    pub tenant: String,
    /// Its identity.
    pub identity: String,
    /// What holds now, stops and times taken into account: `active`, `expired`, `retired`, `killed`, `suspended`.
    #[serde(default)]
    pub effective: String,
    /// The mark that stops it, such as `kill of agent report-writer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// `FILE=SHA256` that must match before each start of the program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<String>,
    /// Endpoint or program.
    pub connection: String,
    /// Flags that widen what it may connect to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowances: Vec<String>,
    /// Id of the credential that opens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Where agents reach it.
    pub endpoint: String,
    /// Tools.
    pub tools: Vec<Tool>,
    /// Added.
    pub created_at: String,
}

/// `POST …/servers/{name}/credential`: exactly one of both.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplaceServerCredential {
    /// The secret that opens it from now on, base64; sealed on arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The name of a third-party credential: what its consumers are to use opens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_from: Option<String>,
}

/// `POST …/servers/{name}/reads`: which of its pinned tools only read. It replaces what was said before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadsRequest {
    /// These tools.
    #[serde(default)]
    pub tools: Vec<String>,
    /// And those whose pinned definition says `readOnlyHint`: the server's word, taken over by the operator.
    #[serde(default)]
    pub hinted: bool,
}

/// `POST …/servers/{name}/pin`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinRequest {
    /// Only these tools; all when empty.
    #[serde(default)]
    pub tools: Vec<String>,
}
