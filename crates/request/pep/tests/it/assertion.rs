//! Client assertions: one key, one audience, one use.

use std::time::Duration;

use bailiwick_base::{ClientId, Composition, PublicKey, SeededEntropy, SigningAlgorithm, canonical};
use bailiwick_credential::{Client, ClientProof};
use bailiwick_keys::{AssertionPlan, ClientKey, jws};
use bailiwick_pep::token::{
    AssertionConfig, AssertionError, AssertionVerifier, TokenError, UnverifiedAssertion,
};
use serde_json::{Value, json};

use crate::world::{at, identity, tenant};

const ISSUER: &str = "https://b.example/t/acme";

fn key(algorithm: SigningAlgorithm, seed: u64) -> ClientKey {
    ClientKey::generate(algorithm, &SeededEntropy::new(seed)).unwrap()
}

fn client_id(n: u128) -> ClientId {
    ClientId::from_parts(tenant(), uuid::Uuid::from_u128(n))
}

fn client(n: u128, key: &ClientKey) -> Client {
    Client {
        id: client_id(n),
        identity: identity(),
        algorithm: key.algorithm(),
        jwk: canonical::to_vec(&key.public_jwk().key().to_jwk()).unwrap(),
        created_at: at(-100),
        expires_at: at(1_000),
        proof: ClientProof::None,
        certificate: None,
    }
}

fn sign(key: &ClientKey, n: u128, jti: &str) -> String {
    let plan = AssertionPlan {
        issuer: ISSUER,
        client: &client_id(n).to_string(),
        token: jti,
        now: at(0),
        ttl: Duration::from_secs(60),
    };
    key.sign_assertion(&plan).unwrap()
}

fn verifier() -> AssertionVerifier {
    AssertionVerifier::new(AssertionConfig::default(), at(-60))
}

fn judge(verifier: &AssertionVerifier, client: &Client, text: &str, now: i64) -> Result<(), AssertionError> {
    let assertion = UnverifiedAssertion::parse(&tenant(), text.as_bytes())?;
    verifier
        .verify(&assertion, client, ISSUER, at(now))
        .map(|verified| assert_eq!(verified.client, client.id))
}

#[test]
fn a_client_proves_its_key_once_per_assertion() {
    for algorithm in SigningAlgorithm::ALL {
        let (key, verifier) = (key(algorithm, 1), verifier());
        let client = client(1, &key);
        let text = sign(&key, 1, "one");
        let unverified = UnverifiedAssertion::parse(&tenant(), text.as_bytes()).unwrap();
        assert_eq!(*unverified.untrusted_client(), client.id);
        assert_eq!(judge(&verifier, &client, &text, 5), Ok(()), "{algorithm}");
        assert_eq!(judge(&verifier, &client, &text, 6), Err(AssertionError::Replayed));
        assert_eq!(judge(&verifier, &client, &sign(&key, 1, "two"), 6), Ok(()));
        let other_instance = self::verifier();
        assert_eq!(
            judge(&other_instance, &client, &text, 6),
            Ok(()),
            "memory is per process"
        );
        let restarted = AssertionVerifier::new(AssertionConfig::default(), at(1));
        assert_eq!(
            judge(&restarted, &client, &text, 6),
            Err(AssertionError::TooEarly { retry_after: 1 }),
            "so a restart refuses the old"
        );
    }
}

#[test]
fn nothing_that_could_be_used_before_a_start_is_usable_after_it() {
    let key = key(SigningAlgorithm::Es256, 3);
    let client = client(1, &key);
    for micros in [0, 1, 500_000, 999_999] {
        let start = bailiwick_base::Time::from_micros(at(100).micros() + micros);
        for iat in 90..=115_i64 {
            let text = changed(
                &key,
                "JWT",
                json!({"iat": at(iat).secs(), "exp": at(iat + 120).secs()}),
            );
            // The last life ends as the next begins.
            let before = (80..=100).any(|now| judge(&verifier(), &client, &text, now).is_ok());
            let after = |now| {
                judge(
                    &AssertionVerifier::new(AssertionConfig::default(), start),
                    &client,
                    &text,
                    now,
                )
            };
            let usable = (101..=130).any(|now| after(now).is_ok());
            assert!(!(before && usable), "iat {iat} with a start at 100.{micros:06}");
            assert_eq!(usable, iat > 105, "nobody waits longer than that: iat {iat}");
        }
    }
}

#[test]
fn a_client_that_is_registered_after_the_start_need_not_wait_and_others_are_told_how_long() {
    let key = key(SigningAlgorithm::Es256, 3);
    let old = client(1, &key);
    let verifier = AssertionVerifier::new(AssertionConfig::default(), at(0));
    let text = changed(&key, "JWT", json!({}));
    let early = judge(&verifier, &old, &text, 2).unwrap_err();
    assert_eq!(early, AssertionError::TooEarly { retry_after: 4 });
    assert!(early.to_string().contains("sign a new one in 4 s"), "{early}");
    let new = Client {
        created_at: at(1),
        ..old
    };
    assert_eq!(judge(&verifier, &new, &text, 2), Ok(()));
    assert_eq!(judge(&verifier, &new, &text, 2), Err(AssertionError::Replayed));
}

/// The claims as the client signs them, with some of them changed; null takes one out.
fn changed(key: &ClientKey, typ: &str, changes: Value) -> String {
    let id = client_id(1).to_string();
    let mut claims = json!({
        "iss": id, "sub": id, "aud": ISSUER, "jti": "x", "iat": at(0).secs(), "exp": at(60).secs(),
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    jws::encode(key.signer(), typ, claims.to_string().as_bytes()).unwrap()
}

#[test]
fn an_assertion_may_state_a_composition_and_one_of_another_form_is_named() {
    let key = key(SigningAlgorithm::Es256, 2);
    let client = client(1, &key);
    let answer = |composition: Value| {
        let text = changed(&key, "JWT", json!({"composition": composition}));
        let assertion = UnverifiedAssertion::parse(&tenant(), text.as_bytes()).unwrap();
        verifier().verify(&assertion, &client, ISSUER, at(5))
    };
    let stated = json!({"model": "A".repeat(43)});
    let verified = answer(stated.clone()).unwrap();
    assert_eq!(verified.composition, Composition::from_json(&stated).ok());
    for (wrong, field) in [
        (json!([]), "composition"),
        (json!({"weights": "A".repeat(43)}), "composition"),
        (json!({"model": "A".repeat(42)}), "composition.model"),
    ] {
        let refused = answer(wrong).unwrap_err();
        let named =
            matches!(refused, AssertionError::Token(TokenError::Claim { claim, .. }) if claim == field);
        assert!(named, "{refused}");
    }
}

#[test]
fn every_claim_of_an_assertion_counts() {
    let key = key(SigningAlgorithm::Es256, 2);
    let client = client(1, &key);
    let answer = |changes: Value| judge(&verifier(), &client, &changed(&key, "JWT", changes), 5);
    assert_eq!(answer(json!({})), Ok(()));
    assert_eq!(answer(json!({"aud": [ISSUER]})), Ok(()));
    for audience in [
        json!(format!("{ISSUER}/")),
        json!(format!("{ISSUER}/token")),
        json!([ISSUER, "x"]),
        json!("https://b.example/t/globex"),
        json!([]),
    ] {
        assert_eq!(answer(json!({"aud": audience})), Err(AssertionError::Audience));
    }
    assert_eq!(answer(json!({"aud": null})), Err(AssertionError::Audience));
    assert!(matches!(
        answer(json!({"iss": client_id(2).to_string()})),
        Err(AssertionError::Token(TokenError::Claim { claim: "iss", .. }))
    ));
    assert_eq!(answer(json!({"sub": null})), Err(AssertionError::Client));
    assert_eq!(answer(json!({"sub": "cli_nobody"})), Err(AssertionError::Client));
    for name in ["jti", "iat", "exp"] {
        let missing = answer(json!({name: null}));
        assert!(
            matches!(missing, Err(AssertionError::Token(TokenError::Claim { claim, .. })) if claim == name),
            "{name}"
        );
    }
    assert_eq!(
        answer(json!({"exp": at(-26).secs(), "iat": at(-50).secs()})),
        Err(AssertionError::Token(TokenError::Expired))
    );
    assert_eq!(
        answer(json!({"exp": at(-10).secs(), "iat": at(0).secs()})),
        Err(AssertionError::Token(TokenError::Expired)),
        "past, and before `iat` as well"
    );
    assert!(matches!(
        answer(json!({"exp": at(8).secs(), "iat": at(8).secs()})),
        Err(AssertionError::Token(TokenError::Claim { claim: "exp", .. }))
    ));
    assert_eq!(
        answer(json!({"exp": at(301).secs()})),
        Err(AssertionError::Token(TokenError::Lifetime))
    );
    assert_eq!(
        answer(json!({"iat": at(36).secs()})),
        Err(AssertionError::Token(TokenError::NotYetValid))
    );
    assert_eq!(
        answer(json!({"nbf": at(36).secs()})),
        Err(AssertionError::Token(TokenError::NotYetValid))
    );
    for typ in ["at+jwt", "dpop+jwt", "logout+jwt", "application/at+jwt"] {
        let other = judge(&verifier(), &client, &changed(&key, typ, json!({})), 5);
        assert_eq!(other, Err(AssertionError::Token(TokenError::Type)), "{typ}");
    }
    let typed = changed(&key, "application/client-authentication+jwt", json!({}));
    assert_eq!(judge(&verifier(), &client, &typed, 5), Ok(()));
}

#[test]
fn only_the_registered_key_of_a_living_client_counts() {
    let (mine, other) = (key(SigningAlgorithm::Es256, 3), key(SigningAlgorithm::Es256, 4));
    let client = client(1, &mine);
    let forged = judge(&verifier(), &client, &sign(&other, 1, "a"), 5);
    assert_eq!(forged, Err(AssertionError::Token(TokenError::Signature)));
    let rsa = key(SigningAlgorithm::Rs256, 5);
    let confused = judge(&verifier(), &client, &sign(&rsa, 1, "a"), 5);
    assert_eq!(confused, Err(AssertionError::Token(TokenError::Algorithm)));
    assert_eq!(
        judge(&verifier(), &self::client(2, &mine), &sign(&mine, 1, "a"), 5),
        Err(AssertionError::Client)
    );
    let ended = Client {
        expires_at: at(5),
        ..client.clone()
    };
    assert_eq!(
        judge(&verifier(), &ended, &sign(&mine, 1, "a"), 5),
        Err(AssertionError::Client)
    );
    let relabelled = Client {
        algorithm: SigningAlgorithm::Rs256,
        ..client.clone()
    };
    assert_eq!(
        judge(&verifier(), &relabelled, &sign(&mine, 1, "a"), 5),
        Err(AssertionError::Client)
    );
    let broken = Client {
        jwk: b"{}".to_vec(),
        ..client
    };
    assert_eq!(
        judge(&verifier(), &broken, &sign(&mine, 1, "a"), 5),
        Err(AssertionError::Client)
    );
    assert!(PublicKey::parse_jwk(&broken.jwk).is_err());
}

#[test]
fn memory_of_assertions_is_bounded_and_refuses_when_full() {
    let (noisy, quiet) = (key(SigningAlgorithm::EdDsa, 6), key(SigningAlgorithm::EdDsa, 7));
    let config = AssertionConfig {
        remembered_max: 10,
        remembered_per_client_max: 3,
        ..AssertionConfig::default()
    };
    let verifier = AssertionVerifier::new(config, at(-60));
    let (first, second) = (client(1, &noisy), client(2, &quiet));
    for n in 0..3 {
        assert_eq!(
            judge(&verifier, &first, &sign(&noisy, 1, &n.to_string()), 5),
            Ok(())
        );
    }
    assert_eq!(
        judge(&verifier, &first, &sign(&noisy, 1, "3"), 5),
        Err(AssertionError::TooMany)
    );
    assert_eq!(
        judge(&verifier, &second, &sign(&quiet, 2, "0"), 5),
        Ok(()),
        "a neighbour is not refused for it"
    );
    assert_eq!(
        judge(&verifier, &first, &sign(&noisy, 1, "0"), 89),
        Err(AssertionError::Replayed),
        "until its very end"
    );
    let later = changed(
        &noisy,
        "JWT",
        json!({"iat": at(80).secs(), "exp": at(140).secs(), "jti": "new"}),
    );
    assert_eq!(
        judge(&verifier, &first, &later, 91),
        Ok(()),
        "what ended makes room"
    );
}

#[test]
fn sixteen_threads_use_one_assertion_once() {
    let key = key(SigningAlgorithm::EdDsa, 8);
    let (client, verifier) = (client(1, &key), verifier());
    let text = sign(&key, 1, "shared");
    let taken = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| judge(&verifier, &client, &text, 5).is_ok()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .filter(|ok| *ok)
            .count()
    });
    assert_eq!(taken, 1);
}
