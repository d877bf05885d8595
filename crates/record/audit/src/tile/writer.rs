//! Appends turned into tile files, holding only the right edge of the log.

use super::{
    BundleError, Entries, EntryTooLongError, LEVELS, TILE_WIDTH, TileId, TileKind, TileReadError, TileReader,
    TileSource, partial_width, push_entry, tile_hashes, tile_peaks,
};
use crate::merkle::{
    ConsistencyProof, Frontier, FrontierError, HASH_LEN, Hash, LeafHash, RootHash, TreeFullError, TreeSize,
    leaf_hash,
};

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileFile {
    /// Its name.
    pub id: TileId,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// An entry could not be appended; the log is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The entry is longer than a bundle can hold.
    #[error(transparent)]
    EntryTooLong(#[from] EntryTooLongError),
    /// The log has no index left.
    #[error(transparent)]
    TreeFull(#[from] TreeFullError),
}

/// The files do not give the tree that the log is to continue from.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The last bundle is cut.
    #[error("the last entry bundle is damaged")]
    Bundle(#[from] BundleError),
    /// The last bundle holds other entries than the level-0 tile says.
    #[error("entry `{index}` of the last bundle is not the one in the tile")]
    EntryMismatch {
        /// Index of the entry in the log.
        index: u64,
    },
    /// The tiles hold a different number of hashes than the size asks for.
    #[error(transparent)]
    Frontier(#[from] FrontierError),
    /// A file is missing, cut or unreadable.
    #[error(transparent)]
    Read(#[from] TileReadError),
    /// The tiles give another root than the checkpoint.
    #[error("the tiles of size `{size}` do not give the root of the checkpoint: run fsck on the log")]
    RootMismatch {
        /// Size of the checkpoint.
        size: TreeSize,
    },
}

/// The right edge of a log: appends entries, gives roots and hands out files.
///
/// Memory is bounded by the edge (at most 8 partial tiles and one bundle) plus
/// the full tiles not yet taken with [`TileWriter::take_files`].
#[derive(Clone, Debug, Default)]
pub struct TileWriter {
    frontier: Frontier,
    /// Per level the bytes of the incomplete tile.
    edges: Vec<Vec<u8>>,
    bundle: Vec<u8>,
    full: Vec<TileFile>,
}

impl TileWriter {
    /// A new, empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Continues a log of `size` entries and `root` from its files, for
    /// example after a restart. The mark is set at `size`.
    ///
    /// # Errors
    /// [`ResumeError`] when a file is missing or the files do not give `root`:
    /// nothing may be appended to such a log.
    pub fn resume<S: TileSource>(source: &S, size: TreeSize, root: RootHash) -> Result<Self, ResumeError> {
        let reader = TileReader::new(source);
        let mut writer = Self::default();
        let mut peaks = Vec::new();
        for level in 0..LEVELS {
            let width = partial_width(size, level);
            let edge = reader.read_hashes(level, super::nodes_at(size, level) / 256, width)?;
            // Larger subtrees stand in higher levels, so they go in front.
            peaks.splice(0..0, tile_peaks(tile_hashes(&edge).0));
            writer.edges.push(edge);
        }
        writer.frontier = Frontier::from_peaks(size, peaks)?;
        if writer.frontier.root() != root {
            return Err(ResumeError::RootMismatch { size });
        }
        writer.resume_bundle(&reader, size)?;
        Ok(writer)
    }

    fn resume_bundle<S: TileSource>(
        &mut self,
        reader: &TileReader<'_, S>,
        size: TreeSize,
    ) -> Result<(), ResumeError> {
        let width = partial_width(size, 0);
        if width == 0 {
            return Ok(());
        }
        let first = size - u64::from(width);
        let bytes = reader.read_entries(size / 256, width)?;
        let mut entries = Entries::new(&bytes);
        let edge = self.edges.first().map(Vec::as_slice).unwrap_or_default();
        for (index, expected) in (first..).zip(tile_hashes(edge).0) {
            let entry = entries.next().transpose()?;
            match entry {
                Some(entry) if leaf_hash(entry).0 == *expected => {
                    push_entry(&mut self.bundle, entry).map_err(|_| ResumeError::EntryMismatch { index })?;
                }
                _ => return Err(ResumeError::EntryMismatch { index }),
            }
        }
        Ok(())
    }

    /// Number of entries.
    #[must_use]
    pub fn size(&self) -> TreeSize {
        self.frontier.size()
    }

    /// Root over all entries.
    #[must_use]
    pub fn root(&self) -> RootHash {
        self.frontier.root()
    }

    /// Appends one entry and returns its index.
    ///
    /// # Errors
    /// [`AppendError`]; the log is then unchanged.
    pub fn append(&mut self, entry: &[u8]) -> Result<u64, AppendError> {
        self.append_hashed(leaf_hash(entry), entry)
    }

    /// Appends one entry whose leaf hash the caller has already computed.
    ///
    /// # Errors
    /// [`AppendError`]; the log is then unchanged.
    pub fn append_hashed(&mut self, leaf: LeafHash, entry: &[u8]) -> Result<u64, AppendError> {
        if self.size() == u64::MAX {
            return Err(TreeFullError.into());
        }
        push_entry(&mut self.bundle, entry)?;
        let (edges, full) = (&mut self.edges, &mut self.full);
        let size = self.frontier.size() + 1;
        let index = self.frontier.append_with(leaf, |height, hash| {
            if height.is_multiple_of(8) {
                push_hash(edges, full, size, height / 8, hash);
            }
        })?;
        if size.is_multiple_of(TILE_WIDTH.into()) {
            let bytes = std::mem::take(&mut self.bundle);
            self.bundle.reserve(bytes.len());
            self.full.push(TileFile {
                id: TileId::full(TileKind::Entries, index / 256),
                bytes,
            });
        }
        Ok(index)
    }

    /// Whether [`TileWriter::take_files`] would hand out a full tile.
    #[must_use]
    pub fn has_full_files(&self) -> bool {
        !self.full.is_empty()
    }

    /// The files to write before a checkpoint of the present size may be
    /// shown: every tile and bundle that became full since the last call, and
    /// the partial ones of the present size. Bundles come before the tiles
    /// that hash them.
    #[must_use]
    pub fn take_files(&mut self) -> Vec<TileFile> {
        let mut files = std::mem::take(&mut self.full);
        let size = self.size();
        let edges = self
            .edges
            .iter()
            .zip(0..)
            .map(|(edge, level)| (TileKind::Hashes(level), level, edge));
        for (kind, level, bytes) in std::iter::once((TileKind::Entries, 0, &self.bundle)).chain(edges) {
            let index = super::nodes_at(size, level) / u64::from(TILE_WIDTH);
            if let Some(id) = TileId::new(kind, index, partial_width(size, level)) {
                files.push(TileFile {
                    id,
                    bytes: bytes.clone(),
                });
            }
        }
        files.sort_by_key(|file| file.id.kind());
        files
    }

    /// Starts a new consistency proof at the present size; called once the
    /// checkpoint of this size has been shown.
    pub fn mark(&mut self) {
        self.frontier.mark();
    }

    /// Size at the last mark.
    #[must_use]
    pub fn marked_size(&self) -> TreeSize {
        self.frontier.marked_size()
    }

    /// Proof that the log only grew since the last mark, for
    /// [`crate::checkpoint::CheckpointIssuer`] and for witnesses.
    #[must_use]
    pub fn consistency_since_mark(&self) -> ConsistencyProof {
        self.frontier.consistency_since_mark()
    }
}

/// Adds a hash to the edge of its level; a tile that becomes full is moved out.
fn push_hash(edges: &mut Vec<Vec<u8>>, full: &mut Vec<TileFile>, size: TreeSize, level: u32, hash: &Hash) {
    let (Ok(place), Ok(level)) = (usize::try_from(level), u8::try_from(level)) else {
        return;
    };
    if edges.len() <= place {
        edges.resize_with(place + 1, Vec::new);
    }
    let Some(edge) = edges.get_mut(place) else { return };
    edge.extend_from_slice(hash);
    if edge.len() == usize::from(TILE_WIDTH) * HASH_LEN {
        let index = (super::nodes_at(size, level) - 1) / u64::from(TILE_WIDTH);
        let bytes = std::mem::replace(edge, Vec::with_capacity(usize::from(TILE_WIDTH) * HASH_LEN));
        full.push(TileFile {
            id: TileId::full(TileKind::Hashes(level), index),
            bytes,
        });
    }
}
