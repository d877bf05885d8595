//! Tenancy and twin statements in SQL, and the engine's name kept inside the store.
use std::collections::BTreeSet;

use super::{Finding, House, settings};
use crate::fail::Outcome;
use crate::repo::Repo;
use crate::rust::{self, Kind};

const STORE: &str = "crates/record/store/";
/// Tables of the installation, not of a tenant.
const WITHOUT_TENANT: [&str; 5] = ["node", "epoch", "log_entry", "log_tile", "lease"];
const TENANT: [&str; 2] = ["tenant", "tenant_id"];

/// Every table leads its keys with the tenant, and statements written twice are counted.
pub(super) fn sql(house: &House) -> Outcome<Vec<Finding>> {
    let repo = &house.repo;
    let mut findings = Vec::new();
    for file in repo.with_extension("sql") {
        let source = repo.read(file)?;
        findings.extend(
            untenanted(&source)
                .into_iter()
                .map(|(line, message)| at(file, line, message)),
        );
    }
    for (file, line, text) in store_texts(repo)? {
        findings.extend(
            untenanted(&text)
                .into_iter()
                .map(|(offset, message)| at(&file, line + offset - 1, message)),
        );
    }
    findings.extend(twins(repo)?);
    Ok(findings)
}

/// Nobody outside the store may know which engine runs.
pub(super) fn engine(house: &House) -> Outcome<Vec<Finding>> {
    const RULE: &str = "engine";
    let mut allowed = settings::AllowList::read(&house.repo, "xtask/tidy/allowed-engine.txt")?;
    let mut findings = Vec::new();
    let outside =
        |file: &&str| file.starts_with("crates/") && !file.starts_with(STORE) && file.contains("/src/");
    for file in house.repo.with_extension("rs").filter(outside) {
        let source = house.repo.read(file)?;
        for token in rust::tokens(&source)
            .iter()
            .filter(|token| token.kind == Kind::Word)
        {
            let word = token.text.to_lowercase();
            let named = ["sqlite", "postgres", "sqlx"]
                .iter()
                .any(|engine| word.contains(engine));
            if named && !allowed.allows(token.text, file) {
                let message = format!(
                    "`{}` names the engine: only the store knows which one runs",
                    token.text
                );
                findings.push(Finding {
                    rule: RULE,
                    place: format!("{file}:{}", token.line),
                    message,
                });
            }
        }
    }
    for (place, entry) in allowed.stale() {
        let message = format!("nothing needs `{}` any more: take the line out", entry.what);
        findings.push(Finding {
            rule: RULE,
            place,
            message,
        });
    }
    Ok(findings)
}

fn at(file: &str, line: usize, message: String) -> Finding {
    Finding {
        rule: "sql",
        place: format!("{file}:{line}"),
        message,
    }
}

/// String literals of the store that create something: file, line, text without quotes.
fn store_texts(repo: &Repo) -> Outcome<Vec<(String, usize, String)>> {
    let mut texts = Vec::new();
    for file in repo.with_extension("rs").filter(|file| file.starts_with(STORE)) {
        let source = repo.read(file)?;
        for token in rust::tokens(&source)
            .iter()
            .filter(|token| token.kind == Kind::Text)
        {
            let body = token
                .text
                .trim_matches(|c| matches!(c, '"' | '#' | 'r' | 'b' | 'c'));
            if body.to_uppercase().contains("CREATE ") {
                texts.push((file.to_owned(), token.line, body.to_owned()));
            }
        }
    }
    Ok(texts)
}

/// Keys that do not begin with the tenant: line and message.
fn untenanted(source: &str) -> Vec<(usize, String)> {
    let tokens = sql_tokens(source);
    let words: Vec<&str> = tokens.iter().map(|(_, word)| word.as_str()).collect();
    let mut found = Vec::new();
    for (at, (line, _)) in tokens.iter().enumerate() {
        let rest = words.get(at..).unwrap_or_default();
        if let Some((table, body)) = created(rest, &["create", "table"]) {
            if WITHOUT_TENANT.contains(&table) {
                continue;
            }
            found.extend(
                bad_table(table, &body)
                    .into_iter()
                    .map(|message| (*line, message)),
            );
        } else if let Some((_, after)) = created(rest, &["create", "unique", "index"]) {
            let table = rest
                .iter()
                .skip_while(|word| **word != "on")
                .nth(1)
                .copied()
                .unwrap_or_default();
            if !WITHOUT_TENANT.contains(&table) && !leads(&after) {
                found.push((
                    *line,
                    format!("a unique index on `{table}` does not begin with the tenant"),
                ));
            }
        }
    }
    found
}

/// After `create table [if not exists] NAME …`: the name, and the words inside the first parentheses.
fn created<'a>(words: &[&'a str], opening: &[&'a str]) -> Option<(&'a str, Vec<&'a str>)> {
    let mut rest = words.strip_prefix(opening)?;
    if let [_, _, _, after @ ..] = rest.strip_prefix(&["if"]).map_or(&[][..], |_| rest) {
        rest = after;
    }
    let (name, after) = rest.split_first()?;
    let open = after.iter().position(|word| *word == "(")?;
    if after.iter().take(open).any(|word| *word == ";") {
        return None;
    }
    let mut depth = 0_usize;
    let mut body = Vec::new();
    for word in after.iter().skip(open) {
        match *word {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        body.push(*word);
    }
    Some((*name, body.split_off(1)))
}

fn bad_table(table: &str, body: &[&str]) -> Vec<String> {
    let mut messages = Vec::new();
    let mut keyed = false;
    for (at, word) in body.iter().enumerate() {
        let after = body.get(at + 1..).unwrap_or_default();
        let (name, columns) = match *word {
            "primary" => ("primary key", after.get(1..).unwrap_or_default()),
            "unique" => ("unique key", after),
            _ => continue,
        };
        keyed |= *word == "primary";
        let listed = columns.strip_prefix(&["("]);
        if !listed.is_some_and(leads) {
            messages.push(format!(
                "the {name} of `{table}` does not begin with the tenant: write it as a table constraint, tenant first"
            ));
        }
    }
    if !keyed {
        messages.push(format!(
            "`{table}` has no primary key: give it one that begins with the tenant"
        ));
    }
    messages
}

fn leads(columns: &[&str]) -> bool {
    columns.first().is_some_and(|first| TENANT.contains(first))
}

/// Words and single marks of SQL in lower case with their lines; comments and quoted text left out.
fn sql_tokens(source: &str) -> Vec<(usize, String)> {
    let mut tokens: Vec<(usize, String)> = Vec::new();
    for (number, line) in (1_usize..).zip(source.lines()) {
        let code = line.split("--").next().unwrap_or_default();
        // Odd pieces are between quotes.
        for piece in code.split('\'').step_by(2) {
            let mut word = String::new();
            for c in piece.chars().chain([' ']) {
                if c.is_alphanumeric() || c == '_' {
                    word.extend(c.to_lowercase());
                    continue;
                }
                if !word.is_empty() {
                    tokens.push((number, std::mem::take(&mut word)));
                }
                if !c.is_whitespace() && c != '"' {
                    tokens.push((number, c.to_string()));
                }
            }
        }
    }
    tokens
}

fn twins(repo: &Repo) -> Outcome<Vec<Finding>> {
    let mut names = BTreeSet::new();
    for file in repo.with_extension("rs").filter(|file| file.starts_with(STORE)) {
        let source = repo.read(file)?;
        let constants = rust::items(&rust::tokens(&source));
        names.extend(
            constants
                .iter()
                .filter(|item| item.keyword == "const")
                .map(|item| item.name.to_owned()),
        );
    }
    let (mut count, mut findings) = (0_usize, Vec::new());
    for (one, other) in [("_SQLITE", "_POSTGRES"), ("_POSTGRES", "_SQLITE")] {
        for name in names.iter().filter_map(|name| name.strip_suffix(one)) {
            count += 1;
            let twin = format!("{name}{other}");
            if !names.contains(&twin) {
                findings.push(lonely(STORE, &format!("{name}{one}"), &twin));
            }
        }
    }
    for (one, other) in [(".sqlite.sql", ".postgres.sql"), (".postgres.sql", ".sqlite.sql")] {
        for stem in repo.files.iter().filter_map(|file| file.strip_suffix(one)) {
            count += 1;
            let twin = format!("{stem}{other}");
            if !repo.has(&twin) {
                findings.push(lonely(stem, &format!("{stem}{one}"), &twin));
            }
        }
    }
    let (found, committed) = (count / 2, settings::limit(repo, "sql", "twins")?);
    if findings.is_empty() && found != committed {
        let message =
            format!("{found} twin texts, {committed} committed: share the statement, or change the figure");
        findings.push(Finding {
            rule: "sql",
            place: settings::LIMITS.to_owned(),
            message,
        });
    }
    Ok(findings)
}

fn lonely(place: &str, name: &str, twin: &str) -> Finding {
    let message = format!("`{name}` has no twin `{twin}`: both engines or neither");
    Finding {
        rule: "sql",
        place: place.to_owned(),
        message,
    }
}
