//! From durable entries to tiles and signed checkpoints: entry, then tile, then checkpoint.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bailiwick_audit::checkpoint::{Checkpoint, CheckpointIssuer, Origin, SignedCheckpoint};
use bailiwick_audit::entry::Opening;
use bailiwick_audit::fsck::{Content, Fsck};
use bailiwick_audit::merkle::{
    ConsistencyProof, Hash, InclusionProof, LeafHash, NodeSource, ProveError, prove_consistency,
    prove_inclusion, verify_consistency, verify_inclusion,
};
use bailiwick_audit::proof::{Evidence, ProofFile};
use bailiwick_audit::tile::{
    Entries, ExpandedTile, TILE_WIDTH, TileFile, TileKind, TileReadError, TileReader, TileWriter,
    tiles_between,
};

use crate::base::Base;
use crate::cursor::{Cursor, Place, Sums};
use crate::disk::Dir;
use crate::error::JournalError;
use crate::folder::{CHECKPOINT, FolderWriter, TileFolder};
use crate::log::NoteKey;

/// Entries whose tiles are looked at when a log is opened: some 8,200 files, and what lies above them.
const LOOKED_AT_MAX: u64 = 1 << 20;
/// Expanded tiles kept for proofs: 16 KiB each.
const KEPT_MAX: usize = 512;

/// Tiles, checkpoint and proofs of one log; the caller brings the entries in order.
pub(crate) struct Tiles {
    folder: FolderWriter,
    root: PathBuf,
    writer: TileWriter,
    issuer: CheckpointIssuer,
    key: NoteKey,
    /// Files that are not durable yet.
    files: Vec<TileFile>,
    proofs: Arc<Proofs>,
}

impl Tiles {
    /// Opens the tiles in `dir`. A new folder gets its first checkpoint, of size 0, before anything else.
    pub(crate) fn open(
        dir: &Dir,
        origin: &Origin,
        key: NoteKey,
        base: Option<&Base>,
    ) -> Result<Self, JournalError> {
        dir.make(Path::new(CHECKPOINT))
            .map_err(JournalError::file("creating", &dir.path))?;
        let folder = FolderWriter::new(dir);
        let path = dir.path.join(CHECKPOINT);
        let stored = match dir.read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(JournalError::file("reading", &path)(error)),
        };
        let (writer, issuer, signed) = match stored {
            Some(bytes) => resume(dir, (&path, &bytes), origin, &key, base)?,
            None => begin(dir, &path, origin, &key, &folder)?,
        };
        let proofs = Arc::new(Proofs::new(dir, signed));
        Ok(Self {
            folder,
            root: dir.path.clone(),
            writer,
            issuer,
            key,
            files: Vec::new(),
            proofs,
        })
    }

    pub(crate) fn proofs(&self) -> Arc<Proofs> {
        self.proofs.clone()
    }

    /// Entries appended, published or not.
    pub(crate) fn size(&self) -> u64 {
        self.writer.size()
    }

    /// The checkpoint that is shown.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        self.proofs.checkpoint().checkpoint().clone()
    }

    /// Adds the next entry, which must be durable already.
    pub(crate) fn append(&mut self, hash: LeafHash, leaf: &[u8]) -> Result<(), JournalError> {
        let index = self.size();
        self.writer
            .append_hashed(hash, leaf)
            .map_err(|source| JournalError::Append { index, source })?;
        Ok(())
    }

    /// Makes the tiles of all appended entries durable, then signs and shows their checkpoint. After an error
    /// the next attempt goes on where this one stopped.
    pub(crate) fn publish(&mut self) -> Result<(), JournalError> {
        self.files.append(&mut self.writer.take_files());
        self.folder
            .write_tiles(&self.files)
            .map_err(JournalError::file("writing tiles", &self.root))?;
        let proof = self.writer.consistency_since_mark();
        let signed = self
            .issuer
            .issue(self.writer.size(), self.writer.root(), &proof, &*self.key.signer)
            .map_err(JournalError::Publish)?;
        self.writer.mark();
        let path = self.root.join(CHECKPOINT);
        self.folder
            .write_checkpoint(&signed.to_bytes())
            .map_err(JournalError::file("writing", &path))?;
        self.proofs.show(signed);
        self.folder.remove_partials(&self.files);
        self.files.clear();
        Ok(())
    }
}

type Opened = (TileWriter, CheckpointIssuer, SignedCheckpoint);

fn resume(
    dir: &Dir,
    (path, bytes): (&Path, &[u8]),
    origin: &Origin,
    key: &NoteKey,
    base: Option<&Base>,
) -> Result<Opened, JournalError> {
    let signed =
        SignedCheckpoint::verify(bytes, origin, std::slice::from_ref(&key.verifier)).map_err(|source| {
            JournalError::Checkpoint {
                path: path.to_owned(),
                source,
            }
        })?;
    let Checkpoint { size, root, .. } = *signed.checkpoint();
    let folder = TileFolder::of(dir);
    let writer = TileWriter::resume(&folder, size, root).map_err(|source| JournalError::Resume {
        path: damaged(&folder, signed.checkpoint(), base),
        source,
    })?;
    require_lengths(dir, base.map_or(0, |base| base.minimum), size)?;
    Ok((writer, CheckpointIssuer::resume(&signed), signed))
}

/// The file that keeps a log closed, found by looking at all of it.
fn damaged(folder: &TileFolder, checkpoint: &Checkpoint, base: Option<&Base>) -> PathBuf {
    let fsck = Fsck::new(folder, checkpoint.clone(), Content::Opaque);
    let found = fsck.with_base(base.map(Base::to_fsck).unwrap_or_default()).run();
    let file = found.ok().and_then(|report| {
        let mut files = report.findings.iter().filter_map(|f| f.file(checkpoint.size));
        files.next()
    });
    folder.root().join(file.unwrap_or_default())
}

/// Whether the newest tiles are there and as long as they have to be. What is in them is looked at where they are used:
/// no proof is handed out that does not lead to the checkpoint.
fn require_lengths(dir: &Dir, minimum: u64, size: u64) -> Result<(), JournalError> {
    for tile in tiles_between(size.saturating_sub(LOOKED_AT_MAX).max(minimum), size) {
        let path = dir.path.join(tile.path());
        // Beside a tile that is full by now its partial form may be gone.
        let found = dir
            .length(&path)
            .or_else(|_| dir.length(&dir.path.join(tile.to_full().path())))
            .map_err(JournalError::file("looking at", &path))?;
        let fits = match tile.kind() {
            TileKind::Entries => found > 0,
            TileKind::Hashes(_) => found >= u64::from(tile.width()) * 32 && found.is_multiple_of(32),
        };
        if !fits {
            return Err(JournalError::TileLength { path, found });
        }
    }
    Ok(())
}

fn begin(
    dir: &Dir,
    path: &Path,
    origin: &Origin,
    key: &NoteKey,
    folder: &FolderWriter,
) -> Result<Opened, JournalError> {
    // Signing from nothing where there was a checkpoint once would fork the log's history.
    let tiles = dir.path.join("tile");
    if dir
        .disk
        .exists(&tiles)
        .map_err(JournalError::file("opening", &tiles))?
    {
        let source = std::io::Error::new(
            std::io::ErrorKind::NotFound,
            "tiles are there, but no checkpoint: restore the checkpoint file",
        );
        return Err(JournalError::file("reading", path)(source));
    }
    let writer = TileWriter::new();
    let mut issuer = CheckpointIssuer::new_log(origin.clone());
    let proof = writer.consistency_since_mark();
    let signed = issuer
        .issue(0, writer.root(), &proof, &*key.signer)
        .map_err(JournalError::Publish)?;
    folder
        .write_checkpoint(&signed.to_bytes())
        .map_err(JournalError::file("writing", path))?;
    Ok((writer, issuer, signed))
}

/// Proofs against the checkpoint that is shown, from tiles kept in memory.
#[derive(Debug)]
pub(crate) struct Proofs {
    folder: TileFolder,
    shown: Mutex<Shown>,
}

#[derive(Debug)]
struct Shown {
    signed: Arc<SignedCheckpoint>,
    kept: BTreeMap<(u8, u64), Kept>,
    order: VecDeque<(u8, u64)>,
}

#[derive(Debug)]
struct Kept {
    tile: ExpandedTile,
    width: u16,
    /// Size of the checkpoint to whose root a proof from this level-0 tile was found to lead. The inner nodes
    /// were computed from the tile's hashes, so this holds for every hash in it.
    verified_at: u64,
}

impl Proofs {
    fn new(dir: &Dir, signed: SignedCheckpoint) -> Self {
        let shown = Shown {
            signed: Arc::new(signed),
            kept: BTreeMap::new(),
            order: VecDeque::new(),
        };
        Self {
            folder: TileFolder::of(dir),
            shown: Mutex::new(shown),
        }
    }

    /// Whatever a panicking holder left is a subset of correct tiles.
    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn checkpoint(&self) -> Arc<SignedCheckpoint> {
        self.lock().signed.clone()
    }

    fn show(&self, signed: SignedCheckpoint) {
        let mut shown = self.lock();
        shown.signed = Arc::new(signed);
        shown.kept.retain(|_, kept| kept.width == TILE_WIDTH);
        let Shown { kept, order, .. } = &mut *shown;
        order.retain(|key| kept.contains_key(key));
    }

    /// Proof that entry `index` is under the checkpoint, verified before it is handed out.
    pub(crate) fn prove_inclusion(
        &self,
        index: u64,
    ) -> Result<(LeafHash, InclusionProof, Arc<SignedCheckpoint>), JournalError> {
        let mut shown = self.lock();
        let signed = shown.signed.clone();
        let Checkpoint { size, root, .. } = signed.checkpoint();
        if index >= *size {
            return Err(JournalError::NotIntegrated { index, size: *size });
        }
        let mut nodes = Nodes {
            reader: TileReader::new(&self.folder),
            size: *size,
            shown: &mut shown,
        };
        let proof = prove_inclusion(&mut nodes, index, *size).map_err(JournalError::Prove)?;
        let leaf = nodes.node(0, index).map(LeafHash).map_err(unreadable)?;
        let kept = shown.kept.get_mut(&(0, index / u64::from(TILE_WIDTH)));
        if kept.as_ref().is_none_or(|kept| kept.verified_at != *size) {
            verify_inclusion(&proof, &leaf, root)
                .map_err(|_| JournalError::Prove(ProveError::RootMismatch))?;
            if let Some(kept) = kept {
                kept.verified_at = *size;
            }
        }
        Ok((leaf, proof, signed))
    }

    /// Proof that the checkpoint extends the log's first `old` entries, whose root is `old_root`.
    pub(crate) fn prove_consistency(
        &self,
        old: u64,
    ) -> Result<(ConsistencyProof, Arc<SignedCheckpoint>), JournalError> {
        let mut shown = self.lock();
        let signed = shown.signed.clone();
        let Checkpoint { size, root, .. } = signed.checkpoint();
        let mut nodes = Nodes {
            reader: TileReader::new(&self.folder),
            size: *size,
            shown: &mut shown,
        };
        let proof = prove_consistency(&mut nodes, old, *size).map_err(JournalError::Prove)?;
        let old_root = bailiwick_audit::merkle::root_at(&mut nodes, old).map_err(JournalError::Prove)?;
        verify_consistency(&proof, &old_root, root)
            .map_err(|_| JournalError::Prove(ProveError::RootMismatch))?;
        Ok((proof, signed))
    }

    /// The proof of entry `index` as a file that verifies offline, with the leaf in it.
    pub(crate) fn prove(&self, index: u64) -> Result<ProofFile, JournalError> {
        let (hash, proof, signed) = self.prove_inclusion(index)?;
        let leaf = self.leaf(index, signed.checkpoint().size)?;
        if bailiwick_audit::merkle::leaf_hash(&leaf) != hash {
            return Err(JournalError::Prove(ProveError::RootMismatch));
        }
        proof_file(&proof, &signed, &Evidence { leaf, opening: None })
    }

    /// The same with the entry as it is stored and its payload opened.
    pub(crate) fn disclose(&self, leaf: Vec<u8>, opening: Opening) -> Result<ProofFile, JournalError> {
        let (_, proof, signed) = self.prove_inclusion(opening.leaf_index)?;
        proof_file(
            &proof,
            &signed,
            &Evidence {
                leaf,
                opening: Some(opening),
            },
        )
    }

    /// The leaf of an entry under a checkpoint of `size`, from its bundle.
    pub(crate) fn leaf(&self, index: u64, size: u64) -> Result<Vec<u8>, JournalError> {
        let width = u64::from(TILE_WIDTH);
        let (bundle, place) = (index / width, index % width);
        let present = u16::try_from((size - bundle * width).min(width)).unwrap_or(TILE_WIDTH);
        let bytes = TileReader::new(&self.folder)
            .read_entries(bundle, present)
            .map_err(unreadable)?;
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let entry = Entries::new(&bytes).nth(place).and_then(Result::ok);
        entry
            .map(<[u8]>::to_vec)
            .ok_or(JournalError::Prove(ProveError::RootMismatch))
    }
}

/// Puts a proof file together, verifying it as its receiver will.
fn proof_file(
    proof: &InclusionProof,
    signed: &SignedCheckpoint,
    evidence: &Evidence,
) -> Result<ProofFile, JournalError> {
    let index = proof.index;
    ProofFile::new(signed, proof, evidence).map_err(|source| JournalError::Disclose { index, source })
}

fn unreadable(error: TileReadError) -> JournalError {
    JournalError::Prove(ProveError::Node(Box::new(error)))
}

/// The nodes under a checkpoint, expanded from tiles and kept.
struct Nodes<'a> {
    reader: TileReader<'a, TileFolder>,
    size: u64,
    shown: &'a mut Shown,
}

impl NodeSource for Nodes<'_> {
    type Error = TileReadError;

    fn node(&mut self, height: u32, index: u64) -> Result<Hash, TileReadError> {
        let outside = TileReadError::Outside { height, index };
        let Ok(level) = u8::try_from(height / 8) else {
            return Err(outside);
        };
        let below = 8 - height % 8;
        let key = (level, index >> below);
        let place = index & ((1 << below) - 1);
        if let Some(kept) = self.shown.kept.get(&key) {
            return kept.tile.lookup(height % 8, place).ok_or(outside);
        }
        let nodes = self.size.checked_shr(8 * u32::from(level)).unwrap_or(0);
        let first = key.1.saturating_mul(TILE_WIDTH.into());
        let width = u16::try_from(nodes.saturating_sub(first))
            .unwrap_or(TILE_WIDTH)
            .min(TILE_WIDTH);
        let bytes = self.reader.read_hashes(level, key.1, width)?;
        let tile = ExpandedTile::new(bytes.as_chunks().0);
        let node = tile.lookup(height % 8, place).ok_or(outside);
        if self.shown.order.len() >= KEPT_MAX
            && let Some(oldest) = self.shown.order.pop_front()
        {
            self.shown.kept.remove(&oldest);
        }
        self.shown.order.push_back(key);
        let verified_at = 0;
        self.shown.kept.insert(
            key,
            Kept {
                tile,
                width,
                verified_at,
            },
        );
        node
    }
}

/// How far entries are durable and how far they are integrated.
#[derive(Debug)]
pub(crate) struct Progress {
    inside: Mutex<Counts>,
    changed: Condvar,
    /// So many new entries are published at once.
    entries_max: u64,
}

#[derive(Debug, Default)]
struct Counts {
    durable: u64,
    integrated: u64,
    /// Somebody waits for a checkpoint of at least this size.
    wanted: u64,
    /// No more entries will become durable.
    closed: bool,
    /// The publisher has ended.
    ended: bool,
    /// Why the last attempt to publish failed.
    failure: Option<String>,
}

impl Counts {
    fn behind(&self) -> u64 {
        self.durable.saturating_sub(self.integrated)
    }
}

impl Progress {
    pub(crate) fn new(durable: u64, integrated: u64, entries_max: u64) -> Self {
        let inside = Mutex::new(Counts {
            durable,
            integrated,
            ..Counts::default()
        });
        Self {
            inside,
            changed: Condvar::new(),
            entries_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries that are durable.
    pub(crate) fn durable_size(&self) -> u64 {
        self.lock().durable
    }

    /// The writer says how far entries are durable.
    pub(crate) fn durable(&self, size: u64) {
        let mut counts = self.lock();
        let before = counts.behind();
        counts.durable = size;
        let after = counts.behind();
        drop(counts);
        // The publisher sleeps either without work or until there is much of it.
        if before == 0 || (before < self.entries_max && after >= self.entries_max) {
            self.changed.notify_all();
        }
    }

    /// The writer has ended.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits until a checkpoint covers everything that is durable now.
    pub(crate) fn wait_integrated(&self) -> Result<u64, String> {
        let mut counts = self.lock();
        let wanted = counts.durable;
        counts.wanted = counts.wanted.max(wanted);
        counts.failure = None;
        self.changed.notify_all();
        while counts.integrated < wanted {
            if let Some(failure) = &counts.failure {
                return Err(failure.clone());
            }
            if counts.ended {
                return Err("the log is closed".to_owned());
            }
            counts = self.changed.wait(counts).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(counts.integrated)
    }

    /// Waits for work: the size to publish, and whether somebody waits for exactly this size. `None` when all
    /// is published and the writer has ended.
    fn wait_for_work(&self, gather: Duration) -> Option<(u64, bool)> {
        let mut counts = self.lock();
        while counts.behind() == 0 {
            if counts.closed {
                return None;
            }
            counts = self.changed.wait(counts).unwrap_or_else(PoisonError::into_inner);
        }
        let gathering = |counts: &mut Counts| {
            !counts.closed && counts.wanted <= counts.integrated && counts.behind() < self.entries_max
        };
        let (counts, _) = self
            .changed
            .wait_timeout_while(counts, gather, gathering)
            .unwrap_or_else(PoisonError::into_inner);
        Some((counts.durable, counts.closed || counts.wanted > counts.integrated))
    }

    fn published(&self, size: u64) {
        let mut counts = self.lock();
        counts.integrated = size;
        counts.failure = None;
        drop(counts);
        self.changed.notify_all();
    }

    /// Notes a failure and waits before the next attempt, unless somebody asks anew; `false` when there shall be
    /// none.
    fn failed(&self, failure: String, pause: Duration) -> bool {
        let mut counts = self.lock();
        counts.failure = Some(failure);
        self.changed.notify_all();
        let was_last = counts.closed;
        let _paused = self
            .changed
            .wait_timeout_while(counts, pause, |counts| !counts.closed && counts.failure.is_some())
            .unwrap_or_else(PoisonError::into_inner);
        !was_last
    }

    /// Nobody publishes by himself any more: nobody is to wait for it.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }
}

/// The thread that integrates what is durable.
pub(crate) struct Publisher {
    pub(crate) dir: Dir,
    pub(crate) tiles: Tiles,
    pub(crate) progress: Arc<Progress>,
    /// Where the first entry stands that is not integrated.
    pub(crate) from: Place,
    /// How old an entry may become before a checkpoint covers it; half of it is spent gathering.
    pub(crate) every: Duration,
    pub(crate) entries_max: u64,
}

impl Publisher {
    /// Runs until the writer has ended and everything is published.
    pub(crate) fn run(mut self) {
        let mut told = String::new();
        while let Some((target, is_wanted)) = self.progress.wait_for_work(self.every / 2) {
            let target = if is_wanted {
                target
            } else {
                self.at_tile_end(target)
            };
            let Err(error) = self.publish_to(target) else {
                if !told.is_empty() {
                    tracing::info!("checkpoints are published again");
                    told.clear();
                }
                continue;
            };
            let text = chain(&error);
            if text != told {
                tracing::error!(error = %text, "checkpoints are not published");
                told.clone_from(&text);
            }
            if !self.progress.failed(text, self.every) {
                break;
            }
        }
    }

    /// Integrates what is durable now, for a log without threads; gives the size of the checkpoint.
    pub(crate) fn step(&mut self) -> Result<u64, JournalError> {
        self.publish_to(self.progress.durable_size())?;
        Ok(self.tiles.size())
    }

    /// Where there is much to publish, the last, incomplete tile is left to the next time: under load partial
    /// tiles would be made and removed many times a second.
    fn at_tile_end(&self, target: u64) -> u64 {
        let whole = target - target % u64::from(TILE_WIDTH);
        if whole >= self.tiles.size().saturating_add(4 * u64::from(TILE_WIDTH)) {
            whole
        } else {
            target
        }
    }

    /// Integrates up to `target` in pieces of bounded size. Reads the entries back from the segments: one
    /// way for the usual case and for catching up after a restart.
    fn publish_to(&mut self, target: u64) -> Result<(), JournalError> {
        let mut cursor = Cursor::at(&self.dir, self.from, Sums::Trust)?;
        while self.tiles.size() < target {
            let piece = target.min(self.at_tile_end(self.tiles.size().saturating_add(self.entries_max)));
            while self.tiles.size() < piece {
                if !cursor.advance()? {
                    return Err(cursor.damaged(cursor.place().offset, "an entry that was durable is gone"));
                }
                if let Some((frame, hash)) = cursor.frame()? {
                    self.tiles.append(hash, frame.leaf)?;
                }
                self.from = cursor.place();
            }
            self.tiles.publish()?;
            self.progress.published(self.tiles.size());
        }
        // A failed attempt may have left tiles without a checkpoint.
        if self.tiles.checkpoint().size < self.tiles.size() {
            self.tiles.publish()?;
            self.progress.published(self.tiles.size());
        }
        Ok(())
    }
}

impl Drop for Publisher {
    /// However the thread ends, nobody waits for it in vain.
    fn drop(&mut self) {
        self.progress.end();
    }
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
