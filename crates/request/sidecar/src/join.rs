//! Joining: keys of its own, an invitation used up, and a data folder that says who it is.

use std::path::{Path, PathBuf};

use bailiwick_base::NodeName;
use bailiwick_keys::Unseal;
use bailiwick_wire::JoinSidecar;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::ask::Asker;
use crate::error::SidecarError;
use crate::folder::{ABOUT, About, AboutForm, Machine, keyring, log_key, seal_for, word_key, write_about};

/// What it takes to join.
pub struct JoinPlan {
    /// Base URL of the installation, or of the node that is asked.
    pub url: String,
    /// The name of the invitation.
    pub name: String,
    /// The token; a secret.
    pub token: String,
    /// The data folder, made for this.
    pub data: PathBuf,
    /// PEM text of the private CA that vouches for the node.
    pub ca: Option<String>,
    /// What opens the root key of the folder.
    pub unseal: Unseal,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Name.
    pub sidecar: String,
    /// Base URL of the installation.
    pub base_url: String,
    /// Tenants whose calls it may decide.
    pub tenants: Vec<String>,
    /// Verifier key of its decision log.
    pub vkey: String,
}

/// What only a folder that is in use has.
const IN_USE: [&str; 4] = [ABOUT, "state.db", "kill.journal", "log/state"];

fn make_folder(data: &Path) -> Result<(), SidecarError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let wrong = |why: String| SidecarError::File {
        path: data.to_owned(),
        why,
    };
    if !data.exists() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data)
            .map_err(|e| wrong(format!("it cannot be made: {e}")))?;
    }
    let mode = std::fs::metadata(data).map_err(|e| wrong(e.to_string()))?;
    if mode.permissions().mode() & 0o077 != 0 {
        return Err(wrong("it is open to others: chmod 700".to_owned()));
    }
    Ok(())
}

/// Makes the data folder of a sidecar and joins with it. What a failed attempt left there is used again.
///
/// # Errors
/// [`SidecarError`]: the folder is in use, the node is not there, or the token is not one of an open invitation.
pub async fn join(plan: JoinPlan, machine: &Machine) -> Result<Joined, SidecarError> {
    let JoinPlan {
        url,
        name,
        token,
        data,
        ca,
        unseal,
    } = plan;
    let sidecar = NodeName::parse(&name).map_err(|e| SidecarError::Malformed {
        field: "name",
        why: e.to_string(),
    })?;
    if IN_USE.iter().any(|part| data.join(part).exists()) {
        return Err(SidecarError::InUse(data));
    }
    make_folder(&data)?;
    let keys = keyring(&data, unseal, machine)?;
    let key = word_key(&keys, &sidecar)?;
    let log = log_key(&keys, &data, &*machine.disk, Some((&url, &sidecar)))?;
    let asked = JoinSidecar {
        sidecar: name,
        token,
        key: URL_SAFE_NO_PAD.encode(key.public_key()),
        vkey: log.vkey(),
    };
    let joined = Asker::new(&url, ca.as_deref())?.join(&asked).await?;
    if joined.sidecar != asked.sidecar {
        return Err(SidecarError::Answered("it is for another sidecar".to_owned()));
    }
    let form = || AboutForm {
        v: 1,
        sidecar: joined.sidecar.clone(),
        url: url.clone(),
        base_url: joined.base_url.clone(),
        tenants: joined.tenants.clone(),
        snapshot_key: joined.snapshot_key.clone(),
        refuse_ms: joined.refuse_ms,
        warn_ms: joined.warn_ms,
        ca: ca.clone(),
    };
    let about = About::try_from(form())?;
    seal_for(&keys, &about.tenants)?;
    write_about(&*machine.disk, &data, &form())?;
    Ok(Joined {
        sidecar: joined.sidecar,
        base_url: joined.base_url,
        tenants: joined.tenants,
        vkey: asked.vkey,
    })
}
