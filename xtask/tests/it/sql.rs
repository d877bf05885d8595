use crate::tree::Tree;

const RULE: &str = "sql";
const FILE: &str = "migrations/0001_create_identity.sql";

fn with(sql: &str) -> Tree {
    let tree = Tree::in_order();
    tree.file(FILE, sql);
    tree
}

#[test]
fn a_key_that_begins_with_the_tenant_passes() {
    with(
        "-- identities\nCREATE TABLE IF NOT EXISTS identity (\n  tenant TEXT NOT NULL,\n  id BLOB NOT NULL,\n\
         name TEXT NOT NULL DEFAULT 'primary',\n  PRIMARY KEY (tenant, id),\n  UNIQUE (tenant, name),\n\
         CHECK (length(name) > 0)\n);\n",
    )
    .passes(RULE);
}

#[test]
fn a_key_without_the_tenant_fails() {
    with("CREATE TABLE identity (\n  id BLOB NOT NULL,\n  tenant TEXT NOT NULL,\n  PRIMARY KEY (id, tenant)\n);\n")
        .fails(RULE, &format!("{FILE}:1"), &["primary key of `identity`", "tenant first"]);
}

#[test]
fn a_key_written_at_a_column_fails() {
    with("CREATE TABLE identity (id BLOB PRIMARY KEY, tenant TEXT);\n").fails(
        RULE,
        &format!("{FILE}:1"),
        &["primary key of `identity`"],
    );
}

#[test]
fn a_table_without_a_key_fails() {
    with("CREATE TABLE identity (tenant TEXT);\n").fails(RULE, &format!("{FILE}:1"), &["no primary key"]);
}

#[test]
fn a_unique_key_without_the_tenant_leaks_across() {
    with("CREATE TABLE t (tenant TEXT, name TEXT, PRIMARY KEY (tenant, name), UNIQUE (name));\n").fails(
        RULE,
        &format!("{FILE}:1"),
        &["unique key of `t`"],
    );
    with("CREATE UNIQUE INDEX by_name ON t (name);\n").fails(
        RULE,
        &format!("{FILE}:1"),
        &["unique index on `t`"],
    );
    with("CREATE UNIQUE INDEX by_name ON t (tenant, name);\nCREATE INDEX by_age ON t (age);\n").passes(RULE);
}

#[test]
fn the_tables_of_the_installation_have_no_tenant() {
    let tables = ["node", "epoch", "log_entry", "log_tile", "lease"];
    let sql: String = tables
        .iter()
        .map(|table| format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY);\n"))
        .collect();
    with(&sql).passes(RULE);
}

#[test]
fn tables_made_in_code_are_seen() {
    let tree = Tree::in_order();
    let path = "crates/record/store/src/schema.rs";
    tree.file(
        path,
        "const MAKE: &str = \"\nCREATE TABLE t (id INT, PRIMARY KEY (id))\";\n",
    );
    tree.fails(RULE, &format!("{path}:2"), &["primary key of `t`"]);
}

#[test]
fn twin_statements_are_counted() {
    let tree = Tree::in_order();
    let path = "crates/record/store/src/identity.rs";
    tree.file(
        path,
        "const CLAIM_SQLITE: &str = \"a\";\nconst CLAIM_POSTGRES: &str = \"b\";\n",
    );
    tree.fails(RULE, "xtask/tidy/limits.toml", &["1 twin texts, 0 committed"]);
    tree.file("xtask/tidy/limits.toml", "[sql]\ntwins = 1\n");
    tree.passes(RULE);
    tree.file(path, "const CLAIM_SQLITE: &str = \"a\";\n");
    tree.fails(
        RULE,
        "crates/record/store/",
        &["`CLAIM_SQLITE` has no twin `CLAIM_POSTGRES`"],
    );
}

#[test]
fn a_migration_for_one_engine_has_its_twin() {
    let tree = Tree::in_order();
    tree.file("migrations/0002_add_row_security.postgres.sql", "SELECT 1;\n");
    tree.fails(RULE, "migrations/0002_add_row_security", &[".sqlite.sql"]);
}

#[test]
fn no_engine_is_named_outside_the_store() {
    let tree = Tree::in_order();
    tree.file(
        "crates/record/store/src/engine.rs",
        "enum Engine { Postgres, Sqlite }\n",
    );
    tree.file(
        "crates/govern/inventory/src/text.rs",
        "// postgres\nconst A: &str = \"sqlite\";\n",
    );
    tree.passes("engine");
    tree.file("crates/govern/inventory/src/text.rs", "fn is_sqlite() {}\n");
    tree.fails(
        "engine",
        "crates/govern/inventory/src/text.rs:1",
        &["`is_sqlite`"],
    );
    tree.file(
        "xtask/tidy/allowed-engine.txt",
        "is_sqlite | crates/govern/ | a reason\n",
    );
    tree.passes("engine");
}
