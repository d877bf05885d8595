//! When a stop is contained.

use std::collections::BTreeMap;
use std::time::Duration;

use bailiwick_base::{Epoch, NodeName};

use crate::word::{Standing, Word, talk_max};

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

/// The last word of a node, and when its beat was first seen here.
#[derive(Debug, Clone)]
struct Seen {
    word: Word,
    at: Duration,
}

impl Seen {
    fn order(word: &Word) -> (u64, u64) {
        (word.fence, word.beat)
    }

    /// What holds of the node when its row is gone, or older than before: it said nothing since.
    fn silent(&self) -> Word {
        Word {
            epoch: Epoch(0),
            ..self.word.clone()
        }
    }
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

/// A span on somebody else's clock, as long as it can be on ours.
pub(crate) fn stretched(span: Duration) -> Duration {
    span + span / 50
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

    /// The rows, as far as they go on from what was seen: words only rise, and no node is taken away.
    fn words_after(&mut self, words: &[Word], now: Duration) -> Vec<Word> {
        let mut silent: BTreeMap<NodeName, Word> = self
            .seen
            .iter()
            .map(|(node, seen)| (node.clone(), seen.silent()))
            .collect();
        let mut heard = Vec::new();
        for word in words {
            let at = match self.seen.get(&word.node) {
                Some(seen) if Seen::order(word) < Seen::order(&seen.word) => continue,
                Some(seen) if Seen::order(word) == Seen::order(&seen.word) => seen.at,
                _ => now,
            };
            silent.remove(&word.node);
            heard.push(word.clone());
            let seen = Seen {
                word: word.clone(),
                at,
            };
            self.seen.insert(word.node.clone(), seen);
        }
        heard.extend(silent.into_values());
        heard
    }

    /// Takes rows that were read between `asked` and `now`; gives the stops that are contained.
    pub(crate) fn take(
        &mut self,
        words: &[Word],
        asked: Duration,
        now: Duration,
    ) -> Vec<(u64, Vec<PointEnd>)> {
        let words = &self.words_after(words, now);
        let mut contained = Vec::new();
        for (stop, open) in &mut self.open {
            // Rows from before the commit say nothing of it.
            if asked >= open.committed && open.is_contained(words, &self.seen, (asked, now)) {
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
    /// Whether `word`, read after `asked`, cannot be fresh any more, nor any that its node began before the stop.
    ///
    /// Whatever the node began to read after the commit brings the stop. What it began before lasts for its lease from
    /// the commit at most. A node that was silent for long is done earlier: once a conversation that it began just
    /// before the commit would have counted by now, and did not, its last word is the one that was seen.
    fn is_lapsed(&self, word: &Word, seen: Option<&Seen>, (asked, now): (Duration, Duration)) -> bool {
        let lease = stretched(word.lease);
        let talks_are_over = asked >= self.committed + stretched(talk_max(word.lease));
        now >= self.committed + lease || talks_are_over && seen.is_some_and(|seen| now >= seen.at + lease)
    }

    fn is_contained(
        &mut self,
        words: &[Word],
        seen: &BTreeMap<NodeName, Seen>,
        (asked, now): (Duration, Duration),
    ) -> bool {
        let mut all = true;
        for word in words {
            if self.ends.contains_key(&word.node) {
                continue;
            }
            let end = match word.standing {
                Standing::Invited => continue,
                Standing::Left => End::Left,
                _ if word.epoch >= self.epoch => End::Acknowledged,
                _ if self.is_lapsed(word, seen.get(&word.node), (asked, now)) => End::Lapsed,
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
