//! Versions and ranges as advisories write them.
use std::cmp::Ordering;

use crate::fail::{Fail, Outcome};

/// `1.2.3-pre`; what follows a `+` does not count.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Version {
    numbers: [u64; 3],
    /// How many of the numbers were written; `^1` and `^1.0.0` are different ranges.
    written: usize,
    pre: String,
}

impl Version {
    pub(super) fn parse(text: &str) -> Outcome<Self> {
        let bad = || Fail::broken(format!("`{text}` is not a version"));
        let plain = text.trim().split('+').next().unwrap_or_default();
        let (numbers, pre) = plain.split_once('-').unwrap_or((plain, ""));
        let parsed: Result<Vec<u64>, _> = numbers.split('.').map(str::parse).collect();
        let parsed = parsed.map_err(|_| bad())?;
        let at = |index: usize| parsed.get(index).copied().unwrap_or_default();
        if parsed.len() > 3 {
            return Err(bad());
        }
        Ok(Self {
            numbers: [at(0), at(1), at(2)],
            written: parsed.len(),
            pre: pre.to_owned(),
        })
    }

    fn order(&self, other: &Self) -> Ordering {
        let by_pre = || match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => pieces(&self.pre).cmp(&pieces(&other.pre)),
        };
        self.numbers.cmp(&other.numbers).then_with(by_pre)
    }

    /// The first version after a caret range, or after a tilde range.
    fn end(&self, is_tilde: bool) -> Self {
        let [major, minor, patch] = self.numbers;
        let numbers = match (is_tilde, self.written) {
            (true, 1) => [major + 1, 0, 0],
            (true, _) => [major, minor + 1, 0],
            (false, written) if major > 0 || written == 1 => [major + 1, 0, 0],
            (false, written) if minor > 0 || written == 2 => [0, minor + 1, 0],
            (false, _) => [0, 0, patch + 1],
        };
        Self {
            numbers,
            written: 3,
            pre: String::new(),
        }
    }
}

/// Numbers in a pre-release count as numbers and come before words.
fn pieces(pre: &str) -> Vec<(bool, u64, String)> {
    let piece = |part: &str| match part.parse() {
        Ok(number) => (false, number, String::new()),
        Err(_) => (true, 0, part.to_owned()),
    };
    pre.split('.').map(piece).collect()
}

/// Whether one of the ranges between semicolons holds the version.
pub(super) fn matches_any(ranges: &str, version: &Version) -> Outcome<bool> {
    for range in ranges.split(';').map(str::trim).filter(|range| !range.is_empty()) {
        let mut holds = true;
        for part in range.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            holds &= matches_one(part, version)?;
        }
        if holds {
            return Ok(true);
        }
    }
    Ok(false)
}

fn matches_one(part: &str, version: &Version) -> Outcome<bool> {
    if part == "*" {
        return Ok(true);
    }
    let operator = [">=", "<=", ">", "<", "=", "^", "~"]
        .into_iter()
        .find(|operator| part.starts_with(operator));
    let operand = Version::parse(part.trim_start_matches(['>', '<', '=', '^', '~', ' ']))?;
    let order = version.order(&operand);
    Ok(match operator {
        Some(">=") => order.is_ge(),
        Some("<=") => order.is_le(),
        Some(">") => order.is_gt(),
        Some("<") => order.is_lt(),
        Some("=") => order.is_eq(),
        other => order.is_ge() && version.order(&operand.end(other == Some("~"))).is_lt(),
    })
}
