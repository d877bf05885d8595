//! Tokens that nobody issued, at every door that takes one.

use std::collections::BTreeMap;
use std::time::Duration;

use bailiwick_vectors as vectors;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::bed::{Answer, BASE, Bed, claims_of, modern, sign};
use crate::desk::Desk;

struct World {
    bed: Bed,
    desk: Desk,
    identity: String,
    task: String,
    token: String,
}

async fn world_of(algorithm: &str) -> World {
    let bed = Bed::start().await;
    let desk = Desk::open().await;
    let tenant = json!({"tenant": "acme", "name": "Acme", "employees": 7, "algorithm": algorithm});
    bed.post("/v1/tenants", &tenant).await.ok();
    let (identity, task, token) = bed.add_worker(&desk, &["files:echo", "authzen:evaluate"]).await;
    World {
        bed,
        desk,
        identity,
        task,
        token,
    }
}

impl World {
    /// The answers of every door to one token.
    async fn everywhere(&self, token: &[u8]) -> Vec<(&'static str, Answer)> {
        let bearer = [b"Bearer ", token].concat();
        let renew = format!("/v1/tenants/acme/tasks/{}/tokens", self.task);
        let question = json!({
            "subject": {"type": "identity", "id": self.identity}, "action": {"name": "read"},
            "resource": {"type": "document", "id": "1"},
        });
        let call = modern("tools/call", json!({"name": "echo", "arguments": {}}));
        let doors = [
            ("gateway", "/t/acme/mcp/files", call),
            ("evaluation", "/access/v1/evaluation", question.clone()),
            (
                "evaluation of the tenant",
                "/t/acme/access/v1/evaluation",
                question,
            ),
            ("renewal", renew.as_str(), json!({"count": 1})),
        ];
        let mut out = Vec::new();
        for (title, path, body) in doors {
            let headers: [(&str, &[u8]); 6] = [
                ("authorization", &bearer),
                ("content-type", b"application/json"),
                ("accept", b"application/json, text/event-stream"),
                ("mcp-protocol-version", b"2026-07-28"),
                ("mcp-method", b"tools/call"),
                ("mcp-name", b"echo"),
            ];
            out.push((
                title,
                self.bed
                    .send_bytes("POST", path, &headers, body.to_string())
                    .await,
            ));
        }
        out
    }

    async fn refused(&self, what: &str, token: impl AsRef<[u8]>) {
        let token = token.as_ref();
        for (door, answer) in self.everywhere(token).await {
            // A token that names another task renews nothing here: the task is not its own.
            let elsewhere = door == "renewal" && answer.status == 404;
            assert!(
                answer.status == 401 || elsewhere,
                "{what} at {door}: {} {}",
                answer.status,
                answer.text()
            );
            let text = String::from_utf8_lossy(token).into_owned();
            let signature = text.rsplit('.').next().unwrap_or_default();
            assert!(
                signature.len() < 20 || !answer.text().contains(signature),
                "{what} is echoed at {door}"
            );
        }
    }

    async fn taken(&self, token: &str) {
        for (door, answer) in self.everywhere(token.as_bytes()).await {
            assert_eq!(answer.status, 200, "{door}: {}", answer.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_class_of_the_forged_tokens_is_refused_at_every_door() {
    let Some(folder) = vectors::folder("jwt-forgery") else {
        return;
    };
    let world = world_of("ES256").await;
    world.taken(&world.token).await;
    let counts: BTreeMap<String, usize> =
        serde_json::from_slice(&std::fs::read(folder.join("counts.json")).unwrap()).unwrap();
    let mut sampled: BTreeMap<String, usize> = BTreeMap::new();
    let cases = std::fs::read_to_string(folder.join("cases.jsonl")).unwrap();
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let (class, token) = (case["class"].as_str().unwrap(), case["token"].as_str().unwrap());
        let sendable = http::HeaderValue::from_bytes(token.as_bytes()).is_ok() && token.len() < 30_000;
        let seen = sampled.entry(class.to_owned()).or_default();
        if case["expect"] != "reject" || *seen == 2 || !sendable || token.trim().is_empty() {
            continue;
        }
        *seen += 1;
        world.refused(class, token).await;
    }
    for class in counts.keys().filter(|c| c.as_str() != "control") {
        assert!(
            sampled.get(class).is_some_and(|n| *n > 0),
            "no case of `{class}` was sent"
        );
    }
    println!(
        "jwt-forgery classes over HTTP: {}/{}",
        counts.len() - 1,
        counts.len() - 1
    );
    assert_eq!(
        world.desk.calls(),
        1,
        "only the real token reached the upstream server"
    );
}

/// Our own token, spoilt in one way each: what is refused here would have been taken otherwise.
fn spoilt(world: &World) -> Vec<(String, String)> {
    let token = &world.token;
    let (head, claims, signature) = {
        let mut parts = token.split('.');
        (
            parts.next().unwrap(),
            parts.next().unwrap(),
            parts.next().unwrap(),
        )
    };
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap();
    let coded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let with_header = |change: &dyn Fn(&mut Value)| {
        let mut changed = header.clone();
        change(&mut changed);
        format!("{}.{claims}.{signature}", coded(&changed))
    };
    let with_claims = |change: &dyn Fn(&mut Value)| {
        let mut changed = claims_of(token);
        change(&mut changed);
        format!("{head}.{}.{signature}", coded(&changed))
    };
    let mut all = vec![
        ("payload swapped", with_claims(&|c| c["scope"] = json!("files:*"))),
        ("no algorithm", with_header(&|h| h["alg"] = json!("none"))),
        ("another algorithm", with_header(&|h| h["alg"] = json!("HS256"))),
        ("another key", with_header(&|h| h["kid"] = json!("other"))),
        (
            "a key of its own",
            with_header(&|h| h["jwk"] = json!({"kty": "OKP"})),
        ),
        ("critical", with_header(&|h| h["crit"] = json!(["x"]))),
        ("no signature", format!("{head}.{claims}.")),
        ("cut", token[..token.len() - 3].to_owned()),
        ("padded", format!("{token}=")),
        ("four parts", format!("{token}.x")),
        ("two parts", format!("{head}.{claims}")),
        ("blank inside", token.replacen('.', ". ", 1)),
        ("lower case", token.to_ascii_lowercase()),
        ("oversized", format!("{token}{}", "A".repeat(16 * 1024))),
    ]
    .into_iter()
    .map(|(title, text)| (title.to_owned(), text))
    .collect::<Vec<_>>();
    let alone = sign(&[7; 32], &header.to_string(), &claims_of(token).to_string());
    all.push(("a stranger's signature".to_owned(), alone));
    all
}

/// Claims under the tenant's real key: the signature holds, and the token must be refused all the same.
fn signed(world: &World) -> Vec<(String, String)> {
    let now = world.bed.now();
    type Change = Box<dyn Fn(&mut Value)>;
    let set = |name: &'static str, value: Value| -> Change { Box::new(move |c| c[name] = value.clone()) };
    let drop = |name: &'static str| -> Change {
        Box::new(move |c| {
            c.as_object_mut().unwrap().remove(name);
        })
    };
    let mut changes: Vec<(String, Change)> = vec![
        ("sender-constrained".to_owned(), set("cnf", json!({"jkt": "x"}))),
        ("a null confirmation".to_owned(), set("cnf", Value::Null)),
        ("expired".to_owned(), set("exp", json!(now - 31))),
        ("not yet issued".to_owned(), set("iat", json!(now + 600))),
        ("not yet valid".to_owned(), set("nbf", json!(now + 600))),
        ("too long-lived".to_owned(), set("exp", json!(now + 7_200))),
        ("a float as expiry".to_owned(), set("exp", json!(1.5))),
        ("text as expiry".to_owned(), set("exp", json!("2099"))),
        (
            "another audience".to_owned(),
            set("aud", json!("https://elsewhere.example/t/acme/mcp")),
        ),
        (
            "the issuer as audience".to_owned(),
            set("aud", json!(format!("{BASE}/t/acme"))),
        ),
        (
            "two audiences".to_owned(),
            set("aud", json!([format!("{BASE}/t/acme/mcp"), "x"])),
        ),
        (
            "another issuer".to_owned(),
            set("iss", json!("https://elsewhere.example/t/acme")),
        ),
        (
            "another tenant's issuer".to_owned(),
            set("iss", json!(format!("{BASE}/t/globex"))),
        ),
        ("another tenant".to_owned(), set("tenant", json!("globex"))),
        (
            "an epoch from the future".to_owned(),
            set("epoch", json!(1_000_000)),
        ),
        ("a negative epoch".to_owned(), set("epoch", json!(-1))),
        (
            "nobody".to_owned(),
            set("nhi", json!("idn_aaaaaaaaaaaaaaaaaaaaaaaaaa")),
        ),
        (
            "no task of anybody".to_owned(),
            set("task", json!("tsk_aaaaaaaaaaaaaaaaaaaaaaaaaa")),
        ),
    ];
    for claim in [
        "iss",
        "aud",
        "exp",
        "iat",
        "jti",
        "sub",
        "client_id",
        "tenant",
        "nhi",
        "task",
        "epoch",
    ] {
        changes.push((format!("no {claim}"), drop(claim)));
    }
    let tenant = bailiwick_base::TenantId::parse("acme").unwrap();
    let signer = world.bed.keyring().signer(&tenant).unwrap();
    let mut out: Vec<(String, String)> = changes
        .into_iter()
        .map(|(title, change)| {
            let mut claims = claims_of(&world.token);
            change(&mut claims);
            let text = bailiwick_keys::jws::encode(&signer, "at+jwt", claims.to_string().as_bytes()).unwrap();
            (title, text)
        })
        .collect();
    let claims = claims_of(&world.token).to_string();
    for typ in [
        "JWT",
        "id_token",
        "logout+jwt",
        "client-authentication+jwt",
        "dpop+jwt",
        "",
    ] {
        let text = bailiwick_keys::jws::encode(&signer, typ, claims.as_bytes()).unwrap();
        out.push((format!("of type `{typ}`"), text));
    }
    let twice = claims.replacen('{', "{\"jti\":\"x\",", 1);
    let text = bailiwick_keys::jws::encode(&signer, "at+jwt", twice.as_bytes()).unwrap();
    out.push(("a claim twice".to_owned(), text));
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_token_spoilt_in_any_one_way_is_refused_at_every_door() {
    for algorithm in ["EdDSA", "ES256"] {
        let world = world_of(algorithm).await;
        world.taken(&world.token).await;
        world
            .taken(&world.bed.resigned("acme", &world.token, |_| {}))
            .await;
        for (title, token) in spoilt(&world).into_iter().chain(signed(&world)) {
            world.refused(&format!("{algorithm}: {title}"), token).await;
        }
        // A verified token that is remembered does not help a forged one.
        world.taken(&world.token).await;
        assert_eq!(world.desk.calls(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_tenant_is_refused_whatever_it_was_issued_for() {
    let world = world_of("EdDSA").await;
    let bed = &world.bed;
    bed.add_tenant("globex").await;
    bed.add_server("globex", "files", &world.desk).await;
    let stranger = bed.add_identity("globex", "worker").await;
    let (_, token) = bed
        .open_task("globex", &stranger, &["files:echo", "authzen:evaluate"])
        .await;
    for (door, answer) in world.everywhere(token.as_bytes()).await {
        // Without a tenant in the path the token alone says which one is meant: its own.
        let expected = if door == "evaluation" { 200 } else { 401 };
        assert_eq!(answer.status, expected, "{door}: {}", answer.text());
    }
    assert_eq!(world.desk.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_dies_with_whatever_it_came_from_and_stays_dead_over_a_restart() {
    for way in [
        "token", "task", "identity", "owner", "issuer", "tenant", "close", "expiry",
    ] {
        let mut world = world_of("EdDSA").await;
        world.taken(&world.token).await;
        let jti = claims_of(&world.token)["jti"].as_str().unwrap().to_owned();
        let kill = |scope: &str, name: &str| json!({"scope": scope, "name": name, "reason": "a drill", "break_glass": true});
        let (path, body) = match way {
            "token" => ("kill", kill(way, &jti)),
            "task" => ("kill", kill(way, &world.task)),
            "identity" => ("kill", kill(way, &world.identity)),
            "owner" => ("kill", kill(way, "finance")),
            "issuer" => ("kill", kill(way, &format!("{BASE}/t/acme"))),
            "tenant" => ("kill", kill(way, "acme")),
            "close" => (&*format!("tasks/{}/close", world.task).leak(), json!({})),
            _ => ("", json!({})),
        };
        if way == "expiry" {
            world.bed.clock.advance(Duration::from_secs(331));
        } else {
            world
                .bed
                .post(&format!("/v1/tenants/acme/{path}"), &body)
                .await
                .ok();
        }
        world.refused(way, &world.token).await;
        world.bed.restart().await;
        world
            .refused(&format!("{way}, after a restart"), &world.token)
            .await;
        assert_eq!(world.desk.calls(), 1);
    }
}
