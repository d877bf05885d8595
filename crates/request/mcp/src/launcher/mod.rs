//! The launcher: the one process that may start programs (decisions page, section 8).
//!
//! It runs beside the server, started before anything else. The server asks it over a byte stream to start a
//! program by absolute path; it verifies the digests of the named files, clears the environment, puts the
//! program into a process group of its own, and carries its standard streams. When the byte stream ends, every
//! program ends.
//!
//! Limits that are stated, not hidden: digests are verified at each start, and a file that an attacker can
//! replace between that moment and the start is not protected; therefore files that others may write are
//! refused.

mod client;
mod program;
mod protocol;
mod serve;

pub use client::{Input, Launcher, Output, Process};
pub use program::{Program, ProgramError};
pub use serve::serve;
