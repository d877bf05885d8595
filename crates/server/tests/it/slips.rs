//! Slips of the pen: what is wrong is named as it was written, with what was probably meant.

use bailiwick_server::{Config, ConfigSources};
use serde_json::json;

use crate::bed::{Bed, identity, task};
use crate::desk::{Desk, tool};

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_is_malformed_is_shown_as_it_was_written() {
    let bed = Bed::start().await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    let (worker, ..) = bed.add_worker(&desk, &["files:echo"]).await;
    for (second, byte, found) in [("files:echo(a ~ 1)", 13, "~ 1)"), ("files", 5, "the end")] {
        let body = task(&worker, &["files:echo", second]);
        let answer = bed.post("/v1/tenants/acme/tasks", &body).await;
        answer.refused(400, "grant.scope-malformed");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        let start = format!("scope `{second}` (`--can`), byte {byte}: expected ");
        assert!(detail.starts_with(&start) && detail.contains(found), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_not_known_is_told_with_the_nearest_one() {
    let bed = Bed::start().await;
    bed.add_tenant("acme").await;
    let detail = async |member: &str| {
        let mut body = identity("x");
        body[member] = json!("y");
        let answer = bed.post("/v1/tenants/acme/identities", &body).await;
        answer.refused(400, "request.body");
        answer.json()["detail"].as_str().unwrap().to_owned()
    };
    let near = detail("purposs").await;
    assert!(
        near.ends_with("unknown field `purposs`, did you mean `purpose`?"),
        "{near}"
    );
    let far = detail("colour-of-the-sky").await;
    assert!(
        far.contains("expected one of `") && far.contains("`purpose`"),
        "{far}"
    );
    let mut nested = identity("x");
    nested["owner"]["contct"] = json!("y");
    let answer = bed.post("/v1/tenants/acme/identities", &nested).await;
    assert!(
        answer.text().contains("did you mean `contact`?"),
        "{}",
        answer.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_on_an_argument_that_the_tool_does_not_take_opens_no_task() {
    let bed = Bed::start().await;
    let desk = Desk::open().await;
    let mut pay = tool("pay");
    pay["inputSchema"] = json!({"type": "object", "properties": {
        "amount": {"type": "number"},
        "to": {"type": "object", "properties": {"iban": {"type": "string"}}},
    }});
    desk.show(vec![tool("echo"), pay]);
    bed.add_tenant("acme").await;
    let (worker, ..) = bed.add_worker(&desk, &["files:echo(anything = 1)"]).await;
    let open = async |scope: &str| bed.post("/v1/tenants/acme/tasks", &task(&worker, &[scope])).await;
    for (scope, name, hint) in [
        ("files:pay(nosuch = 1)", "nosuch", "name one of `amount`, `to`"),
        ("files:pay(amuont <= 5)", "amuont", "did you mean `amount`?"),
        (
            r#"files:pay(amount <= 5, to.ibann = "x")"#,
            "to.ibann",
            "did you mean `to.iban`?",
        ),
    ] {
        let answer = open(scope).await;
        answer.refused(422, "grant.argument-unknown");
        let (detail, told) = (answer.json()["detail"].clone(), answer.json()["hint"].clone());
        let end = format!("tool `pay` takes no argument `{name}`");
        assert!(detail.as_str().unwrap().ends_with(&end), "{detail}");
        assert_eq!(told, hint);
    }
    open(r#"files:pay(amount <= 5, to.iban = "x")"#).await.ok();
    // Every tool of a server: there is no one schema to ask.
    open("files:*(nosuch = 1)").await.ok();
}

#[test]
fn a_key_of_the_configuration_that_is_not_known_is_told_with_the_nearest_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bailiwick.toml");
    let refusal = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let sources = ConfigSources {
            file: Some(file.clone()),
            ..ConfigSources::default()
        };
        format!("{:#}", Config::read(&sources).unwrap_err())
    };
    for (text, near) in [
        ("[tokens]\nttl_sec = 60\n", "did you mean `ttl_secs`?"),
        ("bas_url = \"https://x.example\"\n", "did you mean `base_url`?"),
        ("[telemetri]\nlevel = \"info\"\n", "did you mean `telemetry`?"),
    ] {
        let told = refusal(text);
        assert!(told.contains(near) && told.contains("bailiwick.toml"), "{told}");
    }
    let stranger = refusal("[colours]\nsky = \"blue\"\n");
    assert!(
        stranger.contains("colours") && !stranger.contains("did you mean"),
        "{stranger}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_is_not_understood_is_a_problem() {
    let bed = Bed::start().await;
    bed.add_tenant("acme").await;
    for path in [
        "/v1/tenants/%ff/count",
        "/v1/tenants/acme/identities/%c3%28",
        "/v1/logs/%fe/entries",
    ] {
        let answer = bed.get(path).await;
        answer.refused(400, "request.path");
        assert_eq!(
            answer.header("content-type"),
            "application/problem+json",
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_is_not_understood_is_a_problem_that_names_it() {
    let bed = Bed::start().await;
    bed.add_tenant("acme").await;
    for (path, name) in [
        ("/v1/tenants/acme/count?at=1&explain=perhaps", "explain"),
        ("/v1/tenants/acme/count?explane=true", "explane"),
        ("/v1/tenants/acme/credentials?limit=many", "limit"),
        ("/v1/logs/state/entries?last=-1", "last"),
        ("/v1/logs/state/entries?last=1&last=2", "last"),
        ("/v1/logs/state/proof", "entry"),
        ("/v1/tenants/acme/logs/decisions/entries?before=x", "before"),
    ] {
        let answer = bed.get(path).await;
        answer.refused(400, "request.query");
        assert_eq!(
            answer.header("content-type"),
            "application/problem+json",
            "{path}"
        );
        let problem = answer.json();
        assert!(
            problem["detail"].as_str().unwrap().contains(&format!("`{name}`")),
            "{problem}"
        );
        assert!(problem["hint"].is_string(), "{problem}");
    }
}
