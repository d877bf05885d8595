//! The data folder of a sidecar: who it is, where it hears, its keys, its log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{Clock, Entropy, NodeName, PublicKey, SigningAlgorithm, TenantId, canonical, json};
use bailiwick_journal::{DecisionLog, Deps, Disk, LogConfig, NoteKey};
use bailiwick_keys::{Keyring, LogSigner, Unseal};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::error::SidecarError;
use crate::word::Bounds;

/// What a data folder of a sidecar is known by, in it.
pub const ABOUT: &str = "sidecar.json";
const ABOUT_MAX: usize = 1024 * 1024;
/// Verifier key of the log, beside it, for whoever verifies the folder without us.
const VKEY_FILE: &str = "vkey";

/// What a sidecar takes from the machine it runs on.
#[derive(Clone)]
pub struct Machine {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where the log is.
    pub disk: Arc<dyn Disk>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// As it stands in the folder.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AboutForm {
    pub(crate) v: u64,
    pub(crate) sidecar: String,
    /// Where it asks.
    pub(crate) url: String,
    pub(crate) base_url: String,
    pub(crate) tenants: Vec<String>,
    pub(crate) snapshot_key: String,
    pub(crate) refuse_ms: u64,
    pub(crate) warn_ms: u64,
    /// PEM text of the private CA of the node.
    pub(crate) ca: Option<String>,
}

/// Who a sidecar is.
pub(crate) struct About {
    pub(crate) sidecar: NodeName,
    pub(crate) url: String,
    pub(crate) base_url: String,
    pub(crate) tenants: Vec<TenantId>,
    pub(crate) snapshot_key: PublicKey,
    pub(crate) bounds: Bounds,
    pub(crate) ca: Option<String>,
}

fn malformed(field: &'static str, why: impl std::fmt::Display) -> SidecarError {
    SidecarError::Malformed {
        field,
        why: why.to_string(),
    }
}

/// The longest lease that a node may have; a longer one was not told by a node.
const REFUSE_MAX_MS: u64 = 30_000;

impl TryFrom<AboutForm> for About {
    type Error = SidecarError;

    fn try_from(form: AboutForm) -> Result<Self, SidecarError> {
        if form.v != 1 {
            return Err(malformed("v", "this program reads version 1"));
        }
        let key = URL_SAFE_NO_PAD.decode(&form.snapshot_key).ok();
        let key: Option<[u8; 32]> = key.and_then(|key| key.try_into().ok());
        let key = key.ok_or_else(|| malformed("snapshot_key", "it has to be an Ed25519 key in base64url"))?;
        if !(1..=REFUSE_MAX_MS).contains(&form.refuse_ms) || form.warn_ms > form.refuse_ms {
            return Err(malformed(
                "refuse_ms",
                format!("it has to be within 1 to {REFUSE_MAX_MS}, and `warn_ms` not above it"),
            ));
        }
        let tenants: Vec<TenantId> = form
            .tenants
            .iter()
            .map(|text| TenantId::parse(text).map_err(|e| malformed("tenants", e)))
            .collect::<Result<_, _>>()?;
        if tenants.is_empty() {
            return Err(malformed("tenants", "there is none"));
        }
        Ok(Self {
            sidecar: NodeName::parse(&form.sidecar).map_err(|e| malformed("sidecar", e))?,
            url: form.url.trim_end_matches('/').to_owned(),
            base_url: form.base_url.trim_end_matches('/').to_owned(),
            tenants,
            snapshot_key: PublicKey::ed25519(key).map_err(|e| malformed("snapshot_key", e))?,
            bounds: Bounds {
                refuse: Duration::from_millis(form.refuse_ms),
                warn: Duration::from_millis(form.warn_ms),
            },
            ca: form.ca,
        })
    }
}

impl About {
    pub(crate) fn read(disk: &dyn Disk, data: &Path) -> Result<Self, SidecarError> {
        let path = data.join(ABOUT);
        if !disk.exists(&path).unwrap_or(false) {
            return Err(SidecarError::NotJoined(data.to_owned()));
        }
        let wrong = |why: String| SidecarError::File {
            path: path.clone(),
            why,
        };
        let bytes = disk.read(&path).map_err(|e| wrong(e.to_string()))?;
        let form: AboutForm = json::parse_as(&bytes, ABOUT_MAX).map_err(|e| wrong(e.to_string()))?;
        Self::try_from(form)
    }
}

/// Writes who it is: the last step of joining.
pub(crate) fn write_about(disk: &dyn Disk, data: &Path, form: &AboutForm) -> Result<(), SidecarError> {
    let path = data.join(ABOUT);
    let wrong = |why: String| SidecarError::File {
        path: path.clone(),
        why,
    };
    let bytes = canonical::to_vec(form).map_err(|e| wrong(e.to_string()))?;
    disk.replace(&path, &bytes).map_err(|e| wrong(e.to_string()))
}

/// `host/...` without the scheme, as origins are written.
fn below(base_url: &str, what: &str) -> String {
    let host = base_url.split_once("://").map_or(base_url, |(_, host)| host);
    format!("{}/{what}", host.trim_end_matches('/'))
}

/// The key that signs words; no log has that origin.
pub(crate) fn word_key(keyring: &Keyring, sidecar: &NodeName) -> Result<Arc<LogSigner>, SidecarError> {
    Ok(keyring.log_signer(&format!("sidecar-word/{sidecar}"))?)
}

/// The key of the decision log. Its origin is fixed when the sidecar joins, and kept beside the log.
pub(crate) fn log_key(
    keyring: &Keyring,
    data: &Path,
    disk: &dyn Disk,
    wanted: Option<(&str, &NodeName)>,
) -> Result<Arc<LogSigner>, SidecarError> {
    let dir = log_folder(data);
    let path = dir.join("origin");
    let wrong = |why: String| SidecarError::File {
        path: path.clone(),
        why,
    };
    let origin = match wanted {
        Some((base_url, sidecar)) => {
            let origin = below(base_url, &format!("decisions/{sidecar}"));
            disk.create_folders(&dir).map_err(|e| wrong(e.to_string()))?;
            disk.replace(&path, format!("{origin}\n").as_bytes())
                .map_err(|e| wrong(e.to_string()))?;
            origin
        }
        None => {
            let bytes = disk.read(&path).map_err(|e| wrong(e.to_string()))?;
            let text = String::from_utf8(bytes).map_err(|e| wrong(e.to_string()))?;
            text.trim().to_owned()
        }
    };
    Ok(keyring.log_signer(&origin)?)
}

fn log_folder(data: &Path) -> PathBuf {
    data.join("log").join("decisions")
}

/// The keys of the folder.
pub(crate) fn keyring(data: &Path, unseal: Unseal, machine: &Machine) -> Result<Arc<Keyring>, SidecarError> {
    let keyring = Keyring::open(&data.join("keys"), unseal, Arc::clone(&machine.entropy))?;
    Ok(Arc::new(keyring))
}

/// The decision log, under the lock of its one process.
pub(crate) fn open_log(
    data: &Path,
    about: &About,
    keyring: &Arc<Keyring>,
    machine: &Machine,
) -> Result<Arc<DecisionLog>, SidecarError> {
    let signer = log_key(keyring, data, &*machine.disk, None)?;
    let dir = log_folder(data);
    let path = dir.join(VKEY_FILE);
    machine
        .disk
        .replace(&path, format!("{}\n", signer.vkey()).as_bytes())
        .map_err(|e| SidecarError::File {
            path,
            why: e.to_string(),
        })?;
    let config = LogConfig::new(about.sidecar.clone(), signer.origin());
    let deps = Deps {
        clock: Arc::clone(&machine.clock),
        sealer: Arc::clone(keyring) as _,
        key: NoteKey::from_log_signer(signer)?,
        disk: Arc::clone(&machine.disk),
    };
    let (log, recovery) = DecisionLog::open(&dir, config, deps)?;
    if let Some(cut) = &recovery.cut {
        tracing::warn!(
            ?cut,
            "the last flush was torn; its records were never acknowledged and are cut"
        );
    }
    Ok(Arc::new(log))
}

/// Keys under which the payloads of these tenants are sealed here. They belong to this folder alone: those of the nodes
/// do not leave them.
pub(crate) fn seal_for(keyring: &Keyring, tenants: &[TenantId]) -> Result<(), SidecarError> {
    for tenant in tenants {
        keyring.create_tenant(tenant, SigningAlgorithm::EdDsa)?;
    }
    Ok(())
}
