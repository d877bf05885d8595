//! `bailiwick check`: a decision and why, without acting.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `POST /v1/tenants/{tenant}/check`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// Identity id or name.
    pub principal: String,
    /// MCP method (`tools/call`) or any AuthZEN action name.
    pub action: String,
    /// `server:tool`, or any AuthZEN resource as `type/id`.
    pub resource: String,
    /// Task whose grant is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Arguments of the call.
    #[serde(default)]
    pub args: Map<String, Value>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckAnswer {
    /// `permit`, `deny` or `hold`.
    pub effect: String,
    /// Code of the denial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why, in one sentence.
    pub reason: String,
    /// Policies that determined it.
    pub policies: Vec<String>,
    /// Revocation epoch.
    pub epoch: u64,
    /// State-log position.
    pub position: u64,
    /// The recorded decision.
    pub decision: String,
}
