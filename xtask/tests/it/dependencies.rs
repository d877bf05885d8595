use crate::tree::Tree;

fn with_foreign(name: &str, version: &str, licence: &str) -> Tree {
    let tree = Tree::in_order();
    tree.foreign(name, name, version, licence);
    let line = format!("{name} = {{ path = \"../../vendor/{name}\" }}\n");
    tree.package("crates/base", "bailiwick-base", &line);
    tree
}

#[test]
fn an_accepted_licence_passes() {
    for licence in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "(MIT OR Apache-2.0) AND MIT",
    ] {
        with_foreign("leaf", "1.0.0", licence).passes("licences");
    }
}

#[test]
fn a_licence_that_is_not_accepted_fails() {
    for licence in [
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "Apache-2.0 WITH LLVM-exception",
        "(MIT",
    ] {
        with_foreign("leaf", "1.0.0", licence).fails(
            "licences",
            "deny.toml",
            &["`leaf` 1.0.0", "not accepted"],
        );
    }
}

#[test]
fn an_exception_holds_for_one_crate() {
    let tree = with_foreign("leaf", "1.0.0", "MPL-2.0");
    let deny = |name: &str| {
        format!(
            "[licenses]\nallow = [\"MIT\"]\nexceptions = [{{ crate = \"{name}\", allow = [\"MPL-2.0\"], reason = \"r\" }}]\n"
        )
    };
    tree.file("deny.toml", &deny("leaf"));
    tree.passes("licences");
    tree.file("deny.toml", &deny("other"));
    tree.fails("licences", "deny.toml", &["`leaf` 1.0.0"]);
}

#[test]
fn a_banned_crate_fails_with_the_reason() {
    with_foreign("ring", "0.17.0", "MIT").fails(
        "licences",
        "deny.toml",
        &["`ring` 0.17.0", "one cryptography library"],
    );
}

#[test]
fn a_crate_that_only_tests_use_is_not_looked_at() {
    let tree = Tree::in_order();
    tree.foreign("ring", "ring", "0.17.0", "GPL-3.0");
    tree.package(
        "crates/base",
        "bailiwick-base",
        "\n[dev-dependencies]\nring = { path = \"../../vendor/ring\" }\n",
    );
    tree.passes("licences");
}

#[test]
fn an_optional_crate_that_nothing_turns_on_is_not_looked_at() {
    let tree = Tree::in_order();
    tree.foreign("ring", "ring", "0.17.0", "GPL-3.0");
    tree.package(
        "crates/base",
        "bailiwick-base",
        "ring = { path = \"../../vendor/ring\", optional = true }\n",
    );
    tree.passes("licences");
}

#[test]
fn a_second_copy_needs_a_reason() {
    let tree = Tree::in_order();
    tree.foreign("leaf-old", "leaf", "1.9.0", "MIT");
    tree.foreign("leaf-new", "leaf", "1.10.0", "MIT");
    tree.package(
        "crates/base",
        "bailiwick-base",
        "leaf = { path = \"../../vendor/leaf-old\" }\n",
    );
    tree.passes("duplicates");
    tree.package(
        "crates/record/store",
        "bailiwick-store",
        "leaf = { path = \"../../../vendor/leaf-new\" }\n",
    );
    tree.fails(
        "duplicates",
        "deny.toml",
        &["`leaf@1.9.0` is an older second copy"],
    );
    let skip =
        |reason: &str| format!("[bans]\nskip = [{{ crate = \"leaf@1.9.0\", reason = \"{reason}\" }}]\n");
    tree.file("deny.toml", &skip("until the store moves"));
    tree.passes("duplicates");
    tree.file("deny.toml", &skip(""));
    tree.fails("duplicates", "deny.toml", &["gives no reason"]);
}

#[test]
fn a_skip_that_nothing_needs_fails() {
    let tree = Tree::in_order();
    tree.file(
        "deny.toml",
        "[bans]\nskip = [{ crate = \"leaf@1.9.0\", reason = \"once\" }]\n",
    );
    tree.fails("duplicates", "deny.toml", &["`leaf@1.9.0` is no longer needed"]);
}
