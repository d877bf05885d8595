//! The stable codes, for the reference page and for programs: this table, and the denials, which know their own
//! meaning. A test reads the sources: what is used is listed here, and what is listed is used.

use bailiwick_decide::DenyReason;
use serde::Serialize;

/// A stable code.
#[derive(Debug, Clone, Serialize)]
pub struct Code {
    /// The code.
    pub code: &'static str,
    /// `denial`, `refusal` or `error`.
    pub sort: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// Every code of a denial, a refusal or an error, in the order of the alphabet.
#[must_use]
pub fn codes() -> Vec<Code> {
    let denials = DenyReason::ALL.into_iter().map(|reason| Code {
        code: reason.code(),
        sort: "denial",
        meaning: reason.meaning(),
    });
    let others = OTHERS.lines().filter_map(|line| {
        let mut cells = line.splitn(3, '|');
        Some(Code {
            code: cells.next()?,
            sort: cells.next()?,
            meaning: cells.next()?,
        })
    });
    let mut codes: Vec<Code> = denials.chain(others).collect();
    codes.sort_by_key(|c| c.code);
    codes
}

/// Code, sort and meaning of what is not decided by the decision point, a line each.
const OTHERS: &str = include_str!("../../../../content/codes.txt");
