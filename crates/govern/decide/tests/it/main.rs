//! Room 4, decide.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod authzen;
mod composing;
mod corpus;
mod egress;
mod marks;
mod matrix;
mod order;
mod plain;
mod policies;
mod world;
