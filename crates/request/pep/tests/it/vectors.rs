//! Where the public vector sets are.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The folder of a set, or `None` after a loud line when the shared folder is not there.
#[expect(
    clippy::disallowed_methods,
    reason = "tests find the shared vectors through BAILIWICK_SHARED"
)]
pub(crate) fn folder(set: &str) -> Option<PathBuf> {
    let root = std::env::var_os("BAILIWICK_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../../shared")),
        PathBuf::from,
    );
    let found = root.join("data/vectors").join(set);
    if found.is_dir() {
        return Some(found);
    }
    assert!(
        std::env::var_os("CI").is_none_or(|v| v != "true"),
        "vector set `{set}` is missing"
    );
    eprintln!("SKIPPED: vector set `{set}` is not there; set BAILIWICK_SHARED");
    None
}

/// Prints the line that the coverage page counts, and fails when it is not whole.
pub(crate) fn report(set: &str, run: usize, expected: usize) {
    println!("{set}: {run}/{expected}");
    assert_eq!(run, expected, "{set} did not run whole");
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The documents of a folder by name, in order.
pub(crate) fn documents(folder: &Path) -> Vec<(String, Value)> {
    let mut found: Vec<(String, Value)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| {
            (
                path.file_name().unwrap().to_str().unwrap().to_owned(),
                json(&path),
            )
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

pub(crate) fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}
