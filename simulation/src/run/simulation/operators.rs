//! Operators that stop, resume and register.

use std::sync::Arc;

use bailiwick_decide::MarkScope;

use super::Simulation;
use crate::run::database::Change;
use crate::run::history::Violation;
use crate::run::load::pick;
use crate::run::process::{Errand, Tell};

impl Simulation {
    /// A node that takes commands.
    pub(super) fn some_listener(&mut self) -> Option<(usize, u64)> {
        let node = pick(&mut self.chance, self.machines.len());
        let machine = self.machines.get(node)?;
        if machine.replaced || machine.paused_until > self.now {
            return None;
        }
        let listens = machine.process.as_ref().is_some_and(|process| process.listening);
        listens.then_some((node, machine.life))
    }

    pub(super) fn press(&mut self) -> Result<(), Violation> {
        let Some((node, life)) = self.some_listener() else {
            return Ok(());
        };
        let Some((scope, effect)) = self.load.some_stop(&self.world, &mut self.chance) else {
            return Ok(());
        };
        self.next += 1;
        let stop = self.next;
        self.note(|| format!("node {node}: stop {stop}: {effect:?} {scope:?}"));
        self.history.press(stop, self.now, node, &scope, effect);
        self.with(node, life, |process| process.stop(stop, scope, effect))
    }

    pub(super) fn told(&mut self, node: usize, stop: u64, tell: Tell) {
        self.note(|| format!("node {node}: stop {stop} answered: {tell:?}"));
        match tell {
            Tell::Committed(_) | Tell::Local => {
                self.summary.stops += 1;
                self.history.promise(stop, self.now);
            }
            // It is in force as long as this process lives; nobody was promised more.
            Tell::Nowhere => {}
            Tell::Refused => self.history.refuse(stop),
        }
    }

    pub(super) fn lift(&mut self) -> Result<(), Violation> {
        let open = self.history.suspensions();
        let Some(scope) = open.get(pick(&mut self.chance, open.len())).cloned() else {
            return Ok(());
        };
        self.lift_scope(scope)
    }

    pub(super) fn lift_scope(&mut self, scope: MarkScope) -> Result<(), Violation> {
        let Some((node, life)) = self.some_listener() else {
            return Ok(());
        };
        self.next += 1;
        let lift = self.next;
        self.note(|| format!("node {node}: lift {lift} of {scope:?}"));
        self.history.lift(lift, &scope);
        self.lifts.insert(lift, (node, life));
        self.with(node, life, |process| {
            process.command(Errand::Lift(lift), Change::Lift(scope))
        })
    }

    pub(super) fn register(&mut self) -> Result<(), Violation> {
        let tenants = self.world.tenants.clone();
        let Some((node, life)) = self.some_listener() else {
            return Ok(());
        };
        // Both firms count alike.
        for tenant in tenants {
            let n = self.load.next_identity(&tenant);
            let (task, grant) = self.world.task(&tenant, n)?;
            let identity = self.world.identity(&tenant, n);
            let change = Change::Register(Arc::new(identity), Arc::new(task), Arc::new(grant));
            self.with(node, life, |process| process.command(Errand::Register, change))?;
        }
        Ok(())
    }
}
