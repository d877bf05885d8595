//! The record's mathematics: what an entry looks like in bytes, the Merkle
//! tree over entries, tiles, signed checkpoints, offline proofs, and the full
//! check of a log (`fsck`).
//!
//! # What is here
//!
//! | module | holds | source |
//! |---|---|---|
//! | [`entry`] | [`entry::Leaf`]: the one canonical form of a log entry, and commitments to sealed payloads | RFC 8785 (JCS), RFC 2104 |
//! | [`merkle`] | leaf and node hashing, [`merkle::Tree`], [`merkle::Frontier`], making and verifying proofs | RFC 6962, RFC 9162 §2.1 |
//! | [`tile`] | tile paths, entry bundles, [`tile::TileWriter`] (append → files), [`tile::Prover`] (files → proofs) | C2SP tlog-tiles |
//! | [`note`] | signed notes, Ed25519 keys in `vkey` form | C2SP signed-note |
//! | [`checkpoint`] | `origin, size, root` and the only way to sign one | C2SP tlog-checkpoint |
//! | [`cosign`] | cosignatures of witnesses, k of n | C2SP tlog-cosignature |
//! | [`proof`] | the `.tlog-proof` file that a third party verifies offline | C2SP tlog-proof |
//! | [`fsck`] | the whole log against its checkpoint, findings with positions | |
//!
//! # Invariants
//!
//! 1. **A hash is 32 bytes before it is anything else.** [`merkle::Hash`] is an
//!    array; bytes from outside become one through
//!    [`merkle::hash_from_slice`], never by padding or cutting.
//! 2. **A leaf has one byte form.** [`entry::Leaf::decode`] accepts exactly the
//!    bytes [`entry::Leaf::encode_into`] writes, so equal leaves have equal
//!    hashes and nothing can hide in white space, member order or escapes.
//! 3. **No checkpoint contradicts an earlier one.** Only
//!    [`checkpoint::CheckpointIssuer`] signs, and it demands a consistency
//!    proof from what it signed last.
//! 4. **Batches do not show.** Any split of the same appends gives the same
//!    roots, proofs and tile bytes.
//! 5. **Verification is total.** Every index and size of `u64` gets an answer;
//!    hostile input costs at most its own length.
//! 6. **fsck names a place.** A changed, removed, swapped or cut entry is
//!    reported with its index, not only as "root differs".
//!
//! # What it does not know
//!
//! Files, sockets, clocks, randomness and keys. Tiles come through
//! [`tile::TileSource`], signatures through [`note::NoteSigner`], times as
//! integers. It does not know what a payload means, who may read it, or when a
//! log may be pruned. It cannot tell that a whole log was replaced by an older
//! signed state of itself: that needs a checkpoint kept elsewhere, which
//! [`fsck::Fsck::with_known`] takes.

mod base64;
pub mod checkpoint;
pub mod cosign;
pub mod entry;
pub mod fsck;
pub mod merkle;
pub mod note;
pub mod proof;
pub mod tile;
