//! The guarded way out, against recording networks and a real TLS server.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and owns its runtime"
)]

mod addresses;
mod fetching;
mod lanes;
mod server;
