use std::fs;

use bailiwick_base::{canonical, json};
use bailiwick_vectors as vectors;
use serde_json::{Value, json};

#[test]
fn jcs_documents_become_their_exact_bytes() {
    let Some(folder) = vectors::folder("jcs-rfc8785") else {
        return;
    };
    let mut run = 0;
    for entry in fs::read_dir(folder.join("input")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let value = json::parse(&fs::read(entry.path()).unwrap(), 1 << 20).unwrap();
        let bytes = canonical::to_vec(&value).unwrap();
        assert_eq!(
            bytes,
            fs::read(folder.join("output").join(&name)).unwrap(),
            "{name}"
        );
        let hex: String =
            fs::read_to_string(folder.join("outhex").join(name.replace(".json", ".txt"))).unwrap();
        let listed: Vec<u8> = hex
            .split_whitespace()
            .map(|h| u8::from_str_radix(h, 16).unwrap())
            .collect();
        assert_eq!(bytes, listed, "{name}");
        assert_eq!(
            canonical::to_vec(&json::parse(&bytes, 1 << 20).unwrap()).unwrap(),
            bytes,
            "{name} is not stable"
        );
        run += 1;
    }
    vectors::report("jcs-rfc8785", run, 4);
}

#[test]
fn jcs_numbers_are_written_as_ecmascript_does() {
    let Some(folder) = vectors::folder("jcs-rfc8785") else {
        return;
    };
    let table: Vec<Value> = serde_json::from_slice(&fs::read(folder.join("numbers.json")).unwrap()).unwrap();
    for row in &table {
        let bits = u64::from_str_radix(row["ieee754_hex"].as_str().unwrap(), 16).unwrap();
        let written = canonical::to_vec(&f64::from_bits(bits)).map(|b| String::from_utf8(b).unwrap());
        match row["json"].as_str() {
            Some(expected) => assert_eq!(written.unwrap(), expected, "{bits:016x}"),
            None => assert!(
                written.is_err() || written.is_ok_and(|w| w == "null"),
                "{bits:016x} has no form"
            ),
        }
    }
    vectors::report("jcs-rfc8785 numbers", table.len(), 19);
}

/// JCS writes every number as a double; an integer beyond 2^53 would share its bytes with a neighbour.
#[test]
fn integers_that_a_double_cannot_hold_are_refused() {
    for kept in [
        9_007_199_254_740_991_i64,
        9_007_199_254_740_992,
        -9_007_199_254_740_992,
        0,
    ] {
        assert_eq!(canonical::to_vec(&kept).unwrap(), kept.to_string().into_bytes());
    }
    for lost in [
        json!(9_007_199_254_740_993_u64),
        json!({"a": [u64::MAX]}),
        json!(i64::MIN),
    ] {
        assert!(canonical::to_vec(&lost).is_err(), "{lost}");
    }
    assert!(canonical::to_vec(&u128::MAX).is_err());
}
