//! Verifying proofs (RFC 9162 §2.1.3.2 and §2.1.4.2), and the same for
//! subtrees (draft-ietf-plants-merkle-tree-certs §4.3 and §4.4).

use super::{EMPTY_ROOT, Hash, HashLengthError, LeafHash, RootHash, TreeSize, hash_from_slice, node_hash};

/// "This leaf is in that tree", sibling hashes from the leaf upwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof {
    /// Index of the leaf, from 0.
    pub index: u64,
    /// Size of the tree.
    pub size: TreeSize,
    /// Sibling hashes from the leaf to the child of the root.
    pub hashes: Vec<Hash>,
}

/// "That tree extends this one."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// Size of the older tree.
    pub old_size: TreeSize,
    /// Size of the newer tree.
    pub new_size: TreeSize,
    /// Hashes in the order of RFC 9162 §2.1.4.1.
    pub hashes: Vec<Hash>,
}

/// The leaves `start..end` where they hang under one node of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subtree {
    /// First leaf.
    pub start: u64,
    /// One past the last leaf.
    pub end: u64,
}

/// A proof does not prove what it claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// A hash of the proof is not 32 bytes long.
    #[error("hash `{position}` of the proof is not a hash")]
    HashLength {
        /// Position in the proof, from 0.
        position: usize,
        /// The length that was found.
        #[source]
        source: HashLengthError,
    },
    /// The leaf is not in a tree of that size.
    #[error("entry `{index}` cannot be in a tree of `{size}` entries")]
    IndexOutside {
        /// Index of the leaf.
        index: u64,
        /// Size of the tree.
        size: TreeSize,
    },
    /// The proof leads to another root.
    #[error("the proof does not lead to this root")]
    RootMismatch,
    /// The older tree is larger, or empty (then there is nothing to prove).
    #[error("no consistency proof leads from size `{old}` to size `{new}`")]
    SizeOrder {
        /// Size of the older tree.
        old: TreeSize,
        /// Size of the newer tree.
        new: TreeSize,
    },
    /// The range is not a subtree, or reaches beyond the tree.
    #[error("entries `{start}` to `{end}` are not one subtree")]
    SubtreeInvalid {
        /// First leaf.
        start: u64,
        /// One past the last leaf.
        end: u64,
    },
    /// The proof has more hashes than the tree has levels.
    #[error("the proof is longer than its tree is high")]
    TooLong,
    /// The proof ends before the root.
    #[error("the proof ends below the root")]
    TooShort,
}

/// Turns the hashes of a proof from outside into hashes, each checked first.
fn hashes_from_slices<B: AsRef<[u8]>>(hashes: &[B]) -> Result<Vec<Hash>, ProofError> {
    hashes
        .iter()
        .enumerate()
        .map(|(position, bytes)| {
            hash_from_slice(bytes.as_ref()).map_err(|source| ProofError::HashLength { position, source })
        })
        .collect()
}

impl InclusionProof {
    /// A proof as it came from outside.
    ///
    /// # Errors
    /// [`ProofError::HashLength`] naming the first hash that is not 32 bytes.
    pub fn from_slices<B: AsRef<[u8]>>(index: u64, size: TreeSize, hashes: &[B]) -> Result<Self, ProofError> {
        Ok(Self {
            index,
            size,
            hashes: hashes_from_slices(hashes)?,
        })
    }
}

impl ConsistencyProof {
    /// A proof as it came from outside.
    ///
    /// # Errors
    /// [`ProofError::HashLength`] naming the first hash that is not 32 bytes.
    pub fn from_slices<B: AsRef<[u8]>>(
        old_size: TreeSize,
        new_size: TreeSize,
        hashes: &[B],
    ) -> Result<Self, ProofError> {
        Ok(Self {
            old_size,
            new_size,
            hashes: hashes_from_slices(hashes)?,
        })
    }
}

impl Subtree {
    /// Number of leaves; `None` when the ends are in the wrong order.
    fn len(self) -> Option<u64> {
        self.end.checked_sub(self.start)
    }

    /// Whether the range hangs under one node: its start is a multiple of the
    /// smallest power of two that is not below its length.
    fn is_valid(self) -> bool {
        match self.len() {
            None => false,
            Some(0 | 1) => true,
            Some(length) => match length.checked_next_power_of_two() {
                Some(width) => self.start.is_multiple_of(width),
                None => self.start == 0,
            },
        }
    }

    fn require_valid(self) -> Result<u64, ProofError> {
        match self.len() {
            Some(length) if self.is_valid() => Ok(length),
            _ => Err(ProofError::SubtreeInvalid {
                start: self.start,
                end: self.end,
            }),
        }
    }
}

/// Verifies that `leaf` is in the tree with `root` (RFC 9162 §2.1.3.2).
///
/// # Errors
/// [`ProofError`] naming why the proof fails.
pub fn verify_inclusion(proof: &InclusionProof, leaf: &LeafHash, root: &RootHash) -> Result<(), ProofError> {
    verify_path(proof.index, proof.size, &proof.hashes, leaf, root)
}

/// Verifies that leaf `index` of the log is in `subtree` with `root`.
///
/// # Errors
/// [`ProofError`] naming why the proof fails.
pub fn verify_subtree_inclusion(
    index: u64,
    subtree: Subtree,
    hashes: &[Hash],
    leaf: &LeafHash,
    root: &RootHash,
) -> Result<(), ProofError> {
    let size = subtree.require_valid()?;
    let inside = index
        .checked_sub(subtree.start)
        .ok_or(ProofError::IndexOutside { index, size })?;
    verify_path(inside, size, hashes, leaf, root)
}

fn verify_path(
    index: u64,
    size: TreeSize,
    hashes: &[Hash],
    leaf: &LeafHash,
    root: &RootHash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::IndexOutside { index, size });
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf.0;
    for sibling in hashes {
        if last == 0 {
            return Err(ProofError::TooLong);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            // A node without right neighbour moves up until it is a right child.
            let skip = node.trailing_zeros().min(63);
            node >>= skip;
            last >>= skip;
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::TooShort);
    }
    if hash == root.0 {
        Ok(())
    } else {
        Err(ProofError::RootMismatch)
    }
}

/// Verifies that the tree with root `new` extends the tree with root `old`
/// (RFC 9162 §2.1.4.2).
///
/// Equal sizes need an empty proof and equal roots. From size 0 to a larger
/// size nothing can be proved and the answer is [`ProofError::SizeOrder`]; two
/// empty trees must both have the root of the empty tree.
///
/// # Errors
/// [`ProofError`] naming why the proof fails.
pub fn verify_consistency(
    proof: &ConsistencyProof,
    old: &RootHash,
    new: &RootHash,
) -> Result<(), ProofError> {
    let (old_size, new_size) = (proof.old_size, proof.new_size);
    if old_size > new_size || (old_size == 0 && new_size > 0) {
        return Err(ProofError::SizeOrder {
            old: old_size,
            new: new_size,
        });
    }
    if new_size == 0 && *new != EMPTY_ROOT {
        return Err(ProofError::RootMismatch);
    }
    verify_subtree_consistency(
        Subtree {
            start: 0,
            end: old_size,
        },
        new_size,
        &proof.hashes,
        old,
        new,
    )
}

/// Verifies that `subtree` with root `old` is part of the tree of `size`
/// leaves with root `new`.
///
/// An empty subtree is part of every tree: only its own root is looked at.
///
/// # Errors
/// [`ProofError`] naming why the proof fails.
pub fn verify_subtree_consistency(
    subtree: Subtree,
    size: TreeSize,
    hashes: &[Hash],
    old: &RootHash,
    new: &RootHash,
) -> Result<(), ProofError> {
    let length = subtree.require_valid()?;
    if subtree.end > size {
        return Err(ProofError::SubtreeInvalid {
            start: subtree.start,
            end: subtree.end,
        });
    }
    if length == 0 {
        return match (hashes.is_empty(), *old == EMPTY_ROOT) {
            (false, _) => Err(ProofError::TooLong),
            (true, false) => Err(ProofError::RootMismatch),
            (true, true) => Ok(()),
        };
    }
    // Positions, level by level, of the first and last node of the subtree and
    // of the last node of the tree.
    let (mut first, mut last, mut end) = (subtree.start, subtree.end - 1, size - 1);
    // Climb to where the path of the subtree's last leaf meets the first
    // sibling outside; on the tree's own edge that is the subtree's root.
    while first != last && (last == end || last & 1 == 1) {
        first >>= 1;
        last >>= 1;
        end >>= 1;
    }
    let mut rest = hashes.iter();
    let start = if first == last {
        old.0
    } else {
        *rest.next().ok_or(ProofError::TooShort)?
    };
    let (mut small, mut large) = (start, start);
    for hash in rest {
        if end == 0 {
            return Err(ProofError::TooLong);
        }
        if last & 1 == 1 || last == end {
            if first < last {
                small = node_hash(hash, &small);
            }
            large = node_hash(hash, &large);
            let skip = last.trailing_zeros().min(63);
            first >>= skip;
            last >>= skip;
            end >>= skip;
        } else {
            large = node_hash(&large, hash);
        }
        first >>= 1;
        last >>= 1;
        end >>= 1;
    }
    if end != 0 {
        return Err(ProofError::TooShort);
    }
    if small == old.0 && large == new.0 {
        Ok(())
    } else {
        Err(ProofError::RootMismatch)
    }
}
