//! The count.

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
    /// Time of the entry at that position.
    pub as_of: String,
    /// Per kind.
    pub kinds: Vec<KindCount>,
    /// How it was found, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained: Option<CountExplained>,
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
