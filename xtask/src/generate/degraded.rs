//! `docs/degraded.md` from `docs/degraded.toml`.
use std::fmt::Write as _;

use super::Document;
use crate::fail::Outcome;
use crate::repo::Repo;
use crate::tidy::{Degraded, DegradedCell};

const PATH: &str = "docs/degraded.md";
const HEAD: &str = "\
# What still works when a part is lost

Written by `cargo xtask gen` from `docs/degraded.toml`; edit that file. Everything fails closed. Each cell is shown by
the tests below the table, or says what it needs that does not exist yet; `cargo xtask tidy` fails on a cell with
neither, and on a test that does not exist.

| lost | tool call | issue a token | kill and revoke | read | audit |
|---|---|---|---|---|---|
";

fn plain(text: &str) -> String {
    text.replace('|', "\\|")
}

fn shown(cell: &DegradedCell) -> String {
    let mark = if cell.lacks.is_some() { " *(not yet)*" } else { "" };
    format!("{}{mark}", plain(&cell.promise))
}

pub(super) fn document(repo: &Repo) -> Outcome<Document> {
    let table = Degraded::read(repo)?;
    let mut text = HEAD.to_owned();
    for mode in &table.modes {
        let cells: Vec<String> = mode.cells.iter().map(shown).collect();
        let _ = writeln!(text, "| {} | {} |", plain(&mode.title), cells.join(" | "));
    }
    let all = || table.modes.iter().flat_map(|mode| &mode.cells);
    let proven = all().filter(|cell| cell.lacks.is_none()).count();
    let _ = writeln!(text, "\n{proven} of {} cells are shown by a test.", all().count());
    for mode in &table.modes {
        let _ = write!(text, "\n## {}\n\n| asked | shown by |\n|---|---|\n", mode.title);
        for cell in &mode.cells {
            let by = match &cell.lacks {
                Some(why) => format!("not yet: {}", plain(why)),
                None => {
                    let tests: Vec<String> = cell.tests.iter().map(|test| format!("`{test}`")).collect();
                    tests.join("<br>")
                }
            };
            let _ = writeln!(text, "| {} | {by} |", cell.asked);
        }
    }
    Ok(Document { path: PATH, text })
}
