//! ARCHITECTURE.md is made of invariants, and each names a test that lives.
use std::collections::BTreeSet;

use super::{Finding, House};
use crate::fail::Outcome;
use crate::repo::Repo;
use crate::rust;

const DOCUMENT: &str = "ARCHITECTURE.md";
const HEADING: &str = "## Invariants";

/// Each item of the list under `## Invariants` has at least one `path::test` in backticks.
pub(super) fn invariants(house: &House) -> Outcome<Vec<Finding>> {
    const RULE: &str = "invariants";
    let repo = &house.repo;
    if !repo.has(DOCUMENT) {
        let message = "is missing: it holds the map and the invariants".to_owned();
        return Ok(vec![Finding {
            rule: RULE,
            place: DOCUMENT.to_owned(),
            message,
        }]);
    }
    let text = repo.read(DOCUMENT)?;
    let items = list_items(&text);
    let mut findings = Vec::new();
    if items.is_empty() {
        let message = format!("has no list under `{HEADING}`");
        findings.push(Finding {
            rule: RULE,
            place: DOCUMENT.to_owned(),
            message,
        });
    }
    for (line, item) in items {
        let mut report = |message| {
            findings.push(Finding {
                rule: RULE,
                place: format!("{DOCUMENT}:{line}"),
                message,
            });
        };
        let named = references(&item);
        if named.is_empty() {
            report("this invariant names no test: add `path/of/file.rs::name_of_test`".to_owned());
        }
        for reference in named {
            if let Some(message) = dead(repo, &reference)? {
                report(message);
            }
        }
    }
    Ok(findings)
}

/// A test that is switched off looks like a test that passes.
pub(super) fn tests_run(house: &House) -> Outcome<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in house.repo.with_extension("rs") {
        let source = house.repo.read(file)?;
        for triple in rust::tokens(&source).windows(3) {
            if let [hash, bracket, word] = triple
                && hash.text == "#"
                && bracket.text == "["
                && word.text == "ignore"
            {
                let message = "a test that never runs: move long runs behind an xtask command".to_owned();
                findings.push(Finding {
                    rule: "tests",
                    place: format!("{file}:{}", word.line),
                    message,
                });
            }
        }
    }
    Ok(findings)
}

/// Items of the list in the invariants section, continuation lines joined, with their first line.
fn list_items(text: &str) -> Vec<(usize, String)> {
    let mut items: Vec<(usize, String)> = Vec::new();
    let mut inside = false;
    for (number, line) in (1_usize..).zip(text.lines()) {
        if line.starts_with("## ") {
            inside = line.trim_end() == HEADING;
            continue;
        }
        if !inside {
            continue;
        }
        if line.starts_with("- ") {
            items.push((number, line.to_owned()));
        } else if line.starts_with("  ")
            && let Some((_, item)) = items.last_mut()
        {
            item.push('\n');
            item.push_str(line);
        }
    }
    items
}

/// `path::name` references among the backticked words, where the path has a folder.
pub(super) fn references(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|word| is_reference(word))
        .map(str::to_owned)
        .collect()
}

fn is_reference(word: &str) -> bool {
    word.split_once("::")
        .is_some_and(|(path, _)| path.contains('/') && path.contains('.'))
}

/// What is wrong with a reference to a test, if anything.
pub(super) fn dead(repo: &Repo, reference: &str) -> Outcome<Option<String>> {
    let Some((path, name)) = reference.split_once("::") else {
        return Ok(Some(format!("`{reference}` is not `path/of/file::name_of_test`")));
    };
    if !repo.has(path) {
        return Ok(Some(format!("`{path}` does not exist")));
    }
    let source = repo.read(path)?;
    if tests_in(path, &source).contains(name) {
        return Ok(None);
    }
    Ok(Some(format!("`{path}` has no test `{name}`")))
}

/// Cases that a suite of this file runs on each engine of the store: the words of its `both_engines!` lists.
fn suite_cases(source: &str) -> impl Iterator<Item = String> {
    let lists = source.split("\nboth_engines! {").skip(1);
    lists
        .filter_map(|rest| rest.split("\n}").next())
        .flat_map(|list| list.split([',', ';', ':']))
        .map(|word| word.trim().to_owned())
        .filter(|word| !word.is_empty())
}

/// Names of the tests of a file, by the customs of its language.
fn tests_in(path: &str, source: &str) -> BTreeSet<String> {
    let extension = path.rsplit('.').next().unwrap_or_default();
    match extension {
        "rs" => rust::tests(&rust::tokens(source))
            .into_iter()
            .map(str::to_owned)
            .chain(refused_programs(source))
            .chain(suite_cases(source))
            .collect(),
        "py" => declared(source, &["def ", "async def "])
            .filter(|name| name.starts_with("test"))
            .collect(),
        "go" => declared(source, &["func "])
            .filter(|name| name.starts_with("Test"))
            .collect(),
        _ => called(source),
    }
}

/// Programs in the documentation that must not compile, called after the first line of their fence, such as
/// `compile_fail,E0308`.
fn refused_programs(source: &str) -> impl Iterator<Item = String> + '_ {
    let fences = source
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("/// ```compile_fail,"));
    fences.map(|code| format!("compile_fail,{}", code.trim_end()))
}

fn declared<'a>(source: &'a str, keywords: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    let names = source
        .lines()
        .filter_map(|line| keywords.iter().find_map(|word| line.trim().strip_prefix(word)));
    names.filter_map(|rest| rest.split('(').next()).map(str::to_owned)
}

/// First arguments of `test(…)` and `it(…)`, the customs of JavaScript.
fn called(source: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in source.lines().map(str::trim_start) {
        let argument = ["test(", "it(", "await t.test("]
            .iter()
            .find_map(|call| line.strip_prefix(call));
        let Some(argument) = argument else { continue };
        let Some(quote) = argument.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')) else {
            continue;
        };
        names.extend(argument.split(quote).nth(1).map(str::to_owned));
    }
    names
}
