//! What goes wrong.

use std::sync::atomic::Ordering;

use super::{COMMIT_MAX, Happening, MILLI, SECOND, Simulation};
use crate::run::machine::Crash;

impl Simulation {
    pub(super) fn trouble(&mut self, node: usize, how: Crash, after: Option<u64>) {
        let Some(machine) = self.machines.get_mut(node) else {
            return;
        };
        match (after, &machine.process) {
            (Some(calls), Some(process)) => {
                machine.fused = how;
                process.disk.stop_after(calls);
            }
            _ => self.crash(node, how),
        }
    }

    pub(super) fn crash(&mut self, node: usize, how: Crash) {
        self.note(|| format!("node {node}: {how:?}"));
        let Some(machine) = self.machines.get_mut(node) else {
            return;
        };
        self.summary.crashes += 1;
        machine.crash(how, &mut self.chance);
        machine.life += 1;
        let over = self.now + COMMIT_MAX;
        for lift in self
            .lifts
            .extract_if(.., |_, (at, _)| *at == node)
            .map(|(lift, _)| lift)
        {
            self.history.lift_over(lift, over);
        }
        let lost = self.load.calls.extract_if(.., |_, made| made.node == node);
        let agents: Vec<usize> = lost.map(|(_, made)| made.agent).collect();
        for agent in agents {
            self.again(agent, false);
        }
        let at = self.now + 10 * MILLI + self.below(2 * SECOND);
        self.push(at, Happening::Start(node));
    }

    /// Between this machine and the store.
    pub(super) fn cut(&mut self, node: usize, span: u64) {
        self.note(|| format!("node {node}: cut off from the store for {span} us"));
        self.summary.cuts += 1;
        if let Some(machine) = self.machines.get_mut(node) {
            machine.cut_until = machine.cut_until.max(self.now + span);
        }
    }

    pub(super) fn pause(&mut self, node: usize, span: u64) {
        self.note(|| format!("node {node}: stopped by a signal for {span} us"));
        if let Some(machine) = self.machines.get_mut(node) {
            machine.paused_until = self.now + span;
        }
    }

    pub(super) fn jump(&mut self, node: usize, micros: i64) {
        self.note(|| format!("node {node}: wall clock off by {micros} us"));
        if let Some(machine) = self.machines.get_mut(node) {
            machine.drift.jump.store(micros, Ordering::Relaxed);
        }
    }

    pub(super) fn fence(&mut self, node: usize) {
        let Some(machine) = self.machines.get(node) else {
            return;
        };
        if !self.database.fence(&machine.name) {
            return self.note(|| format!("node {node}: nobody knows it, and nobody fences it"));
        }
        let was_replaced = machine.replaced;
        self.note(|| format!("node {node}: fenced by an operator"));
        if !was_replaced {
            // Whatever it read before lets it answer for its lease at most, on a clock that is a little slow.
            let lease = u64::try_from(self.bounds.refuse().as_micros()).unwrap_or(0);
            self.history.silence(node, self.now + lease + lease / 50);
        }
        let at = self.now + SECOND + self.below(4 * SECOND);
        self.push(at, Happening::Readmit(node));
    }

    pub(super) fn readmit(&mut self, node: usize) {
        self.note(|| format!("node {node}: let back by an operator"));
        let Some(machine) = self.machines.get(node) else {
            return;
        };
        self.database.readmit(&machine.name);
        self.history.unsilence(node);
        // It is started again to come back.
        self.crash(node, Crash::Killed);
    }

    /// A machine that is cut off until its word is over is replaced by another with a copy of its disk, and comes back
    /// later.
    pub(super) fn replace(&mut self, node: usize, is_over: bool) {
        let lease = u64::try_from(self.bounds.refuse().as_micros()).unwrap_or(0);
        let Some(machine) = self.machines.get_mut(node) else {
            return;
        };
        if machine.replaced || machine.process.is_none() || self.now + 2 * lease > self.troubled_until {
            return;
        }
        if !is_over {
            let over = self.now + lease + lease / 10;
            machine.cut_until = over + self.chance.below(2 * SECOND);
            self.push(over, Happening::Replace { node, is_over: true });
            return;
        }
        let copy = machine.copy();
        machine.replaced = true;
        self.machines.push(copy);
        let other = self.machines.len() - 1;
        self.note(|| format!("node {node}: replaced by node {other} with a copy of its disk"));
        self.push(self.now, Happening::Start(other));
        self.push(self.now + 500 * MILLI, Happening::Publish(other));
    }

    pub(super) fn heal(&mut self) {
        self.note(|| "everything heals".to_owned());
        for node in 0..self.machines.len() {
            let Some(machine) = self.machines.get_mut(node) else {
                continue;
            };
            machine.cut_until = 0;
            machine.drift.jump.store(0, Ordering::Relaxed);
            self.database.readmit(&machine.name);
            self.history.unsilence(node);
            // Clocks that jumped are set right by a start.
            self.crash(node, Crash::Killed);
        }
        for number in 0..self.history.suspensions().len() as u64 {
            self.push(self.now + 4 * SECOND + number * 20 * MILLI, Happening::Lift);
        }
    }
}
