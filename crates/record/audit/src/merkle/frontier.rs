//! The smallest state that can still append: one hash per set bit of the size.

use super::{
    ConsistencyProof, EMPTY_ROOT, Hash, LeafHash, ProofError, RootHash, TreeSize, fold_peaks, node_hash,
};

/// The right edge of a tree: roots of its complete subtrees, largest first.
///
/// At most 64 hashes at any size. It appends, gives the root, and, from the
/// last [`Frontier::mark`] on, proves that it only grew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: TreeSize,
    peaks: Vec<Hash>,
    mark: Mark,
}

/// Where the consistency proof begins, and the part of it that is already fixed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Mark {
    size: TreeSize,
    path: Vec<Hash>,
}

/// The tree holds the largest number of leaves an index can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tree is full: open a new log with its own origin")]
pub struct TreeFullError;

/// A stored frontier does not describe a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frontier of size `{size}` has `{expected}` hashes, found `{found}`")]
pub struct FrontierError {
    /// The size that was given.
    pub size: TreeSize,
    /// Number of set bits of the size.
    pub expected: u32,
    /// Number of hashes that were given.
    pub found: usize,
}

impl Frontier {
    /// The tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A stored frontier: `peaks` largest first. The mark is set at `size`.
    ///
    /// # Errors
    /// [`FrontierError`] unless there is one hash per set bit of `size`.
    pub fn from_peaks(size: TreeSize, peaks: Vec<Hash>) -> Result<Self, FrontierError> {
        if u32::try_from(peaks.len()) != Ok(size.count_ones()) {
            return Err(FrontierError {
                size,
                expected: size.count_ones(),
                found: peaks.len(),
            });
        }
        let mut frontier = Self {
            size,
            peaks,
            mark: Mark::default(),
        };
        frontier.mark();
        Ok(frontier)
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> TreeSize {
        self.size
    }

    /// Roots of the complete subtrees, largest first; what
    /// [`Frontier::from_peaks`] takes.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Root of the tree.
    #[must_use]
    pub fn root(&self) -> RootHash {
        fold_peaks(&self.peaks).map_or(EMPTY_ROOT, RootHash)
    }

    /// Appends a leaf and returns its index.
    ///
    /// # Errors
    /// [`TreeFullError`] at `u64::MAX` leaves.
    pub fn append(&mut self, leaf: LeafHash) -> Result<u64, TreeFullError> {
        self.append_with(leaf, |_, _| {})
    }

    /// Appends a leaf and tells `completed` each node that became complete:
    /// its height (0 is the leaf itself) and hash.
    pub(crate) fn append_with(
        &mut self,
        leaf: LeafHash,
        mut completed: impl FnMut(u32, &Hash),
    ) -> Result<u64, TreeFullError> {
        let index = self.size;
        let size = index.checked_add(1).ok_or(TreeFullError)?;
        let mut hash = leaf.0;
        completed(0, &hash);
        // Each set low bit of the old size is a subtree as large as the one in hand.
        for height in 0..index.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            self.note_merge(size, height, &left, &hash);
            hash = node_hash(&left, &hash);
            completed(height + 1, &hash);
        }
        self.peaks.push(hash);
        self.size = size;
        Ok(index)
    }

    /// Starts a new consistency proof at the present size.
    pub fn mark(&mut self) {
        self.mark.size = self.size;
        self.mark.path.clear();
        // A whole power of two is one subtree: the verifier has its root already.
        if !self.size.is_power_of_two() {
            self.mark.path.extend(self.peaks.last());
        }
    }

    /// Size at the last mark; 0 before the first.
    #[must_use]
    pub fn marked_size(&self) -> TreeSize {
        self.mark.size
    }

    /// Proof that the present tree extends the tree at the last mark
    /// (RFC 9162 §2.1.4.1). Empty from size 0 and where nothing was appended.
    #[must_use]
    pub fn consistency_since_mark(&self) -> ConsistencyProof {
        let old_size = self.mark.size;
        let mut proof = ConsistencyProof {
            old_size,
            new_size: self.size,
            hashes: Vec::new(),
        };
        if old_size == 0 || old_size == self.size {
            return proof;
        }
        proof.hashes.clone_from(&self.mark.path);
        // The peak that holds the last marked leaf: everything to its right is
        // one ragged subtree, every peak to its left is a sibling on the way up.
        let holder = self.peak_of(old_size - 1);
        let (left, right) = self.peaks.split_at_checked(holder).unwrap_or_default();
        proof.hashes.extend(right.get(1..).and_then(fold_peaks));
        proof.hashes.extend(left.iter().rev());
        proof
    }

    /// Records the sibling of a merge that straddles the mark.
    fn note_merge(&mut self, size: TreeSize, height: u32, left: &Hash, right: &Hash) {
        let marked = self.mark.size;
        if marked == 0 {
            return;
        }
        // The merged subtree ends at `size`; it is complete, so this cannot underflow.
        let half = 1_u64.checked_shl(height).unwrap_or(u64::MAX);
        let middle = size.saturating_sub(half);
        let start = middle.saturating_sub(half);
        if start < marked && marked < size {
            self.mark.path.push(if marked <= middle { *right } else { *left });
        }
    }

    /// Position among the peaks of the one that covers leaf `index`.
    fn peak_of(&self, index: u64) -> usize {
        // Peaks are the set bits from the top. The leaf is below the first bit
        // where it is zero and the size is one.
        let differing = self.size & !index;
        let top = 63_u32.saturating_sub(differing.leading_zeros());
        let above = self.size.checked_shr(top + 1).unwrap_or(0);
        usize::try_from(above.count_ones()).unwrap_or(usize::MAX)
    }
}

/// Verifies the proof of [`Frontier::consistency_since_mark`] between two roots,
/// where an old size of 0 stands for the empty tree.
///
/// # Errors
/// [`ProofError`] when the new tree does not extend the old one.
pub(crate) fn verify_growth(
    proof: &ConsistencyProof,
    old: &RootHash,
    new: &RootHash,
) -> Result<(), ProofError> {
    if proof.old_size == 0 && proof.new_size > 0 {
        if *old != EMPTY_ROOT {
            return Err(ProofError::RootMismatch);
        }
        return if proof.hashes.is_empty() {
            Ok(())
        } else {
            Err(ProofError::TooLong)
        };
    }
    super::verify_consistency(proof, old, new)
}
