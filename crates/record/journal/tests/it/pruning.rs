//! The oldest segments go, and everything that is left still proves itself.

use std::path::Path;
use std::sync::Arc;

use bailiwick_audit::checkpoint::{Origin, SignedCheckpoint};
use bailiwick_audit::entry::Leaf;
use bailiwick_audit::fsck::{Content, Order, fsck_log_from};
use bailiwick_audit::merkle::{verify_consistency, verify_inclusion};
use bailiwick_audit::proof::ProofFile;
use bailiwick_base::{Clock, ManualClock, Time};
use bailiwick_journal::{
    BASE, Base, DecisionLog, Deps, Disk, JournalError, LogConfig, LogReader, OsDisk, Passed, Plan,
    TileFolder, Why, export, read_base,
};
use bailiwick_simulation::{Chance, Fault, FaultyDisk, MemoryDisk};

use crate::rig::{
    ORIGIN, TestSealer, config, deps, entries, folder, image, note_key, open_log, record, segment, tenant,
    wait,
};

const START: i64 = 1_763_750_000;

fn clocked() -> (Deps, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(Time::from_secs(START)));
    let deps = Deps {
        clock: clock.clone(),
        ..deps()
    };
    (deps, clock)
}

/// A log of `count` entries of two tenants, one second apart, in segments of eight: payloads fill them.
fn fill(log: &DecisionLog, clock: &ManualClock, count: u64) {
    for n in 0..count {
        let name = if n % 3 == 0 { "globex" } else { "acme" };
        let payload = vec![b'a' + u8::try_from(n % 26).unwrap(); 30_000];
        wait(log.append(record(name, payload))).unwrap();
        clock.advance(std::time::Duration::from_secs(1));
    }
    log.integrate().unwrap();
}

/// The same with short ones, until tiles are full.
fn fill_tiles(log: &DecisionLog, count: u64) {
    for from in (0..count).step_by(500) {
        let waiting: Vec<_> = (from..count.min(from + 500))
            .map(|n| log.append(record("acme", format!("{{\"n\":{n}}}"))))
            .collect();
        for one in waiting {
            wait(one).unwrap();
        }
    }
    log.integrate().unwrap();
}

fn why() -> Why {
    Why {
        at: Time::from_secs(START + 10_000),
        by: "opr_alice".to_owned(),
        reason: "kept for long enough".to_owned(),
        state_size: 17,
    }
}

fn prune(log: &DecisionLog, before: Time) -> Base {
    let plan = log
        .plan_prune(before, u64::MAX)
        .unwrap()
        .expect("nothing to prune");
    let base = log.intend_prune(&plan, why()).unwrap();
    log.finish_prune(base.clone(), 17).unwrap();
    base
}

#[track_caller]
fn require_sound(dir: &Path) {
    let origin = Origin::parse(ORIGIN).unwrap();
    let base = read_base(dir, ORIGIN).unwrap().map(|kept| kept.base.to_fsck());
    let report = fsck_log_from(
        &TileFolder::new(dir),
        &origin,
        &[note_key(ORIGIN, 1).verifier],
        Content::Leaves(Order::default()),
        base.unwrap_or_default(),
    )
    .unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}

/// Every kept entry is provable, every size from the minimum on is one that the log extends.
#[track_caller]
fn require_provable(log: &DecisionLog, every: usize) {
    let signed = log.checkpoint();
    let shown = signed.checkpoint().clone();
    for index in (log.minimum()..shown.size).step_by(every) {
        let (leaf, proof, _) = log.prove_inclusion(index).unwrap();
        verify_inclusion(&proof, &leaf, &shown.root).unwrap();
        let entry = log.entry(index).unwrap().unwrap();
        assert_eq!(
            bailiwick_audit::merkle::leaf_hash(&entry.leaf),
            leaf,
            "entry {index}"
        );
        log.prove(index).unwrap();
    }
    for old in (log.minimum().max(1)..shown.size).step_by(every) {
        let (proof, _) = log.prove_consistency(old).unwrap();
        assert_eq!(proof.old_size, old);
    }
}

#[test]
fn what_is_kept_still_proves_itself_and_the_log_goes_on_after_a_start() {
    let dir = folder();
    let (deps, clock) = clocked();
    let (log, _) = open_log(dir.path(), config(), deps.clone()).unwrap();
    fill(&log, &clock, 40);
    let before = log.prove(3).unwrap().to_bytes();
    let older = log.checkpoint();
    let all = entries(dir.path());
    let plan: Plan = log
        .plan_prune(Time::from_secs(START + 20), u64::MAX)
        .unwrap()
        .unwrap();
    assert_eq!(
        (plan.base().minimum, plan.segments),
        (16, 2),
        "whole segments only"
    );
    let base = prune(&log, Time::from_secs(START + 20));
    assert!(!segment(dir.path(), 0).exists() && !segment(dir.path(), 1).exists());
    assert!(segment(dir.path(), 2).exists());
    require_provable(&log, 1);
    require_sound(dir.path());
    // What was proven before stays proven.
    let key = note_key(ORIGIN, 1).verifier;
    let origin = Origin::parse(ORIGIN).unwrap();
    ProofFile::parse(&before)
        .unwrap()
        .verify(&origin, &[key])
        .unwrap();
    for gone in [0, 3, 15] {
        let error = log.prove(gone).unwrap_err();
        assert!(
            matches!(&error, JournalError::Pruned { minimum: 16, reason, .. } if reason == "kept for long enough"),
            "{error}"
        );
        assert!(matches!(log.entry(gone), Err(JournalError::Pruned { .. })));
    }
    drop(log);
    let (log, recovery) = open_log(dir.path(), config(), deps).unwrap();
    assert_eq!((recovery.entries, recovery.segments), (40, 3));
    assert_eq!(log.base().unwrap().base, base);
    assert_eq!(log.last_at().unwrap(), Some(Time::from_secs(START + 39)));
    fill(&log, &clock, 10);
    require_provable(&log, 1);
    require_sound(dir.path());
    let (proof, newer) = log.prove_consistency(40).unwrap();
    verify_consistency(&proof, &older.checkpoint().root, &newer.checkpoint().root).unwrap();
    let left = entries(dir.path());
    assert_eq!(left[..24], all[16..], "numbers of tenants go on where they were");
    assert_eq!(left.len(), 34);
    // A reader that had passed what is gone, and one that asks for it, begin with what is kept.
    let passed = Arc::new(Passed::default());
    let page = LogReader::page(dir.path(), ORIGIN, &passed, 0..20, usize::MAX).unwrap();
    assert_eq!(page.iter().map(|e| e.index).collect::<Vec<_>>(), [16, 17, 18, 19]);
    let page = LogReader::page(dir.path(), ORIGIN, &passed, 0..10, usize::MAX).unwrap();
    assert!(page.is_empty());
    let mut recalled = Vec::new();
    let cut = log
        .recall(Time::from_secs(0), 1 << 20, |entry| {
            recalled.push(entry.index);
            Ok::<_, JournalError>(())
        })
        .unwrap();
    assert!(cut, "entries since then are gone");
    assert_eq!(recalled, (16..50).collect::<Vec<_>>());
    // A second time, on top of the first.
    prune(&log, Time::from_secs(START + 30));
    assert_eq!(log.minimum(), 24);
    require_provable(&log, 1);
    require_sound(dir.path());
}

#[test]
fn a_quiet_log_goes_on_in_another_segment_when_the_present_one_is_old_also_after_a_start() {
    let dir = folder();
    let (deps, clock) = clocked();
    let quiet = || LogConfig {
        segment_age_max: Some(std::time::Duration::from_secs(100)),
        ..config()
    };
    let (mut log, _) = open_log(dir.path(), quiet(), deps.clone()).unwrap();
    let length = |ordinal| std::fs::metadata(segment(dir.path(), ordinal)).unwrap().len();
    for ordinal in 1..5 {
        // The first entry begins the segment's age; a start in between does not begin it anew.
        wait(log.append(record("acme", "young"))).unwrap();
        clock.advance(std::time::Duration::from_secs(60));
        drop(log);
        (log, _) = open_log(dir.path(), quiet(), deps.clone()).unwrap();
        wait(log.append(record("acme", "still young"))).unwrap();
        assert_eq!(log.size(), (ordinal - 1) * 4 + 2, "{ordinal}");
        clock.advance(std::time::Duration::from_secs(60));
        // The first one behind its age asks for the next segment; nobody waits for it.
        wait(log.append(record("acme", "old"))).unwrap();
        drop(log);
        (log, _) = open_log(dir.path(), quiet(), deps.clone()).unwrap();
        wait(log.append(record("acme", "in the next one"))).unwrap();
        log.integrate().unwrap();
        assert_eq!(length(ordinal), length(0), "a quiet log needs no larger ones");
    }
    clock.advance(std::time::Duration::from_secs(1));
    let base = prune(&log, clock.now());
    assert_eq!((base.minimum, base.segment), (15, 4));
    require_provable(&log, 1);
    require_sound(dir.path());
    // What went is older than what is asked for: nothing of it is missed.
    let recall = |since| log.recall(since, 1 << 20, |_| Ok::<_, JournalError>(())).unwrap();
    assert!(!recall(Time::from_micros(base.newest_at().micros() + 1)));
    assert!(recall(base.newest_at()));
}

#[test]
fn tiles_that_lie_wholly_in_front_go_and_their_roots_stay() {
    let dir = folder();
    let clock = Arc::new(ManualClock::at(Time::from_secs(START)));
    let deps = Deps {
        clock: clock.clone(),
        ..deps()
    };
    let (log, _) = open_log(dir.path(), config(), deps.clone()).unwrap();
    fill_tiles(&log, 3_000);
    clock.advance(std::time::Duration::from_secs(1000));
    fill_tiles(&log, 1_000);
    let base = prune(&log, Time::from_secs(START + 500));
    assert!(base.minimum > 1_024, "{}", base.minimum);
    let whole = base.minimum / 256;
    let exists = |path: String| dir.path().join(path).exists();
    for tile in 0..15 {
        assert_eq!(
            exists(format!("tile/0/{tile:03}")),
            tile >= whole,
            "hash tile {tile}"
        );
        assert_eq!(
            exists(format!("tile/entries/{tile:03}")),
            tile >= whole,
            "bundle {tile}"
        );
    }
    require_provable(&log, 97);
    require_sound(dir.path());
    drop(log);
    let (log, _) = open_log(dir.path(), config(), deps).unwrap();
    fill_tiles(&log, 300);
    require_provable(&log, 97);
    require_sound(dir.path());
    let copy = folder();
    let to = copy.path().join("out");
    let key = note_key(ORIGIN, 1).verifier;
    export(dir.path(), ORIGIN, &key, &to, None).unwrap();
    require_sound(&to);
}

#[test]
fn what_is_new_not_integrated_or_in_the_newest_segment_stays() {
    let dir = folder();
    let (deps, clock) = clocked();
    let (log, _) = open_log(dir.path(), config(), deps).unwrap();
    let late = Time::from_secs(START + 1_000);
    assert_eq!(log.plan_prune(late, u64::MAX).unwrap(), None, "an empty log");
    fill(&log, &clock, 6);
    assert_eq!(log.plan_prune(late, u64::MAX).unwrap(), None, "one segment");
    fill(&log, &clock, 18);
    assert_eq!(
        log.plan_prune(Time::from_secs(START + 7), u64::MAX).unwrap(),
        None,
        "its last entry is newer"
    );
    let minimum = |before, until| log.plan_prune(before, until).unwrap().map(|p| p.base().minimum);
    assert_eq!(minimum(Time::from_secs(START + 8), u64::MAX), Some(8));
    assert_eq!(minimum(late, u64::MAX), Some(16));
    assert_eq!(minimum(late, 16), Some(8), "up to what is vouched for elsewhere");
    assert_eq!(minimum(late, 8), None);
}

/// Alters the base of a pruned log; the start must say why it does not go on.
#[track_caller]
fn require_refused(dir: &Path, alter: impl FnOnce(&str) -> String, what: &str) {
    let copy = image(dir);
    let path = copy.path().join(BASE);
    let text = std::fs::read_to_string(&path).unwrap();
    let altered = alter(&text);
    assert_ne!(altered, text, "{what}");
    std::fs::write(&path, altered).unwrap();
    let (deps, _) = clocked();
    let error = open_log(copy.path(), config(), deps).map(|_| ()).expect_err(what);
    assert!(
        matches!(error, JournalError::Base { .. } | JournalError::Damaged { .. }),
        "{what}: {error}"
    );
}

/// With a digest that fits, as somebody would who can write into the folder.
fn forged(text: &str, from: &str, to: &str) -> String {
    let (body, rest) = text.split_once('\n').unwrap();
    let body = body.replacen(from, to, 1);
    let entry = rest.split_once('\n').unwrap().1;
    format!(
        "{body}\nsha256 {}\n{entry}",
        bailiwick_base::Digest::of(body.as_bytes())
    )
}

#[test]
fn a_forged_base_stops_the_start_with_the_reason() {
    let dir = folder();
    let (deps, clock) = clocked();
    let (log, _) = open_log(dir.path(), config(), deps).unwrap();
    fill(&log, &clock, 40);
    let base = prune(&log, Time::from_secs(START + 20));
    drop(log);
    let dir = dir.path();
    require_refused(
        dir,
        |t| t.replacen("\"minimum\":16", "\"minimum\":24", 1),
        "a digest that does not fit",
    );
    require_refused(dir, |t| t.chars().take(t.len() / 2).collect(), "half of it");
    require_refused(dir, |t| format!("{t}more\n"), "more than it");
    require_refused(
        dir,
        |t| forged(t, "\"minimum\":16", "\"minimum\":24"),
        "another minimum of as few hashes",
    );
    require_refused(
        dir,
        |t| forged(t, "\"minimum\":16", "\"minimum\":32"),
        "another minimum of one hash",
    );
    require_refused(
        dir,
        |t| forged(t, "\"segment\":2", "\"segment\":3"),
        "another segment",
    );
    require_refused(
        dir,
        |t| forged(t, "\"peaks\":[\"", "\"peaks\":[\"00"),
        "a longer hash",
    );
    let peak = serde_json::to_value(&base).unwrap()["peaks"][0]
        .as_str()
        .unwrap()
        .to_owned();
    require_refused(dir, |t| forged(t, &peak, &"0".repeat(64)), "another hash");
    require_refused(
        dir,
        |t| forged(t, "\"ref-acme\":10", "\"ref-acme\":9"),
        "another number of a tenant",
    );
    require_refused(
        dir,
        |t| forged(t, "\"ref-acme\":10", "\"ref-acne\":10"),
        "another tenant",
    );
    require_refused(dir, |t| forged(t, ORIGIN, "test.invalid/other"), "another log");
    std::fs::remove_file(dir.join(BASE)).unwrap();
    let (deps, _) = clocked();
    let error = open_log(dir, config(), deps).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("segment is missing"), "{error}");
}

const LOG: &str = "/data/log";

/// What a start does with a pruning that did not end: finishes what was recorded, drops the rest.
fn settle(log: &DecisionLog, recorded: bool) -> Result<(), JournalError> {
    match log.intended_prune()? {
        Some(base) if recorded => log.finish_prune(base, 17),
        Some(_) => log.abandon_prune(),
        None => Ok(()),
    }
}

/// Prunes on a disk that may go wrong; whether the state log has it.
fn prune_on(disk: &Arc<dyn Disk>) -> bool {
    let deps = Deps {
        disk: Arc::clone(disk),
        ..clocked().0
    };
    let Ok((log, _)) = DecisionLog::open(Path::new(LOG), config(), deps) else {
        return false;
    };
    let Ok(Some(plan)) = log.plan_prune(Time::from_secs(START + 20), u64::MAX) else {
        return false;
    };
    let Ok(base) = log.intend_prune(&plan, why()) else {
        return false;
    };
    let _later = log.finish_prune(base, 17);
    true
}

/// Opens what is left, finishes, and looks at every entry from the minimum on.
#[track_caller]
fn require_whole(memory: MemoryDisk, recorded: bool, what: &str) {
    let disk: Arc<dyn Disk> = Arc::new(memory);
    let deps = Deps {
        disk: Arc::clone(&disk),
        ..clocked().0
    };
    let open = || {
        DecisionLog::open(Path::new(LOG), config(), deps.clone())
            .unwrap_or_else(|error| panic!("{what}: {error}: {:?}", std::error::Error::source(&error)))
    };
    let (log, _) = open();
    settle(&log, recorded).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(log.intended_prune().unwrap(), None, "{what}");
    assert_eq!(log.minimum(), if recorded { 16 } else { 0 }, "{what}");
    drop(log);
    let (log, recovery) = open();
    assert_eq!(recovery.entries, 30, "{what}");
    let sealer = TestSealer { erased: None };
    for index in log.minimum()..30 {
        let entry = log.entry(index).unwrap().unwrap();
        let owner = tenant(
            Leaf::decode(&entry.leaf)
                .unwrap()
                .tenant_ref
                .strip_prefix("ref-")
                .unwrap(),
        );
        assert!(entry.open(&sealer, Some(&owner)).is_ok(), "{what}: entry {index}");
        log.prove(index).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    let names = disk.names(&Path::new(LOG).join("segments")).unwrap();
    let oldest = names
        .iter()
        .filter_map(|n| n.to_str()?.strip_suffix(".seg")?.parse::<u64>().ok())
        .min();
    assert_eq!(oldest, Some(if recorded { 2 } else { 0 }), "{what}");
    wait(log.append(record("acme", "after"))).unwrap_or_else(|error| panic!("{what}: {error}"));
    log.integrate().unwrap_or_else(|error| panic!("{what}: {error}"));
}

#[test]
fn whatever_call_of_a_pruning_goes_wrong_nothing_kept_is_lost_and_the_next_start_finishes_it() {
    let memory = MemoryDisk::new();
    memory.create_folders(Path::new("/data")).unwrap();
    memory.sync_folder(Path::new("/")).unwrap();
    let (deps, clock) = clocked();
    let deps = Deps {
        disk: Arc::new(memory.clone()),
        ..deps
    };
    let (log, _) = DecisionLog::open(Path::new(LOG), config(), deps).unwrap();
    fill(&log, &clock, 30);
    drop(log);
    let counting = FaultyDisk::over_memory(&memory.after_kill());
    assert!(prune_on(&(Arc::new(counting.clone()) as Arc<dyn Disk>)));
    let steps = counting.steps();
    let (mut runs, mut missed) = (0_u64, 0_u64);
    for step in &steps {
        for fault in Fault::ALL.into_iter().filter(|fault| fault.fits(step.verb)) {
            runs += 1;
            let image = memory.after_kill();
            let faulty = FaultyDisk::over_memory(&image);
            faulty.arm(step.clone(), fault);
            let recorded = prune_on(&(Arc::new(faulty.clone()) as Arc<dyn Disk>));
            missed += u64::from(!faulty.has_fired());
            let what = format!("{fault:?} at {step}");
            require_whole(image.after_kill(), recorded, &format!("{what}, then killed"));
            let lost = image.after_power_loss(&mut Chance::of(runs));
            require_whole(lost, recorded, &format!("{what}, then power loss {runs}"));
        }
    }
    println!(
        "disk faults of a pruning: {runs} runs over {} calls, {missed} not reached",
        steps.len()
    );
    assert!(missed * 20 < runs, "{missed} of {runs} calls were not made again");
}

#[test]
fn the_disk_of_the_machine_takes_part() {
    // A start that finds the base finished and files left over in front of it goes on, and removes them.
    let dir = folder();
    let (deps, clock) = clocked();
    let (log, _) = open_log(dir.path(), config(), deps.clone()).unwrap();
    fill(&log, &clock, 30);
    let before = image(dir.path());
    let base = prune(&log, Time::from_secs(START + 20));
    drop(log);
    for ordinal in 0..2 {
        std::fs::copy(segment(before.path(), ordinal), segment(dir.path(), ordinal)).unwrap();
    }
    let (log, _) = open_log(dir.path(), config(), deps).unwrap();
    assert_eq!(log.minimum(), 16);
    log.finish_prune(base, 17).unwrap();
    assert!(!OsDisk.exists(&segment(dir.path(), 1)).unwrap());
    let signed = std::fs::read(dir.path().join("checkpoint")).unwrap();
    let origin = Origin::parse(ORIGIN).unwrap();
    SignedCheckpoint::verify(&signed, &origin, &[note_key(ORIGIN, 1).verifier]).unwrap();
}
