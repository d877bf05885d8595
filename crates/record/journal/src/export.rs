//! The log as an auditor gets it: checkpoint, tiles, and, where they may be disclosed, the payloads.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use bailiwick_audit::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use bailiwick_audit::merkle::HASH_LEN;
use bailiwick_audit::note::NoteVerifier;
use bailiwick_audit::tile::{Entries, TileId, TileKind, TileSource, push_entry, tiles_kept};
use bailiwick_base::{SealError, Sealer, TenantId};

use crate::base;
use crate::disk::Dir;
use crate::error::JournalError;
use crate::folder::{CHECKPOINT, TileFolder};
use crate::json::Writer;
use crate::reader::LogReader;

/// Which payloads are disclosed, and how they are opened.
pub struct Openings<'a> {
    /// Opens payloads.
    pub sealer: &'a dyn Sealer,
    /// The tenant behind a `tenant_ref`: `Some(None)` for the installation itself; `None` leaves the payload
    /// out of the export.
    pub tenant: &'a dyn Fn(&str) -> Option<Option<TenantId>>,
}

/// What an export holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The checkpoint everything is under.
    pub checkpoint: Checkpoint,
    /// Tile files.
    pub tiles: u64,
    /// Payloads disclosed.
    pub openings: u64,
    /// Payloads that were to be disclosed, but whose key is erased.
    pub erased: u64,
}

/// Name of the file of disclosed payloads: one JSON object a line,
/// `{"index":…,"leaf":"<canonical leaf>","payload":<payload>}` in canonical form.
pub const OPENINGS: &str = "openings.jsonl";

/// Copies the log in `dir` under its present checkpoint to the new folder `to`: every tile of that size that is kept, the
/// checkpoint last, and the payloads that `openings` allows. Works beside a running log.
///
/// # Errors
/// [`JournalError`] when the checkpoint does not verify, a tile is missing, a payload does not open, or `to`
/// is already there.
pub fn export(
    dir: &Path,
    origin: &str,
    key: &NoteVerifier,
    to: &Path,
    openings: Option<&Openings<'_>>,
) -> Result<Exported, JournalError> {
    let path = dir.join(CHECKPOINT);
    let invalid = |source| JournalError::Checkpoint {
        path: path.clone(),
        source,
    };
    let bytes = fs::read(&path).map_err(JournalError::file("reading", &path))?;
    let name = Origin::parse(origin).map_err(invalid)?;
    let signed = SignedCheckpoint::verify(&bytes, &name, std::slice::from_ref(key)).map_err(invalid)?;
    let checkpoint = signed.checkpoint().clone();
    fs::create_dir(to).map_err(JournalError::file("creating", to))?;
    let mut exported = Exported {
        checkpoint,
        tiles: 0,
        openings: 0,
        erased: 0,
    };
    let base = base::read_base(dir, origin)?;
    if let Some(kept) = &base {
        base::write(&Dir::of_machine(to), kept)?;
    }
    let minimum = base.map_or(0, |kept| kept.base.minimum);
    copy_tiles(dir, to, minimum, &mut exported)?;
    if let Some(openings) = openings {
        write_openings(dir, origin, to, openings, &mut exported)?;
    }
    let path = to.join(CHECKPOINT);
    fs::write(&path, &bytes).map_err(JournalError::file("writing", &path))?;
    Ok(exported)
}

fn copy_tiles(dir: &Path, to: &Path, minimum: u64, exported: &mut Exported) -> Result<(), JournalError> {
    let from = TileFolder::new(dir);
    for tile in tiles_kept(minimum, exported.checkpoint.size) {
        let path = tile.path();
        let read = |path: &str| {
            from.read(path)
                .map_err(JournalError::file("reading", &dir.join(path)))
        };
        let bytes = match read(&path)? {
            Some(bytes) => Some(bytes),
            // A partial tile that became full meanwhile: the full one begins with it.
            None => read(&tile.to_full().path())?.and_then(|full| cut_to_width(&tile, full)),
        };
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let bytes = bytes
            .ok_or_else(missing)
            .map_err(JournalError::file("reading", &dir.join(&path)))?;
        let target = to.join(path);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(JournalError::file("creating", folder))?;
        }
        fs::write(&target, bytes).map_err(JournalError::file("writing", &target))?;
        exported.tiles += 1;
    }
    Ok(())
}

/// The first entries or hashes of a full tile, as many as the partial one has.
fn cut_to_width(tile: &TileId, full: Vec<u8>) -> Option<Vec<u8>> {
    let width = usize::from(tile.width());
    if let TileKind::Hashes(_) = tile.kind() {
        return full.get(..width * HASH_LEN).map(<[u8]>::to_vec);
    }
    let mut bundle = Vec::with_capacity(full.len());
    let mut entries = Entries::new(&full);
    for _ in 0..width {
        push_entry(&mut bundle, entries.next()?.ok()?).ok()?;
    }
    Some(bundle)
}

fn write_openings(
    dir: &Path,
    origin: &str,
    to: &Path,
    openings: &Openings<'_>,
    exported: &mut Exported,
) -> Result<(), JournalError> {
    let path = to.join(OPENINGS);
    let failed = |source| JournalError::file("writing", &path)(source);
    let mut out = BufWriter::new(File::create(&path).map_err(failed)?);
    let mut reader = LogReader::open(dir, origin)?;
    let mut line = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        if entry.index >= exported.checkpoint.size {
            break;
        }
        let Some(tenant) = (openings.tenant)(entry.leaf()?.tenant_ref) else {
            continue;
        };
        let payload = match entry.open(openings.sealer, tenant.as_ref()) {
            Ok(payload) => payload,
            Err(JournalError::Seal {
                source: SealError::NoKey(_),
                ..
            }) => {
                exported.erased += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        line.clear();
        let mut object = Writer::object(&mut line);
        object.number("index", entry.index);
        object.text("leaf", &String::from_utf8_lossy(&entry.leaf));
        object.raw("payload", &payload);
        object.end();
        line.push(b'\n');
        out.write_all(&line).map_err(failed)?;
        exported.openings += 1;
    }
    out.flush().map_err(failed)
}
