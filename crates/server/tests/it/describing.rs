//! Clients that describe themselves with a document (CIMD), and what only looks like one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bailiwick_server::operator::idempotency_key;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::bed::{Answer, BASE, Bed, PATIENCE, claims_of, sign};
use crate::consenting::{Page, World, allow, authorize, query, returned, world};
use crate::tokens::{ASSERTION_TYPE, ask, form};

const SEED: [u8; 32] = [9; 32];
pub(crate) const REDIRECT: &str = "http://127.0.0.1/cb";

type Shelf = Arc<Mutex<BTreeMap<String, (u16, String)>>>;

/// A host with documents, and how often each was asked for.
pub(crate) struct Host {
    url: String,
    shelf: Shelf,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Host {
    pub(crate) async fn open() -> Self {
        let shelf: Shelf = Arc::default();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new()
            .route("/{name}", get(serve))
            .with_state((Arc::clone(&shelf), Arc::clone(&asked)));
        crate::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shelf, asked }
    }

    pub(crate) fn put(&self, name: &str, status: u16, text: String) -> String {
        self.shelf.lock().unwrap().insert(name.to_owned(), (status, text));
        format!("{}/{name}", self.url)
    }

    /// A whole document, but for what `change` makes of it.
    pub(crate) fn describe(&self, name: &str, change: impl FnOnce(&mut Value)) -> String {
        let url = format!("{}/{name}", self.url);
        let mut document = json!({
            "client_id": url, "client_name": "Editor", "redirect_uris": [REDIRECT],
            "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        });
        change(&mut document);
        self.put(name, 200, document.to_string())
    }

    pub(crate) async fn admit(&self, bed: &Bed) -> Answer {
        let below = format!("{}/", self.url);
        let body = json!({"name": "editors", "documents": below, "allow_addresses": ["127.0.0.0/8"],
            "danger_plaintext": true});
        bed.post("/v1/tenants/acme/public-clients", &body).await
    }
}

async fn serve(
    State((shelf, asked)): State<(Shelf, Arc<Mutex<Vec<String>>>)>,
    Path(name): Path<String>,
) -> Response {
    asked.lock().unwrap().push(name.clone());
    if name.starts_with("slow") {
        std::future::pending::<()>().await;
    }
    let found = shelf.lock().unwrap().get(&name).cloned();
    let (status, text) = found.unwrap_or((404, String::new()));
    let mut response = (StatusCode::from_u16(status).unwrap(), text).into_response();
    let headers = response.headers_mut();
    headers.insert("content-type", "application/json".parse().unwrap());
    headers.insert("cache-control", "max-age=600".parse().unwrap());
    headers.insert("location", "http://127.0.0.1/elsewhere".parse().unwrap());
    response
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

async fn supported(bed: &Bed) -> Value {
    let path = "/.well-known/oauth-authorization-server/t/acme";
    let metadata = bed.send("GET", path, &[], "").await.ok();
    metadata["client_id_metadata_document_supported"].clone()
}

/// A code for the client at `url`.
async fn code(world: &World, url: &str) -> String {
    let sent = query(url, &[("redirect_uri", "http://127.0.0.1:7777/cb")]);
    let page = Page::begin(&world.bed, &sent).await;
    assert!(
        page.html.contains("Editor") && page.html.contains("127.0.0.1:7777"),
        "{}",
        page.html
    );
    let allowed = allow(&world.bed, &page.code, &world.task).await.ok();
    let back = page.word(&world.bed, text(&allowed["word"])).await;
    returned(&back).1["code"].clone()
}

async fn redeem(world: &World, url: &str, code: &str, more: &[(&str, &str)]) -> Answer {
    let mut all = vec![
        ("grant_type", "authorization_code"),
        ("client_id", url),
        ("code", code),
        ("redirect_uri", "http://127.0.0.1:7777/cb"),
        ("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
    ];
    all.extend_from_slice(more);
    ask(&world.bed, "acme", form(&all)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_describes_itself_needs_no_registration_where_an_operator_lets_it() {
    let world = world().await;
    let host = Host::open().await;
    let url = host.describe("editor", |_| {});
    assert_eq!(supported(&world.bed).await, Value::Null);
    let early = authorize(&world.bed, &query(&url, &[("redirect_uri", REDIRECT)])).await;
    assert_eq!((early.status.as_u16(), early.header("location")), (400, ""));
    assert!(
        host.asked.lock().unwrap().is_empty(),
        "nothing is fetched from where nobody said"
    );
    let rule = host.admit(&world.bed).await.ok();
    assert_eq!(supported(&world.bed).await, true);
    let code = code(&world, &url).await;
    let tokens = redeem(&world, &url, &code, &[]).await.ok();
    assert_eq!(claims_of(text(&tokens["access_token"]))["client_id"], json!(url));
    let refresh = [
        ("grant_type", "refresh_token"),
        ("client_id", url.as_str()),
        ("refresh_token", text(&tokens["refresh_token"])),
    ];
    let renewed = ask(&world.bed, "acme", form(&refresh)).await.ok();
    // Kept as its server says: asked for once.
    assert_eq!(host.asked.lock().unwrap().len(), 1);
    // Another tenant did not let it.
    world.bed.add_tenant("globex").await;
    let path = format!(
        "/t/globex/authorize?{}",
        query(&url, &[("redirect_uri", REDIRECT), ("resource", "")])
    );
    assert_eq!(world.bed.send("GET", &path, &[], "").await.status, 400);
    // Where it is let no more, its refresh token serves no more.
    let remove = format!(
        "/v1/tenants/acme/public-clients/{}/remove",
        text(&rule["client_id"])
    );
    world.bed.post(&remove, &json!({"reason": "enough"})).await.ok();
    let again = [
        refresh[0],
        refresh[1],
        ("refresh_token", text(&renewed["refresh_token"])),
    ];
    ask(&world.bed, "acme", form(&again))
        .await
        .refused(401, "invalid_client");
    assert_eq!(supported(&world.bed).await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_not_exactly_one_describes_nobody() {
    let world = world().await;
    let host = Host::open().await;
    host.admit(&world.bed).await.ok();
    let mut urls = Vec::new();
    let changes: [(&str, Value); 12] = [
        ("client_id", json!(format!("{}/other", host.url))),
        ("client_id", json!(format!("{}/d1/", host.url))),
        ("client_id", Value::Null),
        ("client_secret", json!("s3cret")),
        ("client_secret_expires_at", json!(0)),
        ("redirect_uris", json!([])),
        ("redirect_uris", json!(REDIRECT)),
        ("redirect_uris", json!(["https://app.example/cb"])),
        ("token_endpoint_auth_method", json!("client_secret_basic")),
        ("token_endpoint_auth_method", json!("private_key_jwt")),
        ("grant_types", json!(["client_credentials"])),
        ("response_types", json!(["token"])),
    ];
    for (n, (name, value)) in changes.into_iter().enumerate() {
        urls.push(host.describe(&format!("d{n}"), |document| document[name] = value));
    }
    urls.push(host.put("redirected", 302, "{}".to_owned()));
    urls.push(host.put("broken", 404, "{}".to_owned()));
    urls.push(host.put("text", 200, "client".to_owned()));
    urls.push(host.put("twice", 200, "{\"client_id\":1,\"client_id\":2}".to_owned()));
    urls.push(host.describe("large", |d| d["logo"] = json!("x".repeat(17 * 1024))));
    let good = host.describe("good", |_| {});
    let place = host.url.replace("http://", "");
    urls.extend([
        format!("{good}?a=1"),
        format!("{good}#f"),
        format!("http://user@{place}/good"),
        format!("{}/x/../good", host.url),
        format!("{}/%67ood", host.url),
        host.url.clone(),
        format!("{}/", host.url),
        "https://elsewhere.example/client.json".to_owned(),
        format!("http://{place}.evil.example/good"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
    ]);
    for url in urls {
        let answer = authorize(&world.bed, &query(&url, &[("redirect_uri", REDIRECT)])).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location")),
            (400, ""),
            "{url}"
        );
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8", "{url}");
    }
    assert_eq!(
        authorize(&world.bed, &query(&good, &[("redirect_uri", REDIRECT)]))
            .await
            .status,
        303
    );
    // Without leave, no private address is asked, whatever an operator wrote as a place.
    let body = json!({"name": "n", "documents": "https://127.0.0.1/"});
    world
        .bed
        .post("/v1/tenants/acme/public-clients", &body)
        .await
        .ok();
    let inside = query("https://127.0.0.1/client.json", &[("redirect_uri", REDIRECT)]);
    let answer = authorize(&world.bed, &inside).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("may not be fetched"), "{}", answer.text());
    for bad in [
        "https://app.example",
        "http://app.example/",
        "https://a/*",
        "https://a/?q",
        "https://u@a/",
        "",
    ] {
        let body = json!({"name": "n", "documents": bad});
        let answer = world.bed.post("/v1/tenants/acme/public-clients", &body).await;
        answer.refused(422, "client.documents-refused");
    }
}

fn jwks(seed: &[u8; 32]) -> Value {
    let public = Ed25519KeyPair::from_seed_unchecked(seed).unwrap();
    let x = URL_SAFE_NO_PAD.encode(public.public_key().as_ref());
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "c1", "x": x}]})
}

fn assertion(bed: &Bed, url: &str, seed: &[u8; 32], change: impl FnOnce(&mut Value)) -> String {
    let now = bed.now();
    let mut claims = json!({
        "iss": url, "sub": url, "aud": format!("{BASE}/t/acme"), "iat": now, "exp": now + 60,
        "jti": idempotency_key().unwrap(),
    });
    change(&mut claims);
    sign(seed, r#"{"alg":"EdDSA","kid":"c1"}"#, &claims.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_described_client_with_keys_proves_that_it_holds_one() {
    let world = world().await;
    let host = Host::open().await;
    host.admit(&world.bed).await.ok();
    let keys = host.put("keys", 200, jwks(&SEED).to_string());
    let inline = host.describe("inline", |d| {
        d["token_endpoint_auth_method"] = json!("private_key_jwt");
        d["jwks"] = jwks(&SEED);
    });
    let linked = host.describe("linked", |d| {
        d["token_endpoint_auth_method"] = json!("private_key_jwt");
        d["jwks_uri"] = json!(keys);
    });
    for url in [inline, linked] {
        let code = code(&world, &url).await;
        let bed = &world.bed;
        let bad = [
            assertion(bed, &url, &[8; 32], |_| {}),
            assertion(bed, &url, &SEED, |c| {
                c["aud"] = json!(format!("{BASE}/t/acme/token"))
            }),
            assertion(bed, &url, &SEED, |c| c["sub"] = json!("https://other.example/c")),
            assertion(bed, &url, &SEED, |c| c["exp"] = json!(bed.now() - 120)),
            assertion(bed, &url, &SEED, |c| c["exp"] = json!(bed.now() + 3_600)),
            assertion(bed, &url, &SEED, |c| {
                drop(c.as_object_mut().unwrap().remove("jti"))
            }),
        ];
        redeem(&world, &url, &code, &[])
            .await
            .refused(401, "invalid_client");
        for assertion in bad {
            let more = [
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", assertion.as_str()),
            ];
            redeem(&world, &url, &code, &more)
                .await
                .refused(401, "invalid_client");
        }
        let good = assertion(bed, &url, &SEED, |_| {});
        let more = [
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", good.as_str()),
        ];
        let tokens = redeem(&world, &url, &code, &more).await.ok();
        assert_eq!(claims_of(text(&tokens["access_token"]))["client_id"], json!(url));
        // Once.
        let refresh = [
            ("grant_type", "refresh_token"),
            ("client_id", url.as_str()),
            ("refresh_token", text(&tokens["refresh_token"])),
        ];
        let replayed = ask(bed, "acme", form(&[&refresh[..], &more[..]].concat())).await;
        replayed.refused(401, "invalid_client");
        assert!(replayed.text().contains("used before"), "{}", replayed.text());
        let next = assertion(bed, &url, &SEED, |_| {});
        let more = [
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", next.as_str()),
        ];
        ask(bed, "acme", form(&[&refresh[..], &more[..]].concat()))
            .await
            .ok();
    }
}

/// Holds a connection open on which a document is asked for that does not come.
async fn hang(world: &World, url: &str) -> tokio::net::TcpStream {
    let query = query(url, &[("redirect_uri", REDIRECT)]);
    let mut stream = tokio::net::TcpStream::connect(world.bed.address()).await.unwrap();
    let asked = format!("GET /t/acme/authorize?{query} HTTP/1.1\r\nHost: bailiwick.test\r\n\r\n");
    stream.write_all(asked.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_do_not_come_stop_no_client_of_another_host_and_none_whose_document_is_kept() {
    let world = world().await;
    let (slow, quick) = (Host::open().await, Host::open().await);
    slow.admit(&world.bed).await.ok();
    quick.admit(&world.bed).await.ok();
    let kept = slow.describe("kept", |_| {});
    let code = code(&world, &kept).await;
    let tokens = redeem(&world, &kept, &code, &[]).await.ok();
    let mut held = Vec::new();
    for n in 0..33 {
        held.push(hang(&world, &format!("{}/slow{n}", slow.url)).await);
    }
    let is_asked = || {
        slow.asked
            .lock()
            .unwrap()
            .iter()
            .filter(|name| name.starts_with("slow"))
            .count()
            >= 4
    };
    let waiting = async {
        while !is_asked() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    let refresh = [
        ("grant_type", "refresh_token"),
        ("client_id", kept.as_str()),
        ("refresh_token", text(&tokens["refresh_token"])),
    ];
    let next = ask(&world.bed, "acme", form(&refresh)).await.ok();
    let other = quick.describe("other", |_| {});
    let sent = query(&other, &[("redirect_uri", REDIRECT)]);
    assert_eq!(authorize(&world.bed, &sent).await.status, 303);
    // Who hung up keeps his turn until the fetch has ended.
    drop(held);
    let late = query(&format!("{}/late", slow.url), &[("redirect_uri", REDIRECT)]);
    let told = authorize(&world.bed, &late).await;
    assert_eq!(told.status, 503, "{}", told.text());
    assert!(told.text().contains("too many documents"), "{}", told.text());
    // Kept no longer: the client hears that it is to come again, and may still end what it has.
    slow.put("kept", 500, "{}".to_owned());
    world.bed.clock.advance(Duration::from_secs(601));
    let refresh = [
        refresh[0],
        refresh[1],
        ("refresh_token", text(&next["refresh_token"])),
    ];
    let told = ask(&world.bed, "acme", form(&refresh)).await;
    told.refused(503, "temporarily_unavailable");
    assert_eq!(told.header("retry-after"), "10");
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    let revoke = form(&[("client_id", &kept), ("token", text(&next["refresh_token"]))]);
    let revoked = world.bed.send("POST", "/t/acme/revoke", &kind, revoke).await;
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    let marks = world.bed.get("/v1/tenants/acme/marks").await.ok();
    assert_eq!(marks["items"].as_array().map(Vec::len), Some(1), "{marks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_shown_by_its_scheme_whatever_stands_behind_it() {
    let world = world().await;
    let host = Host::open().await;
    host.admit(&world.bed).await.ok();
    let spoof = "com.evil.app://notebook.example/cb;x";
    let url = host.describe("spoof", |d| d["redirect_uris"] = json!([spoof]));
    let page = Page::begin(&world.bed, &query(&url, &[("redirect_uri", spoof)])).await;
    assert!(
        page.html
            .contains("<strong>the application com.evil.app:</strong>"),
        "{}",
        page.html
    );
    assert!(page.html.contains("Continue to the application com.evil.app:"));
    assert!(!page.html.contains("notebook.example"), "{}", page.html);
    let shown = world
        .bed
        .send("GET", &page.path, &[("cookie", &page.cookie)], "")
        .await;
    let policy = shown.header("content-security-policy");
    assert!(
        policy.contains("form-action 'self' com.evil.app:; frame"),
        "{policy}"
    );
    let list = world.bed.get("/v1/tenants/acme/consents").await.ok();
    assert_eq!(
        list["waiting"][0]["redirect_host"],
        "the application com.evil.app:"
    );
}
