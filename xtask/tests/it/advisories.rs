use std::process::Command;

use crate::tree::Tree;

const RULE: &str = "advisories";
const SNAPSHOT: &str = "xtask/tidy/advisories.txt";

fn with(version: &str, ranges: &str) -> Tree {
    let tree = Tree::in_order();
    tree.foreign("leaf", "leaf", version, "MIT");
    tree.package(
        "crates/base",
        "bailiwick-base",
        "leaf = { path = \"../../vendor/leaf\" }\n",
    );
    tree.file(
        SNAPSHOT,
        &format!("# Database of 2026-01-02\nRUSTSEC-2026-0001 | leaf | weakness | {ranges}\n"),
    );
    tree
}

#[test]
fn an_affected_version_fails_with_the_way_out() {
    with("1.1.9", ">= 1.2.0 |").fails(
        RULE,
        "deny.toml",
        &["`leaf` 1.1.9", "RUSTSEC-2026-0001", ">= 1.2.0"],
    );
    with("1.1.9", "|").fails(RULE, "deny.toml", &["patched in no version"]);
}

#[test]
fn ranges_are_read_as_cargo_reads_them() {
    let fine = [
        ("1.2.0", ">= 1.2.0 |"),
        ("0.9.9", ">= 1.2.0 | < 1.0.0"),
        ("1.1.7", ">= 1.1.5, < 1.2.0; >= 1.3.0 |"),
        ("0.3.9", "^0.3.4 |"),
        ("1.9.0", "^1.2 |"),
        ("1.2.9", "~1.2.3 |"),
        ("2.0.0", "= 2.0.0 |"),
        ("1.0.0", "> 1.0.0-rc.2 |"),
        ("1.0.0-rc.10", ">= 1.0.0-rc.9 |"),
        ("1.0.0+build.5", "<= 1.0.0 |"),
    ];
    for (version, ranges) in fine {
        assert_eq!(
            with(version, ranges).findings(RULE),
            Vec::<String>::new(),
            "{version} in {ranges}"
        );
    }
    let affected = [
        ("1.1.4", ">= 1.1.5, < 1.2.0; >= 1.3.0 |"),
        ("1.2.0", ">= 1.1.5, < 1.2.0; >= 1.3.0 |"),
        ("0.4.0", "^0.3.4 |"),
        ("2.0.0", "^1.2 |"),
        ("1.3.0", "~1.2.3 |"),
        ("1.0.0-rc.1", ">= 1.0.0 |"),
    ];
    for (version, ranges) in affected {
        assert_eq!(
            with(version, ranges).findings(RULE).len(),
            1,
            "{version} not in {ranges}"
        );
    }
}

#[test]
fn an_advisory_is_ignored_with_a_reason_and_only_while_it_applies() {
    let ignore = |reason: &str| {
        format!("[advisories]\nignore = [{{ id = \"RUSTSEC-2026-0001\", reason = \"{reason}\" }}]\n")
    };
    let tree = with("1.0.0", ">= 1.2.0 |");
    tree.file("deny.toml", &ignore("we do not call it"));
    tree.passes(RULE);
    tree.file("deny.toml", &ignore(""));
    assert_eq!(
        tree.findings(RULE).len(),
        2,
        "no reason given, and still affected"
    );
    let tree = with("1.3.0", ">= 1.2.0 |");
    tree.file("deny.toml", &ignore("we do not call it"));
    tree.fails(RULE, "deny.toml", &["`RUSTSEC-2026-0001` any more"]);
}

#[test]
fn a_missing_snapshot_fails() {
    Tree::in_order().fails(RULE, SNAPSHOT, &["is missing"]);
}

#[test]
fn a_snapshot_is_made_from_a_clone_of_the_database() {
    let tree = Tree::in_order();
    let advisory = |id: &str, more: &str| {
        format!(
            "```toml\n[advisory]\nid = \"{id}\"\npackage = \"leaf\"\n{more}\n\n[versions]\n\
             patched = [\">= 1.2.0\", \"^0.9.3\"]\n```\n\n# Title\n\nProse.\n"
        )
    };
    tree.file(
        "crates/leaf/A.md",
        &advisory("RUSTSEC-2026-0002", "informational = \"unmaintained\""),
    );
    tree.file(
        "crates/leaf/B.md",
        &advisory("RUSTSEC-2026-0003", "withdrawn = \"2026-01-01\""),
    );
    for kept in ["crates/base", "crates/govern", "crates/record", "crates/request"] {
        std::fs::remove_dir_all(tree.repo().path(kept)).unwrap();
    }
    let root = tree.repo().root;
    for arguments in [
        &["init", "--quiet"][..],
        &[
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t.example",
            "commit",
            "--quiet",
            "--allow-empty",
            "-m",
            "x",
        ],
    ] {
        assert!(
            Command::new("git")
                .args(arguments)
                .current_dir(&root)
                .status()
                .unwrap()
                .success()
        );
    }
    let text = xtask::tidy::snapshot(&root).unwrap();
    let facts: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        facts,
        ["RUSTSEC-2026-0002 | leaf | unmaintained | >= 1.2.0; ^0.9.3 |"]
    );
    assert!(text.contains("# Database of 20"), "{text}");
}
