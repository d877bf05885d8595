//! The leaf's one form, and commitments.

use bailiwick_audit::entry::{
    CommitmentKey, INTEGER_MAX, Kind, LEAF_MAX, Leaf, LeafError, Opening, commitment,
};
use proptest::prelude::*;

use crate::fixture::{TENANT_KEY, leaf_bytes, payload};

fn leaf() -> Leaf<'static> {
    Leaf {
        at: 1_763_750_000_000_000,
        commitment: [0xab; 32],
        epoch: 7,
        kind: Kind::DECISION,
        node: "node-1",
        state_pos: 0,
        tenant_ref: "tnt_01",
        tenant_seq: 1,
    }
}

#[test]
fn the_form_is_written_down_here_once() {
    let expected = format!(
        "{{\"at\":1763750000000000,\"commitment\":\"{}\",\"epoch\":7,\"kind\":\"decision\",\"node\":\"node-1\",\
         \"state_pos\":0,\"tenant_ref\":\"tnt_01\",\"tenant_seq\":1,\"v\":1}}",
        "ab".repeat(32)
    );
    assert_eq!(String::from_utf8(leaf().encode().unwrap()).unwrap(), expected);
}

/// RFC 8785: members sorted, no white space; shown with a JSON parser that
/// knows nothing of leaves.
#[test]
fn the_form_is_canonical_json() {
    let bytes = leaf().encode().unwrap();
    let value: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&bytes).unwrap();
    let names: Vec<_> = value.keys().cloned().collect();
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(names, sorted);
    assert_eq!(serde_json::to_vec(&value).unwrap(), bytes);
}

#[test]
fn a_leaf_survives_its_bytes() {
    let bytes = leaf().encode().unwrap();
    assert_eq!(Leaf::decode(&bytes).unwrap(), leaf());
    let mut out = b"before".to_vec();
    leaf().encode_into(&mut out).unwrap();
    assert_eq!(out.strip_prefix(b"before").unwrap(), bytes);
}

#[test]
fn every_other_form_is_refused() {
    let good = String::from_utf8(leaf().encode().unwrap()).unwrap();
    let hex = "ab".repeat(32);
    let cases = [
        ("empty", String::new()),
        ("space", good.replace("\"at\":", "\"at\": ")),
        ("newline after", format!("{good}\n")),
        ("trailing", format!("{good}{good}")),
        ("unknown member", good.replace(",\"v\":1", ",\"v\":1,\"x\":1")),
        ("member missing", good.replace(",\"state_pos\":0", "")),
        ("member twice", good.replace("{\"at\":", "{\"at\":1,\"at\":")),
        (
            "order",
            good.replace(
                "\"epoch\":7,\"kind\":\"decision\"",
                "\"kind\":\"decision\",\"epoch\":7",
            ),
        ),
        ("version", good.replace("\"v\":1", "\"v\":2")),
        ("version as text", good.replace("\"v\":1", "\"v\":\"1\"")),
        ("leading zero", good.replace("\"epoch\":7", "\"epoch\":07")),
        ("negative", good.replace("\"epoch\":7", "\"epoch\":-7")),
        ("fraction", good.replace("\"epoch\":7", "\"epoch\":7.0")),
        ("exponent", good.replace("\"epoch\":7", "\"epoch\":7e0")),
        ("no digits", good.replace("\"epoch\":7", "\"epoch\":")),
        ("2^53", good.replace("\"epoch\":7", "\"epoch\":9007199254740992")),
        (
            "17 digits",
            good.replace("\"epoch\":7", "\"epoch\":10000000000000000"),
        ),
        (
            "overflow",
            good.replace("\"epoch\":7", "\"epoch\":99999999999999999999999"),
        ),
        ("upper-case hex", good.replace(&hex, &hex.to_uppercase())),
        ("short hex", good.replace(&hex, &"ab".repeat(31))),
        ("long hex", good.replace(&hex, &"ab".repeat(33))),
        ("not hex", good.replace(&hex, &"gb".repeat(32))),
        ("kind upper case", good.replace("decision", "Decision")),
        ("kind empty", good.replace("decision", "")),
        ("kind begins with digit", good.replace("decision", "1decision")),
        ("kind too long", good.replace("decision", &"a".repeat(65))),
        ("escape", good.replace("node-1", "node\\u002d1")),
        ("control", good.replace("node-1", "node\u{1}1")),
        ("not ASCII", good.replace("node-1", "nöde-1")),
        ("space in node", good.replace("node-1", "node 1")),
        ("node empty", good.replace("node-1", "")),
        ("node too long", good.replace("node-1", &"n".repeat(129))),
        ("tenant empty", good.replace("tnt_01", "")),
        ("null", good.replace("\"node-1\"", "null")),
        ("byte order mark", format!("\u{feff}{good}")),
        ("array", format!("[{good}]")),
        ("cut", good.replace(",\"v\":1}", "")),
    ];
    for (name, bent) in cases {
        assert_ne!(bent, good, "{name} changes something");
        Leaf::decode(bent.as_bytes()).expect_err(name);
    }
    let error = Leaf::decode(&vec![b'{'; LEAF_MAX + 1]).unwrap_err();
    assert_eq!(error, LeafError::TooLong { found: LEAF_MAX + 1 });
}

#[test]
fn errors_name_the_place() {
    let good = String::from_utf8(leaf().encode().unwrap()).unwrap();
    let bent = good.replace(",\"v\":1", ",\"x\":1,\"v\":1");
    let error = Leaf::decode(bent.as_bytes()).unwrap_err();
    let offset = good.find(",\"v\":1").unwrap();
    assert_eq!(
        error,
        LeafError::Unexpected {
            offset,
            expected: ",\"v\":1}"
        }
    );
    assert_eq!(
        error.to_string(),
        format!("leaf is not in canonical form at byte `{offset}`: expected `,\"v\":1}}`")
    );
    let bent = good.replace("node-1", "a b");
    assert_eq!(
        Leaf::decode(bent.as_bytes()).unwrap_err(),
        LeafError::Label { field: "node" }
    );
}

/// Every single byte of a leaf replaced by every other byte: either refused,
/// or another leaf that encodes to exactly those bytes.
#[test]
fn no_two_byte_strings_are_the_same_leaf() {
    let good = leaf().encode().unwrap();
    for position in 0..good.len() {
        for byte in 0..=255 {
            let mut bent = good.clone();
            bent[position] = byte;
            if let Ok(read) = Leaf::decode(&bent) {
                assert_eq!(read.encode().unwrap(), bent);
                assert_eq!(read == leaf(), bent == good);
            }
        }
    }
}

#[test]
fn what_has_no_form_is_not_written() {
    let mut out = Vec::new();
    let too_large = INTEGER_MAX + 1;
    for (bent, field) in [
        (
            Leaf {
                at: too_large,
                ..leaf()
            },
            "at",
        ),
        (
            Leaf {
                epoch: too_large,
                ..leaf()
            },
            "epoch",
        ),
        (
            Leaf {
                state_pos: u64::MAX,
                ..leaf()
            },
            "state_pos",
        ),
        (
            Leaf {
                tenant_seq: too_large,
                ..leaf()
            },
            "tenant_seq",
        ),
    ] {
        assert_eq!(bent.encode_into(&mut out), Err(LeafError::Integer { field }));
    }
    for label in ["", "a b", "a\"b", "a\\b", "a\u{7f}", "ä"] {
        let node = Leaf {
            node: label,
            ..leaf()
        }
        .encode_into(&mut out);
        assert_eq!(node, Err(LeafError::Label { field: "node" }));
        let tenant = Leaf {
            tenant_ref: label,
            ..leaf()
        }
        .encode_into(&mut out);
        assert_eq!(tenant, Err(LeafError::Label { field: "tenant_ref" }));
    }
    assert!(out.is_empty());
    let long = "x".repeat(128);
    let largest = Leaf {
        at: INTEGER_MAX,
        epoch: INTEGER_MAX,
        state_pos: INTEGER_MAX,
        tenant_seq: INTEGER_MAX,
        node: &long,
        tenant_ref: &long,
        ..leaf()
    };
    largest.encode_into(&mut out).unwrap();
    assert_eq!(Leaf::decode(&out).unwrap(), largest);
    assert!(out.len() < 1024);
}

#[test]
fn kinds_are_a_registry_of_plain_names() {
    for kind in [
        "decision",
        "outcome",
        "token.issue",
        "state.identity-create",
        "a",
        &"k".repeat(64),
    ] {
        assert_eq!(Kind::parse(kind).unwrap().as_str(), kind);
    }
    for kind in [
        "",
        "A",
        "1a",
        ".a",
        "-a",
        "a_b",
        "a b",
        "é",
        "a\n",
        &"k".repeat(65),
    ] {
        assert!(
            matches!(Kind::parse(kind), Err(LeafError::Kind { .. })),
            "{kind:?}"
        );
    }
}

#[test]
fn commitments_are_hmac_sha_256() {
    // RFC 4231, test case 1: its 20-byte key, zero-padded as HMAC does anyway.
    let mut key = [0; 32];
    key[..20].fill(0x0b);
    let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
    let hex: String = commitment(&key, b"Hi There")
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, expected);
    let kept = CommitmentKey::new(&key);
    assert_eq!(kept.commitment(b"Hi There"), commitment(&key, b"Hi There"));
    assert_eq!(format!("{kept:?}"), "CommitmentKey(..)");
}

#[test]
fn an_opening_fits_one_leaf_and_one_payload() {
    let bytes = leaf_bytes(41);
    let leaf = Leaf::decode(&bytes).unwrap();
    let opening = Opening {
        leaf_index: 41,
        key: TENANT_KEY,
        payload: payload(41),
    };
    opening.verify(&leaf).unwrap();
    let other = leaf_bytes(42);
    opening.verify(&Leaf::decode(&other).unwrap()).unwrap_err();
    Opening {
        payload: payload(42),
        ..opening.clone()
    }
    .verify(&leaf)
    .unwrap_err();
    Opening {
        key: [0x5b; 32],
        ..opening.clone()
    }
    .verify(&leaf)
    .unwrap_err();
    assert!(!format!("{opening:?}").contains("90"), "the key is not printed");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_leaf_survives(
        integers in prop::array::uniform4(0..=INTEGER_MAX),
        hash in any::<[u8; 32]>(),
        kind in "[a-z][a-z0-9.-]{0,63}",
        node in "[!#-\\[\\]-~]{1,128}",
        tenant in "[!#-\\[\\]-~]{1,128}",
    ) {
        let [at, epoch, state_pos, tenant_seq] = integers;
        let kind = Kind::parse(&kind).unwrap();
        let leaf = Leaf { at, commitment: hash, epoch, kind, node: &node, state_pos, tenant_ref: &tenant, tenant_seq };
        let bytes = leaf.encode().unwrap();
        prop_assert_eq!(Leaf::decode(&bytes).unwrap(), leaf);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(serde_json::to_vec(&value).unwrap(), bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(leaf) = Leaf::decode(&bytes) {
            prop_assert_eq!(leaf.encode().unwrap(), bytes);
        }
    }
}
