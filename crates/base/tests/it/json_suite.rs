use std::fs;

use bailiwick_base::json::{self, JsonError};
use bailiwick_vectors as vectors;
use serde_json::{Value, json};

const MAX: usize = 1 << 20;

/// `y_` parses, `n_` does not; where the suite leaves it open we refuse. Members twice are refused although
/// the suite lets them pass.
#[test]
fn json_test_suite_runs_whole() {
    let Some(folder) = vectors::folder("json-test-suite") else {
        return;
    };
    let mut run = 0;
    for entry in fs::read_dir(folder.join("test_parsing")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let text = fs::read(entry.path()).unwrap();
        let parses = json::parse(&text, MAX).is_ok();
        let expected = name.starts_with("y_") && !name.starts_with("y_object_duplicated_key");
        assert_eq!(parses, expected, "{name}");
        run += 1;
    }
    for entry in fs::read_dir(folder.join("test_transform")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let text = fs::read(entry.path()).unwrap();
        match json::parse(&text, MAX) {
            Ok(value) => assert_eq!(Some(value), lossless(&name), "{name} changed on its way"),
            Err(_) => assert_eq!(lossless(&name), None, "{name}"),
        }
        run += 1;
    }
    vectors::report("json-test-suite", run, 172);
}

/// What each lossy document has to become; `None` where it has to be refused.
fn lossless(name: &str) -> Option<Value> {
    match name {
        "number_-9223372036854775808.json" => Some(json!([i64::MIN])),
        "number_1.0.json" => Some(json!([1.0])),
        "number_1000000000000000.json" => Some(json!([1_000_000_000_000_000_u64])),
        "number_1e6.json" => Some(json!([1e6])),
        "number_9223372036854775808.json" => Some(json!([9_223_372_036_854_775_808_u64])),
        "object_key_nfc_nfd.json" => Some(json!({"\u{e9}": "NFC", "e\u{301}": "NFD"})),
        "string_with_escaped_NULL.json" => Some(json!(["A\u{0}B"])),
        _ => None,
    }
}

#[test]
fn numbers_keep_their_value_or_are_refused() {
    for kept in [
        "0.1",
        "-0",
        "0.30000000000000004",
        "5e-324",
        "1.7976931348623157e+308",
        "100000.0000",
        "0e999",
        "1e22",
    ] {
        assert!(json::parse(kept.as_bytes(), MAX).is_ok(), "{kept}");
    }
    for lost in [
        "18446744073709551616",
        "-9223372036854775809",
        "1.000000000000000005",
        "1e-400",
        "2e308",
        "0.1234567890123456789",
    ] {
        let text = format!("{{\"quoted \\\\\\\" 1.000000000000000005\": [1.5, {lost}]}}");
        assert!(
            matches!(json::parse(text.as_bytes(), MAX), Err(JsonError::Syntax(_))),
            "{lost}"
        );
    }
    assert!(
        json::parse(br#"{"a": 1.5, "b": "1.000000000000000005 \" 2"}"#, MAX).is_ok(),
        "a string is no number"
    );
}

#[test]
fn depth_and_length_are_limited_before_any_work() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(json::parse(nested(64).as_bytes(), MAX).is_ok());
    assert!(json::parse(nested(65).as_bytes(), MAX).is_err());
    assert!(json::parse(nested(200_000).as_bytes(), MAX).is_err());
    assert!(matches!(
        json::parse(b"[1,2]", 4),
        Err(JsonError::TooLong { len: 5, max: 4 })
    ));
    assert!(
        json::parse(br#"{"a":1,"\u0061":2}"#, MAX)
            .unwrap_err()
            .to_string()
            .contains("member `a` twice")
    );
}
