//! Keys: everything secret that is stored lives here, sealed, and leaves only as signatures, commitments and
//! sealed values.
//!
//! The hierarchy: an *unseal key* (a 0600 file, a descriptor, or a passphrase) opens the *root key*; the root
//! key opens one bundle per tenant (sealing keys, log key, fingerprint key, signing keys) and one for the
//! installation; sealing keys protect rows and files. Losing the bundle of a tenant loses what was sealed
//! under it and nothing else, which is how a tenant is erased.
//!
//! Invariants
//! - A private key has no way out: [`Keyring`] signs, seals and commits, and gives public keys. The one key that
//!   is handed out, to whoever may open a tenant's log, is that of its commitments; it encrypts nothing (ADR 0022).
//! - A file that others may read is refused, never repaired in silence.
//! - A sealed value opens only in the tenant, table, row and column it was sealed for.
//! - No secret type has `Debug`, `Display` or `Serialize`; no secret is part of an error.
//!
//! This crate does not know tokens' claims, SQL, HTTP or the clock.

#![warn(missing_docs)]

mod aead;
mod bundle;
pub mod ceremony;
mod client;
mod codec;
mod egress;
mod entropy;
mod error;
mod files;
mod handover;
mod holder;
mod jwk;
pub mod jws;
mod keyring;
mod log;
mod seal;
mod signer;
mod unseal;
mod x509;

pub use client::{AssertionPlan, ClientKey};
pub use egress::EgressSigner;
pub use entropy::SystemEntropy;
pub use error::KeysError;
pub use files::open_to_others;
pub use handover::{Joining, require_empty};
pub use holder::{HeldKey, Holder, HolderError};
pub use jwk::{PublicJwk, jwks};
pub use keyring::{KeyState, Keyring, KnownKey};
pub use log::LogSigner;
pub use signer::TokenSigner;
pub use unseal::{PASSPHRASE_ITERATIONS, Unseal, create_unseal_file};
pub use x509::X509Issued;
