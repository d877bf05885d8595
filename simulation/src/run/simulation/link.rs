//! Between processes and the store.

use super::{ASK_MAX, COMMIT_MAX, Happening, Simulation};
use crate::run::history::Violation;
use crate::run::process::{Ask, Reply};

impl Simulation {
    pub(super) fn is_cut(&self, node: usize) -> bool {
        self.machines
            .get(node)
            .is_none_or(|machine| machine.cut_until > self.now)
    }

    pub(super) fn ask(&mut self, node: usize, life: u64, fence: u64, ask: Ask) {
        self.next += 1;
        let number = self.next;
        let patience = if matches!(ask, Ask::Commit { .. }) {
            COMMIT_MAX
        } else {
            ASK_MAX
        };
        if let Some(machine) = self.machines.get_mut(node) {
            machine.asks.insert(number, ask.clone());
        }
        self.push(self.now + patience, Happening::Timeout { node, life, number });
        if self.is_cut(node) {
            return;
        }
        let at = self.now + self.way();
        self.push(
            at,
            Happening::AtStore {
                node,
                life,
                number,
                fence,
                ask,
            },
        );
    }

    pub(super) fn at_store(&mut self, node: usize, life: u64, number: u64, fence: u64, ask: &Ask) {
        let Some(machine) = self.machines.get(node) else {
            return;
        };
        if self.is_cut(node) {
            return;
        }
        let name = machine.name.clone();
        let reply = match ask {
            Ask::Beat(epoch) => {
                let words = self.database.beat(&name, fence, *epoch);
                if words.is_some() {
                    self.history.acknowledge(node, self.now, *epoch);
                }
                Reply::Beat(words)
            }
            Ask::Commit { told, change, .. } => {
                let done = self.database.commit((&name, fence), *told, change, self.now);
                if done.is_ok() {
                    self.hint();
                }
                Reply::Commit(done)
            }
            Ask::Read { told } => Reply::Read(self.database.changes(*told, self.now)),
            Ask::Take(from) => {
                self.database.take_lead(&name, fence, *from);
                Reply::Take
            }
        };
        let at = self.now + self.way();
        self.push(
            at,
            Happening::Reply {
                node,
                life,
                number,
                reply,
            },
        );
    }

    /// Hints are lost, doubled and late as chance wants.
    pub(super) fn hint(&mut self) {
        for node in 0..self.machines.len() {
            let life = self.machines.get(node).map_or(0, |machine| machine.life);
            let times = match self.below(8) {
                0..2 => 0,
                2..7 => 1,
                _ => 2,
            };
            for _ in 0..times {
                let at = self.now + self.way();
                if !self.is_cut(node) {
                    self.push(at, Happening::Hint { node, life });
                }
            }
        }
    }

    pub(super) fn reply(
        &mut self,
        node: usize,
        life: u64,
        number: u64,
        reply: Option<Reply>,
    ) -> Result<(), Violation> {
        if reply.is_some() && self.is_cut(node) {
            return Ok(());
        }
        let machine = self.machines.get_mut(node).filter(|machine| machine.life == life);
        let Some(ask) = machine.and_then(|machine| machine.asks.remove(&number)) else {
            return Ok(());
        };
        self.with(node, life, |process| process.reply(&ask, reply))
    }
}
