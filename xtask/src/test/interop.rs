//! Lanes with foreign programs, listed in `tests/interop/lanes.toml`:
//!
//! ```toml
//! [[lane]]
//! name = "sdks"
//! needs = ["binary", "node"]       # also "faketime", "go", "ip", "postgres", "python", "softhsm", "strace"
//! command = ["node", "--test"]    # runs in tests/interop, with the variables of `Peers::export`
//! counts = "node"                 # whose way of printing results: cargo, exit, go, node, plain
//! ```
use std::process::Command;

use toml::{Table, Value};

use super::setup::{INTEROP, Peers};
use super::tally::{self, Counts, Tally};
use super::{Report, timed};
use crate::fail::{Fail, Outcome};
use crate::process;
use crate::repo::Repo;

const LIST: &str = "tests/interop/lanes.toml";
const BINARY: &str = "binary";

struct Lane {
    name: String,
    needs: Vec<String>,
    command: Vec<String>,
    counts: Counts,
}

pub(super) fn lanes(repo: &Repo, peers: &Peers) -> Vec<Report> {
    let listed = match read(repo) {
        Ok(listed) => listed,
        Err(fail) => return vec![timed("interop", || Err(fail))],
    };
    let mut reports = Vec::new();
    if listed
        .iter()
        .any(|lane| lane.needs.iter().any(|need| need == BINARY))
    {
        reports.push(timed(BINARY, || build(repo)));
    }
    reports.extend(
        listed
            .iter()
            .map(|lane| timed(&format!("interop {}", lane.name), || run(repo, peers, lane))),
    );
    reports
}

/// After the Rust tests this finds the binary ready.
fn build(repo: &Repo) -> Outcome<Tally> {
    crate::generate::built_binary(repo).map(|_| Tally::of(true))
}

fn run(repo: &Repo, peers: &Peers, lane: &Lane) -> Outcome<Tally> {
    if let Some(lack) = lane
        .needs
        .iter()
        .filter(|need| *need != BINARY)
        .find_map(|need| peers.lacks(need))
    {
        return Err(lack);
    }
    let Some((program, arguments)) = lane.command.split_first() else {
        return Err(Fail::broken(format!(
            "`{LIST}`: `{}` has an empty command",
            lane.name
        )));
    };
    // `cargo` is the one that runs us, so that a lane may be a Rust test.
    let program = if program == "cargo" {
        process::cargo()
    } else {
        program.into()
    };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(repo.path(INTEROP));
    peers.export(&mut command);
    tally::run(&mut command, lane.counts, |_| {})
}

fn read(repo: &Repo) -> Outcome<Vec<Lane>> {
    if !repo.has(LIST) {
        return Err(Fail::missing(format!("there is no `{LIST}`")));
    }
    let table: Table = repo
        .read(LIST)?
        .parse()
        .map_err(|error| Fail::broken(format!("`{LIST}` is not TOML: {error}")))?;
    let lanes = table
        .get("lane")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    if lanes.is_empty() {
        return Err(Fail::broken(format!("`{LIST}` lists no lane")));
    }
    lanes.iter().map(lane).collect()
}

fn lane(value: &Value) -> Outcome<Lane> {
    let name = value
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let strings = |key: &str| -> Vec<String> {
        let list = value
            .get(key)
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let counts = value
        .get("counts")
        .and_then(Value::as_str)
        .and_then(Counts::parse);
    let counts = counts.ok_or_else(|| {
        Fail::broken(format!(
            "`{LIST}`: `counts` of `{name}` is not one of cargo, exit, go, node, plain"
        ))
    })?;
    Ok(Lane {
        name,
        needs: strings("needs"),
        command: strings("command"),
        counts,
    })
}
