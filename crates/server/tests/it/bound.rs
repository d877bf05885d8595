//! Tokens that are bound to a key: every grant gives one, every door takes it with a proof and in no other way.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use bailiwick_base::{Digest, PublicKey};
use bailiwick_server::operator::idempotency_key;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::bed::{Answer, BASE, Bed, claims_of, modern};
use crate::desk::Desk;
use crate::tokens::{ASSERTION_TYPE, Client, FORM, form};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Whoever holds a P-256 key.
pub(crate) struct Prover(EcdsaKeyPair);

impl Prover {
    pub(crate) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// `x` and `y` as a JWK has them.
    pub(crate) fn coordinates(&self) -> (String, String) {
        let point = self.0.public_key().as_ref();
        (
            URL_SAFE_NO_PAD.encode(&point[1..33]),
            URL_SAFE_NO_PAD.encode(&point[33..65]),
        )
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.coordinates();
        json!({"kty": "EC", "crv": "P-256", "x": x, "y": y})
    }

    pub(crate) fn thumbprint(&self) -> String {
        PublicKey::from_jwk(self.jwk().as_object().unwrap())
            .unwrap()
            .thumbprint()
    }

    /// Any header and any payload under this key.
    pub(crate) fn sign(&self, header: &str, payload: &str) -> String {
        let mut text = URL_SAFE_NO_PAD.encode(header);
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut text);
        let signature = self.0.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut text);
        text
    }

    /// A proof; `change` comes on top.
    pub(crate) fn proof(
        &self,
        bed: &Bed,
        path: &str,
        nonce: &str,
        token: Option<&str>,
        change: &Value,
    ) -> String {
        let mut claims = json!({
            "jti": idempotency_key().unwrap(), "htm": "POST", "htu": format!("{BASE}{path}"), "iat": bed.now(),
            "nonce": nonce,
        });
        if let Some(token) = token {
            claims["ath"] = json!(Digest::of(token.as_bytes()).to_base64url());
        }
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk()});
        self.sign(&header.to_string(), &claims.to_string())
    }
}

/// The nonce that the token endpoint gives to whoever asks with a proof without one.
pub(crate) async fn nonce(bed: &Bed) -> String {
    let prover = Prover::new();
    let proof = prover.proof(bed, "/t/acme/token", "", None, &json!({}));
    let headers = [("content-type", FORM), ("dpop", proof.as_str())];
    let body = form(&[("grant_type", "client_credentials")]);
    let answer = bed.send("POST", "/t/acme/token", &headers, body).await;
    answer.refused(400, "use_dpop_nonce");
    let nonce = answer.header("dpop-nonce").to_owned();
    assert!(!nonce.is_empty(), "{:?}", answer.headers);
    nonce
}

/// A token request, proven where there is a prover.
pub(crate) async fn ask(bed: &Bed, prover: Option<&Prover>, parameters: &[(&str, &str)]) -> Answer {
    let mut headers = vec![("content-type", FORM)];
    let proof = match prover {
        None => String::new(),
        Some(prover) => prover.proof(bed, "/t/acme/token", &nonce(bed).await, None, &json!({})),
    };
    if prover.is_some() {
        headers.push(("dpop", &proof));
    }
    bed.send("POST", "/t/acme/token", &headers, form(parameters))
        .await
}

pub(crate) async fn credentials(bed: &Bed, client: &Client, task: &str, prover: Option<&Prover>) -> Answer {
    let assertion = client.assertion(bed, "acme");
    let parameters = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion.as_str()),
        ("task", task),
    ];
    ask(bed, prover, &parameters).await
}

/// A request with a token under a scheme, and a proof where there is one.
pub(crate) async fn present(
    bed: &Bed,
    path: &str,
    (scheme, token): (&str, &str),
    proof: Option<&str>,
    body: &Value,
) -> Answer {
    let authorization = format!("{scheme} {token}");
    let mut headers = vec![
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
    ];
    headers.extend(proof.map(|proof| ("dpop", proof)));
    bed.send("POST", path, &headers, body.to_string()).await
}

pub(crate) fn echo() -> Value {
    modern("tools/call", json!({"name": "echo", "arguments": {}}))
}

pub(crate) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

pub(crate) struct World {
    pub(crate) bed: Bed,
    pub(crate) desk: Desk,
    pub(crate) identity: String,
    pub(crate) task: String,
    pub(crate) client: Client,
}

pub(crate) async fn world() -> World {
    let (bed, desk) = (Bed::start().await, Desk::open().await);
    bed.add_tenant("acme").await;
    let can = ["files:echo", "authzen:evaluate", "token:exchange"];
    let (identity, task, _) = bed.add_worker(&desk, &can).await;
    let client = Client::register(&bed, "acme", &identity).await;
    World {
        bed,
        desk,
        identity,
        task,
        client,
    }
}

pub(crate) const GATEWAY: &str = "/t/acme/mcp/files";

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_is_taken_with_a_proof_for_this_very_request_and_in_no_other_way() {
    let world = world().await;
    let (bed, holder) = (&world.bed, Prover::new());
    let granted = credentials(bed, &world.client, &world.task, Some(&holder))
        .await
        .ok();
    assert_eq!(granted["token_type"], "DPoP");
    let token = text(&granted["access_token"]);
    assert_eq!(claims_of(&token)["cnf"], json!({"jkt": holder.thumbprint()}));
    let unbound = credentials(bed, &world.client, &world.task, None).await.ok();
    assert_eq!(unbound["token_type"], "Bearer");
    let unbound = text(&unbound["access_token"]);
    assert!(claims_of(&unbound).get("cnf").is_none());

    let evaluation = json!({
        "subject": {"type": "agent", "id": "worker"}, "action": {"name": "echo"},
        "resource": {"type": "tool", "id": "files:echo"},
    });
    let renewal = format!("/v1/tenants/acme/tasks/{}/tokens", world.task);
    let doors = [
        (GATEWAY, echo()),
        ("/access/v1/evaluation", evaluation.clone()),
        ("/t/acme/access/v1/evaluations", evaluation),
        (renewal.as_str(), json!({"count": 1})),
    ];
    for (path, body) in &doors {
        let nonce = nonce(bed).await;
        let proven = |prover: &Prover, token: &str, change: Value| {
            prover.proof(bed, path, &nonce, Some(token), &change)
        };
        // As a bearer token, with a proof beside it or without.
        let proof = proven(&holder, &token, json!({}));
        for beside in [None, Some(proof.as_str())] {
            let answer = present(bed, path, ("Bearer", &token), beside, body).await;
            assert_eq!(answer.status, 401, "{path}: {}", answer.text());
            assert!(
                answer.header("www-authenticate").contains("DPoP "),
                "{path}: {:?}",
                answer.headers
            );
        }
        let answer = present(bed, path, ("DPoP", &token), None, body).await;
        assert_eq!(answer.status, 401, "{path}: {}", answer.text());
        // With a proof that is about something else.
        for (why, proof) in [
            ("another key", proven(&Prover::new(), &token, json!({}))),
            ("another token", proven(&holder, &unbound, json!({}))),
            ("no token", proven(&holder, &token, json!({"ath": null}))),
            ("another method", proven(&holder, &token, json!({"htm": "GET"}))),
            (
                "another URL",
                proven(&holder, &token, json!({"htu": format!("{BASE}/t/acme/token")})),
            ),
            (
                "another host",
                proven(&holder, &token, json!({"htu": format!("http://evil.test{path}")})),
            ),
            (
                "another time",
                proven(&holder, &token, json!({"iat": bed.now() - 70})),
            ),
        ] {
            let answer = present(bed, path, ("DPoP", &token), Some(&proof), body).await;
            assert_eq!(answer.status, 401, "{path}, {why}: {}", answer.text());
            let challenge = answer.header("www-authenticate");
            assert!(
                challenge.contains("error=\"invalid_dpop_proof\""),
                "{path}, {why}: {challenge}"
            );
        }
        let stale = proven(
            &holder,
            &token,
            json!({"nonce": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}),
        );
        let answer = present(bed, path, ("DPoP", &token), Some(&stale), body).await;
        assert!(
            answer
                .header("www-authenticate")
                .contains("error=\"use_dpop_nonce\""),
            "{path}"
        );
        assert_eq!(answer.header("dpop-nonce"), nonce, "{path}");
        // A token that is bound to nothing does not become better by a proof.
        let proof = proven(&holder, &unbound, json!({}));
        let answer = present(bed, path, ("DPoP", &unbound), Some(&proof), body).await;
        assert_eq!(answer.status, 401, "{path}: {}", answer.text());
        // In the one way, once.
        let proof = proven(&holder, &token, json!({}));
        let answer = present(bed, path, ("DPoP", &token), Some(&proof), body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let again = present(bed, path, ("DPoP", &token), Some(&proof), body).await;
        assert_eq!(again.status, 401, "{path}: {}", again.text());
        if *path == renewal {
            let renewed = answer.json();
            let token = &renewed["tokens"][0];
            assert_eq!(token["token_type"], "DPoP");
            let claims = claims_of(&text(&token["access_token"]));
            assert_eq!(claims["cnf"]["jkt"], holder.thumbprint());
        }
        // What is bound to nothing goes on as before.
        let answer = present(bed, path, ("Bearer", &unbound), None, body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    assert_eq!(world.desk.calls(), 2);
    let entries = bed.entries("decisions").await;
    let issues: Vec<&Value> = entries
        .iter()
        .map(|e| &e["payload"]["issue"])
        .filter(|i| i.is_object())
        .collect();
    assert!(issues.iter().any(|issue| issue["bound"] == "dpop"));
    assert!(issues.iter().any(|issue| issue.get("bound").is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_registration_does_not_say_gets_bound_tokens_only() {
    let world = world().await;
    let (bed, holder) = (&world.bed, Prover::new());
    let client = Client::register_with(bed, "acme", &world.identity, &json!({})).await;
    let refused = credentials(bed, &client, &world.task, None).await;
    refused.refused(400, "invalid_dpop_proof");
    let granted = credentials(bed, &client, &world.task, Some(&holder)).await.ok();
    assert_eq!(granted["token_type"], "DPoP");
    // With a certificate it is that: a key is no substitute for it.
    let certificate = Digest::of(b"a certificate").to_base64url();
    let certified =
        Client::register_with(bed, "acme", &world.identity, &json!({"certificate": certificate})).await;
    for shown in [None, Some(&holder)] {
        let refused = credentials(bed, &certified, &world.task, shown).await;
        refused.refused(400, "invalid_request");
        assert!(
            refused.text().contains("registered with proof `mtls`"),
            "{}",
            refused.text()
        );
    }
    let listed = bed.get("/v1/tenants/acme/clients").await.ok();
    let proof_of = |id: &str| {
        let items = listed["items"].as_array().unwrap();
        items.iter().find(|c| c["client_id"] == id).unwrap()["proof"].clone()
    };
    assert_eq!(
        (proof_of(&client.id), proof_of(&certified.id)),
        (json!("dpop"), json!("mtls"))
    );
    // Whoever can do neither is said to be that.
    let open = Client::register(bed, "acme", &world.identity).await;
    let bearer = credentials(bed, &open, &world.task, None).await.ok();
    assert_eq!(bearer["token_type"], "Bearer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_registered_as_bound_gets_no_other_token() {
    let world = world().await;
    let (bed, holder) = (&world.bed, Prover::new());
    let client = Client::register_with(bed, "acme", &world.identity, &json!({"proof": "dpop"})).await;
    let refused = credentials(bed, &client, &world.task, None).await;
    refused.refused(400, "invalid_dpop_proof");
    assert!(
        refused.text().contains("registered with proof `dpop`"),
        "{}",
        refused.text()
    );
    let granted = credentials(bed, &client, &world.task, Some(&holder)).await.ok();
    assert_eq!(granted["token_type"], "DPoP");
    // An assertion that came without the nonce was not used up.
    let assertion = client.assertion(bed, "acme");
    let parameters = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion.as_str()),
        ("task", world.task.as_str()),
    ];
    let without = holder.proof(bed, "/t/acme/token", "", None, &json!({}));
    let headers = [("content-type", FORM), ("dpop", without.as_str())];
    let answer = bed
        .send("POST", "/t/acme/token", &headers, form(&parameters))
        .await;
    answer.refused(400, "use_dpop_nonce");
    ask(bed, Some(&holder), &parameters).await.ok();
    // Two proofs are none.
    let nonce = nonce(bed).await;
    let proof = || holder.proof(bed, "/t/acme/token", &nonce, None, &json!({}));
    let (one, two, assertion) = (proof(), proof(), client.assertion(bed, "acme"));
    let headers = [
        ("content-type", FORM),
        ("dpop", one.as_str()),
        ("dpop", two.as_str()),
    ];
    let body = form(&[
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", &assertion),
    ]);
    let answer = bed.send("POST", "/t/acme/token", &headers, body).await;
    answer.refused(400, "invalid_dpop_proof");
    let wrong = json!({"identity": world.identity, "jwk": {}, "proof": "ssh"});
    bed.post("/v1/tenants/acme/clients", &wrong)
        .await
        .refused(400, "client.proof");
    let listed = bed.get("/v1/tenants/acme/clients").await.ok();
    let proofs: Vec<&Value> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["proof"])
        .collect();
    assert!(
        proofs.contains(&&json!("dpop")) && proofs.contains(&&json!("none")),
        "{proofs:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_and_introspection_tell_what_a_token_is_bound_to() {
    let world = world().await;
    let (bed, holder) = (&world.bed, Prover::new());
    for path in [
        "/.well-known/oauth-authorization-server/t/acme",
        "/.well-known/oauth-protected-resource/t/acme/mcp/files",
    ] {
        let metadata = bed.send("GET", path, &[], "").await.ok();
        assert_eq!(
            metadata["dpop_signing_alg_values_supported"],
            json!(["ES256", "EdDSA"])
        );
    }
    let nobody = bed
        .send("POST", GATEWAY, &[("content-type", "application/json")], "{}")
        .await;
    let challenges: Vec<&str> = nobody
        .headers
        .get_all("www-authenticate")
        .iter()
        .map(|v| v.to_str().unwrap())
        .collect();
    assert!(challenges[0].starts_with("Bearer "), "{challenges:?}");
    assert!(
        challenges[1].starts_with("DPoP algs=\"ES256 EdDSA\""),
        "{challenges:?}"
    );
    let granted = credentials(bed, &world.client, &world.task, Some(&holder))
        .await
        .ok();
    let token = text(&granted["access_token"]);
    let told = async |path: &str| {
        let assertion = world.client.assertion(bed, "acme");
        let body = form(&[
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", &assertion),
            ("token", &token),
        ]);
        bed.send("POST", path, &[("content-type", FORM)], body).await
    };
    let said = told("/t/acme/introspect").await.ok();
    assert_eq!(
        (&said["active"], &said["token_type"]),
        (&json!(true), &json!("DPoP"))
    );
    assert_eq!(said["cnf"], json!({"jkt": holder.thumbprint()}));
    // Its client ends it without a proof: that only takes rights away.
    assert_eq!(told("/t/acme/revoke").await.status, 200);
    assert_eq!(told("/t/acme/introspect").await.ok(), json!({"active": false}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_asks_for_the_proof_and_keeps_the_bond() {
    let world = world().await;
    let (bed, holder, thief) = (&world.bed, Prover::new(), Prover::new());
    let boss = bed.add_identity("acme", "boss").await;
    let body = json!({
        "identity": boss, "purpose": "July", "can": ["files:echo"], "for_secs": 3600, "may_act": ["worker"],
    });
    let opened = bed.post("/v1/tenants/acme/tasks", &body).await.ok();
    let boss_task = text(&opened["task"]["id"]);
    let boss_client = Client::register(bed, "acme", &boss).await;
    let subject = text(&credentials(bed, &boss_client, &boss_task, None).await.ok()["access_token"]);
    let bound_subject = credentials(bed, &boss_client, &boss_task, Some(&thief))
        .await
        .ok();
    let bound_subject = text(&bound_subject["access_token"]);
    let actor = credentials(bed, &world.client, &world.task, Some(&holder))
        .await
        .ok();
    let actor = text(&actor["access_token"]);
    let plain = text(&credentials(bed, &world.client, &world.task, None).await.ok()["access_token"]);
    let audience = format!("{BASE}/t/acme/mcp");
    let exchange_with = async |subject: &str, actor: &str, prover: Option<&Prover>, more: &[(&str, &str)]| {
        let assertion = world.client.assertion(bed, "acme");
        let mut parameters = vec![
            ("grant_type", EXCHANGE),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
            ("subject_token", subject),
            ("subject_token_type", ACCESS_TOKEN),
            ("actor_token", actor),
            ("actor_token_type", ACCESS_TOKEN),
            ("audience", audience.as_str()),
            ("scope", "files:echo"),
        ];
        parameters.extend_from_slice(more);
        ask(bed, prover, &parameters).await
    };
    let exchange = async |subject: &str, actor: &str, prover: Option<&Prover>| {
        exchange_with(subject, actor, prover, &[]).await
    };
    // The actor token is bound: only its key exchanges it, and only for a token that is bound to it.
    for prover in [None, Some(&thief)] {
        exchange(&subject, &actor, prover)
            .await
            .refused(400, "invalid_request");
    }
    let granted = exchange(&subject, &actor, Some(&holder)).await.ok();
    assert_eq!(granted["token_type"], "DPoP");
    let delegated = text(&granted["access_token"]);
    assert_eq!(claims_of(&delegated)["cnf"]["jkt"], holder.thumbprint());
    let proof = holder.proof(bed, GATEWAY, &nonce(bed).await, Some(&delegated), &json!({}));
    let answer = present(bed, GATEWAY, ("DPoP", &delegated), Some(&proof), &echo())
        .await
        .ok();
    assert!(answer["result"].is_object(), "{answer}");
    // The subject token is bound to a key that the actor does not hold.
    for (actor, prover) in [(&actor, Some(&holder)), (&plain, None), (&plain, Some(&holder))] {
        exchange(&bound_subject, actor, prover)
            .await
            .refused(400, "invalid_request");
    }
    // Its holder hands it on, with a proof for this exchange, and for a token that is bound again.
    let handed = async |prover: &Prover, change: Value, asks: Option<&Prover>| {
        let proof = prover.proof(
            bed,
            "/t/acme/token",
            &nonce(bed).await,
            Some(&bound_subject),
            &change,
        );
        let actor = if asks.is_some() { &actor } else { &plain };
        exchange_with(
            &bound_subject,
            actor,
            asks,
            &[("subject_token_proof", proof.as_str())],
        )
        .await
    };
    for (prover, change, asks) in [
        (&holder, json!({}), Some(&holder)),
        (&thief, json!({"ath": null}), Some(&holder)),
        (&thief, json!({"htu": format!("{BASE}{GATEWAY}")}), Some(&holder)),
        (&thief, json!({}), None),
    ] {
        handed(prover, change, asks).await.refused(400, "invalid_request");
    }
    let granted = handed(&thief, json!({}), Some(&holder)).await.ok();
    let claims = claims_of(&text(&granted["access_token"]));
    assert_eq!(
        (&claims["cnf"]["jkt"], &claims["sub"]),
        (&json!(holder.thumbprint()), &json!(boss))
    );
    // Nothing is bound: as before, or bound to what is shown.
    assert_eq!(
        exchange(&subject, &plain, None).await.ok()["token_type"],
        "Bearer"
    );
    assert_eq!(
        exchange(&subject, &plain, Some(&holder)).await.ok()["token_type"],
        "DPoP"
    );
    let entries = bed.entries("decisions").await;
    for reason in ["exchange.actor-token", "exchange.subject-token", "exchange.proof"] {
        assert!(
            entries.iter().any(|e| e["payload"]["reason"] == reason),
            "no record of {reason}"
        );
    }
}

/// Two nodes with the same keys and the same state, and one node before and after a restart: what the one took, the
/// other does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_one_node_took_is_nothing_to_another() {
    let mut world = world().await;
    let holder = Prover::new();
    let granted = credentials(&world.bed, &world.client, &world.task, Some(&holder))
        .await
        .ok();
    let token = text(&granted["access_token"]);
    world.bed.stop().await;
    let copy = tempfile::tempdir().unwrap();
    copied(&world.bed.data(), &copy.path().join("data"));
    let witness = "data.witness";
    std::fs::copy(world.bed.folder().join(witness), copy.path().join(witness)).unwrap();
    world.bed.run().await;
    let mut second = Bed::adopt(copy.path(), world.bed.operator.clone(), |_| {}).await;
    let first = &world.bed;
    let proof = holder.proof(first, GATEWAY, &nonce(first).await, Some(&token), &json!({}));
    let answer = present(first, GATEWAY, ("DPoP", &token), Some(&proof), &echo())
        .await
        .ok();
    assert!(answer["result"].is_object(), "{answer}");
    let elsewhere = present(&second, GATEWAY, ("DPoP", &token), Some(&proof), &echo()).await;
    elsewhere.refused(401, "dpop.nonce");
    // The token is one there as well, with a proof of its own.
    let own = holder.proof(&second, GATEWAY, &nonce(&second).await, Some(&token), &json!({}));
    let answer = present(&second, GATEWAY, ("DPoP", &token), Some(&own), &echo())
        .await
        .ok();
    assert!(answer["result"].is_object(), "{answer}");
    second.restart().await;
    let after = present(&second, GATEWAY, ("DPoP", &token), Some(&own), &echo()).await;
    after.refused(401, "dpop.nonce");
    second.stop().await;
}

fn copied(from: &std::path::Path, to: &std::path::Path) {
    use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
    std::fs::DirBuilder::new().mode(0o700).create(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, target) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copied(&entry.path(), &target);
        } else if !kind.is_socket() {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_ends_and_the_next_is_in_every_answer() {
    let world = world().await;
    let (bed, holder) = (&world.bed, Prover::new());
    let granted = credentials(bed, &world.client, &world.task, Some(&holder)).await;
    let given = granted.header("dpop-nonce").to_owned();
    let token = text(&granted.ok()["access_token"]);
    let call = async |nonce: &str| {
        let proof = holder.proof(bed, GATEWAY, nonce, Some(&token), &json!({}));
        present(bed, GATEWAY, ("DPoP", &token), Some(&proof), &echo()).await
    };
    let answer = call(&given).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("dpop-nonce"), given);
    bed.clock.advance(Duration::from_secs(250));
    crate::bed::until("fresh word from the store", || async {
        let challenged = call(&given).await;
        challenged.refused(401, "dpop.nonce");
        let answer = call(challenged.header("dpop-nonce")).await;
        answer.status == 200 && answer.header("dpop-nonce") == challenged.header("dpop-nonce")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_and_a_refresh_token_of_a_key_issue_nothing_without_it_and_the_refusal_is_recorded() {
    use crate::consenting;
    let world = consenting::world().await;
    let bed = &world.bed;
    let (holder, thief) = (Prover::new(), Prover::new());
    let thumbprint = holder.thumbprint();
    let bad = consenting::authorize(bed, &consenting::query(&world.client, &[("dpop_jkt", "x")])).await;
    assert_eq!(consenting::returned(&bad).1["error"], "invalid_request");
    let sent = consenting::query(&world.client, &[("dpop_jkt", &thumbprint)]);
    let page = consenting::Page::begin(bed, &sent).await;
    let allowed = consenting::allow(bed, &page.code, &world.task).await.ok();
    let word = allowed["word"].as_str().unwrap();
    let code = consenting::returned(&page.word(bed, word).await).1["code"].clone();
    let redeem = [
        ("grant_type", "authorization_code"),
        ("client_id", world.client.as_str()),
        ("code", code.as_str()),
        ("redirect_uri", consenting::REDIRECT),
        ("code_verifier", consenting::VERIFIER),
    ];
    let issued = async || {
        let entries = bed.entries("decisions").await;
        let permits = entries.iter().filter(|e| e["payload"]["issue"].is_object());
        (
            permits.count(),
            Value::Array(entries)
                .to_string()
                .matches("exchange.proof")
                .count(),
        )
    };
    let before = issued().await;
    for prover in [None, Some(&thief)] {
        ask(bed, prover, &redeem).await.refused(400, "invalid_grant");
    }
    let after = issued().await;
    assert_eq!(after.0, before.0, "nothing was issued");
    assert!(after.1 >= before.1 + 2, "{after:?}");
    let tokens = ask(bed, Some(&holder), &redeem).await.ok();
    let refresh = [
        ("grant_type", "refresh_token"),
        ("client_id", world.client.as_str()),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
    ];
    let before = issued().await;
    for prover in [None, Some(&thief)] {
        ask(bed, prover, &refresh).await.refused(400, "invalid_grant");
    }
    let after = issued().await;
    assert_eq!(after.0, before.0, "nothing was issued");
    assert!(after.1 >= before.1 + 2, "{after:?}");
    ask(bed, Some(&holder), &refresh).await.ok();
}
