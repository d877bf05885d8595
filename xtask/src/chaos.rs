//! `cargo xtask chaos`: long runs that do not fit into the test command. Each appends to a committed
//! results file, so a run that was interrupted is gone on with by starting the next.
//!
//! - `durability [--lives N] [--seed S] [--release]`: kill -9 under 64 callers, three lists compared
//! - `kills [--runs N] [--seed S] [--nodes N] [--release]`: kills under load, each receipt against what was seen outside
//! - `faults`: every call of the service's disk with every fault, in process
//! - `planted [BUG]`: builds with a planted bug and expects the lanes to catch it
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fail::{Fail, Outcome};
use crate::generate;
use crate::process;
use crate::repo::Repo;
use crate::results::{RESULTS, next_seed, publish};
use crate::test::setup::Peers;

const LIVES: &str = "200";
const KILLS: &str = "1000";
/// Acknowledged calls that the median life must have for the run to mean something.
const MEDIAN_MIN: &str = "200";
const BUGS: [&str; 2] = ["ack-before-flush", "forward-before-record"];
/// What is run against a planted bug; one of them must fail.
const CATCHERS: [(&str, &[&str]); 2] = [
    ("flush-order", &["tests/e2e/flush-order.mjs"]),
    ("durability", &["tests/e2e/durability.mjs", "--lives", "12"]),
];

pub fn command(repo: &Repo, rest: &[String]) -> Outcome<bool> {
    match rest.split_first() {
        Some((run, rest)) if run == "durability" => durability(repo, rest),
        Some((run, [])) if run == "faults" => faults(repo),
        Some((run, rest)) if run == "kills" => kills(repo, rest),
        Some((run, rest)) if run == "planted" => planted(repo, rest),
        _ => Err(Fail::usage(
            "the runs are `durability`, `faults`, `kills` and `planted`",
        )),
    }
}

fn faults(repo: &Repo) -> Outcome<bool> {
    let (date, commit) = (today(repo)?, commit(repo)?);
    let results = repo.read(RESULTS)?;
    let of_commit = results.lines().filter(|line| line.contains(&commit));
    let begun: Vec<&str> = of_commit.collect();
    crate::fault_loop::run(repo, &begun.join("\n"), |range, figures, outcome| {
        let seed = next_seed(&repo.read(RESULTS)?);
        let line = format!("| {date} | {commit} | debug | {seed} | {range} | {figures} | {outcome} |\n");
        repo.write(RESULTS, &(repo.read(RESULTS)? + &line))
    })
}

fn durability(repo: &Repo, rest: &[String]) -> Outcome<bool> {
    let presets = [("--lives", LIVES), ("--median-min", MEDIAN_MIN)];
    recorded(repo, rest, "tests/e2e/durability.mjs", &presets)
}

fn kills(repo: &Repo, rest: &[String]) -> Outcome<bool> {
    recorded(repo, rest, "tests/e2e/kills.mjs", &[("--runs", KILLS)])
}

/// A lane with what it is not told otherwise, and its line in the results.
fn recorded(repo: &Repo, rest: &[String], script: &str, presets: &[(&str, &str)]) -> Outcome<bool> {
    let peers = Peers::prepare(repo);
    let mut arguments: Vec<String> = rest.iter().filter(|word| *word != "--release").cloned().collect();
    let binary = if arguments.len() < rest.len() {
        build(repo, &["--release"], None)?.join("release")
    } else {
        build(repo, &[], None)?.join("debug")
    };
    let mut preset = |name: &str, value: String| {
        if !rest.iter().any(|word| word == name) {
            arguments.extend([name.to_owned(), value]);
        }
    };
    for (name, value) in presets {
        preset(name, (*value).to_owned());
    }
    preset("--seed", next_seed(&repo.read(RESULTS)?).to_string());
    preset("--results", repo.path(RESULTS).to_string_lossy().into_owned());
    let mut run = lane(repo, &peers, &binary.join("bailiwick"), script)?;
    let passed = process::stream(run.args(arguments))?;
    publish(repo)?;
    Ok(passed)
}

fn planted(repo: &Repo, rest: &[String]) -> Outcome<bool> {
    let peers = Peers::prepare(repo);
    let good = build(repo, &[], None)?.join("debug").join("bailiwick");
    for (name, words) in CATCHERS {
        println!("\n== {name} without a bug");
        if !catcher(repo, &peers, &good, words)? {
            return Err(Fail::broken(format!(
                "`{name}` fails without a bug: it would catch anything"
            )));
        }
    }
    let mut all_caught = true;
    let mut lines = String::new();
    for bug in BUGS
        .into_iter()
        .filter(|bug| rest.is_empty() || rest.iter().any(|word| word == bug))
    {
        let binary = build(repo, &[], Some(bug))?.join("debug").join("bailiwick");
        let mut caught = Vec::new();
        for (name, words) in CATCHERS {
            println!("\n== {name} with {bug}: expected to fail");
            if !catcher(repo, &peers, &binary, words)? {
                caught.push(name);
            }
        }
        let outcome = match caught.as_slice() {
            [] => "NOT CAUGHT".to_owned(),
            names => format!("caught by {}", names.join(", ")),
        };
        all_caught &= !caught.is_empty();
        println!("\n{bug}: {outcome}");
        let (date, commit) = (today(repo)?, commit(repo)?);
        lines.push_str(&format!(
            "| {date} | {commit} | debug, planted {bug} | 1 | 12 | | {outcome} |\n"
        ));
    }
    repo.write(RESULTS, &(repo.read(RESULTS)? + &lines))?;
    publish(repo)?;
    Ok(all_caught)
}

fn catcher(repo: &Repo, peers: &Peers, binary: &Path, words: &[&str]) -> Outcome<bool> {
    let Some((script, arguments)) = words.split_first() else {
        return Err(Fail::broken("a lane without a command"));
    };
    process::stream(lane(repo, peers, binary, script)?.args(arguments))
}

/// Builds into a folder of its own where a bug is planted, so that no good artefact is touched. Only our own
/// crates see the bug: what they depend on is built once for all of them.
fn build(repo: &Repo, arguments: &[&str], bug: Option<&str>) -> Outcome<PathBuf> {
    let mut folder = generate::target_folder(repo);
    let mut cargo = Command::new(process::cargo());
    if let Some(bug) = bug {
        folder = folder.join("planted");
        cargo
            .env("RUSTC_WORKSPACE_WRAPPER", wrapper(&folder, bug)?)
            .env("CARGO_TARGET_DIR", &folder);
    }
    cargo
        .current_dir(&repo.root)
        .args(["build", "--package", "bailiwick-cli", "--bin", "bailiwick"])
        .args(arguments);
    if process::stream(&mut cargo)? {
        Ok(folder)
    } else {
        Err(Fail::broken("`bailiwick` does not build"))
    }
}

/// A compiler for the crates of the workspace that sets `bailiwick_planted`.
fn wrapper(folder: &Path, bug: &str) -> Outcome<PathBuf> {
    let file = folder.join(format!("rustc-{bug}"));
    let script = format!("#!/bin/sh\nexec \"$@\" --cfg 'bailiwick_planted=\"{bug}\"'\n");
    let written = fs::create_dir_all(folder)
        .and_then(|()| fs::write(&file, script))
        .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o755)));
    written.map_err(|error| Fail::io("write", &file, &error))?;
    Ok(file)
}

fn lane(repo: &Repo, peers: &Peers, binary: &Path, script: &str) -> Outcome<Command> {
    if let Some(lack) = peers.lacks("node") {
        return Err(lack);
    }
    let mut lane = Command::new("node");
    peers.export(&mut lane);
    lane.env("INTEROP_BINARY", binary).arg(repo.path(script));
    Ok(lane)
}

pub(crate) fn commit(repo: &Repo) -> Outcome<String> {
    let hash = process::capture(&repo.root, "git", &["rev-parse", "--short=12", "HEAD"])?;
    Ok(hash.trim().to_owned())
}

pub(crate) fn today(repo: &Repo) -> Outcome<String> {
    let date = process::capture(&repo.root, "date", &["-u", "+%Y-%m-%d"])?;
    Ok(date.trim().to_owned())
}
