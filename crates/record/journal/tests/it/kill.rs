use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bailiwick_base::{AgentLabel, Epoch, IdentityId, ServerName, TaskId, TenantId, Time, TokenId, ToolName};
use bailiwick_decide::{MarkEffect, MarkScope};
use bailiwick_journal::{KillEntry, KillJournal, KillJournalError, KillMark, OsDisk, Slot};
use proptest::prelude::*;
use uuid::Uuid;

use crate::rig::{folder, tenant, unlocked};

const PAGE: usize = 4096;

fn entry(n: u64) -> KillEntry {
    KillEntry {
        at: Time::from_micros(1_763_750_000_000_000 + i64::try_from(n).unwrap()),
        actor: "opr_alice".to_owned(),
        marks: vec![KillMark {
            scope: MarkScope::Identity(IdentityId::from_parts(tenant("acme"), Uuid::from_u128(n.into()))),
            effect: MarkEffect::Kill,
        }],
        provisional_epoch: Epoch(n + 1),
        request: format!("req-{n}"),
        idempotency: n.is_multiple_of(2).then(|| format!("key-{n}")),
    }
}

fn open(path: &Path) -> (KillJournal, Vec<(Slot, KillEntry)>) {
    unlocked(
        || KillJournal::open(&OsDisk, path),
        |e| matches!(e, KillJournalError::Locked { .. }),
    )
    .unwrap()
}

fn left(path: &Path) -> Vec<KillEntry> {
    open(path).1.into_iter().map(|(_, entry)| entry).collect()
}

#[test]
fn what_is_not_settled_comes_back_in_order() {
    let dir = folder();
    let path = dir.path().join("kill.journal");
    let (journal, none) = open(&path);
    assert_eq!((none, fs::metadata(&path).unwrap().len()), (vec![], 1 << 20));
    let slots: Vec<Slot> = (0..5).map(|n| journal.write(&entry(n)).unwrap()).collect();
    journal.flush().unwrap();
    journal.settle(slots[1]).unwrap();
    journal.settle(slots[3]).unwrap();
    journal.settle(slots[3]).unwrap();
    assert_eq!(journal.unsettled(), 3);
    drop(journal);
    let (journal, back) = open(&path);
    assert_eq!(
        back.iter().map(|(_, entry)| entry.clone()).collect::<Vec<_>>(),
        [entry(0), entry(2), entry(4)]
    );
    for (slot, _) in &back {
        journal.settle(*slot).unwrap();
    }
    drop(journal);
    assert_eq!(left(&path), []);
}

#[test]
fn a_crash_after_any_step_comes_back_with_what_was_written() {
    // The file as another process would see it after each step: nothing is flushed or closed.
    let dir = folder();
    let path = dir.path().join("kill.journal");
    let (journal, _) = open(&path);
    let crashed = |step: &str, expected: &[u64]| {
        let copy = dir.path().join("crashed");
        fs::copy(&path, &copy).unwrap();
        let expected: Vec<_> = expected.iter().map(|n| entry(*n)).collect();
        assert_eq!(left(&copy), expected, "{step}");
    };
    crashed("made", &[]);
    let first = journal.write(&entry(1)).unwrap();
    crashed("written", &[1]);
    journal.flush().unwrap();
    crashed("flushed", &[1]);
    let second = journal.write(&entry(2)).unwrap();
    crashed("a second one written", &[1, 2]);
    journal.settle(first).unwrap();
    crashed("the first one settled", &[2]);
    journal.write(&entry(3)).unwrap();
    crashed("a third one written", &[2, 3]);
    journal.settle(second).unwrap();
    crashed("the second one settled", &[3]);
}

/// Three entries of which the first `flushed` are flushed, as the file's bytes.
fn three(path: &Path, flushed: u64) -> Vec<u8> {
    let (journal, _) = open(path);
    for n in 0..3 {
        journal.write(&entry(n)).unwrap();
        if n + 1 == flushed {
            journal.flush().unwrap();
        }
    }
    drop(journal);
    fs::read(path).unwrap()
}

fn used(bytes: &[u8]) -> usize {
    PAGE + bytes[PAGE..2 * PAGE].iter().rposition(|byte| *byte != 0).unwrap() + 1
}

#[test]
fn a_torn_write_that_nobody_was_told_of_is_no_entry_and_hurts_no_others() {
    let dir = folder();
    let path = dir.path().join("kill.journal");
    let bytes = three(&path, 0);
    let used = used(&bytes);
    for at in PAGE..used {
        // Torn here: the rest never reached the disk.
        let mut torn = bytes.clone();
        torn[at..used].fill(0);
        fs::write(&path, &torn).unwrap();
        let (journal, back) = open(&path);
        assert_eq!(
            back.iter().map(|(_, e)| e.request.as_str()).collect::<Vec<_>>(),
            ["req-1", "req-2"],
            "{at}"
        );
        assert_eq!(journal.torn(), usize::from(at > PAGE));
        journal.write(&entry(3)).unwrap();
        journal.flush().unwrap();
        drop(journal);
        assert_eq!(left(&path).len(), 3, "and the next start is a plain one: {at}");
    }
}

#[test]
fn a_flushed_page_that_is_not_what_was_written_stops_the_start_with_its_number() {
    let dir = folder();
    let path = dir.path().join("kill.journal");
    let bytes = three(&path, 3);
    let used = used(&bytes);
    let refused = |bytes: &[u8], at: usize| {
        fs::write(&path, bytes).unwrap();
        match KillJournal::open(&OsDisk, &path) {
            Err(KillJournalError::Damaged { page: 1, .. }) => {}
            other => panic!("byte {at}: {other:?}"),
        }
        assert_eq!(fs::read(&path).unwrap(), bytes, "nothing was replaced");
    };
    for at in PAGE..used {
        for bit in [0x01, 0x20] {
            let mut flipped = bytes.clone();
            flipped[at] ^= bit;
            refused(&flipped, at);
        }
        let mut cut = bytes.clone();
        cut[at..used].fill(0);
        if at > PAGE {
            refused(&cut, at);
        }
    }
    // Without the page nothing else says which one it was: the first free one is named.
    let mut gone = bytes.clone();
    gone[PAGE..2 * PAGE].fill(0);
    refused(&gone, PAGE);
    for at in 512..556 {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        fs::write(&path, &flipped).unwrap();
        assert!(
            matches!(
                KillJournal::open(&OsDisk, &path),
                Err(KillJournalError::NotWhole { .. })
            ),
            "byte {at}"
        );
    }
    fs::write(&path, &bytes).unwrap();
    assert_eq!(left(&path).len(), 3);
}

#[test]
fn a_torn_settlement_leaves_the_entry() {
    let dir = folder();
    let path = dir.path().join("kill.journal");
    let (journal, _) = open(&path);
    let slot = journal.write(&entry(7)).unwrap();
    journal.settle(slot).unwrap();
    drop(journal);
    assert_eq!(left(&path), []);
    let bytes = fs::read(&path).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    for at in (PAGE + 4048)..(PAGE + 4048 + 44) {
        file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
        assert_eq!(left(&path), [entry(7)], "byte {at}");
        file.write_all_at(&bytes[at..=at], at as u64).unwrap();
    }
}

#[test]
fn pages_are_used_again_oldest_first_and_a_full_journal_says_what_to_do() {
    let dir = folder();
    let path = dir.path().join("kill.journal");
    let (journal, _) = open(&path);
    let mut slots: Vec<Slot> = (0..255).map(|n| journal.write(&entry(n)).unwrap()).collect();
    let full = journal.write(&entry(255)).unwrap_err();
    assert!(matches!(full, KillJournalError::Full { entries: 255 }));
    assert_eq!(
        full.to_string(),
        "the kill journal is full of `255` kills the state log does not have: make the store writable"
    );
    journal.settle(slots[9]).unwrap();
    journal.settle(slots[4]).unwrap();
    slots.push(journal.write(&entry(255)).unwrap());
    drop(journal);
    let (journal, back) = open(&path);
    let expected: Vec<u64> = (0..256).filter(|n| ![4, 9].contains(n)).collect();
    assert_eq!(
        back.iter()
            .map(|(_, e)| e.provisional_epoch.0 - 1)
            .collect::<Vec<_>>(),
        expected
    );
    // Numbers go on, so that the order holds over a restart.
    journal.write(&entry(256)).unwrap();
    assert!(journal.write(&entry(257)).is_err());
    drop(journal);
    assert_eq!(left(&path).last(), Some(&entry(256)));
}

#[test]
fn a_file_that_is_no_whole_journal_is_never_replaced() {
    let dir = folder();
    let path = dir.path().join("kill.journal");
    drop(open(&path));
    let whole = fs::read(&path).unwrap();
    for damaged in [
        b"something else".to_vec(),
        Vec::new(),
        whole[..whole.len() - 1].to_vec(),
        {
            let mut bytes = whole.clone();
            bytes[3] ^= 1;
            bytes
        },
    ] {
        fs::write(&path, &damaged).unwrap();
        assert!(matches!(
            KillJournal::open(&OsDisk, &path),
            Err(KillJournalError::NotWhole { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), damaged);
    }
    fs::write(&path, &whole).unwrap();
    let (_held, _) = open(&path);
    assert!(matches!(
        KillJournal::open(&OsDisk, &path),
        Err(KillJournalError::Locked { .. })
    ));
}

#[test]
fn a_kill_of_too_many_marks_is_refused_with_the_fix() {
    let dir = folder();
    let (journal, _) = open(&dir.path().join("kill.journal"));
    let wide = |marks| KillEntry {
        marks: vec![entry(1).marks[0].clone(); marks],
        ..entry(1)
    };
    journal.write(&wide(30)).unwrap();
    let refused = journal.write(&wide(60)).unwrap_err();
    assert!(refused.to_string().ends_with("split it"), "{refused}");
}

fn scopes() -> impl Strategy<Value = MarkScope> {
    let tenant = "[a-z0-9]{2,8}".prop_map(|t| TenantId::parse(&t).unwrap());
    (
        tenant,
        any::<u128>(),
        "\\PC{1,40}",
        "[a-z][a-z0-9_-]{0,20}",
        0..10_usize,
    )
        .prop_map(|(tenant, id, text, name, kind)| {
            let uuid = Uuid::from_u128(id);
            let server = ServerName::parse(&name).unwrap();
            match kind {
                0 => MarkScope::Token(TokenId::from_parts(tenant, uuid)),
                1 => MarkScope::Task(TaskId::from_parts(tenant, uuid)),
                2 => MarkScope::Identity(IdentityId::from_parts(tenant, uuid)),
                3 => MarkScope::Agent(tenant, AgentLabel::parse(&name).unwrap()),
                4 => MarkScope::Owner(tenant, text),
                5 => MarkScope::Issuer(tenant, text),
                6 => MarkScope::Server(tenant, server),
                7 => MarkScope::Tool(tenant, server, ToolName::parse(&name).unwrap()),
                8 => MarkScope::Tenant(tenant),
                _ => MarkScope::All,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_entry_reads_back_as_it_was(
        marks in prop::collection::vec((scopes(), any::<bool>()), 0..6),
        actor in any::<String>(),
        request in any::<String>(),
        idempotency in proptest::option::of(any::<String>()),
        at in 0..4_000_000_000_000_000_i64,
        epoch in 0..1_u64 << 53,
    ) {
        let marks = marks
            .into_iter()
            .map(|(scope, kill)| {
                let effect = if kill { MarkEffect::Kill } else { MarkEffect::Suspend };
                KillMark { scope, effect }
            })
            .collect();
        let at = Time::from_micros(at);
        let entry = KillEntry { at, actor, marks, provisional_epoch: Epoch(epoch), request, idempotency };
        let bytes = entry.encode();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(&bailiwick_base::canonical::to_vec(&value).unwrap(), &bytes);
        prop_assert_eq!(KillEntry::decode(&bytes), Ok(entry));
    }
}

#[test]
fn entries_of_another_form_are_refused() {
    let bytes = entry(1).encode();
    let text = String::from_utf8(bytes).unwrap();
    for (from, to, why) in [
        ("\"v\":1", "\"v\":2", "made by a newer version"),
        ("\"kill\"", "\"stop\"", "`stop` is not an effect"),
        ("identity", "person", "`person` is not a scope"),
        ("\"v\":1}", "\"v\":1,\"w\":1}", "not in canonical form"),
        ("\"v\":1}", "\"v\":1} ", "not in canonical form"),
        (
            "\"tenant\":\"acme\"",
            "\"tenant\":\"A\"",
            "tenant `A` is not a slug",
        ),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        let refused = KillEntry::decode(changed.as_bytes()).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
}
