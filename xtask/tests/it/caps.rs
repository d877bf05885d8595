use crate::tree::Tree;

const RULE: &str = "caps";

fn lines(count: usize) -> String {
    "// a line\n".repeat(count)
}

#[test]
fn a_file_may_have_800_lines_and_no_more() {
    let tree = Tree::in_order();
    for small in 0..20 {
        tree.file(&format!("crates/govern/inventory/src/small_{small}.rs"), "");
    }
    tree.file("crates/govern/inventory/src/model.rs", &lines(800));
    tree.passes(RULE);
    tree.file("crates/govern/inventory/src/model.rs", &lines(801));
    tree.fails(
        RULE,
        "crates/govern/inventory/src/model.rs",
        &["801 lines, at most 800"],
    );
}

#[test]
fn a_test_file_may_be_longer() {
    let tree = Tree::in_order();
    for small in 0..20 {
        tree.file(&format!("crates/govern/inventory/src/small_{small}.rs"), "");
    }
    tree.file("crates/base/tests/it/long.rs", &lines(1_200));
    tree.passes(RULE);
    tree.file("crates/base/tests/it/long.rs", &lines(1_201));
    tree.fails(RULE, "crates/base/tests/it/long.rs", &["at most 1200"]);
}

#[test]
fn other_languages_have_the_same_cap() {
    let tree = Tree::in_order();
    tree.file("tests/interop/client.py", &"# a line\n".repeat(1_201));
    tree.fails(RULE, "tests/interop/client.py", &["at most 1200"]);
}

#[test]
fn nine_files_in_ten_stay_short() {
    let tree = Tree::in_order();
    tree.file("crates/govern/inventory/src/one.rs", &lines(460));
    tree.file("crates/govern/inventory/src/two.rs", &lines(460));
    tree.fails(RULE, "crates", &["at most 450", "460"]);
}

#[test]
fn base_stays_small_and_dull() {
    let tree = Tree::in_order();
    for part in 0..10 {
        tree.file(&format!("crates/base/src/part_{part}.rs"), &lines(300));
    }
    tree.fails(
        RULE,
        "crates/base/src/",
        &["3001 lines, at most 3000", "its room"],
    );
}

#[test]
fn the_composition_root_stays_small() {
    let tree = Tree::in_order();
    for part in 0..10 {
        tree.file(&format!("crates/server/src/part_{part}.rs"), &lines(401));
    }
    tree.fails(RULE, "crates/server/src/", &["4010 lines, at most 4000"]);
}

#[test]
fn a_driver_is_one_plan() {
    let tree = Tree::in_order();
    tree.file("crates/server/src/drivers/rotate.rs", &lines(151));
    tree.fails(RULE, "crates/server/src/drivers/rotate.rs", &["at most 150"]);
}

#[test]
fn documents_have_caps_too() {
    let tree = Tree::in_order();
    tree.file("STYLE.md", &"a line\n".repeat(201));
    tree.fails(RULE, "STYLE.md", &["201 lines, at most 200"]);
}

#[test]
fn a_handler_has_at_most_60_lines() {
    let tree = Tree::in_order();
    tree.package("crates/request/api", "bailiwick-api", "");
    let path = "crates/request/api/src/v1/identities/list.rs";
    let handler = |count: usize| {
        format!(
            "//! List.\nasync fn handler() {{\n{}}}\n",
            "    step();\n".repeat(count)
        )
    };
    tree.file(path, &handler(58));
    tree.passes(RULE);
    tree.file(path, &handler(59));
    tree.fails(RULE, &format!("{path}:2"), &["a handler of 61 lines, at most 60"]);
}
