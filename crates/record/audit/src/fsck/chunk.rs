//! One chunk: up to 256 bundles, their level-0 tiles and the level-1 tile above.

use super::diagnose::{Near, diagnose};
use super::finding::{Finding, FindingKind, Findings};
use super::sequence::Run;
use super::{Content, Fsck};
use crate::entry::RawLeaf;
use crate::merkle::{Hash, leaf_hash};
use crate::tile::{
    Entries, TILE_WIDTH, TileId, TileKind, TileReadError, TileSource, full_tile_root, partial_width,
    tile_hashes,
};

/// What one chunk came to; for [`Fsck::finish`].
#[derive(Debug)]
pub struct ChunkReport {
    pub(super) chunk: u64,
    pub(super) entries: u64,
    pub(super) findings: Findings,
    pub(super) run: Option<Run>,
    pub(super) top: Top,
}

/// What a chunk hands to the levels above.
#[derive(Debug)]
pub(super) enum Top {
    /// All 65,536 entries: the chunk's root.
    Full(Node),
    /// The right edge: what is in its partial tiles.
    Edge {
        level_0: Row,
        level_1: Row,
        last_bundle: LastBundle,
    },
}

/// A node as the entries give it, and as the tile file gives it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) computed: Hash,
    pub(super) file: Option<Hash>,
    /// Its entries were pruned: the tile above says what it is.
    pub(super) is_pruned: bool,
}

impl Node {
    /// A node whose entries were pruned.
    pub(super) const PRUNED: Self = Self {
        computed: [0; 32],
        file: None,
        is_pruned: true,
    };
}

/// The hashes of a partial tile, as computed and as the file has them.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) computed: Vec<Hash>,
    pub(super) file: Option<Vec<Hash>>,
}

/// The last bundle has no tile above it to decide who is wrong; the root does.
#[derive(Debug, Default)]
pub(super) struct LastBundle {
    pub(super) if_entries_wrong: Vec<Finding>,
    pub(super) if_tile_wrong: Vec<Finding>,
}

impl Row {
    /// No partial tile on this level.
    pub(super) fn empty() -> Self {
        Self {
            computed: Vec::new(),
            file: Some(Vec::new()),
        }
    }
}

impl ChunkReport {
    /// Whether not one entry of the chunk was there.
    pub(super) fn is_absent(&self) -> bool {
        self.entries == 0 && !matches!(self.top, Top::Full(Node { is_pruned: true, .. }))
    }
}

/// The entries of one bundle as they were read.
struct Bundle {
    hashes: Vec<Hash>,
    is_missing: bool,
    /// The bundle ends inside an entry.
    is_cut: bool,
}

pub(super) fn scan<S: TileSource>(fsck: &Fsck<'_, S>, chunk: u64) -> Result<ChunkReport, TileReadError> {
    let size = fsck.checkpoint.size;
    if chunk < fsck.base.minimum / super::CHUNK_ENTRIES {
        return Ok(ChunkReport {
            chunk,
            entries: 0,
            findings: Findings::default(),
            run: None,
            top: Top::Full(Node::PRUNED),
        });
    }
    let run = match fsck.content {
        Content::Leaves(order) => Some(Run::new(order)),
        Content::Opaque => None,
    };
    let mut scanner = Scanner {
        fsck,
        findings: Findings::default(),
        run,
        entries: 0,
    };
    let first = chunk.saturating_mul(TILE_WIDTH.into());
    let full = (size / u64::from(TILE_WIDTH))
        .saturating_sub(first)
        .min(TILE_WIDTH.into());
    let width = u16::try_from(full).unwrap_or(TILE_WIDTH);
    let parents = scanner.tile(1, chunk, width)?;
    let mut roots = Vec::with_capacity(usize::from(width));
    for (slot, bundle) in (0..width).zip(first..) {
        let parent = parents
            .as_deref()
            .and_then(|row| row.get(usize::from(slot)).copied());
        if bundle < fsck.base.minimum / u64::from(TILE_WIDTH) {
            roots.push(parent.unwrap_or_default());
            continue;
        }
        roots.push(scanner.full_bundle(bundle, parent, (chunk, slot))?);
    }
    let top = if width == TILE_WIDTH {
        let computed = full_tile_root(&roots).unwrap_or_default();
        Top::Full(Node {
            computed,
            file: parents.as_deref().and_then(full_tile_root),
            is_pruned: false,
        })
    } else {
        let (level_0, last_bundle) = scanner.last_bundle(partial_width(size, 0))?;
        Top::Edge {
            level_0,
            level_1: Row {
                computed: roots,
                file: parents,
            },
            last_bundle,
        }
    };
    let Scanner {
        findings,
        run,
        entries,
        ..
    } = scanner;
    Ok(ChunkReport {
        chunk,
        entries,
        findings,
        run,
        top,
    })
}

struct Scanner<'f, 'a, S> {
    fsck: &'f Fsck<'a, S>,
    findings: Findings,
    run: Option<Run>,
    entries: u64,
}

impl<S: TileSource> Scanner<'_, '_, S> {
    /// A hash tile, or `None` with a finding when it is unusable.
    fn tile(&mut self, level: u8, tile: u64, width: u16) -> Result<Option<Vec<Hash>>, TileReadError> {
        read_tile(self.fsck, level, tile, width, &mut self.findings)
    }

    /// Checks a full bundle and returns the node above it: the one the tile
    /// above has where anything confirms it, else what the entries give.
    fn full_bundle(
        &mut self,
        index: u64,
        parent: Option<Hash>,
        above: (u64, u16),
    ) -> Result<Hash, TileReadError> {
        let base = index.saturating_mul(TILE_WIDTH.into());
        let bundle = self.read_bundle(index, TILE_WIDTH)?;
        let tile = self.tile(0, index, TILE_WIDTH)?;
        let entries_root = full_tile_root(&bundle.hashes);
        if let (Some(root), Some(tile)) = (entries_root, &tile)
            && bundle.hashes == *tile
        {
            self.compare_parent(base, root, parent, above);
            return Ok(root);
        }
        let tile_root = tile.as_deref().and_then(full_tile_root);
        let entries_right = entries_root.is_some() && entries_root == parent;
        let (as_entries, as_tile) = self.compare(index, &bundle, tile.as_deref())?;
        for finding in if entries_right { as_tile } else { as_entries } {
            self.findings.push(finding);
        }
        let candidates = [entries_root, tile_root];
        match parent {
            Some(parent) if candidates.contains(&Some(parent)) => Ok(parent),
            _ => {
                let root = entries_root.or(tile_root).or(parent).unwrap_or_default();
                self.compare_parent(base, root, parent, above);
                Ok(root)
            }
        }
    }

    fn compare_parent(&mut self, base: u64, root: Hash, parent: Option<Hash>, (tile, slot): (u64, u16)) {
        if parent.is_some_and(|parent| parent != root) {
            let entries = base..base.saturating_add(TILE_WIDTH.into());
            self.findings.push(Finding {
                entries,
                kind: FindingKind::TileHashChanged { level: 1, tile, slot },
            });
        }
    }

    /// The partial bundle at the end of the log.
    fn last_bundle(&mut self, width: u16) -> Result<(Row, LastBundle), TileReadError> {
        if width == 0 {
            return Ok((Row::empty(), LastBundle::default()));
        }
        let index = self.fsck.checkpoint.size / u64::from(TILE_WIDTH);
        let bundle = self.read_bundle(index, width)?;
        let file = self.tile(0, index, width)?;
        let mut last = LastBundle::default();
        if file.as_ref() != Some(&bundle.hashes) {
            (last.if_entries_wrong, last.if_tile_wrong) = self.compare(index, &bundle, file.as_deref())?;
        }
        Ok((
            Row {
                computed: bundle.hashes,
                file,
            },
            last,
        ))
    }

    /// What is wrong with a bundle that is not the one of its tile: if the
    /// entries are to blame, and if the tile is.
    fn compare(
        &self,
        index: u64,
        bundle: &Bundle,
        tile: Option<&[Hash]>,
    ) -> Result<(Vec<Finding>, Vec<Finding>), TileReadError> {
        let base = index.saturating_mul(TILE_WIDTH.into());
        let width = self.width_of(index);
        if bundle.is_missing {
            let entries = base..base.saturating_add(width.into());
            return Ok((
                vec![Finding {
                    entries,
                    kind: FindingKind::BundleMissing,
                }],
                Vec::new(),
            ));
        }
        let Some(expected) = tile else {
            // Without a tile only the number of entries can be judged here.
            let found = u64::try_from(bundle.hashes.len()).unwrap_or(u64::MAX);
            let entries = base.saturating_add(found)..base.saturating_add(width.into());
            let short = !entries.is_empty();
            let findings = Vec::from_iter(short.then_some(Finding {
                entries,
                kind: FindingKind::EntryTruncated,
            }));
            return Ok((findings, Vec::new()));
        };
        let near = self.near(index)?;
        let as_entries = diagnose(base, expected, &bundle.hashes, &near, bundle.is_cut);
        let pairs = expected.iter().zip(&bundle.hashes).zip(0_u16..);
        let as_tile = pairs.filter(|((tile, entry), _)| tile != entry).map(|(_, slot)| {
            let kind = FindingKind::TileHashChanged {
                level: 0,
                tile: index,
                slot,
            };
            Finding::at(base.saturating_add(slot.into()), kind)
        });
        Ok((as_entries, as_tile.collect()))
    }

    fn width_of(&self, index: u64) -> u16 {
        let size = self.fsck.checkpoint.size;
        if index < size / u64::from(TILE_WIDTH) {
            TILE_WIDTH
        } else {
            partial_width(size, 0)
        }
    }

    /// What stands in the bundles and tiles beside `index`.
    fn near(&self, index: u64) -> Result<Near, TileReadError> {
        let mut near = Near::default();
        let mut ignored = Findings::default();
        for beside in [index.checked_sub(1), index.checked_add(1)].into_iter().flatten() {
            let width = self.width_of(beside);
            let Some(id) = TileId::new(TileKind::Entries, beside, width) else {
                continue;
            };
            if beside > self.fsck.checkpoint.size / u64::from(TILE_WIDTH)
                || id.is_below(self.fsck.base.minimum)
            {
                continue;
            }
            if let Some((bytes, _)) = self.fsck.reader().read(id)? {
                near.entries.extend(
                    Entries::new(&bytes)
                        .map_while(Result::ok)
                        .map(|entry| leaf_hash(entry).0),
                );
            }
            near.tiles.extend(
                read_tile(self.fsck, 0, beside, width, &mut ignored)?
                    .into_iter()
                    .flatten(),
            );
        }
        Ok(near)
    }

    /// Reads a bundle, hashes its entries and checks each leaf.
    fn read_bundle(&mut self, index: u64, width: u16) -> Result<Bundle, TileReadError> {
        let mut bundle = Bundle {
            hashes: Vec::with_capacity(usize::from(width)),
            is_missing: false,
            is_cut: false,
        };
        let id = TileId::new(TileKind::Entries, index, width);
        let file = id.map_or(Ok(None), |id| self.fsck.reader().read(id))?;
        let Some((bytes, in_place_of_partial)) = file else {
            bundle.is_missing = true;
            return Ok(bundle);
        };
        let base = index.saturating_mul(TILE_WIDTH.into());
        for (position, entry) in (base..).zip(Entries::new(&bytes)) {
            // The full bundle that replaced a partial one goes on beyond it.
            if in_place_of_partial && bundle.hashes.len() == usize::from(width) {
                break;
            }
            let Ok(entry) = entry else {
                bundle.is_cut = true;
                break;
            };
            bundle.hashes.push(leaf_hash(entry).0);
            // The bundle in which the log begins also has leaves in front of it.
            if position >= self.fsck.base.minimum
                && let Some(run) = &mut self.run
            {
                match RawLeaf::scan(entry) {
                    Ok(leaf) => run.observe(position, &leaf, &mut self.findings),
                    Err(error) => {
                        self.findings
                            .push(Finding::at(position, FindingKind::LeafInvalid { error }));
                    }
                }
            }
        }
        self.entries += u64::try_from(bundle.hashes.len()).unwrap_or(0);
        Ok(bundle)
    }
}

/// A hash tile, or `None` with a finding when it is missing or has the wrong
/// length. A tile of width 0 has no hashes and no file.
pub(super) fn read_tile<S: TileSource>(
    fsck: &Fsck<'_, S>,
    level: u8,
    tile: u64,
    width: u16,
    findings: &mut Findings,
) -> Result<Option<Vec<Hash>>, TileReadError> {
    let reach = 1_u64.checked_shl(8 * u32::from(level)).unwrap_or(u64::MAX);
    let start = tile.saturating_mul(TILE_WIDTH.into()).saturating_mul(reach);
    let entries = start..start.saturating_add(u64::from(width).saturating_mul(reach));
    match fsck.reader().read_hashes(level, tile, width) {
        Ok(bytes) => Ok(Some(tile_hashes(&bytes).0.to_vec())),
        Err(TileReadError::Length { found, .. }) => {
            findings.push(Finding {
                entries,
                kind: FindingKind::TileLength { level, tile, found },
            });
            Ok(None)
        }
        Err(
            TileReadError::Missing { .. } | TileReadError::Mismatch { .. } | TileReadError::Outside { .. },
        ) => {
            findings.push(Finding {
                entries,
                kind: FindingKind::TileMissing { level, tile },
            });
            Ok(None)
        }
        Err(error @ TileReadError::Source { .. }) => Err(error),
    }
}
