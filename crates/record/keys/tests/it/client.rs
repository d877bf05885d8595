use std::time::Duration;

use bailiwick_base::{PublicKey, SigningAlgorithm, Time};
use bailiwick_keys::{AssertionPlan, ClientKey, KeysError, SystemEntropy};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::Value;

#[test]
fn client_keys_survive_their_file_and_sign_assertions() {
    for algorithm in SigningAlgorithm::ALL {
        let key = ClientKey::generate(algorithm, &SystemEntropy).unwrap();
        let pem = key.to_pem();
        let back = ClientKey::from_pem(pem.reveal().as_bytes()).unwrap();
        assert_eq!(back.algorithm(), algorithm);
        assert_eq!(back.public_jwk().kid(), key.public_jwk().kid());
        let jwk = serde_json::to_vec(&key.public_jwk()).unwrap();
        assert_eq!(
            PublicKey::parse_jwk(&jwk).unwrap().thumbprint(),
            key.public_jwk().kid()
        );

        let plan = AssertionPlan {
            issuer: "https://b.example/t/acme",
            client: "cli_x",
            token: "jti-1",
            now: Time::from_secs(4_102_444_800),
            ttl: Duration::from_secs(60),
        };
        let assertion = back.sign_assertion(&plan).unwrap();
        let foreign = match algorithm {
            SigningAlgorithm::EdDsa => Algorithm::EdDSA,
            SigningAlgorithm::Es256 => Algorithm::ES256,
            SigningAlgorithm::Rs256 => Algorithm::RS256,
        };
        let mut rules = Validation::new(foreign);
        rules.set_audience(&["https://b.example/t/acme"]);
        let decoding = DecodingKey::from_jwk(&serde_json::from_slice(&jwk).unwrap()).unwrap();
        let claims = decode::<Value>(&assertion, &decoding, &rules).unwrap().claims;
        assert_eq!(
            claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
            60
        );
        assert_eq!(
            (&claims["iss"], &claims["sub"]),
            (&Value::from("cli_x"), &Value::from("cli_x"))
        );
    }
}

#[test]
fn what_is_not_a_private_key_is_refused_without_an_echo() {
    let pem = ClientKey::generate(SigningAlgorithm::EdDsa, &SystemEntropy)
        .unwrap()
        .to_pem();
    let (head, tail) = pem.reveal().split_at(40);
    let cut = format!("{head}{}", tail.replacen('M', "", 1).replacen('A', "!", 1));
    let public = pem.reveal().replace("PRIVATE", "PUBLIC");
    for text in [
        "",
        "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
        "swordfish",
        &cut,
        &public,
    ] {
        let error = ClientKey::from_pem(text.as_bytes()).err().unwrap();
        assert!(matches!(error, KeysError::PrivateKey));
        assert!(!error.to_string().contains("swordfish"));
    }
    assert!(ClientKey::from_pem(&[0xff; 100_000]).is_err());
}
