use crate::tree::Tree;

const PATTERNS: &str = "xtask/tidy/refused-text.txt";

fn with(line: &str) -> Tree {
    let tree = Tree::in_order();
    tree.file(
        PATTERNS,
        "# list\n/opt/machine/ | a path of a machine\nghostwriter | a word of a writing tool\n",
    );
    tree.file("docs/page.md", &format!("first\n{line}\n"));
    tree
}

#[test]
fn a_refused_text_fails_wherever_it_stands() {
    with("see /opt/machine/x").fails(
        "text",
        "docs/page.md:2",
        &["`/opt/machine/` is a path of a machine"],
    );
    with("by GhostWriter.").fails("text", "docs/page.md:2", &["`ghostwriter`"]);
}

#[test]
fn a_word_inside_a_word_passes() {
    with("ghostwriters and /opt/machinery").passes("text");
}

#[test]
fn the_folder_we_work_in_is_refused_without_a_list() {
    let tree = Tree::in_order();
    let here = tree.repo().path("Cargo.toml");
    tree.file("docs/page.md", &here.to_string_lossy());
    tree.fails("text", "docs/page.md:1", &["a path of this machine"]);
}

#[test]
fn an_exception_names_its_place() {
    let tree = with("by Ghostwriter");
    tree.file(
        "xtask/tidy/allowed-text.txt",
        "ghostwriter | docs/ | a product that we import from\n",
    );
    tree.passes("text");
    tree.file("docs/page.md", "nothing\n");
    tree.fails(
        "text",
        "xtask/tidy/allowed-text.txt:1",
        &["nothing needs `ghostwriter`"],
    );
}

#[test]
fn a_lock_file_names_no_download() {
    let tree = Tree::in_order();
    tree.file(
        "Cargo.lock",
        "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n",
    );
    tree.file(
        "tests/interop/package-lock.json",
        "{\n  \"integrity\": \"sha512-x\"\n}\n",
    );
    tree.passes("lock");
    tree.file(
        "tests/interop/package-lock.json",
        "{\n  \"resolved\": \"https://mirror.example/x.tgz\"\n}\n",
    );
    tree.fails("lock", "tests/interop/package-lock.json:2", &["download address"]);
    tree.remove("tests/interop/package-lock.json");
    tree.file(
        "Cargo.lock",
        "source = \"registry+https://mirror.example/index\"\n",
    );
    tree.fails("lock", "Cargo.lock:1", &["download address"]);
    tree.remove("Cargo.lock");
    tree.file(
        "tests/interop/requirements.txt",
        "--index-url https://mirror.example\n",
    );
    tree.fails("lock", "tests/interop/requirements.txt:1", &["download address"]);
}
