//! Identity assertion authorization grants of an enterprise's identity provider (ID-JAG), and what only looks like one.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bailiwick_server::operator::idempotency_key;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::bed::{Answer, BASE, Bed, claims_of, sign};
use crate::desk::Desk;
use crate::tokens::{ASSERTION_TYPE, Client, ask, form};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const PROVIDER: &str = "https://idp.acme.example";
const HEADER: &str = r#"{"alg":"EdDSA","typ":"oauth-id-jag+jwt","kid":"p1"}"#;
const SEED: [u8; 32] = [5; 32];

struct World {
    bed: Bed,
    _desk: Desk,
    client: Client,
    other: Client,
}

/// What the provider publishes.
fn keys() -> Value {
    let public = Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap();
    let x = URL_SAFE_NO_PAD.encode(public.public_key().as_ref());
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "p1", "x": x}]})
}

async fn world() -> World {
    let bed = Bed::start().await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    bed.add_server("acme", "files", &desk).await;
    let identity = bed.add_identity("acme", "worker").await;
    let stranger = bed.add_identity("acme", "stranger").await;
    bed.open_task("acme", &identity, &["files:echo", "files:read_text_file"])
        .await;
    let client = Client::register(&bed, "acme", &identity).await;
    let other = Client::register(&bed, "acme", &stranger).await;
    let jwks = keys();
    for named in [&client.id, &other.id] {
        let rule = json!({
            "identity": identity, "method": "id-jag", "issuer": PROVIDER, "jwks": jwks,
            "attributes": {"sub": "u-17", "client_id": named},
        });
        bed.post("/v1/tenants/acme/trusts", &rule).await.ok();
    }
    World {
        bed,
        _desk: desk,
        client,
        other,
    }
}

impl World {
    /// What the provider says after this person signed in for this client.
    fn claims(&self) -> Value {
        let now = self.bed.now();
        json!({
            "iss": PROVIDER, "sub": "u-17", "aud": format!("{BASE}/t/acme"), "client_id": self.client.id,
            "jti": idempotency_key().unwrap(), "iat": now, "exp": now + 120,
            "resource": format!("{BASE}/t/acme/mcp/files"), "scope": "files:*",
        })
    }

    async fn redeem(&self, assertion: &str, client: Option<&Client>, more: &[(&str, &str)]) -> Answer {
        let mut all = vec![("grant_type", GRANT_TYPE), ("assertion", assertion)];
        let proof = client.map(|client| client.assertion(&self.bed, "acme"));
        if let Some(proof) = &proof {
            all.extend([
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", proof),
            ]);
        }
        all.extend_from_slice(more);
        ask(&self.bed, "acme", form(&all)).await
    }

    async fn changed(&self, name: &str, value: Value) -> Answer {
        let mut claims = self.claims();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value;
        }
        let assertion = sign(&SEED, HEADER, &claims.to_string());
        self.redeem(&assertion, Some(&self.client), &[]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_of_the_enterprise_lets_a_person_use_a_client() {
    let world = world().await;
    let bed = &world.bed;
    let assertion = sign(&SEED, HEADER, &world.claims().to_string());
    let granted = world.redeem(&assertion, Some(&world.client), &[]).await.ok();
    assert_eq!(granted["scope"], "files:echo files:read_text_file");
    let token = granted["access_token"].as_str().unwrap();
    let called = bed.call(token, "acme", "files", "echo", json!({})).await.ok();
    assert!(called["result"].is_object(), "{called}");
    assert!(
        claims_of(token)["client_id"]
            .as_str()
            .unwrap()
            .starts_with("trs_")
    );
    // Once.
    let again = world.redeem(&assertion, Some(&world.client), &[]).await;
    again.refused(400, "invalid_grant");
    assert!(again.text().contains("used before"), "{}", again.text());
    // No more than the assertion says, and no more than was asked for.
    let narrow = world.changed("scope", json!("files:echo other:x")).await.ok();
    assert_eq!(narrow["scope"], "files:echo");
    let mut claims = world.claims();
    claims["scope"] = json!("files:echo");
    let assertion = sign(&SEED, HEADER, &claims.to_string());
    let wide = [("scope", "files:read_text_file")];
    world
        .redeem(&assertion, Some(&world.client), &wide)
        .await
        .refused(400, "invalid_scope");
    world
        .changed("scope", json!("other:x"))
        .await
        .refused(400, "invalid_scope");
    assert_eq!(
        world.changed("scope", Value::Null).await.ok()["scope"],
        "files:echo files:read_text_file"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_assertion_for_anything_else_is_refused() {
    let world = world().await;
    for (name, value) in [
        ("aud", json!(format!("{BASE}/t/acme/token"))),
        ("aud", json!([format!("{BASE}/t/acme"), "https://x.example"])),
        ("iss", json!("https://idp.globex.example")),
        ("sub", json!("u-18")),
        ("client_id", json!(world.other.id)),
        ("client_id", Value::Null),
        ("jti", Value::Null),
        ("exp", Value::Null),
        ("exp", json!(world.bed.now() - 120)),
        ("exp", json!(world.bed.now() + 7_200)),
        ("resource", json!("https://elsewhere.example/mcp")),
    ] {
        let answer = world.changed(name, value.clone()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (400, "invalid_grant"),
            "{name} {value}: {}",
            answer.text()
        );
    }
    let whole = || sign(&SEED, HEADER, &world.claims().to_string());
    // Not by anybody, not by another client, not by one whose rule makes it somebody else.
    world
        .redeem(&whole(), None, &[])
        .await
        .refused(401, "invalid_client");
    world
        .redeem(&whole(), Some(&world.other), &[])
        .await
        .refused(400, "invalid_grant");
    let mut claims = world.claims();
    claims["client_id"] = json!(world.other.id);
    let others = sign(&SEED, HEADER, &claims.to_string());
    let somebody = world.redeem(&others, Some(&world.other), &[]).await;
    somebody.refused(400, "invalid_grant");
    assert!(
        somebody.text().contains("another identity"),
        "{}",
        somebody.text()
    );
    // A token of the same provider that is none of these, and one of these without its key.
    for header in [
        r#"{"alg":"EdDSA","typ":"JWT","kid":"p1"}"#,
        r#"{"alg":"EdDSA","typ":"at+jwt","kid":"p1"}"#,
        r#"{"alg":"EdDSA","kid":"p1"}"#,
    ] {
        let other = sign(&SEED, header, &world.claims().to_string());
        world
            .redeem(&other, Some(&world.client), &[])
            .await
            .refused(400, "invalid_grant");
    }
    let forged = sign(&[6; 32], HEADER, &world.claims().to_string());
    world
        .redeem(&forged, Some(&world.client), &[])
        .await
        .refused(400, "invalid_grant");
    // A client without a key.
    let body = json!({"name": "Notebook", "redirects": ["http://127.0.0.1/cb"]});
    let public = world
        .bed
        .post("/v1/tenants/acme/public-clients", &body)
        .await
        .ok();
    let id = public["client_id"].as_str().unwrap();
    let by_name = world.redeem(&whole(), None, &[("client_id", id)]).await;
    by_name.refused(400, "unauthorized_client");
    // Too broad a rule is none.
    let rule = json!({
        "identity": "worker", "method": "id-jag", "issuer": PROVIDER, "jwks": keys(),
        "attributes": {"client_id": world.client.id},
    });
    let broad = world.bed.post("/v1/tenants/acme/trusts", &rule).await;
    broad.refused(422, "trust.too-broad");
}
