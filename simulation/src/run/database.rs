//! The store that nodes share, as a model: one thing after the other, each whole or not at all.
//!
//! What it promises is in [`crate::contract`], to which the real store is held too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{Epoch, IdentityId, NodeName, StatePos, TaskId};
use bailiwick_credential::{Task, TaskState, close_task};
use bailiwick_decide::{Fact, Mark, MarkEffect, MarkScope};
use bailiwick_grant::Grant;
use bailiwick_inventory::{self as inventory, Identity};

use super::history::Violation;
use super::world::{START, World, identity_id};
use crate::contract::SharedStore;
use bailiwick_node::{Lead, Standing, Word, Words};

/// States that a replica may still show.
const PAST_MAX: usize = 64;

/// One command, as a node brings it.
#[derive(Debug, Clone)]
pub enum Change {
    /// Ends a suspension.
    Lift(MarkScope),
    /// An identity and its task are there from now on.
    Register(Arc<Identity>, Arc<Task>, Arc<Grant>),
    /// A mark, and the states of the identities it names.
    Stop {
        /// On what.
        scope: MarkScope,
        /// Reversible or not.
        effect: MarkEffect,
        /// Identities whose state changes with it.
        members: Vec<IdentityId>,
    },
}

/// What became true, up to a position.
#[derive(Debug, Clone)]
pub struct News {
    /// The position that takes all of it into account.
    pub pos: StatePos,
    /// The epoch there.
    pub epoch: Epoch,
    /// What is true now of everything that was touched; the position comes last.
    pub facts: Vec<Fact>,
}

/// Why nothing was written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Another process has started under this name.
    Fenced,
    /// The position is ahead of the log.
    NoSuchPosition,
    /// The rules of the room do not allow it in this state.
    Rule,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Touched {
    Identity(IdentityId),
    Mark(MarkScope),
    Task(TaskId),
}

#[derive(Debug, Clone, Default)]
struct Rows {
    epoch: Epoch,
    identities: BTreeMap<IdentityId, Arc<Identity>>,
    tasks: BTreeMap<TaskId, (Arc<Task>, Arc<Grant>)>,
    marks: BTreeMap<(MarkScope, MarkEffect), Epoch>,
    /// What never changes.
    others: Vec<Fact>,
    log: Vec<BTreeSet<Touched>>,
}

/// The model.
#[derive(Debug, Default)]
pub(crate) struct Database {
    rows: Rows,
    nodes: BTreeMap<NodeName, Word>,
    lead: Option<Lead>,
    /// Planted: a start under a name leaves older processes of it alone.
    pub(crate) unfenced: bool,
    /// Planted: reading is done from a copy that is so old, microseconds.
    pub(crate) lag: Option<u64>,
    past: VecDeque<(u64, Rows)>,
}

impl Database {
    /// A store in which `facts` are true.
    pub(crate) fn holding(facts: Vec<Fact>) -> Self {
        let mut rows = Rows::default();
        for fact in facts {
            match fact {
                Fact::Identity(identity) => {
                    rows.identities.insert(identity.id.clone(), identity);
                }
                Fact::Task(task, grant) => {
                    rows.tasks.insert(task.id.clone(), (task, grant));
                }
                other => rows.others.push(other),
            }
        }
        Self {
            rows,
            ..Self::default()
        }
    }

    /// The next fence of this name: whatever ran under it before can write nothing from here on. `None` when an
    /// operator has fenced it.
    pub(crate) fn start(&mut self, node: &NodeName, lease: Duration) -> Option<u64> {
        let before = self.nodes.get(node);
        if before.is_some_and(|word| word.standing == Standing::Fenced) {
            return None;
        }
        let fence = match before {
            Some(word) if self.unfenced => word.fence,
            Some(word) => word.fence + 1,
            None => 1,
        };
        let word = Word {
            node: node.clone(),
            fence,
            beat: before.map_or(0, |word| word.beat),
            epoch: before.map_or(Epoch::default(), |word| word.epoch),
            lease,
            standing: Standing::Live,
        };
        self.nodes.insert(node.clone(), word);
        Some(fence)
    }

    /// An operator fences a node; `false` for one that never came so far as to be known.
    pub(crate) fn fence(&mut self, node: &NodeName) -> bool {
        let Some(word) = self.nodes.get_mut(node) else {
            return false;
        };
        word.fence += 1;
        word.standing = Standing::Fenced;
        true
    }

    /// And lets it back.
    pub(crate) fn readmit(&mut self, node: &NodeName) {
        if let Some(word) = self
            .nodes
            .get_mut(node)
            .filter(|w| w.standing == Standing::Fenced)
        {
            word.standing = Standing::Left;
        }
    }

    /// Takes the lead where the term is still `from`.
    pub(crate) fn take_lead(&mut self, node: &NodeName, fence: u64, from: u64) {
        if self.lead.as_ref().map_or(0, |lead| lead.term) == from {
            self.lead = Some(Lead {
                node: node.clone(),
                fence,
                term: from + 1,
            });
        }
    }

    pub(crate) fn head(&self) -> (StatePos, Epoch) {
        self.rows.head()
    }

    /// Whether what a kill of this scope ends is ended: by its mark, or because it had ended before.
    pub(crate) fn has_ended(&self, scope: &MarkScope) -> bool {
        let ended = match scope {
            MarkScope::Identity(id) => {
                let found = self.rows.identities.get(id);
                found.is_none_or(|identity| matches!(identity.state, inventory::State::Retired { .. }))
            }
            MarkScope::Task(id) => {
                let found = self.rows.tasks.get(id);
                found.is_none_or(|(task, _)| task.state != TaskState::Open)
            }
            _ => false,
        };
        ended || self.rows.marks.contains_key(&(scope.clone(), MarkEffect::Kill))
    }

    /// Everything, for a process that begins.
    pub(crate) fn facts(&self) -> News {
        self.rows.everything()
    }

    /// What became true since `from`, at `now`.
    pub(crate) fn changes(&self, from: StatePos, now: u64) -> Result<News, Refused> {
        let Some(lag) = self.lag else {
            return self.rows.changes(from);
        };
        let old = self.past.iter().rev().find(|(at, _)| at + lag <= now);
        match old.filter(|(_, rows)| rows.head().0 > from) {
            Some((_, rows)) => rows.changes(from),
            // A copy that lags has nothing new to say, and no error.
            None => Ok(News {
                pos: from,
                epoch: Epoch::default(),
                facts: Vec::new(),
            }),
        }
    }

    /// Writes this node's word and reads everybody's.
    pub(crate) fn beat(&mut self, node: &NodeName, fence: u64, epoch: Epoch) -> Option<Words> {
        let is_its = |word: &&mut Word| word.fence == fence && word.standing != Standing::Fenced;
        let word = self.nodes.get_mut(node).filter(is_its)?;
        word.beat += 1;
        word.epoch = epoch;
        Some(Words {
            nodes: self.nodes.values().cloned().collect(),
            lead: self.lead.clone(),
        })
    }

    /// Carries out a command, after telling what others did since `told`.
    pub(crate) fn commit(
        &mut self,
        (node, fence): (&NodeName, u64),
        told: StatePos,
        change: &Change,
        now: u64,
    ) -> Result<News, Refused> {
        if self.nodes.get(node).is_none_or(|word| word.fence != fence) {
            return Err(Refused::Fenced);
        }
        // Worked out on a copy: whole or not at all.
        let mut rows = self.rows.clone();
        let touched = rows.carry_out(change)?;
        rows.log.push(touched);
        self.rows = rows;
        if self.lag.is_some() {
            self.past.push_back((now, self.rows.clone()));
            if self.past.len() > PAST_MAX {
                self.past.pop_front();
            }
        }
        self.rows.changes(told)
    }
}

/// The model alone, as its contract asks for it.
#[derive(Debug)]
pub struct Model {
    database: Database,
    identities: Vec<IdentityId>,
}

impl Model {
    /// A store with the simulated world in it.
    ///
    /// # Errors
    /// [`Violation`] when that world cannot be made.
    pub fn new() -> Result<Self, Violation> {
        let world = World::new()?;
        let tenant = world.tenants.first();
        let tenant = tenant.ok_or_else(|| Violation::broken("no tenant"))?;
        Ok(Self {
            identities: (1..=2).map(|n| identity_id(tenant, n)).collect(),
            database: Database::holding(world.facts()?),
        })
    }

    /// Plants the defect that a start leaves older processes of its name alone.
    pub fn leave_past_starts_alone(&mut self) {
        self.database.unfenced = true;
    }
}

impl SharedStore for Model {
    type Node = (NodeName, u64);

    fn start(&mut self, name: &NodeName) -> Self::Node {
        let fence = self.database.start(name, Duration::from_secs(5));
        // No fence is zero: what is not admitted can write nothing.
        (name.clone(), fence.unwrap_or(0))
    }

    fn identities(&self) -> Vec<IdentityId> {
        self.identities.clone()
    }

    fn commit(&mut self, node: &Self::Node, change: &Change) -> Result<(StatePos, Epoch), Refused> {
        let told = self.database.head().0;
        let news = self.database.commit((&node.0, node.1), told, change, 0)?;
        Ok((news.pos, news.epoch))
    }

    fn head(&mut self) -> (StatePos, Epoch) {
        self.database.head()
    }

    fn changes(&mut self, _node: &Self::Node, from: StatePos) -> Result<News, Refused> {
        self.database.changes(from, 0)
    }
}

impl Rows {
    fn head(&self) -> (StatePos, Epoch) {
        (StatePos(self.log.len() as u64), self.epoch)
    }

    fn everything(&self) -> News {
        let mut facts = self.others.clone();
        facts.extend(self.identities.values().map(|i| Fact::Identity(Arc::clone(i))));
        let tasks = self.tasks.values();
        facts.extend(tasks.map(|(task, grant)| Fact::Task(Arc::clone(task), Arc::clone(grant))));
        facts.extend(self.marks.iter().map(|((scope, effect), epoch)| {
            Fact::Mark(Mark {
                scope: scope.clone(),
                effect: *effect,
                epoch: *epoch,
            })
        }));
        self.up_to_here(facts)
    }

    fn up_to_here(&self, mut facts: Vec<Fact>) -> News {
        let (pos, epoch) = self.head();
        facts.push(Fact::Position(pos, epoch));
        News { pos, epoch, facts }
    }

    fn changes(&self, from: StatePos) -> Result<News, Refused> {
        let from = usize::try_from(from.0).unwrap_or(usize::MAX);
        let since = self.log.get(from..).ok_or(Refused::NoSuchPosition)?;
        let touched: BTreeSet<&Touched> = since.iter().flatten().collect();
        let mut facts = Vec::new();
        for thing in touched {
            match thing {
                Touched::Identity(id) => {
                    facts.extend(self.identities.get(id).map(|i| Fact::Identity(Arc::clone(i))));
                }
                Touched::Task(id) => {
                    let found = self.tasks.get(id);
                    facts.extend(found.map(|(t, g)| Fact::Task(Arc::clone(t), Arc::clone(g))));
                }
                Touched::Mark(scope) => self.tell_marks(scope, &mut facts),
            }
        }
        Ok(self.up_to_here(facts))
    }

    fn tell_marks(&self, scope: &MarkScope, facts: &mut Vec<Fact>) {
        let held = |effect| self.marks.get(&(scope.clone(), effect)).copied();
        if held(MarkEffect::Suspend).is_none() {
            facts.push(Fact::MarkLifted(scope.clone()));
        }
        for effect in [MarkEffect::Suspend, MarkEffect::Kill] {
            facts.extend(held(effect).map(|epoch| {
                Fact::Mark(Mark {
                    scope: scope.clone(),
                    effect,
                    epoch,
                })
            }));
        }
    }

    fn carry_out(&mut self, change: &Change) -> Result<BTreeSet<Touched>, Refused> {
        match change {
            Change::Lift(scope) => self.lift(scope),
            Change::Register(identity, task, grant) => {
                self.identities.insert(identity.id.clone(), Arc::clone(identity));
                let both = (Arc::clone(task), Arc::clone(grant));
                self.tasks.insert(task.id.clone(), both);
                Ok([
                    Touched::Identity(identity.id.clone()),
                    Touched::Task(task.id.clone()),
                ]
                .into())
            }
            Change::Stop {
                scope,
                effect,
                members,
            } => self.stop(scope, *effect, members),
        }
    }

    fn stop(
        &mut self,
        scope: &MarkScope,
        effect: MarkEffect,
        members: &[IdentityId],
    ) -> Result<BTreeSet<Touched>, Refused> {
        self.epoch = self.epoch.next();
        self.marks.insert((scope.clone(), effect), self.epoch);
        let mut touched = BTreeSet::from([Touched::Mark(scope.clone())]);
        if let (MarkScope::Task(id), MarkEffect::Kill) = (scope, effect) {
            let (task, grant) = self.tasks.get(id).cloned().ok_or(Refused::Rule)?;
            let closed = close_task(Task::clone(&task), "killed", START).map_err(|_| Refused::Rule)?;
            self.tasks.insert(id.clone(), (Arc::new(closed.after), grant));
            touched.insert(Touched::Task(id.clone()));
        }
        let is_single = matches!(scope, MarkScope::Identity(_));
        for id in members {
            let identity = self.identities.get(id).ok_or(Refused::Rule)?;
            let identity = Identity::clone(identity);
            let moved = if effect == MarkEffect::Kill {
                inventory::retire(identity, "killed", START)
            } else {
                inventory::suspend(identity, "suspended", START)
            };
            match moved {
                Ok(transition) => {
                    self.identities.insert(id.clone(), Arc::new(transition.after));
                    touched.insert(Touched::Identity(id.clone()));
                }
                Err(_) if is_single => return Err(Refused::Rule),
                Err(_) => {}
            }
        }
        Ok(touched)
    }

    fn lift(&mut self, scope: &MarkScope) -> Result<BTreeSet<Touched>, Refused> {
        let suspended = self.marks.remove(&(scope.clone(), MarkEffect::Suspend));
        suspended.ok_or(Refused::Rule)?;
        let mut touched = BTreeSet::from([Touched::Mark(scope.clone())]);
        let named = |identity: &Identity| match scope {
            MarkScope::Identity(id) => identity.id == *id,
            MarkScope::Agent(tenant, label) => {
                identity.id.tenant() == tenant && identity.labels.agent.as_ref() == Some(label)
            }
            MarkScope::Owner(tenant, team) => identity.id.tenant() == tenant && identity.owner.team == *team,
            _ => false,
        };
        for identity in self.identities.values_mut().filter(|identity| named(identity)) {
            let own = (MarkScope::Identity(identity.id.clone()), MarkEffect::Suspend);
            if self.marks.contains_key(&own) {
                continue;
            }
            if let Ok(transition) = inventory::resume(Identity::clone(identity), START) {
                *identity = Arc::new(transition.after);
                touched.insert(Touched::Identity(identity.id.clone()));
            }
        }
        Ok(touched)
    }
}
