//! What a message must be before anything is decided, and what a refusal looks like.

use axum::body::Body;
use bailiwick_credential::TaskState;
use bailiwick_decide::MarkScope;
use serde_json::{Value, json};

use crate::server::Server;
use crate::world::{
    World, call, envelope, identity_id, in_session, initialize, json_of, message, modern, open, task, task_id,
};

async fn world() -> (World, Server) {
    let (world, server) = (World::new(), Server::start(true).await);
    world.add("up", server.connection()).await;
    world.grant("t", 1, &["up:echo"]);
    (world, server)
}

fn post(headers: &[(&str, &str)], body: &Value) -> http::Request<Body> {
    let mut builder = message("t", "up");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Body::from(body.to_string())).unwrap()
}

fn echo(meta: &Value) -> Value {
    call(
        5,
        "tools/call",
        json!({"name": "echo", "arguments": {}, "_meta": meta}),
    )
}

fn challenge_of(response: &http::Response<Body>) -> String {
    response.headers()["www-authenticate"]
        .to_str()
        .unwrap()
        .to_owned()
}

const GOOD: [(&str, &str); 3] = [
    ("mcp-protocol-version", "2026-07-28"),
    ("mcp-method", "tools/call"),
    ("mcp-name", "echo"),
];

#[tokio::test]
async fn headers_must_agree_with_the_body() {
    let (world, server) = world().await;
    let before = server.count();
    let with = |changed: usize, value: Option<&'static str>| {
        let mut headers: Vec<(&str, &str)> = GOOD.to_vec();
        match value {
            Some(value) => headers[changed].1 = value,
            None => {
                headers.remove(changed);
            }
        }
        headers
    };
    let mut cases = Vec::new();
    for changed in 0..3 {
        cases.push((with(changed, None), 400, -32020));
    }
    cases.push((with(0, Some("v999.0.0")), 400, -32020));
    cases.push((with(1, Some("tools/list")), 400, -32020));
    cases.push((with(1, Some("TOOLS/CALL")), 400, -32020));
    cases.push((with(2, Some("other")), 400, -32020));
    cases.push((with(2, Some("=?base64?ZWNobw?=")), 400, -32020));
    cases.push((with(2, Some("=?BASE64?ZWNobw==?=")), 400, -32020));
    for (headers, status, code) in cases {
        // Without the version header the body alone says which era it is.
        let response = world.send(post(&headers, &echo(&envelope()))).await;
        assert_eq!(response.status(), status, "{headers:?}");
        let body = json_of(response).await;
        assert_eq!(body["error"]["code"], code, "{headers:?}: {body}");
        assert_eq!(body["id"], 5);
    }
    assert_eq!(server.count(), before, "nothing was forwarded");
    let encoded = with(2, Some("=?base64?ZWNobw==?="));
    assert_eq!(world.send(post(&encoded, &echo(&envelope()))).await.status(), 200);
    assert!(
        world.decisions().iter().filter(|d| d.2 != "permit").count() >= 9,
        "refused messages are recorded"
    );
}

#[tokio::test]
async fn the_envelope_is_required_and_its_version_known() {
    let (world, _server) = world().await;
    for key in ["protocolVersion", "clientCapabilities"] {
        let mut meta = envelope();
        meta.as_object_mut()
            .unwrap()
            .remove(&format!("io.modelcontextprotocol/{key}"));
        let response = world.send(post(&GOOD, &echo(&meta))).await;
        assert_eq!(response.status(), 400);
        assert_eq!(json_of(response).await["error"]["code"], -32602, "{key}");
    }
    let mut meta = envelope();
    meta.as_object_mut()
        .unwrap()
        .remove("io.modelcontextprotocol/clientInfo");
    assert_eq!(world.send(post(&GOOD, &echo(&meta))).await.status(), 200);
    meta["io.modelcontextprotocol/protocolVersion"] = json!("v999.0.0");
    let mut headers = GOOD;
    headers[0].1 = "v999.0.0";
    let response = world.send(post(&headers, &echo(&meta))).await;
    assert_eq!(response.status(), 400);
    let body = json_of(response).await;
    assert_eq!(body["error"]["code"], -32022);
    assert_eq!(
        body["error"]["data"],
        json!({"supported": ["2026-07-28"], "requested": "v999.0.0"})
    );
}

#[tokio::test]
async fn methods_of_the_other_era_do_not_exist() {
    let (world, server) = world().await;
    let before = server.count();
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "unknown/method",
        "Tools/call",
    ] {
        let response = world.send(modern("t", "up", json!("x"), method, json!({}))).await;
        assert_eq!(response.status(), 404, "{method}");
        let body = json_of(response).await;
        assert_eq!(
            (&body["error"]["code"], &body["id"]),
            (&json!(-32601), &json!("x")),
            "{method}"
        );
    }
    assert_eq!(server.count(), before);
}

#[tokio::test]
async fn challenges_are_those_of_the_standard() {
    let (world, server) = world().await;
    let before = server.count();
    let metadata =
        "resource_metadata=\"https://bailiwick.example/.well-known/oauth-protected-resource/t/acme/mcp\"";
    let mut none = modern("t", "up", json!(1), "tools/list", json!({}));
    none.headers_mut().remove("authorization");
    let response = world.send(none).await;
    assert_eq!(response.status(), 401);
    assert_eq!(challenge_of(&response), format!("Bearer {metadata}"));
    let response = world
        .send(modern("forged", "up", json!(1), "tools/list", json!({})))
        .await;
    assert_eq!(response.status(), 401);
    let challenge = challenge_of(&response);
    assert!(
        challenge.contains(metadata) && challenge.contains("error=\"invalid_token\""),
        "{challenge}"
    );
    assert_eq!(json_of(response).await["code"], "token.signature");
    // A scope that is not in the token.
    let response = world
        .send(modern("t", "up", json!(1), "tools/call", json!({"name": "hang"})))
        .await;
    assert_eq!(response.status(), 403);
    let challenge = challenge_of(&response);
    assert!(
        challenge.contains("error=\"insufficient_scope\", scope=\"up:hang\""),
        "{challenge}"
    );
    assert!(
        json_of(response).await["error"]["data"]["decision_id"]
            .as_str()
            .unwrap()
            .starts_with("dec_")
    );
    // A dead credential.
    world
        .cell
        .publish([task(
            1,
            &["up:echo"],
            TaskState::Closed {
                at: crate::world::at(0),
                reason: "done".to_owned(),
            },
        )])
        .unwrap();
    let response = world
        .send(modern("t", "up", json!(1), "tools/list", json!({})))
        .await;
    assert_eq!(response.status(), 401);
    assert_eq!(json_of(response).await["error"]["data"]["code"], "task.closed");
    assert_eq!(server.count(), before);
}

#[tokio::test]
async fn a_grant_refuses_with_200_and_says_why() {
    let (world, server) = (World::new(), Server::start(true).await);
    world.add("up", server.connection()).await;
    world.grant("t", 1, &[r#"up:echo(path under "/srv/invoices")"#]);
    let params = |path: &str| json!({"name": "echo", "arguments": {"path": path}});
    let response = world
        .send(modern(
            "t",
            "up",
            json!(1),
            "tools/call",
            params("/srv/invoices/a"),
        ))
        .await;
    assert_eq!(
        (
            response.status().as_u16(),
            json_of(response).await["error"].is_null()
        ),
        (200, true)
    );
    let response = world
        .send(modern("t", "up", json!(2), "tools/call", params("/etc/shadow")))
        .await;
    assert_eq!(response.status(), 200);
    let body = json_of(response).await;
    assert_eq!(body["error"]["code"], -32001);
    assert_eq!(body["error"]["data"]["code"], "grant.argument-out-of-scope");
    assert!(
        body["error"]["data"]["reason"]
            .as_str()
            .is_some_and(|r| !r.is_empty())
    );
    assert!(
        body["error"]["data"]["decision_id"]
            .as_str()
            .unwrap()
            .starts_with("dec_")
    );
    assert_eq!(server.received("tools/call").len(), 1);
}

#[tokio::test]
async fn a_session_belongs_to_who_opened_it() {
    let (world, _server) = world().await;
    world.grant("other", 2, &["up:echo"]);
    let session = open(&world, "t", "up", json!({})).await;
    let list = call(1, "tools/list", json!({}));
    assert_eq!(
        world
            .send(in_session("other", "up", &session, &list))
            .await
            .status(),
        404
    );
    assert_eq!(
        world.send(in_session("t", "up", "guessed", &list)).await.status(),
        404
    );
    assert_eq!(
        world.send(in_session("t", "up", &session, &list)).await.status(),
        200
    );
    let without = message("t", "up").body(Body::from(list.to_string())).unwrap();
    assert_eq!(world.send(without).await.status(), 400);
    let end = |token| {
        let mut end = in_session(token, "up", &session, &json!({}));
        *end.method_mut() = http::Method::DELETE;
        end
    };
    assert_eq!(world.send(end("other")).await.status(), 404);
    assert_eq!(world.send(end("t")).await.status(), 200);
    assert_eq!(
        world.send(in_session("t", "up", &session, &list)).await.status(),
        404
    );
    assert_eq!(world.gateway.open_sessions(), 0);
}

#[tokio::test]
async fn a_stream_is_resumed_by_its_own_session_only() {
    let (world, _server) = world().await;
    world.grant("other", 2, &["up:echo"]);
    let session = open(&world, "t", "up", json!({})).await;
    let stream = |token: &str| {
        let mut stream = in_session(token, "up", &session, &json!({}));
        *stream.method_mut() = http::Method::GET;
        stream.headers_mut().insert("last-event-id", "1".parse().unwrap());
        stream
    };
    assert_eq!(world.send(stream("other")).await.status(), 404);
    let open = world.send(stream("t")).await;
    assert_eq!(open.status(), 200);
    assert_eq!(
        world.send(stream("t")).await.status(),
        409,
        "one stream at a time"
    );
    drop(open);
    assert_eq!(world.send(stream("t")).await.status(), 200);
}

#[tokio::test]
async fn sessions_are_bounded_and_end_when_idle_or_dead() {
    let world = World::with(|c| c.sessions_per_identity_max = 2);
    let server = Server::start(true).await;
    world.add("up", server.connection()).await;
    world.grant("t", 1, &["up:echo"]);
    world.grant("other", 2, &["up:echo"]);
    for _ in 0..2 {
        open(&world, "t", "up", json!({})).await;
    }
    let refused = json_of(world.send(initialize("t", "up", json!({}))).await).await;
    assert_eq!(refused["error"]["data"]["code"], "upstream.busy", "{refused}");
    open(&world, "other", "up", json!({})).await;
    assert_eq!(world.gateway.open_sessions(), 3);
    world.gateway.sweep();
    assert_eq!(world.gateway.open_sessions(), 3);
    world.kill(MarkScope::Task(task_id(1)));
    world.gateway.sweep();
    assert_eq!(world.gateway.open_sessions(), 1);
    world.clock.advance(std::time::Duration::from_secs(1_801));
    world.gateway.sweep();
    assert_eq!(world.gateway.open_sessions(), 0);
}

#[tokio::test]
async fn nothing_unrecorded_is_forwarded() {
    let (world, server) = world().await;
    world.kill(MarkScope::Identity(identity_id(1)));
    let before = server.count();
    let response = world
        .send(modern("t", "up", json!(1), "tools/call", json!({"name": "echo"})))
        .await;
    assert_eq!(response.status(), 401);
    assert_eq!(server.count(), before);
}

#[tokio::test]
async fn an_unknown_server_is_not_found_and_recorded() {
    let (world, _server) = world().await;
    world.grant("t", 1, &["nowhere:echo"]);
    let response = world
        .send(modern("t", "nowhere", json!(1), "tools/list", json!({})))
        .await;
    assert_eq!(response.status(), 404);
    assert_eq!(json_of(response).await["error"]["data"]["code"], "server.unknown");
}

#[tokio::test]
async fn lists_show_only_what_may_be_used() {
    let (world, server) = (World::new(), Server::start(true).await);
    world.add("up", server.connection()).await;
    let some = r#"up:resources/read(uri in ["file:///srv/a"])"#;
    world.grant("t", 1, &["up:echo", some]);
    world.grant("all", 2, &["up:*"]);
    let cases = [
        ("t", "prompts/list", "prompts", 0),
        ("t", "resources/list", "resources", 1),
        ("t", "resources/templates/list", "resourceTemplates", 1),
        ("all", "prompts/list", "prompts", 1),
        ("all", "resources/list", "resources", 2),
        ("all", "resources/templates/list", "resourceTemplates", 1),
    ];
    for (token, method, member, count) in cases {
        let body = json_of(world.send(modern(token, "up", json!(1), method, json!({}))).await).await;
        let items = body["result"][member]
            .as_array()
            .unwrap_or_else(|| panic!("{method}: {body}"));
        assert_eq!(items.len(), count, "{token} {method}: {body}");
        assert_eq!(body["result"]["cacheScope"], "private");
    }
    let read = |uri: &str| modern("t", "up", json!(1), "resources/read", json!({"uri": uri}));
    let body = json_of(world.send(read("file:///srv/a")).await).await;
    assert_eq!(body["error"]["code"], -32602, "the server's own answer: {body}");
    let body = json_of(world.send(read("file:///etc/b")).await).await;
    assert_eq!(
        body["error"]["data"]["code"], "grant.argument-out-of-scope",
        "{body}"
    );
    let response = world
        .send(modern(
            "t",
            "up",
            json!(1),
            "prompts/get",
            json!({"name": "greet"}),
        ))
        .await;
    assert_eq!(response.status(), 403);
    let challenge = challenge_of(&response);
    assert!(challenge.contains("scope=\"up:prompts/get\""), "{challenge}");
}

/// A client of so many bytes, name and capabilities together.
fn long_client(bytes: usize) -> (Value, Value) {
    let capabilities = json!({"experimental": {"words": "x".repeat(bytes / 2)}});
    let rest = bytes - capabilities.to_string().len() - r#"{"name":""}"#.len();
    (json!({"name": "n".repeat(rest)}), capabilities)
}

#[tokio::test]
async fn what_a_client_says_about_itself_is_bounded_in_both_eras() {
    let (world, server) = world().await;
    let before = server.count();
    for (bytes, fits) in [(8_192, true), (8_193, false), (900_000, false)] {
        let (info, capabilities) = long_client(bytes);
        let mut meta = envelope();
        meta["io.modelcontextprotocol/clientInfo"] = info.clone();
        meta["io.modelcontextprotocol/clientCapabilities"] = capabilities.clone();
        let stateless = world.send(post(&GOOD, &echo(&meta))).await;
        let params =
            json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": info});
        let session = world.send(post(&[], &call(5, "initialize", params))).await;
        for response in [stateless, session] {
            let status = response.status();
            let body = json_of(response).await;
            if fits {
                assert_eq!((status.as_u16(), &body["error"]), (200, &Value::Null), "{body}");
                continue;
            }
            assert_eq!((status.as_u16(), &body["error"]["code"]), (400, &json!(-32602)));
            let text = body["error"]["message"].as_str().unwrap();
            assert!(
                text.contains("clientInfo") && text.contains("8192 bytes"),
                "{text}"
            );
        }
    }
    assert_eq!(
        server.received("tools/call").len(),
        1,
        "refused before the server"
    );
    assert!(server.count() > before);
}
