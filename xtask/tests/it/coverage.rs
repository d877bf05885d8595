use xtask::tidy::coverage::REQUIRED;

use crate::tree::Tree;

const RULE: &str = "coverage";
const FILE: &str = "docs/coverage.toml";
const TEST: &str = "crates/base/tests/it/ids.rs::an_id_is_never_reused";

fn section(title: &str, ids: &[&str]) -> String {
    let paragraph =
        |id: &&str| format!("[[section.paragraph]]\nid = \"{id}\"\nasks = \"it\"\ntests = [\"{TEST}\"]\n");
    let paragraphs: String = ids.iter().map(paragraph).collect();
    format!("[[section]]\ntitle = \"{title}\"\n{paragraphs}")
}

fn whole() -> String {
    without("")
}

/// Every paragraph that has to be there but one.
fn without(left_out: &str) -> String {
    let sections = REQUIRED.into_iter().map(|(title, ids)| {
        let ids: Vec<&str> = ids.iter().copied().filter(|id| *id != left_out).collect();
        section(title, &ids)
    });
    sections.collect()
}

fn with(text: &str) -> Tree {
    let tree = Tree::in_order();
    tree.file(FILE, text);
    tree
}

#[test]
fn a_test_for_every_paragraph_passes() {
    with(&whole()).passes(RULE);
}

#[test]
fn a_paragraph_cannot_be_taken_out() {
    for (title, ids) in REQUIRED {
        for id in ids {
            let said = format!("`{title}` lacks the paragraph `{id}`");
            with(&without(id)).fails(RULE, FILE, &[&said]);
        }
    }
}

#[test]
fn a_paragraph_without_a_test_fails() {
    let text = whole().replacen(&format!("tests = [\"{TEST}\"]"), "tests = []", 1);
    with(&text).fails(RULE, FILE, &["`house` names no test"]);
}

#[test]
fn a_test_that_does_not_exist_fails() {
    let text = whole().replacen("an_id_is_never_reused", "an_id_is_reused", 1);
    with(&text).fails(RULE, FILE, &["`house`", "has no test `an_id_is_reused`"]);
}

#[test]
fn the_readable_page_must_not_drift() {
    let tree = with(&whole());
    tree.fails("drift", "docs/coverage.md", &["cargo xtask gen"]);
}
