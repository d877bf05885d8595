//! The stable codes of denials, for the reference page and for programs.

use bailiwick_decide::DenyReason;
use serde::Serialize;

/// A stable code.
#[derive(Debug, Clone, Serialize)]
pub struct Code {
    /// The code.
    pub code: &'static str,
    /// `denial`.
    pub sort: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// Every code of a denial.
#[must_use]
pub fn codes() -> Vec<Code> {
    let mut codes: Vec<Code> = DenyReason::ALL
        .into_iter()
        .map(|reason| Code {
            code: reason.code(),
            sort: "denial",
            meaning: reason.meaning(),
        })
        .collect();
    codes.sort_by_key(|c| c.code);
    codes
}
