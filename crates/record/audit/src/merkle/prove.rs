//! Roots and proofs at any size, from complete subtrees.

use super::{ConsistencyProof, EMPTY_ROOT, Hash, InclusionProof, RootHash, TreeSize, fold_peaks};

/// Where complete subtrees come from: a tree in memory, tiles, a test.
pub trait NodeSource {
    /// Why a node could not be had.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Hash of the complete subtree over leaves
    /// `index << height .. (index + 1) << height`.
    ///
    /// # Errors
    /// When the node is not complete or cannot be read.
    fn node(&mut self, height: u32, index: u64) -> Result<Hash, Self::Error>;

    /// Root over leaves `start..end`, where `start` is aligned as RFC 6962
    /// splits the tree that ends at `end`. A source that keeps such roots may
    /// answer from them.
    ///
    /// # Errors
    /// When a node below is not complete or cannot be read.
    fn range(&mut self, start: u64, end: u64) -> Result<Hash, Self::Error> {
        range_from_nodes(self, start, end)
    }
}

/// A proof could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The entry is not in the tree.
    #[error("entry `{index}` is not in a tree of `{size}` entries")]
    IndexOutside {
        /// Index asked for.
        index: u64,
        /// Size of the tree.
        size: TreeSize,
    },
    /// A node could not be read.
    #[error("a node of the tree could not be read")]
    Node(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The nodes do not add up to the root that was promised.
    #[error("the tiles do not give the root of the checkpoint: run fsck on the log")]
    RootMismatch,
    /// The old size is 0 or above the new one.
    #[error("no consistency proof leads from size `{old}` to size `{new}`")]
    SizeOrder {
        /// Old size asked for.
        old: TreeSize,
        /// New size asked for.
        new: TreeSize,
    },
}

impl ProveError {
    pub(crate) fn node(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Node(Box::new(source))
    }
}

/// Root of the first `size` leaves.
///
/// # Errors
/// [`ProveError::Node`] when a node cannot be had.
pub fn root_at<N: NodeSource>(nodes: &mut N, size: TreeSize) -> Result<RootHash, ProveError> {
    if size == 0 {
        return Ok(EMPTY_ROOT);
    }
    range_hash(nodes, 0, size).map(RootHash)
}

/// Proof that leaf `index` is in the tree of `size` leaves (RFC 9162 §2.1.3.1).
///
/// # Errors
/// [`ProveError`] when the index is outside or a node cannot be had.
pub fn prove_inclusion<N: NodeSource>(
    nodes: &mut N,
    index: u64,
    size: TreeSize,
) -> Result<InclusionProof, ProveError> {
    if index >= size {
        return Err(ProveError::IndexOutside { index, size });
    }
    let mut hashes = Vec::with_capacity(proof_capacity(size));
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = split(start, end);
        if index < middle {
            hashes.push(range_hash(nodes, middle, end)?);
            end = middle;
        } else {
            hashes.push(range_hash(nodes, start, middle)?);
            start = middle;
        }
    }
    hashes.reverse();
    Ok(InclusionProof { index, size, hashes })
}

/// Proof that the first `old` leaves of the tree of `new` leaves are the tree
/// of `old` leaves (RFC 9162 §2.1.4.1).
///
/// # Errors
/// [`ProveError`] when `old` is 0 or above `new`, or a node cannot be had.
pub fn prove_consistency<N: NodeSource>(
    nodes: &mut N,
    old: TreeSize,
    new: TreeSize,
) -> Result<ConsistencyProof, ProveError> {
    if old == 0 || old > new {
        return Err(ProveError::SizeOrder { old, new });
    }
    let mut hashes = Vec::with_capacity(proof_capacity(new));
    let (mut start, mut end, mut whole) = (0, new, true);
    while end != old {
        let middle = split(start, end);
        if old <= middle {
            hashes.push(range_hash(nodes, middle, end)?);
            end = middle;
        } else {
            hashes.push(range_hash(nodes, start, middle)?);
            start = middle;
            whole = false;
        }
    }
    if !whole {
        hashes.push(range_hash(nodes, start, end)?);
    }
    hashes.reverse();
    Ok(ConsistencyProof {
        old_size: old,
        new_size: new,
        hashes,
    })
}

fn proof_capacity(size: TreeSize) -> usize {
    usize::try_from(u64::BITS - size.leading_zeros()).unwrap_or(0) + 1
}

/// Where RFC 6962 splits the leaves `start..end` (at least two of them): after
/// the largest power of two below their number.
fn split(start: u64, end: u64) -> u64 {
    let last = end.saturating_sub(start).saturating_sub(1).max(1);
    start.saturating_add(1 << last.ilog2())
}

fn range_hash<N: NodeSource>(nodes: &mut N, start: u64, end: u64) -> Result<Hash, ProveError> {
    nodes.range(start, end).map_err(ProveError::node)
}

/// Root over leaves `start..end` from the complete subtrees in it.
pub(crate) fn range_from_nodes<N: NodeSource + ?Sized>(
    nodes: &mut N,
    start: u64,
    end: u64,
) -> Result<Hash, N::Error> {
    let length = end.saturating_sub(start);
    if length.is_power_of_two() {
        let height = length.trailing_zeros();
        return nodes.node(height, start >> height);
    }
    let mut peaks = Vec::with_capacity(64);
    let mut from = start;
    while from < end {
        let height = (end - from).ilog2();
        peaks.push(nodes.node(height, from >> height)?);
        from += 1 << height;
    }
    Ok(fold_peaks(&peaks).unwrap_or(EMPTY_ROOT.0))
}
