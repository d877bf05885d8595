//! Security event tokens of a transmitter.

use bailiwick_attest::{AttestError, Evidence, Told};
use bailiwick_base::Time;
use bailiwick_credential::trust::Method;
use serde_json::{Value, json};

use crate::issuer::{AUDIENCE, Issuer, Key, NOW};

fn claims(issuer: &Issuer) -> Value {
    json!({
        "iss": issuer.url, "aud": AUDIENCE, "iat": NOW, "jti": "set-1",
        "sub_id": {"format": "email", "email": "a@b.example"},
        "events": {"https://schemas.openid.net/secevent/caep/event-type/session-revoked": {}},
    })
}

async fn told(issuer: &Issuer, key: &Key, claims: &Value) -> Result<Told, AttestError> {
    let header = json!({"alg": "ES256", "typ": "secevent+jwt", "kid": key.kid});
    let text = key.sign_with(&header, claims);
    let evidence = Evidence::parse(text.as_bytes()).unwrap();
    let profile = issuer.profile(Method::GenericOidc);
    let now = Time::from_secs(NOW);
    issuer
        .attester
        .verify_event(&evidence, &profile, AUDIENCE, now)
        .await
}

#[tokio::test]
async fn an_event_that_is_no_object_is_none() {
    let issuer = Issuer::start().await;
    let whole = claims(&issuer);
    told(&issuer, &issuer.key, &whole).await.unwrap();
    let uri = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
    for event in [json!(null), json!(1), json!("x"), json!([])] {
        let mut changed = whole.clone();
        changed["events"] = json!({ uri: event });
        let answer = told(&issuer, &issuer.key, &changed).await;
        let said = answer.unwrap_err().to_string();
        assert!(said.contains("events"), "{event}: {said}");
    }
}

#[tokio::test]
async fn what_is_signed_again_says_the_same() {
    let issuer = Issuer::start().await;
    let next = Key::generate("k2");
    issuer.publishes(&[issuer.key.jwk(), next.jwk()]);
    let first = told(&issuer, &issuer.key, &claims(&issuer)).await.unwrap();
    let mut later = claims(&issuer);
    later["iat"] = json!(NOW + 20);
    let again = told(&issuer, &next, &later).await.unwrap();
    assert_eq!((first.once, first.content), (again.once, again.content));
    for (member, other) in [
        ("sub_id", json!({"format": "email", "email": "c@b.example"})),
        ("events", json!({"urn:other": {}})),
    ] {
        let mut changed = claims(&issuer);
        changed[member] = other;
        let other = told(&issuer, &issuer.key, &changed).await.unwrap();
        assert_eq!(first.once, other.once, "{member}");
        assert_ne!(first.content, other.content, "{member}");
    }
}
