//! `cargo xtask bench [--quick] [--rounds N] [GOAL …]`: floors, peers and Bailiwick in one run.
//!
//! What is measured is data, in `xtask/bench/goals.toml` (its form is in `plan`). A *run* is a
//! program that prints figures, perhaps with servers beside it; a *goal* compares one figure of our
//! run with one of a floor's. Rounds interleave the runs, and ratios are taken within a round, so that
//! a machine that slows down slows both sides. The command succeeds whatever the ratios are; it fails
//! where something of ours could not be measured. `--quick` takes one round with short runs; its table is
//! printed and not written.
pub mod figures;
mod floors;
mod peers;
pub mod plan;
mod programs;
pub mod table;

use std::collections::BTreeMap;

use crate::fail::{Fail, Outcome};
use crate::process;
use crate::repo::Repo;
use crate::results::{RESULTS, with_long_runs};
use figures::Figures;
use plan::Plan;
use programs::Programs;
use table::{Conditions, Row};

const REPORT: &str = "docs/benchmarks.md";
const ROUNDS: usize = 5;

/// Figures of every round of a run, or why there are none.
pub type Measured = BTreeMap<String, Result<Vec<Figures>, Absent>>;

/// Why a run has no figures.
#[derive(Clone, Debug)]
pub struct Absent {
    pub why: String,
    /// A peer that is not on this machine: told, and no failure.
    pub skipped: bool,
}

impl From<&Fail> for Absent {
    fn from(fail: &Fail) -> Self {
        Self {
            why: fail.to_string(),
            skipped: matches!(fail, Fail::Missing(_)),
        }
    }
}

/// What the command line asks for.
struct Wanted {
    rounds: usize,
    quick: bool,
    goals: Vec<String>,
}

pub fn command(repo: &Repo, rest: &[String]) -> Outcome<bool> {
    let wanted = arguments(rest)?;
    let plan = Plan::read(repo)?.only(&wanted.goals)?;
    let programs = Programs::build(repo, &plan, wanted.quick)?;
    let before = Conditions::now();
    let measured = measure(&plan, &programs, wanted.rounds);
    let rows: Vec<Row> = plan
        .goals
        .iter()
        .map(|goal| Row::judge(goal, &measured))
        .collect();
    let text = table::report(
        &rows,
        &Method {
            rounds: wanted.rounds,
            commit: commit(repo),
            before,
            after: Conditions::now(),
        },
    );
    let text = with_long_runs(&text, &repo.read(RESULTS)?);
    println!("{text}");
    // A part of the goals, or short runs, are for a quick look; the committed table is always the whole.
    if wanted.goals.is_empty() && !wanted.quick {
        repo.write(REPORT, &text)?;
        println!("written  {REPORT}");
    }
    Ok(rows.iter().all(|row| row.is_measured() || row.is_skipped()))
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
        for run in plan.runs.iter().filter(|run| round == 1 || !run.once) {
            let slot = measured.entry(run.name.clone()).or_insert_with(|| Ok(Vec::new()));
            // A run that failed once has no honest median any more.
            let Ok(figures) = slot else { continue };
            println!("round {round}/{rounds}: {}", run.name);
            match programs.run(run) {
                Ok(found) => figures.push(found),
                Err(fail) => {
                    let absent = Absent::from(&fail);
                    let word = if absent.skipped { "SKIPPED" } else { "NOT MEASURED" };
                    println!("{word}: {}: {fail}", run.name);
                    *slot = Err(absent);
                }
            }
        }
    }
    measured
}

fn arguments(rest: &[String]) -> Outcome<Wanted> {
    let (mut rounds, mut quick, mut goals) = (None, false, Vec::new());
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--rounds" => {
                let number = rest
                    .next()
                    .and_then(|number| number.parse().ok())
                    .filter(|number| *number > 0);
                rounds = Some(number.ok_or_else(|| Fail::usage("`--rounds` takes a number above 0"))?);
            }
            "--quick" => quick = true,
            goal => goals.push(goal.to_owned()),
        }
    }
    Ok(Wanted {
        rounds: rounds.unwrap_or(if quick { 1 } else { ROUNDS }),
        quick,
        goals,
    })
}

/// The commit, and whether the tree differs from it.
fn commit(repo: &Repo) -> String {
    let git = |arguments: &[&str]| process::capture(&repo.root, "git", arguments).unwrap_or_default();
    let name = git(&["rev-parse", "--short=12", "HEAD"]);
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    let changed = changed.lines().any(|line| !line.ends_with(REPORT));
    format!("{}{}", name.trim(), if changed { " with changes" } else { "" })
}
