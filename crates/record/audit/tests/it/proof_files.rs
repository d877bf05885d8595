//! `.tlog-proof` files.

use bailiwick_audit::checkpoint::Origin;
use bailiwick_audit::entry::Opening;
use bailiwick_audit::proof::{Evidence, ProofFile, ProofFileError};
use bailiwick_audit::tile::Prover;

use crate::fixture::{Key, Log, ORIGIN, TENANT_KEY, leaf_bytes, log, origin, payload};

fn proof_of(log: &Log, index: u64, opened: bool) -> ProofFile {
    let checkpoint = log.checkpoint.checkpoint();
    let mut prover = Prover::new(&log.files, checkpoint.size, checkpoint.root, 8).unwrap();
    let (_, proof) = prover.prove_inclusion(index).unwrap();
    let opening = opened.then(|| Opening {
        leaf_index: index,
        key: TENANT_KEY,
        payload: payload(index),
    });
    ProofFile::new(
        &log.checkpoint,
        &proof,
        &Evidence {
            leaf: leaf_bytes(index),
            opening,
        },
    )
    .unwrap()
}

#[test]
fn the_file_alone_proves_the_entry() {
    let log = log(700);
    let known = [Key::log().verifier()];
    for index in [0, 1, 255, 256, 511, 512, 699] {
        for opened in [false, true] {
            let bytes = proof_of(&log, index, opened).to_bytes();
            let file = ProofFile::parse(&bytes).unwrap();
            assert_eq!(file.to_bytes(), bytes);
            let verified = file.verify(&origin(), &known).unwrap();
            assert_eq!((verified.index, verified.checkpoint.size), (index, 700));
            assert_eq!(verified.entry, leaf_bytes(index));
            assert_eq!(verified.leaf().unwrap().tenant_seq, 1 + index / 5);
            assert_eq!(verified.payload, opened.then(|| payload(index)));
            file.verify_entry(&leaf_bytes(index), &origin(), &known).unwrap();
            assert!(
                file.verify_entry(&leaf_bytes(index + 1), &origin(), &known)
                    .is_err()
            );
        }
    }
}

#[test]
fn a_log_of_one_entry_needs_no_hashes() {
    let log = log(1);
    let text = String::from_utf8(proof_of(&log, 0, false).to_bytes()).unwrap();
    assert!(text.contains(&format!("\nindex 0\n\n{ORIGIN}\n1\n")), "{text}");
    ProofFile::parse(text.as_bytes())
        .unwrap()
        .verify(&origin(), &[Key::log().verifier()])
        .unwrap();
}

#[test]
fn every_flipped_bit_of_a_file_is_noticed() {
    let log = log(20);
    let known = [Key::log().verifier()];
    let bytes = proof_of(&log, 13, true).to_bytes();
    for position in 0..bytes.len() {
        for bit in 0..8 {
            let mut bent = bytes.clone();
            bent[position] ^= 1 << bit;
            let accepted = ProofFile::parse(&bent).and_then(|file| file.verify(&origin(), &known));
            assert!(accepted.is_err(), "byte {position} bit {bit}: {accepted:?}");
        }
    }
}

#[test]
fn what_does_not_prove_is_not_written() {
    let log = log(20);
    let checkpoint = log.checkpoint.checkpoint();
    let mut prover = Prover::new(&log.files, 20, checkpoint.root, 8).unwrap();
    let (_, proof) = prover.prove_inclusion(3).unwrap();
    let evidence = |index: u64| Evidence {
        leaf: leaf_bytes(index),
        opening: None,
    };
    assert!(matches!(
        ProofFile::new(&log.checkpoint, &proof, &evidence(4)),
        Err(ProofFileError::Proof(_))
    ));
    let wrong = Some(Opening {
        leaf_index: 3,
        key: TENANT_KEY,
        payload: payload(4),
    });
    let refused = ProofFile::new(
        &log.checkpoint,
        &proof,
        &Evidence {
            opening: wrong,
            ..evidence(3)
        },
    );
    assert!(matches!(refused, Err(ProofFileError::Opening(_))));
    let older = crate::fixture::log(19);
    assert!(ProofFile::new(&older.checkpoint, &proof, &evidence(3)).is_err());
}

#[test]
fn another_log_or_key_is_refused() {
    let log = log(20);
    let file = proof_of(&log, 3, false);
    let other = Origin::parse("log.example/other").unwrap();
    assert!(file.verify(&other, &[Key::log().verifier()]).is_err());
    assert!(file.verify(&origin(), &[Key::new(ORIGIN, 8).verifier()]).is_err());
    assert!(file.verify(&origin(), &[]).is_err());
    let without = ProofFile { extra: None, ..file };
    assert_eq!(
        without.verify(&origin(), &[Key::log().verifier()]),
        Err(ProofFileError::EvidenceMissing)
    );
    without
        .verify_entry(&leaf_bytes(3), &origin(), &[Key::log().verifier()])
        .unwrap();
}

#[test]
fn malformed_files_are_refused() {
    let log = log(20);
    let good = String::from_utf8(proof_of(&log, 13, true).to_bytes()).unwrap();
    ProofFile::parse(good.as_bytes()).unwrap();
    let first_hash = good.lines().nth(3).unwrap().to_owned();
    for (name, bent) in [
        ("empty", String::new()),
        ("version", good.replace("proof@v1", "proof@v2")),
        ("no index", good.replace("index 13\n", "")),
        ("leading zero", good.replace("index 13", "index 013")),
        ("sign", good.replace("index 13", "index +13")),
        ("2^64", good.replace("index 13", "index 18446744073709551616")),
        ("extra after index", {
            let extra = good.lines().nth(1).unwrap();
            good.replace(&format!("{extra}\n"), "")
                .replace("index 13\n", &format!("index 13\n{extra}\n"))
        }),
        ("extra unpadded", good.replacen("=\nindex", "\nindex", 1)),
        ("short hash", good.replace(&first_hash, "AAAA")),
        (
            "hash with space",
            good.replace(&first_hash, &format!("{first_hash} ")),
        ),
        (
            "65 hashes",
            good.replace(&first_hash, &format!("{first_hash}\n").repeat(65)),
        ),
        (
            "no empty line",
            good.replacen("\n\n", "\n", 1).replacen("\n\n", "\n", 1),
        ),
        ("carriage returns", good.replace('\n', "\r\n")),
    ] {
        assert_ne!(bent, good, "{name}");
        assert!(ProofFile::parse(bent.as_bytes()).is_err(), "{name}");
    }
}

#[test]
fn evidence_has_one_form() {
    let opening = Some(Opening {
        leaf_index: 9,
        key: [1; 32],
        payload: Vec::new(),
    });
    for evidence in [
        Evidence {
            leaf: b"leaf".to_vec(),
            opening: None,
        },
        Evidence {
            leaf: b"leaf".to_vec(),
            opening,
        },
    ] {
        let bytes = evidence.encode();
        assert_eq!(Evidence::decode(&bytes, 9).unwrap(), evidence);
        let text = String::from_utf8(bytes).unwrap();
        for bent in [
            text.replace("@v1", "@v2"),
            text.replace("leaf bGVhZg==\n", ""),
            text.replace("bGVhZg==", "bGVhZg"),
            format!("{text}\n"),
            format!("{text}more\n"),
            text.trim_end().to_owned(),
            text.replace("payload ", "payload"),
            text.replace("key AQEB", "key AQ"),
        ] {
            assert!(
                bent == text || Evidence::decode(bent.as_bytes(), 9).is_err(),
                "{bent}"
            );
        }
        assert!(Evidence::decode(&[0xff, b'\n'], 9).is_err());
    }
}
