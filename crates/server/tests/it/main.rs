//! The service through its own doors: real HTTP on loopback, real store, journal and keys.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    reason = "tests may panic"
)]
#![expect(clippy::too_many_lines, reason = "tables of cases are long")]

mod again;
mod asking;
mod asserting;
mod backing;
mod bed;
mod bound;
mod carrying;
mod claiming;
mod clock;
mod codes;
mod composing;
mod consenting;
mod containing;
mod cosigning;
mod counting;
mod crashing;
mod deactivating;
mod degraded;
mod describing;
mod desk;
mod egress;
mod exchanging;
mod failing;
mod faults;
mod federating;
mod flipped;
mod folder;
mod forged;
mod fresh;
mod ground;
mod intact;
mod keeper;
mod killing;
mod luring;
mod narrowing;
mod nodes;
mod outsiders;
mod packing;
mod parting;
mod pinning;
mod proof_set;
mod proving;
mod rates;
mod refreshing;
mod retaining;
mod revoking;
mod sessions;
mod sidecars;
mod signing;
mod slips;
mod sweep;
mod tailing;
mod telling;
mod texts;
mod tokens;
mod witnessed;

/// Where nothing tells that time went by, or that nothing happened in it.
#[expect(
    clippy::disallowed_methods,
    reason = "what does not happen has no event to wait for"
)]
pub(crate) async fn pause(span: std::time::Duration) {
    tokio::time::sleep(span).await;
}

/// Tasks of the tests themselves.
#[expect(
    clippy::disallowed_methods,
    reason = "the service and the desk run beside the test"
)]
pub(crate) fn spawn<F>(work: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(work)
}
