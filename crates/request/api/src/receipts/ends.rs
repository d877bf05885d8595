//! Each node's part in a stop: when it could permit nothing any more that the stop forbids.

use std::collections::BTreeSet;
use std::time::Duration;

use bailiwick_base::{Epoch, StatePos, TenantId};
use bailiwick_node::{End, Seat, Standing};
use bailiwick_store::{KeptReceipt, Reach, SidecarRow};
use bailiwick_wire::{self as wire, ReceiptBody};

use super::micros;
use crate::Deps;
use crate::stop::reach_of;

/// How a stop came to be contained.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ends {
    /// Committed → contained, microseconds; nothing where that could not be confirmed in time.
    pub(crate) contained_us: Option<u64>,
    /// Each node's part, where there are several and it was confirmed.
    pub(crate) nodes: Vec<wire::NodeEnd>,
}

/// When every node and every sidecar had the stop or could permit nothing any more and this node's witness held it,
/// counted from the commit; and each one's part. Alone, without sidecars and without a witness, that is at the commit.
pub(crate) async fn contained(deps: &Deps, reach: &Reach, epoch: Epoch, pos: StatePos) -> Ends {
    let committed = deps.clock.monotonic();
    let stop = (epoch, tenant_of(reach));
    let (nodes, held) = tokio::join!(ends(deps, stop, committed), deps.witness.hold(epoch, pos));
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

/// Whose calls a stop forbids; `None` where everybody's.
fn tenant_of(reach: &Reach) -> Option<&TenantId> {
    match reach {
        Reach::Tenant(tenant) => Some(tenant),
        _ => None,
    }
}

fn end_word(end: End) -> String {
    match end {
        End::Acknowledged => "acknowledged",
        End::Lapsed => "lapsed",
        End::Left => "left",
    }
    .to_owned()
}

/// Each node's and each sidecar's part in a stop, and when the last was done.
async fn ends(
    deps: &Deps,
    stop: (Epoch, Option<&TenantId>),
    committed: Duration,
) -> Option<(u64, Vec<wire::NodeEnd>)> {
    let nodes = async {
        if deps.store.is_shared() {
            deps.nodes.contained(stop.0).await
        } else {
            Some(Vec::new())
        }
    };
    let (nodes, here) = tokio::join!(nodes, deps.sidecars_contained(stop, committed));
    let mut ends: Vec<wire::NodeEnd> = nodes?
        .iter()
        .map(|point| wire::NodeEnd {
            node: point.node.to_string(),
            end: end_word(point.end),
            after_us: micros(point.after),
            at: None,
        })
        .collect();
    let own = deps.nodes.node.to_string();
    let here: Vec<wire::NodeEnd> = here?
        .iter()
        .filter_map(|(part, after)| {
            Some(wire::NodeEnd {
                node: part.sidecar.to_string(),
                end: end_word(part.end?),
                after_us: micros(*after),
                at: Some(own.clone()),
            })
        })
        .collect();
    let elsewhere = elsewhere(deps, stop, &ends).await;
    // Whoever went to another node is told of there.
    let moved = |line: &wire::NodeEnd| elsewhere.iter().any(|other| other.node == line.node);
    let here: Vec<wire::NodeEnd> = here.into_iter().filter(|line| !moved(line)).collect();
    if ends.is_empty() && !(here.is_empty() && deps.concerned(stop.1).is_empty()) {
        ends.push(wire::NodeEnd {
            node: own,
            end: end_word(End::Acknowledged),
            after_us: 0,
            at: None,
        });
    }
    ends.extend(here);
    ends.extend(elsewhere);
    Some((ends.iter().map(|end| end.after_us).max().unwrap_or(0), ends))
}

/// Sidecars that hear at other nodes, as those wrote it before the beat that counted on it.
async fn elsewhere(
    deps: &Deps,
    (epoch, tenant): (Epoch, Option<&TenantId>),
    nodes: &[wire::NodeEnd],
) -> Vec<wire::NodeEnd> {
    if !deps.store.is_shared() {
        return Vec::new();
    }
    let rows = match deps.store.sidecars().await {
        Ok(rows) => rows,
        Err(error) => {
            tracing::warn!(%error, "sidecars could not be read; they are in the residue until they are");
            return Vec::new();
        }
    };
    let joined = rows
        .iter()
        .filter(|row| row.sidecar.seat == Seat::Joined && row.sidecar.sees(tenant));
    let lines = joined.filter_map(|row| {
        let node = row.said.node.as_ref().filter(|node| **node != deps.nodes.node)?;
        let end = match row.said.left {
            true => End::Left,
            false if row.said.epoch >= epoch => End::Acknowledged,
            false => End::Lapsed,
        };
        let of_node = nodes.iter().find(|line| line.node == node.as_str());
        Some(wire::NodeEnd {
            node: row.sidecar.name.to_string(),
            end: end_word(end),
            after_us: of_node.map_or(0, |line| line.after_us),
            at: Some(node.to_string()),
        })
    });
    lines.collect()
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
    /// Whether it is known of every node and every sidecar that it holds the stop, or holds nothing.
    pub(super) fn is_told_of_nodes(&self, kept: &KeptReceipt, body: &ReceiptBody) -> bool {
        let reach = reach_of(&kept.scope);
        let are_others = || !self.store.is_shared() && self.concerned(tenant_of(&reach)).is_empty();
        !body.nodes.is_empty() || are_others()
    }

    /// Sidecars that ever heard and that decide for `tenant`; all where none is named.
    fn concerned(&self, tenant: Option<&TenantId>) -> Vec<SidecarRow> {
        let rows = self.nodes.sidecars.rows();
        let joined = rows.iter().filter(|row| {
            let has_heard = row.said.node.is_some() && !row.said.left;
            row.sidecar.seat == Seat::Joined && has_heard && row.sidecar.sees(tenant)
        });
        joined.cloned().collect()
    }

    /// Sidecars that did not say that they hold the stop, until they do, leave or are removed.
    pub(super) fn silent_sidecars(&self, kept: &KeptReceipt) -> Vec<Silent> {
        let reach = reach_of(&kept.scope);
        let concerned = self.concerned(tenant_of(&reach)).into_iter();
        let silent = concerned.filter(|row| {
            let own = self.nodes.sidecars.said(&row.sidecar.name);
            let has_left = own.as_ref().is_some_and(|own| own.left);
            let held = own.map_or(row.said.epoch, |own| own.epoch.max(row.said.epoch));
            !has_left && held < kept.epoch
        });
        silent
            .map(|row| Silent {
                node: row.sidecar.name.to_string(),
                detail: "it did not say that it holds the stop; open until it does, leaves or is removed",
            })
            .collect()
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
