use std::sync::Arc;

use bailiwick_base::{SealError, TenantId};
use bailiwick_journal::{
    DecisionLog, INSTALLATION_REF, JournalError, LogConfig, LogReader, NotAppended, PAYLOAD_MAX, Passed,
    Record,
};

use crate::rig::{
    TestSealer, append_each, config, deps, entries, folder, frames, held, note_key, open, open_log, record,
    segment, tenant, wait,
};

#[test]
fn entries_are_numbered_per_log_and_per_tenant() {
    let dir = folder();
    let log = open(dir.path());
    append_each(&log, &["acme", "beta", "acme", "acme", "beta"]);
    drop(log);
    let found: Vec<_> = entries(dir.path()).into_iter().collect();
    let expected = [
        (0, "ref-acme", 1),
        (1, "ref-beta", 1),
        (2, "ref-acme", 2),
        (3, "ref-acme", 3),
        (4, "ref-beta", 2),
    ];
    assert_eq!(found, expected.map(|(i, t, s)| (i, t.to_owned(), s)));
}

#[test]
fn numbers_go_on_after_reopening() {
    let dir = folder();
    append_each(&open(dir.path()), &["acme", "beta"]);
    let (log, recovery) = open_log(dir.path(), config(), deps()).unwrap();
    assert_eq!(
        (recovery.entries, recovery.integrated, recovery.cut),
        (2, 2, None)
    );
    append_each(&log, &["beta", "acme"]);
    drop(log);
    let seqs: Vec<_> = entries(dir.path())
        .into_iter()
        .map(|(_, t, s)| format!("{t}/{s}"))
        .collect();
    assert_eq!(seqs, ["ref-acme/1", "ref-beta/1", "ref-beta/2", "ref-acme/2"]);
}

/// Each place is passed once: what stands before it is not read again.
#[test]
fn a_reader_begins_where_another_has_passed() {
    let dir = folder();
    let log = open(dir.path());
    append_each(&log, &["acme"; 600]);
    let passed = Arc::new(Passed::default());
    let seek = |index| LogReader::seek(dir.path(), crate::rig::ORIGIN, &passed, index);
    let rest = |index| -> Vec<u64> { seek(index).unwrap().map(|e| e.unwrap().index).collect() };
    for from in [599, 256, 255, 0, 600, 601] {
        assert_eq!(rest(from), (from..600).collect::<Vec<_>>(), "from {from}");
    }
    let page = |range, bytes_max| -> Vec<u64> {
        let page = LogReader::page(dir.path(), crate::rig::ORIGIN, &passed, range, bytes_max).unwrap();
        page.iter().map(|entry| entry.index).collect()
    };
    assert_eq!(page(300..310, usize::MAX), (300..310).collect::<Vec<_>>());
    assert_eq!(page(300..310, 1), [300], "the entry that goes beyond is the last");
    assert_eq!(page(310..310, usize::MAX), [0_u64; 0]);
    append_each(&log, &["acme"; 1]);
    assert_eq!(rest(599), [599, 600], "what was added is seen");
    drop(log);
    let path = segment(dir.path(), 0);
    let mut bytes = std::fs::read(&path).unwrap();
    let first = frames(&bytes)[0];
    bytes[first.end - 1] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(rest(257), (257..601).collect::<Vec<_>>());
    let damaged = seek(255).and_then(|mut reader| reader.next_entry()).unwrap_err();
    assert!(matches!(damaged, JournalError::Damaged { .. }), "{damaged}");
}

#[test]
fn payloads_open_beside_their_leaf_and_nowhere_else() {
    let dir = folder();
    let log = open(dir.path());
    wait(log.append(record("acme", "first"))).unwrap();
    let installation = Record {
        tenant: None,
        tenant_ref: Arc::from(INSTALLATION_REF),
        ..record("acme", "second")
    };
    wait(log.append(installation)).unwrap();
    let sealer = TestSealer { erased: None };
    let mut found: Vec<_> = LogReader::open(dir.path(), crate::rig::ORIGIN)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let acme = tenant("acme");
    assert_eq!(found[0].open(&sealer, Some(&acme)).unwrap(), b"first");
    assert_eq!(found[1].open(&sealer, None).unwrap(), b"second");
    assert!(
        !found[0].sealed.windows(5).any(|w| w == b"first"),
        "the payload is stored in clear"
    );
    let wrong = |entry: &bailiwick_journal::LogEntry, tenant: Option<&TenantId>| {
        matches!(
            entry.open(&sealer, tenant),
            Err(JournalError::Seal {
                source: SealError::DoesNotOpen { .. },
                ..
            })
        )
    };
    assert!(wrong(&found[0], None));
    let (a, b) = found.split_at_mut(1);
    std::mem::swap(&mut a[0].sealed, &mut b[0].sealed);
    assert!(wrong(&found[0], Some(&acme)));
}

#[test]
fn sixty_four_writers_are_all_acknowledged_and_present_in_order() {
    const WRITERS: usize = 64;
    const EACH: usize = 40;
    let dir = folder();
    let log = Arc::new(open(dir.path()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let acknowledged: Vec<Vec<(u64, String)>> = runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let log = log.clone();
            tasks.spawn(async move {
                let mut acknowledged = Vec::new();
                for n in 0..EACH {
                    let payload = format!("{{\"n\":{n},\"writer\":{writer}}}");
                    let index = log.append(record("acme", payload.clone())).await.unwrap();
                    acknowledged.push((index, payload));
                }
                acknowledged
            });
        }
        tasks.join_all().await
    });
    drop(log);
    let sealer = TestSealer { erased: None };
    let stored: Vec<Vec<u8>> = LogReader::open(dir.path(), crate::rig::ORIGIN)
        .unwrap()
        .enumerate()
        .map(|(position, entry)| {
            let entry = entry.unwrap();
            assert_eq!(entry.index, position as u64);
            assert_eq!(entry.leaf().unwrap().tenant_seq, position as u64 + 1);
            entry.open(&sealer, Some(&tenant("acme"))).unwrap()
        })
        .collect();
    assert_eq!(stored.len(), WRITERS * EACH);
    for writer in acknowledged {
        assert!(
            writer.is_sorted_by_key(|(index, _)| *index),
            "one writer's entries are out of order"
        );
        for (index, payload) in writer {
            assert_eq!(stored[usize::try_from(index).unwrap()], payload.as_bytes());
        }
    }
    let flushes = frames(&std::fs::read(segment(dir.path(), 0)).unwrap());
    let mut starts: Vec<_> = flushes.iter().map(|frame| frame.flush).collect();
    starts.dedup();
    assert!(starts.len() < flushes.len(), "no flush took more than one record");
}

#[test]
fn a_log_grows_over_segments() {
    let dir = folder();
    let log = open(dir.path());
    for n in 0..30_u8 {
        wait(log.append(record("acme", vec![n; 40_000]))).unwrap();
    }
    drop(log);
    let (log, recovery) = open_log(dir.path(), config(), deps()).unwrap();
    assert_eq!(recovery.entries, 30);
    assert!(recovery.segments >= 5, "{recovery:?}");
    assert_eq!(entries(dir.path()).len(), 30);
    assert_eq!(log.prove(29).unwrap().index, 29);
}

#[test]
fn a_full_queue_refuses_at_once() {
    let dir = folder();
    let (log, gate, first) = held(
        dir.path(),
        LogConfig {
            queue_records_max: 4,
            ..config()
        },
    );
    let waiting: Vec<_> = (0..4).map(|_| log.append(record("acme", "x"))).collect();
    assert_eq!(
        wait(log.append(record("acme", "x"))),
        Err(NotAppended::QueueFull { max: 4 })
    );
    assert_eq!(
        log.append_unwaited(record("acme", "x")),
        Err(NotAppended::QueueFull { max: 4 })
    );
    gate.set(false);
    for (append, index) in std::iter::once(first).chain(waiting).zip(0..) {
        assert_eq!(wait(append), Ok(index));
    }
    // Bytes count as well: the flush under way is no longer in the queue.
    let dir = folder();
    let (log, gate, _) = held(
        dir.path(),
        LogConfig {
            queue_bytes_max: 1_000,
            ..config()
        },
    );
    let long = log.append(record("acme", vec![b'x'; 900]));
    assert!(matches!(
        wait(log.append(record("acme", vec![b'x'; 900]))),
        Err(NotAppended::QueueFull { .. })
    ));
    gate.set(false);
    assert_eq!(wait(long), Ok(1));
    assert_eq!(wait(log.append(record("acme", vec![b'x'; 900]))), Ok(2));
}

#[test]
fn what_cannot_be_an_entry_is_refused_alone() {
    let dir = folder();
    let log = open(dir.path());
    let long = wait(log.append(record("acme", vec![b'x'; PAYLOAD_MAX + 1])));
    assert_eq!(
        long,
        Err(NotAppended::TooLong {
            part: "payload",
            found: PAYLOAD_MAX + 1,
            max: PAYLOAD_MAX
        })
    );
    let label = wait(log.append(Record {
        tenant_ref: Arc::from("a \"b\""),
        ..record("acme", "x")
    }));
    assert!(
        matches!(label, Err(NotAppended::Unwritable(ref why)) if why.contains("tenant_ref")),
        "{label:?}"
    );
    assert_eq!(wait(log.append(record("acme", "x"))), Ok(0));
    assert_eq!(log.refusing(), None);
    let (dir, erased) = (
        folder(),
        TestSealer {
            erased: Some(tenant("acme")),
        },
    );
    let deps = bailiwick_journal::Deps {
        sealer: Arc::new(erased),
        ..deps()
    };
    let (log, _) = open_log(dir.path(), config(), deps).unwrap();
    assert!(matches!(
        wait(log.append(record("acme", "x"))),
        Err(NotAppended::Seal(SealError::NoKey(_)))
    ));
    assert_eq!(log.size(), 0);
}

#[test]
fn records_nobody_waits_for_are_written() {
    let dir = folder();
    let log = open(dir.path());
    log.append_unwaited(record("acme", "outcome")).unwrap();
    drop(log.append(record("acme", "the caller went away")));
    drop(log);
    assert_eq!(entries(dir.path()).len(), 2);
}

#[test]
fn one_process_at_a_time() {
    let dir = folder();
    let log = open(dir.path());
    assert!(matches!(
        DecisionLog::open(dir.path(), config(), deps()),
        Err(JournalError::Locked { .. })
    ));
    drop(log);
    open(dir.path());
}

#[test]
fn settings_are_checked() {
    let refused = |config: LogConfig| {
        open_log(folder().path(), config, deps())
            .err()
            .map(|error| error.to_string())
            .unwrap()
    };
    assert!(
        refused(LogConfig {
            segment_bytes: 4096,
            ..config()
        })
        .starts_with("`segment_bytes` is `4096`")
    );
    assert!(
        refused(LogConfig {
            queue_records_max: 0,
            ..config()
        })
        .starts_with("`queue_records_max` is `0`")
    );
    assert!(
        refused(LogConfig {
            origin: "with space".to_owned(),
            ..config()
        })
        .starts_with("`origin` is")
    );
}

#[test]
fn any_entry_is_found_and_can_be_disclosed() {
    let dir = folder();
    let log = open(dir.path());
    let waiting: Vec<_> = (0..700)
        .map(|n| log.append(record("acme", format!("{{\"n\":{n}}}"))))
        .collect();
    assert!(waiting.into_iter().all(|append| wait(append).is_ok()));
    wait(log.append(record("acme", vec![b'x'; 60_000]))).unwrap();
    let found = |log: &DecisionLog| {
        for index in [0, 1, 255, 256, 257, 511, 512, 699, 700] {
            assert_eq!(log.entry(index).unwrap().unwrap().index, index);
        }
        assert_eq!(log.entry(701).unwrap(), None);
        assert_eq!(log.entry(u64::MAX).unwrap(), None);
    };
    found(&log);
    drop(log);
    let log = open(dir.path());
    found(&log);
    let acme = tenant("acme");
    let file = log
        .disclose(512, Some(&acme), TestSealer::log_key(&acme))
        .unwrap();
    let origin = bailiwick_audit::checkpoint::Origin::parse(crate::rig::ORIGIN).unwrap();
    let verified = file
        .verify(&origin, &[note_key(crate::rig::ORIGIN, 1).verifier])
        .unwrap();
    assert_eq!(
        (verified.index, verified.payload.as_deref()),
        (512, Some(b"{\"n\":512}".as_slice()))
    );
    assert!(matches!(
        log.disclose(512, Some(&acme), [0; 32]),
        Err(JournalError::Disclose { index: 512, .. })
    ));
    assert!(matches!(
        log.disclose(512, None, [0; 32]),
        Err(JournalError::Seal { index: 512, .. })
    ));
}
