//! The launcher: the one process that may start programs (decisions page, section 8).
//!
//! It runs beside the server, started before anything else. The server asks it over a byte stream to start a
//! program by absolute path; it verifies the digests of the named files, clears the environment, puts the
//! program into a process group of its own, and carries its standard streams. When the byte stream ends, every
//! program ends.
//!
//! The program is opened once, over no symbolic link and through folders that only root and the service's own
//! user may write; the descriptor that was digested is the one that is started. The other files are verified
//! with the same care at each start. A limit that is stated, not hidden: an interpreter opens its script by
//! path again, so whoever may write as that user can still swap it between the two.

mod client;
mod program;
mod protocol;
mod serve;

pub use client::{Input, Launcher, Output, Process};
pub use program::{Program, ProgramError};
pub use serve::serve;
