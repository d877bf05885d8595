//! Disks for tests.

mod faulty;
mod fused;
mod memory;

pub use faulty::{Fault, FaultyDisk, Step, Verb};
pub use fused::FusedDisk;
pub use memory::MemoryDisk;
