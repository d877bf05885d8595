//! Who holds private keys for us: a PKCS #11 token beside us, or AWS KMS through the guarded way out.
//!
//! Invariants
//! - A private key that is made there has no way out, and is never asked for.
//! - PIN and access key come from files for their owner alone, and are part of no error.
//! - Every question to a holder has a limit of time; a holder that is down is an error, never an answer.
//! - Sessions with a token, and questions at once, are limited.
//!
//! This crate does not know tenants, tokens or rows.

#![warn(missing_docs)]

mod config;
mod der;
mod kms;
mod pkcs11;
mod service;
mod unseal;

use std::path::Path;
use std::sync::Arc;

use bailiwick_base::{Clock, Entropy};
use bailiwick_keys::{Holder, Keyring, KeysError, Unseal};

pub use config::{HolderConfig, HolderConfigError};
pub use kms::AwsKms;
pub use pkcs11::Pkcs11Token;

/// The keyring cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The holder is not usable.
    #[error(transparent)]
    Holder(#[from] HolderConfigError),
    /// The keys are not.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

/// The keyring of the data folder, with whoever holds keys for it. `unseal` opens it where no holder seals what does.
/// A holder is asked here already where it seals, and a PKCS #11 token always: it has to be there at a start.
///
/// # Errors
/// [`KeyringError`].
pub fn keyring(
    config: &HolderConfig,
    data: &Path,
    unseal: Unseal,
    (clock, entropy): (&Arc<dyn Clock>, &Arc<dyn Entropy>),
) -> Result<Keyring, KeyringError> {
    let holder = open(config, Arc::clone(clock))?;
    if let Some(url) = &config.danger_endpoint_override {
        tracing::warn!(url, "keys are held at another endpoint than the vendor's");
    }
    let folder = data.join("keys");
    let unseal = match &holder {
        Some(holder) if config.seals => Unseal::Bytes(unseal::by_holder(
            &data.join("unseal.sealed"),
            !folder.join("root.key").exists(),
            holder.as_ref(),
            entropy.as_ref(),
        )?),
        _ => unseal,
    };
    let keyring = Keyring::open(&folder, unseal, Arc::clone(entropy))?;
    Ok(match holder {
        Some(holder) => keyring.with_holder(holder),
        None => keyring,
    })
}

/// The holder that is configured; `None` for the folder of keys.
fn open(config: &HolderConfig, clock: Arc<dyn Clock>) -> Result<Option<Arc<dyn Holder>>, HolderConfigError> {
    Ok(match config.kind.as_str() {
        "aws-kms" => Some(Arc::new(AwsKms::open(config, clock)?)),
        "pkcs11" => Some(Arc::new(Pkcs11Token::open(config)?)),
        "file" => None,
        _ => return Err(config.no_such_kind()),
    })
}
