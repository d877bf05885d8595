//! The JOSE cookbook (RFC 7520, 7797, 8037): what is ours verifies, everything else is refused cleanly.

use bailiwick_base::{Compact, CompactError};
use bailiwick_base::{PublicKey, PublicKeyError};
use bailiwick_vectors as vectors;
use serde_json::{Map, Value};

/// The public half of a JWK that holds both.
pub(crate) fn public(jwk: &Value) -> Map<String, Value> {
    let mut members = jwk.as_object().unwrap().clone();
    members.retain(|name, _| !["d", "p", "q", "dp", "dq", "qi", "oth"].contains(&name.as_str()));
    members
}

#[test]
fn cookbook_runs_whole() {
    let Some(folder) = vectors::folder("jose-cookbook") else {
        return;
    };
    let (mut run, mut verified) = (0, Vec::new());
    for part in ["curve25519", "jwe", "jws", "rfc7797", "jwk"] {
        for (name, document) in vectors::documents(&folder.join(part)) {
            if part == "jwk" {
                keys_are_told_apart(&document);
            } else if serialisations(&document) {
                verified.push(name);
            }
            run += 1;
        }
    }
    assert_eq!(
        verified,
        ["jws.json", "4_1.rsa_v15_signature.json"],
        "Ed25519 and RS256, and no other"
    );
    vectors::report("jose-cookbook", run, 18);
}

/// Whether the compact form verifies with the key beside it. Every other form is refused.
fn serialisations(document: &Value) -> bool {
    let output = &document["output"];
    for form in ["json", "json_flat"] {
        if let Some(object) = output.get(form) {
            let text = object.to_string();
            assert!(Compact::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
    // RFC 7797 with `b64: false` written in the compact form nevertheless.
    let signing = &document["signing"];
    if let (Some(input), Some(signature)) = (signing["sig-input"].as_str(), signing["sig"].as_str())
        && signing["protected"].get("b64").is_some()
    {
        let refused = Compact::parse(format!("{input}.{signature}").as_bytes()).map(|_| ());
        assert!(matches!(
            refused,
            Err(CompactError::Header(_) | CompactError::Structure)
        ));
    }
    let Some(compact) = output["compact"].as_str() else {
        return false;
    };
    match Compact::parse(compact.as_bytes()) {
        Err(_) => false,
        Ok(token) => {
            let key = PublicKey::from_jwk(&public(&document["input"]["key"])).unwrap();
            token.verify(&key).unwrap();
            let payload = token.untrusted_payload().unwrap();
            assert_eq!(payload, document["input"]["payload"].as_str().unwrap().as_bytes());
            true
        }
    }
}

fn keys_are_told_apart(jwk: &Value) {
    let whole = PublicKey::from_jwk(jwk.as_object().unwrap()).map(|_| ());
    if jwk["kty"] == "oct" {
        assert_eq!(whole, Err(PublicKeyError::Private("k")));
    } else {
        assert_eq!(whole, Err(PublicKeyError::Private("d")));
        assert!(PublicKey::from_jwk(&public(jwk)).is_ok());
    }
}
