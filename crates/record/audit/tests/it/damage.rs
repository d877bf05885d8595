//! Damage that fsck must name, with its place.

use bailiwick_audit::checkpoint::{Checkpoint, CheckpointIssuer};
use bailiwick_audit::entry::{Kind, Leaf};
use bailiwick_audit::fsck::{Content, Finding, FindingKind, Fsck, FsckReport, Order, fsck_log};
use bailiwick_audit::merkle::{RootHash, leaf_hash};
use bailiwick_audit::tile::{Entries, TileId, TileKind, TileWriter, push_entry};
use proptest::prelude::*;

use crate::fixture::{Files, Key, LARGE, Log, MIDDLE, TENANTS, leaf_bytes, log, log_of, origin};

const LEAVES: Content = Content::Leaves(Order::ALL);

fn check(files: &Files) -> FsckReport {
    fsck_log(files, &origin(), &[Key::log().verifier()], LEAVES).unwrap()
}

/// The entries of a bundle file.
fn entries_of(files: &Files, path: &str) -> Vec<Vec<u8>> {
    Entries::new(&files.0[path])
        .map(|entry| entry.unwrap().to_vec())
        .collect()
}

fn set_entries(files: &mut Files, path: &str, entries: &[Vec<u8>]) {
    let mut bundle = Vec::new();
    for entry in entries {
        push_entry(&mut bundle, entry).unwrap();
    }
    files.0.insert(path.to_owned(), bundle);
}

/// Findings about the tree alone, without what the leaves say about each other.
fn about_tree(report: &FsckReport) -> Vec<&Finding> {
    let is_tree = |finding: &&Finding| {
        !matches!(
            finding.kind,
            FindingKind::LeafInvalid { .. }
                | FindingKind::OrderBroken { .. }
                | FindingKind::TenantSeqBroken { .. }
        )
    };
    report.findings.iter().filter(is_tree).collect()
}

fn only(report: &FsckReport) -> (u64, u64, &FindingKind) {
    let found = about_tree(report);
    assert_eq!(found.len(), 1, "{:#?}", report.findings);
    (found[0].entries.start, found[0].entries.end, &found[0].kind)
}

#[test]
fn sound_logs_are_clean() {
    for size in [0, 1, 2, 255, 256, 257, 700] {
        let report = check(&log(size).files);
        assert!(report.is_clean(), "{size}: {:?}", report.findings);
        assert_eq!((report.size, report.entries), (size, size));
    }
}

/// Chunks scanned in any order, as several threads would, give the same report.
#[test]
fn chunks_are_independent() {
    let mut files = LARGE.files.clone();
    files.bytes_mut("tile/entries/258.p/52").clear();
    files.bytes_mut("tile/entries/200")[40] ^= 1;
    let fsck = Fsck::new(&files, LARGE.checkpoint.checkpoint().clone(), LEAVES);
    let mut chunks: Vec<_> = (0..fsck.chunks())
        .rev()
        .map(|chunk| fsck.scan(chunk).unwrap())
        .collect();
    chunks.reverse();
    let report = fsck.finish(chunks).unwrap();
    assert_eq!(report, fsck.run().unwrap());
    assert!(!report.is_clean());
    let without_first = vec![fsck.scan(1).unwrap()];
    assert!(!fsck.finish(without_first).unwrap().is_clean());
    assert!(!fsck.finish(Vec::new()).unwrap().is_clean());
}

#[test]
fn a_changed_entry_is_named() {
    let log = &*MIDDLE;
    for index in [0, 1, 255, 256, 400, 511, 512, 699] {
        let id = bundle_of(index);
        let mut files = log.files.clone();
        let mut entries = entries_of(&files, &id);
        let place = usize::try_from(index % 256).unwrap();
        // The last digit of the commitment.
        let at = entries[place]
            .windows(9)
            .position(|window| window == b"\",\"epoch\"")
            .unwrap()
            - 1;
        entries[place][at] = if entries[place][at] == b'0' { b'1' } else { b'0' };
        set_entries(&mut files, &id, &entries);
        let report = check(&files);
        let (start, end, kind) = only(&report);
        assert_eq!((start, end), (index, index + 1));
        let found = leaf_hash(&entries[place]).0;
        let expected = leaf_hash(&leaf_bytes(index)).0;
        assert_eq!(*kind, FindingKind::EntryChanged { expected, found });
        assert_eq!(report.findings.len(), 1, "the changed leaf is still in form");
    }
}

fn bundle_of(index: u64) -> String {
    if index < 512 {
        format!("tile/entries/{:03}", index / 256)
    } else {
        "tile/entries/002.p/188".to_owned()
    }
}

#[test]
fn a_removed_entry_is_named() {
    let log = &*MIDDLE;
    for index in [0, 1, 100, 254, 256, 300, 512, 650] {
        let id = bundle_of(index);
        let mut files = log.files.clone();
        let mut entries = entries_of(&files, &id);
        entries.remove(usize::try_from(index % 256).unwrap());
        set_entries(&mut files, &id, &entries);
        let report = check(&files);
        assert_eq!(
            only(&report),
            (index, index + 1, &FindingKind::EntryRemoved),
            "{index}"
        );
        // The tenant's numbering shows the gap at its next entry.
        let gap = report.findings.iter().find_map(|finding| match &finding.kind {
            FindingKind::TenantSeqBroken { expected, found, .. } => Some((*expected, *found)),
            _ => None,
        });
        assert_eq!(gap, Some((1 + index / TENANTS, 2 + index / TENANTS)), "{index}");
    }
}

/// Removed, and everything after it moved up through all bundles.
#[test]
fn a_removed_entry_is_named_although_the_rest_moved_up() {
    let log = log(1500);
    let mut writer = TileWriter::new();
    for index in (0..1500).filter(|index| *index != 300) {
        writer.append(&leaf_bytes(index)).unwrap();
    }
    let mut files = log.files.clone();
    for file in writer.take_files() {
        if file.id.path().starts_with("tile/entries/") {
            files.0.insert(file.id.path(), file.bytes);
        }
    }
    files.0.remove("tile/entries/005.p/220");
    files.0.insert(
        "tile/entries/005.p/220".into(),
        files.0["tile/entries/005.p/219"].clone(),
    );
    let report = check(&files);
    let found = about_tree(&report);
    let removed: Vec<_> = found
        .iter()
        .filter(|finding| finding.kind == FindingKind::EntryRemoved)
        .collect();
    assert_eq!(removed.len(), 1, "{found:#?}");
    assert_eq!(removed[0].entries, 300..301);
    let shifted: Vec<_> = found
        .iter()
        .filter(|finding| finding.kind == FindingKind::EntriesShifted)
        .collect();
    assert_eq!(shifted.len(), 1, "{found:#?}");
    assert_eq!(shifted[0].entries, 301..1500);
    assert_eq!(found.len(), 2, "{found:#?}");
}

#[test]
fn swapped_entries_are_named() {
    let log = &*MIDDLE;
    for (a, b) in [(0, 1), (3, 200), (254, 255), (256, 511), (512, 699)] {
        let id = bundle_of(a);
        let mut files = log.files.clone();
        let mut entries = entries_of(&files, &id);
        entries.swap(
            usize::try_from(a % 256).unwrap(),
            usize::try_from(b % 256).unwrap(),
        );
        set_entries(&mut files, &id, &entries);
        let report = check(&files);
        assert_eq!(only(&report), (a, a + 1, &FindingKind::EntrySwapped { with: b }));
    }
    // Across bundles, near and far.
    for (a, b) in [(255, 256), (10, 300), (7, 690), (511, 512)] {
        let mut files = log.files.clone();
        let (first, second) = (bundle_of(a), bundle_of(b));
        let (mut left, mut right) = (entries_of(&files, &first), entries_of(&files, &second));
        let (at, bt) = (
            usize::try_from(a % 256).unwrap(),
            usize::try_from(b % 256).unwrap(),
        );
        std::mem::swap(&mut left[at], &mut right[bt]);
        set_entries(&mut files, &first, &left);
        set_entries(&mut files, &second, &right);
        let report = check(&files);
        assert_eq!(only(&report), (a, a + 1, &FindingKind::EntrySwapped { with: b }));
        assert!(
            report
                .findings
                .iter()
                .any(|finding| matches!(finding.kind, FindingKind::OrderBroken { .. }))
        );
    }
}

#[test]
fn moved_inserted_and_repeated_entries_are_named() {
    let log = &*MIDDLE;
    let path = "tile/entries/001";
    let mut files = log.files.clone();
    let mut entries = entries_of(&files, path);
    let taken = entries.remove(10);
    entries.insert(50, taken);
    set_entries(&mut files, path, &entries);
    assert_eq!(
        only(&check(&files)),
        (266, 267, &FindingKind::EntryMoved { to: 306 })
    );

    let mut files = log.files.clone();
    let mut entries = entries_of(&files, path);
    entries.insert(10, leaf_bytes(9_999));
    set_entries(&mut files, path, &entries);
    assert_eq!(only(&check(&files)), (266, 267, &FindingKind::EntryInserted));

    let mut files = log.files.clone();
    let mut entries = entries_of(&files, path);
    entries.insert(11, entries[10].clone());
    set_entries(&mut files, path, &entries);
    let (start, _, kind) = {
        let report = check(&files);
        let (start, end, kind) = only(&report);
        (start, end, kind.clone())
    };
    assert_eq!(kind, FindingKind::EntryInserted);
    assert!((266..=267).contains(&start));

    // One entry more than the partial bundle may have.
    let mut files = log.files.clone();
    let last = "tile/entries/002.p/188";
    let mut entries = entries_of(&files, last);
    entries.push(leaf_bytes(700));
    set_entries(&mut files, last, &entries);
    assert_eq!(only(&check(&files)), (700, 701, &FindingKind::EntryInserted));
}

#[test]
fn truncation_is_named() {
    let log = &*MIDDLE;
    // At the end of a bundle, on an entry border.
    for (path, keep, first, end) in [
        ("tile/entries/002.p/188", 180, 692, 700),
        ("tile/entries/000", 255, 255, 256),
    ] {
        let mut files = log.files.clone();
        let mut entries = entries_of(&files, path);
        entries.truncate(keep);
        set_entries(&mut files, path, &entries);
        assert_eq!(
            only(&check(&files)),
            (first, end, &FindingKind::EntryTruncated),
            "{path}"
        );
    }
    // In the middle of an entry, at every byte of two of them.
    let path = "tile/entries/000.p/40";
    let log = crate::fixture::log(40);
    let whole = log.files.0[path].len();
    let two = entries_of(&log.files, path)
        .iter()
        .rev()
        .take(2)
        .map(|entry| entry.len() + 2)
        .sum::<usize>();
    let last = entries_of(&log.files, path).last().unwrap().len() + 2;
    for cut in 1..two {
        let mut files = log.files.clone();
        files.bytes_mut(path).truncate(whole - cut);
        let first = if cut <= last { 39 } else { 38 };
        assert_eq!(
            only(&check(&files)),
            (first, 40, &FindingKind::EntryTruncated),
            "{cut}"
        );
    }
    // The file itself.
    let log = &*MIDDLE;
    let path = "tile/entries/002.p/188";
    let mut files = log.files.clone();
    files.0.remove(path);
    assert_eq!(only(&check(&files)), (512, 700, &FindingKind::BundleMissing));
    let mut files = log.files.clone();
    files.0.remove("tile/entries/001");
    assert_eq!(only(&check(&files)), (256, 512, &FindingKind::BundleMissing));
    // An entry made shorter, its length prefix with it.
    let mut files = log.files.clone();
    let mut entries = entries_of(&files, "tile/entries/001");
    entries[44].pop();
    set_entries(&mut files, "tile/entries/001", &entries);
    let report = check(&files);
    assert!(matches!(
        only(&report),
        (300, 301, FindingKind::EntryChanged { .. })
    ));
    assert!(report.findings.iter().any(|finding| {
        finding.entries == (300..301) && matches!(finding.kind, FindingKind::LeafInvalid { .. })
    }));
}

#[test]
fn damaged_tiles_are_not_blamed_on_entries() {
    let check_tree = |files: &Files| {
        Fsck::new(files, LARGE.checkpoint.checkpoint().clone(), Content::Opaque)
            .run()
            .unwrap()
    };
    for (path, level, tile, slot, entries) in [
        ("tile/0/003", 0, 3, 5, 773..774),
        ("tile/1/000", 1, 0, 9, 2304..2560),
        ("tile/1/001.p/2", 1, 1, 1, 65_792..66_048),
        ("tile/2/000.p/1", 2, 0, 0, 0..65_536),
    ] {
        let mut files = LARGE.files.clone();
        files.bytes_mut(path)[slot * 32 + 3] ^= 0x10;
        let report = check_tree(&files);
        let slot = u16::try_from(slot).unwrap();
        let expected = Finding {
            entries,
            kind: FindingKind::TileHashChanged { level, tile, slot },
        };
        assert_eq!(report.findings, [expected], "{path}");
    }
    let mut files = LARGE.files.clone();
    files.bytes_mut("tile/0/258.p/52")[51 * 32] ^= 1;
    let kind = FindingKind::TileHashChanged {
        level: 0,
        tile: 258,
        slot: 51,
    };
    assert_eq!(
        check_tree(&files).findings,
        [Finding {
            entries: 66_099..66_100,
            kind
        }]
    );
    for (log, path) in [
        (&MIDDLE, "tile/0/001"),
        (&MIDDLE, "tile/0/002.p/188"),
        (&MIDDLE, "tile/1/000.p/2"),
        (&LARGE, "tile/1/000"),
        (&LARGE, "tile/2/000.p/1"),
    ] {
        let TileKind::Hashes(level) = TileId::parse(path).unwrap().kind() else {
            panic!("{path}")
        };
        let check_tree = |files: &Files| {
            Fsck::new(files, log.checkpoint.checkpoint().clone(), Content::Opaque)
                .run()
                .unwrap()
        };
        let mut files = log.files.clone();
        files.bytes_mut(path).pop();
        let report = check_tree(&files);
        let length = matches!(only(&report).2, FindingKind::TileLength { level: l, .. } if *l == level);
        assert!(length, "{path}: {:?}", report.findings);
        files.0.remove(path);
        let report = check_tree(&files);
        let missing = matches!(only(&report).2, FindingKind::TileMissing { level: l, .. } if *l == level);
        assert!(missing, "{path}: {:?}", report.findings);
    }
}

/// Entry and tile altered together: the level above, or the root, tells.
#[test]
fn consistent_forgeries_are_found_above() {
    let log = &*MIDDLE;
    // Bundle and level-0 tile agree; level 1 does not.
    let mut files = log.files.clone();
    let path = "tile/entries/001";
    let mut entries = entries_of(&files, path);
    entries[3] = leaf_bytes(9_999);
    set_entries(&mut files, path, &entries);
    let forged = leaf_hash(&entries[3]).0;
    files.bytes_mut("tile/0/001")[3 * 32..4 * 32].copy_from_slice(&forged);
    let report = check(&files);
    let kind = FindingKind::TileHashChanged {
        level: 1,
        tile: 0,
        slot: 1,
    };
    assert_eq!(only(&report), (256, 512, &kind));

    // The whole log rewritten under the old checkpoint.
    let mut forged = log_of((0..700).map(|index| {
        if index == 259 {
            leaf_bytes(9_999)
        } else {
            leaf_bytes(index)
        }
    }));
    forged
        .files
        .0
        .insert("checkpoint".into(), log.checkpoint.to_bytes());
    let report = check(&forged.files);
    assert_eq!(only(&report), (0, 700, &FindingKind::RootMismatch));
    // The leaves' own numbering still gives the place away.
    assert!(report.findings.iter().any(|finding| finding.entries.start == 259));
}

#[test]
fn bad_checkpoints_are_findings() {
    let log = log(300);
    let mut files = log.files.clone();
    files.0.remove("checkpoint");
    assert_eq!(check(&files).findings[0].kind, FindingKind::CheckpointMissing);

    let mut files = log.files.clone();
    let bytes = files.bytes_mut("checkpoint");
    let end = bytes.len();
    bytes[end - 10] ^= 1;
    let report = check(&files);
    assert!(matches!(
        only(&report),
        (0, 0, FindingKind::CheckpointInvalid { .. })
    ));
    assert_eq!(report.entries, 300, "the tiles were checked all the same");

    files.0.insert("checkpoint".into(), b"nonsense".to_vec());
    assert!(matches!(
        only(&check(&files)),
        (0, 0, FindingKind::CheckpointInvalid { .. })
    ));

    // An unsigned size is not a reason to walk for ever.
    let huge = Checkpoint {
        origin: origin(),
        size: u64::MAX,
        root: RootHash([1; 32]),
    }
    .body();
    let text = format!("{huge}\n\u{2014} {} AAAAAAA=\n", origin());
    files.0.insert("checkpoint".into(), text.into_bytes());
    let report = check(&files);
    assert!(matches!(
        report.findings[0].kind,
        FindingKind::CheckpointInvalid { .. }
    ));
    // Another key of the same name.
    let stranger = Key::new(origin().as_str(), 99).verifier();
    let report = fsck_log(&log.files, &origin(), &[stranger], LEAVES).unwrap();
    assert!(matches!(
        only(&report),
        (0, 0, FindingKind::CheckpointInvalid { .. })
    ));
}

#[test]
fn what_was_seen_elsewhere_must_still_hold() {
    let (older, log, newer) = (log(256), &*MIDDLE, log(900));
    let seen = |log: &Log| log.checkpoint.checkpoint().clone();
    let with = |known: Vec<Checkpoint>| {
        Fsck::new(&log.files, seen(log), LEAVES)
            .with_known(known)
            .run()
            .unwrap()
            .findings
    };
    assert_eq!(with(vec![seen(&older), seen(log)]), []);
    let kind = FindingKind::CheckpointRolledBack { seen: 900 };
    assert_eq!(
        with(vec![seen(&newer)]),
        [Finding {
            entries: 700..900,
            kind
        }]
    );
    let other = log_of((1..257).map(leaf_bytes));
    let kind = FindingKind::CheckpointRewritten { seen: 256 };
    assert_eq!(
        with(vec![seen(&other)]),
        [Finding {
            entries: 0..256,
            kind
        }]
    );
    let elsewhere = bailiwick_audit::checkpoint::Origin::parse("log.example/other").unwrap();
    let foreign = Checkpoint {
        origin: elsewhere,
        ..seen(&older)
    };
    assert!(matches!(
        with(vec![foreign])[0].kind,
        FindingKind::CheckpointInvalid { .. }
    ));
}

fn leaves_of(values: &[(u64, u64, u64, &str, u64)]) -> Log {
    log_of(
        values
            .iter()
            .map(|(at, epoch, state_pos, tenant_ref, tenant_seq)| {
                let leaf = Leaf {
                    at: *at,
                    commitment: [0; 32],
                    epoch: *epoch,
                    kind: Kind::DECISION,
                    node: "n",
                    state_pos: *state_pos,
                    tenant_ref,
                    tenant_seq: *tenant_seq,
                };
                leaf.encode().unwrap()
            }),
    )
}

/// What the leaves promise each other, in a log whose tree is perfect.
#[test]
fn broken_promises_of_the_leaves_are_named() {
    let report = check(
        &leaves_of(&[
            (5, 1, 1, "a", 1),
            (5, 1, 1, "b", 1),
            (4, 1, 1, "a", 2),
            (5, 0, 2, "a", 4),
            (5, 1, 1, "b", 2),
        ])
        .files,
    );
    let seq = |expected, found| FindingKind::TenantSeqBroken {
        tenant_ref: "a".into(),
        expected,
        found,
    };
    let order = |field, before, found| FindingKind::OrderBroken { field, before, found };
    let found: Vec<(u64, FindingKind)> = report
        .findings
        .into_iter()
        .map(|finding| (finding.entries.start, finding.kind))
        .collect();
    assert_eq!(
        found,
        [
            (2, order("at", 5, 4)),
            (3, order("epoch", 1, 0)),
            (3, seq(3, 4)),
            (4, order("state_pos", 2, 1))
        ]
    );
    // Only what the log promises.
    let log = leaves_of(&[(5, 1, 1, "a", 1), (4, 0, 0, "a", 2)]);
    let relaxed = Fsck::new(
        &log.files,
        log.checkpoint.checkpoint().clone(),
        Content::Leaves(Order::default()),
    );
    assert!(relaxed.run().unwrap().is_clean());
    assert_eq!(check(&log.files).findings.len(), 3);
    // A tenant begins at 1, and repeats nothing.
    for (first, second, expected) in [(0, 1, 1), (2, 3, 1), (1, 1, 2), (1, 3, 2)] {
        let report = check(&leaves_of(&[(1, 1, 1, "a", first), (1, 1, 1, "a", second)]).files);
        assert_eq!(report.findings.len(), 1);
        let FindingKind::TenantSeqBroken { expected: named, .. } = &report.findings[0].kind else {
            panic!()
        };
        assert_eq!(*named, expected);
    }
}

/// Promises hold across the border between chunks, too.
#[test]
fn promises_hold_across_chunks() {
    let entry = |index: u64, gap: u64, at: u64| {
        let leaf = Leaf {
            at,
            commitment: [0; 32],
            epoch: 0,
            kind: Kind::DECISION,
            node: "n",
            state_pos: 0,
            tenant_ref: "a",
            tenant_seq: 1 + index + gap,
        };
        leaf.encode().unwrap()
    };
    assert!(check(&LARGE.files).is_clean());
    let torn = log_of((0..65_600).map(|index| {
        if index < 65_536 {
            entry(index, 0, 9)
        } else {
            entry(index, 1, 8)
        }
    }));
    let kinds: Vec<_> = check(&torn.files)
        .findings
        .into_iter()
        .map(|f| (f.entries.start, f.kind))
        .collect();
    let tenant_ref = "a".to_owned();
    assert_eq!(
        kinds,
        [
            (
                65_536,
                FindingKind::OrderBroken {
                    field: "at",
                    before: 9,
                    found: 8
                }
            ),
            (
                65_536,
                FindingKind::TenantSeqBroken {
                    tenant_ref,
                    expected: 65_537,
                    found: 65_538
                }
            ),
        ]
    );
}

#[test]
fn findings_read_as_sentences() {
    let log = log(300);
    let mut files = log.files.clone();
    let mut entries = entries_of(&files, "tile/entries/000");
    entries.swap(3, 4);
    set_entries(&mut files, "tile/entries/000", &entries);
    let lines: Vec<String> = check(&files).findings.iter().map(ToString::to_string).collect();
    assert!(
        lines.contains(&"entry 3: swapped with entry 4".to_owned()),
        "{lines:?}"
    );
    files.0.remove("tile/entries/000");
    let lines: Vec<String> = check(&files).findings.iter().map(ToString::to_string).collect();
    assert!(
        lines.contains(&"entries 0 to 255: the entry bundle is missing".to_owned()),
        "{lines:?}"
    );
}

/// Exhaustive on a small log: every single bit of every file.
#[test]
fn every_flipped_bit_of_a_small_log_is_found() {
    let log = log(3);
    let mut flipped = 0;
    for path in log.files.0.keys() {
        for position in 0..log.files.0[path].len() {
            for bit in 0..8 {
                let mut files = log.files.clone();
                files.bytes_mut(path)[position] ^= 1 << bit;
                assert!(!check(&files).is_clean(), "{path} byte {position} bit {bit}");
                flipped += 1;
            }
        }
    }
    assert!(flipped > 5000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any byte of any entry of a larger log: the entry is named.
    #[test]
    fn a_flipped_byte_names_its_entry(index in 0_u64..700, at in any::<prop::sample::Index>(), by in 1_u8..) {
        let log = &*MIDDLE;
        let path = bundle_of(index);
        let mut files = log.files.clone();
        let mut entries = entries_of(&files, &path);
        let place = usize::try_from(index % 256).unwrap();
        let byte = at.index(entries[place].len());
        entries[place][byte] ^= by;
        set_entries(&mut files, &path, &entries);
        let report = check(&files);
        let (start, end, kind) = only(&report);
        prop_assert_eq!((start, end), (index, index + 1));
        let is_changed = matches!(kind, FindingKind::EntryChanged { .. });
        prop_assert!(is_changed);
    }

    /// Any byte of any file of the log, also length prefixes: never clean, and
    /// the first finding is at or before the place.
    #[test]
    fn a_flipped_byte_anywhere_is_found(file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), by in 1_u8..) {
        let mut files = MIDDLE.files.clone();
        let path = files.0.keys().nth(file.index(files.0.len())).unwrap().clone();
        let length = files.0[&path].len();
        files.bytes_mut(&path)[at.index(length)] ^= by;
        prop_assert!(!check(&files).is_clean(), "{}", path);
    }
}

#[test]
fn a_log_with_several_checkpoints_is_clean_at_each() {
    let mut writer = TileWriter::new();
    let mut files = Files::default();
    let mut issuer = CheckpointIssuer::new_log(origin());
    let mut seen = Vec::new();
    for step in [1, 100, 155, 1, 300, 143] {
        for _ in 0..step {
            let index = writer.size();
            writer.append(&leaf_bytes(index)).unwrap();
        }
        files.store(&mut writer);
        let proof = writer.consistency_since_mark();
        let signed = issuer
            .issue(writer.size(), writer.root(), &proof, &Key::log())
            .unwrap();
        writer.mark();
        seen.push(signed.checkpoint().clone());
        files.0.insert("checkpoint".into(), signed.to_bytes());
        assert!(check(&files).is_clean());
    }
    let newest = seen.last().unwrap().clone();
    let report = Fsck::new(&files, newest, LEAVES).with_known(seen).run().unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}
