//! A node that has not heard from its store for too long refuses, and recovers by itself.

use std::time::Duration;

use serde_json::json;

use crate::bed::{Bed, until};
use crate::desk::Desk;

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_store_stops_calls_and_issuing_and_both_come_back() {
    let bed = Bed::start().await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    let (identity, task, token) = bed.add_worker(&desk, &["files:echo", "authzen:evaluate"]).await;
    let call = || bed.call(&token, "acme", "files", "echo", json!({}));
    assert!(call().await.ok()["result"].is_object());
    // Six seconds pass at once: the last word of the store is older than the five that are borne with.
    bed.clock.advance(Duration::from_secs(6));
    let stale = call().await;
    assert!(stale.text().contains("snapshot.stale"), "{}", stale.text());
    let question = json!({
        "subject": {"type": "identity", "id": identity}, "action": {"name": "read"},
        "resource": {"type": "document", "id": "1"},
    });
    bed.clock.advance(Duration::from_secs(6));
    let asked = bed.bearing(&token, "/access/v1/evaluation", &question).await.ok();
    assert_eq!(
        (&asked["decision"], &asked["context"]["code"]),
        (&json!(false), &json!("snapshot.stale"))
    );
    bed.clock.advance(Duration::from_secs(6));
    let path = format!("/v1/tenants/acme/tasks/{task}/tokens");
    bed.post(&path, &json!({"count": 1}))
        .await
        .refused(503, "snapshot.stale");
    bed.clock.advance(Duration::from_secs(6));
    let ready = bed.send("GET", "/readyz", &[], "").await;
    assert_eq!(
        (ready.status.as_u16(), ready.json()["status"].clone()),
        (503, json!("not-ready"))
    );
    assert_eq!(desk.calls(), 1, "nothing was forwarded meanwhile");
    assert!(
        bed.get("/v1/tenants/acme/identities").await.status == 200,
        "reading works"
    );

    until("the next fresh word", || async {
        call().await.text().contains("\"result\"")
    })
    .await;
    assert_eq!(bed.send("GET", "/readyz", &[], "").await.status, 200);
    bed.post(&path, &json!({"count": 1})).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_hears_the_store_as_long_as_calls_are_open() {
    let mut bed = Bed::start_with(|config| {
        (config.freshness.warn_secs, config.freshness.refuse_secs) = (1, 2);
        config.listen.drain_secs = 60;
    })
    .await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    let (_, _, token) = bed.add_worker(&desk, &["files:hold"]).await;
    {
        let open = bed.call(&token, "acme", "files", "hold", json!({}));
        let ending = async {
            until("the call to arrive", || async { desk.calls() == 1 }).await;
            bed.begin_stop();
            // Longer than a word is good for.
            crate::pause(Duration::from_secs(4)).await;
            desk.release();
        };
        let (answer, ()) = tokio::join!(open, ending);
        assert!(answer.text().contains("\"result\""), "{}", answer.text());
    }
    bed.stop().await;
}
