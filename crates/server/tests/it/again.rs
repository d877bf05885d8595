//! The same command twice is one command, also over a restart.

use serde_json::{Value, json};

use crate::bed::{Answer, Bed, identity, server, task};
use crate::desk::Desk;

fn replayed(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == "true"
}

/// Every command with a body of its own, and another body under the same key.
async fn commands(bed: &Bed, desk: &Desk) -> Vec<(&'static str, String, Value, Value)> {
    bed.add_tenant("acme").await;
    bed.add_server("acme", "files", desk).await;
    let worker = bed.add_identity("acme", "worker").await;
    let (paused, retired, killed) = (
        bed.add_identity("acme", "paused").await,
        bed.add_identity("acme", "retired").await,
        bed.add_identity("acme", "killed").await,
    );
    let (open, _) = bed.open_task("acme", &worker, &["files:echo"]).await;
    let (_, jwk) = bailiwick_server::operator::generate_client_key("EdDSA").unwrap();
    let at = |rest: &str| format!("/v1/tenants/acme/{rest}");
    let why = |why: &str| json!({"reason": why});
    let mut silent = task(&worker, &["files:echo"]);
    silent["issue"] = json!(false);
    let mut other_task = silent.clone();
    other_task["purpose"] = json!("August");
    vec![
        (
            "POST",
            "/v1/tenants".to_owned(),
            json!({"tenant": "globex", "name": "Globex", "employees": 3, "algorithm": "EdDSA"}),
            json!({"tenant": "globex", "name": "Globex", "employees": 4, "algorithm": "EdDSA"}),
        ),
        ("POST", at("identities"), identity("fresh"), identity("other")),
        (
            "POST",
            at("clients"),
            json!({"identity": worker, "jwk": jwk}),
            json!({"identity": paused, "jwk": jwk}),
        ),
        ("POST", at("tasks"), silent, other_task),
        (
            "POST",
            at(&format!("tasks/{open}/close")),
            why("done"),
            why("done twice"),
        ),
        (
            "POST",
            at("servers"),
            server("more", &desk.url),
            server("else", &desk.url),
        ),
        (
            "PUT",
            at("policies"),
            json!({"cedar": "// first"}),
            json!({"cedar": "// second"}),
        ),
        (
            "PUT",
            at(&format!("identities/{worker}/composition")),
            json!({"model": "A".repeat(43)}),
            json!({"model": "E".repeat(43)}),
        ),
        (
            "POST",
            at(&format!("identities/{worker}/activate")),
            why("a"),
            why("b"),
        ),
        (
            "POST",
            at(&format!("identities/{paused}/suspend")),
            why("a"),
            why("b"),
        ),
        (
            "POST",
            at(&format!("identities/{paused}/resume")),
            why("a"),
            why("b"),
        ),
        (
            "POST",
            at(&format!("identities/{retired}/retire")),
            why("a"),
            why("b"),
        ),
        (
            "POST",
            at("kill"),
            json!({"scope": "identity", "name": killed, "reason": "a"}),
            json!({"scope": "identity", "name": killed, "reason": "b"}),
        ),
        (
            "POST",
            at("kill"),
            json!({"scope": "server", "name": "files", "reason": "a", "suspend": true}),
            json!({"scope": "server", "name": "files", "reason": "b", "suspend": true}),
        ),
        (
            "POST",
            at("resume"),
            json!({"scope": "server", "name": "files", "reason": "a"}),
            json!({"scope": "server", "name": "files", "reason": "b"}),
        ),
    ]
}

/// What an answer says apart from how long it took this time.
fn said(answer: Answer) -> Value {
    let mut body = answer.ok();
    if body["points"].is_array() {
        for measured in [
            "denied_us",
            "committed_us",
            "contained_us",
            "cancelled_calls",
            "points",
            "stopped",
        ] {
            body.as_object_mut().unwrap().remove(measured);
        }
    }
    body
}

/// Entries of what was commanded. A receipt is completed when the service gets to it, which is no command.
async fn commanded(bed: &Bed) -> usize {
    let entries = bed.entries("state").await;
    let by_operators = entries.iter().filter(|entry| {
        let actor = entry.pointer("/payload/actor").and_then(Value::as_str);
        actor.is_none_or(|actor| actor != "system:receipts")
    });
    by_operators.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_under_one_key_is_done_once_and_answered_alike_over_a_restart() {
    let mut bed = Bed::start().await;
    let desk = Desk::open().await;
    let commands = commands(&bed, &desk).await;
    let mut first = Vec::new();
    for (n, (method, path, body, _)) in commands.iter().enumerate() {
        let key = format!("command-{n}");
        let answer = bed
            .command(method, path, &[("idempotency-key", &key)], body)
            .await;
        assert!(!replayed(&answer), "{path}");
        first.push(said(answer));
    }
    let length = commanded(&bed).await;
    for restarted in [false, true] {
        if restarted {
            bed.restart().await;
        }
        for (n, (method, path, body, other)) in commands.iter().enumerate() {
            let key = format!("command-{n}");
            let again = bed
                .command(method, path, &[("idempotency-key", &key)], body)
                .await;
            assert!(again.status.is_success(), "{path}: {}", again.text());
            assert!(replayed(&again), "{path}: not said to be a repetition");
            assert_eq!(said(again), first[n], "{path}");
            let other = bed
                .command(method, path, &[("idempotency-key", &key)], other)
                .await;
            other.refused(409, "idempotency.reused");
        }
        assert_eq!(commanded(&bed).await, length, "something was done twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_per_tenant_and_a_malformed_key_is_refused() {
    let bed = Bed::start().await;
    bed.add_tenant("acme").await;
    bed.add_tenant("globex").await;
    for tenant in ["acme", "globex"] {
        let path = format!("/v1/tenants/{tenant}/identities");
        let answer = bed.keyed(&path, "the-same-key", &identity("worker")).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert!(!replayed(&answer));
    }
    for bad in ["short", &"x".repeat(129)] {
        let answer = bed
            .keyed("/v1/tenants/acme/identities", bad, &identity("w2"))
            .await;
        answer.refused(400, "idempotency.malformed");
    }
    assert_eq!(bed.get("/v1/tenants/acme/identities").await.ok()["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_sent_sixteen_times_at_once_is_done_once() {
    let bed = Bed::start().await;
    bed.add_tenant("acme").await;
    let body = identity("worker");
    let answers = futures_util::future::join_all(
        (0..16).map(|_| bed.keyed("/v1/tenants/acme/identities", "one-and-the-same", &body)),
    )
    .await;
    let ids: std::collections::BTreeSet<String> =
        answers.into_iter().map(|a| a.ok()["id"].to_string()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(bed.get("/v1/tenants/acme/identities").await.ok()["total"], 1);
}
