//! What belongs to one caller reaches no other (advisory 41 of the trust page).

use std::sync::Arc;

use serde_json::json;

use crate::server::Server;
use crate::world::{World, call, in_session, modern, open, text_of};

const CALLERS: usize = 24;
const ROUNDS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_canary_crosses() {
    for is_modern in [true, false] {
        let (world, server) = (World::new(), Server::start(is_modern).await);
        world.add("up", server.connection()).await;
        world.grant("t", 1, &["up:*"]);
        world.grant("other", 2, &["up:*"]);
        let world = Arc::new(world);
        let callers = (0..CALLERS).map(|n| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let token = if n.is_multiple_of(2) { "t" } else { "other" };
                let session = open(&world, token, "up", json!({})).await;
                for round in 0..ROUNDS {
                    let canary = format!("canary-{n}-{round}.");
                    let tool = if round % 2 == 0 { "echo" } else { "progress" };
                    // The same id and token from everybody.
                    let params =
                        json!({"name": tool, "arguments": {"text": canary}, "_meta": {"progressToken": 1}});
                    let messages = [
                        modern(token, "up", json!(1), "tools/call", params.clone()),
                        in_session(token, "up", &session, &call(1, "tools/call", params)),
                    ];
                    for message in messages {
                        let text = text_of(world.send(message).await).await;
                        assert_eq!(text.matches("canary-").count(), 1, "{text}");
                        assert!(text.contains(&canary), "{text}");
                    }
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
        // Each identity has its own sessions there; nothing is carried from one to the other.
        if !is_modern {
            let mut seen = std::collections::BTreeMap::<String, String>::new();
            for sent in server.received("tools/call") {
                let canary = sent.json()["params"]["arguments"]["text"]
                    .as_str()
                    .unwrap()
                    .to_owned();
                let n: usize = canary.split('-').nth(1).unwrap().parse().unwrap();
                let whose = if n.is_multiple_of(2) { "t" } else { "other" };
                let before = seen.insert(sent.header("mcp-session-id").to_owned(), whose.to_owned());
                assert!(before.is_none_or(|b| b == whose));
            }
        }
    }
}
