//! Whatever arrives, from either side: an answer, never a panic, and nothing that was not decided goes on.

use axum::body::Body;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::server::Server;
use crate::world::{World, envelope, in_session, message, modern, open, text_of};

const CASES: u32 = 96;

fn runner() -> TestRunner {
    TestRunner::new(Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    })
}

fn world(runtime: &Runtime) -> (World, Server, String) {
    runtime.block_on(async {
        let (world, server) = (World::new(), Server::start(true).await);
        world.add("up", server.connection()).await;
        world.grant("t", 1, &["up:echo"]);
        let session = open(&world, "t", "up", json!({})).await;
        (world, server, session)
    })
}

/// Pieces of messages, good and bad, in any order.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(br#"{"jsonrpc":"2.0","#.to_vec()),
        Just(br#""id":1,"#.to_vec()),
        Just(br#""method":"tools/call","#.to_vec()),
        Just(br#""method":"resources/read","params":{"uri":"file:///a/../b"}"#.to_vec()),
        Just(br#""params":{"name":"hang","arguments":{"a":1}}"#.to_vec()),
        Just(br#""result":{}"#.to_vec()),
        Just(b"}".to_vec()),
        Just(b"{{[[".to_vec()),
        Just(br#""\ud800""#.to_vec()),
        Just(b"\xff\xfe".to_vec()),
        any::<Vec<u8>>(),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(".{0,6}", inner, 0..4).prop_map(|m| json!(m)),
        ]
    })
}

#[test]
fn any_bytes_from_a_caller() {
    let runtime = Runtime::new().unwrap();
    let (world, server, session) = world(&runtime);
    let before = server.received("tools/call").len();
    let tried = runner().run(&pieces(), |bytes| {
        runtime.block_on(async {
            let stateless = message("t", "up")
                .header("mcp-protocol-version", "2026-07-28")
                .header("mcp-method", "tools/call")
                .header("mcp-name", "hang");
            let mut within = in_session("t", "up", &session, &json!({}));
            *within.body_mut() = Body::from(bytes.clone());
            for message in [stateless.body(Body::from(bytes.clone())).unwrap(), within] {
                let status = world.send(message).await.status();
                prop_assert!(!status.is_server_error(), "{status}");
            }
            Ok(())
        })
    });
    tried.unwrap();
    assert_eq!(server.received("tools/call").len(), before);
}

#[test]
fn any_value_in_any_member() {
    let runtime = Runtime::new().unwrap();
    let (world, server, session) = world(&runtime);
    let members = proptest::sample::select(vec![
        "id",
        "method",
        "params",
        "name",
        "arguments",
        "_meta",
        "uri",
        "cursor",
    ]);
    let tried = runner().run(&(members, value()), |(member, value)| {
        runtime.block_on(async {
            let mut body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": {"name": "hang", "arguments": {}, "_meta": envelope()}});
            let holder = if matches!(member, "id" | "method" | "params") {
                &mut body
            } else {
                &mut body["params"]
            };
            holder[member] = value;
            let mut within = in_session("t", "up", &session, &body);
            let stateless = message("t", "up")
                .header("mcp-protocol-version", "2026-07-28")
                .header(
                    "mcp-method",
                    body["method"]
                        .as_str()
                        .filter(|m| m.is_ascii())
                        .unwrap_or("tools/call")
                        .replace(|c: char| c.is_ascii_control(), ""),
                )
                .header("mcp-name", "hang");
            *within.body_mut() = Body::from(body.to_string());
            for message in [stateless.body(Body::from(body.to_string())).unwrap(), within] {
                let status = world.send(message).await.status();
                prop_assert!(!status.is_server_error(), "{status}");
            }
            Ok(())
        })
    });
    tried.unwrap();
    assert_eq!(server.received("tools/call").len(), 0);
}

#[test]
fn any_answer_of_a_server() {
    let runtime = Runtime::new().unwrap();
    let (world, server, session) = world(&runtime);
    let good = Just(br#"{"jsonrpc":"2.0","id":"$ID","result":{"resultType":"complete"}}"#.to_vec());
    let bytes = prop_oneof![pieces(), good, value().prop_map(|v| v.to_string().into_bytes())];
    let kinds = proptest::sample::select(vec!["application/json", "text/event-stream", "text/html"]);
    let status = proptest::sample::select(vec![200_u16, 202, 400, 404, 500]);
    let tried = runner().run(&(bytes, kinds, status), |(bytes, kind, status)| {
        runtime.block_on(async {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let body = if kind == "text/event-stream" {
                format!("id: 1\ndata:\n\ndata: {text}\n\n")
            } else {
                text
            };
            *server.state.canned.lock().unwrap() = Some(("tools/call".to_owned(), status, kind, body));
            let call =
                json!({"jsonrpc": "2.0", "id": 77, "method": "tools/call", "params": {"name": "echo"}});
            for message in [
                modern("t", "up", json!(77), "tools/call", json!({"name": "echo"})),
                in_session("t", "up", &session, &call),
            ] {
                let response = world.send(message).await;
                prop_assert!(!response.status().is_server_error());
                let text = text_of(response).await;
                prop_assert!(text.contains("77"), "an answer to the call: {text}");
            }
            Ok(())
        })
    });
    tried.unwrap();
}
