//! Sidecars: enforcement points without a store, which hear at one node at a time.
//!
//! A sidecar says a *word*: the epoch that its memory holds. The node answers that this is current, maybe with a newer
//! snapshot, and that makes the sidecar's word as fresh as the moment at which it sent the question. So whatever a
//! sidecar permits, it permits on an epoch that was current in one of the answers it was given within its lease. A node
//! speaks for those that hear there: it holds a stop only when none of them can be fresh on an older epoch any more.

use std::collections::BTreeMap;
use std::time::Duration;

use bailiwick_base::{Digest, Epoch, NodeName, TenantId, Time};

use crate::contain::{End, stretched};

/// Epochs that may be in force at one sidecar at once, before the oldest are taken for one.
const GAVE_MAX: usize = 64;

/// What the installation made of a sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    /// It has a place, and has not come.
    Invited,
    /// It may hear.
    Joined,
    /// It is heard no more; its name is not given again.
    Removed,
}

/// A sidecar, as an operator made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sidecar {
    /// Name; no node has it.
    pub name: NodeName,
    /// Whose calls it may decide, in order.
    pub tenants: Vec<TenantId>,
    /// What the installation made of it.
    pub seat: Seat,
    /// Ed25519 public key of its words, once it joined.
    pub key: Option<[u8; 32]>,
    /// Verifier key of its decision log, once it joined.
    pub vkey: Option<String>,
    /// What is kept of its invitation, and until when that is good.
    pub invite: Option<(Digest, Time)>,
}

impl Sidecar {
    /// Whether it decides calls of one of these tenants; of everybody where none is named.
    #[must_use]
    pub fn sees(&self, tenant: Option<&TenantId>) -> bool {
        tenant.is_none_or(|tenant| self.tenants.contains(tenant))
    }
}

/// What a sidecar said last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SidecarSaid {
    /// The epoch that its memory held.
    pub epoch: Epoch,
    /// The position of the state log that its memory held.
    pub position: u64,
    /// The number of the word.
    pub beat: u64,
    /// The node that heard it.
    pub node: Option<NodeName>,
    /// When.
    pub heard_at: Option<Time>,
    /// Whether it said that it decides nothing any more.
    pub left: bool,
}

#[derive(Debug)]
struct Attached {
    tenants: Vec<TenantId>,
    /// Which process speaks for it; nobody knows before it spoke here.
    process: Option<Digest>,
    /// The epochs on which answers made that process fresh, and when the last was given.
    gave: BTreeMap<Epoch, Duration>,
    /// The same of other processes with its key, of a copy of its folder or of before a start. What this one holds says
    /// nothing of their memory: only time ends it.
    others: BTreeMap<Epoch, Duration>,
    /// The highest epoch that it said it holds.
    said: Epoch,
    left: bool,
    /// The last sign of it: a word, or the start of this process.
    heard: Duration,
}

impl Attached {
    /// The oldest epoch on which it, or another process with its key, may be fresh.
    fn oldest(&self) -> Option<Epoch> {
        let firsts = [self.gave.keys().next(), self.others.keys().next()];
        firsts.into_iter().flatten().min().copied()
    }
}

/// At most [`GAVE_MAX`] epochs: the oldest with the time of the next, which is waited for longer, never shorter.
fn bound(gave: &mut BTreeMap<Epoch, Duration>) {
    while gave.len() > GAVE_MAX {
        let Some((oldest, at)) = gave.pop_first() else {
            return;
        };
        if let Some((_, next)) = gave.pop_first() {
            gave.insert(oldest, at.max(next));
        }
    }
}

/// One sidecar's part in a stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarEnd {
    /// Which sidecar.
    pub sidecar: NodeName,
    /// Why it permits nothing any more that the stop forbids; `None` while it still may.
    pub end: Option<End>,
}

/// The sidecars that hear at this node.
#[derive(Debug)]
pub struct Attachments {
    lease: Duration,
    by: BTreeMap<NodeName, Attached>,
}

impl Attachments {
    /// Nobody yet; `lease` is the age at which a sidecar refuses everything.
    #[must_use]
    pub fn new(lease: Duration) -> Self {
        Self {
            lease: stretched(lease),
            by: BTreeMap::new(),
        }
    }

    /// Whoever heard at the process before this one may be fresh on whatever that told it.
    pub fn begin(&mut self, sidecar: &Sidecar, said: &SidecarSaid, now: Duration) {
        let others = (!said.left).then_some((Epoch(0), now));
        let attached = Attached {
            tenants: sidecar.tenants.clone(),
            process: None,
            gave: BTreeMap::new(),
            others: others.into_iter().collect(),
            said: said.epoch,
            left: said.left,
            heard: now,
        };
        self.by.entry(sidecar.name.clone()).or_insert(attached);
    }

    /// Whether something was heard here from it since this process began, or of it before.
    #[must_use]
    pub fn knows(&self, sidecar: &NodeName) -> bool {
        self.by.contains_key(sidecar)
    }

    /// A process of it says that its memory holds `epoch`, or that it decides nothing any more.
    pub fn word(
        &mut self,
        sidecar: &Sidecar,
        process: Digest,
        (epoch, leaves): (Epoch, bool),
        now: Duration,
    ) {
        let attached = self.by.entry(sidecar.name.clone()).or_insert_with(|| Attached {
            tenants: Vec::new(),
            process: None,
            gave: BTreeMap::new(),
            others: BTreeMap::new(),
            said: epoch,
            left: false,
            heard: now,
        });
        attached.tenants.clone_from(&sidecar.tenants);
        attached.heard = now;
        attached.left = leaves;
        if attached.process != Some(process) {
            for (epoch, at) in std::mem::take(&mut attached.gave) {
                let known = attached.others.entry(epoch).or_insert(at);
                *known = at.max(*known);
            }
            bound(&mut attached.others);
            (attached.process, attached.said) = (Some(process), epoch);
        }
        attached.said = attached.said.max(epoch);
        if leaves {
            attached.gave.clear();
        } else {
            // Its memory never goes back: what is older is in force no more.
            attached.gave = attached.gave.split_off(&epoch);
        }
    }

    /// It is answered at `now` that `epoch` is current. To be said before the answer goes out; and the answer may go
    /// out only where nothing newer is in memory after it was said.
    pub fn answer(&mut self, sidecar: &NodeName, epoch: Epoch, now: Duration) {
        let Some(attached) = self.by.get_mut(sidecar).filter(|a| !a.left) else {
            return;
        };
        attached.gave.insert(epoch, now);
        bound(&mut attached.gave);
    }

    /// The oldest epoch on which somebody here may be fresh; `None` where nobody is.
    pub fn lowest(&mut self, now: Duration) -> Option<Epoch> {
        self.forget(now);
        self.by.values().filter_map(Attached::oldest).min()
    }

    fn forget(&mut self, now: Duration) {
        let lease = self.lease;
        for attached in self.by.values_mut() {
            attached.gave.retain(|_, at| now < *at + lease);
            attached.others.retain(|_, at| now < *at + lease);
        }
    }

    /// Each sidecar's part in the stop of this epoch, as it is at `now`: of those that decide for `tenant`, of all where
    /// none is named.
    pub fn ends(&mut self, (epoch, tenant): (Epoch, Option<&TenantId>), now: Duration) -> Vec<SidecarEnd> {
        self.forget(now);
        let concerned = self
            .by
            .iter()
            .filter(|(_, a)| tenant.is_none_or(|tenant| a.tenants.contains(tenant)));
        let ends = concerned.map(|(name, attached)| {
            let is_behind = attached.oldest().is_some_and(|first| first < epoch);
            let end = match (is_behind, attached.left) {
                (true, _) => None,
                (false, true) => Some(End::Left),
                (false, false) if attached.said >= epoch => Some(End::Acknowledged),
                (false, false) => Some(End::Lapsed),
            };
            SidecarEnd {
                sidecar: name.clone(),
                end,
            }
        });
        ends.collect()
    }

    /// When the first lease ends that is counted here; `None` where none runs.
    #[must_use]
    pub fn next_lapse(&self) -> Option<Duration> {
        let given = self.by.values();
        let given = given.flat_map(|a| a.gave.values().chain(a.others.values()));
        given.min().map(|at| *at + self.lease)
    }

    /// Those that were heard within their lease, and those that were not and did not leave.
    #[must_use]
    pub fn counts(&self, now: Duration) -> (u64, u64) {
        let here = self.by.values().filter(|a| !a.left);
        here.fold((0, 0), |(live, silent), a| {
            if now < a.heard + self.lease {
                (live + 1, silent)
            } else {
                (live, silent + 1)
            }
        })
    }

    /// Whether it was heard here within its lease.
    #[must_use]
    pub fn is_heard(&self, sidecar: &NodeName, now: Duration) -> bool {
        let attached = self.by.get(sidecar);
        attached.is_some_and(|a| !a.left && now < a.heard + self.lease)
    }

    /// Nobody waits for it any more once its lease is over: it was removed, or hears elsewhere.
    pub fn drop_lapsed(&mut self, sidecar: &NodeName, now: Duration) {
        self.forget(now);
        if self.by.get(sidecar).is_some_and(|a| a.oldest().is_none()) {
            self.by.remove(sidecar);
        }
    }
}
