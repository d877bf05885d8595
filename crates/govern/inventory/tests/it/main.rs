//! The rules of the room.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod composing;
mod destinations;
mod life;
mod reading;
mod servers;
mod texts;
