//! Names, bundles, writing, resuming and proving from files.

use bailiwick_audit::fsck::{Content, Fsck, Order};
use bailiwick_audit::merkle::{ProveError, RootHash, Tree, leaf_hash};
use bailiwick_audit::tile::{
    AppendError, BundleError, Entries, Prover, ResumeError, TileId, TileKind, TileWriter, push_entry,
    tiles_between,
};

use crate::fixture::{Files, LARGE, leaf_bytes, log};

#[test]
fn names_are_as_the_standard_writes_them() {
    let cases = [
        (TileKind::Hashes(0), 0, 256, "tile/0/000"),
        (TileKind::Hashes(0), 1_234_067, 256, "tile/0/x001/x234/067"),
        (TileKind::Hashes(63), 999, 1, "tile/63/999.p/1"),
        (TileKind::Entries, 1000, 255, "tile/entries/x001/000.p/255"),
        (TileKind::Entries, 1_000_000, 256, "tile/entries/x001/x000/000"),
        (
            TileKind::Hashes(7),
            u64::MAX,
            8,
            "tile/7/x018/x446/x744/x073/x709/x551/615.p/8",
        ),
    ];
    for (kind, index, width, path) in cases {
        let id = TileId::new(kind, index, width).unwrap();
        assert_eq!(id.path(), path);
        assert_eq!(TileId::parse(path).unwrap(), id);
    }
    assert!(TileId::new(TileKind::Hashes(64), 0, 1).is_none());
    assert!(TileId::new(TileKind::Entries, 0, 0).is_none());
    assert!(TileId::new(TileKind::Entries, 0, 257).is_none());
}

#[test]
fn other_names_are_refused() {
    for path in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tiles/0/000",
        "tile/64/000",
        "tile/00/000",
        "tile/+1/000",
        "tile/-1/000",
        "tile/x/000",
        "tile/data/000",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000",
        "tile/0/x000/000",
        "tile/0/x000/x001/000",
        "tile/0/001/000",
        "tile/0/x01/000",
        "tile/0/x001/x000",
        "tile/0/X001/000",
        "tile/0/000/",
        "tile/0//000",
        "tile/0/../000",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/-1",
        "tile/0/000.p/1/",
        "tile/0/000.p/1.p/1",
        "tile/0/00a",
        "tile/0/ 00",
        "tile/0/٠٠٠",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/x001/x018/x446/x744/x073/x709/x551/615",
    ] {
        assert!(TileId::parse(path).is_err(), "{path}");
    }
}

#[test]
fn the_example_of_the_standard() {
    // C2SP tlog-tiles: a tree of 70,000.
    let all: Vec<String> = tiles_between(0, 70_000).map(|id| id.path()).collect();
    let count = |start: &str| all.iter().filter(|path| path.starts_with(start)).count();
    assert_eq!(
        (
            count("tile/entries/"),
            count("tile/0/"),
            count("tile/1/"),
            count("tile/2/")
        ),
        (274, 274, 2, 1)
    );
    for path in [
        "tile/0/273.p/112",
        "tile/1/000",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
        "tile/entries/273.p/112",
    ] {
        assert!(all.contains(&path.to_owned()), "{path}");
    }
    let of_256: Vec<String> = tiles_between(0, 256).map(|id| id.path()).collect();
    assert_eq!(of_256, ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
    assert_eq!(tiles_between(70_000, 70_000).count(), 0);
    assert_eq!(tiles_between(70_001, 70_000).count(), 0);
    let one_more: Vec<String> = tiles_between(70_000, 70_001).map(|id| id.path()).collect();
    assert_eq!(one_more, ["tile/entries/273.p/113", "tile/0/273.p/113"]);
    // The far end of u64 is a walk of a few steps, not of 2^56.
    assert_eq!(tiles_between(u64::MAX - 1, u64::MAX).count(), 2);
}

#[test]
fn bundles_hold_entries_of_any_length() {
    let mut bundle = Vec::new();
    for entry in [b"".as_slice(), b"a", &[7; 65_535]] {
        push_entry(&mut bundle, entry).unwrap();
    }
    let before = bundle.clone();
    assert_eq!(push_entry(&mut bundle, &[0; 65_536]).unwrap_err().found, 65_536);
    assert_eq!(bundle, before);
    let lengths: Vec<usize> = Entries::new(&bundle).map(|entry| entry.unwrap().len()).collect();
    assert_eq!(lengths, [0, 1, 65_535]);
    for cut in 0..bundle.len() {
        let read: Vec<_> = Entries::new(&bundle[..cut]).collect();
        match cut {
            0 | 2 | 5 => assert!(read.iter().all(Result::is_ok), "{cut}"),
            1 => assert_eq!(
                read,
                [Err(BundleError {
                    position: 0,
                    offset: 0
                })]
            ),
            3 | 4 => assert_eq!(
                read[1],
                Err(BundleError {
                    position: 1,
                    offset: 2
                })
            ),
            _ => assert_eq!(
                read[2],
                Err(BundleError {
                    position: 2,
                    offset: 5
                }),
                "{cut}"
            ),
        }
    }
    assert_eq!(Entries::new(&[0, 5, 1]).count(), 1, "nothing follows an error");
}

#[test]
fn the_writer_hands_out_exactly_the_files_that_changed() {
    let mut writer = TileWriter::new();
    let mut shown = 0;
    for stop in [
        0, 1, 2, 255, 256, 257, 511, 512, 1000, 65_535, 65_536, 65_537, 70_000,
    ] {
        while writer.size() < stop {
            let index = writer.size();
            writer.append(&index.to_be_bytes()).unwrap();
        }
        let files = writer.take_files();
        let mut names: Vec<TileId> = files.iter().map(|file| file.id).collect();
        let mut expected: Vec<TileId> = tiles_between(shown, stop).collect();
        // A partial tile above the leaves may stay as it is while entries come in.
        expected.extend(tiles_between(0, stop).filter(|id| !id.is_full() && stop > 0));
        names.sort();
        expected.sort();
        expected.dedup();
        assert_eq!(names, expected, "at {stop}");
        for file in files {
            if let TileKind::Hashes(_) = file.id.kind() {
                assert_eq!(file.bytes.len(), usize::from(file.id.width()) * 32);
            }
        }
        shown = stop;
    }
    let too_long = writer.append(&[0; 65_536]);
    assert!(matches!(too_long, Err(AppendError::EntryTooLong(_))));
    assert_eq!(writer.size(), 70_000);
}

/// A restart at any point continues the same log.
#[test]
fn resuming_changes_nothing() {
    let mut tree = Tree::new();
    let mut whole = TileWriter::new();
    let mut files = Files::default();
    let mut writer = TileWriter::new();
    for index in 0..1200 {
        let entry = leaf_bytes(index);
        whole.append(&entry).unwrap();
        writer.append(&entry).unwrap();
        tree.append(leaf_hash(&entry)).unwrap();
        if index % 37 == 0 || (250..260).contains(&index) {
            files.store(&mut writer);
            writer = TileWriter::resume(&files, writer.size(), writer.root()).unwrap();
            assert_eq!(writer.root(), whole.root());
            assert_eq!(writer.marked_size(), writer.size());
        }
        let (old, new) = (writer.marked_size(), writer.size());
        if old > 0 {
            assert_eq!(
                writer.consistency_since_mark(),
                tree.prove_consistency(old, new).unwrap()
            );
        }
    }
    files.store(&mut writer);
    let mut expected = Files::default();
    expected.store(&mut whole);
    for (path, bytes) in &expected.0 {
        assert_eq!(files.0.get(path), Some(bytes), "{path}");
    }
}

#[test]
fn a_damaged_log_is_not_continued() {
    let log = log(1000);
    let (size, root) = (1000, log.writer.root());
    let resume = |files: &Files| TileWriter::resume(files, size, root).map(|writer| writer.size());
    assert_eq!(resume(&log.files).unwrap(), 1000);
    for path in ["tile/0/003.p/232", "tile/1/000.p/3"] {
        let mut files = log.files.clone();
        files.bytes_mut(path)[5] ^= 1;
        assert!(
            matches!(resume(&files), Err(ResumeError::RootMismatch { .. })),
            "{path}"
        );
        files.bytes_mut(path).pop();
        assert!(matches!(resume(&files), Err(ResumeError::Read(_))), "{path}");
        files.0.remove(path);
        assert!(matches!(resume(&files), Err(ResumeError::Read(_))), "{path}");
    }
    let mut files = log.files.clone();
    files.bytes_mut("tile/entries/003.p/232")[20] ^= 1;
    assert!(matches!(
        resume(&files),
        Err(ResumeError::EntryMismatch { index: 768 })
    ));
    assert!(TileWriter::resume(&log.files, 999, root).is_err());
    assert!(TileWriter::resume(&log.files, 1000, RootHash([0; 32])).is_err());
    assert!(TileWriter::resume(&Files::default(), u64::MAX, root).is_err());
}

#[test]
fn proofs_from_files_are_the_ones_from_memory() {
    let mut tree = Tree::new();
    let log = &*LARGE;
    for index in 0..log.writer.size() {
        tree.append(leaf_hash(&leaf_bytes(index))).unwrap();
    }
    let size = tree.size();
    let mut prover = Prover::new(&log.files, size, tree.root(), 0).unwrap();
    for index in (0..size)
        .step_by(997)
        .chain([0, 255, 256, 65_535, 65_536, size - 1])
    {
        let (leaf, proof) = prover.prove_inclusion(index).unwrap();
        assert_eq!(leaf, leaf_hash(&leaf_bytes(index)));
        assert_eq!(proof, tree.prove_inclusion(index, size).unwrap());
    }
    for old in (1..size).step_by(1009).chain([1, 256, 65_536, size]) {
        let (root, proof) = prover.prove_consistency(old).unwrap();
        assert_eq!(root, tree.root_at(old).unwrap());
        assert_eq!(proof, tree.prove_consistency(old, size).unwrap());
    }
    assert!(matches!(
        prover.prove_inclusion(size),
        Err(ProveError::IndexOutside { .. })
    ));
    assert!(matches!(
        prover.prove_inclusion(u64::MAX),
        Err(ProveError::IndexOutside { .. })
    ));
    assert!(matches!(
        prover.prove_consistency(0),
        Err(ProveError::SizeOrder { .. })
    ));
    assert!(matches!(
        prover.prove_consistency(size + 1),
        Err(ProveError::SizeOrder { .. })
    ));
}

#[test]
fn the_prover_never_hands_out_a_proof_that_fails() {
    let log = log(600);
    let root = log.writer.root();
    let mut files = log.files.clone();
    files.bytes_mut("tile/0/001")[77] ^= 4;
    let mut prover = Prover::new(&files, 600, root, 8).unwrap();
    let error = prover.prove_inclusion(256).unwrap_err();
    let ProveError::Node(source) = &error else {
        panic!("{error}")
    };
    assert_eq!(
        source.to_string(),
        "`tile/0/001` is not the tile that the tree has: run fsck on the log"
    );
    prover.prove_inclusion(0).unwrap();
    for path in ["tile/0/002.p/88", "tile/1/000.p/2"] {
        let mut files = log.files.clone();
        files.bytes_mut(path)[40] ^= 4;
        assert!(
            matches!(Prover::new(&files, 600, root, 8), Err(ProveError::RootMismatch)),
            "{path}"
        );
        files.0.remove(path);
        assert!(
            matches!(Prover::new(&files, 600, root, 8), Err(ProveError::Node(_))),
            "{path}"
        );
    }
    files.0.remove("tile/0/001");
    let mut prover = Prover::new(&files, 600, root, 8).unwrap();
    assert!(matches!(prover.prove_inclusion(256), Err(ProveError::Node(_))));
}

/// A log that grew on: the partial tile is gone, the full one is there.
#[test]
fn partial_tiles_may_be_replaced_by_full_ones() {
    let (small, large) = (log(300), log(600));
    let mut files = large.files.clone();
    files.0.extend(small.files.0.clone());
    files.0.retain(|path, _| !path.contains(".p/44"));
    let mut prover = Prover::new(&files, 300, small.writer.root(), 8).unwrap();
    prover.prove_inclusion(299).unwrap();
    prover.advance(600, large.writer.root()).unwrap();
    prover.prove_inclusion(299).unwrap();
    let report = Fsck::new(
        &files,
        small.checkpoint.checkpoint().clone(),
        Content::Leaves(Order::ALL),
    )
    .run();
    assert!(report.unwrap().is_clean());
}
