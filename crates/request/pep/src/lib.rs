//! The one enforcement pipeline: verify the token, decide, record, and only then permit.
//!
//! Invariants
//! - A [`Permit`] comes only from a recorded decision; forwarding without one does not compile.
//! - No record, no action: [`NotRecorded`] is a denial.
//! - The snapshot is read at the moment of use.
//!
//! This crate does not know MCP, HTTP routes, SQL or how records are written.

#![warn(missing_docs)]

mod permit;
mod record;

pub use permit::{Denial, Permit};
pub use record::{NotRecorded, Outcome, Recorded, Recorder, Sequenced};
