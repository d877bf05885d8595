use std::collections::BTreeSet;
use std::time::Duration;

use bailiwick_signals::{Heard, Signal, heard_push, heard_webhook, jti, signals, wait_for, window};
use proptest::prelude::*;
use serde_json::json;

use crate::{ISSUER, record, stream};

fn log(entries: u64) -> Vec<Signal> {
    let payload =
        |n: u64| json!({"actor": "operator:o", "objects": [{"id": format!("idn_{n}"), "after": {}}]});
    (0..entries)
        .flat_map(|n| signals(&record(n * 3, "identity.suspend", payload(n)), &stream(), ISSUER))
        .collect()
}

proptest! {
    /// However acknowledgements come: what was acknowledged never comes again, and nothing else is lost.
    #[test]
    fn nothing_is_lost_and_nothing_taken_comes_again(
        rounds in proptest::collection::vec(proptest::collection::vec(0..24_usize, 0..6), 1..8)
    ) {
        let (stream, all) = (stream(), log(12));
        let (mut position, mut taken, mut done) = (0, BTreeSet::new(), BTreeSet::new());
        for round in rounds {
            let acknowledged: BTreeSet<String> =
                round.iter().map(|n| jti(&stream.id, all[*n].index, all[*n].part)).collect();
            done.extend(acknowledged.iter().cloned());
            let found = all.iter().filter(|signal| signal.index >= position).cloned().collect();
            let kept = window(&stream.id, found, 36, taken, &acknowledged);
            let waiting: Vec<String> =
                kept.waiting.iter().map(|signal| jti(&stream.id, signal.index, signal.part)).collect();
            let expected: Vec<String> = all
                .iter()
                .map(|signal| jti(&stream.id, signal.index, signal.part))
                .filter(|name| !done.contains(name))
                .collect();
            prop_assert_eq!(waiting, expected);
            prop_assert!(kept.position >= position);
            (position, taken) = (kept.position, kept.taken);
        }
    }
}

#[test]
fn an_answer_to_a_push_means_what_its_text_says() {
    let failed = |why: &str| Heard::Failed(why.to_owned());
    let cases = [
        (202, "", Heard::Taken),
        (200, "anything", Heard::Taken),
        (
            400,
            r#"{"err":"invalid_request","description":"no"}"#,
            Heard::Refused("no".to_owned()),
        ),
        (
            400,
            r#"{"err":"invalid_request"}"#,
            Heard::Refused("invalid_request".to_owned()),
        ),
        (
            400,
            r#"{"err":"authentication_failed"}"#,
            failed("400 authentication_failed"),
        ),
        (
            400,
            r#"{"err":"invalid_key","err":"x"}"#,
            failed("400 without `err`"),
        ),
        (400, "<html>", failed("400 without `err`")),
        (307, "", failed("status 307")),
        (503, "", failed("status 503")),
    ];
    for (status, body, expected) in cases {
        assert_eq!(heard_push(status, body.as_bytes()), expected, "{status} {body}");
    }
    assert_eq!(heard_webhook(410), Heard::Gone);
    assert_eq!(heard_webhook(204), Heard::Taken);
    assert_eq!(heard_webhook(302), failed("status 302"));
}

#[test]
fn waits_grow_and_have_an_end() {
    let waits: Vec<u64> = (1..=10).map(|n| wait_for(n).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    assert_eq!(wait_for(u64::MAX), Duration::from_secs(300));
}
