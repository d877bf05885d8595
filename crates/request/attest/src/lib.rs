//! Evidence of a workload, to verified attributes. One module per method; what vendors promise about their claims
//! is content (`content/attestors`).
//!
//! Invariants
//! - Nothing in an unverified token causes a request to a place that it names: it selects an issuer that an operator
//!   registered, or nothing.
//! - An issuer speaks for the one tenant that registered it.
//! - Evidence is for us alone: exactly one audience, ours.
//! - Keys that cannot be had now are a refusal with the reason, never a pass.
//!
//! This crate does not know which workload is which identity, what was used before, storage or HTTP routes.

#![warn(missing_docs)]

mod assertion;
mod claims;
mod content;
mod error;
mod issuer;
mod keys;
mod method;
mod sts;
mod told;
mod verify;

pub use assertion::Asserted;
pub use content::{ContentError, attestors};
pub use error::{AttestError, KeysError};
pub use issuer::{IssuerProfile, KeyPlace};
pub use keys::require_key_set;
pub use sts::{SignedRequest, StsAttester};
pub use told::Told;
pub use verify::{Attested, Attester, Evidence, LEEWAY};
