//! The one enforcement pipeline: verify the token, decide, record, and only then permit.
//!
//! Invariants
//! - A [`Permit`] comes only from a recorded decision; forwarding without one does not compile.
//! - No record, no action: [`NotRecorded`] is a denial.
//! - The snapshot is read at the moment of use, and once more after the record: a kill in between wins.
//! - A call is in flight before that second look, so no kill falls between looking and listening.
//! - Nothing in a token chooses how it is verified.
//!
//! This crate does not know MCP, HTTP routes, SQL or how records are written.

#![warn(missing_docs)]

mod cell;
mod counters;
mod meter;
mod permit;
mod pipeline;
mod record;
pub mod token;

pub use cell::{PendingMark, SnapshotCell};
pub use permit::{Denial, Permit};
pub use pipeline::{Pep, Watch};
pub use record::{NotRecorded, Outcome, RecordFuture, Recorded, Recorder, Sequenced, Upstream};
