//! The keys of a new installation, made off line: one root for the installation, one bundle for each tenant.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bailiwick_base::{Digest, Secret, SigningAlgorithm, TenantId};
use zeroize::Zeroizing;

use crate::entropy::SystemEntropy;
use crate::error::KeysError;
use crate::keyring::{KeyState, Keyring};
use crate::unseal::Unseal;
use crate::{files, unseal};

/// Holds the digest of the root from the ceremony to the first start.
const UNUSED: &str = "keys/ceremony";

/// What the root key is sealed with.
pub enum Sealed {
    /// A new key in this file, which must not be there.
    File(PathBuf),
    /// A passphrase.
    Passphrase(Vec<u8>),
}

/// What is to be made.
pub struct Ceremony<'a> {
    /// Data folder.
    pub data: &'a Path,
    /// What the root key is sealed with.
    pub sealed: Sealed,
    /// Tenants whose keys are made as well.
    pub tenants: Vec<String>,
    /// Algorithm of their signing keys.
    pub algorithm: String,
}

/// What was made, for the record of those who were present.
#[derive(Debug)]
pub struct Held {
    /// SHA-256 of the sealed root key: whoever was present can tell it from another one.
    pub root: String,
    /// Each tenant with the id of the key that signs.
    pub tenants: Vec<(String, String)>,
    /// What has to be done with it, in order.
    pub steps: Vec<String>,
}

/// Makes the root key, the unseal key and the keys of the tenants. Nothing is made when a name is wrong or the
/// folder has keys already.
///
/// # Errors
/// [`KeysError`], naming what is in the way.
pub fn hold(plan: Ceremony<'_>) -> Result<Held, KeysError> {
    let algorithm = SigningAlgorithm::parse(&plan.algorithm)
        .ok_or_else(|| KeysError::Ceremony(format!("`{}` is none of RS256, ES256, EdDSA", plan.algorithm)))?;
    let tenants = parse_tenants(&plan.tenants)?;
    let folder = plan.data.join("keys");
    if folder.exists() && files::holds_any(&folder)? {
        return Err(KeysError::Ceremony(format!(
            "`{}` has keys already: a root is made once; choose another data folder",
            folder.display()
        )));
    }
    let (unseal, keep) = prepare(plan.data, plan.sealed)?;
    files::ensure_folder(plan.data)?;
    let keyring = Keyring::open(&folder, unseal, Arc::new(SystemEntropy))?;
    let mut made = Vec::with_capacity(tenants.len());
    for tenant in tenants {
        keyring.create_tenant(&tenant, algorithm)?;
        keyring.add_signing_key(&tenant, algorithm)?;
        let keys = keyring.signing_keys(&tenant)?;
        let active = keys.into_iter().find(|key| key.state == KeyState::Active);
        made.push((tenant.to_string(), active.map(|key| key.kid).unwrap_or_default()));
    }
    mark_unused(plan.data)?;
    let root = root_of(plan.data)?.unwrap_or_default();
    Ok(Held {
        root,
        tenants: made,
        steps: vec![
            "write down the digest of the root above, with the date and who was present".to_owned(),
            keep.step,
            format!(
                "move `{}` to the machine that serves, mode 0700, for the user that serves",
                plan.data.display()
            ),
            format!(
                "configure there, with the places they have on that machine: data = \"FOLDER\"; {}",
                keep.setting
            ),
            "start the service, claim it, and add the tenants: the keys made here are taken as they are"
                .to_owned(),
            "remove what is left of both here".to_owned(),
        ],
    })
}

/// Whether the keys in this data folder are as a ceremony left them: no service has begun on them.
///
/// # Errors
/// [`KeysError`] when the folder cannot be read.
pub fn is_unused(data: &Path) -> Result<bool, KeysError> {
    let Some(of) = files::read(&data.join(UNUSED))? else {
        return Ok(false);
    };
    Ok(root_of(data)?.is_some_and(|root| root.as_bytes() == of.as_slice()))
}

/// No service has begun on these keys.
pub(crate) fn mark_unused(data: &Path) -> Result<(), KeysError> {
    let root = root_of(data)?.unwrap_or_default();
    files::write(&data.join(UNUSED), root.as_bytes())
}

/// A service has begun on these keys: from now on they belong to what it wrote.
///
/// # Errors
/// [`KeysError`] when the folder cannot be written.
pub fn mark_used(data: &Path) -> Result<(), KeysError> {
    files::remove(&data.join(UNUSED))
}

/// The digest of the sealed root key, as it is written down.
fn root_of(data: &Path) -> Result<Option<String>, KeysError> {
    let root = files::read(&data.join("keys").join(crate::keyring::ROOT_FILE))?;
    Ok(root.map(|root| Digest::of(&root).to_string()))
}

struct Keep {
    step: String,
    setting: String,
}

fn prepare(data: &Path, sealed: Sealed) -> Result<(Unseal, Keep), KeysError> {
    match sealed {
        Sealed::File(file) => {
            if within(&file, data) {
                return Err(KeysError::Ceremony(format!(
                    "`{}` is inside the data folder: a backup of it would hold the lock with the key; choose a place outside",
                    file.display()
                )));
            }
            unseal::create_unseal_file(&file, &SystemEntropy)?;
            let keep = Keep {
                step: format!(
                    "keep two copies of `{}` apart from the data folder and from each other; without it nothing opens, \
                     with it and the folder everything does",
                    file.display()
                ),
                setting: "keys.unseal_file = \"FILE\", or keys.unseal_credential = \"NAME\" with `systemd-creds encrypt \
                          FILE` and `LoadCredentialEncrypted=NAME` in the unit"
                    .to_owned(),
            };
            Ok((Unseal::File(file), keep))
        }
        Sealed::Passphrase(bytes) => {
            let bytes = Zeroizing::new(bytes);
            let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes).to_vec();
            let keep = Keep {
                step: "two people keep the passphrase, each on paper in a sealed envelope; without it nothing opens"
                    .to_owned(),
                setting: "keys.passphrase_file = \"FILE\" (0600, or a descriptor such as /dev/fd/3)".to_owned(),
            };
            Ok((Unseal::Passphrase(Secret::new(text)), keep))
        }
    }
}

fn within(file: &Path, folder: &Path) -> bool {
    match (files::folder_of(file).canonicalize(), folder.canonicalize()) {
        (Ok(parent), Ok(folder)) => parent.starts_with(folder),
        _ => file.starts_with(folder),
    }
}

fn parse_tenants(slugs: &[String]) -> Result<Vec<TenantId>, KeysError> {
    let parse = |slug: &String| {
        TenantId::parse(slug).map_err(|error| KeysError::Ceremony(format!("tenant `{slug}`: {error}")))
    };
    slugs.iter().map(parse).collect()
}
