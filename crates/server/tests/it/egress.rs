//! The egress proxy on a clock that stands: whose secret is put in, and which answer is the last of its connection.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bailiwick_base::Clock;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bed::{Bed, PATIENCE, claims_of, in_days};
use crate::signing::later;

const SECRET: &str = "canary-of-the-destination";

/// A destination that lets in whoever shows the secret.
async fn destination() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let enter = async |headers: HeaderMap| match headers.get("x-key").map(http::HeaderValue::as_bytes) {
        Some(shown) if shown == SECRET.as_bytes() => StatusCode::OK,
        _ => StatusCode::UNAUTHORIZED,
    };
    let router = Router::new().route("/", get(enter));
    crate::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// An installation with a destination that the credential `key` of `holder` opens, and a token of an agent for it.
struct World {
    bed: Bed,
    at: SocketAddr,
    proxy: String,
    token: String,
    holder: String,
}

async fn world() -> World {
    let bed = Bed::start_with(|config| config.proxy.listen = "127.0.0.1:0".to_owned()).await;
    bed.add_tenant("acme").await;
    let at = destination().await;
    let holder = bed.add_identity("acme", "holder").await;
    let agent = bed.add_identity("acme", "agent").await;
    let key =
        json!({"name": "key", "kind": "api-key", "identity": "holder", "secret": STANDARD.encode(SECRET)});
    bed.post("/v1/tenants/acme/credentials", &key).await.ok();
    bed.post("/v1/tenants/acme/servers", &opened_by_key("mail", at))
        .await
        .ok();
    let (_, token) = bed.open_task("acme", &agent, &["mail:GET"]).await;
    let told = bed.get("/v1/tenants/acme/egress").await.ok();
    let proxy = told["proxy"].as_str().unwrap().to_owned();
    World {
        bed,
        at,
        proxy,
        token,
        holder,
    }
}

fn opened_by_key(name: &str, at: SocketAddr) -> Value {
    json!({
        "name": name, "destination": format!("http://{at}"), "methods": ["GET"],
        "header": "X-Key: {secret}", "credential_from": "key",
        "allow_addresses": ["127.0.0.0/8"], "allow_plaintext": true,
        "owner": {"team": "platform", "contact": "platform@example.com"},
        "purpose": "mail", "expires_at": in_days(90),
    })
}

/// What was answered: its status, its `connection`, and the code of the refusal.
type Told = (u16, String, String);

impl World {
    /// A connection to the proxy.
    async fn connect(&self) -> SendRequest<Empty<Bytes>> {
        let stream = TcpStream::connect(&self.proxy).await.unwrap();
        let (line, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        crate::spawn(async move { connection.await.ok() });
        line
    }

    async fn ask(&self, line: &mut SendRequest<Empty<Bytes>>) -> Told {
        let request = Request::get(format!("http://{}/", self.at))
            .header("host", self.at.to_string())
            .header("proxy-authorization", format!("Bearer {}", self.token))
            .body(Empty::new())
            .unwrap();
        line.ready().await.unwrap();
        let reply = tokio::time::timeout(PATIENCE, line.send_request(request))
            .await
            .unwrap()
            .unwrap();
        let said = reply
            .headers()
            .get("connection")
            .map_or("", |v| v.to_str().unwrap());
        let (status, said) = (reply.status().as_u16(), said.to_owned());
        let bytes = reply.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        (status, said, body["code"].as_str().unwrap_or_default().to_owned())
    }

    /// On a connection of its own.
    async fn reach(&self) -> (u16, String) {
        let mut line = self.connect().await;
        let (status, _, code) = self.ask(&mut line).await;
        (status, code)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_credential_opens_nothing_while_its_owner_is_stopped() {
    let world = world().await;
    let bed = &world.bed;
    bed.clock.hold();
    let (open, shut) = ((200, String::new()), (502, "destination.credential".to_owned()));
    assert_eq!(world.reach().await, open);
    let verb = |verb: &str| format!("/v1/tenants/acme/identities/holder/{verb}");
    bed.post(&verb("suspend"), &json!({"reason": "on leave"}))
        .await
        .ok();
    let replaced = json!({"credential_from": "key"});
    let at = "/v1/tenants/acme/servers/mail/credential";
    let refused = bed.post(at, &replaced).await;
    refused.refused(409, "credential.identity-stopped");
    let added = bed
        .post("/v1/tenants/acme/servers", &opened_by_key("post", world.at))
        .await;
    added.refused(409, "credential.identity-stopped");
    later(bed, Duration::from_secs(5)).await;
    assert_eq!(
        world.reach().await,
        shut,
        "what was opened before is good for five seconds"
    );
    bed.post(&verb("resume"), &json!({})).await.ok();
    later(bed, Duration::from_secs(5)).await;
    assert_eq!(world.reach().await, open);
    bed.kill("acme", "identity", &world.holder).await.ok();
    later(bed, Duration::from_secs(5)).await;
    assert_eq!(world.reach().await, shut);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_the_last_two_seconds_of_its_token_is_the_last_of_its_connection() {
    let world = world().await;
    let bed = &world.bed;
    bed.clock.hold();
    let ends = claims_of(&world.token)["exp"].as_i64().unwrap() * 1_000_000;
    let left = Duration::from_micros(u64::try_from(ends - bed.clock.now().micros()).unwrap());
    let mut line = world.connect().await;
    let goes_on = (200, String::new(), String::new());
    later(bed, left - Duration::from_micros(2_000_001)).await;
    for _ in 0..2 {
        assert_eq!(
            world.ask(&mut line).await,
            goes_on,
            "two seconds and more are left"
        );
    }
    bed.clock.advance(Duration::from_micros(1));
    let last = (200, "close".to_owned(), String::new());
    assert_eq!(world.ask(&mut line).await, last, "two seconds are left");
    tokio::time::timeout(PATIENCE, std::future::poll_fn(|cx| line.poll_ready(cx)))
        .await
        .unwrap()
        .unwrap_err();
    // Whoever comes with it all the same is served, once.
    assert_eq!(world.ask(&mut world.connect().await).await, last);
    bed.clock.advance(Duration::from_secs(2));
    assert_eq!(world.reach().await, (407, "token.expired".to_owned()));
}

/// Others wait no longer for a node that says that it stopped: whatever is still under way there is refused.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_permitted_once_a_node_has_said_that_it_stopped() {
    let mut world = world().await;
    assert_eq!(world.reach().await.0, 200);
    let mut begun = TcpStream::connect(&world.proxy).await.unwrap();
    let head = format!(
        "GET http://{at}/ HTTP/1.1\r\nhost: {at}\r\nproxy-authorization: Bearer {}\r\n",
        world.token,
        at = world.at
    );
    begun.write_all(head.as_bytes()).await.unwrap();
    // Read there before the signal comes.
    crate::pause(Duration::from_millis(300)).await;
    world.bed.stop().await;
    // Too late, whether the connection is still there to say so or not.
    let mut answer = Vec::new();
    if begun.write_all(b"\r\n").await.is_ok() {
        let read = begun.read_to_end(&mut answer);
        drop(tokio::time::timeout(PATIENCE, read).await.unwrap());
    }
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.contains("snapshot.stale"), "{answer}");
}
