//! A witness judged by every rule of C2SP tlog-witness, and on a disk that fails.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use bailiwick_audit::checkpoint::{Checkpoint, Origin};
use bailiwick_audit::cosign::{WitnessKey, cosigners};
use bailiwick_audit::merkle::{Tree, leaf_hash};
use bailiwick_audit::note::{Note, NoteSignature, NoteVerifier};
use bailiwick_base::{ManualClock, SeededEntropy, Time};
use bailiwick_journal::Disk;
use bailiwick_simulation::{Chance, Fault, FaultyDisk, MemoryDisk};
use bailiwick_witness::cosigner::{AddCheckpoint, Cosigner, CosignerDeps, CosignerError, Verdict};

const FOLDER: &str = "/witness";
const NOW: i64 = 1_790_000_000;

/// A log that may lie.
struct Log {
    name: &'static str,
    pair: Ed25519KeyPair,
    tree: Tree,
}

impl Log {
    fn new(name: &'static str, seed: u8) -> Self {
        Self {
            name,
            pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap(),
            tree: Tree::new(),
        }
    }

    fn grow(&mut self, word: &str, entries: u64) {
        for n in 0..entries {
            let entry = format!("{word} {n}");
            self.tree.append(leaf_hash(entry.as_bytes())).unwrap();
        }
    }

    fn verifier(&self) -> NoteVerifier {
        let public = self.pair.public_key().as_ref().try_into().unwrap();
        NoteVerifier::new(self.name, public).unwrap()
    }

    /// Its checkpoint at `size`.
    fn checkpoint(&self, size: u64) -> Vec<u8> {
        let checkpoint = Checkpoint {
            origin: Origin::parse(self.name).unwrap(),
            size,
            root: self.tree.root_at(size).unwrap(),
        };
        let mut note = Note::new(checkpoint.body()).unwrap();
        let key = self.verifier();
        note.push(NoteSignature {
            name: self.name.to_owned(),
            key_id: key.key_id(),
            bytes: self.pair.sign(note.text().as_bytes()).as_ref().to_vec(),
        })
        .unwrap();
        note.to_string().into_bytes()
    }

    fn request(&self, old: u64, size: u64) -> Vec<u8> {
        let proof = match old {
            0 => Vec::new(),
            old => self.tree.prove_consistency(old, size).unwrap().hashes,
        };
        let checkpoint = self.checkpoint(size);
        AddCheckpoint {
            old,
            proof,
            checkpoint,
        }
        .encode()
    }
}

fn disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_folders(Path::new(FOLDER)).unwrap();
    disk.sync_folder(Path::new("/")).unwrap();
    disk
}

fn try_open(disk: Arc<dyn Disk>, logs: &[&Log]) -> Result<Cosigner, CosignerError> {
    let clock = ManualClock::default();
    clock.set(Time::from_secs(NOW));
    let deps = CosignerDeps {
        clock: Arc::new(clock),
        disk,
        entropy: &SeededEntropy::new(7),
    };
    let keys = logs.iter().map(|log| log.verifier()).collect();
    Cosigner::open("witness.example/one", Path::new(FOLDER), keys, deps)
}

fn open(disk: &MemoryDisk, logs: &[&Log]) -> Cosigner {
    try_open(Arc::new(disk.clone()), logs).unwrap()
}

/// The answer's lines verify over the checkpoint under the witness's key.
#[track_caller]
fn require_cosigned(verdict: &Verdict, log: &Log, size: u64, key: &WitnessKey) {
    let Verdict::Cosigned(lines) = verdict else {
        panic!("{verdict:?}");
    };
    let mut bytes = log.checkpoint(size);
    bytes.extend_from_slice(lines.as_bytes());
    let note = Note::parse(&bytes).unwrap();
    let at = u64::try_from(NOW).unwrap();
    assert_eq!(key.cosigned(&note), Ok(Some(at)));
    // A key that is listed twice is one witness.
    let twice = [key.clone(), key.clone()];
    assert_eq!(cosigners(&note, &twice).unwrap().len(), 1);
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() = b'\n';
    let at = flipped.len() - 20;
    if let Some(byte) = flipped.get_mut(at) {
        *byte = if *byte == b'A' { b'B' } else { b'A' };
    }
    let note = Note::parse(&flipped).unwrap();
    assert!(key.cosigned(&note).is_err(), "a flipped signature verifies");
}

#[test]
fn a_witness_cosigns_what_extends_and_refuses_the_rest_with_the_status_of_the_standard() {
    let (mut log, mut other) = (Log::new("log.example/state", 1), Log::new("log.example/other", 2));
    log.grow("a", 20);
    other.grow("b", 3);
    let memory = disk();
    let witness = open(&memory, &[&log]);
    let key = WitnessKey::parse(&witness.key().vkey()).unwrap();
    let add = |body: &[u8]| witness.add_checkpoint(body);
    let status = |body: &[u8]| match add(body) {
        Verdict::Refused(status, _) => status,
        other => panic!("{other:?}"),
    };

    assert_eq!(status(&other.request(0, 3)), 404, "a log that it does not know");
    let mut forged = Log::new("log.example/state", 9);
    forged.grow("a", 20);
    assert_eq!(status(&forged.request(0, 5)), 403, "not the log's key");
    assert_eq!(add(&log.request(3, 5)), Verdict::Conflict(0));
    require_cosigned(&add(&log.request(0, 5)), &log, 5, &key);
    require_cosigned(&add(&log.request(5, 5)), &log, 5, &key);
    assert_eq!(add(&log.request(0, 8)), Verdict::Conflict(5));
    assert_eq!(add(&log.request(0, 0)), Verdict::Conflict(5));
    let bad = AddCheckpoint {
        old: 5,
        proof: Vec::new(),
        checkpoint: log.checkpoint(8),
    };
    assert_eq!(status(&bad.encode()), 422, "without a proof");
    let wrong = AddCheckpoint {
        old: 5,
        proof: log.tree.prove_consistency(4, 8).unwrap().hashes,
        checkpoint: log.checkpoint(8),
    };
    assert_eq!(status(&wrong.encode()), 422, "with another proof");
    let above = AddCheckpoint {
        old: 9,
        ..bad.clone()
    };
    assert_eq!(status(&above.encode()), 400, "the old size is above");

    // A fork under the log's own key: the same size, and a longer one.
    let mut fork = Log::new("log.example/state", 1);
    fork.grow("forked", 20);
    assert_eq!(add(&fork.request(5, 5)), Verdict::Conflict(5));
    assert_eq!(status(&fork.request(5, 9)), 422);
    require_cosigned(&add(&log.request(5, 20)), &log, 20, &key);
    assert_eq!(add(&log.request(5, 8)), Verdict::Conflict(20), "back");

    for malformed in [
        "",
        "old 20",
        "old 20\n",
        "old 020\n\nx",
        "old -1\n\nx",
        "old 20\nAAAA\n\nx\n\ny\n",
        "old 20\n\nx",
        "new 20\n\nx",
    ] {
        assert_eq!(status(malformed.as_bytes()), 400, "{malformed:?}");
    }
    let long = vec![b'x'; 70_000];
    assert_eq!(status(&long), 400);

    drop(witness);
    let again = open(&memory.after_kill(), &[&log]);
    assert_eq!(again.key(), &key, "its key stays");
    assert_eq!(
        again.add_checkpoint(&log.request(5, 9)),
        Verdict::Conflict(20),
        "it remembers"
    );
}

#[test]
fn what_was_cosigned_is_kept_whatever_call_of_the_disk_goes_wrong() {
    let mut log = Log::new("log.example/state", 1);
    log.grow("a", 20);
    let memory = disk();
    let first = open(&memory, &[&log]);
    assert!(matches!(
        first.add_checkpoint(&log.request(0, 5)),
        Verdict::Cosigned(_)
    ));
    drop(first);
    let image = memory.after_kill();
    let work = |disk: Arc<dyn Disk>| {
        let Ok(witness) = try_open(disk, &[&log]) else {
            return 5;
        };
        match witness.add_checkpoint(&log.request(5, 9)) {
            Verdict::Cosigned(_) => 9,
            Verdict::Failed(_) => 5,
            other => panic!("{other:?}"),
        }
    };
    let probe = FaultyDisk::over_memory(&image.after_kill());
    assert_eq!(work(Arc::new(probe.clone())), 9);
    let mut runs = 0;
    for step in probe.steps() {
        for fault in Fault::ALL.into_iter().filter(|fault| fault.fits(step.verb)) {
            let memory = image.after_kill();
            let faulty = FaultyDisk::over_memory(&memory);
            faulty.arm(step.clone(), fault);
            let told = work(Arc::new(faulty));
            let left = [memory.after_kill()]
                .into_iter()
                .chain((0..8).map(|seed| memory.after_power_loss(&mut Chance::of(seed))));
            for disk in left {
                let witness = try_open(Arc::new(disk), &[&log])
                    .unwrap_or_else(|error| panic!("{fault:?} at {step}: {error}"));
                // 3 is below everything that was cosigned: the answer is the size it stands at.
                match witness.add_checkpoint(&log.request(3, 20)) {
                    Verdict::Conflict(size) => assert!(size >= told, "{fault:?} at {step}: {size} of {told}"),
                    other => panic!("{other:?}"),
                }
            }
            runs += 1;
        }
    }
    println!("disk faults: {runs} runs");
    assert!(runs > 20, "{runs}");
}

#[test]
fn a_witness_without_its_memory_does_not_start() {
    let mut log = Log::new("log.example/state", 1);
    log.grow("a", 5);
    let memory = disk();
    let witness = open(&memory, &[&log]);
    let held = try_open(Arc::new(memory.clone()), &[&log]).map(drop);
    assert!(matches!(held, Err(CosignerError::InUse { .. })), "{held:?}");
    assert!(matches!(
        witness.add_checkpoint(&log.request(0, 5)),
        Verdict::Cosigned(_)
    ));
    drop(witness);
    let refused = |disk: &MemoryDisk, logs: &[&Log]| {
        let opened = try_open(Arc::new(disk.after_kill()), logs).map(drop);
        opened.unwrap_err().to_string()
    };
    let said = refused(&memory, &[]);
    assert!(
        said.contains("log.example/state") && said.contains("left out"),
        "{said}"
    );
    let other = Log::new("log.example/state", 3);
    assert!(refused(&memory, &[&other]).contains("damaged"));
    memory.remove_file(Path::new("/witness/cosigned.json")).unwrap();
    assert!(refused(&memory, &[&log]).contains("is missing beside the key"));
}
