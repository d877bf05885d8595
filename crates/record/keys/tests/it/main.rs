//! Room tests of `keys`.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its input fails")]

mod authorities;
mod ceremony;
mod client;
mod handover;
mod held;
mod keyring;
mod sealing;
mod shelf;
mod signing;

use std::path::Path;
use std::sync::Arc;

use bailiwick_base::{Secret, SeededEntropy, TenantId};
use bailiwick_keys::{Keyring, KeysError, Unseal};

/// An unseal key of the test's choice.
pub(crate) fn unseal(byte: u8) -> Unseal {
    Unseal::Bytes(Secret::new([byte; 32]))
}

pub(crate) fn open(folder: &Path, unseal: Unseal) -> Result<Keyring, KeysError> {
    Keyring::open(&folder.join("keys"), unseal, Arc::new(SeededEntropy::new(7)))
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}
