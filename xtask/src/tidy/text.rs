//! What must not stand in any tracked file: paths of a machine, addresses of registries, words of
//! writing tools; and lock files that say where they were made.
use super::settings::AllowList;
use super::{Finding, House};
use crate::fail::Outcome;

const ALLOWED: &str = "xtask/tidy/allowed-text.txt";
/// The list of patterns itself, and the exceptions to it.
const PATTERNS: &str = "xtask/tidy/refused-text.txt";

/// Lines of `refused-text.txt` are `pattern | kind`, matched without regard to case.
pub(super) fn text(house: &House) -> Outcome<Vec<Finding>> {
    const RULE: &str = "text";
    let repo = &house.repo;
    let listed = if repo.has(PATTERNS) {
        repo.read(PATTERNS)?
    } else {
        String::new()
    };
    let mut patterns: Vec<(String, String)> = listed
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('|'))
        .map(|(pattern, kind)| (pattern.trim().to_lowercase(), kind.trim().to_owned()))
        .collect();
    patterns.extend(places_of_this_machine(&repo.root));
    let mut allowed = AllowList::read(repo, ALLOWED)?;
    let mut findings = Vec::new();
    let read = repo
        .files
        .iter()
        .filter(|file| *file != PATTERNS && *file != ALLOWED && *file != "Cargo.lock");
    for file in read {
        let Some(text) = repo.read_text(file)? else {
            continue;
        };
        for (number, line) in (1_usize..).zip(text.to_lowercase().lines()) {
            for (pattern, kind) in &patterns {
                if contains(line, pattern) && !allowed.allows(pattern, file) {
                    let message = format!("`{pattern}` is {kind}: take it out");
                    findings.push(Finding {
                        rule: RULE,
                        place: format!("{file}:{number}"),
                        message,
                    });
                }
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

/// The folder we work in and the home folder, as they are on the machine that runs this.
fn places_of_this_machine(root: &std::path::Path) -> Vec<(String, String)> {
    let home = std::env::var("HOME").ok().filter(|home| home.len() > 1);
    let places = [Some(root.to_string_lossy().into_owned()), home];
    let named = places
        .into_iter()
        .flatten()
        .map(|place| place.trim_end_matches('/').to_lowercase());
    named
        .map(|place| (format!("{place}/"), "a path of this machine".to_owned()))
        .collect()
}

/// A pattern that begins and ends with a letter has to stand alone, so that words inside words pass.
fn contains(line: &str, pattern: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let starts = is_word(pattern.chars().next());
    let ends = is_word(pattern.chars().next_back());
    line.match_indices(pattern).any(|(at, found)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        let after = line
            .get(at + found.len()..)
            .and_then(|after| after.chars().next());
        !(starts && is_word(before) || ends && is_word(after))
    })
}

/// Cargo writes one index name; npm can leave addresses out (`omit-lockfile-registry-resolved`).
pub(super) fn lock(house: &House) -> Outcome<Vec<Finding>> {
    const RULE: &str = "lock";
    const CARGO_INDEX: &str = "registry+https://github.com/rust-lang/crates.io-index";
    let mut findings = Vec::new();
    for file in &house.repo.files {
        let name = file.rsplit('/').next().unwrap_or(file);
        let is_lock = name.ends_with(".lock") || name.ends_with("-lock.json") || name.ends_with("-lock.yaml");
        let is_pins = name.starts_with("requirements") && name.ends_with(".txt");
        if !is_lock && !is_pins {
            continue;
        }
        let Some(text) = house.repo.read_text(file)? else {
            continue;
        };
        for (number, line) in (1_usize..).zip(text.lines()) {
            let address = line.contains("://") && !line.contains(CARGO_INDEX);
            let download = line.contains("\"resolved\"") || line.contains("--index-url");
            if download || address && !is_homepage(line) {
                let message = "holds a download address: write the lock file without one".to_owned();
                findings.push(Finding {
                    rule: RULE,
                    place: format!("{file}:{number}"),
                    message,
                });
            }
        }
    }
    Ok(findings)
}

/// npm copies the funding page of a package into its lock file.
fn is_homepage(line: &str) -> bool {
    line.trim_start().starts_with("\"url\": ")
}
