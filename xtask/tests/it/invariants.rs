use crate::tree::Tree;

const RULE: &str = "invariants";

fn architecture(item: &str) -> Tree {
    let tree = Tree::in_order();
    tree.file(
        "ARCHITECTURE.md",
        &format!("# Map\n\n- not here\n\n## Invariants\n\n{item}\n\n## After\n\n- nor here\n"),
    );
    tree
}

#[test]
fn an_invariant_with_a_live_test_passes() {
    architecture("- Ids are unique,\n  shown by `crates/base/tests/it/ids.rs::an_id_is_never_reused`.")
        .passes(RULE);
}

#[test]
fn an_invariant_without_a_test_fails() {
    architecture("- Ids are unique, honestly.").fails(RULE, "ARCHITECTURE.md:7", &["names no test"]);
}

#[test]
fn a_test_that_does_not_exist_fails() {
    architecture("- Ids: `crates/base/tests/it/ids.rs::no_such_test`").fails(
        RULE,
        "ARCHITECTURE.md:7",
        &["has no test `no_such_test`"],
    );
    architecture("- Ids: `crates/base/tests/it/gone.rs::a_test`").fails(
        RULE,
        "ARCHITECTURE.md:7",
        &["`crates/base/tests/it/gone.rs` does not exist"],
    );
}

#[test]
fn a_function_that_is_no_test_does_not_guard() {
    let tree = architecture("- Ids: `crates/base/tests/it/ids.rs::helper`");
    tree.file(
        "crates/base/tests/it/ids.rs",
        "fn helper() {}\n#[test]\nfn other() { helper() }\n",
    );
    tree.fails(RULE, "ARCHITECTURE.md:7", &["has no test `helper`"]);
}

#[test]
fn a_program_that_must_not_compile_guards_by_its_code() {
    let tree = architecture("- A: `crates/request/pep/src/permit.rs::compile_fail,E0308`");
    let documented = |fence: &str| format!("/// Text.\n///\n/// ```{fence}\n/// x();\n/// ```\nstruct A;\n");
    tree.file(
        "crates/request/pep/src/permit.rs",
        &documented("compile_fail,E0308"),
    );
    tree.passes(RULE);
    for other in ["compile_fail,E0624", "compile_fail", "", "ignore"] {
        tree.file("crates/request/pep/src/permit.rs", &documented(other));
        tree.fails(RULE, "ARCHITECTURE.md:7", &["has no test `compile_fail,E0308`"]);
    }
}

#[test]
fn tests_of_other_languages_are_found() {
    let tree = architecture(
        "- A: `tests/interop/sdk.mjs::a kill cancels`\n- B: `tests/interop/sdk.py::test_kill`\n\
         - C: `tests/interop/proof_test.go::TestProof`",
    );
    tree.file(
        "tests/interop/sdk.mjs",
        "test(\"a kill cancels\", async () => {});\n",
    );
    tree.file("tests/interop/sdk.py", "async def test_kill():\n    pass\n");
    tree.file("tests/interop/proof_test.go", "func TestProof(t *testing.T) {}\n");
    tree.passes(RULE);
    tree.file("tests/interop/sdk.mjs", "test(\"another\", async () => {});\n");
    tree.fails(RULE, "ARCHITECTURE.md:7", &["has no test `a kill cancels`"]);
}

#[test]
fn an_empty_list_fails() {
    architecture("None yet.").fails(RULE, "ARCHITECTURE.md", &["no list under `## Invariants`"]);
}

#[test]
fn a_test_that_is_switched_off_fails() {
    let tree = Tree::in_order();
    let source = |attribute: &str| format!("#[test]\n{attribute}\nfn slow() {{}}\n");
    tree.file(
        "crates/base/tests/it/slow.rs",
        &source("// #[ignore] would hide it"),
    );
    tree.passes("tests");
    tree.file(
        "crates/base/tests/it/slow.rs",
        &source(concat!("#[", "ignore = \"slow\"]")),
    );
    tree.fails("tests", "crates/base/tests/it/slow.rs:2", &["never runs"]);
}
