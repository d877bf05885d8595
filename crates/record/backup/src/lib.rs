//! A whole copy of a data folder, made beside a service that runs on it, and put back from it.
//!
//! Words: *backup* (a folder with a manifest), *part* (one of its files).
//!
//! Invariants
//! - What is copied later may be ahead of what was copied earlier, never behind: checkpoint, tiles, entries, store,
//!   keys. A start on the copy catches up, as after a crash.
//! - The key that opens the rest is not in it.
//! - A backup that is not whole is not put back, and nothing is put over what is there.
//!
//! It does not know what a row, an entry or a key means, nor whether the copy may run: that is the witness's say.

#![warn(missing_docs)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bailiwick_base::{Digest, Sha256, json};
use bailiwick_evidence::{BASE, LOGS, export_folder};
use bailiwick_store::StoreConfig;
use serde::{Deserialize, Serialize};

const MANIFEST: &str = "manifest.json";
const VERSION: u64 = 1;
/// Longest manifest in bytes: some 400,000 parts.
const MANIFEST_MAX: usize = 64 << 20;
const STORE: &str = "state.db";
const KILLS: &str = "kill.journal";
const KEYS: &str = "keys";
/// What a log has beside its tiles and its checkpoint.
const ORIGIN: &str = "origin";
const SEGMENTS: &str = "log/decisions/segments";
/// Bytes copied at once.
const CHUNK: usize = 1 << 20;

/// What a backup holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    v: u64,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    path: String,
    sha256: String,
}

/// A backup that was made or put back.
#[derive(Debug, Clone, Serialize)]
pub struct Backup {
    /// Where it is.
    pub folder: PathBuf,
    /// Files.
    pub parts: usize,
    /// Entries of the state log that its checkpoint covers.
    pub state_entries: u64,
    /// Entries of the decision log that its checkpoint covers.
    pub decision_entries: u64,
}

/// Copies the data folder `data` into the new folder `out`.
///
/// # Errors
/// When `out` exists, the store is not kept in the data folder, or something cannot be copied.
pub async fn make(data: &Path, out: &Path) -> Result<Backup> {
    ensure!(!out.exists(), "`{}` exists: give a new folder", out.display());
    ensure!(
        data.join(STORE).is_file(),
        "`{}` is missing: a store on a server is backed up with that server's own tools, and first",
        data.join(STORE).display()
    );
    make_folder(out)?;
    let logs = out.join("log");
    let exported = export_folder(data, &logs).context("logs")?;
    for log in LOGS {
        copy(
            &data.join("log").join(log).join(ORIGIN),
            &logs.join(log).join(ORIGIN),
        )?;
    }
    copy_all(&data.join(SEGMENTS), &out.join(SEGMENTS))?;
    for log in LOGS {
        // What was exported begins elsewhere than what was copied behind it.
        let (own, copied) = (data.join("log").join(log).join(BASE), logs.join(log).join(BASE));
        ensure!(
            fs::read(&own).ok() == fs::read(&copied).ok(),
            "the log `{log}` was pruned meanwhile: make the backup again"
        );
    }
    copy(&data.join(KILLS), &out.join(KILLS))?;
    let store = StoreConfig::embedded(data.join(STORE));
    bailiwick_store::copy_to(&store, &out.join(STORE))
        .await
        .context("store")?;
    copy_all(&data.join(KEYS), &out.join(KEYS))?;
    let mut paths = Vec::new();
    walk(out, Path::new(""), &mut paths)?;
    let parts = paths.iter().map(|path| -> Result<Part> {
        let sha256 = digest(&out.join(path))?.to_string();
        let path = path.to_str().context("a file name is not UTF-8")?.to_owned();
        Ok(Part { path, sha256 })
    });
    let manifest = Manifest {
        v: VERSION,
        parts: parts.collect::<Result<_>>()?,
    };
    sync_folders(out, &paths)?;
    // Last: a folder without it is no backup.
    let mut file = create(&out.join(MANIFEST))?;
    file.write_all(&serde_json::to_vec(&manifest)?)
        .and_then(|()| file.sync_all())
        .context(MANIFEST)?;
    sync_folders(out, &[])?;
    let size = |name: &str| {
        exported
            .iter()
            .find(|log| log.log == name)
            .map_or(0, |log| log.size)
    };
    Ok(Backup {
        folder: out.to_owned(),
        parts: manifest.parts.len(),
        state_entries: size("state"),
        decision_entries: size("decisions"),
    })
}

/// Puts the backup in `from` back as the data folder `data`, which must not be there.
///
/// # Errors
/// When the backup is not whole, or `data` is there.
pub fn put_back(from: &Path, data: &Path) -> Result<Backup> {
    ensure!(
        !data.exists(),
        "`{}` exists: move it away first, it may be the newer one",
        data.display()
    );
    let manifest = read_manifest(from)?;
    make_folder(data)?;
    for part in &manifest.parts {
        let target = data.join(&part.path);
        if let Some(folder) = target.parent() {
            make_folder(folder)?;
        }
        copy(&from.join(&part.path), &target)?;
    }
    let paths: Vec<PathBuf> = manifest
        .parts
        .iter()
        .map(|part| part.path.clone().into())
        .collect();
    sync_folders(data, &paths)?;
    let reports = bailiwick_evidence::verify_folder(data, &[]).context("logs")?;
    for report in &reports {
        if let Some(finding) = report.findings.first() {
            anyhow::bail!("log `{}` is not sound: {finding}", report.log);
        }
    }
    let size = |name: &str| {
        reports
            .iter()
            .find(|log| log.log == name)
            .map_or(0, |log| log.size)
    };
    Ok(Backup {
        folder: data.to_owned(),
        parts: manifest.parts.len(),
        state_entries: size("state"),
        decision_entries: size("decisions"),
    })
}

/// The manifest of a backup whose files are all there, whole, and no others.
fn read_manifest(from: &Path) -> Result<Manifest> {
    let file = from.join(MANIFEST);
    let shown = file.display().to_string();
    let bytes =
        fs::read(&file).with_context(|| format!("`{shown}` cannot be read: this is no whole backup"))?;
    let manifest: Manifest = json::parse_as(&bytes, MANIFEST_MAX).with_context(|| shown.clone())?;
    ensure!(manifest.v == VERSION, "`{shown}` is of version {}", manifest.v);
    let mut found = Vec::new();
    walk(from, Path::new(""), &mut found)?;
    found.retain(|path| path != Path::new(MANIFEST));
    let mut named: Vec<PathBuf> = manifest
        .parts
        .iter()
        .map(|part| PathBuf::from(&part.path))
        .collect();
    found.sort();
    named.sort();
    for path in &named {
        let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        ensure!(is_plain, "`{shown}` names a file outside: `{}`", path.display());
    }
    if let Some(missing) = named.iter().find(|path| found.binary_search(path).is_err()) {
        anyhow::bail!("`{}` is missing in the backup", missing.display());
    }
    if let Some(extra) = found.iter().find(|path| named.binary_search(path).is_err()) {
        anyhow::bail!("`{}` is not part of the backup", extra.display());
    }
    for part in &manifest.parts {
        ensure!(
            digest(&from.join(&part.path))?.to_string() == part.sha256,
            "`{}` is not the file that was backed up",
            part.path
        );
    }
    Ok(manifest)
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make `{}`", folder.display()))
}

fn create(path: &Path) -> Result<File> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make `{}`", path.display()))
}

/// Copies one file, durably.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut source = File::open(from).with_context(|| format!("cannot read `{}`", from.display()))?;
    let mut target = create(to)?;
    io::copy(&mut source, &mut target)
        .and_then(|_| target.sync_all())
        .with_context(|| format!("cannot copy `{}`", from.display()))
}

/// Copies a folder with everything in it.
fn copy_all(from: &Path, to: &Path) -> Result<()> {
    make_folder(to)?;
    let mut paths = Vec::new();
    walk(from, Path::new(""), &mut paths)?;
    for path in paths {
        let target = to.join(&path);
        if let Some(folder) = target.parent() {
            make_folder(folder)?;
        }
        copy(&from.join(&path), &target)?;
    }
    Ok(())
}

/// Every file below `root`, by its path from there.
fn walk(root: &Path, below: &Path, out: &mut Vec<PathBuf>) -> Result<()> {
    let folder = root.join(below);
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read `{}`", folder.display()))?;
        let path = below.join(entry.file_name());
        let kind = entry
            .file_type()
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        if kind.is_dir() {
            walk(root, &path, out)?;
            continue;
        }
        // What a link leads to is not copied, and without it the copy would not be whole.
        ensure!(
            kind.is_file(),
            "`{}` is neither a file nor a folder: put the file itself there",
            root.join(&path).display()
        );
        out.push(path);
    }
    Ok(())
}

/// Makes the names of files durable that were made below `root`, and the name of `root`.
fn sync_folders(root: &Path, paths: &[PathBuf]) -> Result<()> {
    let above = paths.iter().flat_map(|path| path.ancestors().skip(1));
    let mut folders: BTreeSet<PathBuf> = above.map(|folder| root.join(folder)).collect();
    folders.extend(root.parent().filter(|parent| parent.is_dir()).map(Path::to_owned));
    folders.insert(root.to_owned());
    for folder in folders {
        File::open(&folder)
            .and_then(|folder| folder.sync_all())
            .with_context(|| format!("cannot flush `{}`", folder.display()))?;
    }
    Ok(())
}

fn digest(path: &Path) -> Result<Digest> {
    use std::io::Read;
    let failed = || format!("cannot read `{}`", path.display());
    let mut file = File::open(path).with_context(failed)?;
    let (mut sha, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        let read = file.read(&mut buffer).with_context(failed)?;
        if read == 0 {
            return Ok(sha.finish());
        }
        sha.update(buffer.get(..read).unwrap_or_default());
    }
}
