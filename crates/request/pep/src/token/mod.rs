//! The one reader of signed tokens: access tokens of our issuers, assertions of our clients, proofs of possession.
//!
//! A token is a compact JWS (RFC 7515 §3.1) of at most 16 KiB. Nothing in it chooses how it is verified: the
//! issuer leads to a tenant and its keys, the `kid` to one key, and that key has one algorithm. What was
//! verified before is remembered by the hash of the whole text, and judged again by the clock on every use.
//!
//! References: RFC 7515, 7519, 9068, 8725 and 8725bis; 7523 and 7523bis for assertions; 9449 and 8705 for proofs.

mod assertion;
mod bearer;
mod cache;
mod claims;
mod dpop;
mod error;
mod keys;
mod nonce;
mod presented;
mod profile;
mod replay;
mod verifier;

pub use assertion::{
    AssertionConfig, AssertionError, AssertionVerifier, UnverifiedAssertion, VerifiedAssertion,
};
pub use bearer::bearer;
pub use claims::Registered;
pub use dpop::{NONCE_HEADER, PROOF_HEADER, Place, Proof, ProofConfig, ProofError, ProofVerifier};
pub use error::TokenError;
pub use keys::{IssuerKeys, KeySource};
pub use nonce::{Nonces, TurnNonces};
pub use presented::{ClientCertificate, Presented, caller};
pub use profile::{Profile, Rfc9068, TaskToken};
pub use replay::{ReplayMemory, Seen};
pub use verifier::{VerifiedToken, Verifier, VerifierConfig};
