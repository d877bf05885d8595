use std::collections::BTreeMap;
use std::fs;

use bailiwick_base::{PublicKey, PublicKeyError, SigningAlgorithm};
use bailiwick_vectors as vectors;
use serde_json::{Map, Value, json};

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

const RSA_N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

#[test]
fn thumbprints_are_those_of_the_standards() {
    let rsa = json!({"kty": "RSA", "n": RSA_N, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"});
    let key = PublicKey::from_jwk(&object(rsa)).unwrap();
    assert_eq!(
        key.thumbprint(),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
        "RFC 7638 section 3.1"
    );
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let key = PublicKey::from_jwk(&object(ed.clone())).unwrap();
    assert_eq!(
        key.thumbprint(),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        "RFC 8037 appendix A.3"
    );
    assert_eq!(Value::Object(key.to_jwk()), ed);
    assert_eq!(key.algorithm(), SigningAlgorithm::EdDsa);
}

#[test]
fn keys_that_are_not_ours_are_refused_with_the_member() {
    let good = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let with = |name: &str, value: Value| {
        let mut members = object(good.clone());
        members.insert(name.to_owned(), value);
        PublicKey::from_jwk(&members).map(|_| ()).unwrap_err()
    };
    assert_eq!(with("d", json!("nWGx")), PublicKeyError::Private("d"));
    assert_eq!(with("k", json!("nWGx")), PublicKeyError::Private("k"));
    assert!(matches!(
        with("use", json!("enc")),
        PublicKeyError::Member { member: "use", .. }
    ));
    assert!(matches!(
        with("key_ops", json!(["verify", "sign"])),
        PublicKeyError::Member {
            member: "key_ops",
            ..
        }
    ));
    assert!(matches!(
        with("alg", json!("ES256")),
        PublicKeyError::Member { member: "alg", .. }
    ));
    assert!(matches!(
        with("crv", json!("X25519")),
        PublicKeyError::Member { member: "crv", .. }
    ));
    assert!(matches!(
        with("kty", json!("oct")),
        PublicKeyError::Member { member: "kty", .. }
    ));
    assert!(matches!(
        with("x", json!("11qY")),
        PublicKeyError::Member { member: "x", .. }
    ));
    assert!(matches!(
        with("x", json!("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURp")),
        PublicKeyError::Member { .. }
    ));
    assert!(matches!(
        with("x", json!("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
        PublicKeyError::Weak(_)
    ));
    let short = object(json!({"kty": "RSA", "e": "AQAB", "n": &RSA_N[..172]}));
    assert!(matches!(PublicKey::from_jwk(&short), Err(PublicKeyError::Weak(why)) if why.contains("2,048")));
    let cube = object(json!({"kty": "RSA", "e": "Aw", "n": RSA_N}));
    assert!(matches!(PublicKey::from_jwk(&cube), Err(PublicKeyError::Weak(why)) if why.contains("65,537")));
    let twice = br#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","x":""}"#;
    assert!(matches!(
        PublicKey::parse_jwk(twice),
        Err(PublicKeyError::Json(_))
    ));
    assert!(PublicKey::parse_jwk(b"[]").is_err());
}

/// One strict rule: a vector verifies exactly when neither point is of low order, both are encoded
/// canonically, and the equation holds without the cofactor.
#[test]
fn ed25519_corner_cases_follow_one_rule() {
    let Some(folder) = vectors::folder("ed25519-edge") else {
        return;
    };
    let rows: Vec<Value> =
        serde_json::from_slice(&fs::read(folder.join("ed25519vectors.json")).unwrap()).unwrap();
    let mut verified = BTreeMap::new();
    for row in &rows {
        let hex = |name: &str| {
            data_encoding::HEXLOWER
                .decode(row[name].as_str().unwrap().as_bytes())
                .unwrap()
        };
        let flags: Vec<&str> = row["flags"]
            .as_array()
            .map(|f| f.iter().map(|v| v.as_str().unwrap()).collect())
            .unwrap_or_default();
        let key: [u8; 32] = hex("key").try_into().unwrap();
        let answer = PublicKey::ed25519(key).is_ok_and(|k| {
            k.verify(row["msg"].as_str().unwrap().as_bytes(), &hex("sig"))
                .is_ok()
        });
        let harmless = ["low_order_component_A", "low_order_component_R"];
        assert_eq!(
            answer,
            flags.iter().all(|f| harmless.contains(f)),
            "{} {flags:?}",
            row["number"]
        );
        *verified.entry(answer).or_insert(0) += 1;
    }
    assert_eq!(verified.len(), 2, "the set has both answers: {verified:?}");
    vectors::report("ed25519-edge", rows.len(), 472);
}
