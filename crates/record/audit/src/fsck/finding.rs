//! What can be wrong, and where.

use std::fmt;
use std::ops::Range;

use super::FINDINGS_MAX;
use crate::checkpoint::CheckpointError;
use crate::entry::LeafError;
use crate::merkle::{Hash, TreeSize};
use crate::tile::{TILE_WIDTH, TileId, TileKind, nodes_at};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The entries it concerns, by index; empty where it concerns none.
    pub entries: Range<u64>,
    /// What is wrong.
    pub kind: FindingKind,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// What stands for the entries that were pruned is not what the tree has there.
    BaseMismatch,
    /// The entry bundle of these entries is missing.
    BundleMissing,
    /// The checkpoint is malformed, of another log or not signed by its key.
    CheckpointInvalid {
        /// Why.
        error: CheckpointError,
    },
    /// There is no checkpoint.
    CheckpointMissing,
    /// The log ends before a checkpoint that was seen elsewhere.
    CheckpointRolledBack {
        /// Size of the checkpoint that was seen.
        seen: TreeSize,
    },
    /// The log is not shown to extend a checkpoint that was seen elsewhere.
    CheckpointRewritten {
        /// Size of the checkpoint that was seen.
        seen: TreeSize,
    },
    /// These entries stand at other positions than the tree has them, because
    /// entries before them were removed or inserted.
    EntriesShifted,
    /// The entry is not the one the tree has.
    EntryChanged {
        /// Leaf hash in the tree.
        expected: Hash,
        /// Leaf hash of the entry.
        found: Hash,
    },
    /// An entry that the tree does not have stands at this position.
    EntryInserted,
    /// The entry stands at another position.
    EntryMoved {
        /// Where it stands.
        to: u64,
    },
    /// The entries are gone from their bundle.
    EntryRemoved,
    /// The entry and another one stand in each other's place.
    EntrySwapped {
        /// The other one.
        with: u64,
    },
    /// The bundle ends before or inside these entries.
    EntryTruncated,
    /// The entry is not a leaf in canonical form.
    LeafInvalid {
        /// Why.
        error: LeafError,
    },
    /// A member that never decreases is below its predecessor.
    OrderBroken {
        /// Name of the member.
        field: &'static str,
        /// Value in the leaf before.
        before: u64,
        /// Value in this leaf.
        found: u64,
    },
    /// The entries and tiles do not give the root of the checkpoint.
    RootMismatch,
    /// The tenant's numbering has a gap or a repetition here.
    TenantSeqBroken {
        /// The tenant.
        tenant_ref: String,
        /// The next number.
        expected: u64,
        /// The number in the leaf.
        found: u64,
    },
    /// A hash in a tile is not the one over these entries.
    TileHashChanged {
        /// Level of the tile.
        level: u8,
        /// Index of the tile in its level.
        tile: u64,
        /// Position of the hash in the tile.
        slot: u16,
    },
    /// A tile file has the wrong length.
    TileLength {
        /// Level of the tile.
        level: u8,
        /// Index of the tile in its level.
        tile: u64,
        /// Length in bytes.
        found: usize,
    },
    /// A tile file is missing.
    TileMissing {
        /// Level of the tile.
        level: u8,
        /// Index of the tile in its level.
        tile: u64,
    },
}

impl Finding {
    pub(super) fn at(index: u64, kind: FindingKind) -> Self {
        Self {
            entries: index..index.saturating_add(1),
            kind,
        }
    }
}

impl Finding {
    /// The file it is found in, below the folder of a log of `size` entries. None where several may be meant: entries
    /// and tiles that agree with each other and not with the checkpoint.
    #[must_use]
    pub fn file(&self, size: TreeSize) -> Option<String> {
        let place = match &self.kind {
            FindingKind::CheckpointInvalid { .. }
            | FindingKind::CheckpointMissing
            | FindingKind::CheckpointRewritten { .. }
            | FindingKind::CheckpointRolledBack { .. } => return Some("checkpoint".to_owned()),
            FindingKind::BaseMismatch | FindingKind::RootMismatch => return None,
            FindingKind::TileHashChanged { level, tile, .. }
            | FindingKind::TileLength { level, tile, .. }
            | FindingKind::TileMissing { level, tile } => (TileKind::Hashes(*level), *level, *tile),
            _ => (TileKind::Entries, 0, self.entries.start / u64::from(TILE_WIDTH)),
        };
        let (kind, level, index) = place;
        let before = index.saturating_mul(TILE_WIDTH.into());
        let there = nodes_at(size, level)
            .saturating_sub(before)
            .min(TILE_WIDTH.into());
        Some(TileId::new(kind, index, u16::try_from(there).ok()?)?.path())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.entries;
        match end.saturating_sub(start) {
            0 => {}
            1 => write!(out, "entry {start}: ")?,
            _ => write!(out, "entries {start} to {}: ", end - 1)?,
        }
        match &self.kind {
            FindingKind::BaseMismatch => {
                out.write_str("pruned, and what stands for them is not what the tree has there")
            }
            FindingKind::BundleMissing => out.write_str("the entry bundle is missing"),
            FindingKind::CheckpointInvalid { error } => write!(out, "checkpoint: {error}"),
            FindingKind::CheckpointMissing => out.write_str("there is no checkpoint"),
            FindingKind::CheckpointRolledBack { seen } => {
                write!(out, "missing, although a checkpoint of size {seen} was seen")
            }
            FindingKind::CheckpointRewritten { seen } => {
                write!(
                    out,
                    "not shown to be the ones in a checkpoint of size {seen} that was seen"
                )
            }
            FindingKind::EntriesShifted => out.write_str("shifted against the tree"),
            FindingKind::EntryChanged { .. } => out.write_str("changed"),
            FindingKind::EntryInserted => out.write_str("inserted, the tree does not have it"),
            FindingKind::EntryMoved { to } => write!(out, "moved to position {to}"),
            FindingKind::EntryRemoved => out.write_str("removed"),
            FindingKind::EntrySwapped { with } => write!(out, "swapped with entry {with}"),
            FindingKind::EntryTruncated => out.write_str("cut off at the end of the bundle"),
            FindingKind::LeafInvalid { error } => write!(out, "{error}"),
            FindingKind::OrderBroken { field, before, found } => {
                write!(out, "`{field}` goes back from {before} to {found}")
            }
            FindingKind::RootMismatch => out.write_str("the log does not give the root of its checkpoint"),
            FindingKind::TenantSeqBroken {
                tenant_ref,
                expected,
                found,
            } => {
                write!(
                    out,
                    "tenant `{tenant_ref}` has number {found} where {expected} is next"
                )
            }
            FindingKind::TileHashChanged { level, tile, slot } => {
                write!(
                    out,
                    "hash {slot} of tile {tile} on level {level} is not the one over them"
                )
            }
            FindingKind::TileLength { level, tile, found } => {
                write!(out, "tile {tile} on level {level} has {found} bytes")
            }
            FindingKind::TileMissing { level, tile } => {
                write!(out, "tile {tile} on level {level} is missing")
            }
        }
    }
}

/// Findings up to the limit, and the number of those above it.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) list: Vec<Finding>,
    pub(super) dropped: u64,
}

impl Findings {
    pub(super) fn push(&mut self, finding: Finding) {
        if self.list.len() < FINDINGS_MAX {
            self.list.push(finding);
        } else {
            self.dropped += 1;
        }
    }

    pub(super) fn append(&mut self, other: Self) {
        self.dropped += other.dropped;
        for finding in other.list {
            self.push(finding);
        }
    }
}
