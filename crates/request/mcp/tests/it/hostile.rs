//! The hostile vectors: all but the poisoned texts, which need detection.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bailiwick_base::{Digest, ServerName};
use bailiwick_decide::{Connection, PinState};
use bailiwick_mcp::digest_of_definition;
use bailiwick_mcp::launcher::Program;
use bailiwick_outbound::Endpoint;
use bailiwick_vectors as vectors;
use serde_json::{Value, json};

use crate::server::{Server, tool};
use crate::world::{World, call, envelope, in_session, json_of, message, modern, open, tenant_id, text_of};

fn cases() -> Option<Vec<Value>> {
    let folder = vectors::folder("mcp-hostile")?;
    Some(
        vectors::json(&folder.join("cases.json"))
            .as_array()
            .unwrap()
            .clone(),
    )
}

fn of(class: &str) -> Vec<Value> {
    let cases = cases().unwrap_or_default();
    cases.into_iter().filter(|c| c["class"] == class).collect()
}

/// The classes whose cases are run here, and how many each has.
const RUN: [(&str, usize); 8] = [
    ("http-abuse", 15),
    ("jsonrpc-abuse", 17),
    ("metadata-url", 7),
    ("rug-pull", 8),
    ("rug-pull-control", 2),
    ("schema-bomb", 10),
    ("shadowing", 6),
    ("stdio-command", 8),
];

#[test]
fn every_case_belongs_to_a_class_that_is_run() {
    let Some(cases) = cases() else { return };
    let poisoned = cases
        .iter()
        .filter(|c| c["class"].as_str().unwrap().starts_with("poisoned-"))
        .count();
    for (class, count) in RUN {
        assert_eq!(of(class).len(), count, "{class}");
    }
    assert_eq!(poisoned, 28);
    // Each class says below how many of its cases it ran.
    let run: usize = RUN.iter().map(|(_, n)| n).sum();
    assert_eq!(run + poisoned, cases.len());
    println!(
        "mcp-hostile: {poisoned}/{} left out: poisoned texts need detection",
        cases.len()
    );
}

/// Cases of a class that were run; none is right only where the vectors are not there at all.
fn ran(class: &str, run: usize) {
    if cases().is_some() {
        let expected = RUN.iter().find(|(name, _)| *name == class).map(|(_, n)| *n);
        vectors::report(&format!("mcp-hostile {class}"), run, expected.unwrap());
    }
}

async fn world() -> (World, Server) {
    let (world, server) = (World::new(), Server::start(true).await);
    server.state.tools.lock().unwrap().push(tool("x"));
    world.add("up", server.connection()).await;
    world.grant("t", 1, &["up:*"]);
    world.grant("victim", 2, &["up:*"]);
    // The gateway asks once what the server is; from here on only calls reach it.
    let warm = world
        .send(modern("t", "up", json!(0), "tools/call", json!({"name": "echo"})))
        .await;
    assert_eq!(warm.status(), 200);
    (world, server)
}

#[tokio::test]
async fn http_abuse() {
    let (world, server) = world().await;
    let victim = open(&world, "victim", "up", json!({})).await;
    let mut run = 0;
    for case in of("http-abuse") {
        let before = server.count();
        let body = call(
            1,
            "tools/call",
            json!({"name": "echo", "arguments": {}, "_meta": envelope()}),
        );
        let mut good = modern("t", "up", json!(1), "tools/call", json!({"name": "echo"}));
        *good.body_mut() = Body::from(body.to_string());
        for (name, value) in case["headers"].as_object().unwrap() {
            abuse(&mut good, name, value, &victim);
        }
        let status = world.send(good).await.status();
        assert!(status.is_client_error(), "{}: {status}", case["name"]);
        assert_eq!(server.count(), before, "{}", case["name"]);
        run += 1;
    }
    ran("http-abuse", run);
}

fn abuse(message: &mut http::Request<Body>, name: &str, value: &Value, victim: &str) {
    if name == "_query" {
        *message.uri_mut() = format!("{}?{}", message.uri(), value.as_str().unwrap())
            .parse()
            .unwrap();
        return;
    }
    let header: http::HeaderName = name.parse().unwrap();
    message.headers_mut().remove(&header);
    if header == "mcp-session-id" {
        // A session is only looked at in the era that has them.
        for modern in ["mcp-protocol-version", "mcp-method", "mcp-name"] {
            message.headers_mut().remove(modern);
        }
        *message.body_mut() = Body::from(call(1, "tools/call", json!({"name": "echo"})).to_string());
    }
    let values = match value {
        Value::Null => Vec::new(),
        Value::Array(values) => values.clone(),
        one => vec![one.clone()],
    };
    for value in values {
        let text = value.as_str().unwrap().replace("VICTIM", victim);
        message
            .headers_mut()
            .append(header.clone(), text.parse().unwrap());
    }
}

#[tokio::test]
async fn jsonrpc_abuse_by_a_stateless_caller() {
    let (world, server) = world().await;
    let mut run = 0;
    for case in of("jsonrpc-abuse") {
        let (before, recorded) = (server.count(), world.decisions().len());
        let mut body = case["message"].clone();
        let mut headers = Vec::new();
        if let Some(given) = body.as_object_mut().and_then(|b| b.remove("_http_headers")) {
            let given = given.as_object().unwrap().clone();
            headers.extend(
                given
                    .into_iter()
                    .map(|(k, v)| (k, v.as_str().unwrap().to_owned())),
            );
        } else {
            headers.push(("mcp-method".to_owned(), "tools/call".to_owned()));
            headers.push(("mcp-name".to_owned(), "x".to_owned()));
        }
        headers.push(("mcp-protocol-version".to_owned(), "2026-07-28".to_owned()));
        let mut message = message("t", "up");
        for (name, value) in headers {
            message = message.header(name, value);
        }
        let response = world
            .send(message.body(Body::from(body.to_string())).unwrap())
            .await;
        let text = text_of(response).await;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let notice = case["message"].get("id").is_none() && case["message"].get("method").is_some();
        assert!(
            answer["error"]["code"].is_i64() || notice && text.is_empty(),
            "{}: {text}",
            case["name"]
        );
        assert_eq!(server.count(), before, "{}", case["name"]);
        assert!(world.decisions().len() > recorded, "{} is recorded", case["name"]);
        run += 1;
    }
    ran("jsonrpc-abuse", run);
}

#[tokio::test]
async fn jsonrpc_abuse_in_a_session() {
    let (world, server) = world().await;
    let session = open(
        &world,
        "t",
        "up",
        json!({"elicitation": {"form": {}, "url": {}}, "roots": {}}),
    )
    .await;
    // The caller may call everything but what the case names as out of bounds.
    world
        .cell
        .publish([crate::world::task(
            1,
            &["up:echo", "up:x"],
            bailiwick_credential::TaskState::Open,
        )])
        .unwrap();
    for case in of("jsonrpc-abuse") {
        let (before, recorded) = (server.count(), world.decisions().len());
        let mut body = case["message"].clone();
        let mut message = in_session("t", "up", &session, &json!({}));
        if let Some(given) = body.as_object_mut().and_then(|b| b.remove("_http_headers")) {
            for (name, value) in given.as_object().unwrap() {
                let name: http::HeaderName = name.parse().unwrap();
                message
                    .headers_mut()
                    .insert(name, value.as_str().unwrap().parse().unwrap());
            }
        }
        *message.body_mut() = Body::from(body.to_string());
        if case["name"] == "server sends tools/call" {
            // From a caller this is a good call; it is an abuse when a server sends it.
            continue;
        }
        let text = text_of(world.send(message).await).await;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let notice = case["message"].get("id").is_none() && case["message"].get("method").is_some();
        let refused = answer["error"]["code"].is_i64() || notice && text.is_empty();
        assert!(refused, "{}: {text}", case["name"]);
        assert_eq!(server.count(), before, "{}", case["name"]);
        assert!(world.decisions().len() > recorded, "{} is recorded", case["name"]);
    }
}

/// The cases that a server sends: in the middle of a call, in both eras.
#[tokio::test]
async fn jsonrpc_abuse_by_a_server() {
    let named = [
        "server sends tools/call",
        "elicitation asks password",
        "elicitation url look-alike",
        "roots asks /",
    ];
    let cases: Vec<Value> = of("jsonrpc-abuse")
        .into_iter()
        .filter(|c| named.contains(&c["name"].as_str().unwrap()))
        .collect();
    assert_eq!(cases.len(), if self::cases().is_some() { 4 } else { 0 });
    for case in cases {
        for is_modern in [true, false] {
            let (world, server) = (World::new(), Server::start(is_modern).await);
            world.add("up", server.connection()).await;
            world.grant("t", 1, &["up:*"]);
            let hostile = &case["message"];
            let last = r#"{"jsonrpc":"2.0","id":"$ID","result":{"resultType":"complete","content":[]}}"#;
            let stream = format!("data: {hostile}\n\ndata: {last}\n\n");
            *server.state.canned.lock().unwrap() =
                Some(("tools/call".to_owned(), 200, "text/event-stream", stream));
            let able = json!({"elicitation": {"form": {}, "url": {}}});
            let session = open(&world, "t", "up", able.clone()).await;
            let in_session = in_session(
                "t",
                "up",
                &session,
                &call(6, "tools/call", json!({"name": "echo"})),
            );
            let meta = json!({"io.modelcontextprotocol/clientCapabilities": able});
            let stateless = modern(
                "t",
                "up",
                json!(6),
                "tools/call",
                json!({"name": "echo", "_meta": meta}),
            );
            for message in [in_session, stateless] {
                let text = text_of(world.send(message).await).await;
                for word in [
                    "tools/call",
                    "elicitation/create",
                    "roots/list",
                    "password",
                    "evil",
                ] {
                    assert!(!text.contains(word), "{} ({is_modern}): {text}", case["name"]);
                }
            }
        }
    }
}

#[tokio::test]
async fn rug_pulls_void_the_pin_and_equal_definitions_do_not() {
    let mut run = std::collections::BTreeMap::new();
    for case in of("rug-pull").into_iter().chain(of("rug-pull-control")) {
        let (world, server) = (World::new(), Server::start(true).await);
        *server.state.tools.lock().unwrap() = vec![case["before"].clone()];
        world.add("mail", server.connection()).await;
        world.grant("t", 1, &["mail:*"]);
        let name = |which: &str| case[which]["name"].as_str().unwrap().to_owned();
        let send = |name: String| {
            let encoded = format!("=?base64?{}?=", data_encoding::BASE64.encode(name.as_bytes()));
            let mut message = modern(
                "t",
                "mail",
                json!(1),
                "tools/call",
                json!({"name": "x", "arguments": {"to": "a"}}),
            );
            let body = call(
                1,
                "tools/call",
                json!({"name": name, "arguments": {"to": "a"}, "_meta": envelope()}),
            );
            message.headers_mut().insert("mcp-name", encoded.parse().unwrap());
            *message.body_mut() = Body::from(body.to_string());
            message
        };
        assert_eq!(
            json_of(world.send(send(name("before"))).await).await["error"],
            Value::Null
        );
        *server.state.tools.lock().unwrap() = vec![case["after"].clone()];
        world.clock.advance(Duration::from_secs(6));
        let calls = server.received("tools/call").len();
        let same = case["class"] == "rug-pull-control";
        for name in [name("before"), name("after")] {
            let body = json_of(world.send(send(name)).await).await;
            assert_eq!(body["error"].is_null(), same, "{}: {body}", case["change"]);
            if !same {
                assert_eq!(body["error"]["code"], -32001, "{}: {body}", case["change"]);
            }
        }
        if !same {
            assert_eq!(server.received("tools/call").len(), calls, "{}", case["change"]);
        }
        assert_eq!(
            world.reports.lock().unwrap().is_empty(),
            same,
            "{}",
            case["change"]
        );
        let digests = [&case["before"], &case["after"]].map(|d| digest_of_definition(d).unwrap().0);
        assert_eq!(digests[0] == digests[1], same, "{}", case["change"]);
        *run.entry(same).or_insert(0) += 1;
    }
    for (class, same) in [("rug-pull", false), ("rug-pull-control", true)] {
        ran(class, run.get(&same).copied().unwrap_or_default());
    }
}

#[tokio::test]
async fn a_tool_is_reached_by_its_own_server_only() {
    let mut run = 0;
    for case in of("shadowing") {
        let world = World::new();
        let mut servers = Vec::new();
        for side in ["server_a", "server_b"] {
            let server = Server::start(true).await;
            *server.state.tools.lock().unwrap() = vec![tool(case[side]["tool"].as_str().unwrap())];
            world
                .add(case[side]["name"].as_str().unwrap(), server.connection())
                .await;
            servers.push(server);
        }
        let (name_a, tool_a) = (
            case["server_a"]["name"].as_str().unwrap(),
            case["server_a"]["tool"].as_str().unwrap(),
        );
        let (name_b, tool_b) = (
            case["server_b"]["name"].as_str().unwrap(),
            case["server_b"]["tool"].as_str().unwrap(),
        );
        world.grant("t", 1, &[&format!("{name_a}:{tool_a}")]);
        let send = |server: &str, tool: &str| {
            let mut message = modern("t", server, json!(1), "tools/call", json!({"name": "x"}));
            let encoded = format!("=?base64?{}?=", data_encoding::BASE64.encode(tool.as_bytes()));
            message.headers_mut().insert("mcp-name", encoded.parse().unwrap());
            let body = call(1, "tools/call", json!({"name": tool, "_meta": envelope()}));
            *message.body_mut() = Body::from(body.to_string());
            message
        };
        assert_eq!(
            json_of(world.send(send(name_a, tool_a)).await).await["error"],
            Value::Null
        );
        for (server, tool) in [(name_b, tool_a), (name_b, tool_b), (name_a, tool_b)] {
            let response = world.send(send(server, tool)).await;
            assert!(
                response.status() == 403 || json_of(response).await["error"]["code"] == -32001,
                "{server}/{tool}"
            );
        }
        assert_eq!(servers[0].received("tools/call").len(), 1);
        assert_eq!(servers[1].received("tools/call").len(), 0);
        run += 1;
    }
    ran("shadowing", run);
}

#[tokio::test]
async fn schema_bombs_are_hidden_or_harmless() {
    let (world, server) = world().await;
    let mut run = 0;
    for case in of("schema-bomb") {
        let text = case["inputSchema_text"].as_str().unwrap();
        let list = format!(
            r#"{{"jsonrpc":"2.0","id":"$ID","result":{{"resultType":"complete","ttlMs":0,"cacheScope":"public","tools":[{{"name":"bomb","inputSchema":{text}}},{}]}}}}"#,
            tool("echo")
        );
        *server.state.canned.lock().unwrap() = Some(("tools/list".to_owned(), 200, "application/json", list));
        world.clock.advance(Duration::from_secs(6));
        let received = server.count();
        let work = world.send(modern("t", "up", json!(1), "tools/list", json!({})));
        let response = tokio::time::timeout(Duration::from_secs(1), work)
            .await
            .expect("no hang");
        let shown = text_of(response).await;
        assert!(!shown.contains("bomb"), "{}: never shown unpinned", case["name"]);
        assert!(
            shown.contains("\"echo\""),
            "{}: the others stay: {shown}",
            case["name"]
        );
        assert_eq!(
            server.count(),
            received + 1,
            "{}: no reference is followed",
            case["name"]
        );
        let bomb = json_of(
            world
                .send(modern("t", "up", json!(2), "tools/call", json!({"name": "bomb"})))
                .await,
        )
        .await;
        assert_eq!(bomb["error"]["code"], -32001, "{}", case["name"]);
        // Pinned or not, what is no schema of an object is never usable.
        *server.state.canned.lock().unwrap() = None;
        run += 1;
    }
    ran("schema-bomb", run);
    for unusable in ["[]", r#"{"type": 5}"#, "false", "null"] {
        assert!(
            cases().is_none()
                || of("schema-bomb")
                    .iter()
                    .any(|c| c["inputSchema_text"] == unusable)
        );
        let schema: Value = serde_json::from_str(unusable).unwrap();
        *server.state.tools.lock().unwrap() = vec![json!({"name": "bomb", "inputSchema": schema})];
        let inspected = world
            .gateway
            .inspect(&Arc::new(world.unpinned("up", server.connection())))
            .await
            .unwrap();
        assert_eq!(
            (inspected.tools.len(), inspected.unusable.len()),
            (0, 1),
            "{unusable}"
        );
    }
}

#[tokio::test]
async fn commands_are_never_run() {
    let world = World::with_launcher();
    let mut run = 0;
    for case in of("stdio-command") {
        let command = case["command"].as_str().unwrap().to_owned();
        let with_digest = Program {
            path: command.clone(),
            args: Vec::new(),
            digests: vec![(command.clone(), Digest::of(b"").to_string())],
        };
        let refused = with_digest.open_verified().unwrap_err();
        let connection = Connection::Exec {
            program: command.clone(),
            args: vec![],
            digests: vec![(command, Digest::of(b""))],
        };
        let failed = world
            .gateway
            .inspect(&Arc::new(world.unpinned("up", connection)))
            .await
            .unwrap_err();
        assert!(
            matches!(failed.code(), "upstream.guarded" | "upstream.exited"),
            "{refused}: {failed}"
        );
        run += 1;
    }
    ran("stdio-command", run);
}

#[tokio::test]
async fn metadata_of_a_server_is_never_fetched_nor_passed_on() {
    let (world, server) = world().await;
    let mut run = 0;
    for case in of("metadata-url") {
        let url = case["url"].as_str().unwrap();
        assert!(Endpoint::parse(url, false).is_err(), "{url}");
        let before = server.count();
        let body = json!({"resource_metadata": url, "authorization_endpoint": url}).to_string();
        *server.state.canned.lock().unwrap() = Some(("tools/call".to_owned(), 401, "application/json", body));
        let response = world
            .send(modern("t", "up", json!(1), "tools/call", json!({"name": "echo"})))
            .await;
        assert!(response.headers().get("www-authenticate").is_none());
        let answer = json_of(response).await;
        assert_eq!(answer["error"]["data"]["code"], "upstream.refused");
        assert!(!answer.to_string().contains(url));
        assert_eq!(server.count(), before + 1, "no fetch: {url}");
        run += 1;
    }
    ran("metadata-url", run);
}

#[tokio::test]
async fn a_name_that_only_looks_right_is_refused() {
    let (world, server) = world().await;
    let before = server.received("tools/call").len();
    let bodies = [
        r#"{"jsonrpc":"2.0","id":1,"Method":"tools/call","params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","method":"tools/list","params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","Name":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","\u006eame":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","argument\u017f":{}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":1,"a":2}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":{"b":1,"\u0062":2}}}}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"echo"}}"#,
        r#"{"jsonrpc":"2.0","id":1.5,"method":"tools/call","params":{"name":"echo"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["echo"]}"#,
        "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}",
    ];
    let session = open(&world, "t", "up", json!({})).await;
    for body in bodies {
        let mut message = in_session("t", "up", &session, &json!({}));
        *message.body_mut() = Body::from(body);
        let response = world.send(message).await;
        assert_eq!(response.status(), 400, "{body}");
        assert!(
            json_of(response).await["error"]["code"].as_i64().unwrap() <= -32600,
            "{body}"
        );
    }
    assert_eq!(server.received("tools/call").len(), before);
    let pins = world.cell.load();
    let pinned = pins
        .server(&tenant_id(), &ServerName::parse("up").unwrap())
        .unwrap();
    assert!(pinned.pins.iter().all(|p| p.state == PinState::Pinned));
}
