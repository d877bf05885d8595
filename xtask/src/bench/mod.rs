//! `cargo xtask bench [--rounds N] [GOAL …]`: floors, peers and Bailiwick in one run.
//!
//! What is measured is data, in `xtask/bench/goals.toml` (its form is in `plan`). A *run* is a
//! program that prints figures, perhaps with servers beside it; a *goal* compares one figure of our
//! run with one of a floor's. Rounds interleave the runs, and ratios are taken within a round, so that
//! a machine that slows down slows both sides. The command succeeds whatever the ratios are; it fails
//! where something could not be measured.
pub mod figures;
mod floors;
pub mod plan;
mod programs;
pub mod table;

use std::collections::BTreeMap;

use crate::fail::{Fail, Outcome};
use crate::process;
use crate::repo::Repo;
use figures::Figures;
use plan::Plan;
use programs::Programs;
use table::{Conditions, Row};

const REPORT: &str = "docs/benchmarks.md";
const ROUNDS: usize = 5;

/// Figures of every round of a run, or why there are none.
pub type Measured = BTreeMap<String, Result<Vec<Figures>, String>>;

pub fn command(repo: &Repo, rest: &[String]) -> Outcome<bool> {
    let (rounds, wanted) = arguments(rest)?;
    let plan = Plan::read(repo)?.only(&wanted)?;
    let programs = Programs::build(repo, &plan)?;
    let before = Conditions::now();
    let measured = measure(&plan, &programs, rounds);
    let rows: Vec<Row> = plan
        .goals
        .iter()
        .map(|goal| Row::judge(goal, &measured))
        .collect();
    let text = table::report(
        &rows,
        &Method {
            rounds,
            commit: commit(repo),
            before,
            after: Conditions::now(),
        },
    );
    println!("{text}");
    // A part of the goals is for a quick look; the committed table is always the whole.
    if wanted.is_empty() {
        repo.write(REPORT, &text)?;
        println!("written  {REPORT}");
    }
    Ok(rows.iter().all(Row::is_measured))
}

/// How the figures came about; stands above the table.
pub struct Method {
    pub rounds: usize,
    pub commit: String,
    pub before: Conditions,
    pub after: Conditions,
}

fn measure(plan: &Plan, programs: &Programs, rounds: usize) -> Measured {
    let mut measured = Measured::new();
    for round in 1..=rounds {
        for run in &plan.runs {
            let slot = measured.entry(run.name.clone()).or_insert_with(|| Ok(Vec::new()));
            // A run that failed once has no honest median any more.
            let Ok(figures) = slot else { continue };
            println!("round {round}/{rounds}: {}", run.name);
            match programs.run(run) {
                Ok(found) => figures.push(found),
                Err(fail) => {
                    println!("NOT MEASURED: {}: {fail}", run.name);
                    *slot = Err(fail.to_string());
                }
            }
        }
    }
    measured
}

fn arguments(rest: &[String]) -> Outcome<(usize, Vec<String>)> {
    let (mut rounds, mut wanted) = (ROUNDS, Vec::new());
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        if argument == "--rounds" {
            let number = rest
                .next()
                .and_then(|number| number.parse().ok())
                .filter(|number| *number > 0);
            rounds = number.ok_or_else(|| Fail::usage("`--rounds` takes a number above 0"))?;
        } else {
            wanted.push(argument.clone());
        }
    }
    Ok((rounds, wanted))
}

/// The commit, and whether the tree differs from it.
fn commit(repo: &Repo) -> String {
    let git = |arguments: &[&str]| process::capture(&repo.root, "git", arguments).unwrap_or_default();
    let name = git(&["rev-parse", "--short=12", "HEAD"]);
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    let changed = changed.lines().any(|line| !line.ends_with(REPORT));
    format!("{}{}", name.trim(), if changed { " with changes" } else { "" })
}
