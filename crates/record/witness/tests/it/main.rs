//! The word as bytes and on a disk that fails; a witness for logs of others.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

mod cosigner;

use std::path::Path;
use std::sync::Arc;

use bailiwick_base::Epoch;
use bailiwick_journal::Disk;
use bailiwick_simulation::{Chance, Fault, FaultyDisk, MemoryDisk};
use bailiwick_witness::{Refused, WitnessConfig, Word, begin_joined};

const PLACE: &str = "/elsewhere/data.witness";

fn word(epoch: u64) -> Word {
    Word {
        epoch: Epoch(epoch),
        checkpoints: vec![
            format!("log.example/state\n{epoch}\nAAAA\n\n— log.example/state AAAA\n"),
            "log.example/decisions/node-1\n7\nAAAA\n\n— log.example/decisions/node-1 AAAA\n".to_owned(),
        ],
    }
}

#[test]
fn no_bit_of_a_word_changes_unnoticed() {
    let bytes = word(41).encode();
    assert_eq!(Word::decode(&bytes), Ok(word(41)));
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            if let Some(byte) = flipped.get_mut(at) {
                *byte ^= 1 << bit;
            }
            assert!(Word::decode(&flipped).is_err(), "bit {bit} of byte {at}");
        }
        assert!(Word::decode(bytes.get(..at).unwrap()).is_err(), "cut at {at}");
    }
    let mut longer = bytes;
    longer.push(b'\n');
    assert!(Word::decode(&longer).is_err());
}

fn disk_with(first: &Word) -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_folders(Path::new("/elsewhere")).unwrap();
    disk.sync_folder(Path::new("/")).unwrap();
    first.write(&disk, Path::new(PLACE)).unwrap();
    disk
}

/// What a process finds that starts now.
fn found(disk: MemoryDisk, what: &str) -> Epoch {
    match Word::read(&disk, Path::new(PLACE)) {
        Ok(Some(word)) => word.epoch,
        Ok(None) => panic!("{what}: it is gone"),
        Err(refused) => panic!("{what}: {refused}"),
    }
}

#[test]
fn whatever_call_goes_wrong_the_old_word_or_the_new_one_is_there_and_what_was_told_is_the_new_one() {
    let image = disk_with(&word(1));
    let probe = FaultyDisk::over_memory(&image.after_kill());
    word(2).write(&probe, Path::new(PLACE)).unwrap();
    let steps = probe.steps();
    assert!(steps.len() >= 5, "{steps:?}");
    let mut runs = 0;
    for step in &steps {
        for fault in Fault::ALL.into_iter().filter(|fault| fault.fits(step.verb)) {
            let memory = image.after_kill();
            let faulty = FaultyDisk::over_memory(&memory);
            faulty.arm(step.clone(), fault);
            let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
            let told = word(2).write(&*disk, Path::new(PLACE)).is_ok();
            assert!(faulty.has_fired(), "{fault:?} at {step}");
            let least = if told { 2 } else { 1 };
            let what = format!("{fault:?} at {step}");
            assert!(
                found(memory.after_kill(), &what).0 >= least,
                "{what}, then killed"
            );
            for seed in 0..16 {
                let lost = memory.after_power_loss(&mut Chance::of(seed));
                assert!(found(lost, &what).0 >= least, "{what}, then power loss {seed}");
            }
            runs += 1;
        }
    }
    println!("disk faults: {runs} runs over {} calls", steps.len());
}

#[test]
fn a_file_that_is_not_a_word_is_named() {
    let disk = MemoryDisk::new();
    disk.create_folders(Path::new("/elsewhere")).unwrap();
    assert!(matches!(Word::read(&disk, Path::new(PLACE)), Ok(None)));
    let as_disk: &dyn Disk = &disk;
    as_disk.replace(Path::new(PLACE), b"{}\n").unwrap();
    match Word::read(&disk, Path::new(PLACE)) {
        Err(refused @ Refused::Damaged { .. }) => {
            assert_eq!(refused.code(), "witness.damaged");
            assert!(refused.to_string().contains(PLACE), "{refused}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_that_joins_begins_a_witness_that_keeps_the_epoch_of_the_one_before() {
    let disk = MemoryDisk::new();
    disk.create_folders(Path::new("/elsewhere")).unwrap();
    let (data, file) = (Path::new("/elsewhere/data"), Path::new(PLACE));
    let config = WitnessConfig::default();
    begin_joined(&config, data, &disk).unwrap();
    let read = || Word::read(&disk, file).unwrap().unwrap();
    assert_eq!((read().epoch, read().checkpoints.len()), (Epoch(0), 0));
    word(7).write(&disk, file).unwrap();
    begin_joined(&config, data, &disk).unwrap();
    assert_eq!((read().epoch, read().checkpoints.len()), (Epoch(7), 0));
    (&disk as &dyn Disk).replace(file, b"x").unwrap();
    assert!(
        begin_joined(&config, data, &disk).is_err(),
        "a damaged one is not taken over"
    );
}
