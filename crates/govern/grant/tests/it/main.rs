//! Room 3, grant.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod attenuation;
mod compiled;
mod details;
mod grammar;
mod lending;
mod made;
mod narrowing;
mod opened;
