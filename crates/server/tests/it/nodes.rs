//! A node that is alone on its store is the first of one.

use serde_json::json;

use crate::bed::{Bed, until};

#[tokio::test(flavor = "multi_thread")]
async fn alone_a_node_leads_and_invites_nobody() {
    let bed = Bed::start().await;
    // The store knows its leader one beat before the node says so of itself.
    until("it to know that it leads", || async {
        bed.send("GET", "/readyz", &[], "").await.json()["leader"].is_string()
    })
    .await;
    let nodes = bed.get("/v1/nodes").await.ok();
    assert_eq!(
        (&nodes["total"], &nodes["items"][0]["standing"]),
        (&json!(1), &json!("live"))
    );
    bed.post("/v1/nodes", &json!({"node": "b"}))
        .await
        .refused(422, "node.store-alone");
    let join = json!({"node": "b", "token": "bwnode_x", "public": "A".repeat(43)});
    let joined = bed
        .send(
            "POST",
            "/v1/nodes/join",
            &[("content-type", "application/json")],
            join.to_string(),
        )
        .await;
    joined.refused(422, "node.store-alone");
    let ready = bed.send("GET", "/readyz", &[], "").await.json();
    assert_eq!(
        (
            &ready["node"],
            &ready["leader"],
            &nodes["items"][0]["leads"],
            &ready["fresh"],
            &ready["live_nodes"]
        ),
        (
            &nodes["items"][0]["node"],
            &nodes["items"][0]["node"],
            &json!(true),
            &json!(true),
            &json!(1)
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_on_one_node_is_contained_alone_and_records_tell_the_age_of_the_word() {
    let bed = Bed::start().await;
    let desk = crate::desk::Desk::open().await;
    bed.add_tenant("acme").await;
    let (identity, _, token) = bed.add_worker(&desk, &["files:echo"]).await;
    assert!(bed.call(&token, "acme", "files", "echo", json!({})).await.ok()["result"].is_object());
    let kill = json!({"scope": "identity", "name": identity, "reason": "a drill"});
    let receipt = bed.post("/v1/tenants/acme/kill", &kill).await.ok();
    assert!(
        receipt["contained_us"].is_u64() && receipt["nodes"].is_null(),
        "{receipt}"
    );
    let decided = bed.entries("decisions").await;
    let calls: Vec<_> = decided
        .iter()
        .filter(|e| e["leaf"]["kind"] == "decision")
        .collect();
    assert!(!calls.is_empty());
    for entry in calls {
        assert!(
            entry["payload"]["age_ms"]
                .as_u64()
                .is_some_and(|age| age <= 5_000),
            "{entry}"
        );
        assert!(entry["leaf"]["epoch"].is_u64(), "{entry}");
    }
}
