//! Audience, times and shape.

use bailiwick_attest::AttestError;
use bailiwick_base::CompactError;
use bailiwick_credential::trust::Method;
use serde_json::{Value, json};

use crate::issuer::{AUDIENCE, Issuer, NOW};

async fn refused(change: Value) -> Result<(), AttestError> {
    let issuer = Issuer::start().await;
    let mut claims = issuer.claims();
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    let profile = issuer.profile(Method::GenericOidc);
    issuer.verify(&issuer.key.sign(&claims), &profile).await.map(drop)
}

#[tokio::test]
async fn evidence_is_for_us_alone() {
    assert_eq!(refused(json!({"aud": [AUDIENCE]})).await, Ok(()));
    let others = [
        json!({"aud": null}),
        json!({"aud": []}),
        json!({"aud": [AUDIENCE, "https://other.example"]}),
        json!({"aud": "https://bailiwick.example/t/globex"}),
        json!({"aud": format!("{AUDIENCE}/")}),
        json!({"aud": {"a": AUDIENCE}}),
    ];
    for change in others {
        let answer = refused(change.clone()).await;
        assert!(
            matches!(answer, Err(AttestError::Audience(_))),
            "{change}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_token_has_an_end_and_is_within_its_time() {
    assert_eq!(refused(json!({"exp": NOW - 30})).await, Err(AttestError::Expired));
    assert_eq!(
        refused(json!({"iat": NOW + 31, "exp": NOW + 60})).await,
        Err(AttestError::NotYetValid)
    );
    assert_eq!(
        refused(json!({"nbf": NOW + 31})).await,
        Err(AttestError::NotYetValid)
    );
    assert_eq!(
        refused(json!({"exp": NOW + 3_601})).await,
        Err(AttestError::Lifetime(3_600))
    );
    assert_eq!(
        refused(json!({"iat": null, "nbf": null, "exp": NOW + 9_999})).await,
        Err(AttestError::Lifetime(3_600))
    );
    assert_eq!(refused(json!({"iat": null, "nbf": null})).await, Ok(()));
    for wrong in [json!(null), json!("2027"), json!(1.5), json!(-1), json!(1e300)] {
        let answer = refused(json!({"exp": wrong})).await;
        assert!(
            matches!(&answer, Err(AttestError::Claim { claim, .. }) if claim == "exp"),
            "{wrong}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn only_signed_tokens_of_the_right_type_are_read() {
    let issuer = Issuer::start().await;
    let profile = issuer.profile(Method::GenericOidc);
    let with = |header: Value| issuer.key.sign_with(&header, &issuer.claims());
    let cases = [
        (
            json!({"alg": "none", "kid": "k1"}),
            AttestError::Token(CompactError::Algorithm),
        ),
        (
            json!({"alg": "HS256", "kid": "k1"}),
            AttestError::Token(CompactError::Algorithm),
        ),
        (
            json!({"alg": "RS256", "kid": "k1"}),
            AttestError::Token(CompactError::Algorithm),
        ),
        (
            json!({"alg": "ES256", "typ": "JWT"}),
            AttestError::Token(CompactError::Header("`kid` is missing")),
        ),
        (
            json!({"alg": "ES256", "kid": "k1", "typ": "at+jwt"}),
            AttestError::Type,
        ),
        (
            json!({"alg": "ES256", "kid": "k1", "typ": "client-authentication+jwt"}),
            AttestError::Type,
        ),
    ];
    for (header, expected) in cases {
        let answer = issuer.verify(&with(header.clone()), &profile).await;
        assert_eq!(answer.unwrap_err(), expected, "{header}");
    }
    for header in [
        json!({"alg": "ES256", "kid": "k1", "crit": ["exp"]}),
        json!({"alg": "ES256", "kid": "k1", "jwk": issuer.key.jwk()}),
        json!({"alg": "ES256", "kid": "k1", "x5c": ["AA"]}),
    ] {
        let answer = issuer.verify(&with(header.clone()), &profile).await;
        assert!(
            matches!(answer, Err(AttestError::Token(CompactError::Header(_)))),
            "{header}"
        );
    }
    // GitHub and Microsoft name a certificate; it brings no key along.
    let named = json!({"alg": "ES256", "kid": "k1", "typ": "JWT", "x5t": "AAAA"});
    issuer.verify(&with(named), &profile).await.unwrap();
}
