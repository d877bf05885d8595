//! Kill, suspend, resume.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::node::NodeEnd;

/// What a kill selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SelectorKind {
    /// Every identity with this `agent` label.
    Agent,
    /// The installation.
    All,
    /// One identity, by id or name.
    Identity,
    /// Everything derived from one issuer.
    Issuer,
    /// Every identity of one owner (team).
    Owner,
    /// One upstream server.
    Server,
    /// One task.
    Task,
    /// A whole tenant.
    Tenant,
    /// One access token, by `jti`.
    Token,
    /// One tool, as `server:tool`.
    Tool,
}

/// How far a scope is contained, the mildest first. All but `killed` are lifted by a resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Nothing is stopped; the record of each decision names the mark.
    Observe,
    /// What is not known to only read is refused.
    ReadOnly,
    /// What leaves for another machine is refused.
    NoEgress,
    /// Everything is refused until a resume.
    Frozen,
    /// Everything is refused for ever.
    Killed,
}

impl Level {
    /// The level of a mark with this effect, as marks and receipts name it.
    #[must_use]
    pub fn of_effect(effect: &str) -> Option<Self> {
        Some(match effect {
            "kill" => Self::Killed,
            "no-egress" => Self::NoEgress,
            "observe" => Self::Observe,
            "read-only" => Self::ReadOnly,
            "suspend" => Self::Frozen,
            _ => return None,
        })
    }

    /// Its name, as `--level` takes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Frozen => "frozen",
            Self::Killed => "killed",
            Self::NoEgress => "no-egress",
            Self::Observe => "observe",
            Self::ReadOnly => "read-only",
        }
    }

    /// What it does to the calls under its scope, in one sentence.
    #[must_use]
    pub const fn does(self) -> &'static str {
        match self {
            Self::Observe => "refuses nothing: every call goes on, and its record names the mark",
            Self::ReadOnly => "refuses calls that are not known to only read; reading goes on",
            Self::NoEgress => "refuses calls that leave for another machine; what stays on this one goes on",
            Self::Frozen => "refuses every call until a resume",
            Self::Killed => "refuses every call, for ever",
        }
    }

    /// Whether every call under its scope is refused; a milder level lets a part of them go on.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        matches!(self, Self::Frozen | Self::Killed)
    }
}

/// `POST /v1/tenants/{tenant}/kill` and `/v1/all-tenants/kill`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KillRequest {
    /// What sort of thing.
    pub scope: SelectorKind,
    /// Which one; empty for `tenant` and `all`.
    #[serde(default)]
    pub name: String,
    /// Why; recorded.
    pub reason: String,
    /// How far; without it `killed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// The same as `level: frozen`.
    #[serde(default)]
    pub suspend: bool,
    /// Only tell what would stop.
    #[serde(default)]
    pub dry_run: bool,
    /// A sole operator's recorded waiver of the second signature for issuer, tenant and all.
    #[serde(default)]
    pub break_glass: bool,
}

/// Why an irreversible kill of an issuer, a tenant or everything is not done by one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecondOperator {
    /// There is one operator: it is refused without `break_glass`.
    BreakGlass,
    /// It freezes at once and waits until another operator signs.
    Signs,
}

/// What a kill would stop.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DryRun {
    /// What would be stopped, in words, such as `server files`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// How far; absent where it is a resume that is told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// What that level does to the calls under the scope.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub does: String,
    /// Whether it waits, frozen, for a second operator's signature, or takes a sole operator's `break_glass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_operator: Option<SecondOperator>,
    /// Levels that a resume would lift.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lifts: Vec<Level>,
    /// Identities, by id: at most 1,000 of them. Of a server or a tool, none stops: see `users`.
    pub identities: Vec<String>,
    /// Of a server or a tool: identities with an open task that may call it, by id, at most 1,000 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// How many identities in all.
    #[serde(default)]
    pub identity_count: u64,
    /// Open tasks, by id: at most 1,000 of them.
    pub tasks: Vec<String>,
    /// How many open tasks in all.
    #[serde(default)]
    pub task_count: u64,
    /// Names of the identities and purposes of the tasks, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
    /// Identities that act by delegation from it, and lose that, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub descendants: Vec<String>,
    /// Third-party credentials that they prove themselves with, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<String>,
    /// The node whose decision log tokens and calls were read from; what others issued or permitted is in theirs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub read_at: String,
    /// Other nodes of the installation, whose logs were not read.
    #[serde(default)]
    pub unread_nodes: u64,
    /// Access tokens issued at that node within the last hour that have not expired, by `jti`; of a server or a tool,
    /// those of the tasks that may call it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<String>,
    /// Calls that node permitted within the last hour.
    #[serde(default)]
    pub calls_last_hour: u64,
    /// The same by server, or by action where there is none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub calls_by: BTreeMap<String, u64>,
    /// Whether the log was read for the whole hour; a long one is read in part.
    #[serde(default)]
    pub is_whole_hour: bool,
    /// What the stop would not reach, or could not be known to have reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreached: Vec<crate::ResidueItem>,
    /// Calls in flight now.
    pub calls_in_flight: u64,
    /// Whether it can be undone.
    pub reversible: bool,
}

/// One enforcement point's measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointReading {
    /// Enforcement point.
    pub point: String,
    /// Last byte of the kill received → first decision there that read the mark, microseconds.
    pub refusal_us: u64,
}

/// What a kill did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillReceipt {
    /// Scope in words.
    pub scope: String,
    /// `kill`, `suspend`, `no-egress`, `read-only`, `observe` or `resume`.
    pub effect: String,
    /// Whether `resume` lifts it.
    #[serde(default)]
    pub reversible: bool,
    /// The epoch it holds from.
    pub epoch: u64,
    /// Position in the state log.
    pub position: u64,
    /// Received → deny in memory, microseconds.
    pub denied_us: u64,
    /// Received → durable in kill journal and state log, microseconds.
    pub committed_us: u64,
    /// Calls in flight that were cancelled.
    pub cancelled_calls: u64,
    /// Id of its receipt; there is one of what an operator stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<u64>,
    /// Frozen, and killed as soon as a second operator signs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
    /// Probes of each enforcement point.
    pub points: Vec<PointReading>,
    /// Committed → no node permits any more what this forbids and the witness outside the data folder has the epoch,
    /// microseconds; absent while that is not confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contained_us: Option<u64>,
    /// Each node's part in that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeEnd>,
    /// What stopped; on a resume, what runs again unless something else holds it.
    pub stopped: DryRun,
    /// On a resume, the levels that were lifted, such as `frozen` and `read-only`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lifted: Vec<Level>,
    /// On a resume, the marks that still stop the scope, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub still: Vec<String>,
}

/// `GET /v1/tenants/{tenant}/marks` and `/v1/all-tenants/marks`: what is stopped right now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Tenant; absent for the installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Scope in words, such as `agent report-writer`.
    pub scope: String,
    /// Name of the identity, or purpose of the task, where the scope is an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `kill`, `suspend`, `no-egress`, `read-only` or `observe`.
    pub effect: String,
    /// What that does to the calls under the scope.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub does: String,
    /// Whether `resume` lifts it.
    pub reversible: bool,
    /// When; absent while it is only in the memory and the kill journal of this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The epoch it holds from.
    pub epoch: u64,
    /// Who ordered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The name of that operator, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_name: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Index of its entry in the state log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
}
