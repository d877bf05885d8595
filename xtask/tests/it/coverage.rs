use crate::tree::Tree;

const RULE: &str = "coverage";
const FILE: &str = "docs/coverage.toml";
const TEST: &str = "crates/base/tests/it/ids.rs::an_id_is_never_reused";

const BUILD: [&str; 9] = [
    "house",
    "store",
    "logs",
    "inventory",
    "credential",
    "grant-decide",
    "gateway",
    "kill",
    "cli-service",
];
const BAD_INPUT: [&str; 17] = [
    "token-forged",
    "token-expired",
    "token-wrong-audience",
    "token-wrong-tenant",
    "token-oversized",
    "token-duplicate-member",
    "vectors-jwt-jws",
    "vectors-json",
    "vectors-merkle",
    "vectors-hostile-mcp",
    "vectors-hostile-text",
    "config-unknown-key",
    "policy-bad",
    "owner-missing",
    "upstream-unreachable",
    "disk-full",
    "data-folder-read-only",
];

fn section(title: &str, ids: &[&str]) -> String {
    let paragraph =
        |id: &&str| format!("[[section.paragraph]]\nid = \"{id}\"\nasks = \"it\"\ntests = [\"{TEST}\"]\n");
    let paragraphs: String = ids.iter().map(paragraph).collect();
    format!("[[section]]\ntitle = \"{title}\"\n{paragraphs}")
}

fn whole() -> String {
    section("The spine: build", &BUILD) + &section("The spine: bad input", &BAD_INPUT)
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
    let without: Vec<&str> = BUILD.into_iter().filter(|id| *id != "kill").collect();
    let text = section("The spine: build", &without) + &section("The spine: bad input", &BAD_INPUT);
    with(&text).fails(RULE, FILE, &["`The spine: build` lacks the paragraph `kill`"]);
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
