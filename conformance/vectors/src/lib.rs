//! The public vector sets, read from where `BAILIWICK_SHARED` says. For tests only: a set that cannot be read
//! ends the test.

#![expect(
    clippy::unwrap_used,
    reason = "only tests call it; what cannot be read ends the test"
)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The folder of a set of vectors; `None`, with a loud line, where the shared folder is not there. Under `CI=true`
/// that is a failure.
#[must_use]
pub fn folder(set: &str) -> Option<PathBuf> {
    shared(&format!("vectors/{set}"))
}

/// The same for a set of public data.
#[must_use]
pub fn public(set: &str) -> Option<PathBuf> {
    shared(set)
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests find the shared vectors through BAILIWICK_SHARED"
)]
fn shared(set: &str) -> Option<PathBuf> {
    let root = std::env::var_os("BAILIWICK_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
        PathBuf::from,
    );
    let found = root.join("data").join(set);
    if found.is_dir() {
        return Some(found);
    }
    assert!(
        std::env::var_os("CI").is_none_or(|v| v != "true"),
        "vector set `{set}` is missing"
    );
    println!("SKIPPED: vector set `{set}` is not there; set BAILIWICK_SHARED");
    None
}

/// Prints the line that the coverage page counts, and fails when the set did not run whole.
pub fn report(set: &str, run: usize, expected: usize) {
    println!("{set}: {run}/{expected}");
    assert_eq!(run, expected, "{set} did not run whole");
}

/// One document.
#[must_use]
pub fn json(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// The documents of a folder by name, in order.
#[must_use]
pub fn documents(folder: &Path) -> Vec<(String, Value)> {
    let mut found: Vec<(String, Value)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.extension().is_some_and(|e| e == "json"))
        .map(|file| {
            (
                file.file_name().unwrap().to_str().unwrap().to_owned(),
                json(&file),
            )
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}
