use xtask::tidy::degraded::{ASKED, LOST};

use crate::tree::Tree;

const RULE: &str = "degraded";
const FILE: &str = "docs/degraded.toml";
const TEST: &str = "crates/base/tests/it/ids.rs::an_id_is_never_reused";

fn shown() -> String {
    format!("{{ promise = \"works\", tests = [\"{TEST}\"] }}")
}

/// A mode with every cell but one.
fn mode(id: &str, left_out: &str) -> String {
    let cells = ASKED.into_iter().filter(|asked| *asked != left_out);
    let cells: String = cells.map(|asked| format!("{asked} = {}\n", shown())).collect();
    format!("[[mode]]\nid = \"{id}\"\nlost = \"it\"\n{cells}\n")
}

/// Every mode but one, and one of them without a cell.
fn without(left_out: &str, (of, asked): (&str, &str)) -> String {
    let modes = LOST.into_iter().filter(|id| *id != left_out);
    modes
        .map(|id| mode(id, if id == of { asked } else { "" }))
        .collect()
}

fn whole() -> String {
    without("", ("", ""))
}

fn with(text: &str) -> Tree {
    let tree = Tree::in_order();
    tree.file(FILE, text);
    tree
}

#[test]
fn a_test_for_every_cell_passes() {
    with(&whole()).passes(RULE);
}

#[test]
fn no_mode_and_no_cell_can_be_taken_out() {
    for id in LOST {
        with(&without(id, ("", ""))).fails(RULE, FILE, &[&format!("the mode `{id}` is missing")]);
        for asked in ASKED {
            with(&without("", (id, asked))).fails(RULE, FILE, &[&format!("`{id}` lacks the cell `{asked}`")]);
        }
    }
}

#[test]
fn a_cell_has_a_test_or_says_what_does_not_exist_yet() {
    let instead = |cell: &str| with(&whole().replacen(&shown(), cell, 1));
    instead("{ promise = \"works\", lacks = \"there is no second node\" }").passes(RULE);
    instead("{ promise = \"works\", tests = [] }").fails(RULE, FILE, &["`audit-store.call` names no test"]);
    instead("{ promise = \"works\", lacks = \" \" }").fails(RULE, FILE, &["nothing that it lacks"]);
    let both = format!("{{ promise = \"works\", lacks = \"a node\", tests = [\"{TEST}\"] }}");
    instead(&both).fails(RULE, FILE, &["one or the other"]);
}

#[test]
fn a_test_that_does_not_exist_and_a_mode_that_is_not_in_the_table_fail() {
    let text = whole().replacen("an_id_is_never_reused", "an_id_is_reused", 1);
    with(&text).fails(
        RULE,
        FILE,
        &["`audit-store.call`", "has no test `an_id_is_reused`"],
    );
    with(&(whole() + &mode("coffee", ""))).fails(RULE, FILE, &["`coffee` is no mode"]);
}

#[test]
fn the_readable_page_must_not_drift() {
    with(&whole()).fails("drift", "docs/degraded.md", &["cargo xtask gen"]);
}
