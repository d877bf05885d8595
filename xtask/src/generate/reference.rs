//! `docs/reference/*.md` from the answers of the binary.
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::{Document, binary};
use crate::fail::{Fail, Outcome};
use crate::repo::Repo;

const NOTE: &str = "Written by `cargo xtask gen`; do not edit.";
/// Where the configuration is declared; its comments are the meanings of the keys.
const CONFIG: &str = "crates/server/src/config.rs";
const HOLDERS: &str = "crates/request/holders/src/config.rs";
const KILLS: &str = "crates/request/api/src/receipts/config.rs";
const LOGS: &str = "crates/request/api/src/prune/config.rs";
const SIGNALS: &str = "crates/request/api/src/signals/config.rs";
const SPIFFE: &str = "crates/request/spiffe/src/config.rs";
const WITNESS: &str = "crates/record/witness/src/config.rs";

pub(super) fn documents(repo: &Repo, program: &Path) -> Outcome<Vec<Document>> {
    Ok(vec![
        commands(&binary::ask(program, &["help", "--json"])?)?,
        codes(&binary::ask(program, &["codes", "--json"])?)?,
        config(
            &binary::ask(program, &["config", "show", "--json"])?,
            &meanings(
                &(repo.read(CONFIG)?
                    + &repo.read(HOLDERS)?
                    + &repo.read(KILLS)?
                    + &repo.read(LOGS)?
                    + &repo.read(SIGNALS)?
                    + &repo.read(SPIFFE)?
                    + &repo.read(WITNESS)?),
            ),
        )?,
    ])
}

fn commands(tree: &Value) -> Outcome<Document> {
    let mut text = format!("# Commands\n\n{NOTE}\n");
    command(&mut text, tree, "")?;
    Ok(Document {
        path: "docs/reference/cli.md",
        text,
    })
}

fn command(text: &mut String, value: &Value, above: &str) -> Outcome<()> {
    let path = format!("{above} {}", require(value, "name")?)
        .trim_start()
        .to_owned();
    let _ = write!(
        text,
        "\n## `{path}`\n\n{}.\n",
        shown(value, "about").trim_end_matches('.')
    );
    let arguments: Vec<&Value> = items(value, "arguments")
        .iter()
        .filter(|argument| is_own(argument))
        .collect();
    if !arguments.is_empty() {
        text.push_str("\n| argument | meaning |\n|---|---|\n");
    }
    for argument in arguments {
        let _ = writeln!(text, "| `{}` | {} |", spelled(argument)?, cell(argument, "help"));
    }
    for below in items(value, "commands") {
        command(text, below, &path)?;
    }
    Ok(())
}

/// Every command has these two; they say nothing about it.
fn is_own(argument: &Value) -> bool {
    !matches!(
        argument.get("name").and_then(Value::as_str),
        Some("help" | "version")
    )
}

/// `--long` and `-s`, or the name of a position; in brackets where it may be left out.
fn spelled(argument: &Value) -> Outcome<String> {
    let name = require(argument, "name")?;
    let flag = |key: &str, dashes: &str| argument.get(key)?.as_str().map(|flag| format!("{dashes}{flag}"));
    let flags: Vec<String> = [flag("long", "--"), flag("short", "-")]
        .into_iter()
        .flatten()
        .collect();
    let spelled = if flags.is_empty() {
        name.to_uppercase()
    } else {
        flags.join(", ")
    };
    let required = argument.get("required").and_then(Value::as_bool) == Some(true);
    Ok(if required { spelled } else { format!("[{spelled}]") })
}

fn codes(answer: &Value) -> Outcome<Document> {
    let mut rows = BTreeMap::new();
    for code in rows_of(answer)? {
        let name = require(code, "code")?;
        let row = format!(
            "| <a id=\"{name}\"></a>`{name}` | {} | {} |\n",
            cell(code, "sort"),
            cell(code, "meaning")
        );
        if rows.insert(name, row).is_some() {
            return Err(Fail::broken(format!("the binary names the code `{name}` twice")));
        }
    }
    let head = "Every code of a denial, a refusal or an error. A code keeps its meaning for ever.";
    let rows: String = rows.into_values().collect();
    let text = format!("# Codes\n\n{head}\n\n{NOTE}\n\n| code | sort | meaning |\n|---|---|---|\n{rows}");
    Ok(Document {
        path: "docs/reference/codes.md",
        text,
    })
}

fn config(answer: &Value, meanings: &BTreeMap<String, String>) -> Outcome<Document> {
    let head = "Keys of the file that `--config` names. A flag beats the environment, the environment beats the \
                file, the file beats the default.\nAn unknown key is an error.";
    let mut text = format!(
        "# Configuration\n\n{head}\n\n{NOTE}\n\n| key | environment | default | meaning |\n|---|---|---|---|\n"
    );
    for row in rows_of(answer)? {
        let key = require(row, "key")?;
        let meaning = meanings
            .get(key)
            .ok_or_else(|| Fail::broken(format!("`{CONFIG}` does not explain `{key}`")))?;
        let environment = format!("BAILIWICK_{}", key.to_uppercase().replace('.', "__"));
        let default = row.get("value").map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, "| `{key}` | `{environment}` | `{default}` | {meaning} |");
    }
    Ok(Document {
        path: "docs/reference/config.md",
        text,
    })
}

/// Doc comments of the fields by dotted key. A struct documented as `[section]` holds the keys below it.
fn meanings(source: &str) -> BTreeMap<String, String> {
    let mut meanings = BTreeMap::new();
    let (mut section, mut about) = (String::new(), Vec::new());
    for line in source.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("/// ") {
            about.push(comment);
        } else if line.starts_with("pub struct ") {
            let named = about
                .first()
                .and_then(|first| first.strip_prefix("`[")?.strip_suffix("]`"));
            section = named.map(|named| format!("{named}.")).unwrap_or_default();
            about.clear();
        } else if let Some((name, _)) = line.strip_prefix("pub ").and_then(|field| field.split_once(": ")) {
            meanings
                .entry(format!("{section}{name}"))
                .or_insert_with(|| about.join(" "));
            about.clear();
        } else if !line.starts_with("#[") {
            about.clear();
        }
    }
    meanings
}

/// The list that an answer is, or holds under `items`; an empty one is an error.
fn rows_of(answer: &Value) -> Outcome<&[Value]> {
    let rows = answer
        .as_array()
        .map_or_else(|| items(answer, "items"), Vec::as_slice);
    if rows.is_empty() {
        Err(Fail::broken("the binary answered with an empty list"))
    } else {
        Ok(rows)
    }
}

fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
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
    value
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// A table cell: one line, bars escaped.
fn cell(value: &Value, key: &str) -> String {
    shown(value, key).replace('|', "\\|").replace('\n', " ")
}
