//! `cargo xtask gen`: documents that are written by a program and committed, so that a reader finds
//! them and a change shows up in a review. `gen --check` says which differ.
//!
//! What the binary knows is asked of the binary, each time one command that prints one JSON document:
//! `bailiwick help --json`, `bailiwick codes --json`, `bailiwick config show --json`.
mod binary;
mod coverage;
mod degraded;
mod reference;

use std::path::Path;

use crate::fail::{Fail, Outcome};
use crate::repo::Repo;
use crate::tidy::{self, Finding, House};

pub use binary::{built as built_binary, target_folder};

/// One generated file.
struct Document {
    path: &'static str,
    text: String,
}

pub fn command(repo: &Repo, rest: &[String]) -> Outcome<bool> {
    let check = match rest {
        [] => false,
        [flag] if flag == "--check" => true,
        [flag, clone] if flag == "--advisories" => {
            return settle(
                repo,
                false,
                &Document {
                    path: tidy::SNAPSHOT,
                    text: tidy::snapshot(Path::new(clone))?,
                },
            );
        }
        _ => {
            return Err(Fail::usage(
                "gen takes `--check`, `--advisories FOLDER` or nothing",
            ));
        }
    };
    // What needs no build comes first, so that it is written even where the tree does not compile.
    let mut in_order = true;
    for document in unbuilt(repo)? {
        in_order &= settle(repo, check, &document)?;
    }
    let program = built_binary(repo)?;
    for document in reference::documents(repo, &program)? {
        in_order &= settle(repo, check, &document)?;
    }
    Ok(in_order)
}

/// Writes a document that differs, or says so; false where it differs and is only checked.
fn settle(repo: &Repo, check: bool, document: &Document) -> Outcome<bool> {
    if current(repo, document.path)?.as_deref() == Some(document.text.as_str()) {
        println!("same     {}", document.path);
    } else if check {
        println!(
            "differs  {}: run `cargo xtask gen` and commit the result",
            document.path
        );
        return Ok(false);
    } else {
        repo.write(document.path, &document.text)?;
        println!("written  {}", document.path);
    }
    Ok(true)
}

/// What is written from files of the tree alone.
fn unbuilt(repo: &Repo) -> Outcome<[Document; 2]> {
    Ok([coverage::document(repo)?, degraded::document(repo)?])
}

/// The tidy rule: what can be generated without a build has to be up to date.
pub fn drift(house: &House) -> Outcome<Vec<Finding>> {
    let mut findings = Vec::new();
    for document in unbuilt(&house.repo)? {
        let has_source = house.repo.has(&document.path.replace(".md", ".toml"));
        if has_source && current(&house.repo, document.path)?.as_deref() != Some(document.text.as_str()) {
            findings.push(Finding {
                rule: "drift",
                place: document.path.to_owned(),
                message: "differs from its source: run `cargo xtask gen`".to_owned(),
            });
        }
    }
    Ok(findings)
}

fn current(repo: &Repo, path: &str) -> Outcome<Option<String>> {
    if repo.path(path).is_file() {
        repo.read(path).map(Some)
    } else {
        Ok(None)
    }
}
