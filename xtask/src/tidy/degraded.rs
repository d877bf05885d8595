//! `docs/degraded.toml`: what still works when a part is lost, cell by cell, and the tests that show it. `gen` writes
//! the readable `docs/degraded.md` from it.
use toml::Value;

use super::{Finding, House, invariants, settings};
use crate::fail::{Fail, Outcome};
use crate::repo::Repo;

const RULE: &str = "degraded";
const SOURCE: &str = "docs/degraded.toml";

/// What may be lost. All of them must be there, so that deleting one is not a way to pass.
pub const LOST: [&str; 10] = [
    "audit-store",
    "database",
    "event-bus",
    "signing-key",
    "clock",
    "policy",
    "approver",
    "witness",
    "sink",
    "issuer",
];
/// What is asked meanwhile, in the order of the columns.
pub const ASKED: [&str; 5] = ["call", "issue", "kill", "read", "audit"];

/// One cell of the table.
#[derive(Debug)]
pub struct DegradedCell {
    pub asked: &'static str,
    pub promise: String,
    pub tests: Vec<String>,
    /// Why nothing can show it yet: what it needs does not exist.
    pub lacks: Option<String>,
}

/// One row of the table.
#[derive(Debug)]
pub struct DegradedMode {
    pub id: String,
    pub title: String,
    pub cells: Vec<DegradedCell>,
}

/// Every row.
#[derive(Debug)]
pub struct Degraded {
    pub modes: Vec<DegradedMode>,
}

impl Degraded {
    pub fn read(repo: &Repo) -> Outcome<Self> {
        let table = settings::table(repo, SOURCE)?;
        let modes = table.get("mode").and_then(Value::as_array);
        let modes = modes.map_or(&[][..], Vec::as_slice).iter().map(mode);
        Ok(Self {
            modes: modes.collect::<Outcome<_>>()?,
        })
    }
}

fn text(value: &Value, key: &str) -> Outcome<String> {
    let found = value.get(key).and_then(Value::as_str);
    found
        .map(str::to_owned)
        .ok_or_else(|| Fail::broken(format!("`{SOURCE}`: an entry lacks `{key}`")))
}

fn mode(value: &Value) -> Outcome<DegradedMode> {
    let cells = ASKED
        .into_iter()
        .filter_map(|asked| value.get(asked).map(|of| cell(asked, of)));
    Ok(DegradedMode {
        id: text(value, "id")?,
        title: text(value, "lost")?,
        cells: cells.collect::<Outcome<_>>()?,
    })
}

fn cell(asked: &'static str, value: &Value) -> Outcome<DegradedCell> {
    let tests = value.get("tests").and_then(Value::as_array);
    let tests = tests.map_or(&[][..], Vec::as_slice).iter();
    Ok(DegradedCell {
        asked,
        promise: text(value, "promise")?,
        tests: tests.filter_map(Value::as_str).map(str::to_owned).collect(),
        lacks: value.get("lacks").and_then(Value::as_str).map(str::to_owned),
    })
}

pub(super) fn degraded(house: &House) -> Outcome<Vec<Finding>> {
    let table = Degraded::read(&house.repo)?;
    let mut said = Vec::new();
    for id in LOST {
        if !table.modes.iter().any(|mode| mode.id == id) {
            said.push(format!("the mode `{id}` is missing"));
        }
    }
    for mode in &table.modes {
        if !LOST.contains(&mode.id.as_str()) {
            said.push(format!("`{}` is no mode of the table", mode.id));
        }
        for asked in ASKED {
            match mode.cells.iter().find(|cell| cell.asked == asked) {
                Some(cell) => said.extend(of_cell(&house.repo, &mode.id, cell)?),
                None => said.push(format!("`{}` lacks the cell `{asked}`", mode.id)),
            }
        }
    }
    let finding = |message| Finding {
        rule: RULE,
        place: SOURCE.to_owned(),
        message,
    };
    Ok(said.into_iter().map(finding).collect())
}

fn of_cell(repo: &Repo, mode: &str, cell: &DegradedCell) -> Outcome<Vec<String>> {
    let place = format!("`{mode}.{}`", cell.asked);
    let mut said = Vec::new();
    match (&cell.lacks, cell.tests.as_slice()) {
        (None, []) => said.push(format!(
            "{place} names no test: give `tests`, or say in `lacks` what it needs that does not exist yet"
        )),
        (Some(why), []) if why.trim().is_empty() => {
            said.push(format!("{place} says in `lacks` nothing that it lacks"));
        }
        (Some(_), [_, ..]) => said.push(format!(
            "{place} has tests and lacks something: it is one or the other"
        )),
        (Some(_), []) | (None, _) => {}
    }
    for test in &cell.tests {
        if let Some(message) = invariants::dead(repo, test)? {
            said.push(format!("{place}: {message}"));
        }
    }
    Ok(said)
}
