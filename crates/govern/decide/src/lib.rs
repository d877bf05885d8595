//! Room 4, decide: continuous authorization. The policy decision point.
//!
//! [`decide`] is pure and total: a [`Snapshot`], a [`Call`] and a [`Time`](bailiwick_base::Time) give a
//! [`Decision`]. It reads no clock, no store, no network, and cannot fail: an evaluation error in any policy
//! is a denial.
//!
//! Words: *call*, *decision*, *effect*, *reason*, *mark*, *epoch*, *snapshot*, *fact*.
//!
//! Invariants
//! - Deny by default: an empty snapshot denies every call.
//! - The strictest mark wins; adding a mark never turns a denial into a permit.
//! - A decision names the epoch and the state-log position it was taken at.
//!
//! This room does not know SQL, HTTP, MCP framing, keys or how a decision is recorded.

#![warn(missing_docs)]

mod call;
mod composition;
mod containment;
mod context;
mod decide;
mod decision;
mod engine;
mod entity;
mod explain;
mod fact;
mod judge;
mod lineage;
mod mark;
mod marks;
pub mod policy;
mod reason;
mod snapshot;
mod standing;
mod stop;
mod view;

pub use bailiwick_grant::Rate;
pub use bailiwick_inventory::{Connection, PinState, ToolPin, UpstreamServer, destination};
pub use call::{Arguments, Bearer, Call, Door, ItemKind, Named, NamedEntity, Principal, RateReading, Target};
pub use decide::{decide, decide_plain};
pub use decision::{ApprovalDemand, Decision, Effect, Obligation, Reasons};
pub use fact::Fact;
pub use mark::{Mark, MarkEffect, MarkScope};
pub use reason::DenyReason;
pub use snapshot::{Snapshot, SnapshotError};
pub use standing::Thing;
