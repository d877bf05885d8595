//! Tasks, OAuth clients, task tokens.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `POST /v1/tenants/{tenant}/tasks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTask {
    /// Identity id or name.
    pub identity: String,
    /// What the work is.
    pub purpose: String,
    /// Scopes in the grammar, e.g. `filesystem:read_text_file(path under "/srv/in")`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub can: Vec<String>,
    /// The same as RFC 9396 objects of type `bailiwick_call`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorization_details: Vec<Value>,
    /// How long the task may last, seconds.
    pub for_secs: u64,
    /// Who asked for it; the operator when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// Ids or names of the identities that may act for this one with a token of the task (RFC 8693).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_act: Vec<String>,
    /// Whether a token is issued at once.
    #[serde(default)]
    pub issue: bool,
    /// The first heartbeat: when the task is closed unless the next one comes, seconds from now, 2 to 300. Without it a
    /// task whose opener ends before its first word stays open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_secs: Option<u64>,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Id.
    pub id: String,
    /// Tenant.
    pub tenant: String,
    /// Identity.
    pub identity: String,
    /// Its name, for people; absent when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_name: Option<String>,
    /// Grant.
    pub grant: String,
    /// Purpose.
    pub purpose: String,
    /// Who asked.
    pub requested_by: String,
    /// Scopes in the grammar.
    pub can: Vec<String>,
    /// Begin.
    pub opens_at: String,
    /// End.
    pub closes_at: String,
    /// `open` or `closed`.
    pub state: String,
    /// What holds now, stops and times taken into account: `open`, `waiting`, `lapsed`, `closed`, `killed`, `suspended`, `expired`.
    #[serde(default)]
    pub effective: String,
    /// The mark that stops it, such as `kill of agent report-writer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<String>,
    /// Identities that may act for this one with a token of the task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_act: Vec<String>,
}

/// Answer of `POST …/tasks`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedTask {
    /// The task.
    pub task: Task,
    /// Its first token, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
}

/// An access token as the token endpoint gives it (RFC 6749 §5.1).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The token.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// Seconds.
    pub expires_in: u64,
    /// Coarse scopes.
    pub scope: String,
    /// What kind of token an exchange gave (RFC 8693 §2.2.1); absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_token_type: Option<String>,
    /// What the token allows, when it was asked for with details (RFC 9396 §7); absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_details: Option<Value>,
    /// What the next one is got with (RFC 6749 §6); absent where tokens are asked for anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
}

/// `POST …/tasks/{id}/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenBatchRequest {
    /// How many, 1 to 256.
    pub count: u32,
}

/// Answer of `POST …/tasks/{id}/tokens`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBatch {
    /// The tokens.
    pub tokens: Vec<Token>,
    /// The decision that issued them.
    pub decision: String,
}

/// `POST …/tasks/{id}/close`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseTask {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST …/tasks/{id}/heartbeat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskHeartbeat {
    /// When the task is closed unless the next heartbeat comes, seconds from now, 2 to 300.
    pub secs: u64,
}

/// `POST /v1/tenants/{tenant}/clients`: registers a public key for `private_key_jwt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewClient {
    /// Identity id or name.
    pub identity: String,
    /// Public JWK.
    pub jwk: Value,
    /// What its tokens are bound to: `dpop`, `mtls` or `none`. When absent `mtls` for a client with a certificate, and
    /// `dpop` for every other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// Thumbprint of its certificate, as `x5t#S256` is written: with it the client authenticates over TLS (RFC 8705).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Expiry, RFC 3339; the identity's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// An OAuth client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// `client_id`.
    pub client_id: String,
    /// Identity.
    pub identity: String,
    /// Its name, for people; absent when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_name: Option<String>,
    /// Algorithm of its assertions.
    pub algorithm: String,
    /// What its tokens are bound to: `dpop`, `mtls` or `none`.
    #[serde(default)]
    pub proof: String,
    /// Thumbprint of its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Registered.
    pub created_at: String,
    /// Ends.
    pub expires_at: String,
}

/// `POST …/clients/{id}/remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveClient {
    /// Why.
    pub reason: String,
}
