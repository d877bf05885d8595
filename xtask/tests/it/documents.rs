use crate::tree::Tree;

const GOOD: &str = "# 0001 A\n\nState: accepted\n\n## Context\n\n## Decision\n\n## Consequences\n";

#[test]
fn a_whole_record_passes() {
    let tree = Tree::in_order();
    tree.file("docs/adr/0001-a.md", GOOD);
    tree.file(
        "docs/adr/0002-b.md",
        &GOOD.replace("accepted", "superseded by 0001"),
    );
    tree.passes("records");
}

#[test]
fn numbers_have_no_gap() {
    let tree = Tree::in_order();
    tree.file("docs/adr/0001-a.md", GOOD);
    tree.file("docs/adr/0003-b.md", GOOD);
    tree.fails("records", "docs/adr/0003-b.md", &["the next number is 0002"]);
}

#[test]
fn a_record_has_a_state_and_its_parts() {
    let tree = Tree::in_order();
    tree.file("docs/adr/0001-a.md", &GOOD.replace("accepted", "maybe"));
    tree.fails("records", "docs/adr/0001-a.md", &["State: proposed | accepted"]);
    tree.file("docs/adr/0001-a.md", &GOOD.replace("## Consequences", ""));
    tree.fails("records", "docs/adr/0001-a.md", &["## Consequences"]);
}

#[test]
fn a_link_leads_to_a_file() {
    let tree = Tree::in_order();
    tree.file(
        "docs/guides/a.md",
        "[up](../../ARCHITECTURE.md#map) [out](https://example.com/x) [here](#there)\n",
    );
    tree.passes("links");
    tree.file("docs/guides/a.md", "text\n[up](../ARCHITECTURE.md)\n");
    tree.fails(
        "links",
        "docs/guides/a.md:2",
        &["`../ARCHITECTURE.md` leads nowhere"],
    );
}
