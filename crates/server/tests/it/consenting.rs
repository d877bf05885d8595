//! Grants with a human in front: what a browser, a client and an operator have to do, and every way in which one of
//! them is not who it should be.

use std::collections::BTreeMap;
use std::time::Duration;

use bailiwick_base::Digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::bed::{Answer, BASE, Bed, claims_of};
use crate::desk::Desk;
use crate::tokens::{ask, form};
use bailiwick_vectors as vectors;

pub(crate) const REDIRECT: &str = "http://127.0.0.1:8976/callback";
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

pub(crate) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Digest::of(verifier.as_bytes()).0)
}

pub(crate) struct World {
    pub(crate) bed: Bed,
    pub(crate) _desk: Desk,
    pub(crate) client: String,
    pub(crate) identity: String,
    pub(crate) task: String,
}

pub(crate) async fn world() -> World {
    let bed = Bed::start().await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    bed.add_server("acme", "files", &desk).await;
    let identity = bed.add_identity("acme", "worker").await;
    let (task, _) = bed
        .open_task("acme", &identity, &["files:echo", "files:read_text_file"])
        .await;
    let client = register(&bed, &[REDIRECT]).await;
    World {
        bed,
        _desk: desk,
        client,
        identity,
        task,
    }
}

pub(crate) async fn register(bed: &Bed, redirects: &[&str]) -> String {
    let body = json!({"name": "Notebook", "redirects": redirects});
    let added = bed.post("/v1/tenants/acme/public-clients", &body).await.ok();
    added["client_id"].as_str().unwrap().to_owned()
}

/// The query that a client sends its browser with; `more` comes instead of what is usual, and "" takes it away.
pub(crate) fn query(client: &str, more: &[(&str, &str)]) -> String {
    let challenge = challenge(VERIFIER);
    let usual = [
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", REDIRECT),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("resource", "http://bailiwick.test/t/acme/mcp/files"),
        ("scope", "files:*"),
        ("state", "s t&=1"),
    ];
    let mut all: Vec<(&str, &str)> = usual
        .into_iter()
        .filter(|(name, _)| more.iter().all(|(given, _)| given != name))
        .collect();
    all.extend(more.iter().filter(|(_, value)| !value.is_empty()));
    form(&all)
}

pub(crate) async fn authorize(bed: &Bed, query: &str) -> Answer {
    bed.send("GET", &format!("/t/acme/authorize?{query}"), &[], "")
        .await
}

/// A browser on its page.
pub(crate) struct Page {
    pub(crate) path: String,
    pub(crate) cookie: String,
    pub(crate) code: String,
    pub(crate) html: String,
}

impl Page {
    pub(crate) async fn begin(bed: &Bed, query: &str) -> Self {
        let begun = authorize(bed, query).await;
        assert_eq!(begun.status, 303, "{}", begun.text());
        let path = begun.header("location").strip_prefix(BASE).unwrap().to_owned();
        let cookie = begun.header("set-cookie").split(';').next().unwrap().to_owned();
        let shown = bed.send("GET", &path, &[("cookie", &cookie)], "").await;
        assert_eq!(shown.status, 200, "{}", shown.text());
        let html = shown.text();
        let code = html
            .split("<output>")
            .nth(1)
            .unwrap()
            .split("</output>")
            .next()
            .unwrap();
        Self {
            path,
            cookie,
            code: code.to_owned(),
            html,
        }
    }

    pub(crate) async fn send(&self, bed: &Bed, parameters: &[(&str, &str)]) -> Answer {
        let headers = [
            ("cookie", self.cookie.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        bed.send("POST", &self.path, &headers, form(parameters)).await
    }

    pub(crate) async fn word(&self, bed: &Bed, word: &str) -> Answer {
        self.send(bed, &[("word", word), ("do", "continue")]).await
    }
}

pub(crate) async fn allow(bed: &Bed, code: &str, task: &str) -> Answer {
    let path = format!("/v1/tenants/acme/consents/waiting/{code}/allow");
    bed.post(&path, &json!({"task": task})).await
}

/// What went back to the client, and where.
pub(crate) fn returned(answer: &Answer) -> (String, BTreeMap<String, String>) {
    assert_eq!(answer.status, 303, "{}", answer.text());
    let (place, query) = answer.header("location").split_once('?').unwrap();
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap();
    (place.to_owned(), pairs.into_iter().collect())
}

impl World {
    /// A code, after everybody did what they have to.
    pub(crate) async fn code(&self) -> String {
        let page = Page::begin(&self.bed, &query(&self.client, &[])).await;
        let allowed = allow(&self.bed, &page.code, &self.task).await.ok();
        let back = page.word(&self.bed, allowed["word"].as_str().unwrap()).await;
        returned(&back).1["code"].clone()
    }

    pub(crate) async fn redeem(&self, code: &str, more: &[(&str, &str)]) -> Answer {
        let usual = [
            ("grant_type", "authorization_code"),
            ("client_id", self.client.as_str()),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ];
        let mut all: Vec<(&str, &str)> = usual
            .into_iter()
            .filter(|(name, _)| more.iter().all(|(given, _)| given != name))
            .collect();
        all.extend(more.iter().filter(|(_, value)| !value.is_empty()));
        ask(&self.bed, "acme", form(&all)).await
    }

    pub(crate) async fn tokens(&self) -> Value {
        self.redeem(&self.code().await, &[]).await.ok()
    }

    pub(crate) async fn refresh(&self, token: &str, more: &[(&str, &str)]) -> Answer {
        let mut all = vec![
            ("grant_type", "refresh_token"),
            ("client_id", self.client.as_str()),
            ("refresh_token", token),
        ];
        all.retain(|(name, _)| more.iter().all(|(given, _)| given != name));
        all.extend_from_slice(more);
        ask(&self.bed, "acme", form(&all)).await
    }

    /// Whether the gateway takes the token.
    pub(crate) async fn lives(&self, token: &Value) -> bool {
        let called = self
            .bed
            .call(text(token), "acme", "files", "echo", json!({}))
            .await;
        match called.status.as_u16() {
            200 => {
                let body = called.ok();
                assert!(body["result"].is_object(), "{body}");
                true
            }
            401 => false,
            other => panic!("{other}"),
        }
    }

    pub(crate) async fn state(&self, of: usize) -> String {
        let list = self.bed.get("/v1/tenants/acme/consents").await.ok();
        text(&list["items"][of]["state"]).to_owned()
    }
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_a_code_for_what_an_operator_agreed_to() {
    let world = world().await;
    let bed = &world.bed;
    let page = Page::begin(bed, &query(&world.client, &[])).await;
    for told in [
        "Notebook",
        "127.0.0.1:8976",
        &world.client,
        "files:*",
        "http://bailiwick.test/t/acme/mcp/files",
    ] {
        assert!(page.html.contains(told), "{told} in {}", page.html);
    }
    assert!(!page.html.contains("<script"), "no script on a page of ours");
    // Who waits is told, but not the code: it is read in the browser.
    let list = bed.get("/v1/tenants/acme/consents").await;
    assert!(!list.text().contains(&page.code.replace('-', "")) && !list.text().contains(&page.code));
    assert_eq!(list.ok()["waiting"][0]["redirect_host"], "127.0.0.1:8976");
    let code = page.code.to_lowercase();
    let found = bed
        .get(&format!("/v1/tenants/acme/consents/waiting/{code}"))
        .await
        .ok();
    assert_eq!(
        (text(&found["client_id"]), text(&found["scope"])),
        (world.client.as_str(), "files:*")
    );
    // Before the operator answered, no word serves.
    let early = page.word(bed, "BCDF-GHJK").await;
    assert_eq!(early.status, 200);
    assert!(early.text().contains("No operator has answered"));
    let allowed = allow(bed, &page.code, &world.task).await.ok();
    assert_eq!(allowed["consent"]["scope"], "files:echo files:read_text_file");
    let (place, back) = returned(&page.word(bed, text(&allowed["word"])).await);
    assert_eq!(place, REDIRECT);
    assert_eq!(
        (back["state"].as_str(), back["iss"].as_str()),
        ("s t&=1", "http://bailiwick.test/t/acme")
    );
    let tokens = world.redeem(&back["code"], &[]).await.ok();
    let said = claims_of(text(&tokens["access_token"]));
    assert_eq!(said["client_id"], json!(world.client));
    assert_eq!(
        (&said["nhi"], &said["task"]),
        (&json!(world.identity), &json!(world.task))
    );
    assert_eq!(said["aud"], "http://bailiwick.test/t/acme/mcp");
    assert_eq!(said["lineage"][0]["jti"], allowed["consent"]["token"]);
    assert!(world.lives(&tokens["access_token"]).await);
    // Every step is in the state log; neither code nor refresh token is anywhere in it.
    let entries = bed.entries("state").await;
    let log = Value::Array(entries).to_string();
    for kind in ["consent.give", "consent.redeem", "public-client.register"] {
        assert!(log.contains(kind), "{kind}");
    }
    assert!(!log.contains(&back["code"]) && !log.contains(text(&tokens["refresh_token"])));
    assert_eq!(world.state(0).await, "used");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_are_nobodys_frame_run_nothing_and_are_kept_by_nobody() {
    let world = world().await;
    let begun = authorize(&world.bed, &query(&world.client, &[])).await;
    let cookie = begun.header("set-cookie");
    for part in [
        "HttpOnly",
        "SameSite=Lax",
        "Path=/t/acme/authorize/",
        "Max-Age=600",
    ] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    let path = begun.header("location").strip_prefix(BASE).unwrap();
    let page = world
        .bed
        .send("GET", path, &[("cookie", cookie.split(';').next().unwrap())], "")
        .await;
    let refused = authorize(&world.bed, &query("cli_nobody", &[])).await;
    for answer in [&page, &refused] {
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-"),
            "{policy}"
        );
        assert!(
            policy.contains("frame-ancestors 'none'") && policy.contains("base-uri 'none'"),
            "{policy}"
        );
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    }
    assert!(
        page.header("content-security-policy")
            .contains("form-action 'self' http://127.0.0.1:8976")
    );
    assert!(
        refused
            .header("content-security-policy")
            .contains("form-action 'none'")
    );
    // What a client is called is text.
    let body = json!({"name": "<img src=x onerror=alert(1)>", "redirects": [REDIRECT]});
    let named = world
        .bed
        .post("/v1/tenants/acme/public-clients", &body)
        .await
        .ok();
    let page = Page::begin(&world.bed, &query(text(&named["client_id"]), &[])).await;
    assert!(page.html.contains("&lt;img src=x") && !page.html.contains("<img"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_redirect_uri_of_the_table_is_taken_or_refused_without_a_redirect() {
    let Some(folder) = vectors::folder("redirect-uri") else {
        return;
    };
    let cases: Vec<Value> =
        serde_json::from_slice(&std::fs::read(folder.join("cases.json")).unwrap()).unwrap();
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let count: usize = readme
        .lines()
        .find_map(|l| l.strip_prefix("Count: ")?.trim().parse().ok())
        .unwrap();
    let world = world().await;
    let mut run = 0;
    for case in &cases {
        let client = register(&world.bed, &[text(&case["registered"])]).await;
        let sent = query(&client, &[("redirect_uri", text(&case["presented"]))]);
        let answer = authorize(&world.bed, &sent).await;
        match text(&case["expect"]) {
            "accept" => {
                assert_eq!(answer.status, 303, "{case}: {}", answer.text());
                assert!(
                    answer
                        .header("location")
                        .starts_with("http://bailiwick.test/t/acme/authorize/")
                );
            }
            _ => {
                assert_eq!(
                    (answer.status.as_u16(), answer.header("location")),
                    (400, ""),
                    "{case}"
                );
                assert_eq!(
                    answer.header("content-type"),
                    "text/html; charset=utf-8",
                    "{case}"
                );
            }
        }
        run += 1;
    }
    println!("redirect-uri: {run}/{count}");
    assert_eq!(run, count);
    // The port of a loopback address is the client's affair (RFC 8252 §7.3), and of no other.
    for (registered, presented, status) in [
        ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb", 303),
        ("http://127.0.0.1:1234/cb", "http://127.0.0.1:51004/cb", 303),
        ("http://[::1]/cb", "http://[::1]:51004/cb", 303),
        ("http://localhost/cb", "http://localhost:3000/cb", 303),
        ("http://localhost/cb", "http://127.0.0.1:3000/cb", 400),
        ("http://127.0.0.1/cb", "http://127.0.0.1:051004/cb", 400),
        ("http://127.0.0.1/cb", "http://127.0.0.1:65536/cb", 400),
        ("http://127.0.0.1/cb", "http://127.0.0.1:1@evil.example/cb", 400),
        ("http://127.0.0.1/cb", "http://127.0.0.1.evil.example/cb", 400),
        ("https://app.example/cb", "https://app.example:8443/cb", 400),
    ] {
        let client = register(&world.bed, &[registered]).await;
        let answer = authorize(&world.bed, &query(&client, &[("redirect_uri", presented)])).await;
        assert_eq!(answer.status.as_u16(), status, "{registered} {presented}");
    }
    // What could be read in two ways is not registered.
    for bad in [
        "http://app.example/cb",
        "https://app.example/cb#f",
        "javascript:alert(1)",
        "https://user@app.example/cb",
        "https://app.example\\cb",
        "data:text/html,x",
        "//app.example/cb",
        "https://app.example/a/../b",
        "https:///cb",
        "HTTPS://app.example/cb",
        "https://app.example:99999/cb",
        "example:/cb",
        "",
    ] {
        let body = json!({"name": "n", "redirects": [bad]});
        let answer = world.bed.post("/v1/tenants/acme/public-clients", &body).await;
        answer.refused(422, "client.redirect-refused");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_goes_back_to_the_client_with_the_issuer() {
    let world = world().await;
    for (more, error) in [
        (&[("response_type", "token")][..], "unsupported_response_type"),
        (&[("response_type", "")], "invalid_request"),
        (&[("code_challenge", "")], "invalid_request"),
        (&[("code_challenge", "short")], "invalid_request"),
        (&[("code_challenge_method", "plain")], "invalid_request"),
        (&[("code_challenge_method", "")], "invalid_request"),
        (&[("resource", "https://elsewhere.example/mcp")], "invalid_target"),
        (&[("scope", "files:\u{e4}")], "invalid_scope"),
        (&[("scope", " ")], "invalid_scope"),
        (&[("request", "a.b.c")], "request_not_supported"),
        (
            &[("request_uri", "https://app.example/r")],
            "request_uri_not_supported",
        ),
        (&[("response_mode", "fragment")], "invalid_request"),
    ] {
        let answer = authorize(&world.bed, &query(&world.client, more)).await;
        let (place, back) = returned(&answer);
        assert_eq!(
            (place.as_str(), back["error"].as_str()),
            (REDIRECT, error),
            "{more:?}"
        );
        assert_eq!(
            (back["state"].as_str(), back["iss"].as_str()),
            ("s t&=1", "http://bailiwick.test/t/acme")
        );
    }
    // Who it is, and where to go back to, is settled on our own page.
    let twice = format!("{}&client_id=x", query(&world.client, &[]));
    let long = query(&world.client, &[("state", &"x".repeat(3_000))]);
    let nobody = query("cli_aaaaaaaaaaaaaaaaaaaaaaaaaa", &[]);
    let nowhere = query(&world.client, &[("redirect_uri", "")]);
    let without = query("", &[("client_id", "")]);
    for bad in [twice, long, nobody, nowhere, without] {
        let answer = authorize(&world.bed, &bad).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location")),
            (400, ""),
            "{bad}"
        );
    }
    // A client of an identity has a key and no browser.
    let keyed = crate::tokens::Client::register(&world.bed, "acme", &world.identity).await;
    assert_eq!(authorize(&world.bed, &query(&keyed.id, &[])).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_browser_that_began_goes_on_and_only_with_the_operators_word() {
    let world = world().await;
    let bed = &world.bed;
    let mine = Page::begin(bed, &query(&world.client, &[])).await;
    let others = Page::begin(bed, &query(&world.client, &[])).await;
    assert_ne!(mine.code, others.code);
    let allowed = allow(bed, &mine.code, &world.task).await.ok();
    let word = text(&allowed["word"]);
    // Somebody who has the address, or even another page of his own, has no word and no cookie for it.
    let stolen = Page {
        cookie: others.cookie.clone(),
        path: mine.path.clone(),
        code: String::new(),
        html: String::new(),
    };
    assert_eq!(stolen.word(bed, word).await.status, 404);
    assert_eq!(bed.send("GET", &mine.path, &[], "").await.status, 404);
    let answer = others.word(bed, word).await;
    assert!(
        answer.text().contains("No operator has answered"),
        "{}",
        answer.text()
    );
    // An answer is given once, and for the code that was read.
    allow(bed, &mine.code, &world.task)
        .await
        .refused(409, "consent.answered");
    allow(bed, "BBBB-BBBB", &world.task)
        .await
        .refused(404, "consent.unknown");
    // Guessing ends the page.
    for _ in 0..4 {
        assert_eq!(mine.word(bed, "BBBB-BBBB").await.status, 200);
    }
    assert_eq!(mine.word(bed, "BBBB-BBBB").await.status, 404);
    assert_eq!(mine.word(bed, word).await.status, 404);
    // A refusal, by the operator or by whoever sits there, goes back to the client.
    let path = format!("/v1/tenants/acme/consents/waiting/{}/refuse", others.code);
    bed.post(&path, &json!({"reason": ""}))
        .await
        .refused(400, "consent.reason");
    bed.post(&path, &json!({"reason": "never heard of it"}))
        .await
        .ok();
    let shown = bed
        .send("GET", &others.path, &[("cookie", &others.cookie)], "")
        .await;
    assert_eq!(returned(&shown).1["error"], "access_denied");
    assert!(
        Value::Array(bed.entries("state").await)
            .to_string()
            .contains("never heard of it")
    );
    let third = Page::begin(bed, &query(&world.client, &[])).await;
    let back = third.send(bed, &[("do", "cancel")]).await;
    assert_eq!(returned(&back).1["error"], "access_denied");
    // Nobody waits for ever.
    let late = Page::begin(bed, &query(&world.client, &[])).await;
    bed.clock.advance(Duration::from_secs(601));
    assert_eq!(
        bed.send("GET", &late.path, &[("cookie", &late.cookie)], "")
            .await
            .status,
        404
    );
    allow(bed, &late.code, &world.task)
        .await
        .refused(404, "consent.unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_is_for_an_open_task_and_for_what_it_grants() {
    let world = world().await;
    let bed = &world.bed;
    let page = Page::begin(bed, &query(&world.client, &[("scope", "other:*")])).await;
    allow(bed, &page.code, "tsk_nobody")
        .await
        .refused(404, "request.not-found");
    allow(bed, &page.code, &world.task)
        .await
        .refused(422, "consent.nothing-granted");
    // A refusal of the store's or a room's leaves the browser waiting.
    let page = Page::begin(bed, &query(&world.client, &[("scope", "files:echo other:x")])).await;
    let closed = format!("/v1/tenants/acme/tasks/{}/close", world.task);
    let allowed = allow(bed, &page.code, &world.task).await.ok();
    assert_eq!(allowed["consent"]["scope"], "files:echo");
    bed.post(&closed, &json!({})).await.ok();
    let (_, back) = returned(&page.word(bed, text(&allowed["word"])).await);
    world
        .redeem(&back["code"], &[])
        .await
        .refused(400, "invalid_grant");
    let page = Page::begin(bed, &query(&world.client, &[])).await;
    allow(bed, &page.code, &world.task)
        .await
        .refused(422, "task.already-closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_serves_once_for_its_client_its_redirect_and_its_verifier() {
    let world = world().await;
    let other = register(&world.bed, &[REDIRECT]).await;
    let wrong = "x".repeat(43);
    for more in [
        [("client_id", other.as_str())],
        [("redirect_uri", "http://127.0.0.1:8977/callback")],
        [("code_verifier", wrong.as_str())],
    ] {
        let code = world.code().await;
        world.redeem(&code, &more).await.refused(400, "invalid_grant");
        // Shown by somebody else it is in other hands: it serves nobody any more.
        world.redeem(&code, &[]).await.refused(400, "invalid_grant");
    }
    for missing in ["code", "redirect_uri", "code_verifier"] {
        let code = world.code().await;
        world
            .redeem(&code, &[(missing, "")])
            .await
            .refused(400, "invalid_request");
        assert!(world.redeem(&code, &[]).await.status.is_success(), "{missing}");
    }
    let code = world.code().await;
    world
        .redeem(&code, &[("client_id", "")])
        .await
        .refused(401, "invalid_client");
    world
        .redeem(&code, &[("resource", "https://elsewhere.example")])
        .await
        .refused(400, "invalid_target");
    for forged in [
        "bwc_",
        "bwc_AAAA",
        "x",
        &format!("{code}A"),
        &code.replace("bwc_", "bwr_"),
    ] {
        world.redeem(forged, &[]).await.refused(400, "invalid_grant");
    }
    world.bed.clock.advance(Duration::from_secs(61));
    let late = world.redeem(&code, &[]).await;
    late.refused(400, "invalid_grant");
    assert!(late.text().contains("expired"), "{}", late.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_used_twice_takes_everything_back() {
    let world = world().await;
    let code = world.code().await;
    let first = world.redeem(&code, &[]).await.ok();
    let second = world.refresh(text(&first["refresh_token"]), &[]).await.ok();
    assert!(world.lives(&first["access_token"]).await && world.lives(&second["access_token"]).await);
    let again = world.redeem(&code, &[]).await;
    again.refused(400, "invalid_grant");
    assert!(again.text().contains("used before"), "{}", again.text());
    assert!(!world.lives(&first["access_token"]).await && !world.lives(&second["access_token"]).await);
    world
        .refresh(text(&second["refresh_token"]), &[])
        .await
        .refused(400, "invalid_grant");
    assert_eq!(world.state(0).await, "ended");
    // Two at once: at most one gets anything, and what it got is dead.
    let code = world.code().await;
    let (one, other) = tokio::join!(world.redeem(&code, &[]), world.redeem(&code, &[]));
    let got: Vec<Value> = [one, other]
        .into_iter()
        .filter(|answer| answer.status.is_success())
        .map(Answer::ok)
        .collect();
    assert!(got.len() <= 1);
    for tokens in got {
        assert!(!world.lives(&tokens["access_token"]).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_consent_rests_on_ends_it() {
    for how in [
        "task close",
        "kill task",
        "kill identity",
        "kill token",
        "suspend",
        "client removed",
    ] {
        let world = world().await;
        let bed = &world.bed;
        let tokens = world.tokens().await;
        let list = bed.get("/v1/tenants/acme/consents").await.ok();
        let root = text(&list["items"][0]["token"]).to_owned();
        match how {
            "task close" => {
                let path = format!("/v1/tenants/acme/tasks/{}/close", world.task);
                bed.post(&path, &json!({})).await.ok();
            }
            "kill task" => drop(bed.kill("acme", "task", &world.task).await.ok()),
            "kill identity" => drop(bed.kill("acme", "identity", &world.identity).await.ok()),
            "kill token" => drop(bed.kill("acme", "token", &root).await.ok()),
            "suspend" => {
                let body = json!({"reason": "leave"});
                let path = format!("/v1/tenants/acme/identities/{}/suspend", world.identity);
                bed.post(&path, &body).await.ok();
            }
            _ => {
                let path = format!("/v1/tenants/acme/public-clients/{}/remove", world.client);
                bed.post(&path, &json!({"reason": "gone"})).await.ok();
            }
        }
        let refused = world.refresh(text(&tokens["refresh_token"]), &[]).await;
        if how == "client removed" {
            refused.refused(401, "invalid_client");
            continue;
        }
        refused.refused(400, "invalid_grant");
        assert!(!world.lives(&tokens["access_token"]).await, "{how}");
        assert_eq!(world.state(0).await, "ended", "{how}");
        if how == "suspend" {
            let path = format!("/v1/tenants/acme/identities/{}/resume", world.identity);
            bed.post(&path, &json!({"reason": "back"})).await.ok();
            let again = world.refresh(text(&tokens["refresh_token"]), &[]).await.ok();
            assert!(
                world.lives(&again["access_token"]).await,
                "a suspension is lifted"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stranger_does_not_fill_the_list_of_those_who_wait() {
    let world = world().await;
    let sent = query(&world.client, &[]);
    for n in 0..64 {
        let begun = authorize(&world.bed, &sent).await;
        assert!(begun.header("location").starts_with(BASE), "{n}");
    }
    let (_, told) = returned(&authorize(&world.bed, &sent).await);
    assert_eq!(told["error"], "temporarily_unavailable");
    // Somebody else, on another address of loopback, finds his place.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut stream = socket.connect(world.bed.address()).await.unwrap();
    let asked =
        format!("GET /t/acme/authorize?{sent} HTTP/1.1\r\nHost: bailiwick.test\r\nConnection: close\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, asked.as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer)
        .await
        .unwrap();
    assert!(
        answer.contains(&format!("location: {BASE}/t/acme/authorize/")),
        "{answer}"
    );
    // And the first one, when what he began is over.
    world.bed.clock.advance(Duration::from_secs(601));
    Page::begin(&world.bed, &sent).await;
}
