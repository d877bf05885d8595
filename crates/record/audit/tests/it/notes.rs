//! Signed notes and their keys.

use std::fs;

use bailiwick_audit::note::{Note, NoteError, NoteSignature, NoteSigner as _, NoteVerifier, key_id};

use crate::fixture::{Key, readme_count};

fn signed(text: &str, keys: &[&Key]) -> Note {
    let mut note = Note::new(text.to_owned()).unwrap();
    for key in keys {
        let bytes = key.sign_bytes(note.text().as_bytes()).to_vec();
        note.push(NoteSignature {
            name: key.name().to_owned(),
            key_id: key.key_id(),
            bytes,
        })
        .unwrap();
    }
    note
}

#[test]
fn a_note_survives_its_bytes() {
    let (log, witness) = (Key::new("log.example/a", 1), Key::new("witness.example", 2));
    let note = signed("one\n\ntwo\n", &[&log, &witness]);
    let parsed = Note::parse(note.to_string().as_bytes()).unwrap();
    assert_eq!(parsed, note);
    assert_eq!(parsed.text(), "one\n\ntwo\n");
    let known = [witness.verifier(), log.verifier()];
    assert_eq!(parsed.verify(&known).unwrap(), known.iter().collect::<Vec<_>>());
}

#[test]
fn unknown_signatures_are_ignored_and_bad_known_ones_are_not() {
    let (log, other) = (Key::new("log.example/a", 1), Key::new("log.example/a", 2));
    let note = signed("text\n", &[&other, &log]);
    assert_eq!(note.verify(&[log.verifier()]).unwrap().len(), 1);
    assert_eq!(
        note.verify(&[Key::new("else", 3).verifier()]),
        Err(NoteError::Unsigned)
    );
    assert_eq!(note.verify(&[]), Err(NoteError::Unsigned));

    // The other key's signature under this key's name and id.
    let mut forged = signed("text\n", &[&other]);
    let bytes = other.sign_bytes(b"text\n").to_vec();
    forged
        .push(NoteSignature {
            name: log.name().to_owned(),
            key_id: log.key_id(),
            bytes,
        })
        .unwrap();
    let known = [other.verifier(), log.verifier()];
    assert_eq!(
        forged.verify(&known),
        Err(NoteError::SignatureInvalid {
            name: "log.example/a".to_owned()
        })
    );
}

#[test]
fn every_flipped_bit_of_a_note_is_noticed() {
    let log = Key::new("log.example/a", 1);
    let bytes = signed("log.example/a\n12\n", &[&log]).to_string().into_bytes();
    let known = [log.verifier()];
    for position in 0..bytes.len() {
        for bit in 0..8 {
            let mut bent = bytes.clone();
            bent[position] ^= 1 << bit;
            let accepted = Note::parse(&bent).is_ok_and(|note| note.verify(&known).is_ok());
            assert!(!accepted, "byte {position} bit {bit}");
        }
    }
}

#[test]
fn malformed_notes_are_refused() {
    let log = Key::new("log.example/a", 1);
    let good = signed("text\n", &[&log]).to_string();
    Note::parse(good.as_bytes()).unwrap();
    let line = good.lines().last().unwrap().to_owned();
    let many = format!("text\n\n{}", format!("{line}\n").repeat(65));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("no signature block", b"text\n".to_vec()),
        ("no final newline", good.trim_end().as_bytes().to_vec()),
        ("no empty line", good.replace("\n\n", "\n").into_bytes()),
        ("carriage returns", good.replace('\n', "\r\n").into_bytes()),
        ("tab", good.replace("text", "te\txt").into_bytes()),
        ("hyphen for dash", good.replace('\u{2014}', "-").into_bytes()),
        ("two spaces", good.replace("\u{2014} ", "\u{2014}  ").into_bytes()),
        ("no name", good.replace("log.example/a", "").into_bytes()),
        (
            "plus in name",
            good.replace("example/a", "example+a").into_bytes(),
        ),
        ("no padding", good.replace("=\n", "\n").into_bytes()),
        ("empty line after", format!("{good}\n").into_bytes()),
        (
            "short signature",
            "text\n\n\u{2014} a AAAAAA==\n".as_bytes().to_vec(),
        ),
        ("65 signatures", many.into_bytes()),
        (
            "not UTF-8",
            [b"\xff\n\n".to_vec(), line.clone().into_bytes(), b"\n".to_vec()].concat(),
        ),
        (
            "too long",
            [
                vec![b'a'; 1 << 20],
                b"\n\n".to_vec(),
                line.into_bytes(),
                b"\n".to_vec(),
            ]
            .concat(),
        ),
    ];
    for (name, bytes) in cases {
        assert!(
            matches!(Note::parse(&bytes), Err(NoteError::Malformed { .. })),
            "{name}"
        );
    }
    assert!(Note::new("no newline".to_owned()).is_err());
    assert!(Note::new(String::new()).is_err());
    let mut note = signed("text\n", &[&log]);
    let again = note.signatures()[0].clone();
    assert!(matches!(
        note.push(again.clone()),
        Err(NoteError::AlreadySigned { .. })
    ));
    assert!(matches!(
        note.push(NoteSignature {
            name: "a b".into(),
            ..again
        }),
        Err(NoteError::Name { .. })
    ));
}

#[test]
fn verifier_keys_have_one_form() {
    let key = Key::new("log.example/a", 1).verifier();
    let vkey = key.vkey();
    assert_eq!(NoteVerifier::parse(&vkey).unwrap(), key);
    let (name, rest) = vkey.split_once('+').unwrap();
    let (id, encoded) = rest.split_once('+').unwrap();
    let wrong_id = format!("{:08x}", key.key_id() ^ 1);
    let ecdsa = base64_of(&[&[2], key.public_key().as_slice()].concat());
    let cases = [
        String::new(),
        format!("{name}+{id}"),
        format!("+{id}+{encoded}"),
        format!("{name}+{wrong_id}+{encoded}"),
        format!("{name}+0x{:06x}+{encoded}", key.key_id() >> 8),
        format!("{name}+ {:07x}+{encoded}", key.key_id() >> 4),
        format!("{name}+{id}+{encoded}="),
        format!("{name}+{id}+ {encoded}"),
        format!("{name}+{id}+{ecdsa}"),
        format!("other+{id}+{encoded}"),
        format!("{name}+{id}+{}", base64_of(&[1; 32])),
    ];
    for vkey in cases {
        NoteVerifier::parse(&vkey).expect_err(&vkey);
    }
    for name in ["", "a b", "a+b", "a\u{a0}b", "a\nb"] {
        assert!(
            matches!(
                NoteVerifier::new(name, *key.public_key()),
                Err(NoteError::Name { .. })
            ),
            "{name:?}"
        );
    }
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn key_ids_are_as_the_standard_says() {
    // The key of the tlog-tiles set, computed by another implementation.
    let vkey = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";
    let key = NoteVerifier::parse(vkey).unwrap();
    assert_eq!(key.key_id(), 0x33d7_b496);
    assert_eq!(key_id(key.name(), key.public_key()), 0x33d7_b496);
    assert_eq!(key.vkey(), vkey);
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2).unwrap(), 16).unwrap())
        .collect()
}

/// One strict rule: keys of low order or in a second encoding are refused,
/// and so is every signature that only some verifiers accept.
#[test]
fn ed25519_edge() {
    let Some(folder) = bailiwick_vectors::folder("ed25519-edge") else {
        return;
    };
    let bytes = fs::read(folder.join("ed25519vectors.json")).unwrap();
    let cases: Vec<serde_json::Value> = serde_json::from_slice(&bytes).unwrap();
    let mut accepted = 0;
    for case in &cases {
        let field = |name: &str| hex(case[name].as_str().unwrap());
        let flags: Vec<&str> = case["flags"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|flag| flag.as_str().unwrap())
            .collect();
        let refused = [
            "low_order_A",
            "non_canonical_A",
            "non_canonical_R",
            "low_order_residue",
            "reencoded_k",
        ];
        let wanted = !refused.iter().any(|flag| flags.contains(flag));
        let key = NoteVerifier::new("edge", field("key").try_into().unwrap());
        let weak = flags.contains(&"low_order_A") || flags.contains(&"non_canonical_A");
        assert_eq!(key.is_err(), weak, "{case}");
        let message = case["msg"].as_str().unwrap().as_bytes();
        let answer = key.is_ok_and(|key| key.is_signature(message, &field("sig")));
        assert_eq!(answer, wanted, "{case}");
        accepted += usize::from(answer);
    }
    println!("ed25519-edge: {}/{}", cases.len(), readme_count(&folder));
    assert_eq!(cases.len(), readme_count(&folder));
    assert!(accepted > 0);
}
