//! Room 2, credential: tasks, the claims of a token, lifetimes, OAuth clients, sealed upstream credentials.
//!
//! Invariants
//! - A token never outlives its task, its identity or the tenant's longest lifetime.
//! - A closed task has no transition out and issues nothing.
//! - Issuing is a decision, never a row: this room has no table of tokens.
//!
//! This room does not know keys, signatures, SQL, HTTP or the clock.

#![warn(missing_docs)]

mod model;

pub use model::{Claims, Client, ScopeSet, Task, TaskState, UpstreamCredential};
