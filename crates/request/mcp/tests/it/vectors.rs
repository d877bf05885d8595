//! The public vectors, read from where `BAILIWICK_SHARED` says.

use std::path::PathBuf;

use serde_json::Value;

/// A file of the vectors; `None`, with a loud line, where they are not there.
pub(crate) fn read(file: &str) -> Option<Value> {
    let root = std::env::var_os("BAILIWICK_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../../shared"),
        PathBuf::from,
    );
    match std::fs::read(root.join("data/vectors").join(file)) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
        Err(e) => {
            assert!(
                std::env::var_os("CI").is_none(),
                "the vectors are missing: {file}: {e}"
            );
            println!("SKIPPED: {file}: {e}");
            None
        }
    }
}

pub(crate) fn ran(set: &str, run: usize, expected: usize) {
    println!("{set}: {run}/{expected}");
    assert_eq!(run, expected);
}
