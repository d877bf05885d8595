//! An entry of a log on one line: what a person looks for; `--json` has the payload in full.

use std::collections::BTreeMap;

use bailiwick_base::Time;
use bailiwick_wire::LogEntry;
use serde_json::Value;

use crate::output::Paper;

/// Objects of one command that are named; of more, their number is told.
const OBJECTS_SHOWN: usize = 2;
const NONE: &str = "-";
/// By id, what something is called.
type Names = BTreeMap<String, String>;
/// What stands for a tenant where there is none.
const INSTALLATION: &str = "(installation)";

/// The entries of one log, in the columns that fit it; where they are of every tenant, with whose they are.
pub(super) fn table(paper: &mut Paper, log: &str, entries: &[LogEntry], of_all: bool) {
    let empty = format!("no entries in the log `{log}`");
    let (rest, line): (_, fn(&Value, &Names) -> [String; 3]) = match log {
        "state" => (["what", "who", "reason"], change),
        _ => (["answer", "what", "who"], decision),
    };
    let mut head = vec!["index", "time", "kind"];
    if of_all {
        head.insert(1, "tenant");
    }
    head.extend(rest);
    let rows = entries.iter().map(|entry| {
        let micros = entry.leaf.get("at").and_then(Value::as_i64);
        let mut row = vec![
            entry.index.to_string(),
            micros.map_or_else(|| NONE.to_owned(), |at| Time::from_micros(at).to_string()),
            word(&entry.leaf, "kind"),
        ];
        if of_all {
            let whose = entry.tenant.as_deref().unwrap_or(INSTALLATION);
            row.insert(1, whose.to_owned());
        }
        // A payload whose key was erased, or that is of another's, is not there.
        row.extend(match &entry.payload {
            Some(payload) => line(payload, &entry.names),
            None => [(); 3].map(|()| NONE.to_owned()),
        });
        row
    });
    paper.table(&head, rows.collect(), &empty);
}

/// A decision, the issue of a token, or how a permitted call ended.
fn decision(payload: &Value, names: &Names) -> [String; 3] {
    if let Some(outcome) = text(payload, "outcome") {
        return [outcome.to_owned(), word(payload, "decision"), NONE.to_owned()];
    }
    let effect = word(payload, "effect");
    let answer = match text(payload, "reason") {
        Some(reason) => format!("{effect} {reason}"),
        None => effect,
    };
    let mut what = word(payload, "action");
    let server = text(payload, "server");
    let resource = payload.get("resource").and_then(|resource| text(resource, "id"));
    match (server, resource) {
        (Some(server), Some(resource)) => what = format!("{what} {server}:{resource}"),
        (Some(one), None) | (None, Some(one)) => what = format!("{what} {one}"),
        (None, None) => {
            let scope = payload.pointer("/issue/scope").and_then(Value::as_array);
            for scope in scope.into_iter().flatten().filter_map(Value::as_str) {
                what = format!("{what} {scope}");
            }
        }
    }
    [answer, what, called(payload, "nhi", names)]
}

/// A command that changed the state.
fn change(payload: &Value, names: &Names) -> [String; 3] {
    let objects = payload.get("objects").and_then(Value::as_array);
    let objects = objects.map(Vec::as_slice).unwrap_or_default();
    let mut what: Vec<String> = objects
        .iter()
        .take(OBJECTS_SHOWN)
        .map(|object| format!("{} {}", word(object, "type"), called(object, "id", names)))
        .collect();
    if objects.len() > OBJECTS_SHOWN {
        what.push(format!("and {} more", objects.len() - OBJECTS_SHOWN));
    }
    if what.is_empty() {
        what.push(NONE.to_owned());
    }
    let who = called(payload, "actor", names);
    let who = who.strip_prefix("operator:").unwrap_or(&who).to_owned();
    [what.join(", "), who, word(payload, "reason")]
}

fn text<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}

/// The name of what is under `member`, or what stands there.
fn called(object: &Value, member: &str, names: &Names) -> String {
    let named = text(object, member).and_then(|id| names.get(id));
    named.cloned().unwrap_or_else(|| word(object, member))
}

fn word(object: &Value, name: &str) -> String {
    let told = text(object, name).filter(|text| !text.is_empty());
    told.unwrap_or(NONE).to_owned()
}
