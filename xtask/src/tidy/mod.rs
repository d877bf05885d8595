//! `cargo xtask tidy`: the house rules that a compiler cannot check. One file per group of rules,
//! each rule tested in `xtask/tests/it` with a tree that must fail and one that must pass.
mod advisories;
mod arrows;
mod caps;
pub mod coverage;
pub mod degraded;
mod dependencies;
mod documents;
mod invariants;
mod manifests;
mod names;
mod settings;
mod sql;
mod text;
mod versions;

use std::cell::OnceCell;
use std::fmt;

pub use advisories::{SNAPSHOT, snapshot};
pub use coverage::{Coverage, Paragraph, Section};
pub use degraded::{Degraded, DegradedCell, DegradedMode};
pub use documents::RECORDS;

use self::dependencies::Reached;
use crate::fail::{Fail, Outcome};
use crate::generate;
use crate::metadata::Metadata;
use crate::repo::Repo;

/// One breach: where, which rule, and what to do instead.
#[derive(Debug)]
pub struct Finding {
    pub rule: &'static str,
    /// `path` or `path:line`.
    pub place: String,
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: [{}] {}", self.place, self.rule, self.message)
    }
}

/// What a rule may look at.
pub struct House {
    pub repo: Repo,
    members: OnceCell<Metadata>,
    reached: OnceCell<Reached>,
}

impl House {
    #[must_use]
    pub fn open(repo: Repo) -> Self {
        Self {
            repo,
            members: OnceCell::new(),
            reached: OnceCell::new(),
        }
    }

    /// The crates of the workspace; cargo is asked once, and only for rules that want to know.
    pub fn members(&self) -> Outcome<&Metadata> {
        if let Some(members) = self.members.get() {
            return Ok(members);
        }
        let members = Metadata::members(&self.repo.root)?;
        Ok(self.members.get_or_init(|| members))
    }

    /// The foreign crates that the product reaches; asked once.
    fn reached(&self) -> Outcome<&Reached> {
        if let Some(reached) = self.reached.get() {
            return Ok(reached);
        }
        let reached = Reached::read(self)?;
        Ok(self.reached.get_or_init(|| reached))
    }
}

type Rule = fn(&House) -> Outcome<Vec<Finding>>;

const RULES: [(&str, Rule); 18] = [
    ("advisories", advisories::advisories),
    ("arrows", arrows::arrows),
    ("caps", caps::caps),
    ("coverage", coverage::coverage),
    ("degraded", degraded::degraded),
    ("drift", generate::drift),
    ("duplicates", dependencies::duplicates),
    ("engine", sql::engine),
    ("invariants", invariants::invariants),
    ("licences", dependencies::licences),
    ("links", documents::links),
    ("lock", text::lock),
    ("manifests", manifests::manifests),
    ("names", names::names),
    ("records", documents::records),
    ("sql", sql::sql),
    ("tests", invariants::tests_run),
    ("text", text::text),
];

/// Runs one rule by name.
pub fn check(rule: &str, house: &House) -> Outcome<Vec<Finding>> {
    let (_, run) = RULES
        .iter()
        .find(|(name, _)| *name == rule)
        .ok_or_else(|| Fail::usage(format!("no rule `{rule}`; the rules are {}", known())))?;
    run(house)
}

/// Runs every rule, in the order of their names.
pub fn check_all(house: &House) -> Outcome<Vec<Finding>> {
    let mut findings = Vec::new();
    for (_, run) in RULES {
        findings.extend(run(house)?);
    }
    Ok(findings)
}

pub fn command(repo: &Repo, rest: &[String]) -> Outcome<bool> {
    let house = House::open(Repo::open(&repo.root)?);
    let mut findings = Vec::new();
    if rest.is_empty() {
        findings = check_all(&house)?;
    }
    for rule in rest {
        findings.extend(check(rule, &house)?);
    }
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!("tidy: {} files in order", house.repo.files.len()),
        count => println!("tidy: {count} findings"),
    }
    Ok(findings.is_empty())
}

fn known() -> String {
    RULES.map(|(name, _)| name).join(", ")
}
