//! `authorization_details` at the token endpoint (RFC 9396): the token allows exactly what was asked for, or none is
//! issued.

use serde_json::{Value, json};

use crate::bed::{Answer, Bed};
use crate::desk::Desk;
use crate::tokens::{ASSERTION_TYPE, Client, FORM, form};

const GRANTED: [&str; 3] = [
    r#"files:read_text_file(path under "/in")"#,
    r#"files:read_text_file(path under "/out")"#,
    "mail:*",
];

struct World {
    bed: Bed,
    desk: Desk,
    client: Client,
    stranger: Client,
    task: String,
}

async fn world() -> World {
    let (bed, desk) = (Bed::start().await, Desk::open().await);
    bed.add_tenant("acme").await;
    for server in ["files", "mail"] {
        bed.add_server("acme", server, &desk).await;
    }
    let worker = bed.add_identity("acme", "worker").await;
    let (task, _) = bed.open_task("acme", &worker, &GRANTED).await;
    let other = bed.add_identity("acme", "other").await;
    World {
        client: Client::register(&bed, "acme", &worker).await,
        stranger: Client::register(&bed, "acme", &other).await,
        bed,
        desk,
        task,
    }
}

fn detail(server: &str, action: &str) -> Value {
    json!({"type": "bailiwick_call", "locations": [server], "actions": [action]})
}

fn reading(folder: &str) -> Value {
    let mut detail = detail("files", "read_text_file");
    detail["args"] = json!({"path": {"under": folder}});
    detail
}

impl World {
    async fn post(&self, client: &Client, door: &str, more: &[(&str, &str)]) -> Answer {
        let assertion = client.assertion(&self.bed, "acme");
        let mut parameters = vec![
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
        ];
        parameters.extend_from_slice(more);
        let path = format!("/t/acme/{door}");
        self.bed
            .send("POST", &path, &[("content-type", FORM)], form(&parameters))
            .await
    }

    async fn ask(&self, client: &Client, details: &str, more: &[(&str, &str)]) -> Answer {
        let mut parameters = vec![
            ("grant_type", "client_credentials"),
            ("task", self.task.as_str()),
            ("authorization_details", details),
        ];
        parameters.extend_from_slice(more);
        self.post(client, "token", &parameters).await
    }

    async fn permitted(&self, token: &str, server: &str, tool: &str, path: &str) -> bool {
        let before = self.desk.calls();
        let args = json!({ "path": path });
        let answer = self.bed.call(token, "acme", server, tool, args).await;
        let through = self.desk.calls() > before;
        assert_eq!(through, answer.json()["result"].is_object(), "{}", answer.text());
        through
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_asked_for_with_details_allows_those_and_no_more() {
    let world = world().await;
    let asked = json!([reading("/in"), reading("/out"), detail("mail", "echo")]);
    let granted = world.ask(&world.client, &asked.to_string(), &[]).await.ok();
    assert_eq!(granted["scope"], "files:read_text_file mail:echo");
    assert_eq!(granted["authorization_details"], asked);
    let token = granted["access_token"].as_str().unwrap();
    for (server, tool, path, permitted) in [
        ("files", "read_text_file", "/in/a", true),
        ("files", "read_text_file", "/out/a", true),
        ("files", "read_text_file", "/etc/a", false),
        ("files", "echo", "/in/a", false),
        ("mail", "echo", "/etc/a", true),
        ("mail", "hold", "/in/a", false),
    ] {
        assert_eq!(
            world.permitted(token, server, tool, path).await,
            permitted,
            "{server}:{tool} {path}"
        );
    }
    // A resource server is told the same.
    let told = world
        .post(&world.client, "introspect", &[("token", token)])
        .await
        .ok();
    assert_eq!(told["authorization_details"], asked);
    // With both parameters the token says no more than either.
    let both = world
        .ask(&world.client, &asked.to_string(), &[("scope", "mail:echo")])
        .await
        .ok();
    assert_eq!(both["scope"], "mail:echo");
    assert_eq!(both["authorization_details"], json!([detail("mail", "echo")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_cannot_say_exactly_is_refused_with_the_reason() {
    let world = world().await;
    let refused = async |details: String, part: &str| {
        let answer = world.ask(&world.client, &details, &[]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (400, "invalid_authorization_details"),
            "{details}: {}",
            answer.text()
        );
        let told = answer.json()["error_description"].as_str().unwrap().to_owned();
        assert!(told.contains(part), "{details}: {told}");
    };
    refused("x".to_owned(), "authorization_details").await;
    refused("{}".to_owned(), "an array").await;
    refused("[]".to_owned(), "nothing is asked for").await;
    refused(format!("[{}", "[".repeat(600)), "authorization_details").await;
    refused(json!([{"type": "payment"}]).to_string(), "[0].type").await;
    refused(json!([detail("files", "echo")]).to_string(), "[0]").await;
    // A condition that only the token would have.
    refused(json!([reading("/in/2026")]).to_string(), "narrower task").await;
    // One of two rules for the same tool.
    refused(json!([reading("/in")]).to_string(), "/out").await;
    let mut stranger = reading("/in");
    stranger["except"] = json!("/in/private");
    refused(json!([stranger]).to_string(), "except").await;
    let wider = json!([detail("mail", "echo")]).to_string();
    // A blank scope is no leave for everything.
    for scope in ["mail:hold", " ", "   "] {
        let answer = world.ask(&world.client, &wider, &[("scope", scope)]).await;
        assert_eq!(answer.code(), "invalid_scope", "`{scope}`: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_what_the_task_of_another_grants() {
    let world = world().await;
    let mine = world
        .ask(&world.stranger, &json!([reading("/in")]).to_string(), &[])
        .await;
    let guessed = world
        .ask(
            &world.stranger,
            &json!([detail("files", "echo")]).to_string(),
            &[],
        )
        .await;
    assert_eq!(mine.status, guessed.status);
    assert_eq!(mine.text(), guessed.text());
    assert!(!mine.text().contains("/out"), "{}", mine.text());
}
