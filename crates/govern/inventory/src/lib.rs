//! Room 1, inventory: who exists, who owns it, why, and until when.
//!
//! Words: *tenant*, *identity*, *owner*, *purpose*, *state* (probation → active → suspended → retired).
//!
//! Invariants
//! - An identity without owner, purpose or expiry cannot be made.
//! - A retired identity has no transition out: it is a tombstone and its id is never reused.
//! - The count is a function of a list of identities and nothing else.
//!
//! This room does not know credentials, grants, SQL, HTTP or the clock.

#![warn(missing_docs)]

mod composition;
mod count;
pub mod destination;
mod limits;
mod model;
mod names;
pub mod observation;
mod operator;
mod reading;
mod refusal;
mod server;
mod tenant;
mod transition;

pub use composition::{compose, require_composition};
pub use count::{Count, States};
pub use limits::Limits;
pub use model::{
    Composed, Connection, Identity, Kind, Labels, Origin, Owner, PinState, State, Tenant, TenantState,
    ToolPin, UpstreamServer,
};
pub use operator::{Operator, add_operator, claim};
pub use reading::say_reads;
pub use refusal::Refusal;
pub use server::{
    NewServer, SeenTool, add_server, forget_credential, observe_tools, pin_tools, replace_credential,
};
pub use tenant::{NewTenant, add_tenant, close_tenant, installation};
pub use transition::{Registration, activate, extend, reassign, register, resume, retire, suspend};
