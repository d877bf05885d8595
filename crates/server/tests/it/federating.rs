//! Workloads of other platforms: who gets a token, and every look-alike that does not.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bailiwick_base::Digest;
use bailiwick_server::operator::idempotency_key;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::bed::{Answer, BASE, Bed, claims_of, sign};
use crate::desk::Desk;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SEED: [u8; 32] = [7; 32];

/// The keys of the platform, as an operator gives them for an issuer that cannot be reached.
fn jwks() -> Value {
    let public = Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap();
    let x = URL_SAFE_NO_PAD.encode(public.public_key().as_ref());
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "p1", "x": x}]})
}

fn rule(identity: &str, repository: &str) -> Value {
    json!({
        "identity": identity, "method": "github", "jwks": jwks(),
        "attributes": {"repository_owner_id": "65", "repository_id": repository, "ref": "refs/heads/main"},
    })
}

/// What the platform says about a run on the main branch.
fn claims(bed: &Bed, tenant: &str) -> Value {
    let now = bed.now();
    json!({
        "iss": "https://token.actions.githubusercontent.com", "aud": format!("{BASE}/t/{tenant}"),
        "iat": now, "nbf": now, "exp": now + 300, "jti": idempotency_key().unwrap(),
        "sub": "repo:octo@65/app@74:ref:refs/heads/main", "repository": "octo/app", "repository_id": "74",
        "repository_owner": "octo", "repository_owner_id": "65", "ref": "refs/heads/main", "event_name": "push",
    })
}

fn signed(claims: &Value) -> String {
    sign(
        &SEED,
        r#"{"alg":"EdDSA","typ":"JWT","kid":"p1","x5t":"AAAA"}"#,
        &claims.to_string(),
    )
}

/// What the decision log says of the tokens that were issued, the last one last.
async fn issues(bed: &Bed) -> Vec<Value> {
    let entries = bed.entries("decisions").await;
    let of_issue = entries.into_iter().filter(|e| e["leaf"]["kind"] == "token.issue");
    of_issue.map(|e| e["payload"]["issue"].clone()).collect()
}

/// SHA-256 over tenant, issuer and claims as they were shown, each with its length before it.
fn evidence(tenant: &str, shown: &Value) -> String {
    let (issuer, claims) = (shown["iss"].as_str().unwrap(), shown.to_string());
    let mut bytes = Vec::new();
    for field in [tenant, issuer, &claims] {
        bytes.extend((field.len() as u64).to_be_bytes());
        bytes.extend(field.as_bytes());
    }
    Digest::of(&bytes).to_string()
}

async fn ask(bed: &Bed, tenant: &str, assertion: &str) -> Answer {
    let body = serde_urlencoded::to_string([("grant_type", GRANT_TYPE), ("assertion", assertion)]).unwrap();
    let form = ("content-type", "application/x-www-form-urlencoded");
    bed.send("POST", &format!("/t/{tenant}/token"), &[form], body)
        .await
}

#[track_caller]
fn refused(answer: &Answer, words: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.code().as_str()),
        (400, "invalid_grant"),
        "{}",
        answer.text()
    );
    assert!(answer.text().contains(words), "{}", answer.text());
}

async fn world() -> (Bed, Desk, String, String) {
    let bed = Bed::start().await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    bed.add_server("acme", "files", &desk).await;
    let identity = bed.add_identity("acme", "worker").await;
    let (task, _) = bed.open_task("acme", &identity, &["files:echo"]).await;
    (bed, desk, identity, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_without_a_secret_gets_a_token_that_the_gateway_takes() {
    let (bed, desk, identity, task) = world().await;
    refused(
        &ask(&bed, "acme", &signed(&claims(&bed, "acme"))).await,
        "does not trust",
    );
    let added = bed
        .post("/v1/tenants/acme/trusts", &rule(&identity, "74"))
        .await
        .ok();
    assert_eq!(added["findings"][0]["code"], "trust.any-event");
    // Keys that replace those of the vendor are shown, and stand in the record.
    assert_eq!(added["findings"][1]["code"], "trust.vendor-keys");
    assert!(
        added["keys"].as_str().unwrap().starts_with("given sha256:"),
        "{added}"
    );
    let shown = claims(&bed, "acme");
    let granted = ask(&bed, "acme", &signed(&shown)).await.ok();
    let token = granted["access_token"].as_str().unwrap();
    let said = claims_of(token);
    assert_eq!((&said["nhi"], &said["task"]), (&json!(identity), &json!(task)));
    assert_eq!(said["client_id"], added["id"]);
    let called = bed.call(token, "acme", "files", "echo", json!({})).await.ok();
    assert!(called["result"].is_object(), "{called}");
    assert_eq!(desk.calls(), 1);
    // It is a decision like every other issue, with the digest of what was shown, and the rule stands in the state log.
    let issue = issues(&bed).await.pop().unwrap();
    assert_eq!(
        (&issue["client"], &issue["nhi"]),
        (&added["id"], &json!(identity))
    );
    assert_eq!(issue["evidence"], evidence("acme", &shown), "{issue}");
    let recorded = |entries: Vec<Value>, word: &str| entries.iter().any(|e| e.to_string().contains(word));
    assert!(recorded(bed.entries("state").await, "trust.add"));
    assert!(recorded(
        bed.entries("state").await,
        added["keys"].as_str().unwrap()
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_alike_of_a_workload_gets_nothing() {
    let (bed, _desk, identity, _) = world().await;
    bed.post("/v1/tenants/acme/trusts", &rule(&identity, "74"))
        .await
        .ok();
    let changed = |name: &str, value: &str| {
        let mut claims = claims(&bed, "acme");
        claims[name] = value.into();
        signed(&claims)
    };
    for (name, value, words) in [
        ("repository_id", "75", "no trust rule"),
        ("repository_owner_id", "66", "no trust rule"),
        ("ref", "refs/heads/feature", "no trust rule"),
        ("event_name", "pull_request_target", "stranger"),
        ("aud", "https://github.com/octo", "another audience"),
        (
            "iss",
            "https://token.actions.githubusercontent.com.evil.example",
            "does not trust",
        ),
        (
            "iss",
            "https://TOKEN.actions.githubusercontent.com",
            "does not trust",
        ),
    ] {
        refused(&ask(&bed, "acme", &changed(name, value)).await, words);
    }
    // Another key under the same name.
    let forged = sign(
        &[8; 32],
        r#"{"alg":"EdDSA","kid":"p1"}"#,
        &claims(&bed, "acme").to_string(),
    );
    refused(&ask(&bed, "acme", &forged).await, "does not verify");
    // Once, and not again.
    let once = signed(&claims(&bed, "acme"));
    ask(&bed, "acme", &once).await.ok();
    refused(&ask(&bed, "acme", &once).await, "used before");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_speaks_for_one_tenant_and_a_removed_rule_for_nobody() {
    let (bed, _desk, identity, _) = world().await;
    let added = bed
        .post("/v1/tenants/acme/trusts", &rule(&identity, "74"))
        .await
        .ok();
    bed.add_tenant("globex").await;
    let theirs = bed.add_identity("globex", "worker").await;
    let bound = bed.post("/v1/tenants/globex/trusts", &rule(&theirs, "74")).await;
    assert_eq!(bound.code(), "trust.issuer-bound", "{}", bound.text());
    // What was made for one tenant is nothing to the other.
    refused(
        &ask(&bed, "globex", &signed(&claims(&bed, "acme"))).await,
        "does not trust",
    );
    refused(
        &ask(&bed, "acme", &signed(&claims(&bed, "globex"))).await,
        "another audience",
    );
    // Names, wildcards, half a pin, and a second identity for one workload.
    let second = bed.add_identity("acme", "second").await;
    let with = |change: Value| {
        let mut rule = rule(&second, "74");
        rule["attributes"] = change;
        rule
    };
    for (attributes, code) in [
        (json!({"repository": "octo/app"}), "trust.attribute-refused"),
        (json!({"repository_owner_id": "65"}), "trust.too-broad"),
        (
            json!({"repository_owner_id": "65", "repository_id": "*"}),
            "trust.attribute-refused",
        ),
        (
            json!({"repository_owner_id": "65", "repository_id": "74"}),
            "trust.ambiguous",
        ),
    ] {
        let answer = bed
            .post("/v1/tenants/acme/trusts", &with(attributes.clone()))
            .await;
        assert_eq!(answer.code(), code, "{attributes}: {}", answer.text());
    }
    let path = format!("/v1/tenants/acme/trusts/{}/remove", added["id"].as_str().unwrap());
    bed.post(&path, &json!({"reason": "the repository was archived"}))
        .await
        .ok();
    refused(
        &ask(&bed, "acme", &signed(&claims(&bed, "acme"))).await,
        "does not trust",
    );
    assert_eq!(bed.get("/v1/tenants/acme/trusts").await.ok()["items"], json!([]));
    // Free again for another tenant.
    bed.post("/v1/tenants/globex/trusts", &rule(&theirs, "74"))
        .await
        .ok();
}

/// A rule of any OpenID issuer, and claims of it.
fn generic(identity: &str, issuer: &str, keys: &Value) -> Value {
    json!({"identity": identity, "method": "generic-oidc", "issuer": issuer, "jwks": keys, "attributes": {"sub": "w1"}})
}

fn keys_of(seed: &[u8; 32]) -> Value {
    let public = Ed25519KeyPair::from_seed_unchecked(seed).unwrap();
    let x = URL_SAFE_NO_PAD.encode(public.public_key().as_ref());
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "p1", "x": x}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_aws_is_an_identity_by_the_method_of_aws_only() {
    let (bed, _desk, identity, _) = world().await;
    let issuer = "https://a1faa616-d595-447d-bdfd-64b774ab199c.tokens.sts.global.api.aws";
    let role = "arn:aws:iam::123456789012:role/invoices";
    let add = async |body: Value| bed.post("/v1/tenants/acme/trusts", &body).await;
    // Not as any issuer, where everything in `sub` would do; not for a whole account; not for what looks like a role.
    let any = add(generic(&identity, issuer, &jwks())).await;
    assert_eq!(
        (any.status.as_u16(), any.code()),
        (422, "trust.issuer-refused".to_owned())
    );
    let rule = |attributes: Value| json!({"identity": identity, "method": "aws-web-identity", "issuer": issuer, "jwks": jwks(), "attributes": attributes});
    for (attributes, code) in [
        (json!({"account": "123456789012"}), "trust.too-broad"),
        (
            json!({"account": "123456789012", "principal": "arn:aws:iam::123456789012:role/*"}),
            "trust.attribute-refused",
        ),
        (
            json!({"account": "123456789012", "principal": "arn:aws:iam::123456789012:root"}),
            "trust.attribute-refused",
        ),
    ] {
        assert_eq!(add(rule(attributes.clone())).await.code(), code, "{attributes}");
    }
    let added = add(rule(json!({"account": "123456789012", "principal": role})))
        .await
        .ok();
    let found = added["findings"].as_array().unwrap();
    let codes: Vec<&str> = found.iter().filter_map(|f| f["code"].as_str()).collect();
    assert_eq!(codes, ["trust.role-by-name", "trust.vendor-keys"]);
    let now = bed.now();
    let shown = |jti: &str, sub: &str, account: &str| {
        signed(&json!({
            "iss": issuer, "sub": sub, "aud": format!("{BASE}/t/acme"), "iat": now, "exp": now + 300, "jti": jti,
            "https://sts.amazonaws.com/": {"aws_account": account, "source_region": "eu-central-1"},
        }))
    };
    let granted = ask(&bed, "acme", &shown("1", role, "123456789012")).await.ok();
    assert_eq!(
        claims_of(granted["access_token"].as_str().unwrap())["nhi"],
        json!(identity)
    );
    refused(
        &ask(&bed, "acme", &shown("1", role, "123456789012")).await,
        "used before",
    );
    refused(
        &ask(&bed, "acme", &shown("2", role, "999999999999")).await,
        "aws_account",
    );
    let alike = "arn:aws:iam::999999999999:role/invoices";
    refused(
        &ask(&bed, "acme", &shown("3", alike, "999999999999")).await,
        "no trust rule",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_issuer_of_a_tenant_vouches_for_nothing_of_another() {
    let (bed, _desk, identity, _) = world().await;
    let issuer = "https://idp.example";
    let agent = "spiffe://mesh.example/agent/1";
    // The mesh says who `agent` is, with keys of its own; the other issuer may say whatever it likes in `sub`.
    let mesh = json!({
        "identity": identity, "method": "spiffe-jwt", "issuer": "spiffe://mesh.example", "jwks": keys_of(&[9; 32]),
        "attributes": {"sub": agent},
    });
    let other = bed.add_identity("acme", "other").await;
    bed.post("/v1/tenants/acme/trusts", &generic(&other, issuer, &jwks()))
        .await
        .ok();
    bed.post("/v1/tenants/acme/trusts", &mesh).await.ok();
    let now = bed.now();
    let mut claims = json!({
        "iss": issuer, "sub": agent, "aud": format!("{BASE}/t/acme"), "iat": now, "exp": now + 300,
    });
    for seed in [&SEED, &[9; 32]] {
        let token = sign(
            seed,
            r#"{"alg":"EdDSA","typ":"JWT","kid":"p1"}"#,
            &claims.to_string(),
        );
        refused(&ask(&bed, "acme", &token).await, "several issuers");
    }
    claims.as_object_mut().unwrap().remove("iss");
    let token = sign(
        &[9; 32],
        r#"{"alg":"EdDSA","typ":"JWT","kid":"p1"}"#,
        &claims.to_string(),
    );
    let asked = ask(&bed, "acme", &token).await.ok();
    assert_eq!(
        claims_of(asked["access_token"].as_str().unwrap())["nhi"],
        json!(identity)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_removed_rule_is_not_renewed() {
    let (bed, _desk, identity, task) = world().await;
    let added = bed
        .post("/v1/tenants/acme/trusts", &rule(&identity, "74"))
        .await
        .ok();
    let granted = ask(&bed, "acme", &signed(&claims(&bed, "acme"))).await.ok();
    let token = granted["access_token"].as_str().unwrap();
    let renew = format!("/v1/tenants/acme/tasks/{task}/tokens");
    bed.bearing(token, &renew, &json!({"count": 1})).await.ok();
    let path = format!("/v1/tenants/acme/trusts/{}/remove", added["id"].as_str().unwrap());
    bed.post(&path, &json!({"reason": "the repository was archived"}))
        .await
        .ok();
    bed.bearing(token, &renew, &json!({"count": 1}))
        .await
        .refused(401, "token.client-ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_used_once_also_across_a_restart() {
    let (mut bed, _desk, identity, _) = world().await;
    bed.post("/v1/tenants/acme/trusts", &rule(&identity, "74"))
        .await
        .ok();
    // The platform's clock is ahead by as much as is borne with.
    let mut ahead = claims(&bed, "acme");
    for name in ["iat", "nbf", "exp"] {
        ahead[name] = json!(ahead[name].as_i64().unwrap() + 25);
    }
    let ahead = signed(&ahead);
    ask(&bed, "acme", &ahead).await.ok();
    bed.restart().await;
    refused(&ask(&bed, "acme", &ahead).await, "before this server started");
    bed.clock.advance(std::time::Duration::from_secs(32));
    refused(&ask(&bed, "acme", &ahead).await, "before this server started");
    // The clock jumped, so the node has to hear from its store first.
    let mut fresh = ask(&bed, "acme", &signed(&claims(&bed, "acme"))).await;
    while fresh.status == 503 {
        fresh = ask(&bed, "acme", &signed(&claims(&bed, "acme"))).await;
    }
    fresh.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_never_work_is_refused_when_it_is_said() {
    let (bed, _desk, identity, _) = world().await;
    let good = generic(&identity, "https://idp.example", &jwks());
    let mut private = jwks();
    private["keys"][0]["d"] = "AAAA".into();
    let changed = |name: &str, value: Value| {
        let mut rule = good.clone();
        rule[name] = value;
        rule
    };
    let by_url = |url: &str| {
        let mut rule = changed("jwks_url", url.into());
        rule.as_object_mut().unwrap().remove("jwks");
        rule
    };
    let github = "https://token.actions.githubusercontent.com";
    for (rule, code, words) in [
        (changed("jwks", json!(5)), "trust.keys", "`jwks`"),
        (changed("jwks", json!({"keys": []})), "trust.keys", "`jwks`"),
        (changed("jwks", private), "trust.keys", "private"),
        (by_url("ftp://idp.example/keys"), "trust.keys", "`jwks_url`"),
        (by_url("http://idp.example/keys"), "trust.keys", "plain HTTP"),
        (by_url("https://169.254.169.254/keys"), "trust.keys", "not public"),
        (
            changed("issuer", "https://".into()),
            "trust.issuer-refused",
            "`issuer`",
        ),
        (
            changed("allow_addresses", json!(["10/8"])),
            "trust.address-range",
            "`allow_addresses`",
        ),
        (
            changed("issuer", github.into()),
            "trust.issuer-refused",
            "--method github",
        ),
        (
            changed("issuer", format!("{github}/").into()),
            "trust.issuer-refused",
            "--method github",
        ),
    ] {
        let answer = bed.post("/v1/tenants/acme/trusts", &rule).await;
        assert_eq!(answer.code(), code, "{rule}: {}", answer.text());
        assert!(answer.text().contains(words), "{rule}: {}", answer.text());
    }
    bed.post("/v1/tenants/acme/trusts", &good).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anonymous_caller_hears_nothing_of_our_network() {
    let (bed, _desk, identity, _) = world().await;
    let issuer = "https://127.0.0.1:1";
    let mut rule = generic(&identity, issuer, &json!(null));
    rule.as_object_mut().unwrap().remove("jwks");
    rule["allow_addresses"] = json!(["127.0.0.0/8"]);
    bed.post("/v1/tenants/acme/trusts", &rule).await.ok();
    let now = bed.now();
    let claims = json!({
        "iss": issuer, "sub": "w1", "aud": format!("{BASE}/t/acme"), "iat": now, "exp": now + 300,
    });
    let answer = ask(&bed, "acme", &signed(&claims)).await;
    answer.refused(503, "temporarily_unavailable");
    let told = answer.json()["error_description"].as_str().unwrap().to_owned();
    assert!(told.contains("(outbound.unreachable)"), "{told}");
    assert!(!told.contains("127.0.0.1") && !told.contains("refused"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_identity_ends_the_token_of_its_workload() {
    let (bed, _desk, identity, _) = world().await;
    bed.post("/v1/tenants/acme/trusts", &rule(&identity, "74"))
        .await
        .ok();
    let granted = ask(&bed, "acme", &signed(&claims(&bed, "acme"))).await.ok();
    let token = granted["access_token"].as_str().unwrap();
    let client = crate::tokens::Client::register(&bed, "acme", &identity).await;
    let assertion = client.assertion(&bed, "acme");
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let body = serde_urlencoded::to_string([
        ("client_assertion_type", kind),
        ("client_assertion", assertion.as_str()),
        ("token", token),
    ])
    .unwrap();
    let form = ("content-type", "application/x-www-form-urlencoded");
    let answer = bed.send("POST", "/t/acme/revoke", &[form], body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let called = bed.call(token, "acme", "files", "echo", json!({})).await;
    assert_eq!(called.status, 401, "{}", called.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_issuer_of_others_stops_what_its_workloads_hold() {
    let (mut bed, _desk, identity, task) = world().await;
    let added = bed
        .post("/v1/tenants/acme/trusts", &rule(&identity, "74"))
        .await
        .ok();
    let granted = ask(&bed, "acme", &signed(&claims(&bed, "acme"))).await.ok();
    let token = granted["access_token"].as_str().unwrap().to_owned();
    let own = bed
        .post(
            &format!("/v1/tenants/acme/tasks/{task}/tokens"),
            &json!({"count": 1}),
        )
        .await
        .ok();
    let own = own["tokens"][0]["access_token"].as_str().unwrap().to_owned();
    let works = async |bed: &Bed, token: &str| {
        let called = bed.call(token, "acme", "files", "echo", json!({})).await;
        called.status == 200
    };
    assert!(works(&bed, &token).await && works(&bed, &own).await);
    let stop = json!({
        "scope": "issuer", "name": "https://token.actions.githubusercontent.com", "reason": "it was broken into",
        "suspend": true,
    });
    bed.post("/v1/tenants/acme/kill", &stop).await.ok();
    assert!(!works(&bed, &token).await && works(&bed, &own).await);
    let again = ask(&bed, "acme", &signed(&claims(&bed, "acme"))).await;
    assert_eq!(again.code(), "invalid_grant", "{}", again.text());
    // Also when the rule that says which issuer it was is gone.
    let path = format!("/v1/tenants/acme/trusts/{}/remove", added["id"].as_str().unwrap());
    bed.post(&path, &json!({"reason": "it was broken into"}))
        .await
        .ok();
    bed.restart().await;
    assert!(!works(&bed, &token).await && works(&bed, &own).await);
}
