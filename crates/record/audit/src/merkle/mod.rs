//! The RFC 6962 / RFC 9162 §2.1 tree over SHA-256.
//!
//! A node is named by `(height, index)`: the root of the complete subtree over
//! leaves `index << height .. (index + 1) << height`. Every root and every
//! proof is made of complete subtrees, so one [`NodeSource`] serves them all.

mod frontier;
mod prove;
mod tree;
mod verify;

pub(crate) use frontier::verify_growth;
pub use frontier::{Frontier, FrontierError, TreeFullError};
pub(crate) use prove::range_from_nodes;
pub use prove::{NodeSource, ProveError, prove_consistency, prove_inclusion, root_at};
pub use tree::{NodeMissingError, Tree};
pub use verify::{
    ConsistencyProof, InclusionProof, ProofError, Subtree, verify_consistency, verify_inclusion,
    verify_subtree_consistency, verify_subtree_inclusion,
};

use aws_lc_rs::digest::{Context, SHA256, digest};

/// Length of a hash in bytes.
pub const HASH_LEN: usize = 32;

/// A SHA-256 hash.
pub type Hash = [u8; HASH_LEN];

/// Number of leaves of a tree.
pub type TreeSize = u64;

/// Root of the tree without leaves: SHA-256 of the empty string (RFC 6962 §2.1).
pub const EMPTY_ROOT: RootHash = RootHash([
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
    0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
]);

/// The hash of an entry in the tree: SHA-256(0x00 ‖ entry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeafHash(pub Hash);

/// The hash of a whole tree at one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RootHash(pub Hash);

/// Bytes that were to be a hash have the wrong length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash must be exactly 32 bytes, found `{found}`")]
pub struct HashLengthError {
    /// Number of bytes found.
    pub found: usize,
}

/// Turns bytes from outside into a hash.
///
/// # Errors
/// [`HashLengthError`] unless there are exactly 32 bytes.
pub fn hash_from_slice(bytes: &[u8]) -> Result<Hash, HashLengthError> {
    Hash::try_from(bytes).map_err(|_| HashLengthError { found: bytes.len() })
}

/// Entries up to this length are hashed from a copy on the stack: one pass
/// over 0x00 ‖ entry, which costs less than a digest state on the heap.
const SHORT_ENTRY: usize = 1023;

/// Hash of an entry: SHA-256(0x00 ‖ entry) (RFC 6962 §2.1).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> LeafHash {
    let mut bytes = [0x00; 1 + SHORT_ENTRY];
    if let Some(copy) = bytes.get_mut(1..=entry.len()) {
        copy.copy_from_slice(entry);
        return LeafHash(sha256(bytes.get(..=entry.len()).unwrap_or_default()));
    }
    let mut context = Context::new(&SHA256);
    context.update(&[0x00]);
    context.update(entry);
    LeafHash(to_hash(context.finish().as_ref()))
}

/// Hash of an inner node: SHA-256(0x01 ‖ left ‖ right) (RFC 6962 §2.1).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [0x01; 1 + 2 * HASH_LEN];
    bytes[1..33].copy_from_slice(left);
    bytes[33..65].copy_from_slice(right);
    sha256(&bytes)
}

/// SHA-256 of plain bytes.
pub(crate) fn sha256(bytes: &[u8]) -> Hash {
    to_hash(digest(&SHA256, bytes).as_ref())
}

/// The digest is SHA-256 by construction, so its 32 bytes always fit.
fn to_hash(bytes: &[u8]) -> Hash {
    let mut hash = [0; HASH_LEN];
    hash.copy_from_slice(bytes);
    hash
}

/// Folds the roots of neighbouring complete subtrees, largest first, into the
/// root over all of them; `None` when there are none.
pub(crate) fn fold_peaks(peaks: &[Hash]) -> Option<Hash> {
    let (last, rest) = peaks.split_last()?;
    Some(
        rest.iter()
            .rev()
            .fold(*last, |right, left| node_hash(left, &right)),
    )
}

/// Hashes one row of nodes into the row above it; an odd last node is left out.
pub(crate) fn next_row(row: &[Hash]) -> Vec<Hash> {
    row.as_chunks::<2>()
        .0
        .iter()
        .map(|[left, right]| node_hash(left, right))
        .collect()
}
