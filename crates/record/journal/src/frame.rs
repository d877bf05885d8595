//! An entry as bytes in a segment, and the header of a segment. All numbers are big-endian.
//!
//! ```text
//! frame    0  4  magic "BwF1"
//!          4  4  length of the leaf
//!          8  4  length of the sealed payload
//!         12  4  zero
//!         16  8  index of the entry
//!         24  8  index of the first entry of the same flush: everything before it was
//!                durable when this frame was written
//!         32 32  sum of the frame before
//!         64 32  sum = SHA-256(bytes 0..64 ‖ leaf hash ‖ SHA-256(sealed payload))
//!         96  …  leaf, sealed payload
//!
//! header   0  8  magic "BwSeg01\n"
//!          8  8  ordinal of the segment, from 0
//!         16  8  index of its first entry
//!         24  8  bytes of the file
//!         32 32  sum of the last frame of the segment before; for the first one made from the origin
//!         64 32  SHA-256 of bytes 0..64
//!         96  …  zero, to byte 4096
//! ```
//!
//! A frame carries the sum of its predecessor, so it verifies on its own and also tells its one place.

use bailiwick_audit::merkle::{LeafHash, leaf_hash};
use bailiwick_base::limits::LEAF_MAX;
use bailiwick_base::{Digest, Sha256};

/// Bytes in front of the leaf.
pub(crate) const FRAME_HEAD: usize = 96;
/// Bytes of a frame's head that its sum covers.
const FRAME_SUMMED: usize = 64;
/// Where the first frame of a segment begins.
pub(crate) const SEGMENT_HEAD: u64 = 4096;
/// Longest sealed payload in bytes.
pub(crate) const SEALED_MAX: usize = 128 * 1024;
/// Longest frame in bytes.
pub(crate) const FRAME_MAX: usize = FRAME_HEAD + LEAF_MAX + SEALED_MAX;

pub(crate) const FRAME_MAGIC: [u8; 4] = *b"BwF1";
const SEGMENT_MAGIC: [u8; 8] = *b"BwSeg01\n";
const HEADER_SUMMED: usize = 64;
const HEADER_LEN: usize = 96;

/// The fixed part of a frame, as read. Lengths are within their limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) leaf_len: usize,
    pub(crate) sealed_len: usize,
    pub(crate) index: u64,
    pub(crate) flush: u64,
    pub(crate) before: Digest,
    pub(crate) sum: Digest,
}

impl FrameHead {
    /// Reads a head; `None` unless magic and lengths are those of a frame.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let head = bytes.first_chunk::<FRAME_HEAD>()?;
        let (magic, rest) = head.split_first_chunk::<4>()?;
        let (leaf_len, rest) = split_u32(rest)?;
        let (sealed_len, rest) = split_u32(rest)?;
        let (zero, rest) = split_u32(rest)?;
        let (index, rest) = split_u64(rest)?;
        let (flush, rest) = split_u64(rest)?;
        let (before, rest) = split_digest(rest)?;
        let (sum, _) = split_digest(rest)?;
        let fits = (1..=LEAF_MAX).contains(&leaf_len) && sealed_len <= SEALED_MAX;
        (*magic == FRAME_MAGIC && zero == 0 && fits && flush <= index).then_some(Self {
            leaf_len,
            sealed_len,
            index,
            flush,
            before,
            sum,
        })
    }

    /// Bytes of the whole frame.
    pub(crate) fn len(&self) -> usize {
        FRAME_HEAD + self.leaf_len + self.sealed_len
    }
}

/// A whole frame as read, its sum verified.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) head: FrameHead,
    pub(crate) leaf: &'a [u8],
    pub(crate) sealed: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Splits a frame without verifying its sum.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let head = FrameHead::parse(bytes)?;
        let body = bytes.get(FRAME_HEAD..head.len())?;
        let (leaf, sealed) = body.split_at_checked(head.leaf_len)?;
        Some(Self { head, leaf, sealed })
    }

    /// Reads and verifies a frame that stands at the start of `bytes`, wherever it belongs.
    pub(crate) fn verify(bytes: &'a [u8]) -> Option<(Self, LeafHash)> {
        let frame = Self::parse(bytes)?;
        let summed = bytes.get(..FRAME_SUMMED)?;
        let hash = leaf_hash(frame.leaf);
        (frame_sum(summed, &hash.0, &Digest::of(frame.sealed)) == frame.head.sum).then_some((frame, hash))
    }
}

fn frame_sum(summed: &[u8], leaf_hash: &[u8; 32], sealed: &Digest) -> Digest {
    let mut bytes = [0_u8; FRAME_SUMMED + 64];
    let parts = summed.iter().chain(leaf_hash).chain(&sealed.0);
    for (to, from) in bytes.iter_mut().zip(parts) {
        *to = *from;
    }
    Digest::of(&bytes)
}

/// What a new frame is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewFrame<'a> {
    pub(crate) index: u64,
    pub(crate) flush: u64,
    pub(crate) before: Digest,
    pub(crate) leaf: &'a [u8],
    pub(crate) sealed: &'a [u8],
    /// SHA-256 of `sealed`, made on the caller's side.
    pub(crate) sealed_digest: Digest,
}

impl NewFrame<'_> {
    /// Appends the frame to `out` and returns its sum. The lengths were checked before.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Digest {
        let start = out.len();
        out.extend_from_slice(&FRAME_MAGIC);
        for length in [self.leaf.len(), self.sealed.len(), 0] {
            out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
        out.extend_from_slice(&self.index.to_be_bytes());
        out.extend_from_slice(&self.flush.to_be_bytes());
        out.extend_from_slice(&self.before.0);
        let summed = out.get(start..).unwrap_or_default();
        let sum = frame_sum(summed, &leaf_hash(self.leaf).0, &self.sealed_digest);
        out.extend_from_slice(&sum.0);
        out.extend_from_slice(self.leaf);
        out.extend_from_slice(self.sealed);
        sum
    }

    /// Bytes that [`NewFrame::write`] will append.
    pub(crate) fn len(leaf: usize, sealed: usize) -> usize {
        FRAME_HEAD + leaf + sealed
    }
}

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHead {
    pub(crate) ordinal: u64,
    pub(crate) first: u64,
    pub(crate) bytes: u64,
    pub(crate) before: Digest,
}

impl SegmentHead {
    /// Reads and verifies a header from the first page.
    pub(crate) fn parse(page: &[u8]) -> Option<Self> {
        let (bytes, zeros) = page.split_at_checked(HEADER_LEN)?;
        let summed = bytes.get(..HEADER_SUMMED)?;
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (ordinal, rest) = split_u64(rest)?;
        let (first, rest) = split_u64(rest)?;
        let (bytes, rest) = split_u64(rest)?;
        let (before, rest) = split_digest(rest)?;
        let (sum, _) = split_digest(rest)?;
        let whole =
            *magic == SEGMENT_MAGIC && Digest::of(summed) == sum && zeros.iter().all(|byte| *byte == 0);
        whole.then_some(Self {
            ordinal,
            first,
            bytes,
            before,
        })
    }

    /// The header as bytes, padded to [`SEGMENT_HEAD`].
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4096);
        out.extend_from_slice(&SEGMENT_MAGIC);
        out.extend_from_slice(&self.ordinal.to_be_bytes());
        out.extend_from_slice(&self.first.to_be_bytes());
        out.extend_from_slice(&self.bytes.to_be_bytes());
        out.extend_from_slice(&self.before.0);
        let sum = Digest::of(&out);
        out.extend_from_slice(&sum.0);
        debug_assert_eq!(out.len(), HEADER_LEN);
        out.resize(4096, 0);
        out
    }
}

/// What stands in for the sum of a frame before the first one.
pub(crate) fn genesis(origin: &str) -> Digest {
    let mut sha = Sha256::new();
    sha.update(b"bailiwick decision log v1\n");
    sha.update_field(origin.as_bytes());
    sha.finish()
}

fn split_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (value, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_be_bytes(*value)).ok()?, rest))
}

fn split_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (value, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*value), rest))
}

fn split_digest(bytes: &[u8]) -> Option<(Digest, &[u8])> {
    let (value, rest) = bytes.split_first_chunk::<32>()?;
    Some((Digest(*value), rest))
}
