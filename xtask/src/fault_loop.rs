//! `cargo xtask chaos faults`: the fault loop over the whole service in process, every call of its disk with every
//! fault, in parts. Each part is one line of the results file; a run that was interrupted goes on behind the last
//! line of the same commit.
use std::process::Command;

use crate::fail::{Fail, Outcome};
use crate::process;
use crate::repo::Repo;

const TEST: &str =
    "failing::whichever_call_of_a_disk_goes_wrong_no_act_is_unrecorded_and_nothing_acknowledged_is_lost";
/// What the test prints about a part.
const SAID: &str = "service disk faults: ";
const PART: usize = 100;

/// What a part came to.
struct Part {
    figures: String,
    until: usize,
    total: usize,
    passed: bool,
}

/// Runs the parts that are left; `append` takes range, figures and outcome of each.
pub(crate) fn run(
    repo: &Repo,
    begun: &str,
    mut append: impl FnMut(&str, &str, &str) -> Outcome<()>,
) -> Outcome<bool> {
    let mut from = behind(begun);
    let mut all_passed = true;
    loop {
        let part = part(repo, from)?;
        let outcome = if part.passed {
            "no act without record, nothing acknowledged lost"
        } else {
            "FAILED"
        };
        append(
            &format!("{from}..{} of {}", part.until, part.total),
            &part.figures,
            outcome,
        )?;
        all_passed &= part.passed;
        if part.until >= part.total {
            return Ok(all_passed);
        }
        from = part.until;
    }
}

/// Where the parts of the same commit that are in the results ended; those of a whole run begin anew.
fn behind(lines: &str) -> usize {
    let last = lines
        .lines()
        .rev()
        .find_map(|line| line.split(SAID).nth(1).and_then(range));
    match last {
        Some((until, total)) if until < total => until,
        _ => 0,
    }
}

/// `100..200 of 3000, …`
fn range(said: &str) -> Option<(usize, usize)> {
    let (range, rest) = said.split_once(" of ")?;
    let until = range.split_once("..")?.1.parse().ok()?;
    let total = rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    Some((until, total))
}

fn part(repo: &Repo, from: usize) -> Outcome<Part> {
    let mut cargo = Command::new(process::cargo());
    cargo
        .current_dir(&repo.root)
        .args(["test", "--package", "bailiwick-server", "--test", "it", "--"])
        .args([TEST, "--exact", "--nocapture"])
        .env("IT_FAULT_SHARD", format!("{from}..{}", from + PART));
    let mut said = None;
    let passed = process::stream_lines(&mut cargo, |line| {
        if let Some((_, rest)) = line.split_once(SAID) {
            said = Some(rest.to_owned());
        }
        true
    })?;
    let figures = said.ok_or_else(|| Fail::broken("the test ended without a word about its cases"))?;
    let (until, total) = range(&figures).ok_or_else(|| Fail::broken(format!("no range in `{figures}`")))?;
    Ok(Part {
        figures: format!("{SAID}{figures}"),
        until,
        total,
        passed,
    })
}

#[cfg(test)]
mod tests {
    use super::{behind, range};

    #[test]
    fn an_interrupted_run_goes_on_behind_its_last_part() {
        assert_eq!(range("100..200 of 3041, 100 cases"), Some((200, 3041)));
        assert_eq!(range("every 60th of 3041, 50 cases"), None);
        assert_eq!(behind(""), 0);
        let one =
            "| 2026-01-01 | abc | debug | 4 | 100 | service disk faults: 0..100 of 300, 100 cases | x |\n";
        assert_eq!(behind(one), 100);
        let last = one.replace("0..100", "200..300");
        assert_eq!(behind(&format!("{one}{last}")), 0);
        assert_eq!(
            behind(&format!(
                "{one}| 2026-01-01 | abc | debug | 4 | 12 | 12 lives | x |\n"
            )),
            100
        );
    }
}
