use std::sync::Arc;

use bailiwick_base::SigningAlgorithm;
use bailiwick_keys::{Keyring, KeysError, jwks, jws};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::{Value, json};

use crate::{open, tenant, unseal};

fn keys_for(algorithm: SigningAlgorithm) -> (tempfile::TempDir, Keyring) {
    let folder = tempfile::tempdir().unwrap();
    let keys = open(folder.path(), unseal(1)).unwrap();
    keys.create_tenant(&tenant("acme"), algorithm).unwrap();
    (folder, keys)
}

/// A foreign verifier reads our JWK set and accepts our tokens, for each algorithm.
#[test]
fn a_foreign_verifier_accepts_our_tokens() {
    for algorithm in SigningAlgorithm::ALL {
        let (_folder, keys) = keys_for(algorithm);
        let acme = tenant("acme");
        let signer = keys.signer(&acme).unwrap();
        let claims =
            json!({"iss": "https://b.example/t/acme", "aud": "x", "exp": 4_102_444_800_u64, "sub": "s"});
        let token = jws::encode(&signer, jws::ACCESS_TOKEN, claims.to_string().as_bytes()).unwrap();

        let published = jwks(&keys.jwks(&acme).unwrap());
        let set: JwkSet = serde_json::from_value(published).unwrap();
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        let key = DecodingKey::from_jwk(set.find(&header.kid.unwrap()).unwrap()).unwrap();
        let foreign = match algorithm {
            SigningAlgorithm::EdDsa => Algorithm::EdDSA,
            SigningAlgorithm::Es256 => Algorithm::ES256,
            SigningAlgorithm::Rs256 => Algorithm::RS256,
        };
        let mut rules = Validation::new(foreign);
        rules.set_audience(&["x"]);
        assert_eq!(
            decode::<Value>(&token, &key, &rules).unwrap().claims,
            claims,
            "{algorithm}"
        );
        let (head, signature) = token.rsplit_once('.').unwrap();
        assert!(
            signer
                .public_key()
                .verify(head.as_bytes(), &base64_decode(signature))
                .is_ok()
        );
        assert!(
            signer
                .public_key()
                .verify(b"other", &base64_decode(signature))
                .is_err()
        );
    }
}

fn base64_decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .unwrap()
}

#[test]
fn published_keys_hold_public_members_only() {
    for algorithm in SigningAlgorithm::ALL {
        let (_folder, keys) = keys_for(algorithm);
        let published = keys.jwks(&tenant("acme")).unwrap();
        let members = published[0].to_json();
        let names: Vec<&str> = members.keys().map(String::as_str).collect();
        let expected: &[&str] = match algorithm {
            SigningAlgorithm::EdDsa => &["alg", "crv", "kid", "kty", "use", "x"],
            SigningAlgorithm::Es256 => &["alg", "crv", "kid", "kty", "use", "x", "y"],
            SigningAlgorithm::Rs256 => &["alg", "e", "kid", "kty", "n", "use"],
        };
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
        assert_eq!(members["kid"], published[0].key().thumbprint().as_str());
    }
}

/// Add, announce, activate, retire, withdraw: the order in which a key may be replaced, and no other.
#[test]
fn signing_keys_are_replaced_in_order() {
    let (folder, keys) = keys_for(SigningAlgorithm::Es256);
    let acme = tenant("acme");
    let old = keys.signer(&acme).unwrap().kid().to_owned();
    let new = keys.add_signing_key(&acme, SigningAlgorithm::EdDsa).unwrap();
    let published = |keys: &Keyring| -> Vec<String> {
        keys.jwks(&acme)
            .unwrap()
            .iter()
            .map(|k| k.kid().to_owned())
            .collect()
    };
    assert_eq!(
        published(&keys),
        [old.clone(), new.clone()],
        "announced before it signs"
    );
    assert_eq!(keys.signer(&acme).unwrap().kid(), old);
    assert!(matches!(
        keys.withdraw_signing_key(&acme, &old),
        Err(KeysError::KeyState { .. })
    ));
    assert!(matches!(
        keys.activate_signing_key(&acme, &old),
        Err(KeysError::KeyState { .. })
    ));
    assert!(
        matches!(keys.activate_signing_key(&acme, "no\nsuch"), Err(KeysError::KeyState { kid, .. }) if kid == "no\\nsuch")
    );

    keys.activate_signing_key(&acme, &new).unwrap();
    assert_eq!(keys.signer(&acme).unwrap().algorithm(), SigningAlgorithm::EdDsa);
    assert_eq!(
        published(&keys),
        [new.clone(), old.clone()],
        "tokens of the old key still verify"
    );
    assert!(
        matches!(
            keys.activate_signing_key(&acme, &old),
            Err(KeysError::KeyState { .. })
        ),
        "no way back"
    );
    drop(keys);
    let keys = open(folder.path(), unseal(1)).unwrap();
    assert_eq!(published(&keys), [new.clone(), old.clone()]);
    keys.withdraw_signing_key(&acme, &old).unwrap();
    assert_eq!(published(&keys), [new]);
}

#[test]
fn making_a_tenant_twice_changes_nothing() {
    let (_folder, keys) = keys_for(SigningAlgorithm::Es256);
    let acme = tenant("acme");
    let kid = keys.signer(&acme).unwrap().kid().to_owned();
    keys.create_tenant(&acme, SigningAlgorithm::Es256).unwrap();
    assert_eq!(keys.signer(&acme).unwrap().kid(), kid);
    assert!(matches!(
        keys.create_tenant(&acme, SigningAlgorithm::Rs256),
        Err(KeysError::TenantExists(_))
    ));
    assert!(matches!(
        keys.signer(&tenant("globex")),
        Err(KeysError::TenantUnknown(_))
    ));
}

#[test]
fn spare_keys_are_used_once() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Arc::new(open(folder.path(), unseal(1)).unwrap());
    keys.prepare_spare().unwrap();
    keys.create_tenant(&tenant("aa"), SigningAlgorithm::Rs256)
        .unwrap();
    keys.create_tenant(&tenant("bb"), SigningAlgorithm::Rs256)
        .unwrap();
    assert_ne!(
        keys.signer(&tenant("aa")).unwrap().kid(),
        keys.signer(&tenant("bb")).unwrap().kid()
    );
}

/// The signed-note form of a log key is what other tools read.
#[test]
fn log_keys_are_one_per_origin_and_verify() {
    let (_folder, keys) = keys_for(SigningAlgorithm::EdDsa);
    let signer = keys.log_signer("bailiwick.example/state").unwrap();
    let other = keys.log_signer("bailiwick.example/node").unwrap();
    assert_ne!(signer.public_key(), other.public_key());
    let signature = signer.sign(b"bailiwick.example/state\n1\nroot\n").unwrap();
    assert!(
        signer
            .verifier()
            .verify(b"bailiwick.example/state\n1\nroot\n", &signature)
            .is_ok()
    );
    assert!(
        other
            .verifier()
            .verify(b"bailiwick.example/state\n1\nroot\n", &signature)
            .is_err()
    );
    let vkey = signer.vkey();
    let parts: Vec<&str> = vkey.split('+').collect();
    assert_eq!(parts[0], "bailiwick.example/state");
    assert_eq!(parts[1], data_encoding_hex(&signer.key_hash()));
    for bad in ["", "a b", "a+b", "a\nb"] {
        assert!(
            matches!(keys.log_signer(bad), Err(KeysError::Origin(_))),
            "{bad:?}"
        );
    }
}

fn data_encoding_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
