//! Joining the chunks: upper levels, root, order across chunks, and what was
//! seen of the log elsewhere.

use std::collections::BTreeMap;

use super::Fsck;
use super::chunk::{ChunkReport, LastBundle, Node, Row, Top, read_tile};
use super::finding::{Finding, FindingKind, Findings};
use super::sequence::Joined;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::merkle::{EMPTY_ROOT, Frontier, Hash, TreeSize, fold_peaks, root_at};
use crate::tile::{LEVELS, Prover, TILE_WIDTH, TileReadError, TileSource, full_tile_root, tile_peaks};

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsckReport {
    /// Number of entries the checkpoint has.
    pub size: TreeSize,
    /// Number of entries that were read.
    pub entries: u64,
    /// What is wrong, by position; nothing for a sound log.
    pub findings: Vec<Finding>,
    /// Number of findings above [`super::FINDINGS_MAX`] that are not listed.
    pub dropped: u64,
    /// Number of known checkpoints in front of the base that can no longer be compared.
    pub skipped: u64,
}

impl FsckReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.dropped == 0
    }

    pub(super) fn only(finding: Finding) -> Self {
        Self {
            size: 0,
            entries: 0,
            findings: vec![finding],
            dropped: 0,
            skipped: 0,
        }
    }
}

pub(super) fn finish<S: TileSource>(
    fsck: &Fsck<'_, S>,
    chunks: Vec<ChunkReport>,
) -> Result<FsckReport, TileReadError> {
    let mut findings = Findings::default();
    let mut joined = Joined::behind(&fsck.base);
    let mut nodes = Vec::new();
    let mut rows = vec![Row::empty(), Row::empty()];
    let mut last_bundle = LastBundle::default();
    let mut entries = 0;
    let mut next = 0;
    for chunk in chunks {
        // A chunk left out by the caller must not look like a sound one.
        if chunk.chunk != next {
            findings.push(Finding {
                entries: chunk_entries(next, chunk.chunk),
                kind: FindingKind::BundleMissing,
            });
        }
        next = chunk.chunk.saturating_add(1);
        entries += chunk.entries;
        findings.append(chunk.findings);
        if let Some(run) = chunk.run {
            joined.join(run, &mut findings);
        }
        match chunk.top {
            Top::Full(node) => nodes.push(node),
            Top::Edge {
                level_0,
                level_1,
                last_bundle: last,
            } => {
                rows = vec![level_0, level_1];
                last_bundle = last;
            }
        }
    }
    if next != fsck.chunks() {
        findings.push(Finding {
            entries: chunk_entries(next, fsck.chunks()),
            kind: FindingKind::BundleMissing,
        });
    }
    for level in 2..LEVELS {
        nodes = climb(fsck, level, nodes, &mut rows, &mut findings)?;
    }
    judge_root(fsck, &rows, last_bundle, &mut findings);
    let skipped = judge_known(fsck, &mut findings);
    judge_base(fsck, &mut findings);
    let Findings { list, dropped } = findings;
    Ok(FsckReport {
        size: fsck.checkpoint.size,
        entries,
        findings: tidy(list),
        dropped,
        skipped,
    })
}

fn chunk_entries(from: u64, to: u64) -> std::ops::Range<u64> {
    from.saturating_mul(super::CHUNK_ENTRIES)..to.saturating_mul(super::CHUNK_ENTRIES)
}

/// Compares the nodes of one level with its tiles. Returns the nodes of the
/// level above and leaves the partial tile in `rows`.
fn climb<S: TileSource>(
    fsck: &Fsck<'_, S>,
    level: u8,
    nodes: Vec<Node>,
    rows: &mut Vec<Row>,
    findings: &mut Findings,
) -> Result<Vec<Node>, TileReadError> {
    let mut above = Vec::new();
    let reach = 1_u64.checked_shl(8 * u32::from(level)).unwrap_or(u64::MAX);
    let width = usize::from(TILE_WIDTH);
    let mut edge = Row::empty();
    for (tile, group) in (0_u64..).zip(nodes.chunks(width)) {
        if group.len() == width && group.iter().all(|node| node.is_pruned) {
            above.push(Node::PRUNED);
            continue;
        }
        let file = read_tile(
            fsck,
            level,
            tile,
            u16::try_from(group.len()).unwrap_or(TILE_WIDTH),
            findings,
        )?;
        let mut computed = Vec::with_capacity(group.len());
        for (slot, node) in (0_u16..).zip(group) {
            let in_file = file
                .as_ref()
                .and_then(|file| file.get(usize::from(slot)).copied());
            computed.push(match in_file {
                Some(hash) if node.is_pruned => hash,
                Some(hash) if hash == node.computed || Some(hash) == node.file => hash,
                Some(_) => {
                    let start = tile.saturating_mul(TILE_WIDTH.into()).saturating_add(slot.into());
                    let start = start.saturating_mul(reach);
                    let entries = start..start.saturating_add(reach);
                    findings.push(Finding {
                        entries,
                        kind: FindingKind::TileHashChanged { level, tile, slot },
                    });
                    node.computed
                }
                None => node.computed,
            });
        }
        match full_tile_root(&computed) {
            Some(root) => above.push(Node {
                computed: root,
                file: file.as_deref().and_then(full_tile_root),
                is_pruned: false,
            }),
            None => edge = Row { computed, file },
        }
    }
    rows.push(edge);
    Ok(above)
}

/// The root over the partial tiles, taking each from the entries or, where a
/// bit of `from_file` says so, from its file.
fn root_of(rows: &[Row], from_file: u32) -> Hash {
    let mut peaks = Vec::new();
    for (level, row) in rows.iter().enumerate().rev() {
        let file = row.file.as_deref().filter(|_| from_file >> level & 1 == 1);
        peaks.extend(tile_peaks(file.unwrap_or(&row.computed)));
    }
    fold_peaks(&peaks).unwrap_or(EMPTY_ROOT.0)
}

/// Finds a choice of entries or files, level by level, that gives the signed
/// root: it tells which of the two was altered where they disagree.
fn judge_root<S: TileSource>(fsck: &Fsck<'_, S>, rows: &[Row], last: LastBundle, findings: &mut Findings) {
    let differing = (0_u32..)
        .zip(rows)
        .filter(|(_, row)| row.file.as_ref().is_some_and(|f| *f != row.computed));
    let mut choices = vec![0_u32];
    for (level, _) in differing {
        let with: Vec<u32> = choices.iter().map(|choice| choice | 1 << level).collect();
        choices.extend(with);
    }
    let choice = choices
        .into_iter()
        .find(|choice| root_of(rows, *choice) == fsck.checkpoint.root.0);
    let tile_wrong = choice.is_some_and(|choice| choice & 1 == 0);
    for finding in if tile_wrong {
        last.if_tile_wrong
    } else {
        last.if_entries_wrong
    } {
        findings.push(finding);
    }
    if choice.is_none() {
        findings.push(Finding {
            entries: 0..fsck.checkpoint.size,
            kind: FindingKind::RootMismatch,
        });
    }
}

/// Does the base stand for the entries that the tree has in front of it?
fn judge_base<S: TileSource>(fsck: &Fsck<'_, S>, findings: &mut Findings) {
    let (Checkpoint { size, root, .. }, base) = (&fsck.checkpoint, &fsck.base);
    if base.minimum == 0 {
        return;
    }
    let known = Frontier::from_peaks(base.minimum, base.peaks.clone()).ok();
    let there =
        Prover::new(fsck.source, *size, *root, 16).and_then(|mut prover| root_at(&mut prover, base.minimum));
    if known.map(|known| known.root()) != there.ok() {
        findings.push(Finding {
            entries: 0..base.minimum,
            kind: FindingKind::BaseMismatch,
        });
    }
}

/// Does the log extend what was seen of it elsewhere? Gives the number of those for which the hashes were pruned.
fn judge_known<S: TileSource>(fsck: &Fsck<'_, S>, findings: &mut Findings) -> u64 {
    let Checkpoint { size, root, .. } = &fsck.checkpoint;
    let mut skipped = 0;
    for known in &fsck.known {
        let seen = known.size;
        if known.origin != fsck.checkpoint.origin {
            let error = CheckpointError::OriginMismatch {
                expected: fsck.checkpoint.origin.to_string(),
                found: known.origin.to_string(),
            };
            findings.push(Finding {
                entries: 0..0,
                kind: FindingKind::CheckpointInvalid { error },
            });
        } else if seen > *size {
            findings.push(Finding {
                entries: *size..seen,
                kind: FindingKind::CheckpointRolledBack { seen },
            });
        } else {
            let root_seen =
                Prover::new(fsck.source, *size, *root, 16).and_then(|mut prover| root_at(&mut prover, seen));
            if root_seen.is_err() && seen < fsck.base.minimum {
                skipped += 1;
            } else if root_seen.ok() != Some(known.root) {
                findings.push(Finding {
                    entries: 0..seen,
                    kind: FindingKind::CheckpointRewritten { seen },
                });
            }
        }
    }
    skipped
}

/// Joins findings that are one: two entries found in each other's place in
/// different bundles, and runs of shifted bundles. Sorts by position.
fn tidy(list: Vec<Finding>) -> Vec<Finding> {
    let changed = |finding: &Finding| match finding.kind {
        FindingKind::EntryChanged { expected, found } => Some((found, (expected, finding.entries.start))),
        _ => None,
    };
    let by_found: BTreeMap<Hash, (Hash, u64)> = list.iter().filter_map(changed).collect();
    let mut list: Vec<Finding> = list
        .into_iter()
        .filter_map(|finding| {
            let partner = changed(&finding).and_then(|(found, (expected, index))| {
                let (their_expected, with) = by_found.get(&expected)?;
                (*their_expected == found && *with != index).then_some((index, *with))
            });
            match partner {
                Some((index, with)) if index < with => {
                    Some(Finding::at(index, FindingKind::EntrySwapped { with }))
                }
                Some(_) => None,
                None => Some(finding),
            }
        })
        .collect();
    let is_shift = |finding: &Finding| finding.kind == FindingKind::EntriesShifted;
    let mut shifts: Vec<Finding> = list.extract_if(.., |finding| is_shift(finding)).collect();
    shifts.sort_by_key(|finding| finding.entries.start);
    shifts.dedup_by(|later, earlier| {
        let joins = later.entries.start <= earlier.entries.end;
        if joins {
            earlier.entries.end = earlier.entries.end.max(later.entries.end);
        }
        joins
    });
    list.append(&mut shifts);
    list.sort_by_key(|finding| finding.entries.start);
    list
}
