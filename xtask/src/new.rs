//! `cargo xtask new crate|adr|endpoint`: the first files of something, in the form that tidy asks for.
use crate::fail::{Fail, Outcome};
use crate::repo::Repo;
use crate::tidy::RECORDS;

pub fn command(repo: &Repo, rest: &[String]) -> Outcome<bool> {
    let words: Vec<&str> = rest.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["crate", place] => new_crate(repo, place)?,
        ["adr", title @ ..] if !title.is_empty() => record(repo, &title.join(" "))?,
        ["endpoint", noun, verb] => endpoint(repo, noun, verb)?,
        _ => {
            return Err(Fail::usage(
                "usage: cargo xtask new crate STOREY/ROOM | adr TITLE … | endpoint NOUN VERB",
            ));
        }
    }
    Ok(true)
}

fn new_crate(repo: &Repo, place: &str) -> Outcome<()> {
    let (storey, room) = place
        .split_once('/')
        .filter(|(storey, room)| matches!(*storey, "govern" | "record" | "request") && is_name(room))
        .ok_or_else(|| Fail::usage("a crate is `govern/ROOM`, `record/ROOM` or `request/ROOM`"))?;
    let folder = format!("crates/{place}");
    create(repo, &format!("{folder}/Cargo.toml"), &manifest(room))?;
    create(
        repo,
        &format!("{folder}/src/lib.rs"),
        &format!(
            "//! What `{room}` {}, its words, its invariants, and what it deliberately does not know.\n",
            verb_of(storey)
        ),
    )?;
    create(
        repo,
        &format!("{folder}/tests/it/main.rs"),
        &format!("//! Tests of `{room}`, one binary.\n"),
    )?;
    println!("next: the row of `{folder}` in xtask/src/tidy/arrows.rs and in ADR 0001,");
    println!("      `bailiwick-{room}` in [workspace.dependencies], and the guide at the top of its lib.rs");
    Ok(())
}

fn verb_of(storey: &str) -> &'static str {
    match storey {
        "govern" => "governs",
        "record" => "keeps",
        _ => "takes in",
    }
}

fn manifest(room: &str) -> String {
    format!(
        "[package]\nname = \"bailiwick-{room}\"\ndescription = \"{room}\"\nversion.workspace = true\n\
         edition.workspace = true\nrust-version.workspace = true\nlicense.workspace = true\n\
         publish.workspace = true\n\n[lints]\nworkspace = true\n\n[dependencies]\n\
         bailiwick-base.workspace = true\nthiserror.workspace = true\n\n[dev-dependencies]\n\
         proptest.workspace = true\n"
    )
}

fn record(repo: &Repo, title: &str) -> Outcome<()> {
    let records = repo
        .with_extension("md")
        .filter(|file| file.starts_with(RECORDS))
        .count();
    let number = records + 1;
    let slug: String = title
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let slug = slug
        .split('-')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-");
    let text = format!(
        "# {number:04} {title}\n\nState: proposed\n\n## Context\n\n\n## Decision\n\n\n## Consequences\n\n"
    );
    create(repo, &format!("{RECORDS}{number:04}-{slug}.md"), &text)
}

fn endpoint(repo: &Repo, noun: &str, verb: &str) -> Outcome<()> {
    if !is_name(noun) || !is_name(verb) {
        return Err(Fail::usage(
            "the noun and the verb are names of files: small letters and `_`",
        ));
    }
    let text = format!(
        "//! `{verb}` of {noun}: who may do it, what it changes, which record it leaves.\n//!\n\
         //! Guide: docs/guides/add-an-endpoint.md.\n"
    );
    create(
        repo,
        &format!("crates/request/api/src/v1/{noun}/{verb}.rs"),
        &text,
    )?;
    println!("next: docs/guides/add-an-endpoint.md, from step 2");
    Ok(())
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// Writes a new file; what exists is never touched.
fn create(repo: &Repo, path: &str, text: &str) -> Outcome<()> {
    if repo.path(path).exists() {
        return Err(Fail::broken(format!("`{path}` exists already")));
    }
    repo.write(path, text)?;
    println!("created  {path}");
    Ok(())
}
