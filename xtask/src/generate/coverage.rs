//! `docs/coverage.md` from `docs/coverage.toml`.
use std::fmt::Write as _;

use super::Document;
use crate::fail::Outcome;
use crate::repo::Repo;
use crate::tidy::Coverage;

const PATH: &str = "docs/coverage.md";
const HEAD: &str = "\
# What was asked, and the test that shows it

Written by `cargo xtask gen` from `docs/coverage.toml`; edit that file. `cargo xtask tidy` fails on a
paragraph without a test and on a test that does not exist.
";

pub(super) fn document(repo: &Repo) -> Outcome<Document> {
    let coverage = Coverage::read(repo)?;
    let mut text = HEAD.to_owned();
    for section in coverage.sections {
        let _ = write!(
            text,
            "\n## {}\n\n| paragraph | asks for | shown by |\n|---|---|---|\n",
            section.title
        );
        for paragraph in section.paragraphs {
            let tests: Vec<String> = paragraph.tests.iter().map(|test| format!("`{test}`")).collect();
            let shown = if tests.is_empty() {
                "nothing yet".to_owned()
            } else {
                tests.join("<br>")
            };
            let _ = writeln!(
                text,
                "| {} | {} | {shown} |",
                paragraph.id,
                paragraph.asks.replace('|', "\\|")
            );
        }
    }
    Ok(Document { path: PATH, text })
}
