//! `docs/reference/*.md` from the answers of the binary.
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::{Document, binary};
use crate::fail::{Fail, Outcome};

const NOTE: &str = "Written by `cargo xtask gen`; do not edit.";

pub(super) fn documents(program: &Path) -> Outcome<Vec<Document>> {
    Ok(vec![
        cli(&binary::ask(program, &["help", "--json"])?)?,
        table(
            "docs/reference/codes.md",
            "Codes",
            "Every reason, refusal and error code the product can give. A code never changes its meaning.",
            &["code", "kind", "meaning", "next"],
            &binary::ask(program, &["codes", "--json"])?,
        )?,
        table(
            "docs/reference/config.md",
            "Configuration",
            "Keys of `bailiwick.toml`. A flag beats the environment, the environment beats the file.",
            &["key", "type", "default", "env", "about"],
            &binary::ask(program, &["config", "reference", "--json"])?,
        )?,
    ])
}

fn cli(tree: &Value) -> Outcome<Document> {
    let mut text = format!("# Commands\n\n{NOTE}\n");
    command(&mut text, tree, "")?;
    Ok(Document {
        path: "docs/reference/cli.md",
        text,
    })
}

fn command(text: &mut String, value: &Value, above: &str) -> Outcome<()> {
    let name = require(value, "name")?;
    let path = format!("{above} {name}").trim_start().to_owned();
    let _ = write!(text, "\n## `{path}`\n\n{}\n", shown(value, "about"));
    let usage = shown(value, "usage");
    if !usage.is_empty() {
        let _ = write!(text, "\n```text\n{usage}\n```\n");
    }
    let arguments = list(value, "arguments");
    if !arguments.is_empty() {
        text.push_str("\n| argument | value | meaning |\n|---|---|---|\n");
        for argument in arguments {
            let cells = ["name", "value", "about"].map(|key| cell(argument, key));
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
    }
    for below in list(value, "commands") {
        command(text, below, &path)?;
    }
    Ok(())
}

fn table(
    path: &'static str,
    title: &str,
    about: &str,
    columns: &[&str],
    answer: &Value,
) -> Outcome<Document> {
    let mut text = format!("# {title}\n\n{about}\n\n{NOTE}\n\n| {} |\n", columns.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(columns.len()));
    let items = list(answer, "items");
    if items.is_empty() {
        return Err(Fail::broken(format!(
            "`{path}` would be empty: the binary named no `items`"
        )));
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    for item in items {
        require(item, columns.first().copied().unwrap_or_default())?;
        rows.push(columns.iter().map(|key| cell(item, key)).collect());
    }
    rows.sort();
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    Ok(Document { path, text })
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn require<'a>(value: &'a Value, key: &str) -> Outcome<&'a str> {
    value
        .get(key)
        .and_then(Value::as_str)
        .ok_or_else(|| Fail::broken(format!("the binary left out `{key}`")))
}

fn shown(value: &Value, key: &str) -> String {
    match value.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A table cell: one line, bars escaped.
fn cell(value: &Value, key: &str) -> String {
    shown(value, key).replace('|', "\\|").replace('\n', " ")
}
