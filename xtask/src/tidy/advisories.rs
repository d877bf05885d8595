//! Known weaknesses of the crates that the product reaches, against a dated copy of the facts of the
//! RustSec advisory database: id, crate, versions. `cargo xtask gen --advisories FOLDER` renews the copy
//! from a clone of the database; the check needs no network.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use toml::{Table, Value};

use super::dependencies::FILE;
use super::versions::{Version, matches_any};
use super::{Finding, House};
use crate::fail::{Fail, Outcome};
use crate::process;

const RULE: &str = "advisories";
pub const SNAPSHOT: &str = "xtask/tidy/advisories.txt";
const HEAD: &str = "\
# Facts of the RustSec advisory database (CC0-1.0; ids that begin with GHSA as adapted there, CC-BY-4.0).
# Written by `cargo xtask gen --advisories FOLDER`. id | crate | kind | patched | unaffected
";

/// Exceptions stand in `deny.toml`, `[advisories] ignore`, each with its reason.
pub(super) fn advisories(house: &House) -> Outcome<Vec<Finding>> {
    if !house.repo.has(SNAPSHOT) {
        let message = "is missing: `cargo xtask gen --advisories FOLDER`".to_owned();
        return Ok(vec![Finding {
            rule: RULE,
            place: SNAPSHOT.to_owned(),
            message,
        }]);
    }
    let text = house.repo.read(SNAPSHOT)?;
    if let Some(dated) = text.lines().find_map(|line| line.strip_prefix("# Database of ")) {
        println!("tidy: advisories of {dated}");
    }
    let reached = house.reached()?;
    let mut ignored: BTreeMap<&str, bool> = BTreeMap::new();
    let mut findings = Vec::new();
    let mut report = |message| {
        findings.push(Finding {
            rule: RULE,
            place: FILE.to_owned(),
            message,
        })
    };
    for entry in reached.entries("advisories", "ignore") {
        match (
            entry.get("id").and_then(Value::as_str),
            entry.get("reason").and_then(Value::as_str),
        ) {
            (Some(id), Some(reason)) if !reason.is_empty() => drop(ignored.insert(id, false)),
            _ => report("an ignored advisory needs `id` and `reason`".to_owned()),
        }
    }
    for advisory in text.lines().filter(|line| !line.starts_with('#')) {
        let advisory = Advisory::parse(advisory)?;
        for (name, version) in reached
            .packages
            .iter()
            .filter(|(name, _)| name == advisory.package)
        {
            if !advisory.affects(version)? {
                continue;
            }
            if let Some(used) = ignored.get_mut(advisory.id) {
                *used = true;
                continue;
            }
            report(format!(
                "`{name}` {version}: {} ({}), patched in {}: update, or ignore it with a reason",
                advisory.id,
                advisory.kind,
                if advisory.patched.is_empty() {
                    "no version"
                } else {
                    advisory.patched
                },
            ));
        }
    }
    for (id, _) in ignored.iter().filter(|(_, used)| !**used) {
        report(format!(
            "nothing reached is affected by `{id}` any more: take it out of `ignore`"
        ));
    }
    Ok(findings)
}

struct Advisory<'a> {
    id: &'a str,
    package: &'a str,
    kind: &'a str,
    /// Ranges between semicolons.
    patched: &'a str,
    unaffected: &'a str,
}

impl<'a> Advisory<'a> {
    fn parse(line: &'a str) -> Outcome<Self> {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        match fields.as_slice() {
            [id, package, kind, patched, unaffected] => Ok(Self {
                id,
                package,
                kind,
                patched,
                unaffected,
            }),
            _ => Err(Fail::broken(format!(
                "`{SNAPSHOT}`: `{line}` has not five fields"
            ))),
        }
    }

    fn affects(&self, version: &str) -> Outcome<bool> {
        let version = Version::parse(version)?;
        Ok(!matches_any(self.patched, &version)? && !matches_any(self.unaffected, &version)?)
    }
}

/// Reads a clone of the database and gives the text of the snapshot.
pub fn snapshot(clone: &Path) -> Outcome<String> {
    let dated = process::capture(clone, "git", &["log", "-1", "--format=%cs, commit %h"])?;
    let mut lines = Vec::new();
    let crates = clone.join("crates");
    for folder in files_of(&crates)? {
        for file in files_of(&folder)? {
            let text = fs::read_to_string(&file).map_err(|error| Fail::io("read", &file, &error))?;
            lines.extend(facts(&text).map_err(|what| Fail::broken(format!("`{}`: {what}", file.display())))?);
        }
    }
    lines.sort();
    if lines.is_empty() {
        return Err(Fail::broken(format!("no advisory in `{}`", crates.display())));
    }
    Ok(format!(
        "{HEAD}# Database of {}\n{}\n",
        dated.trim(),
        lines.join("\n")
    ))
}

fn files_of(folder: &Path) -> Outcome<Vec<std::path::PathBuf>> {
    let listing = fs::read_dir(folder).map_err(|error| Fail::io("list", folder, &error))?;
    let paths: Result<Vec<_>, _> = listing.map(|item| item.map(|item| item.path())).collect();
    paths.map_err(|error| Fail::io("list", folder, &error))
}

/// The line of one advisory, which is TOML in a fence, then prose; nothing for one that was withdrawn.
fn facts(text: &str) -> Result<Option<String>, String> {
    let fenced = text
        .split("```toml")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let table: Table = fenced
        .ok_or("no TOML")?
        .parse()
        .map_err(|error| format!("no TOML: {error}"))?;
    let advisory = table.get("advisory").ok_or("no `advisory`")?;
    if advisory.get("withdrawn").is_some() {
        return Ok(None);
    }
    let text = |key: &str| advisory.get(key).and_then(Value::as_str);
    let ranges = |key: &str| -> String {
        let list = table
            .get("versions")
            .and_then(|versions| versions.get(key))
            .and_then(Value::as_array);
        let ranges = list
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .filter_map(Value::as_str);
        ranges.collect::<Vec<_>>().join("; ")
    };
    let (id, package) = (
        text("id").ok_or("no `id`")?,
        text("package").ok_or("no `package`")?,
    );
    let kind = text("informational").unwrap_or("weakness");
    let line = format!(
        "{id} | {package} | {kind} | {} | {}",
        ranges("patched"),
        ranges("unaffected")
    );
    Ok(Some(line.trim_end().to_owned()))
}
