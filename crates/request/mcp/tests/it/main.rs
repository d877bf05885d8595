//! The MCP gateway against real upstream servers: HTTP over TCP, programs over standard streams.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and owns its runtime"
)]

mod apart;
mod asks;
mod builtin;
mod doors;
mod eras;
mod guard;
mod hostile;
mod kill;
mod launcher;
mod lists;
mod parsers;
mod pins;
mod server;
mod tls;
mod world;
