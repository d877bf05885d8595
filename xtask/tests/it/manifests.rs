use std::fs;

use crate::tree::Tree;

const RULE: &str = "manifests";

fn spoil(tree: &Tree, path: &str, from: &str, to: &str) {
    let text = fs::read_to_string(tree.repo().path(path)).unwrap();
    assert!(text.contains(from), "`{from}` is not in {path}");
    tree.file(path, &text.replace(from, to));
}

#[test]
fn a_crate_without_the_lints_fails() {
    let tree = Tree::in_order();
    spoil(&tree, "crates/base/Cargo.toml", "[lints]\nworkspace = true\n", "");
    tree.fails(RULE, "crates/base/Cargo.toml", &["does not inherit the lints"]);
}

#[test]
fn a_crate_with_fields_of_its_own_fails() {
    let tree = Tree::in_order();
    spoil(
        &tree,
        "crates/base/Cargo.toml",
        "license.workspace = true",
        "license = \"MIT\"",
    );
    tree.fails(RULE, "crates/base/Cargo.toml", &["`license.workspace = true`"]);
}

#[test]
fn a_workspace_that_allows_unsafe_code_fails() {
    let tree = Tree::in_order();
    spoil(
        &tree,
        "Cargo.toml",
        "unsafe_code = \"forbid\"",
        "unsafe_code = \"deny\"",
    );
    tree.fails(RULE, "Cargo.toml", &["`unsafe_code` is not forbidden"]);
}

#[test]
fn a_lint_that_is_switched_off_fails() {
    let tree = Tree::in_order();
    spoil(
        &tree,
        "Cargo.toml",
        "too_many_lines = \"deny\"",
        "too_many_lines = \"warn\"",
    );
    tree.fails(RULE, "Cargo.toml", &["`too_many_lines` is not denied"]);
}

#[test]
fn the_length_of_functions_is_fixed() {
    let tree = Tree::in_order();
    tree.file("clippy.toml", "too-many-lines-threshold = 100\n");
    tree.fails(RULE, "clippy.toml", &["is not 70"]);
}

#[test]
fn a_room_opens_with_its_guide() {
    let tree = Tree::in_order();
    tree.file("crates/base/src/lib.rs", "pub mod ids;\n");
    tree.fails(RULE, "crates/base/Cargo.toml", &["does not begin with `//!`"]);
}
