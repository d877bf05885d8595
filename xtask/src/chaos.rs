//! `cargo xtask chaos`: long runs that do not fit into the test command. Each appends to a committed
//! results file, so a run that was interrupted is gone on with by starting the next.
//!
//! - `durability [--lives N] [--seed S] [--release]`: kill -9 under 64 callers, three lists compared
//! - `kills [--runs N] [--seed S] [--nodes N] [--release]`: kills under load, each receipt against what was seen outside
//! - `faults`: every call of the service's disk with every fault, in process
//! - `planted [BUG]`: builds with a planted bug and expects the lanes to catch it
//! - `schedules [--runs N] [--seed S]`: kills among bad days of every kind, judged by what an observer outside saw
//! - `small-disk [--runs N] [--seed S]`: a small disk that is filled at random moments under load
//! - `strace [--runs N] [--seed S]`: one system call on one file goes wrong, on the real binary
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
/// Runs that are asked for when nobody says, and runs in one part.
const RUNS: u64 = 200;
const PART: u64 = 50;
/// Scripts that take `--runs` and `--seed`, and the programs that they need.
struct Script {
    name: &'static str,
    file: &'static str,
    needs: &'static [&'static str],
}
const SCRIPTS: [Script; 3] = [
    Script {
        name: "schedules",
        file: "tests/e2e/schedules.mjs",
        needs: &["faketime", "postgres", "strace"],
    },
    Script {
        name: "small-disk",
        file: "tests/e2e/small-disk.mjs",
        needs: &[],
    },
    Script {
        name: "strace",
        file: "tests/e2e/disk-faults.mjs",
        needs: &["strace"],
    },
];
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
        Some((name, rest)) if let Some(script) = SCRIPTS.iter().find(|script| script.name == name) => {
            in_parts(repo, rest, script)
        }
        _ => Err(Fail::usage(
            "the runs are `durability`, `faults`, `kills`, `planted`, `schedules`, `small-disk` and `strace`",
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

/// In parts with a seed and a line of their own. A run that was interrupted lost its last part alone: with the same
/// words it goes on with the parts that this commit has no line of.
fn in_parts(repo: &Repo, rest: &[String], script: &Script) -> Outcome<bool> {
    let peers = Peers::prepare(repo);
    if let Some(lack) = script.needs.iter().find_map(|need| peers.lacks(need)) {
        return Err(lack);
    }
    let binary = build(repo, &[], None)?.join("debug").join("bailiwick");
    let commit = commit(repo)?;
    let mut left = option(rest, "--runs")?.unwrap_or(RUNS);
    let mut seed = option(rest, "--seed")?.unwrap_or(next_seed(&repo.read(RESULTS)?));
    let mut all_passed = true;
    while left > 0 {
        let now = left.min(PART);
        let done = format!("| {commit} | debug, {} | {seed} | {now} |", script.name);
        if repo.read(RESULTS)?.contains(&done) {
            println!("{}: seed {seed} was run", script.name);
        } else {
            let mut run = lane(repo, &peers, &binary, script.file)?;
            run.args([
                "--runs",
                &now.to_string(),
                "--seed",
                &seed.to_string(),
                "--results",
            ])
            .arg(repo.path(RESULTS));
            all_passed &= process::stream(&mut run)?;
        }
        (left, seed) = (left - now, seed + 1);
    }
    publish(repo)?;
    Ok(all_passed)
}

/// The number behind a word.
fn option(rest: &[String], word: &str) -> Outcome<Option<u64>> {
    let Some(at) = rest.iter().position(|given| given == word) else {
        return Ok(None);
    };
    let number = rest.get(at + 1).and_then(|value| value.parse().ok());
    number
        .map(Some)
        .ok_or_else(|| Fail::usage(format!("`{word}` takes a number")))
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
