//! The log as files (C2SP tlog-tiles): names, entry bundles, the writer that
//! turns appends into files, and the prover that turns files into proofs.
//!
//! A hash tile of level `L` holds the roots of 256 neighbouring complete
//! subtrees of 256^L entries; an entry bundle holds 256 entries. The last one
//! of each level may be partial (`.p/<W>`, 1 to 255 wide); there are no empty
//! ones.

mod bundle;
mod name;
mod prover;
mod writer;

pub use bundle::{BundleError, Entries, EntryTooLongError, push_entry};
pub use name::{TileId, TileKind, TileNameError, tiles_below, tiles_between, tiles_kept};
pub use prover::{ExpandedTile, Prover, TileReadError, TileReader};
pub use writer::{AppendError, ResumeError, TileFile, TileWriter};

use crate::merkle::{HASH_LEN, Hash, TreeSize, next_row};

/// Hashes per full hash tile and entries per full bundle.
pub const TILE_WIDTH: u16 = 256;

/// Levels of tiles that a tree of at most `u64::MAX` entries can have.
pub(crate) const LEVELS: u8 = 8;

/// Where tile files come from: a folder, an archive, an HTTP client, a map.
pub trait TileSource {
    /// Why a file could not be read.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The bytes at `path` (for example `tile/0/x001/234`, `tile/entries/000.p/5`
    /// or `checkpoint`), or `None` when there is no such file.
    ///
    /// # Errors
    /// When the file is there but cannot be read.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// Number of complete subtrees of 256^level entries in a tree of `size`.
pub(crate) fn nodes_at(size: TreeSize, level: u8) -> u64 {
    size.checked_shr(8 * u32::from(level)).unwrap_or(0)
}

/// Width of the partial tile at `level`; 0 when there is none.
pub(crate) fn partial_width(size: TreeSize, level: u8) -> u16 {
    u16::from(nodes_at(size, level).to_le_bytes()[0])
}

/// The hashes of a tile, and how many bytes are left over at the end.
pub(crate) fn tile_hashes(bytes: &[u8]) -> (&[Hash], usize) {
    let (hashes, rest) = bytes.as_chunks::<HASH_LEN>();
    (hashes, rest.len())
}

/// Root over a full tile (exactly 256 hashes); `None` for any other width.
pub(crate) fn full_tile_root(hashes: &[Hash]) -> Option<Hash> {
    if hashes.len() != usize::from(TILE_WIDTH) {
        return None;
    }
    let mut row = next_row(hashes);
    while row.len() > 1 {
        row = next_row(&row);
    }
    row.first().copied()
}

/// Roots of the complete subtrees inside a partial tile, largest first.
pub(crate) fn tile_peaks(hashes: &[Hash]) -> Vec<Hash> {
    let mut peaks = Vec::with_capacity(8);
    let mut rest = hashes;
    while !rest.is_empty() {
        let width = 1_usize << rest.len().ilog2();
        let (subtree, next) = rest.split_at_checked(width).unwrap_or((rest, &[]));
        let mut row = subtree.to_vec();
        while row.len() > 1 {
            row = next_row(&row);
        }
        peaks.extend(row.first());
        rest = next;
    }
    peaks
}
