use crate::tree::Tree;

const RULE: &str = "names";
const FILE: &str = "crates/govern/inventory/src/model.rs";

fn with(source: &str) -> Tree {
    let tree = Tree::in_order();
    tree.file(FILE, source);
    tree
}

#[test]
fn the_words_of_the_glossary_pass() {
    with("pub struct Identity;\npub enum Effect { Permit }\npub fn lookup() {}\nmod transition {}\n")
        .passes(RULE);
}

#[test]
fn a_refused_type_fails_with_the_word_to_use() {
    with("//! Model.\npub struct Account;\n").fails(
        RULE,
        &format!("{FILE}:2"),
        &["`Account`", "identity, tenant"],
    );
}

#[test]
fn the_last_word_of_a_type_says_what_it_is() {
    with("pub struct ServiceAccount;\n").fails(RULE, &format!("{FILE}:1"), &["`ServiceAccount`"]);
    with("pub struct TokenManager;\n").fails(RULE, &format!("{FILE}:1"), &["the name of what it does"]);
    with("pub struct AccountSet;\n").passes(RULE);
}

#[test]
fn a_refused_function_fails() {
    with("pub fn delete() {}\n").fails(RULE, &format!("{FILE}:1"), &["`delete`", "revoke"]);
    with("pub fn get_owner() {}\n").fails(RULE, &format!("{FILE}:1"), &["`lookup`"]);
    with("pub fn handle_call() {}\n").fails(RULE, &format!("{FILE}:1"), &["`handler`"]);
    with("pub fn deleted_rows() {}\n").passes(RULE);
}

#[test]
fn a_plural_is_the_same_word() {
    with("pub struct Jobs;\n").fails(RULE, &format!("{FILE}:1"), &["`Jobs`"]);
}

#[test]
fn a_word_in_a_comment_or_a_text_is_not_a_name() {
    with("// struct Account\nconst A: &str = \"struct Account\";\n/* fn delete() {} */\n").passes(RULE);
}

#[test]
fn dumping_grounds_are_refused_wherever_they_lie() {
    let tree = Tree::in_order();
    tree.file("crates/govern/inventory/src/util.rs", "");
    tree.fails(
        RULE,
        "crates/govern/inventory/src/util.rs",
        &["`util`", "the room that owns it"],
    );
    let tree = Tree::in_order();
    tree.file("crates/base/tests/common/mod.rs", "");
    tree.fails(RULE, "crates/base/tests/common/mod.rs", &["`common`"]);
    with("mod helpers {}\n").fails(RULE, &format!("{FILE}:1"), &["`helpers`"]);
}

#[test]
fn the_name_of_a_test_is_a_sentence() {
    let tree = Tree::in_order();
    tree.file(
        "crates/base/tests/it/words.rs",
        "#[test]\nfn get_nothing_back() {}\n",
    );
    tree.passes(RULE);
}

#[test]
fn a_mandated_name_is_allowed_with_its_reason() {
    let tree = with("pub struct ServiceAccount;\n");
    tree.file(
        "xtask/tidy/allowed-names.txt",
        "ServiceAccount | crates/govern/ | the kind has this name everywhere\n",
    );
    tree.passes(RULE);
    tree.file(
        "xtask/tidy/allowed-names.txt",
        "ServiceAccount | crates/record/ | elsewhere\n",
    );
    assert_eq!(
        tree.findings(RULE).len(),
        2,
        "the name is refused here, and the line is not needed"
    );
}

#[test]
fn an_exception_without_a_reason_or_a_need_fails() {
    let tree = Tree::in_order();
    tree.file("xtask/tidy/allowed-names.txt", "Event | crates/ |\n");
    assert!(
        tree.run(RULE)
            .unwrap_err()
            .to_string()
            .contains("what | where | reason")
    );
    tree.file(
        "xtask/tidy/allowed-names.txt",
        "# words\n\nEvent | crates/ | a standard\n",
    );
    tree.fails(RULE, "xtask/tidy/allowed-names.txt:3", &["nothing needs `Event`"]);
}
