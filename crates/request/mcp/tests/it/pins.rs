//! Tool definitions: pinned, drifted, new, missing.

use std::time::Duration;

use bailiwick_decide::PinState;
use serde_json::{Value, json};

use crate::server::{Server, tool};
use crate::world::{World, json_of, modern, tenant_id};

async fn world() -> (World, Server) {
    let (world, server) = (World::new(), Server::start(true).await);
    world.add("up", server.connection()).await;
    world.grant("t", 1, &["up:*"]);
    (world, server)
}

fn echo(id: i64) -> http::Request<axum::body::Body> {
    modern("t", "up", json!(id), "tools/call", json!({"name": "echo"}))
}

async fn shown(world: &World) -> Vec<String> {
    let body = json_of(
        world
            .send(modern("t", "up", json!(1), "tools/list", json!({})))
            .await,
    )
    .await;
    let tools = body["result"]["tools"].as_array().unwrap().clone();
    tools
        .iter()
        .map(|t| t["name"].as_str().unwrap().to_owned())
        .collect()
}

fn change(server: &Server, name: &str, change: impl Fn(&mut Value)) {
    for tool in server
        .state
        .tools
        .lock()
        .unwrap()
        .iter_mut()
        .filter(|t| t["name"] == name)
    {
        change(tool);
    }
}

#[tokio::test]
async fn a_changed_tool_is_hidden_refused_and_reported_once() {
    let (world, server) = world().await;
    assert_eq!(json_of(world.send(echo(1)).await).await["error"], Value::Null);
    change(&server, "echo", |t| {
        t["description"] = json!("now does something else")
    });
    // Within the bound the known list is used; after it the change is seen before the call is forwarded.
    world.clock.advance(Duration::from_secs(6));
    let body = json_of(world.send(echo(2)).await).await;
    assert_eq!(body["error"]["code"], -32001, "{body}");
    assert_eq!(body["error"]["data"]["code"], "tool.drifted");
    assert_eq!(server.received("tools/call").len(), 1);
    assert!(!shown(&world).await.contains(&"echo".to_owned()));
    assert!(shown(&world).await.contains(&"progress".to_owned()));
    world.clock.advance(Duration::from_secs(6));
    json_of(world.send(echo(3)).await).await;
    assert_eq!(world.reports.lock().unwrap().len(), 1, "reported once");
    // Back to what it was: an operator has to look all the same.
    change(&server, "echo", |t| t["description"] = json!("the echo tool"));
    world.clock.advance(Duration::from_secs(6));
    let body = json_of(world.send(echo(4)).await).await;
    assert_eq!(body["error"]["data"]["code"], "tool.drifted", "{body}");
    // Pinned again.
    world.add("up", server.connection()).await;
    world.clock.advance(Duration::from_secs(6));
    assert_eq!(json_of(world.send(echo(5)).await).await["error"], Value::Null);
    let denied = world.decisions().iter().filter(|d| d.2 == "tool.drifted").count();
    assert_eq!(denied, 3, "every refusal is recorded");
}

#[tokio::test]
async fn a_new_tool_is_hidden_and_refused_until_pinned() {
    let (world, server) = world().await;
    server.state.tools.lock().unwrap().push(tool("extra"));
    assert!(!shown(&world).await.contains(&"extra".to_owned()));
    let call = || modern("t", "up", json!(1), "tools/call", json!({"name": "extra"}));
    let body = json_of(world.send(call()).await).await;
    assert_eq!(body["error"]["data"]["code"], "tool.not-pinned", "{body}");
    let snapshot = world.cell.load();
    let server_name = bailiwick_base::ServerName::parse("up").unwrap();
    let pins = &snapshot.server(&tenant_id(), &server_name).unwrap().pins;
    assert!(
        pins.iter()
            .any(|p| p.name.as_str() == "extra" && p.state == PinState::New)
    );
    world.add("up", server.connection()).await;
    world.clock.advance(Duration::from_secs(6));
    assert_eq!(json_of(world.send(call()).await).await["error"], Value::Null);
}

#[tokio::test]
async fn a_missing_or_doubled_tool_is_not_called() {
    let (world, server) = world().await;
    server.state.tools.lock().unwrap().retain(|t| t["name"] != "echo");
    let body = json_of(world.send(echo(1)).await).await;
    assert_eq!(body["error"]["data"]["code"], "tool.drifted", "{body}");
    assert_eq!(world.reports.lock().unwrap()[0].missing[0].as_str(), "echo");
    let mut other = tool("echo");
    other["description"] = json!("a second one");
    server.state.tools.lock().unwrap().extend([tool("echo"), other]);
    world.clock.advance(Duration::from_secs(6));
    let body = json_of(world.send(echo(2)).await).await;
    assert_eq!(body["error"]["data"]["code"], "tool.drifted", "{body}");
    assert_eq!(server.received("tools/call").len(), 0);
}

#[tokio::test]
async fn a_report_that_was_not_recorded_is_made_again() {
    let (world, server) = world().await;
    server.state.tools.lock().unwrap().retain(|t| t["name"] != "echo");
    world.lost.store(1, std::sync::atomic::Ordering::SeqCst);
    for recorded in [0, 1, 1] {
        json_of(world.send(echo(1)).await).await;
        assert_eq!(world.reports.lock().unwrap().len(), recorded);
        world.clock.advance(Duration::from_secs(6));
    }
    assert_eq!(world.reports.lock().unwrap()[0].missing[0].as_str(), "echo");
}

const GOOD: [&[(&str, &str)]; 3] = [
    &[("mcp-param-region", "Hello"), ("mcp-param-n", "42")],
    &[
        ("mcp-param-region", "=?base64?SGVsbG8=?="),
        ("mcp-param-n", "42.0"),
    ],
    &[
        ("mcp-param-region", " Hello "),
        ("mcp-param-n", "42"),
        ("mcp-param-other", "x"),
    ],
];

const BAD: [&[(&str, &str)]; 6] = [
    &[("mcp-param-n", "42")],
    &[("mcp-param-region", "hello"), ("mcp-param-n", "42")],
    &[("mcp-param-region", "Hello"), ("mcp-param-n", "43")],
    &[("mcp-param-region", "=?base64?SGVsbG8?="), ("mcp-param-n", "42")],
    &[
        ("mcp-param-region", "=?base64?SGVs!!!bG8=?="),
        ("mcp-param-n", "42"),
    ],
    &[("mcp-param-region", "=?base64?SGVsbG8="), ("mcp-param-n", "42")],
];

#[tokio::test]
async fn parameters_in_headers_are_compared_with_the_body() {
    let (world, server) = (World::new(), Server::start(true).await);
    change(&server, "echo", |t| {
        t["inputSchema"] = json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "deep": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
        }});
    });
    world.add("up", server.connection()).await;
    world.grant("t", 1, &["up:*"]);
    let call = |headers: &[(&'static str, &'static str)], arguments: Value| {
        let mut message = modern(
            "t",
            "up",
            json!(1),
            "tools/call",
            json!({"name": "echo", "arguments": arguments}),
        );
        for (name, value) in headers {
            message.headers_mut().insert(*name, value.parse().unwrap());
        }
        message
    };
    let both = json!({"region": "Hello", "deep": {"n": 42}});
    for headers in GOOD {
        assert_eq!(
            world.send(call(headers, both.clone())).await.status(),
            200,
            "{headers:?}"
        );
    }
    assert_eq!(
        server.received("tools/call")[1].header("mcp-param-region"),
        "Hello"
    );
    assert_eq!(server.received("tools/call")[2].header("mcp-param-other"), "");
    for headers in BAD {
        let response = world.send(call(headers, both.clone())).await;
        assert_eq!(response.status(), 400, "{headers:?}");
        assert_eq!(json_of(response).await["error"]["code"], -32020, "{headers:?}");
    }
    assert_eq!(world.send(call(&[], json!({"region": null}))).await.status(), 200);
    // A session has no such headers: they are made from the body.
    let session = crate::world::open(&world, "t", "up", json!({})).await;
    let body = crate::world::call(2, "tools/call", json!({"name": "echo", "arguments": both}));
    assert_eq!(
        world
            .send(crate::world::in_session("t", "up", &session, &body))
            .await
            .status(),
        200
    );
    assert_eq!(
        server
            .received("tools/call")
            .last()
            .unwrap()
            .header("mcp-param-n"),
        "42"
    );
}
