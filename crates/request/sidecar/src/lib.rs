//! The sidecar: an enforcement point elsewhere. It decides by a signed snapshot of its tenants, records each decision in
//! a log of its own before it permits, and answers only as long as its word is fresh (ADR 0046).
//!
//! **Word.** The sidecar says what its memory holds, and asks what is new; the answer makes its word as fresh as the
//! moment at which it asked. What it says is an acknowledgement: what it names is in memory, and written down so that
//! nothing older is ever taken again.
//!
//! Invariants
//! - Until it was answered, and once its word is older than its lease, it refuses everything.
//! - Nothing older than what was ever taken is taken, whoever offers it, across restarts.
//! - Nothing is believed that the installation did not sign, for this sidecar and for this very question.
//! - An answer that came too late counts as none.
//! - Without a record there is no permit.
//!
//! This crate does not know the store, the state log, what an operator may do, or upstream secrets.

#![warn(missing_docs)]

mod ask;
mod doors;
mod error;
mod folder;
mod hear;
mod join;
mod kept;
mod run;
mod take;
mod word;

pub use error::SidecarError;
pub use folder::{ABOUT, Machine};
pub use join::{JoinPlan, Joined, join};
pub use run::{Sidecar, open};
pub use word::{Action, Bounds, Happened, Hearer, Holds};
