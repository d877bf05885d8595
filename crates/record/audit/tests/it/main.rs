//! Everything about the log that needs no file system of its own: vectors,
//! properties, foreign code as oracle, and damage that fsck must name.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod checkpoints;
mod damage;
mod entries;
mod fixture;
mod notes;
mod oracle;
mod proof_files;
mod properties;
mod tiles;
mod vectors;
