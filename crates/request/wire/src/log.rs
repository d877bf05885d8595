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
    /// Index of the first entry that is kept.
    #[serde(default)]
    pub begins: u64,
    /// The last pruning, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<PrunedLog>,
    /// Days for which this node keeps decisions before it prunes them by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<u64>,
    /// Who holds everything as it is, and why: nothing is pruned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legal_hold: Option<String>,
}

/// Why a log begins where it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunedLog {
    /// When it was pruned.
    pub at: String,
    /// Who did it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Index of the entry of the state log that recorded it.
    pub entry: u64,
    /// When the newest entry that is gone was recorded.
    pub newest_at: String,
    /// Digest of what stands for the entries that are gone: that entry names it.
    pub base: String,
}

/// Removes the oldest entries of a decision log. Give one of `keep_since` and `up_to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneLog {
    /// Everything from this time on stays (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_since: Option<String>,
    /// Everything from this index on stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<u64>,
    /// Why; recorded.
    pub reason: String,
    /// Only says what would go.
    #[serde(default)]
    pub dry_run: bool,
}

/// What goes, or would go. Whole segments only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPruning {
    /// `decisions`.
    pub log: String,
    /// Origin of the log.
    pub origin: String,
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Index of the first entry before.
    pub from: u64,
    /// Index of the first entry that is kept.
    pub begins: u64,
    /// Entries that go.
    pub entries: u64,
    /// Segment files that go.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the newest entry that goes was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_at: Option<String>,
    /// What kept more than was asked for.
    pub needed: Vec<String>,
    /// Digest of what stands for the entries that go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
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
    /// `ready`, `not-ready` or `fenced`.
    pub status: String,
    /// An operator fenced this node, or it was started again elsewhere: it refuses everything until it is let in with
    /// `bailiwick node readmit` and started again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fenced: bool,
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
    /// Sidecars that hear at this node.
    #[serde(default)]
    pub sidecars: u64,
    /// Sidecars of the installation that nobody heard within their lease, and that did not leave: they refuse everything,
    /// and a stop is not confirmed by them.
    #[serde(default)]
    pub silent_sidecars: u64,
}
