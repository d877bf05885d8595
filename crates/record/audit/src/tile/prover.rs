//! Proofs from tile files.

use std::collections::{BTreeMap, VecDeque};

use super::{LEVELS, TILE_WIDTH, TileId, TileKind, TileSource, nodes_at, tile_hashes};
use crate::merkle::{
    ConsistencyProof, HASH_LEN, Hash, InclusionProof, LeafHash, NodeSource, ProveError, RootHash, TreeSize,
    next_row, prove_consistency, prove_inclusion, root_at, verify_consistency, verify_inclusion,
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

    /// Number of hashes the tile was made from.
    fn width(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
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
/// Every proof is verified against the checkpoint's root before it is handed
/// out, so a damaged file gives [`ProveError::RootMismatch`], never a proof
/// that fails in somebody else's hands.
#[derive(Debug)]
pub struct Prover<'a, S> {
    reader: TileReader<'a, S>,
    size: TreeSize,
    root: RootHash,
    kept: BTreeMap<(u8, u64), ExpandedTile>,
    order: VecDeque<(u8, u64)>,
    kept_max: usize,
}

impl<'a, S: TileSource> Prover<'a, S> {
    /// A prover for the tree of `size` leaves with `root` (both from a verified
    /// checkpoint) that keeps up to `kept_max` tiles (16 KiB each, at least 8).
    #[must_use]
    pub fn new(source: &'a S, size: TreeSize, root: RootHash, kept_max: usize) -> Self {
        let reader = TileReader::new(source);
        let kept_max = kept_max.max(usize::from(LEVELS));
        Self {
            reader,
            size,
            root,
            kept: BTreeMap::new(),
            order: VecDeque::new(),
            kept_max,
        }
    }

    /// Goes on with a later checkpoint of the same log; full tiles stay kept.
    pub fn advance(&mut self, size: TreeSize, root: RootHash) {
        self.size = size;
        self.root = root;
        let full = usize::from(TILE_WIDTH);
        self.kept.retain(|_, tile| tile.width() == full);
        let kept = &self.kept;
        self.order.retain(|key| kept.contains_key(key));
    }

    /// Proof that entry `index` is in the tree, and the entry's leaf hash.
    ///
    /// # Errors
    /// [`ProveError`] when the index is outside, a tile cannot be read, or the
    /// tiles do not give the checkpoint's root.
    pub fn prove_inclusion(&mut self, index: u64) -> Result<(LeafHash, InclusionProof), ProveError> {
        let (size, root) = (self.size, self.root);
        let proof = prove_inclusion(self, index, size)?;
        let leaf = self
            .node(0, index)
            .map(LeafHash)
            .map_err(|error| ProveError::Node(Box::new(error)))?;
        verify_inclusion(&proof, &leaf, &root).map_err(|_| ProveError::RootMismatch)?;
        Ok((leaf, proof))
    }

    /// Proof that the tree extends its own first `old` leaves, and their root.
    ///
    /// # Errors
    /// [`ProveError`] when `old` is 0 or above the size, a tile cannot be read,
    /// or the tiles do not give the checkpoint's root.
    pub fn prove_consistency(&mut self, old: TreeSize) -> Result<(RootHash, ConsistencyProof), ProveError> {
        let (size, root) = (self.size, self.root);
        let proof = prove_consistency(self, old, size)?;
        let old_root = root_at(self, old)?;
        verify_consistency(&proof, &old_root, &root).map_err(|_| ProveError::RootMismatch)?;
        Ok((old_root, proof))
    }

    fn keep(&mut self, key: (u8, u64), tile: ExpandedTile) {
        if self.order.len() >= self.kept_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.kept.remove(&oldest);
        }
        self.order.push_back(key);
        self.kept.insert(key, tile);
    }
}

impl<S: TileSource> NodeSource for Prover<'_, S> {
    type Error = TileReadError;

    fn node(&mut self, height: u32, index: u64) -> Result<Hash, TileReadError> {
        let outside = TileReadError::Outside { height, index };
        let Ok(level) = u8::try_from(height / 8) else {
            return Err(outside);
        };
        let inside = height % 8;
        let below = 8 - inside;
        let tile_index = index >> below;
        let key = (level, tile_index);
        let place = index & ((1 << below) - 1);
        if let Some(tile) = self.kept.get(&key) {
            return tile.lookup(inside, place).ok_or(outside);
        }
        let nodes = nodes_at(self.size, level);
        let Some(before) = tile_index
            .checked_mul(TILE_WIDTH.into())
            .filter(|before| *before < nodes)
        else {
            return Err(outside);
        };
        let width = u16::try_from(nodes - before)
            .unwrap_or(TILE_WIDTH)
            .min(TILE_WIDTH);
        let bytes = self.reader.read_hashes(level, tile_index, width)?;
        let tile = ExpandedTile::new(tile_hashes(&bytes).0);
        let node = tile.lookup(inside, place).ok_or(outside);
        self.keep(key, tile);
        node
    }
}
