#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that cannot go on stops; hang guards read the clock, the child reads its environment"
)]

mod append;
mod crash;
mod export;
mod faults;
mod kill;
mod payload;
mod pruning;
mod publish;
mod rig;
mod write_error;
