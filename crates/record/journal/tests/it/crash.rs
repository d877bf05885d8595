//! What a crash or a bad disk can leave behind: nothing acknowledged is lost, nothing torn is accepted, and
//! damage is named with its place.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bailiwick_journal::{Cut, DecisionLog, JournalError, LogReader};

use crate::rig::{
    ORIGIN, append_each, config, deps, entries, folder, frames, held, image, open, open_log, record, segment,
    wait,
};

/// What a reader makes of the folder: entries and the cut, or the damaged entry and its offset.
fn read(dir: &Path) -> Result<(u64, Option<Cut>), (u64, u64)> {
    let damage = |error| match error {
        JournalError::Damaged { index, offset, .. } => (index, offset),
        other => panic!("not damage: {other}"),
    };
    let mut reader = LogReader::open(dir, ORIGIN).map_err(damage)?;
    let mut count = 0;
    while let Some(entry) = reader.next_entry().map_err(damage)? {
        assert_eq!(entry.index, count);
        entry.leaf().unwrap();
        count += 1;
    }
    Ok((count, reader.cut().cloned()))
}

#[test]
fn any_flipped_byte_is_found_where_it_is() {
    let dir = folder();
    let log = open(dir.path());
    append_each(&log, &["acme", "beta", "acme"]);
    let crashed = image(dir.path());
    let path = segment(crashed.path(), 0);
    let bytes = fs::read(&path).unwrap();
    let frames = frames(&bytes);
    assert_eq!(
        frames.iter().map(|frame| frame.flush).collect::<Vec<_>>(),
        [0, 1, 2]
    );
    assert_eq!(read(crashed.path()), Ok((3, None)));
    let file = File::options().write(true).open(&path).unwrap();
    let flip = |at: usize, mask: u8| file.write_all_at(&[bytes[at] ^ mask], at as u64).unwrap();
    let last = frames[2];
    let places = (0..96).chain((96..4096).step_by(61)).chain(4096..last.end + 64);
    for (at, mask) in places.map(|at| (at, if at % 2 == 0 { 0x01 } else { 0xff })) {
        flip(at, mask);
        let found = read(crashed.path());
        if at < 4096 {
            assert_eq!(found, Err((0, 0)), "byte {at} of the header");
        } else if let Some(index) = frames[..2]
            .iter()
            .position(|frame| (frame.start..frame.end).contains(&at))
        {
            assert_eq!(
                found,
                Err((index as u64, frames[index].start as u64)),
                "byte {at}"
            );
        } else if at < last.end {
            // The last flush: the same bytes as one that was torn. Nothing of it is accepted.
            let (entries, cut) = found.unwrap();
            let cut = cut.unwrap();
            assert_eq!(
                (entries, cut.index, cut.offset),
                (2, 2, last.start as u64),
                "byte {at}"
            );
        } else {
            let (entries, cut) = found.unwrap();
            assert_eq!(
                (entries, cut.unwrap().offset),
                (3, last.end as u64),
                "byte {at} behind the tail"
            );
        }
        flip(at, 0);
    }
    assert_eq!(read(crashed.path()), Ok((3, None)));
}

#[test]
fn any_flipped_byte_under_a_checkpoint_keeps_the_log_closed() {
    let dir = folder();
    append_each(&open(dir.path()), &["acme", "beta", "acme"]);
    let path = segment(dir.path(), 0);
    let bytes = fs::read(&path).unwrap();
    let end = frames(&bytes)[2].end;
    let file = File::options().write(true).open(&path).unwrap();
    for at in (0..96).chain(4096..end) {
        file.write_all_at(&[bytes[at] ^ 0x10], at as u64).unwrap();
        let refused = open_log(dir.path(), config(), deps());
        assert!(
            matches!(refused, Err(JournalError::Damaged { .. })),
            "byte {at}: {refused:?}"
        );
        file.write_all_at(&[bytes[at]], at as u64).unwrap();
        assert!(
            fs::read(&path).unwrap() == bytes,
            "byte {at}: a refused log was changed"
        );
    }
    let (_, recovery) = open_log(dir.path(), config(), deps()).unwrap();
    assert_eq!(recovery.entries, 3);
}

/// A log of one entry in its own flush and `WIDTH` in the next, still open.
fn with_wide_flush(dir: &Path) -> DecisionLog {
    let (log, gate, first) = held(dir, config());
    let waiting: Vec<_> = (0..WIDTH)
        .map(|n| log.append(record("acme", vec![n as u8; 20 + n])))
        .collect();
    gate.set(false);
    for append in std::iter::once(first).chain(waiting) {
        wait(append).unwrap();
    }
    log
}

const WIDTH: usize = 5;

#[test]
fn a_torn_flush_is_cut_at_its_last_whole_entry() {
    let dir = folder();
    let log = with_wide_flush(dir.path());
    let crashed = image(dir.path());
    drop(log);
    let path = segment(crashed.path(), 0);
    let bytes = fs::read(&path).unwrap();
    let all = frames(&bytes);
    assert_eq!(
        all.iter().map(|frame| frame.flush).collect::<Vec<_>>(),
        [0, 1, 1, 1, 1, 1]
    );
    let (acknowledged, torn) = all.split_at(1);
    let (start, end) = (torn[0].start, torn[WIDTH - 1].end);
    let file = File::options().write(true).open(&path).unwrap();
    // Every prefix that may have reached the disk.
    for cut in start..end {
        let mut image = bytes[start..end].to_vec();
        image[cut - start..].fill(0);
        file.write_all_at(&image, start as u64).unwrap();
        let whole = torn.iter().take_while(|frame| frame.end <= cut).count();
        let (entries, found) = read(crashed.path()).unwrap();
        // A last byte that is zero itself is not missing.
        let zero_tail = bytes[cut..torn[whole.min(WIDTH - 1)].end]
            .iter()
            .all(|byte| *byte == 0);
        let accepted = acknowledged.len() + whole + usize::from(zero_tail && whole < WIDTH);
        assert_eq!(entries, accepted as u64, "cut at {cut}");
        let empty = image[torn.get(whole).map_or(image.len(), |f| f.start - start)..]
            .iter()
            .all(|b| *b == 0);
        assert_eq!(found.is_none(), empty || zero_tail, "cut at {cut}: {found:?}");
    }
    // Every choice of sectors that did not.
    let first_sector = start / 512;
    let sectors = (end.div_ceil(512) - first_sector).min(10);
    for lost in 1..(1_u32 << sectors) {
        let mut image = bytes[start..end].to_vec();
        for sector in (0..sectors).filter(|sector| lost & (1 << sector) != 0) {
            let from = ((first_sector + sector) * 512)
                .saturating_sub(start)
                .min(image.len());
            let to = ((first_sector + sector + 1) * 512 - start).min(image.len());
            image[from..to].fill(0);
        }
        file.write_all_at(&image, start as u64).unwrap();
        let (entries, _) = read(crashed.path()).unwrap();
        let whole = torn
            .iter()
            .take_while(|frame| {
                image[frame.start - start..frame.end - start] == bytes[frame.start..frame.end]
            })
            .count();
        assert_eq!(entries, (acknowledged.len() + whole) as u64, "sectors {lost:b}");
    }
}

#[test]
fn a_cut_tail_never_comes_back() {
    let dir = folder();
    let log = with_wide_flush(dir.path());
    let crashed = image(dir.path());
    drop(log);
    let path = segment(crashed.path(), 0);
    let bytes = fs::read(&path).unwrap();
    let all = frames(&bytes);
    let torn = all[1];
    // The first entry of the flush is lost, the others are whole.
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&vec![0; torn.end - torn.start], torn.start as u64)
        .unwrap();
    let before = 1;
    let (log, recovery) = open_log(crashed.path(), config(), deps()).unwrap();
    let cut = recovery.cut.unwrap();
    assert_eq!(
        (recovery.entries, cut.index, cut.offset),
        (before as u64, before as u64, torn.start as u64)
    );
    assert!(
        fs::read(&path).unwrap()[torn.start..]
            .iter()
            .all(|byte| *byte == 0)
    );
    append_each(&log, &["beta"]);
    drop(log);
    let found = entries(crashed.path());
    assert_eq!(found.len(), before + 1);
    assert_eq!(found[before].1, "ref-beta");
    assert_eq!(read(crashed.path()), Ok((before as u64 + 1, None)));
}

#[test]
fn moved_removed_and_foreign_entries_are_damage() {
    let dir = folder();
    let log = open(dir.path());
    append_each(&log, &["acme", "acme", "acme", "acme"]);
    let crashed = image(dir.path());
    let path = segment(crashed.path(), 0);
    let bytes = fs::read(&path).unwrap();
    let places = frames(&bytes);
    let frame = |n: usize| &bytes[places[n].start..places[n].end];
    let rebuilt = |order: &[&[u8]]| {
        let mut image = bytes[..4096].to_vec();
        order.iter().for_each(|frame| image.extend_from_slice(frame));
        image.resize(bytes.len(), 0);
        fs::write(&path, image).unwrap();
        read(crashed.path())
    };
    assert_eq!(rebuilt(&[frame(0), frame(1), frame(2), frame(3)]), Ok((4, None)));
    assert_eq!(
        rebuilt(&[frame(0), frame(2), frame(1), frame(3)]),
        Err((1, places[1].start as u64))
    );
    assert_eq!(
        rebuilt(&[frame(0), frame(2), frame(3)]),
        Err((1, places[1].start as u64))
    );
    assert_eq!(
        rebuilt(&[frame(0), frame(0), frame(1)]),
        Err((1, places[1].start as u64))
    );
    assert_eq!(rebuilt(&[frame(1)]), Err((0, 4096)));
    // The same entries in a log of their own have other sums.
    let other = folder();
    let foreign = open_log(
        other.path(),
        bailiwick_journal::LogConfig {
            origin: "test.invalid/other".to_owned(),
            ..config()
        },
        bailiwick_journal::Deps {
            key: crate::rig::note_key("test.invalid/other", 1),
            ..deps()
        },
    )
    .unwrap()
    .0;
    append_each(&foreign, &["acme", "acme"]);
    let foreign_bytes = fs::read(segment(other.path(), 0)).unwrap();
    let stranger = frames(&foreign_bytes)[1];
    let stranger = &foreign_bytes[stranger.start..stranger.end];
    assert_eq!(rebuilt(&[frame(0), stranger]), Err((1, places[1].start as u64)));
    fs::write(&path, &foreign_bytes).unwrap();
    assert_eq!(read(crashed.path()), Err((0, 0)));
}

#[test]
fn a_shortened_file_is_damage() {
    let dir = folder();
    let log = open(dir.path());
    append_each(&log, &["acme", "beta"]);
    let crashed = image(dir.path());
    let path = segment(crashed.path(), 0);
    let bytes = fs::read(&path).unwrap();
    for len in (1..bytes.len())
        .step_by(997)
        .chain([4095, 4096, 4097, bytes.len() - 1])
    {
        fs::write(&path, &bytes[..len]).unwrap();
        assert!(read(crashed.path()).is_err(), "cut to {len}");
        let refused = open_log(crashed.path(), config(), deps());
        assert!(
            matches!(refused, Err(JournalError::Damaged { .. })),
            "cut to {len}"
        );
    }
}

/// A log over several segments, closed.
fn long_log() -> tempfile::TempDir {
    let dir = folder();
    let log = open(dir.path());
    for n in 0..20_u8 {
        wait(log.append(record("acme", vec![n; 40_000]))).unwrap();
    }
    dir
}

#[test]
fn missing_and_exchanged_segments_are_damage() {
    let refused = |dir: &Path| match open_log(dir, config(), deps()) {
        Err(JournalError::Damaged { path, reason, .. }) => {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), reason)
        }
        other => panic!("{other:?}"),
    };
    let dir = long_log();
    fs::remove_file(segment(dir.path(), 1)).unwrap();
    assert_eq!(
        refused(dir.path()),
        ("0000000000000001.seg".to_owned(), "the segment is missing")
    );
    let dir = long_log();
    fs::copy(segment(dir.path(), 2), segment(dir.path(), 1)).unwrap();
    assert_eq!(
        refused(dir.path()).1,
        "entries are missing before the next segment"
    );
    let dir = long_log();
    let zeros = vec![0; fs::metadata(segment(dir.path(), 1)).unwrap().len() as usize];
    fs::write(segment(dir.path(), 1), zeros).unwrap();
    assert_eq!(refused(dir.path()).1, "the header of the segment is not whole");
    // Without its last segments the log ends early: only the checkpoint knows.
    let dir = long_log();
    for ordinal in (2..10).filter(|ordinal| segment(dir.path(), *ordinal).exists()) {
        fs::remove_file(segment(dir.path(), ordinal)).unwrap();
    }
    assert_eq!(
        refused(dir.path()).1,
        "entries under a checkpoint are missing from here on"
    );
    let dir = long_log();
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    assert_eq!(
        refused(dir.path()).1,
        "segments are there, but no checkpoint: restore the checkpoint file"
    );
}

#[test]
fn an_interrupted_preparation_is_made_again() {
    let dir = long_log();
    let count = (0..20)
        .filter(|ordinal| segment(dir.path(), *ordinal).exists())
        .count() as u64;
    // A draft, and a prepared segment whose header was torn.
    fs::write(segment(dir.path(), count).with_extension("new"), b"half").unwrap();
    let (log, recovery) = open_log(dir.path(), config(), deps()).unwrap();
    if recovery.segments == count {
        // No spare yet: append until the next one is in use.
        for _ in 0..12 {
            wait(log.append(record("acme", vec![1; 40_000]))).unwrap();
        }
    }
    drop(log);
    let count = (0..20)
        .filter(|ordinal| segment(dir.path(), *ordinal).exists())
        .count() as u64;
    let spare = segment(dir.path(), count - 1);
    if fs::read(&spare).unwrap()[..8] == [0; 8] {
        let file = File::options().write(true).open(&spare).unwrap();
        file.write_all_at(b"BwSeg01\n\0\0", 0).unwrap();
    }
    let before = entries(dir.path()).len();
    let log = open(dir.path());
    for n in 0..12_u8 {
        wait(log.append(record("acme", vec![n; 40_000]))).unwrap();
    }
    drop(log);
    assert_eq!(entries(dir.path()).len(), before + 12);
}

#[test]
fn entries_that_were_written_but_not_acknowledged_are_kept() {
    // Killed between write and flush: the page cache has them, whole.
    let dir = folder();
    let log = open(dir.path());
    append_each(&log, &["acme"]);
    let crashed = image(dir.path());
    append_each(&log, &["acme"]);
    let later = fs::read(segment(dir.path(), 0)).unwrap();
    fs::write(segment(crashed.path(), 0), later).unwrap();
    let (log, recovery) = open_log(crashed.path(), config(), deps()).unwrap();
    assert_eq!((recovery.entries, recovery.integrated), (2, 0));
    assert_eq!(log.integrate(), Ok(2));
}

/// The ranges of bytes that one flush after the other wrote to a segment, header first.
fn writes(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut writes = vec![(0, 96)];
    let mut flush = None;
    for frame in frames(bytes) {
        match writes.last_mut() {
            Some(last) if flush == Some(frame.flush) => last.1 = frame.end,
            _ => writes.push((frame.start, frame.end)),
        }
        flush = Some(frame.flush);
    }
    writes
}

/// Loses the `lost` sectors of a write.
fn lose(image: &mut [u8], write: (usize, usize), lost: impl Fn(usize) -> bool) {
    for sector in (write.0 / 512..write.1.div_ceil(512)).filter(|sector| lost(*sector)) {
        let range = (sector * 512).max(write.0)..((sector + 1) * 512).min(write.1);
        image[range].fill(0);
    }
}

#[test]
fn a_loss_of_power_at_any_point_loses_nothing_acknowledged() {
    // Flushes of one to four records over two segments, then every state the disk may be in while one of
    // them is under way: all before it, any choice of its own sectors, nothing after it.
    let dir = folder();
    let (log, gate, first) = held(dir.path(), config());
    wait_all(vec![first], &gate);
    for n in 0..30_usize {
        gate.set(true);
        let mut waiting = vec![log.append(record("acme", vec![n as u8; 100]))];
        waiting.extend((0..n % 4).map(|k| log.append(record("beta", vec![k as u8; 300 + 2_500 * (n % 7)]))));
        wait_all(waiting, &gate);
    }
    let crashed = image(dir.path());
    drop(log);
    let segments: Vec<Vec<u8>> = (0..8)
        .map_while(|ordinal| fs::read(segment(crashed.path(), ordinal)).ok())
        .collect();
    let used = segments.iter().filter(|bytes| bytes[0] != 0).count();
    assert!(used >= 2, "the log has {used} segments");
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut acknowledged = 0;
    let mut states = 0;
    for ordinal in 0..used {
        for later in ordinal + 1..segments.len() {
            fs::remove_file(segment(crashed.path(), later as u64)).unwrap_or_default();
        }
        let writes = writes(&segments[ordinal]);
        let total = frames(&segments[ordinal]).len() as u64;
        for (n, write) in writes.iter().enumerate() {
            if let Some(spare) = segments.get(ordinal + 1).filter(|_| n == 1) {
                // Once a segment is in use, the next one may have been prepared.
                fs::write(segment(crashed.path(), ordinal as u64 + 1), vec![0; spare.len()]).unwrap();
            }
            let mut durable = segments[ordinal].clone();
            durable[write.1..].fill(0);
            let within = frames(&durable).len() as u64;
            let before = frames(&durable)
                .iter()
                .filter(|frame| frame.end <= write.0)
                .count() as u64;
            for _ in 0..8 {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let mut image = durable.clone();
                lose(&mut image, *write, |sector| seed >> (sector % 64) & 1 == 1);
                fs::write(segment(crashed.path(), ordinal as u64), &image).unwrap();
                let (entries, _) = read(crashed.path())
                    .unwrap_or_else(|at| panic!("segment {ordinal}, write {n}: taken for damage at {at:?}"));
                assert!(
                    entries >= acknowledged + before,
                    "segment {ordinal}, write {n}: {entries} entries"
                );
                assert!(entries <= acknowledged + within);
                states += 1;
            }
        }
        fs::write(segment(crashed.path(), ordinal as u64), &segments[ordinal]).unwrap();
        acknowledged += total;
    }
    assert!(states > 250, "{states} states");
    // And it goes on from a torn one.
    let last = writes(&segments[used - 1]).pop().unwrap();
    let mut image = segments[used - 1].clone();
    lose(&mut image, last, |sector| sector == last.0 / 512);
    fs::write(segment(crashed.path(), used as u64 - 1), image).unwrap();
    let (log, recovery) = open_log(crashed.path(), config(), deps()).unwrap();
    assert!(recovery.cut.is_some() && recovery.entries < acknowledged);
    append_each(&log, &["acme", "beta"]);
    assert_eq!(log.integrate(), Ok(recovery.entries + 2));
    drop(log);
    assert_eq!(crate::publish::fsck(crashed.path()), recovery.entries + 2);
}

fn wait_all(waiting: Vec<bailiwick_journal::Appending>, gate: &crate::rig::Gate) {
    gate.set(false);
    for append in waiting {
        wait(append).unwrap();
    }
}
