//! The full check of a log: every byte of every file against the signed
//! checkpoint, and every leaf against its neighbours.
//!
//! The log is read once, in chunks of 65,536 entries that do not depend on one
//! another: [`Fsck::scan`] may run on several threads, [`Fsck::finish`] joins
//! the results. [`Fsck::run`] does both on one.
//!
//! What is verified: the checkpoint's signature ([`fsck_log`]); each entry
//! against its hash in the level-0 tile; each tile against the tile above; the
//! top against the signed root; and, for logs of [`Leaf`]s, the canonical form
//! of each leaf, `tenant_seq` without gaps per `tenant_ref`, from 1 or from its [`Base`] on, and the
//! order of `at`, `epoch` and `state_pos` where the log promises one.
//!
//! Where an entry and its tile disagree, the tile above decides which of the
//! two was altered.
//!
//! [`Leaf`]: crate::entry::Leaf

mod chunk;
mod diagnose;
mod finding;
mod finish;
mod sequence;

pub use chunk::ChunkReport;
pub use finding::{Finding, FindingKind};
pub use finish::FsckReport;

use std::collections::BTreeMap;

use crate::checkpoint::{Checkpoint, CheckpointError, Origin, SignedCheckpoint};
use crate::merkle::{Hash, TreeSize};
use crate::note::{Note, NoteVerifier};
use crate::tile::{TileReadError, TileReader, TileSource};

/// Entries per chunk: the reach of one level-1 tile.
pub const CHUNK_ENTRIES: u64 = 65_536;

/// Most findings that a report keeps; the rest is counted.
pub const FINDINGS_MAX: usize = 10_000;

/// Which members of the leaves never decrease along the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Times never go back.
    pub at: bool,
    /// Revocation epochs never go back.
    pub epoch: bool,
    /// State-log positions never go back.
    pub state_pos: bool,
}

impl Order {
    /// All three, as a log with one writer promises.
    pub const ALL: Self = Self {
        at: true,
        epoch: true,
        state_pos: true,
    };
}

/// What the entries of a log are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Our leaves, in this order.
    Leaves(Order),
    /// Bytes that mean nothing here: a log of somebody else.
    Opaque,
}

/// Where a log begins that was pruned: what stands for the entries in front of its minimum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// Index of the first entry that was kept.
    pub minimum: u64,
    /// The compact range of the entries before: roots of their complete subtrees, largest first.
    pub peaks: Vec<Hash>,
    /// Last number of each tenant among them, by `tenant_ref`.
    pub tenants: BTreeMap<String, u64>,
}

/// A check of one log at one checkpoint.
#[derive(Debug)]
pub struct Fsck<'a, S> {
    source: &'a S,
    checkpoint: Checkpoint,
    content: Content,
    known: Vec<Checkpoint>,
    base: Base,
}

impl<'a, S: TileSource> Fsck<'a, S> {
    /// A check of the tiles in `source` against a verified checkpoint.
    #[must_use]
    pub fn new(source: &'a S, checkpoint: Checkpoint, content: Content) -> Self {
        Self {
            source,
            checkpoint,
            content,
            known: Vec::new(),
            base: Base::default(),
        }
    }

    /// From this base on: nothing is read that lies wholly in front of its minimum, and what stands for it has to lead
    /// to the same root.
    #[must_use]
    pub fn with_base(mut self, base: Base) -> Self {
        self.base = base;
        self
    }

    /// Also verifies that the log extends these verified checkpoints, kept
    /// elsewhere (a witness, an auditor, an older export).
    #[must_use]
    pub fn with_known(mut self, known: Vec<Checkpoint>) -> Self {
        self.known = known;
        self
    }

    /// Number of entries to check.
    #[must_use]
    pub fn size(&self) -> TreeSize {
        self.checkpoint.size
    }

    /// Number of chunks.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.checkpoint.size.div_ceil(CHUNK_ENTRIES)
    }

    /// Checks one chunk, `0..chunks()`. Chunks may be scanned in any order and
    /// at the same time.
    ///
    /// # Errors
    /// [`TileReadError::Source`] when a file cannot be read. What is wrong
    /// *with* the files is a finding, not an error.
    pub fn scan(&self, chunk: u64) -> Result<ChunkReport, TileReadError> {
        chunk::scan(self, chunk)
    }

    /// Joins the chunks, which must be all of them in order, and checks the
    /// upper levels, the root and the known checkpoints.
    ///
    /// # Errors
    /// [`TileReadError::Source`] when a file cannot be read.
    pub fn finish(&self, chunks: Vec<ChunkReport>) -> Result<FsckReport, TileReadError> {
        finish::finish(self, chunks)
    }

    /// Checks the whole log on this thread.
    ///
    /// # Errors
    /// [`TileReadError::Source`] when a file cannot be read.
    pub fn run(&self) -> Result<FsckReport, TileReadError> {
        let mut chunks = Vec::new();
        for chunk in 0..self.chunks() {
            chunks.push(self.scan(chunk)?);
        }
        self.finish(chunks)
    }

    fn reader(&self) -> TileReader<'a, S> {
        TileReader::new(self.source)
    }
}

/// Reads the `checkpoint` file of the log `origin`, verifies it under `known`
/// keys (the log's own must be among them) and checks the whole log.
///
/// A checkpoint whose signature fails is a finding, and the tiles are checked
/// against it all the same, so that the report also says what became of them.
///
/// # Errors
/// [`TileReadError::Source`] when a file cannot be read.
pub fn fsck_log<S: TileSource>(
    source: &S,
    origin: &Origin,
    known: &[NoteVerifier],
    content: Content,
) -> Result<FsckReport, TileReadError> {
    fsck_log_from(source, origin, known, content, Base::default())
}

/// The same for a log that was pruned, from its `base` on.
///
/// # Errors
/// As [`fsck_log`].
pub fn fsck_log_from<S: TileSource>(
    source: &S,
    origin: &Origin,
    known: &[NoteVerifier],
    content: Content,
    base: Base,
) -> Result<FsckReport, TileReadError> {
    let path = "checkpoint";
    let bytes = source.read(path).map_err(|source| TileReadError::Source {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    let Some(bytes) = bytes else {
        return Ok(FsckReport::only(Finding {
            entries: 0..0,
            kind: FindingKind::CheckpointMissing,
        }));
    };
    let error = match SignedCheckpoint::verify(&bytes, origin, known) {
        Ok(signed) => {
            let fsck = Fsck::new(source, signed.checkpoint().clone(), content);
            return fsck.with_base(base).run();
        }
        Err(error) => error,
    };
    let unsigned = Note::parse(&bytes)
        .map_err(CheckpointError::from)
        .and_then(|note| Checkpoint::parse_body(note.text()));
    let finding = Finding {
        entries: 0..0,
        kind: FindingKind::CheckpointInvalid { error },
    };
    let Ok(checkpoint) = unsigned else {
        return Ok(FsckReport::only(finding));
    };
    // The size is not to be trusted: the walk ends where the entries do.
    let fsck = Fsck::new(source, checkpoint, content).with_base(base);
    let mut chunks = Vec::new();
    for chunk in 0..fsck.chunks() {
        let report = fsck.scan(chunk)?;
        if report.is_absent() {
            break;
        }
        chunks.push(report);
    }
    let mut report = fsck.finish(chunks)?;
    report.findings.insert(0, finding);
    Ok(report)
}
