//! Where upstream connections may go.

use serde_json::json;

use crate::server::Server;
use crate::world::{World, json_of, modern};

#[tokio::test]
async fn a_private_address_is_not_connected_to_without_leave() {
    let (world, server) = (World::new(), Server::start(true).await);
    let bailiwick_decide::Connection::Http { url, .. } = server.connection() else {
        panic!()
    };
    for (url, plaintext) in [
        (url.clone(), true),
        (url.replace("127.0.0.1", "localhost"), true),
        (url.clone(), false),
    ] {
        let connection = bailiwick_decide::Connection::Http {
            url,
            allow_addresses: vec![],
            allow_plaintext: plaintext,
        };
        let server = std::sync::Arc::new(world.unpinned("up", connection));
        let refused = world.gateway.inspect(&server).await.unwrap_err();
        assert_eq!(refused.code(), "upstream.guarded", "{refused}");
    }
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn redirects_challenges_and_errors_are_not_followed_or_shown() {
    let (world, server) = (World::new(), Server::start(true).await);
    world.add("up", server.connection()).await;
    world.grant("t", 1, &["up:*"]);
    let canned = [
        (302, "text/html", "", "upstream.redirected"),
        (401, "application/json", "{}", "upstream.refused"),
        (500, "text/plain", "stack trace", "upstream.not-mcp"),
        (200, "text/html", "<html>", "upstream.not-mcp"),
        (200, "application/json", "{", "upstream.not-mcp"),
        (
            200,
            "application/json",
            r#"{"jsonrpc":"2.0","id":"another","result":{}}"#,
            "upstream.not-mcp",
        ),
        (
            200,
            "application/json",
            r#"{"jsonrpc":"2.0","id":"$ID","result":{},"error":{"code":1,"message":""}}"#,
            "upstream.not-mcp",
        ),
        (
            200,
            "text/event-stream",
            "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\"}\n\n",
            "upstream.not-mcp",
        ),
        (200, "text/event-stream", "data: no\n\n", "upstream.not-mcp"),
        (200, "text/event-stream", ": nothing\n\n", "upstream.closed"),
    ];
    for (status, kind, body, code) in canned {
        *server.state.canned.lock().unwrap() = Some(("tools/call".to_owned(), status, kind, body.to_owned()));
        let response = world
            .send(modern("t", "up", json!(1), "tools/call", json!({"name": "echo"})))
            .await;
        assert_eq!(response.status(), 200, "{status} {body}");
        assert!(response.headers().get("www-authenticate").is_none());
        let answer = json_of(response).await;
        assert_eq!(answer["error"]["code"], -32603, "{status} {body}: {answer}");
        assert_eq!(answer["error"]["data"]["code"], code, "{status} {body}");
        assert!(!answer.to_string().contains("stack trace"));
    }
}

#[tokio::test]
async fn a_credential_that_comes_back_is_withheld() {
    let (world, server) = (World::new(), Server::start(true).await);
    world.add("up", server.connection()).await;
    world.grant("t", 1, &["up:*"]);
    let body = json_of(
        world
            .send(modern(
                "t",
                "up",
                json!(1),
                "tools/call",
                json!({"name": "reflect"}),
            ))
            .await,
    )
    .await;
    assert_eq!(
        body["error"]["data"]["code"], "upstream.credential-returned",
        "{body}"
    );
    assert!(!body.to_string().contains(crate::world::UPSTREAM_SECRET));
}

#[tokio::test]
async fn a_reply_that_is_too_long_is_refused() {
    let world = World::with(|c| c.reply_max = 64 * 1024);
    let server = Server::start(true).await;
    world.add("up", server.connection()).await;
    world.grant("t", 1, &["up:*"]);
    let long = format!(
        r#"{{"jsonrpc":"2.0","id":"$ID","result":{{"resultType":"complete","x":"{}"}}}}"#,
        "x".repeat(70_000)
    );
    for (kind, body) in [
        ("application/json", long.clone()),
        ("text/event-stream", format!("data: {long}\n\n")),
    ] {
        *server.state.canned.lock().unwrap() = Some(("tools/call".to_owned(), 200, kind, body));
        let body = json_of(
            world
                .send(modern("t", "up", json!(1), "tools/call", json!({"name": "echo"})))
                .await,
        )
        .await;
        assert_eq!(body["error"]["data"]["code"], "upstream.too-long", "{kind}");
    }
}
