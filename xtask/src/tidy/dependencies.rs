//! Licences, bans and duplicates of foreign crates, against `deny.toml`.
//!
//! The file has the form that cargo-deny reads, so that both can be used; this check needs nothing
//! installed. Tests may use more than the product: what only tests draw in is not looked at.
use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::{Finding, House, settings};
use crate::fail::Outcome;
use crate::metadata::{self, Metadata};

pub(super) const FILE: &str = "deny.toml";
/// Members that are no part of the product.
const TOOLS: [&str; 4] = ["bench", "fuzz", "simulation", "xtask"];

pub(super) struct Reached {
    pub(super) packages: BTreeSet<(String, String)>,
    metadata: Metadata,
    rules: Table,
}

impl Reached {
    pub(super) fn read(house: &House) -> Outcome<Self> {
        let members = house.members()?;
        let names: Vec<&str> = members
            .own()
            .filter(|(_, folder)| !TOOLS.contains(folder))
            .map(|(own, _)| own.name.as_str())
            .collect();
        let all = metadata::reached(&house.repo.root, &names)?;
        let ours = |name: &str| members.own().any(|(own, _)| own.name == name);
        let packages = all.into_iter().filter(|(name, _)| !ours(name)).collect();
        Ok(Self {
            packages,
            metadata: Metadata::whole(&house.repo.root)?,
            rules: settings::table(&house.repo, FILE)?,
        })
    }

    pub(super) fn entries(&self, section: &str, key: &str) -> &[Value] {
        let list = self.rules.get(section).and_then(|section| section.get(key));
        list.and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

pub(super) fn licences(house: &House) -> Outcome<Vec<Finding>> {
    const RULE: &str = "licences";
    let reached = house.reached()?;
    let accepted: BTreeSet<&str> = reached
        .entries("licenses", "allow")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let banned: BTreeMap<&str, &str> = reached.entries("bans", "deny").iter().filter_map(named).collect();
    let mut findings = Vec::new();
    let mut report = |message| {
        findings.push(Finding {
            rule: RULE,
            place: FILE.to_owned(),
            message,
        })
    };
    for (name, version) in &reached.packages {
        if let Some(reason) = banned.get(name.as_str()) {
            report(format!(
                "`{name}` {version} is banned ({reason}): see `cargo tree --invert {name}` for who asks for it"
            ));
        }
        let licence = reached
            .metadata
            .find(name, version)
            .and_then(|package| package.licence.as_deref());
        let exception = excepted(reached.entries("licenses", "exceptions"), name);
        match licence {
            None => report(format!("`{name}` {version} states no licence")),
            Some(licence) if !satisfied(licence, &accepted.union(&exception).copied().collect()) => {
                report(format!(
                    "`{name}` {version} is under `{licence}`, which is not accepted"
                ));
            }
            Some(_) => {}
        }
    }
    Ok(findings)
}

/// A crate linked twice is code audited twice: each old version has an entry with a reason.
pub(super) fn duplicates(house: &House) -> Outcome<Vec<Finding>> {
    const RULE: &str = "duplicates";
    let reached = house.reached()?;
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, version) in &reached.packages {
        versions.entry(name).or_default().push(version);
    }
    let skips: BTreeMap<&str, &str> = reached.entries("bans", "skip").iter().filter_map(named).collect();
    let mut needed = BTreeSet::new();
    let mut findings = Vec::new();
    let mut report = |message| {
        findings.push(Finding {
            rule: RULE,
            place: FILE.to_owned(),
            message,
        })
    };
    for (name, mut found) in versions {
        found.sort_by_key(|version| numbers(version));
        found.pop();
        for version in found {
            let key = format!("{name}@{version}");
            match skips.get(key.as_str()) {
                None => report(format!(
                    "`{key}` is an older second copy: align versions, or skip it with a reason"
                )),
                Some(&"") => report(format!("the skip of `{key}` gives no reason")),
                Some(_) => {}
            }
            needed.insert(key);
        }
    }
    for stale in skips.keys().filter(|key| !needed.contains(**key)) {
        report(format!("the skip of `{stale}` is no longer needed: take it out"));
    }
    Ok(findings)
}

/// `{ crate = "name@1.2.3", reason = "…" }`.
fn named(entry: &Value) -> Option<(&str, &str)> {
    let name = entry
        .get("crate")
        .or_else(|| entry.get("name"))
        .and_then(Value::as_str)?;
    Some((
        name,
        entry.get("reason").and_then(Value::as_str).unwrap_or_default(),
    ))
}

fn excepted<'a>(exceptions: &'a [Value], name: &str) -> BTreeSet<&'a str> {
    let matching = exceptions
        .iter()
        .filter(|entry| named(entry).is_some_and(|(found, _)| found == name));
    let lists = matching.filter_map(|entry| entry.get("allow").and_then(Value::as_array));
    lists.flatten().filter_map(Value::as_str).collect()
}

fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

/// Whether an SPDX expression can be met with the accepted licences. `/` is the old way to write OR.
fn satisfied(expression: &str, accepted: &BTreeSet<&str>) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let met = any(&mut rest, accepted);
    met == Some(true) && rest.is_empty()
}

fn any(rest: &mut &[&str], accepted: &BTreeSet<&str>) -> Option<bool> {
    let mut met = all(rest, accepted)?;
    while let Some(after) = rest.strip_prefix(&["OR"]) {
        *rest = after;
        met |= all(rest, accepted)?;
    }
    Some(met)
}

fn all(rest: &mut &[&str], accepted: &BTreeSet<&str>) -> Option<bool> {
    let mut met = one(rest, accepted)?;
    while let Some(after) = rest.strip_prefix(&["AND"]) {
        *rest = after;
        met &= one(rest, accepted)?;
    }
    Some(met)
}

fn one(rest: &mut &[&str], accepted: &BTreeSet<&str>) -> Option<bool> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    if *first == "(" {
        let met = any(rest, accepted)?;
        *rest = rest.strip_prefix(&[")"])?;
        return Some(met);
    }
    if let ["WITH", exception, after @ ..] = *rest {
        *rest = after;
        return Some(accepted.contains(format!("{first} WITH {exception}").as_str()));
    }
    Some(accepted.contains(first))
}
