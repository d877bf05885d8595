//! Every call that the logs make of a disk, going wrong in every way, one at a time: what was acknowledged is
//! there at the next start, after a kill and after a loss of power.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bailiwick_base::{Epoch, IdentityId, Time};
use bailiwick_decide::{MarkEffect, MarkScope};
use bailiwick_journal::{DecisionLog, Deps, Disk, KillEntry, KillJournal, KillMark, LogConfig};
use bailiwick_simulation::{Chance, Fault, FaultyDisk, MemoryDisk, Step};
use uuid::Uuid;

use crate::rig::{TestSealer, config, deps, record, tenant, wait};

const LOG: &str = "/data/log";
const KILLS: &str = "/data/kill.journal";

fn kill(n: u8) -> KillEntry {
    KillEntry {
        at: Time::from_secs(1_763_750_000),
        actor: "opr_alice".to_owned(),
        marks: vec![KillMark {
            scope: MarkScope::Identity(IdentityId::from_parts(tenant("acme"), Uuid::from_u128(n.into()))),
            effect: MarkEffect::Kill,
        }],
        provisional_epoch: Epoch(u64::from(n) + 1),
        request: format!("req-{n}"),
        idempotency: None,
    }
}

/// What somebody was told, and may rely on.
#[derive(Debug, Clone, Default)]
struct Told {
    entries: BTreeMap<u64, Vec<u8>>,
    integrated: u64,
    kills: Vec<String>,
}

fn small() -> LogConfig {
    LogConfig {
        checkpoint_entries: 4,
        ..config()
    }
}

fn on(disk: Arc<dyn Disk>) -> Deps {
    Deps { disk, ..deps() }
}

/// Kills before decisions, as at a start; enough decisions for a second segment and a full checkpoint.
fn work(disk: &Arc<dyn Disk>, told: &mut Told, round: u8) {
    if let Ok((journal, _)) = KillJournal::open(&**disk, Path::new(KILLS)) {
        for n in 0..3 {
            let entry = kill(10 * round + n);
            let Ok(slot) = journal.write(&entry) else { continue };
            if journal.flush().is_ok() {
                told.kills.push(entry.request.clone());
            }
            if n == 1 {
                // The state log has this one: it need not come back.
                told.kills.retain(|request| *request != entry.request);
                journal.settle(slot).ok();
            }
        }
    }
    let Ok((log, _)) = DecisionLog::open(Path::new(LOG), small(), on(Arc::clone(disk))) else {
        return;
    };
    for n in 0..9_u8 {
        let payload = vec![b'a' + n; 30_000];
        if let Ok(index) = wait(log.append(record("acme", payload.clone()))) {
            told.entries.insert(index, payload);
        }
        if n % 4 == 3
            && let Ok(size) = log.integrate().or_else(|_| log.integrate())
        {
            told.integrated = size;
        }
    }
}

/// A disk with the data folder, which the service makes.
fn empty() -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_folders(Path::new("/data")).unwrap();
    disk.sync_folder(Path::new("/")).unwrap();
    disk
}

/// Opens what the run left, on a disk that works.
#[track_caller]
fn check(disk: MemoryDisk, told: &Told, what: &str) {
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let (_, unsettled) =
        KillJournal::open(&*disk, Path::new(KILLS)).unwrap_or_else(|error| panic!("{what}: kills: {error}"));
    for request in &told.kills {
        assert!(
            unsettled.iter().any(|(_, entry)| entry.request == *request),
            "{what}: kill {request} is lost"
        );
    }
    let (log, _) = DecisionLog::open(Path::new(LOG), small(), on(disk))
        .unwrap_or_else(|error| panic!("{what}: log: {}", chain(&error)));
    let size = log.checkpoint().checkpoint().size;
    assert!(
        size >= told.integrated,
        "{what}: {size} of {} are integrated",
        told.integrated
    );
    let sealer = TestSealer { erased: None };
    for (index, payload) in &told.entries {
        let entry = log
            .entry(*index)
            .unwrap()
            .unwrap_or_else(|| panic!("{what}: entry {index} is lost"));
        assert!(
            entry.open(&sealer, Some(&tenant("acme"))).unwrap() == *payload,
            "{what}: entry {index}"
        );
    }
    wait(log.append(record("acme", "after"))).unwrap_or_else(|error| panic!("{what}: {error}"));
    log.integrate().unwrap_or_else(|error| panic!("{what}: {error}"));
}

fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Once more after a kill and after a loss of power, a different one each time.
fn check_all(memory: &MemoryDisk, told: &Told, what: &str, seed: u64) {
    check(memory.after_kill(), told, &format!("{what}, then killed"));
    let lost = memory.after_power_loss(&mut Chance::of(seed));
    check(lost, told, &format!("{what}, then power loss {seed}"));
}

/// A folder that was used and closed, its steps in the run that follows, and what was told so far.
fn prepared() -> (MemoryDisk, Vec<Step>, Told) {
    let memory = empty();
    let mut told = Told::default();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    work(&disk, &mut told, 0);
    assert_eq!((told.entries.len(), told.kills.len()), (9, 2));
    let image = memory.after_kill();
    let faulty = FaultyDisk::over_memory(&memory.after_kill());
    let as_disk: Arc<dyn Disk> = Arc::new(faulty.clone());
    work(&as_disk, &mut told.clone(), 1);
    (image, faulty.steps(), told)
}

/// Lets `step` go wrong in a copy of `image`; whether the step was reached.
fn run(image: &MemoryDisk, told: &Told, (step, fault): (&Step, Fault), seed: u64) -> bool {
    let (memory, mut told) = (image.after_kill(), told.clone());
    let faulty = FaultyDisk::over_memory(&memory);
    faulty.arm(step.clone(), fault);
    let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
    work(&disk, &mut told, 1);
    check_all(&memory, &told, &format!("{fault:?} at {step}"), seed);
    faulty.has_fired()
}

/// Lets every call go wrong in every way, one at a time.
#[track_caller]
fn run_all(steps: &[Step], image: &MemoryDisk, told: &Told) {
    let (mut runs, mut missed) = (0_u64, 0_u64);
    for step in steps {
        for fault in Fault::ALL.into_iter().filter(|fault| fault.fits(step.verb)) {
            runs += 1;
            missed += u64::from(!run(image, told, (step, fault), runs));
        }
    }
    println!(
        "disk faults: {runs} runs over {} calls, {missed} not reached",
        steps.len()
    );
    assert!(missed * 20 < runs, "{missed} of {runs} calls were not made again");
}

#[test]
fn whatever_call_goes_wrong_nothing_acknowledged_is_lost() {
    let (image, steps, told) = prepared();
    run_all(&steps, &image, &told);
}

#[test]
fn a_first_start_that_goes_wrong_leaves_nothing_in_the_way_of_the_next() {
    let faulty = FaultyDisk::over_memory(&empty());
    let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
    work(&disk, &mut Told::default(), 0);
    run_all(&faulty.steps(), &empty(), &Told::default());
}

#[test]
fn with_the_disk_full_kills_are_still_written_and_decisions_go_on_in_the_space_that_is_there() {
    let (image, ..) = prepared();
    let faulty = FaultyDisk::over_memory(&image);
    let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
    let (journal, _) = KillJournal::open(&*disk, Path::new(KILLS)).unwrap();
    let (log, _) = DecisionLog::open(Path::new(LOG), small(), on(Arc::clone(&disk))).unwrap();
    faulty.fill();
    wait(log.append(record("acme", "in the segment"))).unwrap();
    let slot = journal.write(&kill(90)).unwrap();
    journal.flush().unwrap();
    journal.settle(slot).unwrap();
    journal.write(&kill(91)).unwrap();
    journal.flush().unwrap();
    drop((journal, log));
    let (_, unsettled) = KillJournal::open(&image.after_kill(), Path::new(KILLS)).unwrap();
    assert!(unsettled.iter().any(|(_, entry)| entry.request == "req-91"));
    assert!(!unsettled.iter().any(|(_, entry)| entry.request == "req-90"));
}
