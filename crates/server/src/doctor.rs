//! `bailiwick doctor`: what is not as it should be, each with the command that mends it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bailiwick_base::{Entropy, NodeName};
use bailiwick_keys::{Keyring, SystemEntropy, Unseal};
use bailiwick_store::{Compared, Inspection, Signed, StoreConfig, StoreDeps};
use serde::Serialize;

use crate::clock::SystemClock;

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What was looked at and found.
    pub what: String,
    /// The command that mends it; none when there is nothing to mend.
    pub mend: Option<String>,
    /// What would be better, where it works as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

fn fine(what: String) -> Finding {
    let (mend, advice) = (None, None);
    Finding { what, mend, advice }
}

fn mend(what: String, mend: String) -> Finding {
    let mend = Some(mend);
    Finding { mend, ..fine(what) }
}

/// Looks at the data folder of an installation.
pub async fn examine(data: Option<&Path>) -> Vec<Finding> {
    let Some(data) = data else {
        return vec![mend(
            "no data folder is known".to_owned(),
            "bailiwick doctor --data DIR, or bailiwick claim --data DIR --name NAME".to_owned(),
        )];
    };
    let mut findings = examine_secrets(data);
    findings.extend(logs(data));
    if findings.iter().all(|finding| finding.mend.is_none()) {
        findings.push(store(data).await);
    }
    findings
}

/// Compares the store with its sound state log, read only and beside a service that may run on it.
async fn store(data: &Path) -> Finding {
    let file = data.join("state.db");
    let unseal = data.join("unseal.key");
    if !file.is_file() {
        return fine("the store is not kept in the data folder".to_owned());
    }
    // Without either the keyring would have to be made, and nothing is made here.
    if !unseal.is_file() || !data.join("keys/root.key").is_file() {
        return fine("the store is not compared: its keys are not in the data folder".to_owned());
    }
    match compare(data, file, unseal).await {
        Ok(compared) => fine(format!(
            "the store is what its state log tells, {} entries",
            compared.entries
        )),
        Err(error) => mend(
            format!("store: {error:#}"),
            "put the whole data folder back from its backup; bailiwick serve does not start on it".to_owned(),
        ),
    }
}

async fn compare(data: &Path, store: PathBuf, unseal: PathBuf) -> anyhow::Result<Compared> {
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let keyring = Keyring::open(&data.join("keys"), Unseal::File(unseal), entropy)?;
    let deps = StoreDeps {
        clock: Arc::new(SystemClock::new()),
        sealer: Arc::new(keyring),
        node: NodeName::parse("doctor")?,
        shelf: None,
        seat: None,
        observer: None,
    };
    let checkpoint = crate::evidence::signed_state(data)?;
    let signed = Signed {
        size: checkpoint.size,
        root: checkpoint.root,
    };
    let store = Inspection::open(&StoreConfig::embedded(store), deps).await?;
    Ok(store.compare(signed).await?)
}

/// Looks at who may read what the data folder keeps secret.
pub(crate) fn examine_secrets(data: &Path) -> Vec<Finding> {
    let mut findings = vec![folder(data), private_file(&data.join("unseal.key"), "unseal key")];
    findings.extend(
        bailiwick_keys::open_to_others(&data.join("keys"))
            .into_iter()
            .map(|place| {
                let mode = if place.is_dir() { 700 } else { 600 };
                let shown = place.display();
                mend(
                    format!("keys: `{shown}` is open to others"),
                    format!("chmod {mode} {shown}"),
                )
            }),
    );
    findings
}

fn folder(data: &Path) -> Finding {
    let shown = data.display();
    match std::fs::metadata(data) {
        Err(error) => mend(
            format!("data folder `{shown}`: {error}"),
            format!("bailiwick serve --data {shown}"),
        ),
        Ok(meta) if !meta.is_dir() => mend(
            format!("data folder `{shown}` is no folder"),
            "bailiwick doctor --data DIR, with the folder the service was started with".to_owned(),
        ),
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => mend(
            format!("data folder `{shown}` is open to others"),
            format!("chmod 700 {shown}"),
        ),
        Ok(_) => fine(format!("data folder `{shown}` is private")),
    }
}

fn private_file(file: &Path, title: &str) -> Finding {
    let shown = file.display();
    match std::fs::metadata(file) {
        Err(_) => fine(format!("{title} is not kept in the data folder")),
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => mend(
            format!("{title} `{shown}` may be read by others"),
            format!("chmod 600 {shown}"),
        ),
        Ok(_) => Finding {
            advice: Some(format!(
                "stop the service, move `{shown}` elsewhere and name it there, `keys.unseal_file` in the file of \
                 --config: docs/guides/keys.md"
            )),
            ..fine(format!(
                "{title} is private, but lies beside what it opens: a copy of the data folder opens itself"
            ))
        },
    }
}

fn logs(data: &Path) -> Vec<Finding> {
    match crate::evidence::verify_folder(data, &[]) {
        Err(error) => vec![mend(
            format!("logs: {error:#}"),
            format!("bailiwick log verify --data {}", data.display()),
        )],
        Ok(reports) => {
            let mut found = reports.iter().flat_map(|r| &r.findings);
            let entries: u64 = reports.iter().map(|r| r.size).sum();
            match found.next() {
                Some(first) => vec![mend(
                    format!("logs: {} faults, the first: {first}", found.count() + 1),
                    format!("bailiwick log verify --data {}", data.display()),
                )],
                None => {
                    let mut told = vec![fine(format!("logs verify, {entries} entries"))];
                    told.extend(reports.iter().filter_map(begins));
                    told
                }
            }
        }
    }
}

/// Where a log begins that was pruned.
fn begins(report: &crate::evidence::LogReport) -> Option<Finding> {
    let begins = report.begins.as_ref()?;
    Some(fine(format!(
        "log `{}` begins with entry {}: pruned at {} by {}, {}",
        report.log, begins.with, begins.pruned_at, begins.by, begins.reason
    )))
}
