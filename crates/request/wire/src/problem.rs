//! Problem details (RFC 9457).

use serde::{Deserialize, Serialize};

/// What went wrong, for programs (`code`) and for people (`detail`, `hint`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `about:blank`, or the page of the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short, the same for every problem of this code.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Stable code, e.g. `identity.owner-missing`.
    pub code: String,
    /// What happened here.
    pub detail: String,
    /// The next step.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}
