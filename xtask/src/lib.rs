//! Project automation. Every command is `cargo xtask COMMAND` and lives in a module of its name;
//! `gen` is in `generate`, because `gen` is a keyword of the language.
//!
//! This crate knows nothing of ours: it reads the tree, runs cargo and speaks to the built binary
//! as a subprocess. That keeps it small enough to compile in seconds on a clean clone.
#![expect(
    clippy::disallowed_methods,
    reason = "automation is the outermost layer: it reads the environment, the clock, and waits for children"
)]

pub mod bench;
pub mod chaos;
pub mod ci;
pub mod demo;
pub mod fail;
mod fault_loop;
pub mod generate;
pub mod metadata;
pub mod new;
pub mod process;
pub mod repo;
pub mod results;
pub mod rust;
pub mod sim;
pub mod test;
pub mod tidy;

use std::process::ExitCode;

use fail::{Fail, Outcome};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo [ARGS]        build the binary and run `bailiwick demo`
  test [LANE ...]    set up what is missing, then run every check and test
  bench [GOAL ...]   measure floors, peers and Bailiwick; write docs/benchmarks.md
  chaos durability|faults|kills|planted ...
                     long runs; each appends to tests/e2e/results.md
  sim --seeds N | --seed S | --planted
                     whole installations from a seed; long runs are appended to
                     tests/e2e/sim-results.md
  gen [--check | --advisories FOLDER]
                     write the generated documents, or say which differ
  tidy [RULE ...]    check the house rules
  ci                 what the build server runs: `test` with CI=true
  new crate|adr|endpoint ...
                     start a crate, a decision record or an endpoint";

/// Runs one command; the exit code is 0 on success, 1 on failure, 2 on wrong usage.
#[must_use]
pub fn run(arguments: &[String]) -> ExitCode {
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", arguments),
    };
    let outcome = dispatch(command, rest);
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Fail::Usage(message)) => {
            eprintln!("{message}\n\n{USAGE}");
            ExitCode::from(2)
        }
        Err(fail) => {
            eprintln!("error: {fail}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: &str, rest: &[String]) -> Outcome<bool> {
    let repo = || repo::Repo::of_this_workspace();
    match command {
        "bench" => bench::command(&repo()?, rest),
        "chaos" => chaos::command(&repo()?, rest),
        "ci" => ci::command(&repo()?, rest),
        "demo" => demo::command(&repo()?, rest),
        "gen" => generate::command(&repo()?, rest),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(true)
        }
        "new" => new::command(&repo()?, rest),
        "sim" => sim::command(&repo()?, rest),
        "test" => test::command(&repo()?, rest),
        "tidy" => tidy::command(&repo()?, rest),
        other => Err(Fail::usage(format!("no command `{other}`"))),
    }
}
