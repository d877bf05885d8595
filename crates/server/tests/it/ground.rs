//! The story in one test, and what every later test builds on: the bed itself.

use serde_json::json;

use crate::bed::Bed;
use crate::desk::Desk;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_allowed_recorded_killed_and_refused() {
    let bed = Bed::start().await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    bed.add_server("acme", "files", &desk).await;
    let identity = bed.add_identity("acme", "invoices").await;
    let (_, token) = bed.open_task("acme", &identity, &["files:echo(a = 1)"]).await;

    let allowed = bed
        .call(&token, "acme", "files", "echo", json!({"a": 1}))
        .await
        .ok();
    assert_eq!(allowed["result"]["content"][0]["text"], "{\"a\":1}");
    let refused = bed
        .call(&token, "acme", "files", "echo", json!({"a": 2}))
        .await
        .ok();
    assert_eq!(refused["error"]["code"], -32001);
    assert_eq!(refused["error"]["data"]["code"], "grant.argument-out-of-scope");
    assert_eq!(desk.calls(), 1, "the refused call never arrived");

    let killed = bed.kill("acme", "identity", &identity).await.ok();
    assert_eq!(killed["effect"], "kill");
    let dead = bed.call(&token, "acme", "files", "echo", json!({"a": 1})).await;
    assert_eq!(dead.status, 401, "{}", dead.text());
    assert_eq!(desk.calls(), 1);

    let entries = bed.entries("decisions").await;
    let effects: Vec<_> = entries
        .iter()
        .filter(|e| e["leaf"]["kind"] == "decision")
        .map(|e| e["payload"]["effect"].as_str().unwrap())
        .collect();
    assert!(
        effects.contains(&"permit") && effects.contains(&"deny"),
        "{effects:?}"
    );
}
