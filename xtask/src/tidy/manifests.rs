//! Every crate of ours inherits the lints and the package fields of the workspace.
use toml::{Table, Value};

use super::{Finding, House, settings};
use crate::fail::Outcome;
use crate::repo::Repo;

const RULE: &str = "manifests";
const ROOT: &str = "Cargo.toml";
const LINE_CAP: i64 = 70;

const DENIED: [&str; 12] = [
    "allow_attributes",
    "allow_attributes_without_reason",
    "disallowed_methods",
    "disallowed_types",
    "expect_used",
    "indexing_slicing",
    "panic",
    "string_slice",
    "todo",
    "too_many_lines",
    "unreachable",
    "unwrap_used",
];
const INHERITED: [&str; 5] = ["edition", "license", "publish", "rust-version", "version"];

pub(super) fn manifests(house: &House) -> Outcome<Vec<Finding>> {
    let mut findings = workspace(&house.repo)?;
    for (_, folder) in house.members()?.own() {
        let place = format!("{folder}/{ROOT}");
        let manifest = settings::table(&house.repo, &place)?;
        let mut report = |message| {
            findings.push(Finding {
                rule: RULE,
                place: place.clone(),
                message,
            })
        };
        if !inherits(&manifest, "lints") {
            report("does not inherit the lints: write `[lints]` with `workspace = true`".to_owned());
        }
        let package = manifest.get("package").and_then(Value::as_table);
        for field in INHERITED {
            if !package.is_some_and(|package| inherits(package, field)) {
                report(format!(
                    "does not inherit `{field}`: write `{field}.workspace = true`"
                ));
            }
        }
        if !package.is_some_and(|package| package.contains_key("description")) {
            report("has no `description`: say in one line what the crate is for".to_owned());
        }
        let source = ["lib.rs", "main.rs"].map(|name| format!("{folder}/src/{name}"));
        for file in source.iter().filter(|file| house.repo.has(file)) {
            if !house.repo.read(file)?.starts_with("//!") {
                report(format!(
                    "`{file}` does not begin with `//!`: a room opens with its guide"
                ));
            }
        }
    }
    Ok(findings)
}

fn workspace(repo: &Repo) -> Outcome<Vec<Finding>> {
    let manifest = settings::table(repo, ROOT)?;
    let lints = |group: &str, name: &str| {
        let table = manifest.get("workspace")?.get("lints")?.get(group)?;
        level(table.get(name)?)
    };
    let mut findings = Vec::new();
    let mut report = |place: &str, message| {
        findings.push(Finding {
            rule: RULE,
            place: place.to_owned(),
            message,
        })
    };
    if lints("rust", "unsafe_code") != Some("forbid") {
        report(
            ROOT,
            "`unsafe_code` is not forbidden in `[workspace.lints.rust]`".to_owned(),
        );
    }
    for name in DENIED {
        if !matches!(lints("clippy", name), Some("deny" | "forbid")) {
            report(
                ROOT,
                format!("`{name}` is not denied in `[workspace.lints.clippy]`"),
            );
        }
    }
    let clippy = settings::table(repo, "clippy.toml")?;
    if clippy.get("too-many-lines-threshold").and_then(Value::as_integer) != Some(LINE_CAP) {
        report(
            "clippy.toml",
            format!("`too-many-lines-threshold` is not {LINE_CAP}"),
        );
    }
    Ok(findings)
}

fn level(lint: &Value) -> Option<&str> {
    lint.as_str().or_else(|| lint.get("level")?.as_str())
}

fn inherits(table: &Table, field: &str) -> bool {
    table
        .get(field)
        .and_then(|field| field.get("workspace"))
        .and_then(Value::as_bool)
        == Some(true)
}
