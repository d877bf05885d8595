//! Room 3, grant: what a task may do, down to tool arguments. One grammar, one compiler to Cedar.
//!
//! Words: *grant*, *scope*, *condition*, *rate*, *attenuation*.
//!
//! Invariants
//! - A scope has three forms (text, RFC 9396 JSON, value) and each converts to the others without loss.
//! - There is one compiler: [`compile`]. It builds a syntax tree, never text, so no value of a scope can
//!   change the shape of a policy.
//! - A condition fails closed: an argument that is missing, of another type, or has no exact form does not
//!   satisfy it, and never makes the policy fail to evaluate.
//! - [`attenuate`] only ever answers yes when the child can do nothing the parent cannot.
//!
//! This room does not know tokens, snapshots, SQL, HTTP or the clock.

#![warn(missing_docs)]

mod argument;
mod attenuate;
mod compile;
mod condition;
mod details;
mod error;
mod lend;
mod model;
mod narrow;
mod reason;
mod schema;
mod scope;
mod transition;
pub mod vocabulary;

pub use argument::{Reading, lookup, namesake};
pub use attenuate::{Wider, attenuate};
pub use compile::{compile, policy_id, validate};
pub use details::{DETAIL_TYPE, from_authorization_details, to_authorization_details};
pub use error::{CompileError, DetailsError, ScopeError};
pub use lend::lends;
pub use model::{Condition, Grant, Literal, Operator, Rate, Scope};
pub use narrow::{NotAsked, held, narrow};
pub use reason::Refusal;
pub use schema::{BASE as SCHEMA, Declared, Mentions, SchemaError, schema_for};
pub use scope::parse_scope;
pub use transition::open;

/// Bytes of one scope as text.
pub const SCOPE_MAX: usize = 16 * 1024;
/// Scopes of one grant.
pub const SCOPES_MAX: usize = 128;
/// Conditions of one scope.
pub const CONDITIONS_MAX: usize = 32;
/// Values behind one `in`.
pub const VALUES_MAX: usize = 128;
/// Bytes of one text value.
pub const TEXT_VALUE_MAX: usize = 4096;
/// Members in the name of an argument: `a.b.c` has three.
pub const ARG_DEPTH_MAX: usize = 8;
/// Bytes of the name of an argument.
pub const ARG_MAX: usize = 256;
/// The longest window of a rate.
pub const RATE_WINDOW_MAX: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);
