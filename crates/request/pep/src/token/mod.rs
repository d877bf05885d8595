//! The one reader of signed tokens: access tokens of our issuers and assertions of our clients.
//!
//! A token is a compact JWS (RFC 7515 §3.1) of at most 16 KiB. Nothing in it chooses how it is verified: the
//! issuer leads to a tenant and its keys, the `kid` to one key, and that key has one algorithm. What was
//! verified before is remembered by the hash of the whole text, and judged again by the clock on every use.
//!
//! References: RFC 7515, 7519, 9068, 8725 and 8725bis; 7523 and 7523bis for assertions.

mod assertion;
mod bearer;
mod cache;
mod claims;
mod error;
mod keys;
mod profile;
mod replay;
mod verifier;

pub use assertion::{
    AssertionConfig, AssertionError, AssertionVerifier, UnverifiedAssertion, VerifiedAssertion,
};
pub use bearer::bearer;
pub use claims::Registered;
pub use error::TokenError;
pub use keys::{IssuerKeys, KeySource};
pub use profile::{Profile, Rfc9068, TaskToken};
pub use replay::{ReplayMemory, Seen};
pub use verifier::{VerifiedToken, Verifier, VerifierConfig};
