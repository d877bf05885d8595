use crate::tree::Tree;

const RULE: &str = "arrows";

#[test]
fn an_arrow_of_the_table_passes() {
    let tree = Tree::in_order();
    tree.package(
        "crates/govern/grant",
        "bailiwick-grant",
        "bailiwick-inventory = { path = \"../inventory\" }\n",
    );
    tree.passes(RULE);
}

#[test]
fn an_arrow_against_the_flow_fails() {
    let tree = Tree::in_order();
    tree.package(
        "crates/base",
        "bailiwick-base",
        "bailiwick-store = { path = \"../record/store\" }\n",
    );
    tree.package("crates/govern/inventory", "bailiwick-inventory", "");
    tree.fails(
        RULE,
        "crates/base/Cargo.toml",
        &["`bailiwick-base` may not depend on `bailiwick-store`"],
    );
}

#[test]
fn the_api_sees_no_other_enforcement_point() {
    let tree = Tree::in_order();
    tree.package("crates/request/mcp", "bailiwick-mcp", "");
    tree.package(
        "crates/request/api",
        "bailiwick-api",
        "bailiwick-mcp = { path = \"../mcp\" }\n",
    );
    tree.fails(
        RULE,
        "crates/request/api/Cargo.toml",
        &["`bailiwick-mcp`", "govern/*"],
    );
}

#[test]
fn a_storey_wildcard_stays_in_its_storey() {
    let tree = Tree::in_order();
    tree.package("crates/record/keys", "bailiwick-keys", "");
    tree.package(
        "crates/record/store",
        "bailiwick-store",
        "bailiwick-inventory = { path = \"../../govern/inventory\" }\nbailiwick-keys = { path = \"../keys\" }\n",
    );
    tree.fails(RULE, "crates/record/store/Cargo.toml", &["`bailiwick-keys`"]);
}

#[test]
fn a_test_may_reach_further_than_the_product() {
    let tree = Tree::in_order();
    tree.package(
        "crates/record/audit",
        "bailiwick-audit",
        "\n[dev-dependencies]\nbailiwick-inventory = { path = \"../../govern/inventory\" }\n",
    );
    tree.passes(RULE);
}

#[test]
fn a_crate_outside_the_table_fails() {
    let tree = Tree::in_order();
    tree.package("crates/govern/gossip", "bailiwick-gossip", "");
    tree.fails(
        RULE,
        "crates/govern/gossip/Cargo.toml",
        &["not in the arrows table"],
    );
}

#[test]
fn a_package_is_called_after_its_folder() {
    let tree = Tree::in_order();
    tree.package("crates/record/audit", "bailiwick-ledger", "");
    tree.fails(
        RULE,
        "crates/record/audit/Cargo.toml",
        &["`bailiwick-ledger`", "`bailiwick-audit`"],
    );
}

#[test]
fn only_the_store_names_a_driver() {
    let tree = Tree::in_order();
    tree.foreign("sqlx", "sqlx", "0.9.0", "MIT");
    let driver = "sqlx = { path = \"../../../vendor/sqlx\" }\n";
    tree.package("crates/record/store", "bailiwick-store", driver);
    tree.package("crates/request/connectors", "bailiwick-connectors", driver);
    tree.passes(RULE);
    tree.package(
        "crates/govern/inventory",
        "bailiwick-inventory",
        &format!("\n[dev-dependencies]\n{driver}"),
    );
    tree.fails(
        RULE,
        "crates/govern/inventory/Cargo.toml",
        &["`crates/record/store`", "`sqlx`"],
    );
}

#[test]
fn the_store_does_not_decide() {
    let tree = Tree::in_order();
    let path = "crates/record/store/src/tx.rs";
    tree.file(path, "fn plan(decide: u8) -> u8 { decide }\n// decide(1)\n");
    tree.passes(RULE);
    tree.file(path, "fn apply() {\n    let _ = decide::decide(1);\n}\n");
    tree.fails(RULE, &format!("{path}:2"), &["`decide`", "what others decided"]);
}
