//! The port through which rows and files are encrypted; `keys` implements it, `store` and `journal` use it.

use crate::digest::Digest;
use crate::tenant::TenantId;

/// What a sealed value belongs to. It is authenticated with the value, so that a row that is copied to
/// another tenant, table, row or column does not open.
#[derive(Debug, Clone, Copy)]
pub struct SealContext<'a> {
    /// Whose key seals; `None` is the installation itself.
    pub tenant: Option<&'a TenantId>,
    /// Table or file kind.
    pub table: &'static str,
    /// Row key.
    pub row: &'a [u8],
    /// Column or field.
    pub column: &'static str,
}

/// Why sealing or opening failed. Says nothing about the plaintext.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The sealed bytes are not whole, or belong to another row, or were made under another key.
    #[error(
        "sealed value of `{table}.{column}` does not open: it was altered, moved or sealed under another key"
    )]
    DoesNotOpen {
        /// Table of the context.
        table: &'static str,
        /// Column of the context.
        column: &'static str,
    },
    /// No key for this tenant (erased, or never made).
    #[error("tenant `{0}` has no key: it was erased or never made")]
    NoKey(String),
    /// The key is sealed, or randomness failed.
    #[error("the key store is not open")]
    NotOpen,
}

/// Authenticated encryption under a tenant's key.
pub trait Sealer: Send + Sync + 'static {
    /// Encrypts `plain`.
    ///
    /// # Errors
    /// [`SealError::NoKey`], [`SealError::NotOpen`].
    fn seal(&self, context: &SealContext<'_>, plain: &[u8]) -> Result<Vec<u8>, SealError>;

    /// Decrypts what [`Sealer::seal`] made in the same context.
    ///
    /// # Errors
    /// Any of [`SealError`].
    fn open(&self, context: &SealContext<'_>, sealed: &[u8]) -> Result<Vec<u8>, SealError>;

    /// HMAC-SHA-256 of `payload` under the tenant's log key: the commitment in a log leaf.
    ///
    /// # Errors
    /// [`SealError::NoKey`], [`SealError::NotOpen`].
    fn commit(&self, tenant: Option<&TenantId>, payload: &[u8]) -> Result<[u8; 32], SealError>;

    /// HMAC-SHA-256 of `said` under a key of the installation that is disclosed to nobody, which the key of commitments
    /// is: what a node vouches for, or keeps instead of a secret. Different purposes never give the same.
    ///
    /// # Errors
    /// [`SealError::NoKey`].
    fn vouch(&self, purpose: &'static str, said: &[u8]) -> Result<Digest, SealError>;
}

/// A key file as nodes of one installation hand it to each other through the shared store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedKey {
    /// Whose key; the installation's own when absent.
    pub tenant: Option<TenantId>,
    /// Name below the folder of keys.
    pub name: String,
    /// Rises with each change; 0 before it was placed.
    pub version: u64,
    /// The file, sealed under the root key as this version of this name.
    pub sealed: Vec<u8>,
}

/// The keys that nodes share. What changed here waits until a transaction places it in the shared store.
pub trait KeyShelf: Send + Sync + 'static {
    /// What is to be placed, each with the version it was made from.
    fn waiting(&self) -> Vec<SharedKey>;

    /// These were placed; each carries its new version.
    fn placed(&self, keys: &[SharedKey]);

    /// Takes a key of another node; one that is known already changes nothing.
    ///
    /// # Errors
    /// [`SealError`] when it does not open under the root key or cannot be kept.
    fn adopt(&self, key: &SharedKey) -> Result<(), SealError>;
}
