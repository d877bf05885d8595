//! What a command prints: data on standard output, words on standard error, one JSON document when asked.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};

use bailiwick_base::Time;
use bailiwick_server::WitnessError;
use bailiwick_wire::Problem;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::json;

use crate::args::{Color, Global};

/// Exit codes; never renumbered.
pub(crate) mod exit {
    pub(crate) const OK: u8 = 0;
    pub(crate) const ERROR: u8 = 1;
    pub(crate) const USAGE: u8 = 2;
    pub(crate) const INCOMPLETE: u8 = 3;
    pub(crate) const DENIED: u8 = 4;
    pub(crate) const APPROVAL: u8 = 5;
    pub(crate) const UNACKNOWLEDGED: u8 = 6;
    pub(crate) const UNVERIFIED: u8 = 7;
    pub(crate) const NOT_FOUND: u8 = 8;
    pub(crate) const UNREACHABLE: u8 = 69;
}

/// A command that did not succeed: what, and the next step.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: u8,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: u8, code: &str, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.to_owned(),
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(exit::USAGE, "cli.usage", message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(
            exit::ERROR,
            "cli.file",
            format!("cannot {what} `{}`: {error}", path.display()),
        )
    }
}

/// What the service misses was left out of the command line.
const LEFT_OUT: [&str; 12] = [
    "grant.empty",
    "identity.expiry-missing",
    "identity.owner-contact-missing",
    "identity.owner-missing",
    "identity.purpose-missing",
    "identity.reason-missing",
    "server.digest-missing",
    "task.purpose-missing",
    "task.reason-missing",
    "task.requester-missing",
    "tenant.employees-missing",
    "text.name-missing",
];

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let exit = match problem.status {
            400 => exit::USAGE,
            401 | 403 => exit::DENIED,
            422 if LEFT_OUT.contains(&problem.code.as_str()) => exit::USAGE,
            404 => exit::NOT_FOUND,
            503 => exit::INCOMPLETE,
            _ => exit::ERROR,
        };
        Self {
            exit,
            code: problem.code,
            message: problem.detail,
            hint: problem.hint,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let witness = error.downcast_ref::<WitnessError>();
        let code = witness.and_then(WitnessError::code).unwrap_or("service.failed");
        Self::new(exit::ERROR, code, format!("{error:#}"))
    }
}

/// How this invocation prints.
pub(crate) struct Output {
    json: bool,
    color: bool,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        let color = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                global.no_color.as_deref().is_none_or(str::is_empty) && std::io::stdout().is_terminal()
            }
        };
        Self {
            json: global.json,
            color,
        }
    }

    /// For what goes wrong before the arguments are understood.
    pub(crate) fn json() -> Self {
        Self {
            json: true,
            color: false,
        }
    }

    /// The same for people.
    pub(crate) fn plain() -> Self {
        Self {
            json: false,
            color: false,
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// The result: a document, or what `human` writes.
    pub(crate) fn result<T: Serialize>(&self, value: &T, human: impl FnOnce(&mut Paper)) {
        if self.json {
            match serde_json::to_string_pretty(value) {
                Ok(text) => print(&text),
                Err(error) => tell(&format!("error: result is not JSON: {error}")),
            }
            return;
        }
        let width = std::io::stdout()
            .is_terminal()
            .then(|| Table::new().width().map_or(WIDTH, usize::from));
        let mut paper = Paper {
            color: self.color,
            width,
            text: String::new(),
        };
        human(&mut paper);
        print(paper.text.trim_end());
    }

    /// A line for people on standard error.
    pub(crate) fn note(&self, text: &str) {
        if !self.json {
            tell(text);
        }
    }

    pub(crate) fn failure(&self, failure: &Failure) {
        if self.json {
            let document = json!({
                "code": failure.code, "message": failure.message, "hint": failure.hint,
                "docs": format!("docs/reference/codes.md#{}", failure.code),
            });
            print(&document.to_string());
        }
        tell(&format!("error: {} ({})", failure.message, failure.code));
        if let Some(hint) = &failure.hint {
            tell(&format!("  next: {hint}"));
        }
    }
}

/// Columns of a line where the terminal does not tell them.
const WIDTH: usize = 120;
/// Columns between two columns of a table.
const GAP: usize = 2;
/// The longest kind with an id or a name that stays whole.
const PAIR_MAX: usize = 44;
/// Free text is not made shorter than this.
const TEXT_MIN: usize = 12;

/// Text under construction.
pub(crate) struct Paper {
    color: bool,
    /// Columns of a line on a terminal. A program that reads what is printed needs all of it: nothing is cut then.
    width: Option<usize>,
    text: String,
}

impl Paper {
    pub(crate) fn line(&mut self, text: impl AsRef<str>) {
        self.text.push_str(text.as_ref());
        self.text.push('\n');
    }

    pub(crate) fn strong(&self, text: &str) -> String {
        if self.color {
            format!("\u{1b}[1m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    pub(crate) fn pairs(&mut self, pairs: &[(&str, String)]) {
        let width = pairs
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        for (name, value) in pairs {
            let value = to_the_second(value);
            self.line(format!("{name:width$}  {value}"));
        }
    }

    pub(crate) fn table(&mut self, head: &[&str], rows: Vec<Vec<String>>, empty: &str) {
        if rows.is_empty() {
            self.line(empty);
            return;
        }
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(head.iter().map(|h| capitals(h)));
        let second = |row: Vec<String>| row.iter().map(|cell| to_the_second(cell).into_owned()).collect();
        let mut rows: Vec<Vec<String>> = rows.into_iter().map(second).collect();
        if let Some(width) = self.width {
            fit(head, &mut rows, width);
        }
        for row in rows {
            table.add_row(row);
        }
        let text = table.to_string();
        for line in text.lines() {
            self.line(line.strip_prefix(' ').unwrap_or(line).trim_end());
        }
    }
}

/// A heading. A unit stays as it is: the capital of the micro sign is a Greek M.
fn capitals(heading: &str) -> String {
    let words = heading.split(' ').map(|word| match word {
        "µs" => word.to_owned(),
        _ => word.to_uppercase(),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// Shortens free text until a line fits, the last of it first. What somebody copies is one word, or two with what it
/// is, and stays whole: ids, names, times.
fn fit(head: &[&str], rows: &mut [Vec<String>], width: usize) {
    // How wide each is, and how narrow it may become.
    let mut columns: Vec<(usize, usize)> = Vec::new();
    for (at, name) in head.iter().enumerate() {
        let cells = || rows.iter().filter_map(|row| row.get(at));
        let widest = cells().map(|cell| length(cell)).max().unwrap_or(0);
        let whole = cells().filter(|cell| !is_text(cell)).map(|cell| length(cell));
        let least = whole.chain([TEXT_MIN, length(name)]).max().unwrap_or(TEXT_MIN);
        columns.push((widest.max(length(name)), least));
    }
    let between = GAP * columns.len().saturating_sub(1);
    loop {
        let total = columns.iter().map(|(wide, _)| wide).sum::<usize>() + between;
        let mut texts = columns.iter_mut().rev();
        match texts.find(|(wide, least)| wide > least) {
            Some((wide, _)) if total > width => *wide -= 1,
            _ => break,
        }
    }
    for row in rows {
        for (cell, (wide, _)) in row.iter_mut().zip(&columns) {
            if length(cell) > *wide {
                *cell = cell.chars().take(wide.saturating_sub(1)).chain(['…']).collect();
            }
        }
    }
}

fn is_text(cell: &str) -> bool {
    let mut words = cell.split(' ');
    match (words.next(), words.next(), words.next()) {
        (_, None, _) => false,
        (_, Some(_), None) => length(cell) > PAIR_MAX,
        _ => true,
    }
}

/// What has a name is called by it; what is gone, by its id.
pub(crate) fn name_or_id(name: Option<&String>, id: &str) -> String {
    name.cloned().unwrap_or_else(|| id.to_owned())
}

/// Both, where there is room.
pub(crate) fn name_and_id(name: Option<&String>, id: &str) -> String {
    match name {
        Some(name) => format!("{name} ({id})"),
        None => id.to_owned(),
    }
}

/// The day of a time, where the hour does not matter.
pub(crate) fn day(time: &str) -> String {
    time.get(..10).unwrap_or(time).to_owned()
}

/// A time for people: microseconds tell them nothing, and their number of digits differs from line to line.
fn to_the_second(text: &str) -> Cow<'_, str> {
    let fraction = text
        .strip_suffix('Z')
        .filter(|_| Time::parse(text).is_ok())
        .and_then(|text| text.split_once('.'));
    match fraction {
        Some((seconds, _)) => Cow::Owned(format!("{seconds}Z")),
        None => Cow::Borrowed(text),
    }
}

/// A state in force with the mark that is the reason; the stored state for a service that does not tell more.
pub(crate) fn state(effective: &str, stored: &str, stopped_by: Option<&String>) -> String {
    let state = if effective.is_empty() { stored } else { effective };
    match stopped_by {
        Some(mark) => format!("{state} ({mark})"),
        None => state.to_owned(),
    }
}

pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that went away (`| head`) is not an error of ours.
    let _gone = writeln!(out, "{text}");
}

pub(crate) fn tell(text: &str) {
    let _gone = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_by_its_free_text_and_what_is_copied_stays_whole() {
        let id = "tsk_01h2xcejqtf2nbrexx3vqjhp41".to_owned();
        let text = "read the invoices of March and write a summary of them for the board of directors";
        let mut paper = Paper {
            color: false,
            width: Some(WIDTH),
            text: String::new(),
        };
        let row = |purpose: &str| vec![id.clone(), "invoices".to_owned(), purpose.to_owned(), id.clone()];
        let head = ["task", "identity", "purpose", "grant"];
        paper.table(&head, vec![row(text), row("short")], "");
        let lines: Vec<&str> = paper.text.lines().collect();
        assert!(
            lines.iter().all(|line| line.chars().count() <= WIDTH),
            "{}",
            paper.text
        );
        assert!(
            lines
                .iter()
                .any(|line| line.contains("read the invoices of") && line.contains('…'))
        );
        assert_eq!(paper.text.matches(&id).count(), 4);
        let what = format!("task {id}");
        let mut rows = vec![
            vec![what.clone(), text.to_owned()],
            vec!["-".to_owned(), id.clone()],
        ];
        fit(&["what", "reason"], &mut rows, 60);
        assert_eq!(
            (rows[0][0].as_str(), rows[1][1].as_str()),
            (what.as_str(), id.as_str())
        );
        assert_eq!(length(&rows[0][1]), id.len());
        // There is nothing to shorten.
        let mut rows = vec![vec![id.clone(); 6]];
        fit(&["a", "b", "c", "d", "e", "f"], &mut rows, 80);
        assert!(rows.iter().flatten().all(|cell| *cell == id));
    }

    #[test]
    fn what_is_no_terminal_gets_every_word_and_a_unit_keeps_its_letters() {
        let mut paper = Paper {
            color: false,
            width: None,
            text: String::new(),
        };
        let text = "a reason that is told in many words ".repeat(20);
        paper.table(
            &["reason", "≤ 250 µs"],
            vec![vec![text.clone(), "1".to_owned()]],
            "",
        );
        assert!(paper.text.contains(text.trim_end()), "{}", paper.text);
        assert!(
            paper.text.contains("≤ 250 µs") && paper.text.contains("REASON"),
            "{}",
            paper.text
        );
    }

    #[test]
    fn a_thing_is_called_by_its_name_unless_it_is_gone() {
        let name = "invoices".to_owned();
        assert_eq!(name_or_id(Some(&name), "idn_1"), "invoices");
        assert_eq!(name_or_id(None, "idn_1"), "idn_1");
        assert_eq!(name_and_id(Some(&name), "idn_1"), "invoices (idn_1)");
        assert_eq!(day("2026-11-22T13:04:50Z"), "2026-11-22");
    }
}
