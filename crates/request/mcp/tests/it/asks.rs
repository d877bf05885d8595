//! Servers that ask: the four pairs of eras, and what is never asked.

use serde_json::{Value, json};

use crate::server::Server;
use crate::world::{Events, World, call, in_session, json_of, modern, open, until};

const ALL: &[&str] = &["up:*"];

async fn world(is_modern: bool) -> (World, Server) {
    let (world, server) = (World::new(), Server::start(is_modern).await);
    world.add("up", server.connection()).await;
    world.grant("t", 1, ALL);
    world.grant("other", 2, ALL);
    (world, server)
}

fn able() -> Value {
    json!({"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}})
}

fn ask(token: &str, id: i64, tool: &str, more: Value) -> http::Request<axum::body::Body> {
    let mut params = json!({"name": tool, "arguments": {"n": 1}, "_meta": able()});
    params
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    modern(token, "up", json!(id), "tools/call", params)
}

#[tokio::test]
async fn a_stateless_caller_answers_in_a_second_call() {
    for is_modern in [true, false] {
        let (world, server) = world(is_modern).await;
        let body = json_of(world.send(ask("t", 1, "ask", json!({}))).await).await;
        assert_eq!(body["result"]["resultType"], "input_required", "{body}");
        let state = body["result"]["requestState"].clone();
        let (key, input) = body["result"]["inputRequests"]
            .as_object()
            .unwrap()
            .iter()
            .next()
            .unwrap();
        assert_eq!(input["method"], "elicitation/create");
        let answer = json!({"requestState": state, "inputResponses": {key: {"action": "accept", "content": {"count": 3}}}});
        if !is_modern {
            // Nobody else can go on with it, and it is used once.
            let stolen = json_of(world.send(ask("other", 2, "ask", answer.clone())).await).await;
            assert_eq!(stolen["error"]["code"], -32602, "{stolen}");
            let mut tampered = answer.clone();
            tampered["requestState"] = json!(format!("{}x", state.as_str().unwrap()));
            let tampered = json_of(world.send(ask("t", 2, "ask", tampered)).await).await;
            assert_eq!(tampered["error"]["code"], -32602, "{tampered}");
        }
        let done = json_of(world.send(ask("t", 3, "ask", answer.clone())).await).await;
        assert_eq!(
            (&done["id"], &done["result"]["resultType"]),
            (&json!(3), &json!("complete")),
            "{done}"
        );
        assert!(
            done["result"]["content"][0]["text"]
                .as_str()
                .unwrap()
                .contains("\"count\":3"),
            "{done}"
        );
        if !is_modern {
            let again = json_of(world.send(ask("t", 4, "ask", answer)).await).await;
            assert_eq!(again["error"]["code"], -32602, "{again}");
            assert_eq!(server.received("tools/call").len(), 1, "one call upstream");
        }
        let permits = world
            .decisions()
            .iter()
            .filter(|d| d.0 == "tools/call" && d.2 == "permit")
            .count();
        assert!(permits >= 2, "every round is a call of its own");
    }
}

#[tokio::test]
async fn a_session_is_asked_on_the_stream_of_the_call() {
    for is_modern in [true, false] {
        let (world, _server) = world(is_modern).await;
        let session = open(&world, "t", "up", json!({"elicitation": {}})).await;
        let body = call(6, "tools/call", json!({"name": "ask", "arguments": {"n": 1}}));
        let mut events = Events::of(world.send(in_session("t", "up", &session, &body)).await);
        let question = events.next().await.unwrap();
        assert_eq!(question["method"], "elicitation/create", "{question}");
        let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"count": 3}}});
        let other = open(&world, "other", "up", json!({"elicitation": {}})).await;
        assert_eq!(
            world
                .send(in_session("other", "up", &other, &answer))
                .await
                .status(),
            202
        );
        assert_eq!(
            world
                .send(in_session("t", "up", &session, &answer))
                .await
                .status(),
            202
        );
        let done = events.next().await.unwrap();
        assert_eq!(done["id"], 6, "{done}");
        assert!(
            done["result"]["content"][0]["text"]
                .as_str()
                .unwrap()
                .contains("\"count\":3"),
            "{done}"
        );
        assert_eq!(events.next().await, None);
    }
}

#[tokio::test]
async fn who_declared_nothing_is_asked_nothing() {
    for is_modern in [true, false] {
        let (world, server) = world(is_modern).await;
        let body = modern("t", "up", json!(1), "tools/call", json!({"name": "ask"}));
        let body = json_of(world.send(body).await).await;
        if is_modern {
            assert_eq!(
                body["error"]["data"]["code"], "upstream.question-refused",
                "{body}"
            );
        } else {
            // The server was told that the client has no such method, and went on.
            assert!(
                body["result"]["content"][0]["text"]
                    .as_str()
                    .unwrap()
                    .contains("-32601"),
                "{body}"
            );
        }
        let session = open(&world, "t", "up", json!({})).await;
        let body = in_session(
            "t",
            "up",
            &session,
            &call(6, "tools/call", json!({"name": "ask"})),
        );
        let body = json_of(world.send(body).await).await;
        assert!(
            body["result"].is_object() || body["error"]["code"] == -32001,
            "{body}"
        );
        drop(server);
    }
}

#[tokio::test]
async fn a_form_never_asks_for_a_secret() {
    for is_modern in [true, false] {
        let (world, _server) = world(is_modern).await;
        let body = json_of(world.send(ask("t", 1, "secret", json!({}))).await).await;
        assert!(!body.to_string().contains("password"), "{body}");
        let session = open(&world, "t", "up", json!({"elicitation": {}})).await;
        let body = in_session(
            "t",
            "up",
            &session,
            &call(6, "tools/call", json!({"name": "secret"})),
        );
        let body = json_of(world.send(body).await).await;
        assert!(!body.to_string().contains("\"password\""), "{body}");
    }
}

#[tokio::test]
async fn a_waiting_call_ends_with_a_kill() {
    let (world, server) = world(false).await;
    let body = json_of(world.send(ask("t", 1, "ask", json!({}))).await).await;
    assert_eq!(body["result"]["resultType"], "input_required", "{body}");
    world.kill(bailiwick_decide::MarkScope::Task(crate::world::task_id(1)));
    until("the waiting call is cancelled", || {
        !server.received("notifications/cancelled").is_empty()
    })
    .await;
}

#[tokio::test]
async fn what_a_program_says_to_nobody_reaches_nobody() {
    let world = World::with_launcher();
    world.add("up", world.exec(&["legacy"])).await;
    world.grant("t", 1, ALL);
    let session = open(&world, "t", "up", json!({"elicitation": {}})).await;
    let body = in_session(
        "t",
        "up",
        &session,
        &call(6, "tools/call", json!({"name": "nosy"})),
    );
    let body = json_of(world.send(body).await).await;
    assert_eq!(body["id"], 6, "the answer alone, no stream: {body}");
}
