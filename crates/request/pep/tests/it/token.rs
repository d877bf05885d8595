//! Our own tokens, from the key that signs them to the claims they carry.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{Epoch, Secret, SeededEntropy, SigningAlgorithm, TenantId, Time, TokenId};
use bailiwick_credential::Claims;
use bailiwick_keys::{Keyring, Unseal, jws};
use bailiwick_pep::token::{KeySource, Rfc9068, TokenError, Verifier, VerifierConfig, bearer};
use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use smallvec::SmallVec;

use crate::world::{at, identity, task, tenant};

const ISSUER: &str = "https://b.example/t/acme";
const AUDIENCE: &str = "https://b.example/t/acme/mcp";

pub(crate) struct Issuing {
    pub(crate) keyring: Keyring,
    pub(crate) keys: Arc<KeySource>,
    _folder: tempfile::TempDir,
}

impl Issuing {
    pub(crate) fn new(algorithm: SigningAlgorithm) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let unseal = Unseal::Bytes(Secret::new([1; 32]));
        let keyring = Keyring::open(
            &folder.path().join("keys"),
            unseal,
            Arc::new(SeededEntropy::new(1)),
        )
        .unwrap();
        keyring.create_tenant(&tenant(), algorithm).unwrap();
        let issuing = Self {
            keyring,
            keys: Arc::new(KeySource::new()),
            _folder: folder,
        };
        issuing.publish();
        issuing
    }

    pub(crate) fn publish(&self) {
        let published = self.keyring.jwks(&tenant()).unwrap();
        let keys = published
            .iter()
            .map(|jwk| (jwk.kid().to_owned(), jwk.key().clone()));
        self.keys.publish(ISSUER, &tenant(), AUDIENCE, keys);
    }

    fn sign(&self, claims: &[u8]) -> String {
        jws::encode(
            &self.keyring.signer(&tenant()).unwrap(),
            jws::ACCESS_TOKEN,
            claims,
        )
        .unwrap()
    }

    fn verifier(&self) -> Verifier {
        Verifier::new(self.keys.clone(), VerifierConfig::default())
    }
}

fn claims() -> Claims {
    Claims {
        issuer: ISSUER.to_owned(),
        subject: identity().to_string(),
        audience: AUDIENCE.to_owned(),
        client: "cli_x".to_owned(),
        issued_at: at(0),
        expires_at: at(300),
        token: TokenId::from_parts(tenant(), uuid::Uuid::from_u128(8)),
        tenant: tenant(),
        nhi: identity(),
        task: task(),
        epoch: Epoch(3),
        scopes: bailiwick_credential::ScopeSet::parse("filesystem:read_text_file"),
        act: SmallVec::new(),
        may_act: Vec::new(),
        lineage: Vec::new(),
        confirmation: None,
        composition: None,
    }
}

/// The claims as JSON with some of them changed; null takes one out.
fn changed(changes: Value) -> Vec<u8> {
    let mut members: Map<String, Value> = serde_json::from_slice(&claims().to_json()).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    serde_json::to_vec(&members).unwrap()
}

#[test]
fn what_we_issue_we_read() {
    for algorithm in SigningAlgorithm::ALL {
        let issuing = Issuing::new(algorithm);
        let verifier = issuing.verifier();
        let token = issuing.sign(&claims().to_json());
        for _ in 0..2 {
            let verified = verifier.verify(&tenant(), token.as_bytes(), at(10)).unwrap();
            assert_eq!(*verified.claims, claims(), "{algorithm}");
            assert_eq!(verified.expires_at, at(300));
            assert_eq!(
                verified.bearer().token_hash,
                bailiwick_base::Digest::of(token.as_bytes())
            );
        }
        assert_eq!(verifier.remembered(), 1);
        let anywhere = verifier.verify_any(token.as_bytes(), at(10)).unwrap();
        assert_eq!(anywhere.tenant, tenant());
        let elsewhere = verifier.verify(&TenantId::parse("globex").unwrap(), token.as_bytes(), at(10));
        assert_eq!(elsewhere.err(), Some(TokenError::Tenant));
    }
}

#[test]
fn our_own_claims_are_required_here_and_only_here() {
    let issuing = Issuing::new(SigningAlgorithm::EdDsa);
    let plain: Verifier<Rfc9068> = Verifier::new(issuing.keys.clone(), VerifierConfig::default());
    let refused = |changes: Value| {
        let token = issuing.sign(&changed(changes));
        issuing
            .verifier()
            .verify(&tenant(), token.as_bytes(), at(10))
            .err()
    };
    for name in ["nhi", "task", "epoch"] {
        let token = issuing.sign(&changed(json!({name: null})));
        assert!(
            plain.verify(&tenant(), token.as_bytes(), at(10)).is_ok(),
            "RFC 9068 does not know `{name}`"
        );
        let answer = issuing
            .verifier()
            .verify(&tenant(), token.as_bytes(), at(10))
            .err();
        assert!(
            matches!(answer, Some(TokenError::Claim { claim, .. }) if claim == name),
            "{answer:?}"
        );
    }
    for name in ["iss", "sub", "aud", "client_id", "iat", "exp", "jti", "tenant"] {
        assert!(refused(json!({name: null})).is_some(), "{name}");
    }
    assert_eq!(
        refused(json!({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}})),
        Some(TokenError::SenderConstrained)
    );
    for unknown in [
        json!({"jkt": "x"}),
        json!({"jwk": {}}),
        json!({}),
        json!("x"),
        json!([]),
    ] {
        assert!(
            matches!(
                refused(json!({"cnf": unknown})),
                Some(TokenError::Claim { claim: "cnf", .. })
            ),
            "{unknown}"
        );
    }
    assert_eq!(
        refused(json!({"aud": [AUDIENCE, "other"]})),
        Some(TokenError::Audience)
    );
    assert_eq!(refused(json!({"tenant": "globex"})), Some(TokenError::Tenant));
    assert_eq!(
        refused(json!({"exp": at(3_601).secs()})),
        Some(TokenError::Lifetime)
    );
    assert_eq!(refused(json!({"exp": at(0).secs()})), Some(TokenError::Lifetime));
    assert!(matches!(
        refused(json!({"act": {"sub": "idn_x"}})),
        Some(TokenError::Actors(_))
    ));
    assert_eq!(refused(json!({"extra": {"a": [1, null]}})), None);
}

/// What was verified is forgotten by the clock in both directions, by the key set, and by the issuer.
#[test]
fn remembering_never_outlives_the_reasons() {
    let issuing = Issuing::new(SigningAlgorithm::Es256);
    let verifier = issuing.verifier();
    let token = issuing.sign(&claims().to_json());
    let verify = |now: Time| verifier.verify(&tenant(), token.as_bytes(), now).map(|_| ());
    assert_eq!(verify(at(10)), Ok(()));
    assert_eq!(verify(at(329)), Ok(()), "the leeway is 30 s");
    assert_eq!(verify(at(330)), Err(TokenError::Expired));
    assert_eq!(verifier.remembered(), 0, "the dead are not kept");
    assert_eq!(
        verify(at(10)),
        Ok(()),
        "a clock that jumped and came back is no death"
    );
    assert_eq!(
        verify(at(-31)),
        Err(TokenError::NotYetValid),
        "a clock before the issuing is refused, remembered or not"
    );

    assert_eq!(verify(at(10)), Ok(()));
    let old = issuing.keyring.signer(&tenant()).unwrap().kid().to_owned();
    let new = issuing
        .keyring
        .add_signing_key(&tenant(), SigningAlgorithm::EdDsa)
        .unwrap();
    issuing.keyring.activate_signing_key(&tenant(), &new).unwrap();
    issuing.publish();
    assert_eq!(verify(at(10)), Ok(()), "its key is still published");
    issuing.keyring.withdraw_signing_key(&tenant(), &old).unwrap();
    assert_eq!(verify(at(10)), Ok(()), "as long as the node was not told");
    issuing.publish();
    assert_eq!(
        verify(at(10)),
        Err(TokenError::KeyUnknown),
        "a withdrawn key ends what it signed"
    );
    let second = issuing.sign(&claims().to_json());
    assert!(verifier.verify(&tenant(), second.as_bytes(), at(10)).is_ok());
    issuing.keys.withdraw(ISSUER);
    assert_eq!(
        verifier.verify(&tenant(), second.as_bytes(), at(10)).err(),
        Some(TokenError::Issuer)
    );
}

#[test]
fn memory_is_bounded_and_forgets_a_tenant() {
    let issuing = Issuing::new(SigningAlgorithm::EdDsa);
    let config = VerifierConfig {
        remembered_max: 32,
        ..VerifierConfig::default()
    };
    let verifier: Verifier = Verifier::new(issuing.keys.clone(), config);
    for n in 0..100_u128 {
        let mut claims = claims();
        claims.token = TokenId::from_parts(tenant(), uuid::Uuid::from_u128(n));
        verifier
            .verify(&tenant(), issuing.sign(&claims.to_json()).as_bytes(), at(1))
            .unwrap();
    }
    assert!((1..=32).contains(&verifier.remembered()));
    verifier.forget(&tenant());
    assert_eq!(verifier.remembered(), 0);
}

#[test]
fn nothing_is_believed_without_a_published_issuer_and_audience() {
    let issuing = Issuing::new(SigningAlgorithm::EdDsa);
    let keys = Arc::new(KeySource::new());
    let published = issuing.keyring.jwks(&tenant()).unwrap();
    let set = || {
        published
            .iter()
            .map(|jwk| (jwk.kid().to_owned(), jwk.key().clone()))
    };
    let token = issuing.sign(&changed(json!({"aud": ""})));
    keys.publish(ISSUER, &tenant(), "", set());
    let verifier: Verifier = Verifier::new(keys.clone(), VerifierConfig::default());
    assert_eq!(
        verifier.verify(&tenant(), token.as_bytes(), at(1)).err(),
        Some(TokenError::Issuer)
    );
    keys.publish(ISSUER, &tenant(), AUDIENCE, []);
    let good = issuing.sign(&claims().to_json());
    assert_eq!(
        verifier.verify(&tenant(), good.as_bytes(), at(1)).err(),
        Some(TokenError::KeyUnknown)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is changed, cut, doubled or inserted in a good token: it is refused, with and without memory.
    #[test]
    fn a_changed_token_is_refused(
        kind in 0_u8..5,
        place in any::<prop::sample::Index>(),
        length in 1_usize..12,
        byte in any::<u8>(),
    ) {
        thread_local! {
            static GOOD: (String, Verifier) = {
                let issuing = Issuing::new(SigningAlgorithm::EdDsa);
                let token = issuing.sign(&claims().to_json());
                let verifier = issuing.verifier();
                verifier.verify(&tenant(), token.as_bytes(), at(1)).unwrap();
                (token, verifier)
            };
        }
        GOOD.with(|(token, verifier)| {
            let mut bytes = token.clone().into_bytes();
            let at_byte = place.index(bytes.len());
            let end = (at_byte + length).min(bytes.len());
            match kind {
                0 => bytes[at_byte] = byte,
                1 => drop(bytes.drain(at_byte..end)),
                2 => bytes.insert(at_byte, byte),
                3 => {
                    let piece = bytes[at_byte..end].to_vec();
                    bytes.splice(at_byte..at_byte, piece);
                }
                _ => bytes.truncate(at_byte),
            }
            let answer = verifier.verify(&tenant(), &bytes, at(1));
            prop_assert_eq!(answer.is_ok(), bytes == token.as_bytes());
            Ok(())
        })?;
    }

    /// Any bytes at all give an answer.
    #[test]
    fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200), dots in 0_usize..6) {
        let mut text = bytes;
        for dot in 0..dots {
            let place = text.len() * dot / dots.max(1);
            text.insert(place, b'.');
        }
        let verifier: Verifier = Verifier::new(Arc::new(KeySource::new()), VerifierConfig::default());
        prop_assert!(verifier.verify(&tenant(), &text, at(0)).is_err());
    }
}

#[test]
fn length_is_judged_before_any_work() {
    let verifier: Verifier = Verifier::new(Arc::new(KeySource::new()), VerifierConfig::default());
    let (long, tenant) = (vec![b'.'; 1 << 22], tenant());
    let cost = allocation_counter::measure(|| {
        assert_eq!(
            verifier.verify(&tenant, &long, at(0)).err(),
            Some(TokenError::TooLong)
        );
    });
    assert_eq!(cost.count_total, 0, "nothing is allocated for it");
    assert_eq!(
        verifier.verify(&tenant, &long[..16 * 1024], at(0)).err(),
        Some(TokenError::Structure)
    );
}

#[test]
fn one_bearer_token_in_one_header() {
    let read = |values: &[&[u8]]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("authorization", http::HeaderValue::from_bytes(value).unwrap());
        }
        bearer(&headers).map(|token| token.map(<[u8]>::to_vec))
    };
    assert_eq!(read(&[]), Ok(None));
    assert_eq!(read(&[b"Bearer a.b.c"]), Ok(Some(b"a.b.c".to_vec())));
    assert_eq!(
        read(&[b"bEARER a.b.c"]),
        Ok(Some(b"a.b.c".to_vec())),
        "the scheme has no case (RFC 9110)"
    );
    for bad in [
        &[b"Bearer a.b.c".as_slice(), b"Bearer d.e.f"][..],
        &[b""],
        &[b"Bearer"],
        &[b"Bearer "],
        &[b"Bearer  a.b.c"],
        &[b"Bearer a.b.c d"],
        &[b"Bearer a.b.c,Bearer d"],
        &[b"Basic dXNlcjpwYXNz"],
        &[b"DPoP a.b.c"],
        &[b"Bearer a\xff"],
        &[b"Bearera.b.c"],
    ] {
        assert_eq!(read(bad), Err(TokenError::Bearer), "{bad:?}");
    }
}

#[test]
fn config_may_shorten_what_is_accepted() {
    let issuing = Issuing::new(SigningAlgorithm::EdDsa);
    let config = VerifierConfig {
        lifetime_max: Duration::from_secs(299),
        ..VerifierConfig::default()
    };
    let verifier: Verifier = Verifier::new(issuing.keys.clone(), config);
    let token = issuing.sign(&claims().to_json());
    assert_eq!(
        verifier.verify(&tenant(), token.as_bytes(), at(1)).err(),
        Some(TokenError::Lifetime)
    );
}
