//! What an outsider can hold: no connection without a request, no memory without a session, and never the kill.

use std::net::SocketAddr;
use std::time::Duration;

use http::header;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::bed::{Bed, PATIENCE};
use crate::claiming::at_socket_as;
use crate::desk::Desk;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

async fn from(address: [u8; 4], bed: &Bed) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((address, 0))).unwrap();
    socket.connect(bed.address()).await.unwrap()
}

/// Everything until the service closes; a reset is a close as well.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    let read = async {
        let mut buffer = [0_u8; 4_096];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            heard.extend_from_slice(&buffer[..n]);
        }
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .unwrap_or_else(|_| panic!("never closed: {:?}", String::from_utf8_lossy(&heard)));
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_request_is_closed_and_http_2_is_not_spoken() {
    let bed = Bed::start_with(|config| config.listen.header_secs = 1).await;
    let partial: [(&str, &[u8]); 6] = [
        ("nothing", b""),
        ("a byte", b"P"),
        ("half a preface", b"PRI * HTTP/2.0\r\n"),
        ("a preface", PREFACE),
        ("half a head", b"GET /healthz HTTP/1.1\r\nx: "),
        (
            "one request, then silence",
            b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        ),
    ];
    for (title, sent) in partial {
        let mut stream = TcpStream::connect(bed.address()).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let heard = until_closed(&mut stream).await;
        assert!(
            heard.is_empty() || heard.starts_with(b"HTTP/1.1 "),
            "{title}: {heard:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_reads_nothing_is_cut() {
    let bed = Bed::start_with(|config| config.listen.stall_secs = 1).await;
    let mut stream = TcpStream::connect(bed.address()).await.unwrap();
    let asked = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
    // Once every buffer on the way is full, nothing is taken any more, in either direction.
    let asking = async {
        loop {
            if let Err(error) = stream.write_all(&asked).await {
                return error;
            }
        }
    };
    let cut = tokio::time::timeout(std::time::Duration::from_secs(20), asking).await;
    cut.expect("the connection ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_its_share_of_connections_and_others_have_theirs() {
    let bed = Bed::start_with(|config| {
        config.listen.connections_max = 12;
        config.listen.connections_per_peer_max = 4;
        config.listen.header_secs = 60;
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(from([127, 0, 0, 2], &bed).await);
    }
    let mut fifth = from([127, 0, 0, 2], &bed).await;
    let heard = until_closed(&mut fifth).await;
    assert!(
        String::from_utf8_lossy(&heard).starts_with("HTTP/1.1 503"),
        "{heard:?}"
    );
    assert_eq!(
        bed.get("/v1/tenants").await.status,
        200,
        "another address is served"
    );
    for n in 3..6_u8 {
        for _ in 0..4 {
            held.push(from([127, 0, 0, n], &bed).await);
        }
    }
    let heard = until_closed(&mut from([127, 0, 0, 9], &bed).await).await;
    assert!(
        String::from_utf8_lossy(&heard).starts_with("HTTP/1.1 503"),
        "{heard:?}"
    );
    drop(held);
    let metrics = crate::bed::until("room again", || async {
        let mut stream = from([127, 0, 0, 9], &bed).await;
        let asked = format!(
            "GET /metrics HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            bed.address()
        );
        stream.write_all(asked.as_bytes()).await.unwrap();
        let heard = until_closed(&mut stream).await;
        let text = String::from_utf8_lossy(&heard);
        text.contains("bailiwick_connections_refused_total{limit=\"peer\"}")
            && text.contains("bailiwick_connections_refused_total{limit=\"all\"}")
    });
    metrics.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_goes_over_the_socket_when_no_connection_is_left() {
    let bed = Bed::start_with(|config| {
        config.listen.connections_max = 4;
        config.listen.header_secs = 60;
    })
    .await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    bed.add_server("acme", "files", &desk).await;
    let identity = bed.add_identity("acme", "invoices").await;
    let (_, token) = bed.open_task("acme", &identity, &["files:*"]).await;
    bed.call(&token, "acme", "files", "echo", json!({"a": 1}))
        .await
        .ok();
    let mut held = Vec::new();
    for n in [2, 2, 3, 3] {
        held.push(from([127, 0, 0, n], &bed).await);
    }
    let heard = until_closed(&mut from([127, 0, 0, 4], &bed).await).await;
    assert!(
        String::from_utf8_lossy(&heard).starts_with("HTTP/1.1 503"),
        "full"
    );

    let body = json!({"scope": "identity", "name": identity, "reason": "a drill"});
    let path = "/v1/tenants/acme/kill";
    let (status, problem) = at_socket_as(&bed, path, None, &body).await;
    assert_eq!(
        (status, &problem["code"]),
        (401, &json!("session.invalid")),
        "the folder alone is no session"
    );
    let (status, killed) = at_socket_as(&bed, path, Some(&bed.session()), &body).await;
    assert_eq!((status, &killed["effect"]), (200, &json!("kill")), "{killed}");
    assert!(
        killed["points"].as_array().is_some_and(|p| !p.is_empty()),
        "{killed}"
    );
    let (status, _) = at_socket_as(&bed, "/v1/tenants", Some(&bed.session()), &json!({})).await;
    assert_eq!(status, 404, "nothing but claim and stops is served there");
    drop(held);
    let refused = bed.call(&token, "acme", "files", "echo", json!({"a": 1})).await;
    assert_eq!(refused.status, 401, "{}", refused.text());
}

/// The head alone, with a promise of a body.
async fn head_only(bed: &Bed, path: &str, more: &str) -> String {
    let mut stream = TcpStream::connect(bed.address()).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: 1048576\r\n{more}\r\n",
        bed.address()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0_u8; 4_096];
    // Half of what a body gets to arrive: an answer within it did not wait for one.
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await;
    let n = read
        .unwrap_or_else(|_| panic!("{path}: the body is waited for"))
        .unwrap();
    String::from_utf8_lossy(&answer[..n]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_body_is_taken_before_its_sender_is_known() {
    let bed = Bed::start().await;
    bed.add_tenant("acme").await;
    let mut asked = 0;
    for route in bailiwick_server::routes() {
        // These authenticate by their body, of 64 KiB at most.
        let by_body = ["/token", "/revoke", "/introspect", "/ssf/events", "/join"];
        if route.method != "POST" || by_body.iter().any(|end| route.path.ends_with(end)) {
            continue;
        }
        let path = route
            .path
            .replace("{tenant}", "acme")
            .replace("{server}", "files")
            .replace("{id}", "x")
            .replace("{stream}", "x")
            .replace("{name}", "x");
        let answer = head_only(&bed, &path, "").await;
        // A page belongs to the browser that began it; for every other one it is not there.
        let refused = if path.contains("/authorize/") { 404 } else { 401 };
        let status = format!("HTTP/1.1 {refused}");
        assert!(answer.starts_with(&status), "{path}: {answer}");
        asked += 1;
    }
    assert!(asked >= 15, "{asked} doors");
    let session = format!("{}: Bearer {}\r\n", header::AUTHORIZATION, bed.session());
    let answer = head_only(&bed, "/v1/tenants/acme/kill", &session).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "a stop is short: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_beyond_the_budget_are_refused_for_now_and_operators_keep_theirs() {
    let bed = Bed::start_with(|config| config.listen.body_mib_max = 8).await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    bed.add_server("acme", "revoke", &desk).await;
    let worker = bed.add_identity("acme", "worker").await;
    let (_, token) = bed.open_task("acme", &worker, &["revoke:echo"]).await;
    // A quarter of 8 MiB is for token requests: 33 of 64 KiB are one too many.
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..40 {
        let mut stream = TcpStream::connect(bed.address()).await.unwrap();
        let head = format!(
            "POST /t/acme/token HTTP/1.1\r\nhost: {}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 65536\r\n\r\n",
            bed.address()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let _full = stream.write_all(&[b'a'; 65_535]).await;
        held.push(stream);
    }
    for stream in held.iter_mut().rev() {
        let mut answer = vec![0_u8; 4_096];
        let read = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut answer)).await;
        if let Ok(Ok(n @ 1..)) = read {
            let text = String::from_utf8_lossy(&answer[..n]).to_ascii_lowercase();
            assert!(text.starts_with("http/1.1 503"), "{text}");
            assert!(
                text.contains("retry-after: 1") && text.contains("request.busy"),
                "{text}"
            );
            refused += 1;
            break;
        }
    }
    assert!(refused > 0, "nothing was refused");
    bed.add_identity("acme", "invoices").await;
    // A server whose name is that of an endpoint is called like any other.
    let args = json!({"text": "x".repeat(128 * 1024)});
    bed.call(&token, "acme", "revoke", "echo", args).await.ok();
}
