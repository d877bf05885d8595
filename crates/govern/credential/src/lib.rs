//! Room 2, credential: tasks, the claims of a token, lifetimes, OAuth clients, sealed upstream
//! credentials, third-party credentials and their rotation.
//!
//! Invariants
//! - A token never outlives its task, its grant, its identity or the tenant's longest lifetime.
//! - A closed task has no transition out and issues nothing.
//! - Issuing is a decision, never a row: this room has no table of tokens.
//! - No third-party secret is valid anywhere without a record, and none is revoked while an unknown consumer
//!   uses it.
//! - A token's scope is never wider than its grant.
//! - No key signs before it was published long enough, unless the one before is compromised.
//! - An exchanged token gains nothing over its subject token and its actor token: not scope, audience, lifetime
//!   or tenant; it dies with either.
//!
//! This room does not know keys, signatures, SQL, HTTP or the clock.

#![warn(missing_docs)]

mod claims;
mod client;
pub mod consent;
pub mod correct;
mod exchange;
mod issue;
pub mod lease;
mod ledger;
mod limits;
mod model;
mod place;
pub mod plan;
mod refusal;
pub mod rotation;
pub mod signing_key;
mod slot;
mod task;
mod third_party;
pub mod trust;
mod upstream;

pub use claims::ClaimError;
pub use client::{ClientRegistration, register_client, remove_client};
pub use exchange::{
    EXCHANGE_SCOPE, ExchangePlan, ExchangeRefusal, ExchangeRule, exchange, require_attenuated,
};
pub use issue::{IssuePlan, issue};
pub use lease::{LEASE_SCOPE, LEASES_MAX, Lease, LeaseStanding};
pub use ledger::{LedgerFinding, findings};
pub use limits::{Limits, MAY_ACT_MAX};
pub use model::{
    Claims, Client, ClientProof, Confirmation, Link, ScopeSet, TASK_AFTERLIFE, Task, TaskState,
    UpstreamCredential,
};
pub use place::{AwsTarget, EndpointOverride, GithubAppTarget, HttpTarget, PgTarget, Target};
pub use refusal::Refusal;
pub use task::{TaskPlan, close_task, open_task};
pub use third_party::{
    LastRotation, LastUse, Observed, Phase, ProbeAnswer, Rotation, RotationPolicy, SecretKind, Seen,
    Standing, TakenBack, ThirdParty, Turn,
};
pub use upstream::{UpstreamSecretPlan, add_upstream_credential};
