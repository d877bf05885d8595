//! Tests of `signal`, one binary.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod subscriptions;
mod transmitters;
