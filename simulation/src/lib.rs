//! What stands in for the machine when an installation is tried from a seed: disks that fail at a chosen call
//! or forget what was not flushed, clocks that are wrong, a network that delays and loses.
//!
//! | module | holds |
//! |---|---|
//! | [`disk`] | [`FaultyDisk`] over any disk, [`MemoryDisk`] whose power can be cut, [`FusedDisk`] whose user stops |
//! | [`chance`] | the numbers drawn from a seed |
//! | [`contract`] | what nodes rely on of the store they share, for its model and for the real one |
//! | [`run`](mod@run) | a whole installation, from a seed |
//!
//! # What it does not know
//!
//! The product does not know of it: only tests and `cargo xtask sim` depend on this crate.

#![warn(missing_docs)]

pub mod chance;
pub mod contract;
pub mod disk;
pub mod run;

pub use chance::Chance;
pub use disk::{Fault, FaultyDisk, FusedDisk, MemoryDisk, Step, Verb};
