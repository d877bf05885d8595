//! Enforcement points elsewhere, from the node's side: one that speaks the protocol over HTTP and decides nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use bailiwick_audit::note::NoteVerifier;
use bailiwick_base::{Digest, PublicKey};
use bailiwick_server::operator::idempotency_key;
use bailiwick_snapshot::{Told, read_body, verify_snapshot, verify_told};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::bed::{Answer, BASE, Bed, sign, until};

const JSON: (&str, &str) = ("content-type", "application/json");

fn public_of(seed: &[u8; 32]) -> [u8; 32] {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).unwrap();
    pair.public_key().as_ref().try_into().unwrap()
}

/// Speaks as a sidecar does.
struct Fake {
    name: String,
    seed: [u8; 32],
    log_seed: [u8; 32],
    snapshot_key: PublicKey,
    beat: AtomicU64,
}

impl Fake {
    fn origin(name: &str) -> String {
        format!("bailiwick.test/decisions/{name}")
    }

    fn asking(name: &str, token: &str, seed: &[u8; 32], log_seed: &[u8; 32]) -> Value {
        let vkey = NoteVerifier::new(&Self::origin(name), public_of(log_seed))
            .unwrap()
            .vkey();
        json!({"sidecar": name, "token": token, "key": URL_SAFE_NO_PAD.encode(public_of(seed)), "vkey": vkey})
    }

    /// Invited and joined.
    async fn join(bed: &Bed, name: &str, tenants: &[&str]) -> Self {
        let invited = bed
            .post("/v1/sidecars", &json!({"sidecar": name, "tenants": tenants}))
            .await
            .ok();
        let seed = Digest::of(name.as_bytes()).0;
        let log_seed = Digest::of(format!("log of {name}").as_bytes()).0;
        let asked = Self::asking(name, invited["token"].as_str().unwrap(), &seed, &log_seed);
        let joined = bed
            .send("POST", "/v1/sidecars/join", &[JSON], asked.to_string())
            .await
            .ok();
        assert_eq!(
            (&joined["base_url"], &joined["tenants"]),
            (&json!(BASE), &json!(tenants))
        );
        let key = URL_SAFE_NO_PAD
            .decode(joined["snapshot_key"].as_str().unwrap())
            .unwrap();
        Self {
            name: name.to_owned(),
            seed,
            log_seed,
            snapshot_key: PublicKey::ed25519(key.try_into().unwrap()).unwrap(),
            beat: AtomicU64::new(0),
        }
    }

    fn signed(&self, bed: &Bed, jti: &str, body: &str) -> String {
        let header = json!({"alg": "EdDSA", "typ": "bailiwick-sidecar+jwt"});
        let claims = json!({
            "iss": self.name, "aud": BASE, "iat": bed.now(), "exp": bed.now() + 60, "jti": jti,
            "body": Digest::of(body.as_bytes()).to_string(),
        });
        sign(&self.seed, &header.to_string(), &claims.to_string())
    }

    async fn send(&self, bed: &Bed, token: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let path = format!("/v1/sidecars/{}/word", self.name);
        bed.send(
            "POST",
            &path,
            &[JSON, ("authorization", &bearer)],
            body.to_owned(),
        )
        .await
    }

    fn word(&self, held: (u64, u64), more: &Value) -> Value {
        let beat = self.beat.fetch_add(1, Ordering::SeqCst) + 1;
        let mut said = json!({
            "beat": beat, "process": "one", "epoch": held.0, "position": held.1, "wait_ms": 0, "leaves": false,
        });
        for (name, value) in more.as_object().unwrap() {
            said[name] = value.clone();
        }
        said
    }

    async fn say(&self, bed: &Bed, held: (u64, u64), more: Value) -> Answer {
        let body = self.word(held, &more).to_string();
        let token = self.signed(bed, &idempotency_key().unwrap(), &body);
        self.send(bed, &token, &body).await
    }

    /// The same, with what a sidecar looks at before it believes an answer.
    async fn heard(&self, bed: &Bed, held: (u64, u64), more: Value) -> ((u64, u64), Option<String>) {
        let told = self.say(bed, held, more).await.ok();
        let (epoch, position) = (
            told["epoch"].as_u64().unwrap(),
            told["position"].as_u64().unwrap(),
        );
        let body = told["snapshot"]["body"].as_str();
        let said = Told {
            sidecar: &self.name,
            beat: self.beat.load(Ordering::SeqCst),
            epoch,
            position,
            body,
        };
        verify_told(&said, told["signature"].as_str().unwrap(), &self.snapshot_key).unwrap();
        if let Some(body) = body {
            let signature = told["snapshot"]["signature"].as_str().unwrap();
            verify_snapshot(body, signature, &self.snapshot_key).unwrap();
            let read = read_body(body).unwrap();
            assert_eq!((read.epoch.0, read.position.0), (epoch, position));
            assert_eq!(read.heading.sidecar.as_str(), self.name);
        }
        ((epoch, position), body.map(str::to_owned))
    }

    /// The checkpoint of a log of `size` entries with `root`.
    fn checkpoint(&self, size: u64, root: u8) -> String {
        let origin = Self::origin(&self.name);
        let text = format!("{origin}\n{size}\n{}\n", STANDARD.encode([root; 32]));
        let verifier = NoteVerifier::new(&origin, public_of(&self.log_seed)).unwrap();
        let pair = Ed25519KeyPair::from_seed_unchecked(&self.log_seed).unwrap();
        let mut signature = verifier.key_id().to_be_bytes().to_vec();
        signature.extend_from_slice(pair.sign(text.as_bytes()).as_ref());
        format!("{text}\n\u{2014} {origin} {}\n", STANDARD.encode(signature))
    }
}

async fn identity_kill(bed: &Bed, identity: &str) -> Value {
    let body = json!({"scope": "identity", "name": identity, "reason": "a drill"});
    bed.post("/v1/tenants/acme/kill", &body).await.ok()
}

fn line<'a>(receipt: &'a Value, name: &str) -> &'a Value {
    let lines = receipt["nodes"]
        .as_array()
        .unwrap_or_else(|| panic!("no lines: {receipt}"));
    lines
        .iter()
        .find(|line| line["node"] == name)
        .unwrap_or_else(|| panic!("no line of {name}: {receipt}"))
}

async fn sidecar(bed: &Bed, name: &str) -> Value {
    let all = bed.get("/v1/sidecars").await.ok();
    let items = all["items"].as_array().unwrap();
    items.iter().find(|s| s["sidecar"] == name).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_lets_one_sidecar_in_once() {
    let bed = Bed::start().await;
    bed.add_tenant("acme").await;
    for (body, code) in [
        (json!({"sidecar": "shop-1", "tenants": []}), "sidecar.tenants"),
        (json!({"sidecar": "No Name", "tenants": ["acme"]}), "sidecar.name"),
    ] {
        bed.post("/v1/sidecars", &body).await.refused(400, code);
    }
    bed.post("/v1/sidecars", &json!({"sidecar": "s1", "tenants": ["nobody"]}))
        .await
        .refused(404, "request.not-found");
    let node = bed.get("/v1/nodes").await.ok()["items"][0]["node"].clone();
    bed.post("/v1/sidecars", &json!({"sidecar": node, "tenants": ["acme"]}))
        .await
        .refused(409, "sidecar.exists");
    let invited = bed
        .post("/v1/sidecars", &json!({"sidecar": "s1", "tenants": ["acme"]}))
        .await
        .ok();
    let token = invited["token"].as_str().unwrap();
    assert!(token.starts_with("bwside_"));
    assert_eq!(sidecar(&bed, "s1").await["standing"], "invited");
    let join = |body: Value| {
        let bed = &bed;
        async move {
            bed.send("POST", "/v1/sidecars/join", &[JSON], body.to_string())
                .await
        }
    };
    let (seed, log_seed) = ([7; 32], [8; 32]);
    let good = Fake::asking("s1", token, &seed, &log_seed);
    join(Fake::asking("s1", "bwside_x", &seed, &log_seed))
        .await
        .refused(401, "sidecar.token");
    join(Fake::asking("s2", token, &seed, &log_seed))
        .await
        .refused(401, "sidecar.token");
    let mut other = good.clone();
    other["vkey"] = Fake::asking("s2", token, &seed, &log_seed)["vkey"].clone();
    join(other).await.refused(400, "sidecar.vkey");
    let mut weak = good.clone();
    weak["key"] = json!(URL_SAFE_NO_PAD.encode([0; 32]));
    join(weak).await.refused(400, "sidecar.public-key");
    join(good.clone()).await.ok();
    join(good).await.refused(401, "sidecar.token");
    bed.post("/v1/sidecars", &json!({"sidecar": "s1", "tenants": ["acme"]}))
        .await
        .refused(409, "sidecar.exists");
    let late = bed
        .post("/v1/sidecars", &json!({"sidecar": "s3", "tenants": ["acme"]}))
        .await
        .ok();
    bed.clock.advance(Duration::from_secs(601));
    join(Fake::asking(
        "s3",
        late["token"].as_str().unwrap(),
        &seed,
        &log_seed,
    ))
    .await
    .refused(401, "sidecar.token");
    let kinds: Vec<Value> = bed
        .entries("state")
        .await
        .iter()
        .map(|e| e["leaf"]["kind"].clone())
        .collect();
    assert!(kinds.contains(&json!("state.sidecar.invite")) && kinds.contains(&json!("state.sidecar.join")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_counts_once_from_its_own_sidecar_alone() {
    let bed = Bed::start().await;
    bed.add_tenant("acme").await;
    let fake = Fake::join(&bed, "s1", &["acme"]).await;
    let other = Fake::join(&bed, "s2", &["acme"]).await;
    let body = fake.word((0, 0), &json!({})).to_string();
    let token = fake.signed(&bed, "jti-one", &body);
    let altered = fake.word((9, 9), &json!({})).to_string();
    fake.send(&bed, &fake.signed(&bed, "jti-two", &body), &altered)
        .await
        .refused(401, "sidecar.word");
    fake.send(&bed, &token, &body).await.ok();
    fake.send(&bed, &token, &body).await.refused(401, "sidecar.word");
    // A number that does not rise, in a word that was signed anew.
    fake.send(&bed, &fake.signed(&bed, "jti-three", &body), &body)
        .await
        .refused(409, "sidecar.beat");
    let own = other.word((0, 0), &json!({})).to_string();
    fake.send(&bed, &other.signed(&bed, "jti-four", &own), &own)
        .await
        .refused(401, "sidecar.word");
    let mut stranger = Fake::join(&bed, "s3", &["acme"]).await;
    stranger.seed = [9; 32];
    stranger
        .say(&bed, (0, 0), json!({}))
        .await
        .refused(401, "sidecar.word");
    let session = bed.session();
    fake.send(&bed, &session, &body)
        .await
        .refused(401, "sidecar.word");
    // What it signed for a word is no session of an operator.
    let bearer = format!("Bearer {}", fake.signed(&bed, "jti-five", ""));
    let listed = bed
        .send("GET", "/v1/sidecars", &[("authorization", &bearer)], "")
        .await;
    listed.refused(401, "session.invalid");
    let unknown = bed
        .send(
            "POST",
            "/v1/sidecars/nobody/word",
            &[JSON, ("authorization", &bearer)],
            body,
        )
        .await;
    unknown.refused(401, "sidecar.word");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_holds_the_facts_of_its_tenants_and_of_nobody_else() {
    let bed = Bed::start().await;
    bed.add_tenant("acme").await;
    bed.add_tenant("globex").await;
    let ours = bed.add_identity("acme", "worker").await;
    let theirs = bed.add_identity("globex", "worker").await;
    bed.kill("globex", "identity", &theirs).await.ok();
    let fake = Fake::join(&bed, "s1", &["acme"]).await;
    let (held, body) = fake.heard(&bed, (0, 0), json!({})).await;
    let body = body.expect("what is held is older");
    assert!(
        body.contains(&ours) && !body.contains("globex") && !body.contains(&theirs),
        "{body}"
    );
    assert_eq!(held.0, 1, "the epoch is everybody's");
    let read = read_body(&body).unwrap();
    assert!(!read.keys.is_empty(), "the public keys of its issuer");
    // What does not concern it brings nothing; what does, brings all of it.
    bed.add_identity("globex", "second").await;
    let (held, none) = fake.heard(&bed, held, json!({})).await;
    assert!(none.is_none());
    let third = bed.add_identity("acme", "third").await;
    let (held, some) = fake.heard(&bed, held, json!({})).await;
    assert!(some.is_some_and(|body| body.contains(&third)));
    // Whoever waits is told at once.
    let waiting = fake.heard(&bed, held, json!({"wait_ms": 1_600}));
    let adding = async {
        crate::pause(Duration::from_millis(200)).await;
        bed.add_identity("acme", "fourth").await
    };
    let ((_, some), fourth) = tokio::join!(waiting, adding);
    assert!(some.is_some_and(|body| body.contains(&fourth)));
    // Whoever holds more than this node is not told that it is current.
    fake.say(&bed, (held.0 + 5, held.1), json!({}))
        .await
        .refused(409, "sidecar.ahead");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_waits_for_a_sidecar_that_hears_here() {
    let bed = Bed::start().await;
    bed.add_tenant("acme").await;
    let (one, two, three) = (
        bed.add_identity("acme", "one").await,
        bed.add_identity("acme", "two").await,
        bed.add_identity("acme", "three").await,
    );
    let fake = Fake::join(&bed, "s1", &["acme"]).await;
    let alone = identity_kill(&bed, &one).await;
    assert!(
        alone["contained_us"].as_u64().unwrap() < 1_000_000,
        "nobody was ever told anything: {alone}"
    );
    let (held, _) = fake.heard(&bed, (0, 0), json!({})).await;
    // It takes 300 ms to say that it holds the stop.
    let listening = async {
        let (held, body) = fake.heard(&bed, held, json!({"wait_ms": 1_600})).await;
        assert!(body.is_some(), "the stop");
        crate::pause(Duration::from_millis(300)).await;
        fake.heard(&bed, held, json!({})).await.0
    };
    let (held, receipt) = tokio::join!(listening, identity_kill(&bed, &two));
    let own = line(&receipt, "s1");
    assert_eq!(
        (&own["end"], own["at"].is_string()),
        (&json!("acknowledged"), true),
        "{receipt}"
    );
    let after = own["after_us"].as_u64().unwrap();
    assert!(
        (300_000..4_000_000).contains(&after) && receipt["contained_us"].as_u64().unwrap() >= after,
        "{receipt}"
    );
    let ready = bed.send("GET", "/readyz", &[], "").await.json();
    assert_eq!(
        (&ready["sidecars"], &ready["silent_sidecars"]),
        (&json!(1), &json!(0))
    );
    // One that leaves is waited for no longer.
    fake.say(&bed, held, json!({"leaves": true})).await.ok();
    assert_eq!(sidecar(&bed, "s1").await["standing"], "left");
    let receipt = identity_kill(&bed, &three).await;
    assert_eq!(line(&receipt, "s1")["end"], "left", "{receipt}");
    assert!(receipt["contained_us"].as_u64().unwrap() < 1_000_000, "{receipt}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_sidecar_lapses_and_stays_in_the_residue_until_it_comes() {
    let bed = Bed::start_with(|config| {
        (config.freshness.warn_secs, config.freshness.refuse_secs) = (1, 2);
    })
    .await;
    bed.add_tenant("acme").await;
    bed.add_tenant("globex").await;
    let identity = bed.add_identity("acme", "worker").await;
    let elsewhere = bed.add_identity("globex", "worker").await;
    let fake = Fake::join(&bed, "s1", &["acme"]).await;
    fake.heard(&bed, (0, 0), json!({})).await;
    let others = bed.kill("globex", "identity", &elsewhere).await.ok();
    assert!(
        others["contained_us"].as_u64().unwrap() < 1_000_000,
        "it is not theirs: {others}"
    );
    fake.heard(&bed, (0, 0), json!({})).await;
    let receipt = identity_kill(&bed, &identity).await;
    let own = line(&receipt, "s1");
    assert_eq!(own["end"], "lapsed", "{receipt}");
    assert!(
        (1_000_000..3_100_000).contains(&own["after_us"].as_u64().unwrap()),
        "{receipt}"
    );
    let path = format!("/v1/tenants/acme/kills/{}", receipt["receipt"]);
    let residue = |receipt: &Value| {
        let all = receipt["body"]["residue"]
            .as_array()
            .or(receipt["residue"].as_array())
            .unwrap()
            .clone();
        all.into_iter()
            .filter(|item| item["kind"] == "sidecar")
            .collect::<Vec<Value>>()
    };
    until("the residue to name it", || async {
        let kept = bed.get(&path).await.ok();
        residue(&kept)
            .iter()
            .any(|item| item["id"] == "s1" && item["closed_at"].is_null())
    })
    .await;
    until("it to be silent", || async {
        sidecar(&bed, "s1").await["standing"] == "silent"
    })
    .await;
    until("health to tell", || async {
        bed.send("GET", "/readyz", &[], "").await.json()["silent_sidecars"] == 1
    })
    .await;
    let (held, _) = fake.heard(&bed, (0, 0), json!({})).await;
    fake.heard(&bed, held, json!({})).await;
    bed.clock.advance(Duration::from_secs(5));
    until("the residue to close", || async {
        fake.say(&bed, held, json!({})).await;
        let kept = bed.get(&path).await.ok();
        residue(&kept).iter().all(|item| item["closed_at"].is_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_sidecar_is_told_nothing_and_waited_for_once() {
    let bed = Bed::start_with(|config| {
        (config.freshness.warn_secs, config.freshness.refuse_secs) = (1, 2);
    })
    .await;
    bed.add_tenant("acme").await;
    let (one, two) = (
        bed.add_identity("acme", "one").await,
        bed.add_identity("acme", "two").await,
    );
    let fake = Fake::join(&bed, "s1", &["acme"]).await;
    bed.post("/v1/sidecars/s1/remove", &json!({"reason": ""}))
        .await
        .refused(400, "sidecar.reason");
    bed.post("/v1/sidecars/nobody/remove", &json!({"reason": "typo"}))
        .await
        .refused(404, "request.not-found");
    let (held, _) = fake.heard(&bed, (0, 0), json!({})).await;
    // Also the word that waits is answered by a refusal.
    let waiting = fake.say(&bed, held, json!({"wait_ms": 600}));
    let removing = async {
        crate::pause(Duration::from_millis(100)).await;
        bed.post(
            "/v1/sidecars/s1/remove",
            &json!({"reason": "its machine is gone"}),
        )
        .await
        .ok()
    };
    let (refused, _) = tokio::join!(waiting, removing);
    refused.refused(401, "sidecar.removed");
    fake.say(&bed, held, json!({}))
        .await
        .refused(401, "sidecar.removed");
    assert_eq!(sidecar(&bed, "s1").await["standing"], "removed");
    let receipt = identity_kill(&bed, &one).await;
    assert!(
        receipt["contained_us"].as_u64().unwrap() > 500_000,
        "its lease ran: {receipt}"
    );
    let receipt = identity_kill(&bed, &two).await;
    assert!(
        receipt["contained_us"].as_u64().unwrap() < 1_000_000,
        "once: {receipt}"
    );
    bed.post("/v1/sidecars", &json!({"sidecar": "s1", "tenants": ["acme"]}))
        .await
        .refused(409, "sidecar.exists");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_sidecar_is_anchored_and_never_goes_back() {
    let mut bed = Bed::start().await;
    bed.add_tenant("acme").await;
    let fake = Fake::join(&bed, "s1", &["acme"]).await;
    let shown = |note: String| json!({ "checkpoint": note });
    let (held, _) = fake.heard(&bed, (0, 0), shown(fake.checkpoint(7, 1))).await;
    until("it to be anchored", || async {
        sidecar(&bed, "s1").await["log_size"] == 7
    })
    .await;
    let back = |note: String| fake.say(&bed, held, shown(note));
    back(fake.checkpoint(6, 1)).await.refused(409, "sidecar.log-back");
    back(fake.checkpoint(7, 2)).await.refused(409, "sidecar.log-back");
    back(fake.checkpoint(7, 1)).await.ok();
    let forged = fake.checkpoint(8, 1).replace("\n8\n", "\n9\n");
    back(forged).await.refused(400, "sidecar.checkpoint");
    let entries = bed.entries("state").await;
    let anchors: Vec<&Value> = entries
        .iter()
        .filter(|e| e["leaf"]["kind"] == "state.sidecar.anchor")
        .collect();
    assert_eq!(
        (anchors.len(), &anchors[0]["payload"]["detail"]["size"]),
        (1, &json!(7))
    );
    // After a start it is known from the row, as is the number of the last word.
    bed.restart().await;
    let back = |note: String| fake.say(&bed, held, shown(note));
    back(fake.checkpoint(6, 1)).await.refused(409, "sidecar.log-back");
    fake.beat.store(0, Ordering::SeqCst);
    back(fake.checkpoint(8, 1)).await.refused(409, "sidecar.beat");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_who_heard_before_it() {
    let mut bed = Bed::start_with(|config| {
        (config.freshness.warn_secs, config.freshness.refuse_secs) = (1, 2);
    })
    .await;
    bed.add_tenant("acme").await;
    let identity = bed.add_identity("acme", "worker").await;
    let fake = Fake::join(&bed, "s1", &["acme"]).await;
    fake.heard(&bed, (0, 0), json!({})).await;
    bed.restart().await;
    let receipt = identity_kill(&bed, &identity).await;
    assert_eq!(line(&receipt, "s1")["end"], "lapsed", "{receipt}");
    assert!(
        line(&receipt, "s1")["after_us"].as_u64().unwrap() > 500_000,
        "{receipt}"
    );
}
