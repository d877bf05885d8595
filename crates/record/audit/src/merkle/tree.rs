//! A tree with every node in memory: 64 bytes per leaf, proofs without I/O.

use super::{
    ConsistencyProof, Frontier, Hash, InclusionProof, LeafHash, NodeSource, ProveError, RootHash,
    TreeFullError, TreeSize, prove_consistency, prove_inclusion, root_at,
};

/// Hashes per piece of a row. Growing by pieces keeps an append from ever
/// copying the whole row.
const PIECE_BITS: u32 = 10;
const PIECE_LEN: usize = 1 << PIECE_BITS;

/// An append-only tree that keeps every complete subtree.
///
/// Meant for logs that fit memory and for tests; a long log is appended with
/// [`crate::tile::TileWriter`] and proved with [`crate::tile::Prover`].
#[derive(Clone, Debug, Default)]
pub struct Tree {
    frontier: Frontier,
    /// `rows[h]` holds the nodes of height `h`.
    rows: Vec<Row>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    pieces: Vec<Vec<Hash>>,
}

/// The tree has no such complete subtree yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node `{index}` at height `{height}` is not complete")]
pub struct NodeMissingError {
    /// Height of the node above the leaves.
    pub height: u32,
    /// Index of the node in its row.
    pub index: u64,
}

impl Row {
    fn push(&mut self, hash: Hash) {
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < PIECE_LEN => piece.push(hash),
            _ => {
                let mut piece = Vec::with_capacity(if self.pieces.is_empty() { 4 } else { PIECE_LEN });
                piece.push(hash);
                self.pieces.push(piece);
            }
        }
    }

    fn lookup(&self, index: u64) -> Option<Hash> {
        let index = usize::try_from(index).ok()?;
        self.pieces
            .get(index >> PIECE_BITS)?
            .get(index & (PIECE_LEN - 1))
            .copied()
    }
}

impl Tree {
    /// The tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> TreeSize {
        self.frontier.size()
    }

    /// Root of the whole tree.
    #[must_use]
    pub fn root(&self) -> RootHash {
        self.frontier.root()
    }

    /// Appends a leaf and returns its index.
    ///
    /// # Errors
    /// [`TreeFullError`] at `u64::MAX` leaves.
    pub fn append(&mut self, leaf: LeafHash) -> Result<u64, TreeFullError> {
        let rows = &mut self.rows;
        self.frontier.append_with(leaf, |height, hash| {
            let height = usize::try_from(height).unwrap_or(usize::MAX);
            if rows.len() == height {
                rows.push(Row::default());
            }
            if let Some(row) = rows.get_mut(height) {
                row.push(*hash);
            }
        })
    }

    /// Root of the first `size` leaves.
    ///
    /// # Errors
    /// [`ProveError::Node`] when `size` is above the present size.
    pub fn root_at(&self, size: TreeSize) -> Result<RootHash, ProveError> {
        root_at(&mut &*self, size)
    }

    /// Proof that leaf `index` is in the tree of the first `size` leaves.
    ///
    /// # Errors
    /// [`ProveError`] when `index` or `size` is outside.
    pub fn prove_inclusion(&self, index: u64, size: TreeSize) -> Result<InclusionProof, ProveError> {
        prove_inclusion(&mut &*self, index, size)
    }

    /// Proof that the tree of `new` leaves extends the tree of `old` leaves.
    ///
    /// # Errors
    /// [`ProveError`] when a size is outside or they are in the wrong order.
    pub fn prove_consistency(&self, old: TreeSize, new: TreeSize) -> Result<ConsistencyProof, ProveError> {
        prove_consistency(&mut &*self, old, new)
    }
}

impl NodeSource for &Tree {
    type Error = NodeMissingError;

    fn node(&mut self, height: u32, index: u64) -> Result<Hash, NodeMissingError> {
        usize::try_from(height)
            .ok()
            .and_then(|row| self.rows.get(row))
            .and_then(|row| row.lookup(index))
            .ok_or(NodeMissingError { height, index })
    }
}
