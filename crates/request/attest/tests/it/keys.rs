//! Keys of issuers that rotate, are slow, or are hostile.

use bailiwick_attest::{AttestError, KeyPlace, KeysError};
use bailiwick_base::{CompactError, TenantId};
use bailiwick_credential::trust::Method;
use bailiwick_outbound::FetchError;
use serde_json::{Value, json};

use crate::issuer::{Issuer, Key};

#[tokio::test]
async fn a_token_of_the_issuer_is_taken_and_its_keys_are_kept() {
    let issuer = Issuer::start().await;
    let profile = issuer.profile(Method::GenericOidc);
    for _ in 0..10 {
        let attested = issuer
            .verify(&issuer.key.sign(&issuer.claims()), &profile)
            .await
            .unwrap();
        assert_eq!(attested.attributes["sub"], "w1");
        assert_eq!(attested.issuer.tenant.as_str(), "acme");
    }
    assert_eq!(issuer.count(), 2, "metadata and key set once each");
}

#[tokio::test]
async fn a_rotated_key_is_found_and_one_that_was_taken_back_is_refused() {
    let issuer = Issuer::start().await;
    let profile = issuer.profile(Method::GenericOidc);
    issuer
        .verify(&issuer.key.sign(&issuer.claims()), &profile)
        .await
        .unwrap();
    let next = Key::generate("k2");
    issuer.publishes(&[next.jwk()]);
    issuer.advance(11);
    issuer
        .verify(&next.sign(&issuer.claims()), &profile)
        .await
        .unwrap();
    let old = issuer.verify(&issuer.key.sign(&issuer.claims()), &profile).await;
    assert_eq!(old.unwrap_err(), AttestError::KeyUnknown);
}

#[tokio::test]
async fn unknown_keys_do_not_flood_the_issuer() {
    let issuer = Issuer::start().await;
    let profile = issuer.profile(Method::GenericOidc);
    issuer
        .verify(&issuer.key.sign(&issuer.claims()), &profile)
        .await
        .unwrap();
    issuer.advance(11);
    let before = issuer.count();
    for at in 0..100 {
        let stranger = Key::generate(&format!("stranger-{at}"));
        let refused = issuer.verify(&stranger.sign(&issuer.claims()), &profile).await;
        assert_eq!(refused.unwrap_err(), AttestError::KeyUnknown);
    }
    assert_eq!(issuer.count(), before + 1);
}

#[tokio::test]
async fn a_key_of_the_same_name_is_not_the_same_key() {
    let issuer = Issuer::start().await;
    let profile = issuer.profile(Method::GenericOidc);
    let forged = Key::generate("k1").sign(&issuer.claims());
    let refused = issuer.verify(&forged, &profile).await.unwrap_err();
    assert_eq!(refused, AttestError::Token(CompactError::Signature));
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_is_a_refusal_with_the_reason() {
    let issuer = Issuer::start().await;
    let profile = issuer.profile(Method::GenericOidc);
    issuer.is_silent();
    let refused = issuer
        .verify(&issuer.key.sign(&issuer.claims()), &profile)
        .await
        .unwrap_err();
    let expected = KeysError::Fetch {
        what: "its metadata",
        error: FetchError::TimedOut,
    };
    assert_eq!(refused, AttestError::Keys(expected));
    assert_eq!(
        refused.to_string(),
        "keys of the issuer are not available: its metadata cannot be fetched: it did not answer in time"
    );
    // Once its keys may be kept no longer, an issuer that went away is a refusal too.
    let issuer = Issuer::start().await;
    let profile = issuer.profile(Method::GenericOidc);
    issuer
        .verify(&issuer.key.sign(&issuer.claims()), &profile)
        .await
        .unwrap();
    issuer.is_silent();
    issuer.advance(59);
    issuer
        .verify(&issuer.key.sign(&issuer.claims()), &profile)
        .await
        .unwrap();
    issuer.advance(2);
    let refused = issuer.verify(&issuer.key.sign(&issuer.claims()), &profile).await;
    assert!(matches!(refused, Err(AttestError::Keys(_))));
}

#[tokio::test]
async fn hostile_metadata_and_key_sets_are_refused() {
    let good = |issuer: &Issuer| vec![issuer.key.jwk()];
    let private = |issuer: &Issuer| {
        let mut key = issuer.key.jwk();
        key["d"] = issuer.key.private().into();
        vec![key]
    };
    let twice = |issuer: &Issuer| vec![issuer.key.jwk(), Key::generate("k1").jwk()];
    let many = |issuer: &Issuer| vec![issuer.key.jwk(); 65];
    let shared = |issuer: &Issuer| vec![issuer.key.jwk(), json!({"kty": "oct", "k": "AAAA", "kid": "s"})];
    type Keys<'a> = &'a dyn Fn(&Issuer) -> Vec<Value>;
    let sets: [(Keys<'_>, &str); 4] = [
        (&private, "private"),
        (&twice, "two keys"),
        (&many, "more than 64"),
        (&shared, "shared"),
    ];
    for (keys, why) in sets {
        let issuer = Issuer::start().await;
        issuer.publishes(&keys(&issuer));
        let profile = issuer.profile(Method::GenericOidc);
        let refused = issuer
            .verify(&issuer.key.sign(&issuer.claims()), &profile)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
    }
    let metadata = [
        (
            json!({"issuer": "https://other.example", "jwks_uri": "https://other.example/jwks"}),
            "another issuer",
        ),
        (
            json!({"jwks_uri": "https://other.example/jwks"}),
            "another issuer",
        ),
        (json!([]), "another issuer"),
    ];
    for (metadata, why) in metadata {
        let issuer = Issuer::start().await;
        issuer.publishes(&good(&issuer));
        issuer.answers("/.well-known/openid-configuration", &metadata);
        let profile = issuer.profile(Method::GenericOidc);
        let refused = issuer
            .verify(&issuer.key.sign(&issuer.claims()), &profile)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
    }
    // Metadata that leads into our network.
    let issuer = Issuer::start().await;
    let inside = json!({"issuer": issuer.url, "jwks_uri": "https://169.254.169.254/latest"});
    issuer.answers("/.well-known/openid-configuration", &inside);
    let profile = issuer.profile(Method::GenericOidc);
    let refused = issuer
        .verify(&issuer.key.sign(&issuer.claims()), &profile)
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("169.254.169.254 is not public"),
        "{refused}"
    );
}

#[tokio::test]
async fn an_issuer_whose_keys_move_keeps_no_old_place() {
    let issuer = Issuer::start().await;
    let profile = issuer.profile(Method::GenericOidc);
    let token = |at: u64| {
        issuer.key.sign(&{
            let mut claims = issuer.claims();
            claims["exp"] = (claims["iat"].as_u64().unwrap() + 300 + at).into();
            claims
        })
    };
    for at in 0..3 {
        let uri = format!("/jwks/{at}");
        issuer.answers(&uri, &json!({"keys": [issuer.key.jwk()]}));
        let metadata = json!({"issuer": issuer.url, "jwks_uri": format!("{}{uri}", issuer.url)});
        issuer.answers("/.well-known/openid-configuration", &metadata);
        issuer.verify(&token(at), &profile).await.unwrap();
        issuer.advance(61);
    }
    // Back at the first place: nothing was left of it, so it is fetched like a new one.
    let metadata = json!({"issuer": issuer.url, "jwks_uri": format!("{}/jwks/0", issuer.url)});
    issuer.answers("/.well-known/openid-configuration", &metadata);
    let before = issuer.count();
    issuer.verify(&token(9), &profile).await.unwrap();
    assert_eq!(issuer.count(), before + 2);
    assert!(
        !issuer.last_head().contains("if-none-match"),
        "{}",
        issuer.last_head()
    );
}

#[tokio::test]
async fn keys_of_other_kinds_are_passed_over() {
    let issuer = Issuer::start().await;
    issuer.publishes(&[
        json!({"kty": "EC", "crv": "P-521", "kid": "other", "x": "AA", "y": "AA"}),
        json!({"kty": "RSA", "kid": "enc", "use": "enc", "n": "AQAB", "e": "AQAB"}),
        issuer.key.jwk(),
    ]);
    let profile = issuer.profile(Method::GenericOidc);
    issuer
        .verify(&issuer.key.sign(&issuer.claims()), &profile)
        .await
        .unwrap();
}

#[tokio::test]
async fn keys_that_were_given_need_no_network() {
    let issuer = Issuer::start().await;
    let mut profile = issuer.profile(Method::GenericOidc);
    profile.keys = KeyPlace::Given(json!({"keys": [issuer.key.jwk()]}).to_string());
    issuer
        .verify(&issuer.key.sign(&issuer.claims()), &profile)
        .await
        .unwrap();
    let stranger = issuer
        .verify(&Key::generate("k9").sign(&issuer.claims()), &profile)
        .await;
    assert_eq!(stranger.unwrap_err(), AttestError::KeyUnknown);
    assert_eq!(issuer.count(), 0);
}

#[tokio::test]
async fn an_unverified_token_never_chooses_where_a_request_goes() {
    let issuer = Issuer::start().await;
    let (elsewhere, ours) = (Issuer::start().await, issuer.profile(Method::GenericOidc));
    // Named issuer, key set in the header, audience of somebody else, expired: none of it causes a request.
    let mut claims = issuer.claims();
    claims["iss"] = elsewhere.url.clone().into();
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": "k1", "jku": format!("{}/jwks", elsewhere.url)});
    for token in [
        elsewhere.key.sign(&claims),
        elsewhere.key.sign_with(&header, &issuer.claims()),
        issuer.key.sign(&{
            let mut claims = issuer.claims();
            claims["aud"] = "https://other.example".into();
            claims
        }),
        issuer.key.sign(&{
            let mut claims = issuer.claims();
            claims["exp"] = 1.into();
            claims
        }),
    ] {
        issuer.verify(&token, &ours).await.unwrap_err();
    }
    assert_eq!((issuer.count(), elsewhere.count()), (0, 0));
}

#[tokio::test]
async fn what_one_tenant_registered_fetches_nothing_for_another() {
    let issuer = Issuer::start().await;
    let mut profile = issuer.profile(Method::GenericOidc);
    let token = issuer.key.sign(&issuer.claims());
    let ours = issuer.verify(&token, &profile).await.unwrap();
    profile.tenant = TenantId::parse("globex").unwrap();
    let theirs = issuer.verify(&token, &profile).await.unwrap();
    // The same token, told apart by tenant wherever it is remembered.
    assert_ne!(ours.token_hash, theirs.token_hash);
    assert_eq!(issuer.count(), 4);
}
