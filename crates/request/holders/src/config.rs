//! Where the holder is.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bailiwick_base::limits::shown;
use bailiwick_keys::HolderError;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// `[keys.holder]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HolderConfig {
    /// Who holds new signing keys: `file` (the folder of keys), `pkcs11` or `aws-kms`.
    pub kind: String,
    /// Whether the holder also seals the unseal key, so that the data folder alone opens nothing.
    pub seals: bool,
    /// The PKCS #11 module, e.g. `/usr/lib/softhsm/libsofthsm2.so`.
    pub module: Option<PathBuf>,
    /// Label of the PKCS #11 token.
    pub token: Option<String>,
    /// File with the PIN of its user (0600).
    pub pin_file: Option<PathBuf>,
    /// Region of AWS KMS.
    pub region: Option<String>,
    /// File with the access key (0600): its id, the secret, and the token of its session if it
    /// is one, each on a line.
    pub access_key_file: Option<PathBuf>,
    /// Id or ARN of the KMS key that seals.
    pub sealing_key: Option<String>,
    /// Another endpoint than AWS; recorded at each start.
    pub danger_endpoint_override: Option<String>,
    /// Address ranges beyond the public ones where that endpoint may be; with a range, plain HTTP is taken.
    pub allow_addresses: Vec<String>,
}

impl Default for HolderConfig {
    fn default() -> Self {
        Self {
            kind: "file".to_owned(),
            seals: false,
            module: None,
            token: None,
            pin_file: None,
            region: None,
            access_key_file: None,
            sealing_key: None,
            danger_endpoint_override: None,
            allow_addresses: Vec::new(),
        }
    }
}

/// The words for `kind`.
const KINDS: [&str; 3] = ["file", "pkcs11", "aws-kms"];

impl HolderConfig {
    /// Whether `kind` is one there is.
    ///
    /// # Errors
    /// [`HolderConfigError`].
    pub fn validate(&self) -> Result<(), HolderConfigError> {
        if KINDS.contains(&self.kind.as_str()) {
            return Ok(());
        }
        Err(self.no_such_kind())
    }

    pub(crate) fn no_such_kind(&self) -> HolderConfigError {
        HolderConfigError::Key {
            key: "kind",
            rule: format!("`{}` is none of {}", shown(&self.kind), KINDS.join(", ")),
        }
    }
}

/// The holder cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum HolderConfigError {
    /// It does not do what it should.
    #[error("config section `keys.holder`")]
    Holder(#[from] HolderError),
    /// A key of the configuration is missing or not usable.
    #[error("config key `keys.holder.{key}`: {rule}")]
    Key {
        /// Which.
        key: &'static str,
        /// What would pass.
        rule: String,
    },
}

/// The value, or which key is missing.
pub(crate) fn given<'a, T>(value: Option<&'a T>, key: &'static str) -> Result<&'a T, HolderConfigError> {
    value.ok_or_else(|| HolderConfigError::Key {
        key,
        rule: "it is missing".to_owned(),
    })
}

/// The lines of a secret file that nobody else may read.
pub(crate) fn secret_text(path: &Path, key: &'static str) -> Result<Zeroizing<String>, HolderConfigError> {
    let refused = |rule: String| HolderConfigError::Key { key, rule };
    let unreadable = |e: std::io::Error| refused(format!("cannot read `{}`: {}", path.display(), e.kind()));
    let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(refused(format!(
            "others may read `{}`: chmod 600 it",
            path.display()
        )));
    }
    std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(unreadable)
}
