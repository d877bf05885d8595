//! Room 4, decide.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod order;
mod world;
