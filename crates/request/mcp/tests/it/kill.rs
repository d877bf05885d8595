//! A kill in the middle of a call ends it on both sides; so does a caller who leaves.

use std::time::Duration;

use bailiwick_decide::MarkScope;
use bailiwick_pep::Outcome;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::server::{Server, tool};
use crate::world::{Events, World, call, identity_id, in_session, json_of, modern, open, until};

const ALL: &[&str] = &["up:*"];

async fn world(is_modern: bool) -> (World, Server) {
    let (world, server) = (World::new(), Server::start(is_modern).await);
    world.add("up", server.connection()).await;
    world.grant("t", 1, ALL);
    world.grant("other", 2, ALL);
    (world, server)
}

fn hang(id: i64) -> http::Request<axum::body::Body> {
    modern(
        "t",
        "up",
        json!(id),
        "tools/call",
        json!({"name": "hang", "arguments": {}}),
    )
}

#[tokio::test]
async fn a_killed_call_is_refused_and_cancelled_upstream() {
    for is_modern in [true, false] {
        let (world, server) = world(is_modern).await;
        let running = async { json_of(world.send(hang(9)).await).await };
        let kill = async {
            until("the call is there", || !server.received("tools/call").is_empty()).await;
            world.kill(MarkScope::Identity(identity_id(1)));
        };
        let (body, ()) = tokio::join!(running, kill);
        assert_eq!(body["id"], 9);
        assert_eq!(body["error"]["code"], -32001, "{body}");
        assert_eq!(body["error"]["data"]["code"], "identity.revoked");
        assert!(
            body["error"]["data"]["decision_id"]
                .as_str()
                .unwrap()
                .starts_with("dec_")
        );
        if is_modern {
            until("the connection is closed", || {
                *server.state.dropped.lock().unwrap() == 1
            })
            .await;
        } else {
            until("the cancellation is there", || {
                !server.received("notifications/cancelled").is_empty()
            })
            .await;
            let sent = server.received("tools/call")[0].json()["id"].clone();
            assert_eq!(
                server.received("notifications/cancelled")[0].json()["params"]["requestId"],
                sent
            );
        }
        assert_eq!(world.send(hang(10)).await.status(), 401);
        assert!(
            world
                .outcomes()
                .contains(&("tools/call".to_owned(), Outcome::Cancelled))
        );
        // Others go on.
        let other = modern("other", "up", json!(1), "tools/call", json!({"name": "echo"}));
        assert_eq!(world.send(other).await.status(), 200);
    }
}

#[tokio::test]
async fn a_killed_call_of_a_program_is_cancelled_there() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let world = World::with_launcher();
    world
        .add("up", world.exec(&["legacy", log.to_str().unwrap()]))
        .await;
    world.grant("t", 1, ALL);
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    let running = async { json_of(world.send(hang(9)).await).await };
    let kill = async {
        until("the call is there", || lines().contains("\"hang\"")).await;
        world.kill(MarkScope::All);
    };
    let (body, ()) = tokio::join!(running, kill);
    assert_eq!(body["error"]["code"], -32001, "{body}");
    until("the cancellation is there", || {
        lines().contains("notifications/cancelled")
    })
    .await;
    let sent = lines();
    let wire_id = |needle: &str, pointer: &str| {
        let line = sent.lines().find(|l| l.contains(needle)).unwrap();
        serde_json::from_str::<Value>(line)
            .unwrap()
            .pointer(pointer)
            .cloned()
    };
    assert_eq!(
        wire_id("\"hang\"", "/id"),
        wire_id("notifications/cancelled", "/params/requestId")
    );
}

#[tokio::test]
async fn a_caller_who_leaves_cancels_upstream() {
    for is_modern in [true, false] {
        let (world, server) = world(is_modern).await;
        let left = tokio::time::timeout(Duration::from_secs(10), async {
            tokio::select! {
                _ = world.send(hang(1)) => panic!("it hangs"),
                () = until("the call is there", || !server.received("tools/call").is_empty()) => {}
            }
        });
        left.await.unwrap();
        if is_modern {
            until("the connection is closed", || {
                *server.state.dropped.lock().unwrap() == 1
            })
            .await;
        } else {
            until("the cancellation is there", || {
                !server.received("notifications/cancelled").is_empty()
            })
            .await;
        }
        until("the outcome is recorded", || {
            world
                .outcomes()
                .contains(&("tools/call".to_owned(), Outcome::Cancelled))
        })
        .await;
    }
}

#[tokio::test]
async fn a_session_cancels_its_own_calls_only() {
    for is_modern in [true, false] {
        let (world, server) = world(is_modern).await;
        let (mine, other) = (
            open(&world, "t", "up", json!({})).await,
            open(&world, "other", "up", json!({})).await,
        );
        let give_up =
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 3}});
        let running = world.send(in_session(
            "t",
            "up",
            &mine,
            &call(3, "tools/call", json!({"name": "hang"})),
        ));
        let cancel = async {
            until("the call is there", || !server.received("tools/call").is_empty()).await;
            assert_eq!(
                world
                    .send(in_session("other", "up", &other, &give_up))
                    .await
                    .status(),
                202
            );
            assert!(server.received("notifications/cancelled").is_empty());
            assert_eq!(*server.state.dropped.lock().unwrap(), 0);
            assert_eq!(
                world.send(in_session("t", "up", &mine, &give_up)).await.status(),
                202
            );
        };
        let (response, ()) = tokio::join!(running, cancel);
        let whole = response.into_body().collect().await.unwrap().to_bytes();
        assert!(whole.is_empty(), "a cancelled call has no answer");
        if is_modern {
            until("the connection is closed", || {
                *server.state.dropped.lock().unwrap() == 1
            })
            .await;
        } else {
            until("the cancellation is there", || {
                server.received("notifications/cancelled").len() == 1
            })
            .await;
        }
    }
}

#[tokio::test]
async fn open_streams_end_with_a_kill() {
    for is_modern in [true, false] {
        let (world, server) = world(is_modern).await;
        let session = open(&world, "t", "up", json!({})).await;
        let mut get = in_session("t", "up", &session, &json!({}));
        *get.method_mut() = http::Method::GET;
        let mut stream = Events::of(world.send(get).await);
        let wanted = json!({"notifications": {"toolsListChanged": true}});
        let mut listen = Events::of(
            world
                .send(modern("t", "up", json!("l"), "subscriptions/listen", wanted))
                .await,
        );
        let first = listen.next().await.unwrap();
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(
            first["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
            "l"
        );
        // Both hear of a change, each in its own words.
        let changed = async {
            until("both listen", || server.state.streams.lock().unwrap().len() == 2).await;
            for stream in server.state.streams.lock().unwrap().iter() {
                let meta = json!({"io.modelcontextprotocol/subscriptionId": "l"});
                let params = if is_modern {
                    json!({"_meta": meta})
                } else {
                    json!({})
                };
                stream.send(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": params})).unwrap();
            }
        };
        let (heard, listened, ()) = tokio::join!(stream.next(), listen.next(), changed);
        let heard = heard.unwrap();
        assert_eq!(heard["method"], "notifications/tools/list_changed");
        assert!(heard["params"]["_meta"].is_null(), "{heard}");
        assert_eq!(
            listened.unwrap()["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
            "l"
        );
        world.kill(MarkScope::Identity(identity_id(1)));
        assert_eq!(stream.next().await, None);
        let last = listen.next().await.unwrap();
        assert_eq!(
            (&last["id"], &last["error"]["code"]),
            (&json!("l"), &json!(-32001))
        );
        assert_eq!(listen.next().await, None);
        world.gateway.sweep();
        assert_eq!(world.gateway.open_sessions(), 0);
    }
}

#[tokio::test]
async fn a_kill_ends_what_its_caller_does_not_read() {
    for is_modern in [true, false] {
        let (world, server) = (World::new(), Server::start(is_modern).await);
        server.state.tools.lock().unwrap().push(tool("endless"));
        world.add("up", server.connection()).await;
        world.grant("t", 1, ALL);
        let meta = json!({"progressToken": "p"});
        let params = json!({"name": "endless", "arguments": {}, "_meta": meta});
        let mut unread = vec![
            world
                .send(modern("t", "up", json!(9), "tools/call", params))
                .await,
        ];
        let session = open(&world, "t", "up", json!({})).await;
        let mut get = in_session("t", "up", &session, &json!({}));
        *get.method_mut() = http::Method::GET;
        unread.push(world.send(get).await);
        world.kill(MarkScope::Identity(identity_id(1)));
        until("the call is over upstream", || {
            *server.state.dropped.lock().unwrap() >= 1
        })
        .await;
        for method in ["tools/call", "session/stream"] {
            until("the outcome is recorded", || {
                world
                    .outcomes()
                    .contains(&(method.to_owned(), Outcome::Cancelled))
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_token_that_opened_it() {
    let (world, _server) = world(true).await;
    let session = open(&world, "t", "up", json!({})).await;
    // Less than a second of the token is left.
    world.clock.set(bailiwick_base::Time::from_micros(
        crate::world::at(9_000).micros() - 50_000,
    ));
    world
        .cell
        .heard(bailiwick_base::Clock::monotonic(world.clock.as_ref()));
    let mut get = in_session("t", "up", &session, &json!({}));
    *get.method_mut() = http::Method::GET;
    let mut stream = Events::of(world.send(get).await);
    assert_eq!(stream.next().await, None);
    let outcomes = world.outcomes();
    assert!(
        outcomes.contains(&("session/stream".to_owned(), Outcome::Cancelled)),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn a_call_that_sends_for_ever_is_cut_at_its_bound_and_cancelled_upstream() {
    for is_modern in [true, false] {
        let (world, server) = (World::new(), Server::start(is_modern).await);
        server.state.tools.lock().unwrap().push(tool("endless"));
        world.add("up", server.connection()).await;
        world.grant("t", 1, ALL);
        let endless = modern("t", "up", json!(9), "tools/call", json!({"name": "endless"}));
        let running = async { json_of(world.send(endless).await).await };
        let wait = async {
            until("the call is there", || !server.received("tools/call").is_empty()).await;
            world.clock.advance(Duration::from_secs(3_600));
        };
        let both = async { tokio::join!(running, wait) };
        let (body, ()) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
        assert_eq!(body["id"], 9);
        let text = body["error"].to_string();
        assert!(text.contains("did not finish its answer within 3600 s"), "{body}");
        until("the connection is closed", || {
            *server.state.dropped.lock().unwrap() == 1
        })
        .await;
        if !is_modern {
            until("the cancellation is there", || {
                !server.received("notifications/cancelled").is_empty()
            })
            .await;
        }
    }
}
