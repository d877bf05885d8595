//! Where the public vector sets are.

use std::path::PathBuf;

/// The folder of a set, or `None` after a loud line when the shared folder is not there.
#[expect(
    clippy::disallowed_methods,
    reason = "tests find the shared vectors through BAILIWICK_SHARED"
)]
pub(crate) fn folder(set: &str) -> Option<PathBuf> {
    let root = std::env::var_os("BAILIWICK_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
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
