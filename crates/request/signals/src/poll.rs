//! What is waiting for a receiver that asks (RFC 8936).

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_base::SubscriptionId;
use serde::Deserialize;

use crate::caep::Signal;
use crate::set::jti;

/// The body of a poll (RFC 8936 §2.4).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Asked {
    /// The most SETs of the answer; 0 only acknowledges.
    #[serde(default)]
    pub max_events: Option<u64>,
    /// Answer even when there is nothing.
    #[serde(default)]
    pub return_immediately: bool,
    /// SETs that were taken.
    #[serde(default)]
    pub ack: Vec<String>,
    /// SETs that were not usable, and why.
    #[serde(default)]
    pub set_errs: BTreeMap<String, SetError>,
}

/// Why a SET was not usable.
#[derive(Debug, Clone, Deserialize)]
pub struct SetError {
    /// Code of RFC 8935 §2.4.
    pub err: String,
    /// In words.
    #[serde(default)]
    pub description: Option<String>,
}

/// What stays when acknowledgements are counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Nothing before this entry is waiting.
    pub position: u64,
    /// What was taken at or behind it.
    pub taken: BTreeSet<(u64, u32)>,
    /// What is waiting, in order.
    pub waiting: Vec<Signal>,
    /// Whether an acknowledgement was new.
    pub is_changed: bool,
}

/// Counts acknowledgements among `found`, the signals from the position on; `scanned` is where they end.
#[must_use]
pub fn window(
    subscription: &SubscriptionId,
    found: Vec<Signal>,
    scanned: u64,
    mut taken: BTreeSet<(u64, u32)>,
    acknowledged: &BTreeSet<String>,
) -> Window {
    let mut is_changed = false;
    let mut waiting = Vec::new();
    for signal in found {
        let place = (signal.index, signal.part);
        if taken.contains(&place) {
            continue;
        }
        if acknowledged.contains(&jti(subscription, signal.index, signal.part)) {
            is_changed = true;
            taken.insert(place);
            continue;
        }
        waiting.push(signal);
    }
    let position = waiting.first().map_or(scanned, |first| first.index);
    taken.retain(|(index, _)| *index >= position);
    Window {
        position,
        taken,
        waiting,
        is_changed,
    }
}
