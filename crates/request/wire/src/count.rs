//! The count.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Numbers per state of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StateCount {
    /// In probation.
    pub probation: u64,
    /// Active.
    pub active: u64,
    /// Suspended.
    pub suspended: u64,
    /// Retired.
    pub retired: u64,
}

/// One kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindCount {
    /// Kind.
    pub kind: String,
    /// Registered identities.
    pub registered: StateCount,
    /// Shadow identities.
    pub shadow: StateCount,
}

/// The exact number, and where it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Tenant, or `all-tenants`.
    pub tenant: String,
    /// Probation or active, registered and shadow.
    pub total: u64,
    /// Of these, registered.
    pub registered: u64,
    /// Of these, shadow.
    pub shadow: u64,
    /// Suspended, not in the total.
    pub suspended: u64,
    /// Retired, not in the total.
    pub retired: u64,
    /// Employees, for the ratio.
    pub employees: u64,
    /// Position of the state log at which this holds.
    pub position: u64,
    /// Time of the last entry before that position; none at position 0, before the first entry.
    pub as_of: Option<String>,
    /// Of the total, how many are past their expiry, so that their calls are denied. Known for the present alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired: Option<u64>,
    /// Of the total, how many a mark holds back, by `killed`, `suspended`, `no-egress` and `read-only`: a mark on their
    /// tenant, issuer or server changes no state, so they count. Known for the present alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held: BTreeMap<String, u64>,
    /// Per kind.
    pub kinds: Vec<KindCount>,
    /// Per tenant, where all are counted; at most the first 1,000 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<TenantCount>,
    /// How it was found, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained: Option<CountExplained>,
}

impl Count {
    /// The states of all kinds and origins together; probation and active are the total.
    #[must_use]
    pub fn split(&self) -> StateCount {
        let mut sum = StateCount::default();
        for states in self.kinds.iter().flat_map(|k| [k.registered, k.shadow]) {
            sum.probation += states.probation;
            sum.active += states.active;
            sum.suspended += states.suspended;
            sum.retired += states.retired;
        }
        sum
    }
}

/// One tenant among all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantCount {
    /// Tenant.
    pub tenant: String,
    /// Probation or active.
    pub total: u64,
    /// The states.
    pub states: StateCount,
    /// Employees, for the ratio.
    pub employees: u64,
}

/// How a count was found and re-checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountExplained {
    /// The query in words.
    pub query: String,
    /// The total found by replaying the log to the position.
    pub recount: u64,
    /// Whether both are equal in every cell.
    pub equal: bool,
    /// Log entries that were replayed.
    pub entries: u64,
    /// What the number covers.
    pub coverage: String,
}
