//! A machine: what outlives the process on it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bailiwick_audit::checkpoint::Checkpoint;
use bailiwick_audit::fsck::{Content, Fsck, Order};
use bailiwick_base::{DecisionId, NodeName, Time};
use bailiwick_journal::{Disk, JournalError, SteppedLog, TileFolder};
use serde_json::Value;

use super::clock::Drift;
use super::history::Violation;
use super::process::{Ask, LOG, Process, chain};
use crate::chance::Chance;
use crate::disk::MemoryDisk;

/// How a process ends without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// What it wrote is there.
    Killed,
    /// What it did not flush may be gone.
    PowerLost,
}

pub(crate) struct Machine {
    pub(crate) name: NodeName,
    pub(crate) disk: MemoryDisk,
    pub(crate) drift: Drift,
    /// Counts its processes.
    pub(crate) life: u64,
    pub(crate) process: Option<Process>,
    /// Until when the process is stopped by a signal.
    pub(crate) paused_until: u64,
    /// Until when nothing passes between it and the store.
    pub(crate) cut_until: u64,
    /// How the process ends when its disk says so.
    pub(crate) fused: Crash,
    /// A write of the decision log is under way.
    pub(crate) writing: bool,
    pub(crate) tick_at: Option<u64>,
    /// What was asked of the store and not answered.
    pub(crate) asks: BTreeMap<u64, Ask>,
    /// Records behind permits that somebody acted on.
    pub(crate) acted_on: BTreeMap<u64, DecisionId>,
    /// Stops that a killed process left in the journal's file.
    pub(crate) brought_back: Vec<u64>,
    /// Another machine runs under its name: it does not start again.
    pub(crate) replaced: bool,
    /// Checkpoints that somebody has seen.
    pub(crate) shown: Vec<Checkpoint>,
}

impl Machine {
    pub(crate) fn new(name: NodeName, ppm: i64) -> Result<Self, Violation> {
        let disk = MemoryDisk::new();
        // The service's folder is there before it starts.
        let made = disk
            .create_folders(Path::new("/data"))
            .and_then(|()| disk.sync_folder(Path::new("/")));
        made.map_err(|e| Violation::broken(&e))?;
        Ok(Self {
            name,
            disk,
            drift: Drift {
                ppm,
                ..Drift::default()
            },
            life: 0,
            process: None,
            paused_until: 0,
            cut_until: 0,
            fused: Crash::Killed,
            writing: false,
            tick_at: None,
            asks: BTreeMap::new(),
            acted_on: BTreeMap::new(),
            brought_back: Vec::new(),
            replaced: false,
            shown: Vec::new(),
        })
    }

    /// Another machine with a copy of this one's disk, as it is at this moment.
    pub(crate) fn copy(&self) -> Self {
        Self {
            name: self.name.clone(),
            disk: self.disk.after_kill(),
            drift: Drift {
                ppm: -self.drift.ppm,
                ..Drift::default()
            },
            life: 0,
            process: None,
            paused_until: 0,
            cut_until: 0,
            fused: Crash::Killed,
            writing: false,
            tick_at: None,
            asks: BTreeMap::new(),
            acted_on: self.acted_on.clone(),
            brought_back: Vec::new(),
            replaced: false,
            shown: self.shown.clone(),
        }
    }

    /// The process is gone, and what it had not flushed perhaps too.
    pub(crate) fn crash(&mut self, how: Crash, chance: &mut Chance) {
        if let Some(process) = self.process.take() {
            match how {
                Crash::Killed => self.brought_back.extend(process.written()),
                Crash::PowerLost => self.brought_back.clear(),
            }
        } else if how == Crash::PowerLost {
            self.brought_back.clear();
        }
        self.disk = match how {
            Crash::Killed => self.disk.after_kill(),
            Crash::PowerLost => self.disk.after_power_loss(chance),
        };
        self.asks.clear();
        self.tick_at = None;
        self.writing = false;
        self.paused_until = 0;
    }

    /// Whether the records behind all permits are in the log.
    pub(crate) fn require_records(&self, at: u64, log: &SteppedLog) -> Result<(), Violation> {
        let mut missing = self.acted_on.clone();
        let read = log.log().recall(Time::from_micros(0), u64::MAX, |entry| {
            let expected = missing.get(&entry.index).map(ToString::to_string);
            let payload: Option<Value> = serde_json::from_slice(&entry.sealed).ok();
            let said = |name: &str| payload.as_ref()?.get(name)?.as_str().map(str::to_owned);
            if expected.is_some()
                && said("decision") == expected
                && said("effect").as_deref() == Some("permit")
            {
                missing.remove(&entry.index);
            }
            Ok::<(), JournalError>(())
        });
        if let Err(error) = read {
            return Err(self.broken(at, "all logs verify", &chain(&error)));
        }
        match missing.iter().next() {
            None => Ok(()),
            Some((index, id)) => Err(self.broken(
                at,
                "nothing acknowledged is lost",
                &format!(
                    "{} permits have no record, the first is `{id}` at {index}",
                    missing.len()
                ),
            )),
        }
    }

    /// Publishes, and keeps what was shown.
    pub(crate) fn publish(&mut self) {
        if let Some(process) = &mut self.process
            && process.log.publish().is_ok()
            && !process.disk.has_stopped()
        {
            let shown = process.log.log().checkpoint().checkpoint().clone();
            self.shown.push(shown);
        }
    }

    /// Whether the log verifies from its tiles alone, and extends everything that was shown of it.
    pub(crate) fn require_sound(
        &self,
        at: u64,
        log: &mut SteppedLog,
        disk: &MemoryDisk,
    ) -> Result<(), Violation> {
        if let Err(error) = log.publish() {
            return Err(self.broken(at, "all logs verify", &chain(&error)));
        }
        let folder = TileFolder::on(&(Arc::new(disk.clone()) as Arc<dyn Disk>), LOG);
        let checkpoint = log.log().checkpoint().checkpoint().clone();
        let order = Order {
            // Wall clocks jump.
            at: false,
            epoch: true,
            state_pos: true,
        };
        let found = Fsck::new(&folder, checkpoint, Content::Leaves(order))
            .with_known(self.shown.clone())
            .run();
        match found {
            Err(error) => Err(self.broken(at, "all logs verify", &chain(&error))),
            Ok(report) => match report.findings.first() {
                None => Ok(()),
                Some(finding) => Err(self.broken(at, "all logs verify", &format!("{finding:?}"))),
            },
        }
    }

    fn broken(&self, at: u64, rule: &'static str, detail: &str) -> Violation {
        Violation {
            at,
            rule,
            detail: format!("{}: {detail}", self.name),
        }
    }
}
