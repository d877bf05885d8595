//! Tests of manifests, one binary.

#![expect(
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod cartography;
mod cases;
mod exports;
mod reading;

use bailiwick_manifest::{Given, Manifest, PLATFORMS};

/// Every manifest of the tree, by name.
fn manifests() -> Vec<(&'static str, Manifest)> {
    let read = |(name, text): &(&'static str, &str)| {
        let manifest = Manifest::read(&format!("{name}/manifest.yaml"), name, text);
        (*name, manifest.unwrap_or_else(|error| panic!("{error}")))
    };
    PLATFORMS.iter().map(read).collect()
}

fn manifest(platform: &str) -> Manifest {
    let found = manifests().into_iter().find(|(name, _)| *name == platform);
    found.unwrap().1
}

fn given(pairs: &[(&str, &str)]) -> Given {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
