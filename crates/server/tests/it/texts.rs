//! Hostile texts through every field that takes text: given back as they came, or refused with a code;
//! never a 500, and never more than one line in the log of the service.

use std::process::Stdio;

use bailiwick_vectors as vectors;
use futures_util::StreamExt;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::bed::{Answer, Bed, identity, server, task};
use crate::desk::Desk;

/// Set for the process that sweeps.
const SWEEP: &str = "IT_TEXT_SWEEP";

/// The texts of both sets, with how many each must have.
fn texts() -> Option<Vec<String>> {
    let naughty = vectors::folder("naughty-strings")?.join("blns.json");
    let hostile = vectors::folder("hostile-text")?.join("texts.json");
    let mut all: Vec<String> = serde_json::from_slice(&std::fs::read(naughty).unwrap()).unwrap();
    assert_eq!(all.len(), 250);
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(hostile).unwrap()).unwrap();
    assert_eq!(cases.len(), 66);
    all.extend(cases.iter().map(|c| c["text"].as_str().unwrap().to_owned()));
    Some(all)
}

struct World {
    bed: Bed,
    identity: String,
    token: String,
}

/// Where in an answer the text must stand again, when the command was accepted.
type Field = (&'static str, String, fn(&World, &str) -> Value, &'static str);

fn put(mut body: Value, pointer: &str, text: &str) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[name] = json!(text);
    body
}

/// Every field of a command that takes text of somebody's choice.
fn fields() -> Vec<Field> {
    let at = |rest: &str| format!("/v1/tenants/acme/{rest}");
    let of_identity =
        |pointer: &'static str, body: fn(&World, &str) -> Value| ("POST", at("identities"), body, pointer);
    vec![
        of_identity("/name", |_, t| put(identity("x"), "/name", t)),
        of_identity("/owner/team", |_, t| put(fresh(), "/owner/team", t)),
        of_identity(
            "/purpose /owner/contact /application /platform /labels/workflow",
            |_, t| {
                let mut body = labelled();
                for pointer in [
                    "/purpose",
                    "/owner/contact",
                    "/application",
                    "/platform",
                    "/labels/workflow",
                ] {
                    body = put(body, pointer, t);
                }
                body
            },
        ),
        of_identity("/labels/agent", |_, t| put(labelled(), "/labels/agent", t)),
        of_identity("", |_, t| put(fresh(), "/kind", t)),
        of_identity("", |_, t| put(fresh(), "/expires_at", t)),
        (
            "POST",
            at("tasks"),
            |w, t| put(put(quiet(w), "/purpose", t), "/requested_by", t),
            "/task/purpose /task/requested_by",
        ),
        ("POST", at("tasks"), |w, t| task(&w.identity, &[t]), ""),
        ("POST", at("tasks"), |w, t| put(quiet(w), "/identity", t), ""),
        (
            "POST",
            at("clients"),
            |_, t| json!({"identity": t, "jwk": {"kty": t}}),
            "",
        ),
        (
            "POST",
            at("servers"),
            |_, t| put(server("x", "http://127.0.0.1:1/mcp"), "/name", t),
            "",
        ),
        (
            "POST",
            at("servers"),
            |_, t| put(server("x", "http://127.0.0.1:1/mcp"), "/url", t),
            "",
        ),
        (
            "POST",
            at("servers"),
            |_, t| {
                let mut body = server("x", "");
                body.as_object_mut().unwrap().remove("url");
                body["exec"] = json!(t);
                body["args"] = json!([t]);
                body["digests"] = json!([t]);
                body
            },
            "",
        ),
        ("POST", at("servers/files/pin"), |_, t| json!({"tools": [t]}), ""),
        (
            "PUT",
            at("identities/worker/composition"),
            |_, t| json!({"model": t}),
            "",
        ),
        ("PUT", at("policies"), |_, t| json!({"cedar": t}), ""),
        (
            "POST",
            at("check"),
            |w, t| json!({"principal": w.identity, "action": t, "resource": t, "args": {t: t}}),
            "",
        ),
        (
            "POST",
            at("check"),
            |w, t| json!({"principal": w.identity, "action": "tools/call", "resource": format!("files:{t}"), "args": {t: t}}),
            "",
        ),
        (
            "POST",
            at("kill"),
            |_, t| json!({"scope": "owner", "name": t, "reason": "x"}),
            "",
        ),
        (
            "POST",
            at("kill"),
            |_, t| json!({"scope": "tool", "name": format!("files:{t}"), "reason": t, "dry_run": true}),
            "",
        ),
        (
            "POST",
            at("resume"),
            |_, t| json!({"scope": "owner", "name": "finance", "reason": t}),
            "",
        ),
        (
            "POST",
            "/v1/tenants".to_owned(),
            |_, t| json!({"tenant": t, "name": t, "employees": 1}),
            "",
        ),
    ]
}

fn fresh() -> Value {
    let name = bailiwick_server::operator::idempotency_key().unwrap();
    identity(&name)
}

fn labelled() -> Value {
    let mut body = fresh();
    body["labels"] = json!({"agent": "x"});
    body
}

fn quiet(world: &World) -> Value {
    let mut body = task(&world.identity, &["files:echo"]);
    body["issue"] = json!(false);
    body
}

#[track_caller]
fn understood(what: &str, text: &str, answer: &Answer) {
    let status = answer.status.as_u16();
    assert!(
        status < 500 || status == 502,
        "{what} {text:?}: {status} {}",
        answer.text()
    );
    if status >= 400 && !answer.bytes.is_empty() {
        assert!(
            !answer.code().is_empty() || answer.text().contains("jsonrpc"),
            "{what} {text:?}: {}",
            answer.text()
        );
    }
}

async fn commands(world: &World, text: &str) -> usize {
    let mut kept = 0;
    for (method, path, body, pointer) in fields() {
        let answer = world.bed.command(method, &path, &[], &body(world, text)).await;
        understood(&format!("{method} {path} {pointer}"), text, &answer);
        if !answer.status.is_success() {
            continue;
        }
        let stored = answer.json();
        for pointer in pointer.split_whitespace() {
            let found = stored.pointer(pointer).and_then(Value::as_str);
            // Blanks around a text are not part of it, and a text of nothing that can be seen is none.
            let expected = Some(text.trim()).filter(|t| bailiwick_base::limits::can_be_seen(t));
            assert_eq!(found, expected, "{path} {pointer} was changed");
            kept += usize::from(expected.is_some());
        }
    }
    kept
}

/// Doors of agents and enforcement points, and the places in a request that are no body.
async fn elsewhere(world: &World, text: &str) {
    let bed = &world.bed;
    let question = json!({
        "subject": {"type": text, "id": text, "properties": {text: text}}, "action": {"name": text, "properties": {text: text}},
        "resource": {"type": text, "id": text}, "context": {text: text},
    });
    let asked = bed
        .bearing(&world.token, "/access/v1/evaluation", &question)
        .await;
    understood("evaluation", text, &asked);
    let called = bed
        .call_raw(&world.token, text, &json!({"path": text, text: text}))
        .await;
    understood("call", text, &called);
    let encoded = serde_urlencoded::to_string([("x", text)]).unwrap()[2..].replace('+', "%20");
    for path in [
        format!("/v1/tenants/{encoded}/identities"),
        format!("/v1/tenants/acme/identities/{encoded}"),
        format!("/v1/tenants/acme/count?at={encoded}"),
        format!("/v1/logs/{encoded}/entries"),
        format!("/v1/logs/decisions/proof?entry={encoded}"),
        format!("/t/{encoded}/jwks"),
        format!("/.well-known/oauth-protected-resource/t/acme/mcp/{encoded}"),
        format!("/{encoded}"),
    ] {
        if path.parse::<http::Uri>().is_ok() {
            understood(&path, text, &bed.get(&path).await);
        }
    }
    let form = serde_urlencoded::to_string([
        ("grant_type", text),
        ("client_assertion", text),
        ("scope", text),
        (text, text),
    ]);
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    understood(
        "token",
        text,
        &bed.send("POST", "/t/acme/token", &kind, form.unwrap()).await,
    );
    if let Ok(value) = http::HeaderValue::from_bytes(text.as_bytes()) {
        let value = value.as_bytes();
        let session = format!("Bearer {}", bed.session());
        let mut headers = vec![("authorization", session.as_bytes())];
        headers.extend(
            [
                "idempotency-key",
                "x-request-id",
                "mcp-name",
                "bailiwick-countersign",
            ]
            .map(|n| (n, value)),
        );
        understood(
            "headers",
            text,
            &bed.send_bytes("GET", "/v1/tenants", &headers, "").await,
        );
        for name in ["authorization", "origin"] {
            understood(
                name,
                text,
                &bed.send_bytes("GET", "/v1/tenants", &[(name, value)], "").await,
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_text_is_kept_or_refused_in_every_field_and_on_one_line() {
    if texts().is_none() {
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["texts::sweep", "--exact", "--nocapture", "--test-threads=1"])
        .env(SWEEP, "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let (out, lines) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && out.contains("1 passed"),
        "{out}{}",
        &lines[lines.len().saturating_sub(4_000)..]
    );
    // What the service itself wrote: one JSON document per line, nothing between, no control character.
    let mut events = 0;
    for line in lines.lines() {
        let event: Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: a line that is no event: {line:?}"));
        assert!(
            event["level"].is_string() && event["timestamp"].is_string(),
            "{line}"
        );
        assert!(!line.chars().any(char::is_control), "{line:?}");
        events += 1;
    }
    assert!(events > 0, "the service wrote nothing at all");
    assert!(!lines.contains("\u{1b}"), "a terminal escape");
    for set in [
        "hostile-text over HTTP: 66/66",
        "naughty-strings over HTTP: 250/250",
    ] {
        assert!(out.contains(set), "{out}");
        println!("{set}");
    }
}

/// Its log lines are read by the test that starts it; by itself it does nothing.
#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::disallowed_methods,
    reason = "the parent tells its own child what to do"
)]
async fn sweep() {
    if std::env::var_os(SWEEP).is_none() {
        return;
    }
    let Some(texts) = texts() else { return };
    let bed = Bed::start_with(|config| {
        config.telemetry.level =
            "warn,bailiwick_server=debug,bailiwick_api=debug,bailiwick_mcp=debug".to_owned()
    })
    .await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    let (identity, _, token) = bed.add_worker(&desk, &["files:*", "authzen:evaluate"]).await;
    let world = World { bed, identity, token };
    let kept: usize = stream::iter(&texts)
        .map(|text| {
            let world = &world;
            async move {
                elsewhere(world, text).await;
                commands(world, text).await
            }
        })
        .buffer_unordered(16)
        .fold(0, |sum, kept| async move { sum + kept })
        .await;
    assert!(kept > 1_000, "only {kept} were kept");
    // What was kept is in the log as it was said, and the log still verifies.
    let mut world = world;
    let listed = world.bed.get("/v1/tenants/acme/identities").await.ok();
    let names: std::collections::BTreeSet<&str> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["name"].as_str().unwrap())
        .collect();
    assert!(
        names.iter().filter(|n| texts.iter().any(|t| t == *n)).count() > 100,
        "names are listed as given"
    );
    world.bed.stop().await;
    let reports = bailiwick_server::evidence::verify_folder(&world.bed.data(), &[]).unwrap();
    assert!(
        reports
            .iter()
            .all(bailiwick_server::evidence::LogReport::is_sound)
    );
    println!("hostile-text over HTTP: 66/66");
    println!("naughty-strings over HTTP: 250/250");
}
