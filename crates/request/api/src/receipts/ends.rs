//! Each node's part in a stop: when it could permit nothing any more that the stop forbids.

use std::collections::BTreeSet;

use bailiwick_base::{Epoch, StatePos};
use bailiwick_node::{End, Standing};
use bailiwick_store::KeptReceipt;
use bailiwick_wire::{self as wire, ReceiptBody};

use super::micros;
use crate::Deps;

/// How a stop came to be contained.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ends {
    /// Committed → contained, microseconds; nothing where that could not be confirmed in time.
    pub(crate) contained_us: Option<u64>,
    /// Each node's part, where there are several and it was confirmed.
    pub(crate) nodes: Vec<wire::NodeEnd>,
}

/// When every node had the stop or could permit nothing any more and this node's witness held it, counted from the
/// commit; and each node's part. Alone and without a witness, that is at the commit.
pub(crate) async fn contained(deps: &Deps, epoch: Epoch, pos: StatePos) -> Ends {
    let committed = deps.clock.monotonic();
    let (nodes, held) = tokio::join!(ends(deps, epoch), deps.witness.hold(epoch, pos));
    let Some((after, nodes)) = nodes else {
        return Ends::default();
    };
    if let Err(error) = held {
        tracing::error!(%error, "a kill is committed and not contained");
        return Ends {
            contained_us: None,
            nodes,
        };
    }
    let span = || micros(deps.clock.monotonic().saturating_sub(committed));
    let witnessed = deps.witness.held().map_or(0, |_| span());
    Ends {
        contained_us: Some(after.max(witnessed)),
        nodes,
    }
}

/// Each node's part in a stop, and when the last was done.
async fn ends(deps: &Deps, epoch: Epoch) -> Option<(u64, Vec<wire::NodeEnd>)> {
    if !deps.store.is_shared() {
        return Some((0, Vec::new()));
    }
    let points = deps.nodes.contained(epoch).await?;
    let ends = points.iter().map(|point| wire::NodeEnd {
        node: point.node.to_string(),
        end: match point.end {
            End::Acknowledged => "acknowledged",
            End::Lapsed => "lapsed",
            End::Left => "left",
        }
        .to_owned(),
        after_us: micros(point.after),
    });
    let ends: Vec<wire::NodeEnd> = ends.collect();
    Some((ends.iter().map(|end| end.after_us).max().unwrap_or(0), ends))
}

/// How long the state log is at least that has the mark of a receipt.
pub(super) fn held_from(kept: &KeptReceipt) -> StatePos {
    StatePos(kept.entry.saturating_add(1))
}

/// A node of which something is not known yet, and what.
pub(super) struct Silent {
    pub(super) node: String,
    pub(super) detail: &'static str,
}

impl Deps {
    /// Whether it is known of every node that it holds the stop, or holds nothing.
    pub(super) fn is_told_of_nodes(&self, body: &ReceiptBody) -> bool {
        !self.store.is_shared() || !body.nodes.is_empty()
    }

    /// Whether the witness of this node, where it has one, does not hold the stop yet.
    pub(super) fn is_unwitnessed(&self, kept: &KeptReceipt) -> bool {
        let held = self.witness.held();
        held.is_some_and(|(epoch, pos)| epoch < kept.epoch || pos < held_from(kept))
    }

    /// Other nodes that may have been serving when a stop was pressed, as far as their part is not confirmed.
    pub(super) fn silent_nodes(&self, body: &ReceiptBody) -> Vec<Silent> {
        if !self.store.is_shared() {
            return Vec::new();
        }
        let looked: BTreeSet<&str> = body
            .looked_from
            .keys()
            .filter_map(|origin| origin.rsplit('/').next())
            .collect();
        let words = self.nodes.words();
        let serving = words
            .nodes
            .iter()
            .filter(|word| matches!(word.standing, Standing::Draining | Standing::Live));
        let open = serving.filter_map(|word| {
            let node = word.node.to_string();
            let is_held = body.nodes.iter().any(|end| end.node == node);
            let detail = match (is_held, looked.contains(node.as_str())) {
                (true, true) => return None,
                (true, false) => "it holds the stop or refuses everything; its own log was not looked at yet",
                (false, _) => "it did not say that it holds the stop, and its word may still be fresh",
            };
            Some(Silent { node, detail })
        });
        open.collect()
    }
}
