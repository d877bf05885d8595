use crate::tree::Tree;

fn run(tree: &Tree, words: &[&str]) -> Result<bool, xtask::fail::Fail> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    xtask::new::command(&tree.repo(), &words)
}

#[test]
fn a_new_crate_obeys_the_manifest_rules() {
    let tree = Tree::in_order();
    assert!(run(&tree, &["crate", "govern/reach"]).unwrap());
    tree.file("crates/govern/reach/Cargo.toml", &tree.repo().read("crates/govern/reach/Cargo.toml").unwrap().replace(
        "bailiwick-base.workspace = true\nthiserror.workspace = true\n\n[dev-dependencies]\nproptest.workspace = true\n",
        "",
    ));
    for rule in ["arrows", "manifests", "names"] {
        tree.passes(rule);
    }
}

#[test]
fn a_new_record_takes_the_next_number() {
    let tree = Tree::in_order();
    assert!(run(&tree, &["adr", "Keep", "it", "Small!"]).unwrap());
    assert!(tree.repo().has("docs/adr/0001-keep-it-small.md"));
    assert!(run(&tree, &["adr", "More"]).unwrap());
    assert!(tree.repo().has("docs/adr/0002-more.md"));
    tree.passes("records");
}

#[test]
fn nothing_that_exists_is_touched() {
    let tree = Tree::in_order();
    assert!(
        run(&tree, &["crate", "govern/inventory"])
            .unwrap_err()
            .to_string()
            .contains("exists already")
    );
}

#[test]
fn names_are_checked() {
    let tree = Tree::in_order();
    for words in [
        &["crate", "../evil"][..],
        &["crate", "other/room"],
        &["endpoint", "a/b", "c"],
        &["adr"],
        &[],
    ] {
        assert!(run(&tree, words).is_err(), "{words:?}");
    }
}
