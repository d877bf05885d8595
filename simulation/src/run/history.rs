//! What was told to whom, and what may not happen after it.

use std::collections::BTreeMap;

use bailiwick_base::{AgentLabel, Epoch, TenantId};
use bailiwick_credential::Claims;
use bailiwick_decide::{MarkEffect, MarkScope};

use super::world::World;

/// A promise that was broken, or the simulation itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Simulated microseconds.
    pub at: u64,
    /// Which promise.
    pub rule: &'static str,
    /// What happened.
    pub detail: String,
}

impl Violation {
    /// Something that cannot be in a simulation that was set up rightly.
    pub(crate) fn broken(what: &(impl std::fmt::Display + ?Sized)) -> Self {
        Self {
            at: 0,
            rule: "the simulation runs",
            detail: what.to_string(),
        }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (secs, micros) = (self.at / 1_000_000, self.at % 1_000_000);
        write!(f, "at {secs}.{micros:06} s: {}: {}", self.rule, self.detail)
    }
}

/// A stop that an operator gave.
#[derive(Debug, Clone)]
struct Stop {
    scope: MarkScope,
    effect: MarkEffect,
    node: usize,
    pressed: u64,
    /// Since when its node has promised it.
    promised: Option<u64>,
    /// Since when everybody has.
    contained: Option<u64>,
}

/// The end of a suspension, under way or done.
#[derive(Debug, Clone)]
struct Lift {
    scope: MarkScope,
    /// When it can have no further effect.
    over: Option<u64>,
}

/// A call as its caller made it.
#[derive(Debug, Clone)]
pub(crate) struct Made<'a> {
    pub(crate) claims: &'a Claims,
    pub(crate) tool: &'a str,
    /// Number of the identity.
    pub(crate) of: u128,
    /// When the token was issued.
    pub(crate) issued: u64,
    /// When the call began.
    pub(crate) begun: u64,
}

/// Everything that was promised so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    stops: BTreeMap<u64, Stop>,
    lifts: BTreeMap<u64, Lift>,
    /// When each node said which epoch it holds.
    acknowledged: BTreeMap<usize, Vec<(u64, Epoch)>>,
    /// Who led under which term.
    leaders: BTreeMap<u64, (usize, u64)>,
    /// Nodes that are fenced, and since when they can answer nothing.
    silent: BTreeMap<usize, u64>,
}

impl History {
    pub(crate) fn press(&mut self, number: u64, at: u64, node: usize, scope: &MarkScope, effect: MarkEffect) {
        let stop = Stop {
            scope: scope.clone(),
            effect,
            node,
            pressed: at,
            promised: None,
            contained: None,
        };
        self.stops.insert(number, stop);
    }

    /// The node has answered that no call that begins from now on is permitted there.
    pub(crate) fn promise(&mut self, number: u64, at: u64) {
        if let Some(stop) = self.stops.get_mut(&number) {
            stop.promised.get_or_insert(at);
        }
    }

    /// The same for every node.
    pub(crate) fn contain(&mut self, number: u64, at: u64) {
        if let Some(stop) = self.stops.get_mut(&number) {
            stop.contained.get_or_insert(at);
        }
    }

    /// Nothing came of it, and its giver was told so.
    pub(crate) fn refuse(&mut self, number: u64) {
        self.stops.remove(&number);
    }

    /// Suspensions that somebody may want to end.
    pub(crate) fn suspensions(&self) -> Vec<MarkScope> {
        let open = self.stops.values().filter(|stop| {
            stop.effect == MarkEffect::Suspend && !self.lifts.values().any(|lift| lift.ends(stop))
        });
        open.map(|stop| stop.scope.clone()).collect()
    }

    pub(crate) fn lift(&mut self, number: u64, scope: &MarkScope) {
        let lift = Lift {
            scope: scope.clone(),
            over: None,
        };
        self.lifts.insert(number, lift);
    }

    /// From `at` on the lift can have no further effect.
    pub(crate) fn lift_over(&mut self, number: u64, at: u64) {
        if let Some(lift) = self.lifts.get_mut(&number) {
            lift.over.get_or_insert(at);
        }
    }

    /// The node has said that it holds this epoch.
    pub(crate) fn acknowledge(&mut self, node: usize, at: u64, epoch: Epoch) {
        let said = self.acknowledged.entry(node).or_default();
        if said.last().is_none_or(|(_, last)| *last < epoch) {
            said.push((at, epoch));
        }
    }

    /// The newest epoch that the node had said it holds by then.
    pub(crate) fn acknowledged(&self, node: usize, by: u64) -> Epoch {
        let said = self.acknowledged.get(&node).into_iter().flatten();
        let by_then = said.filter(|(at, _)| *at <= by).map(|(_, epoch)| *epoch);
        by_then.max().unwrap_or_default()
    }

    /// A process of a node leads under this term.
    pub(crate) fn require_sole_leader(
        &mut self,
        at: u64,
        term: u64,
        who: (usize, u64),
    ) -> Result<(), Violation> {
        let first = *self.leaders.entry(term).or_insert(who);
        if first == who {
            return Ok(());
        }
        Err(Violation {
            at,
            rule: "one process leads under a term",
            detail: format!(
                "term {term}: node {} in life {}, then node {} in life {}",
                first.0, first.1, who.0, who.1
            ),
        })
    }

    /// The node is fenced: from `since` on it answers nothing.
    pub(crate) fn silence(&mut self, node: usize, since: u64) {
        self.silent.insert(node, since);
    }

    /// It may come back.
    pub(crate) fn unsilence(&mut self, node: usize) {
        self.silent.remove(&node);
    }

    /// Kills that somebody may rely on.
    pub(crate) fn promised_kills(&self) -> impl Iterator<Item = (u64, &MarkScope)> {
        let kills = self.stops.iter().filter(|(_, stop)| {
            stop.effect == MarkEffect::Kill && (stop.promised.is_some() || stop.contained.is_some())
        });
        kills.map(|(number, stop)| (*number, &stop.scope))
    }

    /// Whether this call may be permitted by `node` at `at`.
    pub(crate) fn require_permissible(
        &self,
        world: &World,
        at: u64,
        node: usize,
        made: &Made<'_>,
    ) -> Result<(), Violation> {
        if let Some(since) = self.silent.get(&node).filter(|since| **since <= made.begun) {
            return Err(Violation {
                at,
                rule: "a fenced node permits nothing once its word is over",
                detail: format!(
                    "node {node} permitted a call of {} us, its word was over at {since} us",
                    made.begun
                ),
            });
        }
        for (number, stop) in &self.stops {
            let here = stop.node == node && stop.promised.is_some_and(|since| since <= made.begun);
            let everywhere = stop.contained.is_some_and(|since| since <= made.begun);
            if !(here || everywhere) || !stop.forbids(world, made) {
                continue;
            }
            if self.lifts.values().any(|lift| lift.ends(stop)) {
                continue;
            }
            return Err(Violation {
                at,
                rule: if everywhere {
                    "no call that began after `contained` is permitted"
                } else {
                    "no call that began after the acknowledgement is permitted there"
                },
                detail: format!(
                    "node {node} permitted identity {} of {} (token of {} us, call of {} us) under stop {number} \
                     ({:?} of {:?}, pressed at {} us on node {}, promised {:?}, contained {:?})",
                    made.of,
                    made.claims.tenant,
                    made.issued,
                    made.begun,
                    stop.effect,
                    stop.scope,
                    stop.pressed,
                    stop.node,
                    stop.promised,
                    stop.contained
                ),
            });
        }
        Ok(())
    }
}

impl Lift {
    /// Whether it may have ended this stop.
    fn ends(&self, stop: &Stop) -> bool {
        stop.effect == MarkEffect::Suspend
            && self.scope == stop.scope
            && self.over.is_none_or(|over| over >= stop.pressed)
    }
}

impl Stop {
    /// Whether it is meant to stop this call. Told without a look at the rules that decide.
    fn forbids(&self, world: &World, made: &Made<'_>) -> bool {
        let claims = made.claims;
        let of = |tenant: &TenantId| claims.tenant == *tenant;
        let is_helper = |label: &AgentLabel| made.of.is_multiple_of(3) && world.label == *label;
        let (named, is_target) = match &self.scope {
            MarkScope::Token(id) => (claims.token == *id, false),
            MarkScope::Task(id) => (claims.task == *id, false),
            MarkScope::Identity(id) => (claims.nhi == *id, false),
            MarkScope::Agent(tenant, label) => (of(tenant) && is_helper(label), false),
            MarkScope::Owner(tenant, team) => (of(tenant) && super::world::team(made.of) == team, false),
            MarkScope::Issuer(tenant, issuer) => (of(tenant) && world.issuer(tenant) == *issuer, true),
            MarkScope::Server(tenant, server) => (of(tenant) && world.server == *server, true),
            MarkScope::Tool(tenant, server, tool) => (
                of(tenant) && world.server == *server && made.tool == tool.as_str(),
                true,
            ),
            MarkScope::Tenant(tenant) => (of(tenant), true),
            MarkScope::All => (true, true),
        };
        // A kill leaves alone what was issued after it, where the name can be born again.
        named && (is_target || self.effect == MarkEffect::Suspend || made.issued < self.pressed)
    }
}
