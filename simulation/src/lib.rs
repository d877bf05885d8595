//! What stands in for the machine when an installation is tried from a seed: disks that fail at a chosen call
//! or forget what was not flushed.
//!
//! | module | holds |
//! |---|---|
//! | [`disk`] | [`FaultyDisk`] over any disk, [`MemoryDisk`] whose power can be cut |
//! | [`chance`] | the numbers drawn from a seed |
//!
//! # What it does not know
//!
//! The product does not know of it: only tests and `cargo xtask sim` depend on this crate.

#![warn(missing_docs)]

pub mod chance;
pub mod disk;

pub use chance::Chance;
pub use disk::{Fault, FaultyDisk, MemoryDisk, Step, Verb};
