//! Processes that start, and what has to be there at the end.

use std::sync::Arc;

use bailiwick_base::Clock as _;

use super::{HEALED, Happening, MILLI, Simulation};

use crate::disk::FusedDisk;
use crate::run::bug::Bug;
use crate::run::clock::ProcessClock;
use crate::run::database::Refused;
use crate::run::history::Violation;
use crate::run::machine::Crash;
use crate::run::process::{Ground, Process, open};

impl Simulation {
    pub(super) fn start(&mut self, node: usize) -> Result<(), Violation> {
        let (now, seed) = (self.now, self.plan.seed);
        let Some(machine) = self.machines.get_mut(node) else {
            return Ok(());
        };
        if machine.process.is_some() || machine.replaced {
            return Ok(());
        }
        if machine.cut_until > now {
            let at = machine.cut_until + MILLI;
            self.push(at, Happening::Start(node));
            return Ok(());
        }
        let unflushed = self.plan.bug.map_or(&[][..], Bug::unflushed);
        let disk = FusedDisk::over(&machine.disk).without_flushes(unflushed);
        if now < self.troubled_until && self.chance.once_in(8) {
            machine.fused = if self.chance.once_in(2) {
                Crash::Killed
            } else {
                Crash::PowerLost
            };
            disk.stop_after(1 + self.chance.below(400));
        }
        let ground = Ground {
            world: &self.world,
            name: &machine.name,
            disk: disk.clone(),
            clock: Arc::new(ProcessClock::new(&self.instant, &machine.drift)),
            seed: seed ^ (machine.life << 8) ^ node as u64,
            bounds: self.bounds,
            bug: self.plan.bug,
        };
        let opened = open(&ground);
        let opened = opened
            .map_err(|why| Violation {
                at: now,
                rule: "a node starts again whatever happened to it",
                detail: format!("node {node}: {why}"),
            })
            .and_then(|opened| {
                machine.require_records(now, opened.log())?;
                Ok(opened)
            });
        // What was not found on a disk that has stopped may well be there.
        if disk.has_stopped() {
            let how = machine.fused;
            drop(opened);
            self.crash(node, how);
            return Ok(());
        }
        let opened = opened?;
        let Some(fence) = self.database.start(&machine.name, self.bounds.refuse()) else {
            // Fenced by an operator: the process ends with that word.
            self.push(now + 500 * MILLI, Happening::Start(node));
            return Ok(());
        };
        let news = self.database.facts();
        let process = Process::begin(&ground, opened, fence, news)?;
        let life = machine.life;
        machine.process = Some(process);
        self.note(|| format!("node {node}: starts, life {life}"));
        let at = self.now + MILLI + self.below(100 * MILLI);
        self.push(at, Happening::Listen { node, life });
        Ok(())
    }

    /// The stops of earlier lives are in force and in the store; then the process listens.
    pub(super) fn listen(&mut self, node: usize, life: u64) -> Result<(), Violation> {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(node).filter(|machine| machine.life == life) else {
            return Ok(());
        };
        if machine.cut_until > now {
            let at = machine.cut_until + MILLI;
            self.push(at, Happening::Listen { node, life });
            return Ok(());
        }
        let Some(process) = &mut machine.process else {
            return Ok(());
        };
        let by = (&machine.name, process.fence);
        for (slot, pending, change) in process.replays() {
            let (told, _) = process.position();
            let news = self.database.commit(by, told, &change, now);
            if matches!(news, Err(Refused::Fenced)) {
                // The start fails, and what the kill journal holds waits for the next.
                let how = machine.fused;
                self.crash(node, how);
                return Ok(());
            }
            process.replayed(slot, pending, news);
        }
        let epoch = process.cell.load().epoch();
        if process.disk.has_stopped() || self.database.beat(by.0, by.1, epoch).is_none() {
            let how = machine.fused;
            self.crash(node, how);
            return Ok(());
        }
        process.listening = true;
        self.history.acknowledge(node, now, epoch);
        for stop in std::mem::take(&mut machine.brought_back) {
            // A kill survives a crash of the process after any step.
            self.history.promise(stop, now);
        }
        self.note(|| format!("node {node}: listens at epoch {epoch}"));
        self.look_ahead(node);
        Ok(())
    }

    pub(super) fn publish(&mut self, node: usize) {
        if let Some(machine) = self.machines.get_mut(node).filter(|m| m.paused_until <= self.now) {
            machine.publish();
            let how = machine.fused;
            if machine
                .process
                .as_ref()
                .is_some_and(|process| process.disk.has_stopped())
            {
                self.crash(node, how);
            }
        }
        let at = self.now + 300 * MILLI + self.below(500 * MILLI);
        self.push(at, Happening::Publish(node));
    }

    // The end.

    pub(super) fn require_well(&mut self) -> Result<(), Violation> {
        for (stop, scope) in self.history.promised_kills() {
            if !self.database.has_ended(scope) {
                return Err(self.violation(
                    "nothing acknowledged is lost",
                    format!("kill {stop} of {scope:?} was promised and is not in the store"),
                ));
            }
        }
        for node in 0..self.machines.len() {
            self.require_node_well(node)?;
        }
        Ok(())
    }

    pub(super) fn require_node_well(&mut self, node: usize) -> Result<(), Violation> {
        let at = self.now;
        let serves = self
            .machines
            .get(node)
            .and_then(|machine| machine.process.as_ref());
        let serves = serves.is_some_and(|p| p.listening && p.cell.is_fresh(p.clock.monotonic()));
        let is_wanted = self.machines.get(node).is_some_and(|machine| !machine.replaced);
        if !serves && is_wanted {
            let detail = format!("node {node} does not serve {HEALED} us after everything healed");
            return Err(self.violation("service comes back", detail));
        }
        let Some(machine) = self.machines.get_mut(node) else {
            return Ok(());
        };
        // Power is lost once more, and then everything is looked at.
        machine.crash(Crash::PowerLost, &mut self.chance);
        let disk = machine.disk.clone();
        let ground = Ground {
            world: &self.world,
            name: &machine.name,
            disk: FusedDisk::over(&disk),
            clock: Arc::new(ProcessClock::new(&self.instant, &machine.drift)),
            seed: 0,
            bounds: self.bounds,
            bug: None,
        };
        let mut opened = open(&ground).map_err(|why| Violation {
            at,
            rule: "a node starts again whatever happened to it",
            detail: format!("node {node}: {why}"),
        })?;
        machine.require_records(at, opened.log())?;
        machine.require_sound(at, opened.log_mut(), &disk)
    }
}
