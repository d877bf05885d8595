//! From "the entries of this bundle are not the ones in its tile" to what was
//! done to them.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Finding, FindingKind};
use crate::merkle::Hash;

/// What stands in the neighbouring bundles and tiles. When entries were
/// removed and everything after them moved up, the difference is found there.
#[derive(Debug, Default)]
pub(super) struct Near {
    pub(super) entries: BTreeSet<Hash>,
    pub(super) tiles: BTreeSet<Hash>,
}

/// The entries of one bundle beside the hashes of its tile.
struct Pairing<'a> {
    base: u64,
    expected: &'a [Hash],
    actual: &'a [Hash],
    /// Per entry, the position in the tile where it belongs.
    belongs: Vec<Option<usize>>,
    /// Positions of the tile that no entry claims.
    missing: BTreeSet<usize>,
    findings: Vec<Finding>,
    shifted: bool,
}

/// Names what was done to a bundle whose first entry has index `base`.
/// `cut` tells that the bundle ends inside an entry.
pub(super) fn diagnose(
    base: u64,
    expected: &[Hash],
    actual: &[Hash],
    near: &Near,
    cut: bool,
) -> Vec<Finding> {
    let mut pairing = Pairing {
        base,
        expected,
        actual,
        belongs: vec![None; actual.len()],
        missing: (0..expected.len()).collect(),
        findings: Vec::new(),
        shifted: false,
    };
    pairing.pair();
    pairing.name_swaps();
    pairing.name_moves();
    let foreign = pairing.name_changes();
    pairing.name_insertions(&foreign, near);
    pairing.name_removals(near, cut);
    pairing.findings
}

fn index_of(base: u64, position: usize) -> u64 {
    base.saturating_add(u64::try_from(position).unwrap_or(u64::MAX))
}

impl Pairing<'_> {
    /// Entries in their place first; then the others, each place once.
    fn pair(&mut self) {
        for (position, (belongs, hash)) in self.belongs.iter_mut().zip(self.actual).enumerate() {
            if self.expected.get(position) == Some(hash) {
                *belongs = Some(position);
                self.missing.remove(&position);
            }
        }
        let places: BTreeMap<Hash, usize> = self
            .missing
            .iter()
            .filter_map(|place| Some((*self.expected.get(*place)?, *place)))
            .collect();
        for (belongs, hash) in self.belongs.iter_mut().zip(self.actual) {
            if belongs.is_none()
                && let Some(place) = places.get(hash)
                && self.missing.remove(place)
            {
                *belongs = Some(*place);
            }
        }
    }

    fn name_swaps(&mut self) {
        for position in 0..self.belongs.len() {
            let Some(Some(place)) = self.belongs.get(position).copied() else {
                continue;
            };
            if position < place && self.belongs.get(place) == Some(&Some(position)) {
                let with = index_of(self.base, place);
                let index = index_of(self.base, position);
                self.findings
                    .push(Finding::at(index, FindingKind::EntrySwapped { with }));
                for settled in [position, place] {
                    if let Some(belongs) = self.belongs.get_mut(settled) {
                        *belongs = Some(settled);
                    }
                }
            }
        }
    }

    /// Entries outside the longest run that is in order have been moved.
    fn name_moves(&mut self) {
        let pairs: Vec<(usize, usize)> = self
            .belongs
            .iter()
            .enumerate()
            .filter_map(|(at, place)| Some((at, (*place)?)))
            .collect();
        let in_order = longest_rising(&pairs.iter().map(|(_, place)| *place).collect::<Vec<_>>());
        for ((position, place), kept) in pairs.into_iter().zip(in_order) {
            if !kept {
                let to = index_of(self.base, position);
                self.findings.push(Finding::at(
                    index_of(self.base, place),
                    FindingKind::EntryMoved { to },
                ));
            }
        }
    }

    /// An unknown entry right where one is missing is that one, changed.
    /// Returns the positions of the unknown entries that are left.
    fn name_changes(&mut self) -> Vec<usize> {
        let mut foreign = Vec::new();
        let mut next_place = 0;
        for (position, (belongs, found)) in self.belongs.iter().zip(self.actual).enumerate() {
            if let Some(place) = belongs {
                next_place = place + 1;
                continue;
            }
            match self.expected.get(next_place) {
                Some(expected) if self.missing.remove(&next_place) => {
                    let kind = FindingKind::EntryChanged {
                        expected: *expected,
                        found: *found,
                    };
                    self.findings
                        .push(Finding::at(index_of(self.base, next_place), kind));
                    next_place += 1;
                }
                _ => foreign.push(position),
            }
        }
        foreign
    }

    fn name_insertions(&mut self, foreign: &[usize], near: &Near) {
        for position in foreign {
            if self
                .actual
                .get(*position)
                .is_some_and(|hash| near.tiles.contains(hash))
            {
                self.shifted = true;
            } else {
                self.findings.push(Finding::at(
                    index_of(self.base, *position),
                    FindingKind::EntryInserted,
                ));
            }
        }
    }

    fn name_removals(&mut self, near: &Near, cut: bool) {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for place in &self.missing {
            if self
                .expected
                .get(*place)
                .is_some_and(|hash| near.entries.contains(hash))
            {
                self.shifted = true;
                continue;
            }
            match runs.last_mut() {
                Some((_, end)) if *end == *place => *end += 1,
                _ => runs.push((*place, place + 1)),
            }
        }
        let short = self.actual.len() < self.expected.len();
        for (start, end) in runs {
            let at_end = end == self.expected.len() && (cut || (short && !self.shifted));
            let kind = if at_end {
                FindingKind::EntryTruncated
            } else {
                FindingKind::EntryRemoved
            };
            let entries = index_of(self.base, start)..index_of(self.base, end);
            self.findings.push(Finding { entries, kind });
        }
        if self.shifted {
            // What moved stands after the first entry that went or came.
            let from = self.findings.iter().find_map(|finding| match finding.kind {
                FindingKind::EntryInserted | FindingKind::EntryRemoved => Some(finding.entries.end),
                _ => None,
            });
            let entries = from.unwrap_or(self.base)..index_of(self.base, self.expected.len());
            self.findings.push(Finding {
                entries,
                kind: FindingKind::EntriesShifted,
            });
        }
    }
}

/// Marks the members of one longest rising subsequence (patience sorting).
fn longest_rising(values: &[usize]) -> Vec<bool> {
    let mut tails: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(values.len());
    for (position, value) in values.iter().enumerate() {
        let pile = tails.partition_point(|tail| values.get(*tail).is_some_and(|top| top < value));
        before.push(pile.checked_sub(1).and_then(|left| tails.get(left).copied()));
        match tails.get_mut(pile) {
            Some(tail) => *tail = position,
            None => tails.push(position),
        }
    }
    let mut kept = vec![false; values.len()];
    let mut cursor = tails.last().copied();
    while let Some(position) = cursor {
        if let Some(flag) = kept.get_mut(position) {
            *flag = true;
        }
        cursor = before.get(position).copied().flatten();
    }
    kept
}
