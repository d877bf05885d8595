//! Proofs from tile files.

use std::collections::BTreeMap;

use super::{
    LEVELS, TILE_WIDTH, TileId, TileKind, TileSource, nodes_at, partial_width, tile_hashes, tile_peaks,
};
use crate::merkle::{
    ConsistencyProof, EMPTY_ROOT, HASH_LEN, Hash, InclusionProof, LeafHash, NodeSource, ProveError, RootHash,
    TreeSize, next_row, node_hash, prove_consistency, prove_inclusion, range_from_nodes, root_at,
};

/// A tile file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TileReadError {
    /// The file has the wrong number of bytes.
    #[error("`{path}` must have `{expected}` bytes, found `{found}`")]
    Length {
        /// Path of the file.
        path: String,
        /// Bytes a tile of this width has.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// The tile above has another hash for this tile.
    #[error("`{path}` is not the tile that the tree has: run fsck on the log")]
    Mismatch {
        /// Path of the file.
        path: String,
    },
    /// There is no such file.
    #[error("`{path}` is missing")]
    Missing {
        /// Path of the file.
        path: String,
    },
    /// The node is not covered by the tree.
    #[error("node `{index}` at height `{height}` is outside the tree")]
    Outside {
        /// Height of the node above the leaves.
        height: u32,
        /// Index of the node in its row.
        index: u64,
    },
    /// The file is there but cannot be read.
    #[error("`{path}` cannot be read")]
    Source {
        /// Path of the file.
        path: String,
        /// What the source said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Reads tiles by name, falling back from a partial tile to the full one that
/// replaced it.
#[derive(Debug)]
pub struct TileReader<'a, S> {
    source: &'a S,
}

impl<'a, S: TileSource> TileReader<'a, S> {
    /// Reads from `source`.
    #[must_use]
    pub fn new(source: &'a S) -> Self {
        Self { source }
    }

    /// One file, or `None` when neither it nor its full successor is there.
    /// The flag tells whether the full one was read in place of a partial one.
    pub(crate) fn read(&self, id: TileId) -> Result<Option<(Vec<u8>, bool)>, TileReadError> {
        if let Some(bytes) = self.read_path(&id.path())? {
            return Ok(Some((bytes, false)));
        }
        if id.is_full() {
            return Ok(None);
        }
        Ok(self.read_path(&id.to_full().path())?.map(|bytes| (bytes, true)))
    }

    fn read_path(&self, path: &str) -> Result<Option<Vec<u8>>, TileReadError> {
        self.source.read(path).map_err(|source| TileReadError::Source {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// The first `width` hashes of a hash tile, as bytes; nothing for width 0.
    ///
    /// # Errors
    /// [`TileReadError`] when the file is missing or has the wrong length.
    pub fn read_hashes(&self, level: u8, index: u64, width: u16) -> Result<Vec<u8>, TileReadError> {
        let Some(id) = TileId::new(TileKind::Hashes(level), index, width) else {
            return Ok(Vec::new());
        };
        let missing = || TileReadError::Missing { path: id.path() };
        let (mut bytes, in_place) = self.read(id)?.ok_or_else(missing)?;
        let present = if in_place { TILE_WIDTH } else { width };
        let expected = usize::from(present) * HASH_LEN;
        if bytes.len() != expected {
            return Err(TileReadError::Length {
                path: id.path(),
                expected,
                found: bytes.len(),
            });
        }
        bytes.truncate(usize::from(width) * HASH_LEN);
        Ok(bytes)
    }

    /// An entry bundle that holds at least the first `width` entries, unparsed.
    ///
    /// # Errors
    /// [`TileReadError`] when the file is missing.
    pub fn read_entries(&self, index: u64, width: u16) -> Result<Vec<u8>, TileReadError> {
        let Some(id) = TileId::new(TileKind::Entries, index, width) else {
            return Ok(Vec::new());
        };
        let missing = || TileReadError::Missing { path: id.path() };
        self.read(id)?.map(|(bytes, _)| bytes).ok_or_else(missing)
    }
}

/// A hash tile with all the nodes between its hashes and its root, so that any
/// node inside is a look-up. 16 KiB when full.
#[derive(Clone, Debug)]
pub struct ExpandedTile {
    rows: Vec<Vec<Hash>>,
}

impl ExpandedTile {
    /// Computes the inner nodes of a tile's hashes (at most 256).
    #[must_use]
    pub fn new(hashes: &[Hash]) -> Self {
        let mut rows = vec![hashes.to_vec()];
        while let Some(row) = rows.last().filter(|row| row.len() > 1) {
            rows.push(next_row(row));
        }
        Self { rows }
    }

    /// The node `height` rows above the tile's hashes, `index` from its left.
    #[must_use]
    pub fn lookup(&self, height: u32, index: u64) -> Option<Hash> {
        self.rows
            .get(usize::try_from(height).ok()?)?
            .get(usize::try_from(index).ok()?)
            .copied()
    }
}

/// Makes proofs for one checkpoint from its tiles, keeping the tiles it used.
///
/// Every tile is verified when it is read: the partial ones together against
/// the checkpoint's root, each full one against the tile above it. So a damaged
/// file gives an error that names it, never a proof that fails in somebody
/// else's hands.
#[derive(Debug)]
pub struct Prover<'a, S> {
    reader: TileReader<'a, S>,
    size: TreeSize,
    /// Per level the partial tile of this size.
    edges: Vec<ExpandedTile>,
    /// Roots over the leaves from each start to the end of the tree.
    tails: Vec<(u64, Hash)>,
    kept: Vec<KeptTile>,
    /// Where a full tile of a level is among the kept.
    places: BTreeMap<(u8, u64), usize>,
    /// Per level the tile used last, which most look-ups want again.
    last_used: [usize; LEVELS as usize],
    kept_max: usize,
    /// The kept tile that makes room next.
    oldest: usize,
}

#[derive(Debug)]
struct KeptTile {
    level: u8,
    index: u64,
    tile: ExpandedTile,
}

impl<'a, S: TileSource> Prover<'a, S> {
    /// A prover for the tree of `size` leaves with `root` (both from a verified
    /// checkpoint) that keeps up to `kept_max` full tiles (16 KiB each, at least 8).
    ///
    /// # Errors
    /// [`ProveError::Node`] when a partial tile cannot be read,
    /// [`ProveError::RootMismatch`] when they do not give `root`.
    pub fn new(source: &'a S, size: TreeSize, root: RootHash, kept_max: usize) -> Result<Self, ProveError> {
        let mut prover = Self {
            reader: TileReader::new(source),
            size: 0,
            edges: Vec::new(),
            tails: Vec::new(),
            kept: Vec::new(),
            places: BTreeMap::new(),
            last_used: [usize::MAX; LEVELS as usize],
            kept_max: kept_max.max(usize::from(LEVELS)),
            oldest: 0,
        };
        prover.advance(size, root)?;
        Ok(prover)
    }

    /// Goes on with another checkpoint of the same log that is consistent with
    /// the present one; full tiles stay kept.
    ///
    /// # Errors
    /// As [`Prover::new`]; the prover then stays at its present checkpoint.
    pub fn advance(&mut self, size: TreeSize, root: RootHash) -> Result<(), ProveError> {
        let mut edges = Vec::with_capacity(usize::from(LEVELS));
        let mut peaks = Vec::new();
        for level in 0..LEVELS {
            let index = nodes_at(size, level) / u64::from(TILE_WIDTH);
            let bytes = self.reader.read_hashes(level, index, partial_width(size, level));
            let bytes = bytes.map_err(ProveError::node)?;
            let hashes = tile_hashes(&bytes).0;
            peaks.splice(0..0, tile_peaks(hashes));
            edges.push(ExpandedTile::new(hashes));
        }
        let tails = tails_of(size, &peaks);
        if tails.last().map_or(EMPTY_ROOT, |(_, hash)| RootHash(*hash)) != root {
            return Err(ProveError::RootMismatch);
        }
        (self.size, self.edges, self.tails) = (size, edges, tails);
        Ok(())
    }

    /// Proof that entry `index` is in the tree, and the entry's leaf hash.
    ///
    /// # Errors
    /// [`ProveError`] when the index is outside, or a tile cannot be read or
    /// is not the one the tree has.
    pub fn prove_inclusion(&mut self, index: u64) -> Result<(LeafHash, InclusionProof), ProveError> {
        let size = self.size;
        let proof = prove_inclusion(self, index, size)?;
        let leaf = self.node(0, index).map(LeafHash).map_err(ProveError::node)?;
        Ok((leaf, proof))
    }

    /// Proof that the tree extends its own first `old` leaves, and their root.
    ///
    /// # Errors
    /// [`ProveError`] when `old` is 0 or above the size, or a tile cannot be
    /// read or is not the one the tree has.
    pub fn prove_consistency(&mut self, old: TreeSize) -> Result<(RootHash, ConsistencyProof), ProveError> {
        let size = self.size;
        let proof = prove_consistency(self, old, size)?;
        Ok((root_at(self, old)?, proof))
    }

    /// A full tile's place among the kept, reading and verifying it first
    /// where it is not there yet.
    fn full_tile(&mut self, level: u8, index: u64) -> Result<usize, TileReadError> {
        if let Some(place) = self.places.get(&(level, index)) {
            return Ok(*place);
        }
        let above = self.node(8 * (u32::from(level) + 1), index)?;
        let bytes = self.reader.read_hashes(level, index, TILE_WIDTH)?;
        let tile = ExpandedTile::new(tile_hashes(&bytes).0);
        if tile.lookup(8, 0) != Some(above) {
            let path = TileId::full(TileKind::Hashes(level), index).path();
            return Err(TileReadError::Mismatch { path });
        }
        Ok(self.keep(KeptTile { level, index, tile }))
    }

    fn keep(&mut self, tile: KeptTile) -> usize {
        let key = (tile.level, tile.index);
        let place = match self.kept.get_mut(self.oldest) {
            Some(oldest) if self.places.len() >= self.kept_max => {
                self.places.remove(&(oldest.level, oldest.index));
                *oldest = tile;
                let place = self.oldest;
                self.oldest = (place + 1) % self.kept_max;
                place
            }
            _ => {
                self.kept.push(tile);
                self.kept.len() - 1
            }
        };
        self.places.insert(key, place);
        place
    }
}

/// Roots over the leaves from the start of each peak to the end of the tree,
/// shortest first: the only ragged subtrees a proof for this size can need.
fn tails_of(size: TreeSize, peaks: &[Hash]) -> Vec<(u64, Hash)> {
    let mut tails: Vec<(u64, Hash)> = Vec::with_capacity(peaks.len());
    let (mut start, mut bits) = (size, size);
    for peak in peaks.iter().rev() {
        // The smallest peak is the lowest set bit of the size.
        let length = 1_u64.checked_shl(bits.trailing_zeros()).unwrap_or(0);
        bits &= !length;
        start -= length;
        let hash = tails.last().map_or(*peak, |(_, right)| node_hash(peak, right));
        tails.push((start, hash));
    }
    tails
}

impl<S: TileSource> NodeSource for Prover<'_, S> {
    type Error = TileReadError;

    fn node(&mut self, height: u32, index: u64) -> Result<Hash, TileReadError> {
        let outside = TileReadError::Outside { height, index };
        let (inside, below) = (height % 8, 8 - height % 8);
        let (tile_index, place) = (index >> below, index & ((1 << below) - 1));
        let level = u8::try_from(height / 8).unwrap_or(LEVELS);
        let row = usize::from(level);
        let (Some(edge), Some(last_used)) = (self.edges.get(row), self.last_used.get(row)) else {
            return Err(outside);
        };
        let full = nodes_at(self.size, level) / u64::from(TILE_WIDTH);
        if tile_index >= full {
            let hash = edge.lookup(inside, place).filter(|_| tile_index == full);
            return hash.ok_or(outside);
        }
        if let Some(kept) = self.kept.get(*last_used)
            && (kept.level, kept.index) == (level, tile_index)
        {
            return kept.tile.lookup(inside, place).ok_or(outside);
        }
        let at = self.full_tile(level, tile_index)?;
        if let Some(last_used) = self.last_used.get_mut(row) {
            *last_used = at;
        }
        self.kept
            .get(at)
            .and_then(|kept| kept.tile.lookup(inside, place))
            .ok_or(outside)
    }

    fn range(&mut self, start: u64, end: u64) -> Result<Hash, TileReadError> {
        if end == self.size
            && let Some((_, hash)) = self.tails.iter().find(|(from, _)| *from == start)
        {
            return Ok(*hash);
        }
        range_from_nodes(self, start, end)
    }
}
