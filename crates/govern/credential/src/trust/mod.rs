//! Trust in workloads of other issuers: what is known of an issuer, and which of its workloads is which identity.
//!
//! Invariants
//! - A rule pins every id that its kind of issuer has; a name that may be given again is never matched on.
//! - An issuer, or a customer's part of a shared one, belongs to one tenant.
//! - No workload is two identities.

mod attestor;
pub mod foreign;
mod rule;

pub use attestor::{Attestor, Attribute, AttributeForm, AttributeKind, Method, RefusedClaim};
pub use rule::{
    IssuerKeys, Trust, TrustFinding, TrustPlan, TrustedIssuer, add_trust, lint_trust, remove_trust,
    require_method,
};
