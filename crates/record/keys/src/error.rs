//! What can be wrong with stored keys. Nothing here names a secret.

use std::io;
use std::path::PathBuf;

use crate::holder::HolderError;
use bailiwick_base::{EntropyError, PublicKeyError, SealError, TenantId};

/// Why a key could not be opened, made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The keys of a new installation cannot be made so.
    #[error("{0}")]
    Ceremony(String),
    /// The unseal key or passphrase is not the one the keys were sealed with.
    #[error("`{}` does not open with this unseal key: give the key or passphrase that was used when it was made", path.display())]
    DoesNotOpen {
        /// The root key file.
        path: PathBuf,
    },
    /// A key file is there and is not what it should be.
    #[error("key file `{}` is damaged or belongs elsewhere: restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Randomness failed.
    #[error("no key was made")]
    Entropy(#[from] EntropyError),
    /// The folder could be entered by others.
    #[error("folder `{}` has mode {mode:04o} and others may enter it: run `chmod 700 {}`", path.display(), path.display())]
    FolderOpen {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key pair could not be made.
    #[error("a key pair could not be made")]
    Generate,
    /// The holder of a key did not do it.
    #[error(transparent)]
    Holder(#[from] HolderError),
    /// A key is held by somebody who is not configured.
    #[error(
        "the private key is held by `{0}`, which is not configured: set `keys.holder.kind` and its place again, or rotate"
    )]
    HolderMissing(String),
    /// Reading or writing failed.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The signing key named is not there, or not in the state for this.
    #[error("signing key `{kid}` of tenant `{tenant}` cannot be {action}: {rule}")]
    KeyState {
        /// Tenant.
        tenant: TenantId,
        /// Key id.
        kid: String,
        /// What was tried.
        action: &'static str,
        /// What has to hold.
        rule: &'static str,
    },
    /// The name of a log cannot stand in a signed note.
    #[error("log origin `{0}` cannot name a key: use printable text without spaces and without +")]
    Origin(String),
    /// A key file that was there is gone.
    #[error("key file `{}` is missing: put it back from the backup of the whole data folder", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A passphrase of too few characters.
    #[error("passphrase is too short: use at least {min} characters")]
    PassphraseShort {
        /// The smallest length.
        min: usize,
    },
    /// The text is not a private key that the command line made.
    #[error("private key is not readable: expected a PKCS #8 PEM file with an RSA, P-256 or Ed25519 key")]
    PrivateKey,
    /// A public key is refused.
    #[error("public key is refused")]
    PublicKey(#[from] PublicKeyError),
    /// A secret file could be read by others.
    #[error("secret file `{}` has mode {mode:04o} and others may read it: run `chmod 600 {}`", path.display(), path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Sealing failed.
    #[error("a key could not be sealed")]
    Seal(#[from] SealError),
    /// A key that nodes share is older in the store than this node has seen it, or gone.
    #[error(
        "shared key `{name}` is of version {found} in the store, and was of version {seen}: the store was set back; put \
         back the newest one, or accept the older one with `bailiwick witness accept`"
    )]
    SetBack {
        /// Its name below the folder of keys.
        name: String,
        /// The version in the store; 0 where it is gone.
        found: u64,
        /// The highest version that this node has seen.
        seen: u64,
    },
    /// Signing failed.
    #[error("signing failed")]
    Sign,
    /// A signing key that the state tells of is not in the folder.
    #[error(
        "signing key `{kid}` of tenant `{tenant}` is not in the folder of keys: put that folder back from the backup of the whole data folder"
    )]
    SigningKeyMissing {
        /// Tenant.
        tenant: TenantId,
        /// Key id.
        kid: String,
    },
    /// The tenant's keys were erased; the name is never used again.
    #[error("keys of tenant `{0}` were erased: choose another tenant name, this one is never used again")]
    TenantErased(TenantId),
    /// The tenant has keys for another algorithm.
    #[error("tenant `{0}` has keys already: add a signing key to change its algorithm")]
    TenantExists(TenantId),
    /// The tenant has no keys.
    #[error("tenant `{0}` has no keys: add the tenant first")]
    TenantUnknown(TenantId),
    /// The unseal file is not a key.
    #[error("unseal key `{}` has {len} bytes: it has to be exactly 32 random bytes", path.display())]
    UnsealLength {
        /// The file.
        path: PathBuf,
        /// Its length, or more than 32 when reading stopped.
        len: usize,
    },
    /// There are sealed keys and no unseal key.
    #[error("unseal key `{}` is not there but sealed keys are: bring back the file, without it nothing opens", path.display())]
    UnsealMissing {
        /// Where it was looked for.
        path: PathBuf,
    },
}

impl KeysError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Ceremony(_) => "keys.ceremony",
            Self::DoesNotOpen { .. } => "keys.does-not-open",
            Self::Damaged { .. } => "keys.damaged",
            Self::Entropy(_) => "keys.entropy",
            Self::FolderOpen { .. } => "keys.folder-open",
            Self::Generate => "keys.generate",
            Self::Holder(_) => "keys.holder",
            Self::HolderMissing(_) => "keys.holder-missing",
            Self::Io { .. } => "keys.io",
            Self::KeyState { .. } => "keys.key-state",
            Self::Origin(_) => "keys.origin",
            Self::Missing { .. } => "keys.missing",
            Self::PassphraseShort { .. } => "keys.passphrase-short",
            Self::PrivateKey => "keys.private-key",
            Self::PublicKey(_) => "keys.public-key",
            Self::Readable { .. } => "keys.readable",
            Self::Seal(_) => "keys.seal",
            Self::SetBack { .. } => "keys.set-back",
            Self::Sign => "keys.sign",
            Self::SigningKeyMissing { .. } => "keys.signing-key-missing",
            Self::TenantErased(_) => "keys.tenant-erased",
            Self::TenantExists(_) => "keys.tenant-exists",
            Self::TenantUnknown(_) => "keys.tenant-unknown",
            Self::UnsealLength { .. } => "keys.unseal-length",
            Self::UnsealMissing { .. } => "keys.unseal-missing",
        }
    }
}
