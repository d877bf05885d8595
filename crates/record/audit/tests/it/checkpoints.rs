//! Checkpoints: form, signature, and that none contradicts an earlier one.

use bailiwick_audit::checkpoint::{
    Checkpoint, CheckpointError, CheckpointIssuer, ExtendError, IssueError, Origin, SignedCheckpoint,
};
use bailiwick_audit::merkle::{EMPTY_ROOT, RootHash};
use bailiwick_audit::note::NoteError;
use bailiwick_audit::tile::TileWriter;

use crate::fixture::{Key, ORIGIN, leaf_bytes, log, origin};

fn body() -> String {
    Checkpoint {
        origin: origin(),
        size: 12,
        root: RootHash([3; 32]),
    }
    .body()
}

#[test]
fn a_body_has_one_form() {
    let good = body();
    let parsed = Checkpoint::parse_body(&good).unwrap();
    assert_eq!(parsed.body(), good);
    let root = good.lines().nth(2).unwrap().to_owned();
    for (name, bent) in [
        ("empty", String::new()),
        ("no newline", good.trim_end().to_owned()),
        ("no origin", good.replacen(ORIGIN, "", 1)),
        ("space in origin", good.replacen(ORIGIN, "a b", 1)),
        ("plus in origin", good.replacen(ORIGIN, "a+b", 1)),
        ("long origin", good.replacen(ORIGIN, &"a".repeat(256), 1)),
        ("no size", good.replace("\n12\n", "\n\n")),
        ("leading zero", good.replace("\n12\n", "\n012\n")),
        ("sign", good.replace("\n12\n", "\n+12\n")),
        ("hex", good.replace("\n12\n", "\n0xc\n")),
        ("2^64", good.replace("\n12\n", "\n18446744073709551616\n")),
        ("no root", format!("{ORIGIN}\n12\n")),
        ("short root", good.replace(&root, "AAAA")),
        ("33-byte root", good.replace(&root, &"A".repeat(44))),
        ("unpadded root", good.replace(&root, root.trim_end_matches('='))),
        (
            "stray bits in root",
            good.replace(&root, &root.replace("M=", "N=")),
        ),
        ("empty extension line", format!("{good}\n")),
    ] {
        assert_ne!(bent, good, "{name}");
        assert!(Checkpoint::parse_body(&bent).is_err(), "{name}: {bent}");
    }
    assert_eq!(
        Checkpoint::parse_body(&format!("{good}extension\n")).unwrap(),
        parsed
    );
    let largest = good.replace("\n12\n", "\n18446744073709551615\n");
    assert_eq!(Checkpoint::parse_body(&largest).unwrap().size, u64::MAX);
}

#[test]
fn only_the_logs_own_key_counts() {
    let log = log(3);
    let bytes = log.checkpoint.to_bytes();
    let own = Key::log().verifier();
    let signed = SignedCheckpoint::verify(&bytes, &origin(), std::slice::from_ref(&own)).unwrap();
    assert_eq!(signed, log.checkpoint);

    let other = Origin::parse("log.example/other").unwrap();
    let refused = SignedCheckpoint::verify(&bytes, &other, std::slice::from_ref(&own));
    assert_eq!(refused, Err(CheckpointError::Note(NoteError::Unsigned)));

    // A witness alone does not make it the log's checkpoint.
    let witness = Key::new("witness.example", 9);
    let mut note = bailiwick_audit::note::Note::new(log.checkpoint.checkpoint().body()).unwrap();
    let signature = bailiwick_audit::note::NoteSignature {
        name: "witness.example".into(),
        key_id: witness.verifier().key_id(),
        bytes: witness.sign_bytes(note.text().as_bytes()).to_vec(),
    };
    note.push(signature).unwrap();
    let known = [own, witness.verifier()];
    let refused = SignedCheckpoint::verify(note.to_string().as_bytes(), &origin(), &known);
    assert_eq!(refused, Err(CheckpointError::Note(NoteError::Unsigned)));

    // A key of this log's name over another log's checkpoint.
    let elsewhere = Checkpoint {
        origin: other,
        ..log.checkpoint.checkpoint().clone()
    };
    let mut note = bailiwick_audit::note::Note::new(elsewhere.body()).unwrap();
    let signature = bailiwick_audit::note::NoteSignature {
        name: ORIGIN.into(),
        key_id: Key::log().verifier().key_id(),
        bytes: Key::log().sign_bytes(note.text().as_bytes()).to_vec(),
    };
    note.push(signature).unwrap();
    let refused = SignedCheckpoint::verify(note.to_string().as_bytes(), &origin(), &[Key::log().verifier()]);
    assert!(matches!(refused, Err(CheckpointError::OriginMismatch { .. })));
}

/// Invariant: no checkpoint contradicts an earlier one.
#[test]
fn the_issuer_signs_only_what_extends() {
    let key = Key::log();
    let mut writer = TileWriter::new();
    let mut issuer = CheckpointIssuer::new_log(origin());
    let mut sizes = Vec::new();
    for step in [0_u64, 1, 0, 2, 300, 1, 255, 256] {
        for _ in 0..step {
            let index = writer.size();
            writer.append(&leaf_bytes(index)).unwrap();
        }
        let proof = writer.consistency_since_mark();
        let signed = issuer.issue(writer.size(), writer.root(), &proof, &key).unwrap();
        assert_eq!(issuer.last(), signed.checkpoint());
        sizes.push(signed.checkpoint().size);
        writer.mark();
    }
    assert_eq!(sizes, [0, 1, 1, 3, 303, 304, 559, 815]);

    // Another history, however it is presented.
    let mut rewritten = TileWriter::new();
    for index in 0..900 {
        rewritten.append(&leaf_bytes(index ^ 1)).unwrap();
        if index == 814 {
            rewritten.mark();
        }
    }
    let before = issuer.last().clone();
    let proof = rewritten.consistency_since_mark();
    let refused = issuer.issue(900, rewritten.root(), &proof, &key);
    assert!(matches!(
        refused,
        Err(IssueError::Inconsistent(ExtendError::Proof(_)))
    ));
    // Same size, other root; smaller; proof of other sizes; foreign key.
    let same = bailiwick_audit::merkle::ConsistencyProof {
        old_size: 815,
        new_size: 815,
        hashes: Vec::new(),
    };
    assert!(issuer.issue(815, RootHash([1; 32]), &same, &key).is_err());
    let back = bailiwick_audit::merkle::ConsistencyProof {
        old_size: 815,
        new_size: 3,
        hashes: Vec::new(),
    };
    assert!(issuer.issue(3, RootHash([1; 32]), &back, &key).is_err());
    assert!(issuer.issue(900, rewritten.root(), &same, &key).is_err());
    let stranger = Key::new("log.example/other", 1);
    assert!(matches!(
        issuer.issue(815, before.root, &same, &stranger),
        Err(IssueError::SignerName { .. })
    ));
    assert_eq!(*issuer.last(), before, "a refusal changes nothing");
    issuer.issue(815, before.root, &same, &key).unwrap();
}

#[test]
fn a_new_log_begins_empty() {
    let mut issuer = CheckpointIssuer::new_log(origin());
    let nothing = bailiwick_audit::merkle::ConsistencyProof {
        old_size: 0,
        new_size: 0,
        hashes: Vec::new(),
    };
    assert!(issuer.issue(0, RootHash([0; 32]), &nothing, &Key::log()).is_err());
    issuer.issue(0, EMPTY_ROOT, &nothing, &Key::log()).unwrap();
}

/// Signatures made elsewhere: stale proposals and foreign signatures are refused.
#[test]
fn proposals_are_completed_once_and_in_order() {
    let key = Key::log();
    let log = log(700);
    let resumed = TileWriter::resume(&log.files, 700, log.writer.root()).unwrap();
    let mut issuer = CheckpointIssuer::resume(&log.checkpoint);
    let grow = |by: u64, salt: u64| {
        let mut writer = resumed.clone();
        for index in 0..by {
            writer.append(&leaf_bytes(salt + index)).unwrap();
        }
        writer
    };
    let (one, two) = (grow(5, 700), grow(9, 10_000));
    let first = issuer
        .propose(705, one.root(), &one.consistency_since_mark())
        .unwrap();
    let second = issuer
        .propose(709, two.root(), &two.consistency_since_mark())
        .unwrap();
    let sign = |body: &str| key.sign_bytes(body.as_bytes());
    let (first_body, second_body) = (first.body(), second.body());

    let wrong = issuer.complete(first.clone(), &key.verifier(), sign(&second_body));
    assert!(matches!(
        wrong,
        Err(IssueError::Note(NoteError::SignatureInvalid { .. }))
    ));
    let signed = issuer
        .complete(first, &key.verifier(), sign(&first_body))
        .unwrap();
    SignedCheckpoint::verify(&signed.to_bytes(), &origin(), &[key.verifier()]).unwrap();
    // The second fork also extends size 700, but no longer the last checkpoint.
    let stale = issuer.complete(second, &key.verifier(), sign(&second_body));
    assert!(matches!(
        stale,
        Err(IssueError::Stale {
            proposed: 709,
            last: 705
        })
    ));
}
