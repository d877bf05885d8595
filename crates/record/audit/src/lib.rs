//! Entry encoding, Merkle tree, tiles, checkpoints, proofs, fsck (pure).
