//! Tenant policies.

use serde::{Deserialize, Serialize};

/// `GET` and `PUT /v1/tenants/{tenant}/policies`: Cedar text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyText {
    /// Cedar policies.
    pub cedar: String,
}

/// Answer of `PUT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyWritten {
    /// Position of the entry in the state log.
    pub position: u64,
    /// SHA-256 of the text.
    pub digest: String,
}
