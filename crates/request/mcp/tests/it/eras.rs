//! The four pairs of eras, over HTTP and over standard streams.

use bailiwick_decide::Connection;
use serde_json::{Value, json};

use crate::server::{Server, TOOLS};
use crate::world::{World, call, events_of, in_session, json_of, modern, open, text_of};

const ALL: &[&str] = &["up:*"];

/// Every kind of upstream server under the name `up`, one world each.
async fn everywhere() -> Vec<(&'static str, World, Option<Server>)> {
    let mut out = Vec::new();
    for (name, is_modern) in [("modern http", true), ("legacy http", false)] {
        let (world, server) = (World::new(), Server::start(is_modern).await);
        world.add("up", server.connection()).await;
        out.push((name, world, Some(server)));
    }
    for (name, mode) in [("modern program", "modern"), ("legacy program", "legacy")] {
        let world = World::with_launcher();
        let connection: Connection = world.exec(&[mode]);
        world.add("up", connection).await;
        out.push((name, world, None));
    }
    for (_, world, _) in &out {
        world.grant("t", 1, ALL);
    }
    out
}

fn names(list: &Value) -> Vec<String> {
    let tools = list["result"]["tools"]
        .as_array()
        .unwrap_or_else(|| panic!("no tools: {list}"));
    tools
        .iter()
        .map(|t| t["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_stateless_caller_discovers_lists_and_calls_everywhere() {
    for (kind, world, _server) in everywhere().await {
        let body = json_of(
            world
                .send(modern("t", "up", json!("d"), "server/discover", json!({})))
                .await,
        )
        .await;
        assert_eq!(body["id"], "d", "{kind}: {body}");
        assert_eq!(
            body["result"]["supportedVersions"],
            json!(["2026-07-28"]),
            "{kind}"
        );
        assert_eq!(body["result"]["cacheScope"], "private", "{kind}");
        assert!(body["result"]["capabilities"]["tools"].is_object(), "{kind}");
        let body = json_of(
            world
                .send(modern("t", "up", json!(0), "tools/list", json!({})))
                .await,
        )
        .await;
        assert_eq!(body["result"]["resultType"], "complete", "{kind}");
        assert_eq!(body["result"]["cacheScope"], "private", "{kind}");
        assert!(body["result"]["ttlMs"].as_u64().unwrap() <= 5_000, "{kind}");
        assert!(names(&body).contains(&"echo".to_owned()), "{kind}");
        let params = json!({"name": "echo", "arguments": {"text": "hi", "n": 10.0}});
        let response = world
            .send(modern("t", "up", json!(7), "tools/call", params))
            .await;
        assert_eq!(response.status(), 200, "{kind}");
        let text = text_of(response).await;
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(body["id"], 7, "{kind}: {text}");
        assert_eq!(body["result"]["resultType"], "complete", "{kind}: {text}");
        assert!(
            body["result"]["content"][0]["text"]
                .as_str()
                .unwrap()
                .contains(r#""text":"hi""#),
            "{kind}: {text}"
        );
    }
}

#[tokio::test]
async fn a_session_initializes_lists_and_calls_everywhere() {
    for (kind, world, _server) in everywhere().await {
        let session = open(&world, "t", "up", json!({})).await;
        let body = json_of(
            world
                .send(in_session("t", "up", &session, &call(1, "tools/list", json!({}))))
                .await,
        )
        .await;
        assert!(body["result"].get("resultType").is_none(), "{kind}");
        assert!(names(&body).contains(&"echo".to_owned()), "{kind}");
        let params = json!({"name": "echo", "arguments": {"text": "hi"}});
        let body = json_of(
            world
                .send(in_session("t", "up", &session, &call(2, "tools/call", params)))
                .await,
        )
        .await;
        assert_eq!(body["id"], 2, "{kind}: {body}");
        assert!(body["result"].get("resultType").is_none(), "{kind}: {body}");
        assert!(
            body["result"]["content"][0]["text"]
                .as_str()
                .unwrap()
                .contains("hi"),
            "{kind}: {body}"
        );
        let body = json_of(
            world
                .send(in_session("t", "up", &session, &call(3, "ping", json!({}))))
                .await,
        )
        .await;
        assert_eq!(body["result"], json!({}), "{kind}");
    }
}

#[tokio::test]
async fn progress_arrives_with_the_callers_own_token_everywhere() {
    for (kind, world, _server) in everywhere().await {
        let params = json!({"name": "progress", "arguments": {}, "_meta": {"progressToken": "mine"}});
        let response = world
            .send(modern("t", "up", json!(7), "tools/call", params.clone()))
            .await;
        assert_eq!(response.headers()["content-type"], "text/event-stream", "{kind}");
        let events = events_of(&text_of(response).await);
        let tokens: Vec<&Value> = events.iter().map(|e| &e["params"]["progressToken"]).collect();
        assert_eq!(
            tokens,
            [&json!("mine"), &json!("mine"), &Value::Null],
            "{kind}: {events:?}"
        );
        assert_eq!(events[2]["id"], 7, "{kind}");
        let session = open(&world, "t", "up", json!({})).await;
        let response = world
            .send(in_session("t", "up", &session, &call(4, "tools/call", params)))
            .await;
        let events = events_of(&text_of(response).await);
        assert_eq!(events.len(), 3, "{kind}: {events:?}");
        assert_eq!(events[0]["params"]["progressToken"], "mine", "{kind}");
        assert_eq!(events[2]["id"], 4, "{kind}");
    }
}

#[tokio::test]
async fn exact_argument_bytes_reach_an_http_server() {
    for is_modern in [true, false] {
        let (world, server) = (World::new(), Server::start(is_modern).await);
        world.add("up", server.connection()).await;
        world.grant("t", 1, ALL);
        let arguments = r#"{ "n":1.50,  "big":1234567890123456789,"s":"\u00e9\/" }"#;
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"arguments":{arguments},"name":"echo","_meta":{}}}}}"#,
            crate::world::envelope()
        );
        let message = crate::world::message("t", "up")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "echo")
            .body(axum::body::Body::from(body))
            .unwrap();
        let response = world.send(message).await;
        assert_eq!(response.status(), 200, "{}", text_of(response).await);
        let sent = server.received("tools/call");
        assert_eq!(sent.len(), 1);
        assert!(sent[0].text.contains(arguments), "{}", sent[0].text);
        assert_eq!(
            sent[0].header("authorization"),
            format!("Bearer {}", crate::world::UPSTREAM_SECRET)
        );
        assert!(!sent[0].text.contains("Bearer t"));
    }
}

#[tokio::test]
async fn a_list_shows_only_what_may_be_called_sorted() {
    let (world, server) = (World::new(), Server::start(true).await);
    world.add("up", server.connection()).await;
    world.grant("one", 1, &["up:echo"]);
    world.grant("all", 2, ALL);
    let list = |token| modern(token, "up", json!(1), "tools/list", json!({}));
    assert_eq!(names(&json_of(world.send(list("one")).await).await), ["echo"]);
    assert_eq!(names(&json_of(world.send(list("all")).await).await), TOOLS);
}
