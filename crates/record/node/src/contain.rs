//! When a stop is contained.

use std::collections::BTreeMap;
use std::time::Duration;

use bailiwick_base::{Epoch, NodeName};

use crate::word::{Standing, Word};

/// Why a node can permit nothing any more that a stop forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It said that it holds the stop.
    Acknowledged,
    /// Its word is over: it refuses everything until it has read anew, and then it holds the stop.
    Lapsed,
    /// It stopped cleanly.
    Left,
}

/// One node's part in a stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointEnd {
    /// Which node.
    pub node: NodeName,
    /// Why.
    pub end: End,
    /// When this node knew it, from the commit.
    pub after: Duration,
}

/// When the present beat of a node was first seen here.
#[derive(Debug, Clone, Copy)]
struct Seen {
    fence: u64,
    beat: u64,
    at: Duration,
}

/// Beats of all nodes, and the stops that are not contained yet.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    seen: BTreeMap<NodeName, Seen>,
    open: BTreeMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    epoch: Epoch,
    committed: Duration,
    ends: BTreeMap<NodeName, PointEnd>,
}

/// A lease on somebody else's clock, as long as it can be on ours.
fn stretched(lease: Duration) -> Duration {
    lease + lease / 50
}

impl Watch {
    pub(crate) fn begin(&mut self, stop: u64, epoch: Epoch, committed: Duration) {
        let open = Open {
            epoch,
            committed,
            ends: BTreeMap::new(),
        };
        self.open.insert(stop, open);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether this node's last word is over, as far as can be known here.
    pub(crate) fn is_lapsed(&self, word: &Word, now: Duration) -> bool {
        self.seen
            .get(&word.node)
            .is_some_and(|seen| now >= seen.at + stretched(word.lease))
    }

    /// Takes rows that were read between `asked` and `now`; gives the stops that are contained.
    pub(crate) fn take(
        &mut self,
        words: &[Word],
        asked: Duration,
        now: Duration,
    ) -> Vec<(u64, Vec<PointEnd>)> {
        for word in words {
            let is_same = |seen: &Seen| seen.fence == word.fence && seen.beat == word.beat;
            if !self.seen.get(&word.node).is_some_and(is_same) {
                let seen = Seen {
                    fence: word.fence,
                    beat: word.beat,
                    at: now,
                };
                self.seen.insert(word.node.clone(), seen);
            }
        }
        let mut contained = Vec::new();
        for (stop, open) in &mut self.open {
            // Rows from before the commit say nothing of it.
            if asked >= open.committed && open.is_contained(words, &self.seen, now) {
                contained.push(*stop);
            }
        }
        let mut take = |stop: u64| {
            let open = self.open.remove(&stop)?;
            Some((stop, open.ends.into_values().collect()))
        };
        contained.into_iter().filter_map(&mut take).collect()
    }
}

impl Open {
    fn is_contained(&mut self, words: &[Word], seen: &BTreeMap<NodeName, Seen>, now: Duration) -> bool {
        let mut all = true;
        for word in words {
            if self.ends.contains_key(&word.node) {
                continue;
            }
            let first = seen.get(&word.node).map_or(self.committed, |seen| seen.at);
            let until = first.min(self.committed) + stretched(word.lease);
            let end = match word.standing {
                Standing::Invited => continue,
                Standing::Left => End::Left,
                _ if word.epoch >= self.epoch => End::Acknowledged,
                _ if now >= until => End::Lapsed,
                _ => {
                    all = false;
                    continue;
                }
            };
            let point = PointEnd {
                node: word.node.clone(),
                end,
                after: now.saturating_sub(self.committed),
            };
            self.ends.insert(word.node.clone(), point);
        }
        all
    }
}
