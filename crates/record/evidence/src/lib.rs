//! Evidence from files alone: verify a folder, export it, verify one proof.
//!
//! Words: *log*, *checkpoint*, *proof file*, *verifier key*.
//!
//! Invariants
//! - It reads files and nothing else: no service, no store, no secret key.
//! - What is not sound is told with its log and position, never repaired.
//!
//! It does not know how entries are made, sealed or served.

#![warn(missing_docs)]

mod pack;
mod quorum;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use bailiwick_audit::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use bailiwick_audit::entry::Leaf;
use bailiwick_audit::fsck::{Content, Finding, Order, fsck_log_from};
use bailiwick_audit::note::NoteVerifier;
use bailiwick_audit::proof::ProofFile;
use bailiwick_audit::tile::{Entries, TILE_WIDTH, TileReader, TileSource};
use bailiwick_base::Digest;
use bailiwick_journal::{JournalError, KeptBase, WITNESSED, read_base, verify_segments};
use serde::Serialize;
use serde_json::Value;

pub use bailiwick_journal::BASE;
pub use pack::{OpeningLine, Pack, PackedLog, pack, verify_pack};
pub use quorum::{Cosigned, Quorum, Witnessed};

/// The logs of an installation, as folders below `log/` (data folder) or directly below an export.
pub const LOGS: [&str; 2] = ["state", "decisions"];
/// The log's own verifier key, beside its checkpoint. Whoever does not trust the folder gives the key.
pub const VKEY_FILE: &str = "vkey";

/// What the data folder of a sidecar is known by.
const SIDECAR: &str = "sidecar.json";

/// What the full check of one log found.
#[derive(Debug, Clone, Serialize)]
pub struct LogReport {
    /// `state` or `decisions`.
    pub log: String,
    /// Origin line.
    pub origin: String,
    /// The key its checkpoint was verified with.
    pub vkey: String,
    /// Where that key is from.
    pub key_from: KeyFrom,
    /// Entries under the checkpoint.
    pub size: u64,
    /// Root hash.
    pub root: String,
    /// Where it begins, once it was pruned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begins: Option<Begins>,
    /// What witnesses saw of it, when they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witnessed: Option<Witnessed>,
    /// Each fault with its position and its file; none when sound.
    pub findings: Vec<String>,
}

/// Where a verifier key is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyFrom {
    /// The folder that is verified: it vouches for itself.
    Folder,
    /// The reader.
    Given,
}

/// The beginning of a log that was pruned.
#[derive(Debug, Clone, Serialize)]
pub struct Begins {
    /// Index of the first entry that is kept.
    pub with: u64,
    /// When it was pruned.
    pub pruned_at: String,
    /// Who did it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Index of the entry of the state log that recorded it.
    pub entry: u64,
    /// Digest of what stands for the entries that are gone: that entry names it.
    pub base: String,
}

impl LogReport {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// A log that was copied.
#[derive(Debug, Clone, Serialize)]
pub struct ExportedLog {
    /// `state` or `decisions`.
    pub log: String,
    /// Origin line.
    pub origin: String,
    /// Entries under the copied checkpoint.
    pub size: u64,
    /// Where it was copied to.
    pub folder: PathBuf,
    /// Index of its first entry that is kept.
    pub begins: u64,
    /// Payloads, when they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openings: Option<PathBuf>,
}

/// What a proof file proves.
#[derive(Debug, Clone, Serialize)]
pub struct Proven {
    /// Origin of the log.
    pub origin: String,
    /// Index of the entry.
    pub index: u64,
    /// Size of the tree.
    pub size: u64,
    /// The leaf.
    pub leaf: Value,
    /// The payload, where it is disclosed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
}

struct Tiles<'a>(&'a Path);

impl TileSource for Tiles<'_> {
    type Error = std::io::Error;

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, std::io::Error> {
        match std::fs::read(self.0.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The folder of one log below a data folder or an export.
fn log_folder(data: &Path, log: &str) -> Option<PathBuf> {
    [data.join("log").join(log), data.join(log)]
        .into_iter()
        .find(|f| f.join(VKEY_FILE).is_file())
}

/// Both logs, or what is missing: a log that is gone is a fault and not one log less to look at.
fn require_logs(data: &Path) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    // A sidecar has a log of decisions and no state log.
    let is_sidecar = data.join(SIDECAR).is_file();
    let kept = LOGS.into_iter().filter(|log| !is_sidecar || *log == "decisions");
    let logs: Vec<_> = kept.map(|log| (log, log_folder(data, log))).collect();
    ensure!(
        logs.iter().any(|(_, folder)| folder.is_some()),
        "`{}` holds no log: give a data folder or an exported folder",
        data.display()
    );
    let each = logs.into_iter().map(|(log, folder)| {
        let folder = folder.with_context(|| {
            format!(
                "log `{log}` in `{}` is missing, or its file `{VKEY_FILE}` is: put it back from the backup of \
                 the whole data folder",
                data.display()
            )
        })?;
        Ok((log, folder))
    });
    each.collect()
}

/// Checks every log below `data`. The checkpoint of a log of which a key is given must carry that key.
///
/// # Errors
/// When the folder holds no log, or a file cannot be read. What is wrong inside a log is a finding.
pub fn verify_folder(data: &Path, keys: &[&str]) -> anyhow::Result<Vec<LogReport>> {
    verify_witnessed(data, keys, &Quorum::default())
}

/// The same; in addition, so many of these witnesses must have cosigned each log, and this one.
///
/// # Errors
/// As [`verify_folder`].
pub fn verify_witnessed(data: &Path, keys: &[&str], quorum: &Quorum) -> anyhow::Result<Vec<LogReport>> {
    let given: Vec<NoteVerifier> = keys
        .iter()
        .map(|key| {
            NoteVerifier::parse(key).with_context(|| format!("the given verifier key `{key}` is malformed"))
        })
        .collect::<anyhow::Result<_>>()?;
    let mut reports = Vec::new();
    for (log, folder) in require_logs(data)? {
        let own = read_vkey(&folder)?;
        let (verifier, from) = match given.iter().find(|given| given.name() == own.name()) {
            Some(given) => (given.clone(), KeyFrom::Given),
            None => (own, KeyFrom::Folder),
        };
        let mut report = verify_log(log, &folder, &verifier, from)?;
        report.findings.extend(segment_fault(data, log, &verifier)?);
        if quorum.is_asked() {
            match quorum.verify(&folder, &verifier, || read_checkpoint(&folder, &verifier)) {
                Ok(witnessed) => report.witnessed = Some(witnessed),
                Err(error) => report.findings.push(format!("{error:#}")),
            }
        }
        reports.push(report);
    }
    require_recorded(data, &mut reports)?;
    for given in &given {
        ensure!(
            reports.iter().any(|r| r.origin == given.name()),
            "no log of origin `{}` in `{}`",
            given.name(),
            data.display()
        );
    }
    Ok(reports)
}

fn verify_log(
    log: &str,
    folder: &Path,
    verifier: &NoteVerifier,
    key_from: KeyFrom,
) -> anyhow::Result<LogReport> {
    let origin = Origin::parse(verifier.name())?;
    // The state log has one writer. Decisions are taken side by side, each on the epoch and the position it
    // names, and stand in the order in which they became durable.
    let content = Content::Leaves(if log == "state" {
        Order::ALL
    } else {
        Order::default()
    });
    let known = std::slice::from_ref(verifier);
    let mut base = kept_base(folder, verifier)?;
    let report = loop {
        let from = base.as_ref().map(|kept| kept.base.to_fsck()).unwrap_or_default();
        let report = fsck_log_from(&Tiles(folder), &origin, known, content, from)
            .with_context(|| format!("log `{log}` cannot be read"))?;
        // A service that prunes meanwhile takes away what was about to be read.
        let now = kept_base(folder, verifier)?;
        if now == base {
            break report;
        }
        base = now;
    };
    let signed = read_checkpoint(folder, verifier).ok();
    let (size, root) = signed
        .as_ref()
        .map(SignedCheckpoint::checkpoint)
        .map_or((report.size, String::new()), |c| {
            (c.size, Digest(c.root.0).to_string())
        });
    Ok(LogReport {
        log: log.to_owned(),
        origin: verifier.name().to_owned(),
        vkey: verifier.vkey(),
        key_from,
        size,
        root,
        begins: base.map(|kept| Begins {
            with: kept.base.minimum,
            pruned_at: kept.base.pruned_at().to_string(),
            by: kept.base.by.clone(),
            reason: kept.base.reason.clone(),
            entry: kept.entry,
            base: kept.base.digest().to_string(),
        }),
        witnessed: None,
        findings: report
            .findings
            .iter()
            .map(|finding| named(finding, folder, report.size))
            .collect(),
    })
}

/// What is wrong with the payloads beside a log: those of decisions, in a data folder. An export has none of them, and
/// those of the state log are in the store.
fn segment_fault(data: &Path, log: &str, verifier: &NoteVerifier) -> anyhow::Result<Option<String>> {
    let folder = data.join("log").join(log);
    let is_kept = log == "decisions" && folder.join(VKEY_FILE).is_file();
    let Some(signed) = read_checkpoint(&folder, verifier).ok().filter(|_| is_kept) else {
        return Ok(None);
    };
    loop {
        let base = kept_base(&folder, verifier)?;
        let Err(error) = verify_segments(&folder, verifier.name(), signed.checkpoint()) else {
            return Ok(None);
        };
        // A service that prunes meanwhile takes away what was about to be read.
        if kept_base(&folder, verifier)? == base {
            return Ok(Some(with_causes(&error)));
        }
    }
}

fn with_causes(error: &JournalError) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// What stands for the entries of a log that were pruned.
fn kept_base(folder: &Path, key: &NoteVerifier) -> anyhow::Result<Option<KeptBase>> {
    Ok(read_base(folder, key.name())?)
}

/// The state log must have recorded where another log begins. Which base it names is sealed with the entry: the node
/// itself compares that at each start.
fn require_recorded(data: &Path, reports: &mut [LogReport]) -> anyhow::Result<()> {
    let state = log_folder(data, "state");
    let signed = match &state {
        Some(state) => read_checkpoint(state, &read_vkey(state)?).ok(),
        None => None,
    };
    for report in reports {
        let Some(begins) = &report.begins else { continue };
        // Where the state log itself is not sound, that is told already; a sidecar has none, and prunes nothing.
        let size = signed.as_ref().map_or(0, |signed| signed.checkpoint().size);
        let is_told = state
            .as_ref()
            .is_some_and(|state| size == 0 || (begins.entry < size && is_pruning(state, begins.entry, size)));
        if !is_told {
            report.findings.push(format!(
                "the log begins with entry {}, and entry {} of the state log does not say that it was pruned",
                begins.with, begins.entry
            ));
        }
    }
    Ok(())
}

/// Whether an entry of the state log records a pruning.
fn is_pruning(state: &Path, index: u64, size: u64) -> bool {
    let (tiles, width) = (Tiles(state), u64::from(TILE_WIDTH));
    let (bundle, at) = (index / width, index % width);
    let wanted = u16::try_from((size - bundle * width).min(width)).unwrap_or(TILE_WIDTH);
    let Ok(bytes) = TileReader::new(&tiles).read_entries(bundle, wanted) else {
        return false;
    };
    let entry = Entries::new(&bytes).nth(usize::try_from(at).unwrap_or(usize::MAX));
    let leaf = entry.and_then(Result::ok);
    leaf.is_some_and(|leaf| Leaf::decode(leaf).is_ok_and(|leaf| leaf.kind.as_str() == "state.log.prune"))
}

/// What was found, with the file that holds it.
fn named(finding: &Finding, folder: &Path, size: u64) -> String {
    let file = folder.join(finding.file(size).unwrap_or_default());
    format!("{finding}, in `{}`", file.display())
}

/// The checkpoint of a log, if that key signed it.
fn read_checkpoint(folder: &Path, verifier: &NoteVerifier) -> anyhow::Result<SignedCheckpoint> {
    let file = folder.join("checkpoint");
    let bytes = std::fs::read(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let origin = Origin::parse(verifier.name())?;
    SignedCheckpoint::verify(&bytes, &origin, std::slice::from_ref(verifier))
        .with_context(|| format!("`{}`", file.display()))
}

/// What the state log of a data folder has signed, by its own key.
pub fn signed_state(data: &Path) -> anyhow::Result<Checkpoint> {
    let folder = log_folder(data, "state").context("the state log is missing")?;
    let signed = read_checkpoint(&folder, &read_vkey(&folder)?)?;
    Ok(signed.checkpoint().clone())
}

fn read_vkey(folder: &Path) -> anyhow::Result<NoteVerifier> {
    let file = folder.join(VKEY_FILE);
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    NoteVerifier::parse(text.trim()).with_context(|| format!("`{}` is malformed", file.display()))
}

/// Copies checkpoints, verifier keys and the tiles of just those checkpoints into a new folder.
///
/// # Errors
/// When the folder exists, holds no log, or cannot be written.
pub fn export_folder(data: &Path, dir: &Path) -> anyhow::Result<Vec<ExportedLog>> {
    ensure!(!dir.exists(), "`{}` exists: give a new folder", dir.display());
    let logs = require_logs(data)?;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
    let mut exported = Vec::new();
    for (log, from) in logs {
        let to = dir.join(log);
        let key = read_vkey(&from)?;
        // Before the checkpoint is copied, so that it is not behind what witnesses saw.
        let witnessed = std::fs::read(from.join(WITNESSED)).ok();
        bailiwick_journal::export(&from, key.name(), &key, &to, None).with_context(|| {
            format!(
                "log `{log}` cannot be exported: run `bailiwick log verify --data {}`",
                data.display()
            )
        })?;
        copy_file(&from.join(VKEY_FILE), &to.join(VKEY_FILE))?;
        if let Some(witnessed) = witnessed {
            let file = to.join(WITNESSED);
            std::fs::write(&file, witnessed).with_context(|| format!("cannot write `{}`", file.display()))?;
        }
        let report = verify_log(log, &to, &key, KeyFrom::Folder)?;
        if let Some(finding) = report.findings.first() {
            bail!(
                "log `{log}` is not sound, {finding}: run `bailiwick log verify --data {}`",
                data.display()
            );
        }
        exported.push(ExportedLog {
            log: log.to_owned(),
            origin: report.origin,
            size: report.size,
            begins: report.begins.map_or(0, |begins| begins.with),
            folder: to,
            openings: None,
        });
    }
    Ok(exported)
}

fn copy_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::copy(from, to)
        .with_context(|| format!("cannot copy `{}` to `{}`", from.display(), to.display()))?;
    Ok(())
}

/// Verifies a `.tlog-proof` with a verifier key from a place the reader trusts.
///
/// # Errors
/// Whatever is not proven.
pub fn verify_proof(bytes: &[u8], vkey: &str) -> anyhow::Result<Proven> {
    let verifier = NoteVerifier::parse(vkey.trim()).context("the verifier key is malformed")?;
    let origin = Origin::parse(verifier.name())?;
    let proven = ProofFile::parse(bytes)?.verify(&origin, &[verifier])?;
    Ok(Proven {
        origin: proven.checkpoint.origin.as_str().to_owned(),
        index: proven.index,
        size: proven.checkpoint.size,
        leaf: serde_json::from_slice(&proven.entry)?,
        payload: proven
            .payload
            .as_deref()
            .map(serde_json::from_slice)
            .transpose()?,
    })
}
