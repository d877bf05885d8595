//! Evidence packs: every entry of one tenant in both logs, each with its proof and, where its payload opens, its
//! opening; nothing of anybody else. A pack verifies from its files and the keys of the logs alone.
//!
//! ```text
//! manifest.json            whose it is, and the digest of each file
//! state.checkpoint         what the proofs lead to, signed by the log
//! state.entries.jsonl      an entry a line: index, leaf, proof, opening
//! decisions.checkpoint, decisions.entries.jsonl
//! ```
//!
//! Entries are numbered without a gap within tenant and log, so nothing in front of the last one is left out unseen. Where
//! a log was pruned, the tenant's own entry in the state log says up to which number.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bailiwick_audit::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use bailiwick_audit::entry::{Leaf, Opening};
use bailiwick_audit::merkle::{InclusionProof, hash_from_slice, leaf_hash, verify_inclusion};
use bailiwick_audit::note::NoteVerifier;
use bailiwick_audit::tile::{Entries, Prover, TILE_WIDTH, TileReader};
use bailiwick_base::{Digest, json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{LOGS, Tiles, kept_base, read_checkpoint, read_vkey, require_logs};

const MANIFEST: &str = "manifest.json";
const VERSION: u64 = 1;
const MANIFEST_MAX: usize = 64 * 1024;
/// Longest line: a leaf, 64 hashes and a payload of 64 KiB.
const LINE_MAX: usize = 256 * 1024;
/// Tiles kept while proofs are made, 16 KiB each.
const KEPT_MAX: usize = 256;

/// What opens the payload of one entry, as the service gives it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpeningLine {
    /// Index in its log.
    pub index: u64,
    /// The tenant's key of commitments, Base64.
    pub key: String,
    /// The payload, Base64.
    pub payload: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    index: u64,
    leaf: String,
    proof: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    opening: Option<LineOpening>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LineOpening {
    key: String,
    payload: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    v: u64,
    tenant: String,
    tenant_ref: String,
    files: Vec<PackedFile>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PackedFile {
    name: String,
    sha256: String,
}

/// A pack that was made, or that verifies.
#[derive(Debug, Clone, Serialize)]
pub struct Pack {
    /// Slug of the tenant, as the entry that added it says.
    pub tenant: String,
    /// The tenant as the leaves name it.
    pub tenant_ref: String,
    /// Both logs.
    pub logs: Vec<PackedLog>,
}

/// The entries of one log.
#[derive(Debug, Clone, Serialize)]
pub struct PackedLog {
    /// `state` or `decisions`.
    pub log: String,
    /// Origin line.
    pub origin: String,
    /// Entries under the checkpoint, of all tenants.
    pub size: u64,
    /// Entries of this tenant, without a gap to its last.
    pub entries: u64,
    /// Entries of this tenant in front of those, which were pruned on record.
    pub pruned: u64,
    /// Those whose payload is disclosed.
    pub disclosed: u64,
}

/// Writes the pack of `tenant` into the new folder `dir`, from the logs of a data folder and the `openings` of each of
/// them by index, of which those of others are left out.
///
/// # Errors
/// When the folder exists, no entry tells that the tenant was added, a log does not verify, or an opening is not that
/// of its entry.
pub fn pack(
    data: &Path,
    dir: &Path,
    tenant: &str,
    openings: &BTreeMap<&str, BTreeMap<u64, OpeningLine>>,
) -> Result<Pack> {
    ensure!(!dir.exists(), "`{}` exists: give a new folder", dir.display());
    let logs = require_logs(data)?;
    let tenant_ref = reference_of(tenant, &logs, openings)?;
    // What is disclosed is for whoever the maker gives it to.
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot make `{}`", dir.display()))?;
    let (mut packed, mut files) = (Vec::new(), Vec::new());
    let nothing = BTreeMap::new();
    for (log, folder) in logs {
        let signed = read_checkpoint(&folder, &read_vkey(&folder)?)?;
        let opened = openings.get(log).unwrap_or(&nothing);
        let (lines, report) = lines_of((log, &folder), signed.checkpoint(), &tenant_ref, opened)?;
        for (ending, bytes) in [("checkpoint", signed.to_bytes()), ("entries.jsonl", lines)] {
            let name = format!("{log}.{ending}");
            write(&dir.join(&name), &bytes)?;
            files.push(PackedFile {
                name,
                sha256: Digest::of(&bytes).to_string(),
            });
        }
        packed.push(report);
    }
    let manifest = Manifest {
        v: VERSION,
        tenant: tenant.to_owned(),
        tenant_ref,
        files,
    };
    let mut bytes = serde_json::to_vec_pretty(&manifest)?;
    bytes.push(b'\n');
    // Last: a folder without it is no pack.
    write(&dir.join(MANIFEST), &bytes)?;
    Ok(Pack {
        tenant: manifest.tenant,
        tenant_ref: manifest.tenant_ref,
        logs: packed,
    })
}

/// The tenant as its leaves name it: as the leaf of the entry that added it does.
fn reference_of(
    tenant: &str,
    logs: &[(&'static str, PathBuf)],
    openings: &BTreeMap<&str, BTreeMap<u64, OpeningLine>>,
) -> Result<String> {
    let added = openings
        .get("state")
        .and_then(|state| state.values().find(|line| adds(&line.payload, tenant)))
        .with_context(|| format!("no entry tells that tenant `{tenant}` was added"))?;
    let (_, folder) = logs
        .iter()
        .find(|(log, _)| *log == "state")
        .context("the state log is missing")?;
    let signed = read_checkpoint(folder, &read_vkey(folder)?)?;
    let mut found = None;
    each_leaf(folder, (0, signed.checkpoint()), |index, leaf| {
        if index == added.index {
            found = Some(Leaf::decode(leaf)?.tenant_ref.to_owned());
        }
        Ok(())
    })?;
    found.context("no checkpoint covers the tenant yet: try again")
}

/// Whether a payload, in Base64, tells that the tenant was added.
fn adds(payload: &str, tenant: &str) -> bool {
    let payload = STANDARD.decode(payload).ok();
    let payload = payload.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    payload.is_some_and(|payload| {
        payload.get("command").and_then(Value::as_str) == Some("tenant.add")
            && payload.pointer("/objects/0/id").and_then(Value::as_str) == Some(tenant)
    })
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut out = std::fs::File::create_new(file)?;
        out.write_all(bytes)?;
        out.sync_all()
    };
    write().with_context(|| format!("cannot write `{}`", file.display()))
}

/// Walks the leaves under a checkpoint in order, from the first one that is kept.
fn each_leaf(
    folder: &Path,
    (minimum, checkpoint): (u64, &Checkpoint),
    mut see: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let tiles = Tiles(folder);
    let reader = TileReader::new(&tiles);
    let width = u64::from(TILE_WIDTH);
    let mut index = minimum - minimum % width;
    while index < checkpoint.size {
        let wanted = width.min(checkpoint.size - index);
        let bytes = reader.read_entries(index / width, u16::try_from(wanted).unwrap_or(TILE_WIDTH))?;
        let mut entries = Entries::new(&bytes);
        for at in index..index + wanted {
            let entry = entries
                .next()
                .ok_or_else(|| anyhow!("entry {at} is missing in its bundle"))?;
            let leaf = entry?;
            if at >= minimum {
                see(at, leaf)?;
            }
        }
        index += wanted;
    }
    Ok(())
}

fn lines_of(
    (log, folder): (&str, &Path),
    checkpoint: &Checkpoint,
    tenant_ref: &str,
    openings: &BTreeMap<u64, OpeningLine>,
) -> Result<(Vec<u8>, PackedLog)> {
    let tiles = Tiles(folder);
    let mut prover = match checkpoint.size {
        0 => None,
        size => Some(Prover::new(&tiles, size, checkpoint.root, KEPT_MAX)?),
    };
    let mut lines = Vec::new();
    let mut packed = PackedLog {
        log: log.to_owned(),
        origin: checkpoint.origin.to_string(),
        size: checkpoint.size,
        entries: 0,
        pruned: 0,
        disclosed: 0,
    };
    let base = kept_base(folder, &read_vkey(folder)?)?.map(|kept| kept.base);
    packed.pruned = base
        .as_ref()
        .and_then(|base| base.tenants.get(tenant_ref))
        .copied()
        .unwrap_or(0);
    let minimum = base.map_or(0, |base| base.minimum);
    each_leaf(folder, (minimum, checkpoint), |index, bytes| {
        let leaf = Leaf::decode(bytes)?;
        if leaf.tenant_ref != tenant_ref {
            return Ok(());
        }
        let prover = prover.as_mut().context("an empty log has an entry")?;
        let (hash, proof) = prover.prove_inclusion(index)?;
        ensure!(
            hash == leaf_hash(bytes),
            "entry {index} of log `{log}` is not the one in its tree"
        );
        let opening = openings.get(&index).map(|line| LineOpening {
            key: line.key.clone(),
            payload: line.payload.clone(),
        });
        if let Some(opening) = &opening {
            require_opens(index, &leaf, opening)?;
            packed.disclosed += 1;
        }
        let line = Line {
            index,
            leaf: std::str::from_utf8(bytes)?.to_owned(),
            proof: proof.hashes.iter().map(|hash| STANDARD.encode(hash)).collect(),
            opening,
        };
        serde_json::to_writer(&mut lines, &line)?;
        lines.push(b'\n');
        packed.entries += 1;
        Ok(())
    })?;
    Ok((lines, packed))
}

fn require_opens(index: u64, leaf: &Leaf<'_>, line: &LineOpening) -> Result<()> {
    let key = STANDARD.decode(&line.key).context("the key is not Base64")?;
    let opening = Opening {
        leaf_index: index,
        key: key.try_into().map_err(|_| anyhow!("the key has not 32 bytes"))?,
        payload: STANDARD
            .decode(&line.payload)
            .context("the payload is not Base64")?,
    };
    opening
        .verify(leaf)
        .with_context(|| format!("the payload of entry {index}"))
}

/// Verifies a pack with keys from a place the reader trusts: the log of each of its checkpoints must be among them. The
/// entry that added the tenant tells that its name is that of the pack.
///
/// # Errors
/// Whatever is not proven, altered, missing, or more than the pack says.
pub fn verify_pack(dir: &Path, vkeys: &[String]) -> Result<Pack> {
    let keys = vkeys
        .iter()
        .map(|vkey| NoteVerifier::parse(vkey.trim()))
        .collect::<Result<Vec<_>, _>>()
        .context("a given verifier key is malformed")?;
    let read = |name: &str| {
        std::fs::read(dir.join(name)).with_context(|| format!("cannot read `{}`", dir.join(name).display()))
    };
    let manifest: Manifest = json::parse_as(&read(MANIFEST)?, MANIFEST_MAX).context("manifest.json")?;
    ensure!(
        manifest.v == VERSION,
        "manifest.json is of version {}",
        manifest.v
    );
    require_files(dir, &manifest)?;
    let (mut logs, mut prunings) = (Vec::new(), Prunings::new());
    for log in LOGS {
        let checkpoint = read(&format!("{log}.checkpoint"))?;
        let signed = keys
            .iter()
            .find_map(|key| {
                let origin = Origin::parse(key.name()).ok()?;
                SignedCheckpoint::verify(&checkpoint, &origin, std::slice::from_ref(key)).ok()
            })
            .with_context(|| format!("{log}.checkpoint is signed by none of the given keys"))?;
        let entries = read(&format!("{log}.entries.jsonl"))?;
        let verified = verify_lines(log, signed.checkpoint(), (&manifest, &mut prunings), &entries);
        let (packed, is_named) = verified.with_context(|| format!("{log}.entries.jsonl"))?;
        ensure!(
            is_named || log != "state",
            "no disclosed entry of {log}.entries.jsonl tells that `{}` is the tenant of the others",
            bailiwick_base::limits::shown(&manifest.tenant)
        );
        ensure!(
            logs.iter().all(|other: &PackedLog| other.origin != packed.origin),
            "{log}.checkpoint is of the log that another file of the pack is of"
        );
        logs.push(packed);
    }
    Ok(Pack {
        tenant: manifest.tenant,
        tenant_ref: manifest.tenant_ref,
        logs,
    })
}

/// The files of the manifest are there, whole, and no others.
fn require_files(dir: &Path, manifest: &Manifest) -> Result<()> {
    let expected = LOGS.map(|log| [format!("{log}.checkpoint"), format!("{log}.entries.jsonl")]);
    let mut expected: Vec<String> = expected.into_iter().flatten().collect();
    let mut named: Vec<String> = manifest.files.iter().map(|file| file.name.clone()).collect();
    expected.sort();
    named.sort();
    ensure!(
        named == expected,
        "manifest.json names other files than a pack has"
    );
    for file in &manifest.files {
        let bytes =
            std::fs::read(dir.join(&file.name)).with_context(|| format!("cannot read `{}`", file.name))?;
        ensure!(
            Digest::of(&bytes).to_string() == file.sha256,
            "`{}` is not the file of the manifest",
            file.name
        );
    }
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read `{}`", dir.display()))? {
        let name = entry?.file_name();
        let is_known = name == MANIFEST || named.iter().any(|known| name == known.as_str());
        ensure!(is_known, "`{}` is not part of the pack", name.display());
    }
    Ok(())
}

/// By log and number, the last entries of the tenant that went at some pruning.
type Prunings = BTreeSet<(String, u64)>;

/// The pruning that a payload of the state log, in Base64, records.
fn pruning(payload: &str) -> Option<(String, u64)> {
    let payload: Value = serde_json::from_slice(&STANDARD.decode(payload).ok()?).ok()?;
    let is_pruning = payload.get("command").and_then(Value::as_str) == Some("log.prune");
    let detail = payload.get("detail").filter(|_| is_pruning)?;
    let origin = detail.get("origin")?.as_str()?.to_owned();
    Some((origin, detail.get("last")?.as_u64()?))
}

/// How many entries of the tenant were pruned in front of its first one, `number`: none, unless that is on record.
fn gone(prunings: &Prunings, origin: &str, number: u64) -> u64 {
    let last = number.saturating_sub(1);
    match prunings.contains(&(origin.to_owned(), last)) {
        true => last,
        false => 0,
    }
}

/// What the lines hold, and whether one of them names the tenant.
fn verify_lines(
    log: &str,
    checkpoint: &Checkpoint,
    (manifest, prunings): (&Manifest, &mut Prunings),
    bytes: &[u8],
) -> Result<(PackedLog, bool)> {
    let mut packed = PackedLog {
        log: log.to_owned(),
        origin: checkpoint.origin.to_string(),
        size: checkpoint.size,
        entries: 0,
        pruned: 0,
        disclosed: 0,
    };
    let (mut last, mut is_named) = (None, false);
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Line = json::parse_as(line, LINE_MAX)?;
        let index = line.index;
        ensure!(
            last < Some(index),
            "entry {index} is not behind the one before it"
        );
        last = Some(index);
        let leaf = Leaf::decode(line.leaf.as_bytes())?;
        if leaf.tenant_ref != manifest.tenant_ref {
            bail!("entry {index} is another tenant's");
        }
        if packed.entries == 0 && log != "state" {
            packed.pruned = gone(prunings, packed.origin.as_str(), leaf.tenant_seq);
        }
        packed.entries += 1;
        let expected = packed.pruned + packed.entries;
        ensure!(
            leaf.tenant_seq == expected,
            "entry {index} is the tenant's number {}, expected {expected}: one is left out",
            leaf.tenant_seq,
        );
        let mut hashes = Vec::with_capacity(line.proof.len());
        for hash in &line.proof {
            hashes.push(hash_from_slice(
                &STANDARD.decode(hash).context("a hash is not Base64")?,
            )?);
        }
        let proof = InclusionProof {
            index,
            size: checkpoint.size,
            hashes,
        };
        verify_inclusion(&proof, &leaf_hash(line.leaf.as_bytes()), &checkpoint.root)
            .with_context(|| format!("entry {index}"))?;
        if let Some(opening) = &line.opening {
            require_opens(index, &leaf, opening)?;
            packed.disclosed += 1;
            is_named |= adds(&opening.payload, &manifest.tenant);
            if log == "state" {
                prunings.extend(pruning(&opening.payload));
            }
        }
    }
    Ok((packed, is_named))
}
