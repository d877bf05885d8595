//! The token endpoint: who gets a token, and every way in which somebody does not.

use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bailiwick_server::operator::idempotency_key;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::bed::{Answer, BASE, Bed, claims_of, ghost, sign, task};
use crate::desk::Desk;

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
pub(crate) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client of an identity with its key.
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) seed: Vec<u8>,
}

impl Client {
    pub(crate) async fn register(bed: &Bed, tenant: &str, identity: &str) -> Self {
        Self::register_until(bed, tenant, identity, None).await
    }

    pub(crate) async fn register_until(bed: &Bed, tenant: &str, identity: &str, ends: Option<&str>) -> Self {
        let more = ends.map_or(
            json!({"proof": "none"}),
            |ends| json!({"proof": "none", "expires_at": ends}),
        );
        Self::register_with(bed, tenant, identity, &more).await
    }

    /// Registered with `more` in the request: as bound to a proof where that does not say otherwise.
    pub(crate) async fn register_with(bed: &Bed, tenant: &str, identity: &str, more: &Value) -> Self {
        let seed: Vec<u8> = (0..32)
            .map(|n| n ^ identity.as_bytes()[10 + usize::from(n) % 20])
            .collect();
        let public = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let x = URL_SAFE_NO_PAD.encode(public.public_key().as_ref());
        let mut body = json!({"identity": identity, "jwk": {"kty": "OKP", "crv": "Ed25519", "x": x}});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let added = bed
            .post(&format!("/v1/tenants/{tenant}/clients"), &body)
            .await
            .ok();
        Self {
            id: added["client_id"].as_str().unwrap().to_owned(),
            seed,
        }
    }

    fn claims(&self, bed: &Bed, tenant: &str) -> Value {
        let now = bed.now();
        json!({
            "iss": self.id, "sub": self.id, "aud": format!("{BASE}/t/{tenant}"),
            "iat": now, "exp": now + 60, "jti": idempotency_key().unwrap(),
        })
    }

    pub(crate) fn assertion(&self, bed: &Bed, tenant: &str) -> String {
        self.assertion_with(bed, tenant, |_| {})
    }

    pub(crate) fn assertion_with(&self, bed: &Bed, tenant: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.claims(bed, tenant);
        change(&mut claims);
        sign(&self.seed, r#"{"alg":"EdDSA","typ":"JWT"}"#, &claims.to_string())
    }
}

pub(crate) fn form(parameters: &[(&str, &str)]) -> String {
    serde_urlencoded::to_string(parameters).unwrap()
}

fn request<'a>(assertion: &'a str, more: &[(&'a str, &'a str)]) -> String {
    let mut parameters = vec![
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion),
    ];
    parameters.extend_from_slice(more);
    form(&parameters)
}

pub(crate) async fn ask(bed: &Bed, tenant: &str, body: String) -> Answer {
    let path = format!("/t/{tenant}/token");
    bed.send("POST", &path, &[("content-type", FORM)], body).await
}

/// An OAuth refusal is JSON of its own form and never kept.
#[track_caller]
fn oauth(answer: &Answer, status: u16, error: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.code().as_str()),
        (status, error),
        "{}",
        answer.text()
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(answer.json()["error_description"].is_string());
}

struct World {
    bed: Bed,
    desk: Desk,
    identity: String,
    task: String,
    client: Client,
}

async fn world() -> World {
    let bed = Bed::start().await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    let (identity, task, _) = bed.add_worker(&desk, &["files:echo", "files:hold"]).await;
    let client = Client::register(&bed, "acme", &identity).await;
    World {
        bed,
        desk,
        identity,
        task,
        client,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_a_token_that_the_gateway_takes() {
    let World {
        bed,
        desk,
        identity,
        task,
        client,
    } = world().await;
    // One open task: it need not be named.
    let granted = ask(&bed, "acme", request(&client.assertion(&bed, "acme"), &[])).await;
    assert_eq!(granted.header("cache-control"), "no-store");
    let granted = granted.ok();
    assert_eq!(granted["token_type"], "Bearer");
    assert_eq!(granted["expires_in"], 300);
    assert_eq!(granted["scope"], "files:echo files:hold");
    let token = granted["access_token"].as_str().unwrap();
    let claims = claims_of(token);
    assert_eq!(claims["client_id"], client.id.as_str());
    assert_eq!(
        (&claims["sub"], &claims["nhi"]),
        (&json!(identity), &json!(identity))
    );
    assert_eq!(claims["task"], task.as_str());
    assert_eq!(claims["aud"], format!("{BASE}/t/acme/mcp"));
    let called = bed.call(token, "acme", "files", "echo", json!({})).await.ok();
    assert!(called["result"].is_object(), "{called}");
    assert_eq!(desk.calls(), 1);
    // Less was asked for: less is issued, and less is allowed.
    let narrow = request(
        &client.assertion(&bed, "acme"),
        &[
            ("scope", "files:hold"),
            ("task", &task),
            ("client_id", &client.id),
        ],
    );
    let narrow = ask(&bed, "acme", narrow).await.ok();
    assert_eq!(narrow["scope"], "files:hold");
    let refused = bed
        .call(
            narrow["access_token"].as_str().unwrap(),
            "acme",
            "files",
            "echo",
            json!({}),
        )
        .await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(desk.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_no_requests_are_refused_with_the_error_of_the_standard() {
    let World { bed, client, .. } = world().await;
    let assertion = client.assertion(&bed, "acme");
    let whole = request(&assertion, &[]);
    oauth(
        &ask(&bed, "acme", form(&[("client_assertion", "x")])).await,
        400,
        "invalid_request",
    );
    let implicit = whole.replace("client_credentials", "implicit");
    oauth(&ask(&bed, "acme", implicit).await, 400, "unsupported_grant_type");
    for twice in [
        "grant_type=client_credentials",
        "scope=a&scope=b",
        "client_assertion=x",
    ] {
        oauth(
            &ask(&bed, "acme", format!("{whole}&{twice}")).await,
            400,
            "invalid_request",
        );
    }
    let many: String = (0..200_000).map(|n| format!("&p{n}=")).collect::<String>()[..60_000].to_owned();
    oauth(
        &ask(&bed, "acme", format!("{whole}{many}")).await,
        400,
        "invalid_request",
    );
    for kind in [
        "application/json",
        "text/plain",
        "",
        "application/x-www-form-urlencoded-x",
    ] {
        let answer = bed
            .send("POST", "/t/acme/token", &[("content-type", kind)], whole.clone())
            .await;
        oauth(&answer, 400, "invalid_request");
    }
    let large = format!("{whole}&scope={}", "x".repeat(64 * 1024));
    ask(&bed, "acme", large).await.refused(413, "request.too-large");
    ask(&bed, "nobody", whole.clone())
        .await
        .refused(404, "request.not-found");
    bed.send("GET", "/t/acme/token", &[], "")
        .await
        .refused(405, "request.method");
    let query = format!("/t/acme/token?{whole}");
    let answer = bed.send("POST", &query, &[("content-type", FORM)], "").await;
    oauth(&answer, 400, "invalid_request");
    // None of all these used the assertion up.
    ask(&bed, "acme", whole).await.ok();
}

/// What is not served is not advertised: documents of clients where no operator said from where.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_names_what_is_served_and_no_more() {
    let World { bed, .. } = world().await;
    let metadata = bed
        .send("GET", "/.well-known/oauth-authorization-server/t/acme", &[], "")
        .await
        .ok();
    let issuer = format!("{BASE}/t/acme");
    let mut algorithms: Vec<Value> = ["EdDSA", "ES256", "RS256"].map(Value::from).to_vec();
    let told = &metadata["token_endpoint_auth_signing_alg_values_supported"];
    algorithms.sort_by_key(|a| told.as_array().and_then(|t| t.iter().position(|x| x == a)));
    let expected = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "authorization_response_iss_parameter_supported": true,
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "revocation_endpoint_auth_methods_supported": ["private_key_jwt", "none"],
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint": format!("{issuer}/introspect"),
        "introspection_endpoint_auth_methods_supported": ["private_key_jwt"],
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_signing_alg_values_supported": ["EdDSA"],
        "scopes_supported": ["files:*"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [
            "urn:bailiwick:grant-type:aws-sts",
            "authorization_code",
            "client_credentials",
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "refresh_token",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ],
        "authorization_details_types_supported": ["bailiwick_call"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "none"],
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "dpop_signing_alg_values_supported": ["ES256", "EdDSA"],
        "tls_client_certificate_bound_access_tokens": false,
    });
    assert_eq!(metadata, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_proves_one_client_once_to_one_issuer() {
    let World { bed, client, .. } = world().await;
    bed.add_tenant("globex").await;
    let now = bed.now();
    let refused = |title: &'static str, assertion: String| {
        let bed = &bed;
        async move {
            let answer = ask(bed, "acme", request(&assertion, &[])).await;
            assert_eq!(
                (answer.status.as_u16(), answer.code().as_str()),
                (401, "invalid_client"),
                "{title}: {}",
                answer.text()
            );
            assert!(!answer.text().contains(&assertion), "{title} is echoed");
        }
    };
    let with = |change: &dyn Fn(&mut Value)| client.assertion_with(&bed, "acme", |c| change(c));
    let without = |claim: &str| with(&|c| drop(c.as_object_mut().unwrap().remove(claim)));
    refused(
        "the token endpoint as audience",
        with(&|c| c["aud"] = json!(format!("{BASE}/t/acme/token"))),
    )
    .await;
    refused(
        "another tenant's issuer",
        with(&|c| c["aud"] = json!(format!("{BASE}/t/globex"))),
    )
    .await;
    refused(
        "two audiences",
        with(&|c| c["aud"] = json!([format!("{BASE}/t/acme"), "https://x.example"])),
    )
    .await;
    refused("no audience", without("aud")).await;
    refused(
        "expired",
        with(&|c| {
            c["iat"] = json!(now - 200);
            c["exp"] = json!(now - 100);
        }),
    )
    .await;
    refused("too long-lived", with(&|c| c["exp"] = json!(now + 7_200))).await;
    refused("no expiry", without("exp")).await;
    refused("no jti", without("jti")).await;
    refused(
        "an issuer that is not the client",
        with(&|c| c["iss"] = json!("somebody")),
    )
    .await;
    refused(
        "an unknown client",
        with(&|c| {
            let ghost = ghost(&client.id);
            c["iss"] = json!(ghost);
            c["sub"] = json!(ghost);
        }),
    )
    .await;
    let claims = client.claims(&bed, "acme").to_string();
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"EdDSA","typ":"at+jwt"}"#,
        r#"{"alg":"EdDSA","crit":["x"],"x":1}"#,
        r#"{"alg":"EdDSA","alg":"none"}"#,
    ] {
        refused(
            "a header that is not an assertion's",
            sign(&client.seed, header, &claims),
        )
        .await;
    }
    refused("another key", sign(&[9; 32], r#"{"alg":"EdDSA"}"#, &claims)).await;
    refused("garbage", "a.b.c".to_owned()).await;
    let wrong_type = format!(
        "grant_type=client_credentials&client_assertion={}&client_assertion_type=x",
        client.assertion(&bed, "acme")
    );
    oauth(&ask(&bed, "acme", wrong_type).await, 401, "invalid_client");
    let other_name = request(&client.assertion(&bed, "acme"), &[("client_id", "somebody")]);
    oauth(&ask(&bed, "acme", other_name).await, 401, "invalid_client");
    let secret = form(&[
        ("grant_type", "client_credentials"),
        ("client_id", &client.id),
        ("client_secret", "x"),
    ]);
    oauth(&ask(&bed, "acme", secret).await, 401, "invalid_client");

    let once = client.assertion(&bed, "acme");
    ask(&bed, "acme", request(&once, &[])).await.ok();
    oauth(
        &ask(&bed, "acme", request(&once, &[])).await,
        401,
        "invalid_client",
    );
    let slash = with(&|c| c["aud"] = json!(format!("{BASE}/t/acme/")));
    let slashed = ask(&bed, "acme", request(&slash, &[])).await;
    oauth(&slashed, 401, "invalid_client");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_from_before_a_restart_is_refused() {
    let mut world = world().await;
    let used = world.client.assertion(&world.bed, "acme");
    ask(&world.bed, "acme", request(&used, &[])).await.ok();
    world.bed.clock.advance(Duration::from_secs(2));
    world.bed.restart().await;
    oauth(
        &ask(&world.bed, "acme", request(&used, &[])).await,
        503,
        "temporarily_unavailable",
    );
    // A client whose clock runs ahead could have used this one before.
    let early = world.client.assertion(&world.bed, "acme");
    let told = ask(&world.bed, "acme", request(&early, &[])).await;
    assert!(told.text().contains("sign a new one in "), "{}", told.text());
    world.bed.clock.advance(Duration::from_secs(6));
    let fresh = world.client.assertion(&world.bed, "acme");
    let answer = ask(&world.bed, "acme", request(&fresh, &[])).await;
    // The client is believed; whether the node is fresh right after the clock was moved is decided later.
    assert_ne!(answer.json()["error"], "invalid_client", "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_not_the_clients_own_open_one_is_refused_without_a_word_about_it() {
    let World {
        bed,
        identity,
        task: own,
        client,
        ..
    } = world().await;
    let other = bed.add_identity("acme", "other").await;
    let (foreign, _) = bed.open_task("acme", &other, &["files:read_text_file"]).await;
    let with_task = |id: &str, more: &[(&str, &str)]| {
        let mut all = vec![("task", id)];
        all.extend_from_slice(more);
        request(&client.assertion(&bed, "acme"), &all)
    };
    let refused = ask(&bed, "acme", with_task(&foreign, &[])).await;
    oauth(&refused, 400, "invalid_grant");
    let ghost = ghost(&foreign);
    let unknown = ask(&bed, "acme", with_task(&ghost, &[])).await;
    assert_eq!(
        refused.text(),
        unknown.text(),
        "a task of another is as unknown as none"
    );
    let probing = ask(&bed, "acme", with_task(&foreign, &[("scope", "files:echo")])).await;
    assert!(!probing.text().contains("read_text_file"), "{}", probing.text());
    oauth(
        &ask(&bed, "acme", with_task("tsk_x", &[])).await,
        400,
        "invalid_request",
    );

    for wider in [
        "files:read_text_file",
        "files:*",
        "vault:echo",
        "*",
        "authzen:evaluate",
    ] {
        oauth(
            &ask(&bed, "acme", with_task(&own, &[("scope", wider)])).await,
            400,
            "invalid_scope",
        );
    }
    for elsewhere in [
        "https://elsewhere.example/t/acme/mcp".to_owned(),
        format!("{BASE}/t/acme/mcpx"),
        format!("{BASE}/t/globex/mcp"),
        format!("{BASE}/t/acme/mcp/../../globex/mcp"),
        "x".to_owned(),
    ] {
        let answer = ask(&bed, "acme", with_task(&own, &[("resource", &elsewhere)])).await;
        oauth(&answer, 400, "invalid_target");
    }
    for ours in [format!("{BASE}/t/acme/mcp"), format!("{BASE}/t/acme/mcp/files")] {
        ask(&bed, "acme", with_task(&own, &[("resource", &ours)]))
            .await
            .ok();
    }

    bed.post("/v1/tenants/acme/tasks", &task(&identity, &["files:echo"]))
        .await
        .ok();
    let which = ask(&bed, "acme", request(&client.assertion(&bed, "acme"), &[])).await;
    oauth(&which, 400, "invalid_request");
    assert!(which.text().contains("several"), "{}", which.text());

    bed.post(&format!("/v1/tenants/acme/tasks/{own}/close"), &json!({}))
        .await
        .ok();
    oauth(
        &ask(&bed, "acme", with_task(&own, &[])).await,
        400,
        "invalid_grant",
    );
    bed.kill("acme", "identity", &identity).await.ok();
    oauth(
        &ask(&bed, "acme", request(&client.assertion(&bed, "acme"), &[])).await,
        400,
        "invalid_grant",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn renewal_needs_a_living_token_of_the_task_and_never_widens() {
    let World {
        bed,
        identity,
        task: own,
        client,
        ..
    } = world().await;
    let path = format!("/v1/tenants/acme/tasks/{own}/tokens");
    let narrow = request(&client.assertion(&bed, "acme"), &[("scope", "files:hold")]);
    let narrow = ask(&bed, "acme", narrow).await.ok();
    let narrow = narrow["access_token"].as_str().unwrap().to_owned();
    let renewed = bed.bearing(&narrow, &path, &json!({"count": 3})).await.ok();
    let tokens = renewed["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 3);
    let ids: std::collections::BTreeSet<String> = tokens
        .iter()
        .map(|t| claims_of(t["access_token"].as_str().unwrap())["jti"].to_string())
        .collect();
    assert_eq!(ids.len(), 3, "each has its own id");
    assert!(tokens.iter().all(|t| t["scope"] == "files:hold"), "{renewed}");
    for count in [0, 257] {
        bed.bearing(&narrow, &path, &json!({"count": count}))
            .await
            .refused(400, "token.count");
    }
    let (sibling, _) = bed.open_task("acme", &identity, &["files:echo"]).await;
    let other = bed
        .bearing(
            &narrow,
            &format!("/v1/tenants/acme/tasks/{sibling}/tokens"),
            &json!({"count": 1}),
        )
        .await;
    other.refused(404, "request.not-found");

    let killed = claims_of(&narrow)["jti"].as_str().unwrap().to_owned();
    bed.kill("acme", "token", &killed).await.ok();
    bed.bearing(&narrow, &path, &json!({"count": 1}))
        .await
        .refused(401, "token.revoked");
    let alive = tokens[0]["access_token"].as_str().unwrap();
    bed.bearing(alive, &path, &json!({"count": 1})).await.ok();
    bed.post(&format!("/v1/tenants/acme/tasks/{own}/close"), &json!({}))
        .await
        .ok();
    let closed = bed.bearing(alive, &path, &json!({"count": 1})).await;
    closed.refused(401, "task.already-closed");
    let records = bed.entries("decisions").await;
    let issued = records
        .iter()
        .filter(|e| e["leaf"]["kind"] == "token.issue")
        .count();
    assert_eq!(
        issued, 5,
        "first token, narrow one, batch, sibling's first, the living one's"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_of_before_a_restart_is_put_off_and_never_taken() {
    let World { mut bed, client, .. } = world().await;
    let (used, unused) = (client.assertion(&bed, "acme"), client.assertion(&bed, "acme"));
    ask(&bed, "acme", request(&used, &[])).await.ok();
    bed.restart().await;
    let put_off = async |bed: &Bed, assertion: &str| {
        let answer = ask(bed, "acme", request(assertion, &[])).await;
        oauth(&answer, 503, "temporarily_unavailable");
        assert!(
            answer.text().contains("before this server started"),
            "{}",
            answer.text()
        );
        answer.header("retry-after").parse::<u64>().unwrap()
    };
    for assertion in [&used, &unused] {
        let wait = put_off(&bed, assertion).await;
        assert!((1..=6).contains(&wait), "{wait}");
    }
    // Whoever does not hold the key hears nothing of a start.
    let forged = sign(
        &[9; 32],
        r#"{"alg":"EdDSA"}"#,
        &client.claims(&bed, "acme").to_string(),
    );
    oauth(
        &ask(&bed, "acme", request(&forged, &[])).await,
        401,
        "invalid_client",
    );
    // After the wait a new one passes, and the old ones never do, however often they come.
    bed.clock.advance(Duration::from_secs(7));
    let fresh = async |bed: &Bed| ask(bed, "acme", request(&client.assertion(bed, "acme"), &[])).await;
    let mut answer = fresh(&bed).await;
    while answer.status == 503 {
        // The clock jumped, so the node has to hear from its store first.
        answer = fresh(&bed).await;
    }
    answer.ok();
    for assertion in [&used, &unused, &used] {
        assert_eq!(put_off(&bed, assertion).await, 1);
    }
    bed.clock.advance(Duration::from_secs(120));
    oauth(
        &ask(&bed, "acme", request(&used, &[])).await,
        401,
        "invalid_client",
    );
}
