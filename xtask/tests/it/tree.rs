//! A small workspace on disk that obeys every rule, for a test to spoil.
use std::fs;

use tempfile::TempDir;
use xtask::fail::Outcome;
use xtask::repo::Repo;
use xtask::tidy::{self, Finding, House};

pub(crate) struct Tree {
    folder: TempDir,
}

const ROOT: &str = r#"
[workspace]
resolver = "3"
members = ["crates/base", "crates/govern/*", "crates/record/*", "crates/request/*", "xtask"]
exclude = ["vendor"]

[workspace.package]
version = "0.1.0"
edition = "2024"
rust-version = "1.95"
license = "Apache-2.0"
publish = false

[workspace.lints.rust]
unsafe_code = "forbid"

[workspace.lints.clippy]
allow_attributes = "deny"
allow_attributes_without_reason = "deny"
disallowed_methods = "deny"
disallowed_types = "deny"
expect_used = "deny"
indexing_slicing = "deny"
panic = "deny"
string_slice = "deny"
todo = "deny"
too_many_lines = "deny"
unreachable = "deny"
unwrap_used = "deny"
"#;

const DENY: &str = r#"
[licenses]
allow = ["Apache-2.0", "MIT"]

[bans]
deny = [{ crate = "ring", reason = "one cryptography library" }]
skip = []
"#;

impl Tree {
    pub(crate) fn in_order() -> Self {
        let tree = Self {
            folder: TempDir::new().unwrap(),
        };
        tree.file("Cargo.toml", ROOT);
        tree.file("clippy.toml", "too-many-lines-threshold = 70\n");
        tree.file("deny.toml", DENY);
        tree.package("crates/base", "bailiwick-base", "");
        tree.package(
            "crates/govern/inventory",
            "bailiwick-inventory",
            "bailiwick-base = { path = \"../../base\" }\n",
        );
        tree.package("crates/record/store", "bailiwick-store", "");
        tree.package("crates/request/wire", "bailiwick-wire", "");
        tree.package("xtask", "xtask", "");
        tree.file(
            "crates/base/tests/it/ids.rs",
            "#[test]\nfn an_id_is_never_reused() {}\n",
        );
        tree.file(
            "ARCHITECTURE.md",
            "# Map\n\n## Invariants\n\n- An id is never reused:\n  `crates/base/tests/it/ids.rs::an_id_is_never_reused`\n",
        );
        tree
    }

    pub(crate) fn package(&self, folder: &str, name: &str, dependencies: &str) {
        let manifest = format!(
            "[package]\nname = \"{name}\"\ndescription = \"a part\"\nversion.workspace = true\n\
             edition.workspace = true\nrust-version.workspace = true\nlicense.workspace = true\n\
             publish.workspace = true\n\n[lints]\nworkspace = true\n\n[dependencies]\n{dependencies}"
        );
        self.file(&format!("{folder}/Cargo.toml"), &manifest);
        self.file(&format!("{folder}/src/lib.rs"), "//! A part.\n");
    }

    /// A foreign crate, kept in the tree so that cargo needs no network.
    pub(crate) fn foreign(&self, folder: &str, name: &str, version: &str, licence: &str) {
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2024\"\nlicense = \"{licence}\"\n"
        );
        self.file(&format!("vendor/{folder}/Cargo.toml"), &manifest);
        self.file(&format!("vendor/{folder}/src/lib.rs"), "");
    }

    pub(crate) fn file(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.folder.path().join(path)).unwrap();
    }

    pub(crate) fn repo(&self) -> Repo {
        Repo::open(self.folder.path()).unwrap()
    }

    pub(crate) fn run(&self, rule: &str) -> Outcome<Vec<Finding>> {
        tidy::check(rule, &House::open(self.repo()))
    }

    /// Every finding of a rule as one line.
    pub(crate) fn findings(&self, rule: &str) -> Vec<String> {
        self.run(rule).unwrap().iter().map(ToString::to_string).collect()
    }

    /// The rule passes.
    pub(crate) fn passes(&self, rule: &str) {
        assert_eq!(self.findings(rule), Vec::<String>::new());
    }

    /// The rule has exactly one finding, at `place`, and its message holds every one of `words`.
    pub(crate) fn fails(&self, rule: &str, place: &str, words: &[&str]) {
        let findings = self.findings(rule);
        assert_eq!(findings.len(), 1, "{findings:#?}");
        let finding = findings.first().unwrap();
        assert!(finding.starts_with(&format!("{place}: [{rule}] ")), "{finding}");
        for word in words {
            assert!(finding.contains(word), "`{word}` is not in: {finding}");
        }
    }
}

/// The tree that the other tests spoil is in order by every rule that needs no document.
#[test]
fn the_tree_passes_before_it_is_spoilt() {
    let tree = Tree::in_order();
    let rules = [
        "arrows",
        "caps",
        "duplicates",
        "engine",
        "invariants",
        "licences",
        "links",
        "lock",
        "manifests",
        "names",
        "records",
        "sql",
        "tests",
        "text",
    ];
    for rule in rules {
        tree.passes(rule);
    }
}

#[test]
fn an_unknown_rule_is_a_usage_error() {
    let fail = Tree::in_order().run("nonsense").unwrap_err();
    assert!(
        fail.to_string().contains("the rules are advisories, arrows"),
        "{fail}"
    );
}
