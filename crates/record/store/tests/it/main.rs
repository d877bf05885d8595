//! The conformance suite of the store, run against both engines.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod aggregates;
mod altered;
mod bed;
mod cases;
mod compare;
mod consent;
mod contract;
mod counting;
mod crash;
mod files;
mod kill_receipt;
mod lease;
mod nodes;
mod schema;
mod sidecars;
mod subscription;
mod suite;
mod third_party;
mod trust;
