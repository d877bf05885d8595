//! Disks for tests.

mod faulty;
mod memory;

pub use faulty::{Fault, FaultyDisk, Step, Verb};
pub use memory::MemoryDisk;
