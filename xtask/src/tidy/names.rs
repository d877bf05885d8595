//! One word per idea: identifiers that the glossary refuses, each with the word to use instead.
//!
//! A refused word counts when it is the whole name. `RefusedEvent` is two ideas and passes,
//! `Event` is the refused one. For types the last word counts too, because it says what the thing
//! is: a `ServiceAccount` is an account.
use std::path::Path;

use super::settings::AllowList;
use super::{Finding, House};
use crate::fail::Outcome;
use crate::rust::{self, Item};

const RULE: &str = "names";
const ALLOWED: &str = "xtask/tidy/allowed-names.txt";

/// Refused as the whole name of a type, a function or a module.
const WHOLE: [(&str, &str); 23] = [
    ("account", "identity, tenant"),
    ("admin", "operator"),
    ("advice", "obligation"),
    ("allowed", "Decision, Effect::Permit"),
    ("anomaly", "deviation"),
    ("authentication", "attestation for evidence, `verify` for tokens"),
    ("customer", "tenant"),
    ("delete", "revoke, decommission"),
    ("disable", "suspend, revoke"),
    ("env", "context"),
    ("event", "entry, observation"),
    ("job", "task for agents, driver for ours"),
    ("latency", "propagation time, or what is measured"),
    ("object", "resource"),
    ("operation", "action"),
    ("org", "tenant"),
    ("pending", "hold, approval"),
    ("profile", "baseline"),
    ("provider", "issuer"),
    ("refresh", "renew"),
    ("remove", "decommission, or what is really done"),
    ("request", "call; an HTTP request is `http::Request`"),
    ("user", "identity, operator, owner"),
];

/// Refused as the last word of a type.
const ENDING: [(&str, &str); 13] = [
    ("account", "identity, tenant"),
    ("admin", "operator"),
    ("advice", "obligation"),
    ("anomaly", "deviation"),
    ("customer", "tenant"),
    ("helper", "the name of what it does"),
    ("info", "the name of what it holds"),
    ("job", "task for agents, driver for ours"),
    ("manager", "the name of what it does"),
    ("org", "tenant"),
    ("sth", "checkpoint"),
    ("util", "the name of what it does"),
    ("utils", "the name of what it does"),
];

/// Refused at the front of a function name.
const FRONT: [(&str, &str); 2] = [
    (
        "get_",
        "`lookup` for an Option, `require_` for a Result, or the bare noun",
    ),
    (
        "handle_",
        "an endpoint is `handler`; otherwise the verb that says what is done",
    ),
];

/// Refused for files, folders and modules: each has become a dumping ground somewhere.
const PLACES: [(&str, &str); 12] = [
    ("common", "the room that owns it"),
    ("data", "the name of what it holds"),
    ("helper", "the room that owns it"),
    ("helpers", "the room that owns it"),
    ("info", "the name of what it holds"),
    ("manager", "the name of what it does"),
    ("misc", "the room that owns it"),
    ("shared", "the room that owns it"),
    ("support", "the room that owns it"),
    ("util", "the room that owns it"),
    ("utilities", "the room that owns it"),
    ("utils", "the room that owns it"),
];

pub(super) fn names(house: &House) -> Outcome<Vec<Finding>> {
    let repo = &house.repo;
    let mut allowed = AllowList::read(repo, ALLOWED)?;
    let mut findings = Vec::new();
    for file in repo.files.iter().filter(|file| is_ours(file)) {
        for (word, instead) in refused_places(file) {
            if !allowed.allows(word, file) {
                findings.push(finding(file.clone(), word, instead));
            }
        }
        if !file.ends_with(".rs") {
            continue;
        }
        let source = repo.read(file)?;
        let tokens = rust::tokens(&source);
        for item in rust::items(&tokens) {
            if let Some(instead) = refused(&item, is_test(file))
                && !allowed.allows(item.name, file)
            {
                findings.push(finding(format!("{file}:{}", item.line), item.name, instead));
            }
        }
    }
    for (place, entry) in allowed.stale() {
        let message = format!(
            "nothing needs `{}` under `{}` any more: take the line out",
            entry.what, entry.place
        );
        findings.push(Finding {
            rule: RULE,
            place,
            message,
        });
    }
    Ok(findings)
}

fn finding(place: String, name: &str, instead: &str) -> Finding {
    let message =
        format!("`{name}` is a refused name: use {instead} (GLOSSARY.md), or give a reason in {ALLOWED}");
    Finding {
        rule: RULE,
        place,
        message,
    }
}

fn is_ours(file: &str) -> bool {
    ["crates/", "xtask/", "tests/", "simulation/", "fuzz/"]
        .iter()
        .any(|folder| file.starts_with(folder))
}

fn is_test(file: &str) -> bool {
    file.contains("/tests/") || file.starts_with("tests/")
}

fn refused_places(file: &str) -> Vec<(&'static str, &'static str)> {
    let parts = Path::new(file)
        .components()
        .filter_map(|part| part.as_os_str().to_str());
    let stems: Vec<&str> = parts.map(|part| part.split('.').next().unwrap_or(part)).collect();
    PLACES
        .into_iter()
        .filter(|(word, _)| stems.contains(word))
        .collect()
}

fn refused(item: &Item<'_>, is_test: bool) -> Option<&'static str> {
    let words = words(item.name);
    let whole = || lookup(&WHOLE, &words.join("_"));
    match item.keyword {
        "enum" | "struct" | "trait" | "union" => whole().or_else(|| lookup(&ENDING, words.last()?)),
        // The file rule has named the place already, unless the module is written in line.
        "mod" => whole().or_else(|| lookup(&PLACES, item.name)),
        // A test is a sentence about the product, and sentences need all words.
        "fn" if !is_test => whole().or_else(|| {
            let front = FRONT.iter().find(|(front, _)| item.name.starts_with(front));
            front.map(|(_, instead)| *instead)
        }),
        _ => None,
    }
}

fn lookup(table: &[(&'static str, &'static str)], word: &str) -> Option<&'static str> {
    let singular = word.strip_suffix('s').unwrap_or(word);
    let row = table
        .iter()
        .find(|(refused, _)| *refused == word || *refused == singular);
    row.map(|(_, instead)| *instead)
}

/// `ServiceAccount`, `service_account` and `SERVICE_ACCOUNT` are `["service", "account"]`.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut previous_is_lower = false;
    for c in name.chars() {
        if c == '_' {
            words.push(String::new());
            previous_is_lower = false;
            continue;
        }
        if words.is_empty() || (c.is_uppercase() && previous_is_lower) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
        previous_is_lower = c.is_lowercase() || c.is_ascii_digit();
    }
    words.retain(|word| !word.is_empty());
    words
}
