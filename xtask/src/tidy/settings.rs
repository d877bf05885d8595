//! Figures and exceptions that tidy holds, committed under `xtask/tidy/`.
use std::collections::BTreeSet;

use toml::Table;

use crate::fail::{Fail, Outcome};
use crate::repo::Repo;

pub(super) const LIMITS: &str = "xtask/tidy/limits.toml";

/// Reads a TOML file of the tree; an absent file is an empty table.
pub(super) fn table(repo: &Repo, path: &str) -> Outcome<Table> {
    if !repo.has(path) {
        return Ok(Table::new());
    }
    repo.read(path)?
        .parse()
        .map_err(|error| Fail::broken(format!("`{path}` is not TOML: {error}")))
}

/// The integer at `[section] key` of the limits file, 0 where it is absent.
pub(super) fn limit(repo: &Repo, section: &str, key: &str) -> Outcome<usize> {
    let limits = table(repo, LIMITS)?;
    let value = limits.get(section).and_then(|section| section.get(key));
    let number = value.and_then(toml::Value::as_integer).unwrap_or_default();
    usize::try_from(number).map_err(|_| Fail::broken(format!("`{LIMITS}`: `{section}.{key}` is negative")))
}

/// One line of an allow list: `what | where | reason`, where `where` is a path or its beginning.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Exception {
    pub(super) what: String,
    pub(super) place: String,
    pub(super) line: usize,
}

/// Exceptions with their reasons, and which of them were needed.
pub(super) struct AllowList {
    file: &'static str,
    entries: Vec<Exception>,
    used: BTreeSet<usize>,
}

impl AllowList {
    pub(super) fn read(repo: &Repo, file: &'static str) -> Outcome<Self> {
        let text = if repo.has(file) {
            repo.read(file)?
        } else {
            String::new()
        };
        let mut entries = Vec::new();
        for (line, written) in (1_usize..).zip(text.lines()) {
            let written = written.trim();
            if written.is_empty() || written.starts_with('#') {
                continue;
            }
            let fields: Vec<&str> = written.split('|').map(str::trim).collect();
            match fields.as_slice() {
                [what, place, reason] if !reason.is_empty() => {
                    entries.push(Exception {
                        what: (*what).to_owned(),
                        place: (*place).to_owned(),
                        line,
                    });
                }
                _ => {
                    return Err(Fail::broken(format!(
                        "`{file}:{line}` is not `what | where | reason`"
                    )));
                }
            }
        }
        Ok(Self {
            file,
            entries,
            used: BTreeSet::new(),
        })
    }

    pub(super) fn allows(&mut self, what: &str, path: &str) -> bool {
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.what == what && path.starts_with(&entry.place));
        self.used.extend(entry.map(|entry| entry.line));
        entry.is_some()
    }

    /// Places of the entries that nothing needed: an exception has to go when its cause is gone.
    pub(super) fn stale(&self) -> Vec<(String, &Exception)> {
        let unused = self
            .entries
            .iter()
            .filter(|entry| !self.used.contains(&entry.line));
        unused
            .map(|entry| (format!("{}:{}", self.file, entry.line), entry))
            .collect()
    }
}
