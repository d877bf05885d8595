//! `cargo xtask test`: everything that has to be green, with its own set-up.
//!
//! Lanes run one after the other; what they need from the network and from this machine is prepared
//! on the side meanwhile. A tool that is missing is a loud `SKIPPED: …`, and a failure where `CI` is
//! set. The last line is `N passed, N failed`.
mod interop;
pub(crate) mod postgres;
pub mod setup;
pub mod tally;

use std::process::Command;
use std::time::{Duration, Instant};

use crate::fail::{Fail, Outcome};
use crate::generate;
use crate::process;
use crate::repo::Repo;
use crate::tidy;
use setup::Peers;
use tally::{Counts, Tally};

const LANES: [&str; 6] = ["fmt", "tidy", "clippy", "cargo", "gen", "interop"];

struct Report {
    name: String,
    tally: Tally,
    skipped: Option<String>,
    took: Duration,
}

pub fn command(repo: &Repo, rest: &[String]) -> Outcome<bool> {
    if let Some(unknown) = rest.iter().find(|lane| !LANES.contains(&lane.as_str())) {
        return Err(Fail::usage(format!(
            "no lane `{unknown}`; the lanes are {}",
            LANES.join(", ")
        )));
    }
    let wanted = |lane: &str| rest.is_empty() || rest.iter().any(|given| given == lane);
    let needs_peers = wanted("cargo") || wanted("interop");
    let mut reports = Vec::new();
    std::thread::scope(|scope| {
        let preparing = needs_peers.then(|| scope.spawn(|| Peers::prepare(repo)));
        for lane in ["fmt", "tidy", "clippy"].into_iter().filter(|lane| wanted(lane)) {
            reports.push(timed(lane, || quick_lane(repo, lane)));
        }
        let Some(preparing) = preparing else { return };
        let Ok(peers) = preparing.join() else {
            reports.push(timed("set-up", || Err(Fail::broken("the set-up panicked"))));
            return;
        };
        if wanted("cargo") {
            reports.extend(cargo_lanes(repo, &peers));
        }
        if wanted("interop") {
            reports.extend(interop::lanes(repo, &peers));
        }
    });
    if wanted("gen") {
        reports.push(timed("gen", || {
            Ok(Tally::of(generate::command(repo, &["--check".to_owned()])?))
        }));
    }
    Ok(summary(&reports))
}

fn quick_lane(repo: &Repo, lane: &str) -> Outcome<Tally> {
    let mut cargo = Command::new(process::cargo());
    cargo.current_dir(&repo.root);
    let passed = match lane {
        "fmt" => process::stream(cargo.args(["fmt", "--all", "--check"]))?,
        "clippy" => process::stream(cargo.args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ]))?,
        _ => tidy::command(repo, &[])?,
    };
    Ok(Tally::of(passed))
}

/// The Rust tests; the store's suite meets a real PostgreSQL in the same run.
fn cargo_lanes(repo: &Repo, peers: &Peers) -> Vec<Report> {
    let mut reached_postgres = false;
    let cargo = timed("cargo", || {
        let mut cargo = Command::new(process::cargo());
        cargo
            .current_dir(&repo.root)
            .args(["test", "--workspace", "--no-fail-fast", "--", "--show-output"]);
        peers.export(&mut cargo);
        tally::run(&mut cargo, Counts::Cargo, |line| {
            reached_postgres |=
                line.starts_with("test ") && line.contains("postgres") && line.ends_with("... ok");
        })
    });
    let postgres = timed("postgres", || match &peers.postgres {
        Err(fail) => Err(fail.again()),
        Ok(_) if reached_postgres => Ok(Tally::of(true)),
        Ok(_) => Err(Fail::broken(
            "a PostgreSQL was running, but no test with `postgres` in its name passed",
        )),
    });
    vec![cargo, postgres]
}

/// Runs one lane. What is missing is a skip at home and a failure under CI.
fn timed(name: &str, lane: impl FnOnce() -> Outcome<Tally>) -> Report {
    println!("\n== {name}");
    let start = Instant::now();
    let outcome = lane();
    let took = start.elapsed();
    let (tally, skipped) = match outcome {
        Ok(tally) => (tally, None),
        Err(Fail::Missing(what)) if !process::is_ci() => {
            println!("SKIPPED: {name}: {what}");
            (Tally::default(), Some(what))
        }
        Err(fail) => {
            println!("FAILED: {name}: {fail}");
            (Tally::of(false), None)
        }
    };
    Report {
        name: name.to_owned(),
        tally,
        skipped,
        took,
    }
}

fn summary(reports: &[Report]) -> bool {
    println!(
        "\n{:<24} {:>8} {:>8} {:>9}",
        "lane", "passed", "failed", "seconds"
    );
    let mut total = Tally::default();
    for report in reports {
        let note = report
            .skipped
            .as_ref()
            .map(|what| format!("  SKIPPED: {what}"))
            .unwrap_or_default();
        let (passed, failed, seconds) = (
            report.tally.passed,
            report.tally.failed,
            report.took.as_secs_f64(),
        );
        println!("{:<24} {passed:>8} {failed:>8} {seconds:>9.1}{note}", report.name);
        total.add(report.tally);
    }
    println!("\n{} passed, {} failed", total.passed, total.failed);
    total.failed == 0
}
