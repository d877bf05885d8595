//! Logs and node health.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One of the logs of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedLog {
    /// `state` or `decisions`.
    pub log: String,
    /// Origin line of its checkpoints.
    pub origin: String,
    /// Verifier key (C2SP signed-note form).
    pub vkey: String,
    /// Sequenced entries.
    pub sequenced: u64,
    /// Entries covered by the published checkpoint.
    pub integrated: u64,
}

/// An entry with its opened payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Index.
    pub index: u64,
    /// Whose it is; absent for the installation's own, and for a tenant that was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The leaf.
    pub leaf: Value,
    /// The payload, for those who may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// By id, what the identities and operators of the payload are called today.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
}

/// What an older service, which makes no drills, leaves out.
const fn sound() -> bool {
    true
}

/// `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHealth {
    /// `ready` or `not-ready`.
    pub status: String,
    /// Store answers.
    pub store: bool,
    /// Keys are open.
    pub keys: bool,
    /// Decision log takes records.
    pub decision_log: bool,
    /// The last drill of the kill switch, if there was one, saw every enforcement point refuse.
    #[serde(default = "sound")]
    pub kill_switch: bool,
    /// Revocation epoch.
    pub epoch: u64,
    /// State-log position.
    pub position: u64,
    /// This node.
    pub node: String,
    /// Whether the word of the store is young enough to answer on.
    pub fresh: bool,
    /// How old it is, milliseconds.
    pub age_ms: u64,
    /// The node that leads, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// Nodes that said that they answer.
    pub live_nodes: u64,
}
