//! What a list shows, and what it is refused for.

use std::future::{Future, poll_fn};

use bailiwick_decide::Fact;
use serde_json::{Value, json};

use crate::server::{Server, tool};
use crate::world::{World, json_of, modern, tenant_id, text_of};

async fn world() -> (World, Server) {
    let (world, server) = (World::new(), Server::start(true).await);
    world.add("up", server.connection()).await;
    world.grant("t", 1, &["up:*"]);
    (world, server)
}

fn list(method: &str) -> http::Request<axum::body::Body> {
    modern("t", "up", json!(1), method, json!({}))
}

fn answer_with(server: &Server, method: &str, members: &str) {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":"$ID","result":{{"resultType":"complete","ttlMs":0,"cacheScope":"private"{members}}}}}"#
    );
    *server.state.canned.lock().unwrap() = Some((method.to_owned(), 200, "application/json", text));
}

fn forbid(world: &World, policy: &str) {
    world
        .cell
        .publish([Fact::Policies(tenant_id(), policy.into())])
        .unwrap();
}

const LISTS: [(&str, &str, &str); 3] = [
    ("prompts/list", "prompts", "name"),
    ("resources/list", "resources", "uri"),
    ("resources/templates/list", "resourceTemplates", "uriTemplate"),
];

#[tokio::test]
async fn a_list_that_cannot_be_read_is_not_passed_on() {
    let (world, server) = world().await;
    for (method, member, _) in LISTS {
        for members in [
            String::new(),
            format!(r#","{member}":{{"0":{{"name":"a"}}}}"#),
            format!(r#","{}":[{{"name":"a"}}]"#, member.to_uppercase()),
        ] {
            answer_with(&server, method, &members);
            let body = json_of(world.send(list(method)).await).await;
            assert_eq!(
                body["error"]["data"]["code"], "upstream.not-mcp",
                "{members}: {body}"
            );
        }
    }
}

#[tokio::test]
async fn what_was_judged_is_what_is_shown() {
    let (world, server) = world().await;
    forbid(
        &world,
        r#"forbid (principal, action == Action::"prompts/get", resource == Prompt::"up/no");"#,
    );
    // A reader that takes the first of two members would see what was not judged.
    answer_with(
        &server,
        "prompts/list",
        r#","prompts":[{"name":"no"}],"prompts":[{"name":"no","name":"yes"}]"#,
    );
    let text = text_of(world.send(list("prompts/list")).await).await;
    assert!(text.contains(r#""prompts":[{"name":"yes"}]"#), "{text}");
    assert!(!text.contains(r#""no""#), "{text}");
    answer_with(
        &server,
        "prompts/list",
        r#","prompts":[{"title":"without a name"},{"name":7},{"name":"yes"}]"#,
    );
    let body = json_of(world.send(list("prompts/list")).await).await;
    assert_eq!(body["result"]["prompts"], json!([{"name": "yes"}]));
}

#[tokio::test]
async fn a_page_of_a_list_has_a_limit() {
    let (world, server) = world().await;
    for (method, member, name) in LISTS {
        for (count, fits) in [(4_096, true), (4_097, false)] {
            let items = (0..count)
                .map(|n| json!({name: format!("file:///{n}")}))
                .collect::<Value>();
            answer_with(&server, method, &format!(r#","{member}":{items}"#));
            let body = json_of(world.send(list(method)).await).await;
            if fits {
                assert_eq!(
                    body["result"][member].as_array().map(Vec::len),
                    Some(count),
                    "{method}"
                );
                continue;
            }
            assert_eq!(body["error"]["data"]["code"], "upstream.not-mcp", "{method}");
            assert!(
                body["error"].to_string().contains("4096 items"),
                "{}",
                body["error"]
            );
        }
    }
}

#[tokio::test]
async fn a_policy_that_reads_an_argument_hides_no_tool() {
    let (world, _server) = world().await;
    let tools = async |policy: &str| {
        forbid(&world, policy);
        json_of(world.send(list("tools/list")).await).await["result"]["tools"].to_string()
    };
    let echo = r#"forbid (principal, action == Action::"tools/call", resource == Tool::"up/echo")"#;
    let unless = format!(r#"{echo} unless {{ context.text has path }};"#);
    assert!(
        tools(&unless).await.contains(r#""name":"echo""#),
        "it may be called with a path"
    );
    let call = |arguments: Value| {
        modern(
            "t",
            "up",
            json!(1),
            "tools/call",
            json!({"name": "echo", "arguments": arguments}),
        )
    };
    let body = json_of(world.send(call(json!({"path": "/srv"}))).await).await;
    assert_eq!(body["error"], Value::Null, "{body}");
    let body = json_of(world.send(call(json!({}))).await).await;
    assert_eq!(body["error"]["data"]["code"], "policy.forbidden", "{body}");
    assert!(!tools(&format!("{echo};")).await.contains(r#""name":"echo""#));
}

#[tokio::test]
async fn what_cannot_be_decided_is_not_shown() {
    let (world, server) = world().await;
    let broken = |action: &str, item: &str| {
        format!(
            r#"forbid (principal, action == Action::"{action}", resource == {item}) when {{ 9223372036854775807 + 1 > 0 }};"#
        )
    };
    forbid(&world, &broken("tools/call", r#"Tool::"up/echo""#));
    let tools = json_of(world.send(list("tools/list")).await).await["result"]["tools"].to_string();
    assert!(
        !tools.contains(r#""name":"echo""#) && tools.contains(r#""name""#),
        "{tools}"
    );
    for (method, use_of, kind, member, name) in [
        ("prompts/list", "prompts/get", "Prompt", "prompts", "name"),
        ("resources/list", "resources/read", "Resource", "resources", "uri"),
    ] {
        forbid(&world, &broken(use_of, &format!(r#"{kind}::"up/file:///no""#)));
        let items = json!([{name: "file:///no"}, {name: "file:///yes"}]);
        answer_with(&server, method, &format!(r#","{member}":{items}"#));
        let body = json_of(world.send(list(method)).await).await;
        assert_eq!(
            body["result"][member],
            json!([{name: "file:///yes"}]),
            "{method}: {body}"
        );
    }
}

#[tokio::test]
async fn others_get_their_turn_while_a_long_list_is_decided() {
    let (world, server) = (World::new(), Server::start(true).await);
    server
        .state
        .tools
        .lock()
        .unwrap()
        .extend((0..640).map(|n| tool(&format!("tool-{n}"))));
    world.add("up", server.connection()).await;
    world.grant("t", 1, &["up:*"]);
    json_of(world.send(list("tools/list")).await).await;
    // The list is known now: nothing else is waited for.
    let mut polls = 0;
    let mut listed = std::pin::pin!(world.send(list("tools/list")));
    let response = poll_fn(|context| {
        polls += 1;
        listed.as_mut().poll(context)
    })
    .await;
    let body = json_of(response).await;
    assert_eq!(body["result"]["tools"].as_array().map(Vec::len), Some(646));
    assert!(polls >= 10, "{polls}");
}
