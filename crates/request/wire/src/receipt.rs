//! Receipts: what a kill did, where it was seen to hold, and what of it is not confirmed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::node::NodeEnd;

/// What is known of a thing that was to be stopped. There is no fourth answer, and no default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Known {
    /// It was seen to act after it had been stopped.
    Live,
    /// It was seen to be refused.
    Revoked,
    /// Neither was seen.
    Unconfirmed,
}

/// A place in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPlace {
    /// `state` or `decisions`.
    pub log: String,
    /// Index of the entry.
    pub index: u64,
    /// Time of the entry.
    pub at: String,
    /// The decision it records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// How a permitted call ended, where that was known: one that was `cancelled` may not have reached its server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

/// One enforcement point of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptPoint {
    /// Origin of the decision log it records in: its node.
    pub node: String,
    /// Enforcement point.
    pub point: String,
    /// What is known of it.
    pub known: Known,
    /// Last byte of the command received → first decision there that read the mark, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal_us: Option<u64>,
    /// When it said that it holds the mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<String>,
    /// The record of the refusal of a call that was made for this purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<LogPlace>,
    /// The last call under the scope that it permitted, as far back as was looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_permitted: Option<LogPlace>,
    /// Calls under the scope that it permitted after the command was durable.
    #[serde(default)]
    pub permitted_after: u64,
}

/// Something that a kill did not reach, or is not known to have reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResidueItem {
    /// `credential`, `lease`, `log`, `node`, `point`, `sidecar`, `svid` or `witness`.
    pub kind: String,
    /// Which one.
    pub id: String,
    /// Why it is not confirmed, and what would confirm it.
    pub detail: String,
    /// What is known of it.
    pub known: Known,
    /// Since when it is open.
    pub since: String,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// When it was confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<String>,
}

/// A kill that was asked for and waits for a second operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingKill {
    /// Who asked for it.
    pub by: String,
    /// When.
    pub asked_at: String,
    /// Who signed as the second one; absent while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// The receipt of the kill itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed: Option<u64>,
}

/// What a receipt says, as it is kept and as its digest is taken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReceiptBody {
    /// When the last byte of the command was here.
    pub pressed_at: String,
    /// Who gave it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Pressed → deny in memory, microseconds; absent where the command was carried out from the kill journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied_us: Option<u64>,
    /// Pressed → durable, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_us: Option<u64>,
    /// When every enforcement point was seen to hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contained_at: Option<String>,
    /// Committed → no node permits any more what this forbids, microseconds; absent where that was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contained_us: Option<u64>,
    /// Each node's part in that, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeEnd>,
    /// Calls in flight that were cancelled.
    #[serde(default)]
    pub cancelled_calls: u64,
    /// One line for each enforcement point of each node.
    #[serde(default)]
    pub points: Vec<ReceiptPoint>,
    /// What is not confirmed, and what was confirmed since.
    #[serde(default)]
    pub residue: Vec<ResidueItem>,
    /// The kill that this freeze stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingKill>,
    /// Whether the canary of a drill was killed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drill: bool,
    /// Index in the decision log of each node back to which was looked for permitted calls, by origin.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub looked_from: BTreeMap<String, u64>,
}

impl ReceiptBody {
    /// The worst of its lines: live before unconfirmed before revoked; what was not looked at is not confirmed.
    #[must_use]
    pub fn known(&self) -> Known {
        let open = self.residue.iter().filter(|item| item.closed_at.is_none());
        let lines = self.points.iter().map(|line| line.known);
        let lines: Vec<Known> = lines.chain(open.map(|item| item.known)).collect();
        if lines.contains(&Known::Live) {
            Known::Live
        } else if lines.contains(&Known::Unconfirmed) || self.looked_from.is_empty() {
            Known::Unconfirmed
        } else {
            Known::Revoked
        }
    }
}

/// `GET …/kills/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The epoch of its mark.
    pub id: u64,
    /// Scope in words.
    pub scope: String,
    /// `kill`, `suspend`, `no-egress`, `read-only` or `observe`.
    pub effect: String,
    /// Whether `resume` lifts it.
    pub reversible: bool,
    /// `pending`, `committed`, `open` (something is not confirmed) or `closed`.
    pub state: String,
    /// What is known of the whole: the worst of its lines.
    pub known: Known,
    /// When it was durable.
    pub committed_at: String,
    /// Index of the entry of its mark in the state log.
    pub position: u64,
    /// Index of the latest entry of the state log that names the digest of `document`.
    pub told: u64,
    /// What it says.
    pub body: ReceiptBody,
    /// What the operators that it names are called today, by `operator:ID`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
    /// What the digest in the entries is taken of, in canonical form (RFC 8785).
    pub document: Value,
}

/// `POST …/drills`: nothing is to be said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillRequest {}

/// `POST …/drills`: what one drill measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    /// The identity that was registered for it, and killed.
    pub canary: String,
    /// Id of the receipt.
    pub receipt: u64,
    /// When.
    pub at: String,
    /// Pressed → deny in memory, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied_us: Option<u64>,
    /// Pressed → durable, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_us: Option<u64>,
    /// One line for each enforcement point.
    pub points: Vec<ReceiptPoint>,
    /// Why the switch would not work today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// How often the first refusal of a drill took how long at one point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointHistogram {
    /// Enforcement point.
    pub point: String,
    /// Counts for each bound, and for what is above them all.
    pub counts: Vec<u64>,
}

/// `GET …/drills`: the drills that are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drills {
    /// How many.
    pub drills: u64,
    /// In how many a point was not seen to refuse.
    pub failed: u64,
    /// When the last one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// Why the switch would not work today, as the last drill of this process saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// When this process made a drill last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<String>,
    /// Upper ends of the histogram, microseconds.
    pub bounds_us: Vec<u64>,
    /// First refusals by enforcement point.
    pub points: Vec<PointHistogram>,
}

/// `POST …/kills/{id}/sign`: the second operator's word on a pending kill.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignRequest {
    /// Why; recorded.
    #[serde(default)]
    pub reason: String,
}
