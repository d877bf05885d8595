//! Decision records have a number and a state; links lead somewhere.
use std::path::{Component, Path, PathBuf};

use super::{Finding, House};
use crate::fail::Outcome;
use crate::repo::Repo;

pub const RECORDS: &str = "docs/adr/";

/// `docs/adr/NNNN-title.md`, numbered without gaps from 0001, each with `State: …` in its head.
pub(super) fn records(house: &House) -> Outcome<Vec<Finding>> {
    const RULE: &str = "records";
    let mut findings = Vec::new();
    let records = house
        .repo
        .with_extension("md")
        .filter(|file| file.starts_with(RECORDS));
    for (expected, file) in (1_usize..).zip(records) {
        let mut report = |message| {
            findings.push(Finding {
                rule: RULE,
                place: file.to_owned(),
                message,
            })
        };
        let name = file.strip_prefix(RECORDS).unwrap_or(file);
        let number = name
            .split('-')
            .next()
            .and_then(|number| number.parse::<usize>().ok());
        if number != Some(expected) {
            report(format!(
                "the next number is {expected:04}: numbers are given once, in order, without a gap"
            ));
        }
        let text = house.repo.read(file)?;
        let state = text.lines().find_map(|line| line.strip_prefix("State: "));
        if !state.is_some_and(is_state) {
            report("has no line `State: proposed | accepted | superseded by NNNN`".to_owned());
        }
        for heading in ["## Context", "## Decision", "## Consequences"] {
            if !text.lines().any(|line| line == heading) {
                report(format!("has no `{heading}`"));
            }
        }
    }
    Ok(findings)
}

fn is_state(state: &str) -> bool {
    matches!(state, "proposed" | "accepted") || state.starts_with("superseded by ")
}

/// Relative links of the documents name files of the tree.
pub(super) fn links(house: &House) -> Outcome<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in house.repo.with_extension("md") {
        let text = house.repo.read(file)?;
        for (number, line) in (1_usize..).zip(text.lines()) {
            for target in targets(line) {
                let aim = resolve(file, target);
                if !is_in(&house.repo, &aim) {
                    let message = format!("the link to `{target}` leads nowhere");
                    findings.push(Finding {
                        rule: "links",
                        place: format!("{file}:{number}"),
                        message,
                    });
                }
            }
        }
    }
    Ok(findings)
}

/// A file of the tree or a folder that holds one; what is not tracked is not there for a reader.
fn is_in(repo: &Repo, aim: &str) -> bool {
    let folder = format!("{aim}/");
    aim.is_empty() || repo.has(aim) || repo.files.iter().any(|file| file.starts_with(&folder))
}

fn targets(line: &str) -> impl Iterator<Item = &str> {
    let after = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = after.filter(|target| !target.contains("://") && !target.starts_with(['#', '<']));
    local
        .filter(|target| !target.starts_with("mailto:"))
        .filter_map(|target| target.split('#').next())
}

fn resolve(from: &str, target: &str) -> String {
    let joined = Path::new(from).parent().unwrap_or(Path::new("")).join(target);
    let mut flat = PathBuf::new();
    for part in joined.components() {
        match part {
            Component::ParentDir => {
                flat.pop();
            }
            Component::Normal(name) => flat.push(name),
            _ => {}
        }
    }
    flat.to_string_lossy().into_owned()
}
