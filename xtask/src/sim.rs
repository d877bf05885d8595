//! `cargo xtask sim`: whole installations run from a seed, in the release profile.
//!
//! - `sim --seeds N [--seed FIRST]`: a long run; a thousand seeds and more are appended to the results file
//! - `sim --seed S`: one seed with what happened, line by line; a failure happens again
//! - `sim --planted [--seeds N]`: every planted bug, and at which seed it is found
//!
//! Other options go to the program (`simulation/examples/sim.rs`): `--nodes N`, `--bug NAME`, `--threads N`.
use std::path::PathBuf;
use std::process::Command;

use crate::chaos::{commit, today};
use crate::fail::{Fail, Outcome};
use crate::generate;
use crate::process;
use crate::repo::Repo;
use crate::results::next_seed;

const RESULTS: &str = "tests/e2e/sim-results.md";
/// Seeds of a run that is worth keeping.
const LONG: u64 = 1_000;
/// Within so many seeds a planted bug has to be found.
const FOUND_MAX: &str = "2000";

pub fn command(repo: &Repo, rest: &[String]) -> Outcome<bool> {
    let program = build(repo)?;
    if rest.iter().any(|word| word == "--planted") {
        return planted(repo, &program);
    }
    let seeds = number(rest, "--seeds")?;
    let results = repo.read(RESULTS)?;
    let first = match (number(rest, "--seed")?, seeds) {
        (Some(seed), _) => seed,
        (None, Some(_)) => next_seed(&results),
        (None, None) => return Err(Fail::usage("say `--seeds N`, or `--seed S` to replay one")),
    };
    let mut arguments: Vec<String> = rest.to_vec();
    if !rest.iter().any(|word| word == "--seed") {
        arguments.extend(["--seed".to_owned(), first.to_string()]);
    }
    if seeds.is_none() {
        arguments.push("--trace".to_owned());
    }
    let commit = commit(repo)?;
    println!("commit {commit}, from seed {first}");
    let (text, passed) = ran(&program, &arguments)?;
    if seeds.is_some_and(|seeds| seeds >= LONG) && !rest.iter().any(|word| word == "--bug") {
        let last = text.lines().last().unwrap_or_default();
        let date = today(repo)?;
        let outcome = if passed { "clean" } else { "FAILED" };
        // The column of the seed is where the next run looks: the last one that was run.
        let count = seeds.unwrap_or(1);
        let until = first + count - 1;
        let line = format!("| {date} | {commit} | release | {until} | {count} | {last} | {outcome} |\n");
        repo.write(RESULTS, &(results + &line))?;
    }
    if !passed {
        println!("replay a seed S with `cargo xtask sim --seed S` on commit {commit}");
    }
    Ok(passed)
}

/// Every planted bug has to be found, and nothing without one.
fn planted(repo: &Repo, program: &PathBuf) -> Outcome<bool> {
    let words = |bug: &str| {
        let fixed = [
            "--seed",
            "1",
            "--seeds",
            FOUND_MAX,
            "--stop-at-first",
            "--bug",
            bug,
        ];
        fixed.map(str::to_owned).to_vec()
    };
    let (listed, _) = ran(program, &["--list-bugs".to_owned()])?;
    let (mut lines, mut all) = (String::new(), true);
    let (date, commit) = (today(repo)?, commit(repo)?);
    for bug in listed.lines() {
        let (text, passed) = ran(program, &words(bug))?;
        // What failed for another reason than the bug is told in other words.
        let found = text.lines().find(|line| line.contains("FAILED"));
        all &= !passed && found.is_some();
        let outcome = found.map_or("NOT FOUND".to_owned(), |line| {
            line.split(" FAILED").next().unwrap_or_default().to_owned()
        });
        lines.push_str(&format!(
            "| {date} | {commit} | planted {bug} | up to {FOUND_MAX} | {FOUND_MAX} | {outcome} | planted |\n"
        ));
    }
    repo.write(RESULTS, &(repo.read(RESULTS)? + &lines))?;
    Ok(all)
}

/// What the program said, and whether it was content. Its words are shown as well.
fn ran(program: &PathBuf, arguments: &[String]) -> Outcome<(String, bool)> {
    let mut command = Command::new(program);
    let output = command.args(arguments).output();
    let output = output.map_err(|error| Fail::io("run", program, &error))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{text}");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    Ok((text, output.status.success()))
}

fn build(repo: &Repo) -> Outcome<PathBuf> {
    let mut cargo = Command::new(process::cargo());
    cargo.current_dir(&repo.root).args([
        "build",
        "--release",
        "--package",
        "bailiwick-simulation",
        "--example",
        "sim",
    ]);
    if !process::stream(&mut cargo)? {
        return Err(Fail::broken("the simulator does not build"));
    }
    Ok(generate::target_folder(repo).join("release/examples/sim"))
}

fn number(words: &[String], name: &str) -> Outcome<Option<u64>> {
    let Some(at) = words.iter().position(|word| word == name) else {
        return Ok(None);
    };
    let value = words.get(at + 1).and_then(|word| word.parse().ok());
    value
        .map(Some)
        .ok_or_else(|| Fail::usage(format!("`{name}` wants a number")))
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn a_number_is_read_or_asked_for() {
        let words = ["--seeds", "12", "--seed"].map(str::to_owned);
        assert!(matches!(number(&words, "--seeds"), Ok(Some(12))));
        assert!(matches!(number(&words, "--nodes"), Ok(None)));
        assert!(number(&words, "--seed").is_err());
    }
}
