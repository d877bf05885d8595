use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bailiwick_audit::checkpoint::{Origin, SignedCheckpoint};
use bailiwick_audit::entry::{Kind, Leaf};
use bailiwick_audit::fsck::{Content, Order, fsck_log};
use bailiwick_audit::merkle::{leaf_hash, verify_consistency};
use bailiwick_journal::{DecisionLog, JournalError, LogConfig, OsDisk, StateTiles, TileFolder};

use crate::rig::{
    ORIGIN, append_each, config, deps, folder, image, note_key, open, open_log, record, segment, wait,
};

fn origin() -> Origin {
    Origin::parse(ORIGIN).unwrap()
}

/// Verifies the checkpoint and everything under it; returns its size.
pub(crate) fn fsck(dir: &Path) -> u64 {
    let known = [note_key(ORIGIN, 1).verifier];
    let report = fsck_log(
        &TileFolder::new(dir),
        &origin(),
        &known,
        Content::Leaves(Order::default()),
    )
    .unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let bytes = fs::read(dir.join("checkpoint")).unwrap();
    SignedCheckpoint::verify(&bytes, &origin(), &known)
        .unwrap()
        .checkpoint()
        .size
}

fn fill(log: &DecisionLog, count: usize) {
    let waiting: Vec<_> = (0..count)
        .map(|n| log.append(record("acme", format!("{n}"))))
        .collect();
    waiting.into_iter().for_each(|append| {
        wait(append).unwrap();
    });
}

#[test]
fn a_new_log_has_a_signed_checkpoint_of_size_zero() {
    let dir = folder();
    let log = open(dir.path());
    assert_eq!(fsck(dir.path()), 0);
    assert_eq!(log.checkpoint().checkpoint().size, 0);
    assert!(matches!(
        log.prove(0),
        Err(JournalError::NotIntegrated { index: 0, size: 0 })
    ));
}

#[test]
fn tiles_verify_at_every_size_on_the_way() {
    let dir = folder();
    let log = open(dir.path());
    let mut size = 0;
    for step in [1, 1, 3, 250, 1, 1, 255, 300] {
        fill(&log, step);
        size += step as u64;
        assert_eq!(log.integrate(), Ok(size));
        assert_eq!(fsck(dir.path()), size);
        for index in [0, size / 2, size - 1] {
            let proof = log.prove(index).unwrap();
            let verified = proof.verify(&origin(), &[note_key(ORIGIN, 1).verifier]).unwrap();
            assert_eq!(verified.checkpoint.size, size);
            assert_eq!(verified.leaf().unwrap().tenant_seq, index + 1);
        }
    }
    assert!(
        !dir.path().join("tile/entries/000.p").exists(),
        "partial tiles of a full one stay behind"
    );
}

#[test]
fn checkpoints_extend_one_another() {
    let dir = folder();
    let log = open(dir.path());
    let mut last = log.checkpoint();
    for step in [3, 1, 400, 7] {
        fill(&log, step);
        log.integrate().unwrap();
        let now = log.checkpoint();
        if last.checkpoint().size > 0 {
            let (proof, _) = log.prove_consistency(last.checkpoint().size).unwrap();
            verify_consistency(&proof, &last.checkpoint().root, &now.checkpoint().root).unwrap();
        }
        last = now;
    }
}

#[test]
fn a_restart_integrates_what_was_only_sequenced() {
    let dir = folder();
    let log = open(dir.path());
    fill(&log, 300);
    log.integrate().unwrap();
    fill(&log, 300);
    let crashed = image(dir.path());
    assert_eq!(fsck(crashed.path()), 300);
    let (log, recovery) = open_log(crashed.path(), config(), deps()).unwrap();
    assert_eq!((recovery.entries, recovery.integrated), (600, 300));
    assert_eq!(log.integrate(), Ok(600));
    drop(log);
    assert_eq!(fsck(crashed.path()), 600);
}

#[test]
fn every_crash_during_publication_leaves_a_log_that_verifies() {
    // The files of two publications, in the order in which they are written.
    let dir = folder();
    let log = open(dir.path());
    fill(&log, 250);
    log.integrate().unwrap();
    fill(&log, 20);
    let before = image(dir.path());
    log.integrate().unwrap();
    let after = image(dir.path());
    drop(log);
    let tiles = [
        "tile/entries/000",
        "tile/entries/001.p/14",
        "tile/0/000",
        "tile/0/001.p/14",
        "tile/1/000.p/1",
    ];
    for written in 0..=tiles.len() {
        for torn in [false, true] {
            let crashed = image(before.path());
            for (n, tile) in tiles.iter().take(written).enumerate() {
                let (to, bytes) = (
                    crashed.path().join(tile),
                    fs::read(after.path().join(tile)).unwrap(),
                );
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                let len = if torn && n + 1 == written {
                    bytes.len() / 2
                } else {
                    bytes.len()
                };
                fs::write(to, &bytes[..len]).unwrap();
            }
            assert_eq!(fsck(crashed.path()), 250, "{written} tiles written, torn: {torn}");
            let log = open(crashed.path());
            assert_eq!(log.integrate(), Ok(270));
            drop(log);
            assert_eq!(fsck(crashed.path()), 270);
        }
    }
}

/// Found by killing the service: a tile under the shown checkpoint was opened for writing again, and the kill
/// came before its bytes were back.
#[test]
fn a_tile_that_is_shown_is_never_written_again() {
    let dir = folder();
    let log = open(dir.path());
    fill(&log, 300);
    log.integrate().unwrap();
    let tile = dir.path().join("tile/1/000.p/1");
    let written_at = || fs::metadata(&tile).unwrap().modified().unwrap();
    let first = written_at();
    for _ in 0..3 {
        fill(&log, 10);
        log.integrate().unwrap();
    }
    drop(log);
    let log = open(dir.path());
    fill(&log, 10);
    log.integrate().unwrap();
    assert_eq!(written_at(), first);
}

#[test]
fn many_entries_get_a_checkpoint_without_waiting() {
    let dir = folder();
    let config = LogConfig {
        checkpoint_entries: 10,
        ..config()
    };
    let (log, _) = open_log(dir.path(), config, deps()).unwrap();
    fill(&log, 25);
    let shown = (0..10_000).find(|_| {
        std::thread::yield_now();
        log.checkpoint().checkpoint().size >= 10
    });
    assert!(shown.is_some() || log.integrate().is_ok_and(|size| size == 25));
    assert!(
        log.checkpoint().checkpoint().size <= log.size(),
        "a checkpoint is ahead of durable entries"
    );
}

#[test]
fn checkpoints_follow_by_themselves() {
    let dir = folder();
    let config = LogConfig {
        checkpoint_every: Duration::from_millis(2),
        ..config()
    };
    let (log, _) = open_log(dir.path(), config, deps()).unwrap();
    fill(&log, 3);
    let guard = std::time::Instant::now();
    while log.checkpoint().checkpoint().size < 3 {
        assert!(guard.elapsed() < Duration::from_secs(10), "no checkpoint appears");
        std::thread::yield_now();
    }
    assert_eq!(fsck(dir.path()), 3);
}

#[test]
fn a_checkpoint_is_never_ahead_of_its_entries_and_tiles() {
    let dir = folder();
    let config = LogConfig {
        checkpoint_every: Duration::from_millis(1),
        ..config()
    };
    let (log, _) = open_log(dir.path(), config, deps()).unwrap();
    for _ in 0..30 {
        fill(&log, 17);
        // The checkpoint first: what it names must be there already.
        let bytes = fs::read(dir.path().join("checkpoint")).unwrap();
        let signed = SignedCheckpoint::verify(&bytes, &origin(), &[note_key(ORIGIN, 1).verifier]).unwrap();
        assert!(signed.checkpoint().size <= log.size());
        let tiles = TileFolder::new(dir.path());
        let report = bailiwick_audit::fsck::Fsck::new(
            &tiles,
            signed.checkpoint().clone(),
            Content::Leaves(Order::default()),
        )
        .run()
        .unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
    }
}

#[test]
fn damaged_or_foreign_checkpoints_and_tiles_keep_the_log_closed() {
    let dir = folder();
    append_each(&open(dir.path()), &["acme", "acme", "beta"]);
    let refused = |change: &dyn Fn(&Path)| {
        let copy = image(dir.path());
        change(copy.path());
        open_log(copy.path(), config(), deps())
            .err()
            .map(|error| error.to_string())
            .unwrap()
    };
    let text = refused(&|dir| fs::write(dir.join("checkpoint"), b"nonsense").unwrap());
    assert!(text.contains("checkpoint"), "{text}");
    let text = refused(&|dir| fs::write(dir.join("tile/0/000.p/3"), [0; 96]).unwrap());
    assert!(text.contains("do not belong to its checkpoint"), "{text}");
    let text = refused(&|dir| fs::remove_file(dir.join("tile/entries/000.p/3")).unwrap());
    assert!(text.contains("do not belong to its checkpoint"), "{text}");
    // A key of somebody else.
    let other = bailiwick_journal::Deps {
        key: note_key(ORIGIN, 9),
        ..deps()
    };
    let foreign = open_log(image(dir.path()).path(), config(), other);
    assert!(matches!(foreign, Err(JournalError::Checkpoint { .. })));
    // An older checkpoint with newer entries is a restart; newer tiles than segments are damage.
    let text = refused(&|dir| {
        let empty = folder();
        drop(open(empty.path()));
        fs::copy(segment(empty.path(), 0), segment(dir, 0)).unwrap();
    });
    assert!(text.contains("under a checkpoint are missing"), "{text}");
}

fn state_leaf(n: u64) -> Vec<u8> {
    let leaf = Leaf {
        at: 1_763_750_000_000_000 + n,
        commitment: [u8::try_from(n % 251).unwrap(); 32],
        epoch: n / 10,
        kind: Kind::parse("state.identity.register").unwrap(),
        node: "node-1",
        state_pos: n,
        tenant_ref: "ref-acme",
        tenant_seq: n + 1,
    };
    leaf.encode().unwrap()
}

#[test]
fn the_state_log_is_published_the_same_way() {
    const STATE: &str = "test.invalid/state";
    let dir = folder();
    let leaves: Vec<Vec<u8>> = (0..600).map(state_leaf).collect();
    let offer = |from: usize, to: usize| {
        (from..to)
            .map(|n| (n as u64, leaves[n].as_slice()))
            .collect::<Vec<_>>()
    };
    let tiles = StateTiles::open(Arc::new(OsDisk), dir.path(), STATE, note_key(STATE, 2)).unwrap();
    assert_eq!(tiles.checkpoint().checkpoint().size, 0);
    assert_eq!(tiles.publish(offer(0, 1)).unwrap(), 1);
    assert_eq!(tiles.publish(offer(1, 300)).unwrap(), 300);
    assert!(matches!(
        tiles.publish(offer(301, 302)),
        Err(JournalError::OutOfOrder {
            index: 301,
            expected: 300
        })
    ));
    drop(tiles);
    let tiles = StateTiles::open(Arc::new(OsDisk), dir.path(), STATE, note_key(STATE, 2)).unwrap();
    assert_eq!(tiles.size(), 300);
    assert_eq!(tiles.publish(offer(250, 600)).unwrap(), 600);
    let (hash, ..) = tiles.prove_inclusion(42).unwrap();
    assert_eq!(hash, leaf_hash(&leaves[42]));
    let proof = tiles.prove(599).unwrap();
    let verified = proof
        .verify(&Origin::parse(STATE).unwrap(), &[note_key(STATE, 2).verifier])
        .unwrap();
    assert_eq!(verified.entry, leaves[599]);
    let forged = state_leaf(7_000);
    assert!(matches!(
        tiles.publish([(20, forged.as_slice())]),
        Err(JournalError::Rewritten { index: 20 })
    ));
    let known = [note_key(STATE, 2).verifier];
    let content = Content::Leaves(Order::ALL);
    let report = fsck_log(
        &TileFolder::new(dir.path()),
        &Origin::parse(STATE).unwrap(),
        &known,
        content,
    )
    .unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn an_obstacle_to_publishing_is_told_and_publishing_goes_on_after_it() {
    let dir = folder();
    let config = LogConfig {
        checkpoint_every: Duration::from_millis(2),
        ..config()
    };
    let (log, _) = open_log(dir.path(), config, deps()).unwrap();
    let obstacle = dir.path().join("tile");
    fs::write(&obstacle, b"a file where the folder belongs").unwrap();
    fill(&log, 300);
    let why = log.integrate().unwrap_err();
    assert!(why.contains("writing tiles failed"), "{why}");
    assert_eq!(log.checkpoint().checkpoint().size, 0);
    // Records are still taken: only their integration waits.
    fill(&log, 10);
    fs::remove_file(&obstacle).unwrap();
    let guard = std::time::Instant::now();
    while log.integrate() != Ok(310) {
        assert!(
            guard.elapsed() < Duration::from_secs(10),
            "publishing does not go on"
        );
    }
    drop(log);
    assert_eq!(fsck(dir.path()), 310);
}

#[test]
fn a_draft_of_a_checkpoint_is_not_a_checkpoint() {
    let dir = folder();
    append_each(&open(dir.path()), &["acme"; 3]);
    fs::write(dir.path().join("checkpoint.new"), b"half a checkp").unwrap();
    let log = open(dir.path());
    append_each(&log, &["acme"; 3]);
    drop(log);
    assert_eq!(fsck(dir.path()), 6);
}

#[test]
fn the_state_log_takes_entries_again_after_an_obstacle() {
    const STATE: &str = "test.invalid/state";
    let dir = folder();
    let tiles = StateTiles::open(Arc::new(OsDisk), dir.path(), STATE, note_key(STATE, 2)).unwrap();
    let leaves: Vec<Vec<u8>> = (0..3).map(state_leaf).collect();
    let obstacle = dir.path().join("tile");
    fs::write(&obstacle, b"a file where the folder belongs").unwrap();
    assert!(matches!(
        tiles.publish([(0, leaves[0].as_slice())]),
        Err(JournalError::File { .. })
    ));
    assert_eq!(tiles.checkpoint().checkpoint().size, 0);
    fs::remove_file(&obstacle).unwrap();
    let all = leaves
        .iter()
        .zip(0..)
        .map(|(leaf, index)| (index, leaf.as_slice()));
    assert_eq!(tiles.publish(all).unwrap(), 3);
    assert_eq!(tiles.checkpoint().checkpoint().size, 3);
}
