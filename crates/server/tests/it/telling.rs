//! Who is told what happens: each tenant of its own, within limits of time.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::{Answer, Bed, until};

const SSF: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

/// A receiver of `tenant` with a stream that it polls: its token, and the path of the poll.
async fn receiver(bed: &Bed, tenant: &str) -> (String, String) {
    let identity = bed.add_identity(tenant, "receiver").await;
    let (_, token) = bed.open_task(tenant, &identity, &["ssf:manage"]).await;
    let asked = json!({"events_requested": [SSF]});
    let made = bed
        .bearing(&token, &format!("/t/{tenant}/ssf/stream"), &asked)
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    let stream = made.json()["stream_id"].as_str().unwrap().to_owned();
    (token, format!("/t/{tenant}/ssf/poll/{stream}"))
}

async fn poll(bed: &Bed, (token, path): &(String, String)) -> Answer {
    bed.bearing(token, path, &json!({"returnImmediately": true}))
        .await
}

/// What waits, without its signatures.
async fn waiting(bed: &Bed, receiver: &(String, String)) -> Vec<Value> {
    let answer = poll(bed, receiver).await.ok();
    let sets = answer["sets"].as_object().unwrap().values();
    sets.map(|set| crate::bed::claims_of(set.as_str().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_told_of_its_own_and_of_what_is_done_to_all() {
    let bed = Bed::start().await;
    bed.add_tenant("acme").await;
    bed.add_tenant("globex").await;
    let (acme, globex) = (receiver(&bed, "acme").await, receiver(&bed, "globex").await);
    let agent = bed.add_identity("acme", "agent").await;
    bed.kill("acme", "identity", &agent).await.ok();
    let told = waiting(&bed, &acme).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["sub_id"]["sub"], json!(agent));
    assert_eq!(waiting(&bed, &globex).await, Vec::<Value>::new());
    // A stream of one tenant is not there at the door of another, nor is its token.
    let crossed = (acme.0.clone(), acme.1.replace("/acme/", "/globex/"));
    assert_eq!(poll(&bed, &crossed).await.status, 401);
    let crossed = (globex.0.clone(), acme.1.replace("/acme/", "/globex/"));
    poll(&bed, &crossed).await.refused(404, "request.not-found");
    // While everything stands still nobody is told; then both are told of it.
    let all = json!({"scope": "all", "reason": "a drill", "suspend": true});
    bed.post("/v1/all-tenants/kill", &all).await.ok();
    assert_eq!(poll(&bed, &globex).await.status, 401);
    bed.post(
        "/v1/all-tenants/resume",
        &json!({"scope": "all", "reason": "over"}),
    )
    .await
    .ok();
    for (receiver, tenant) in [(&acme, "acme"), (&globex, "globex")] {
        let told = waiting(&bed, receiver).await;
        let whole = json!({"format": "complex", "tenant": {"format": "opaque", "id": tenant}});
        assert_eq!(told.last().map(|set| &set["sub_id"]), Some(&whole), "{tenant}");
    }
}

async fn row(bed: &Bed) -> Value {
    let page = bed.get("/v1/tenants/acme/subscriptions").await.ok();
    page["items"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_for_days_is_disabled_on_record() {
    let bed = Bed::start().await;
    bed.add_tenant("acme").await;
    // Nobody listens there.
    let hook = json!({
        "url": "http://127.0.0.1:9/in", "allow_addresses": ["127.0.0.1/32"], "danger_plaintext": true,
    });
    let id = bed.post("/v1/tenants/acme/webhooks", &hook).await.ok()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let agent = bed.add_identity("acme", "agent").await;
    bed.kill("acme", "identity", &agent).await.ok();
    until("a failure", || async {
        row(&bed).await["attempts"].as_u64() > Some(0)
    })
    .await;
    let failing = row(&bed).await;
    assert_eq!(failing["status"], "enabled");
    assert!(
        failing["failing_since"].is_string() && failing["trouble"].is_string(),
        "{failing}"
    );
    bed.clock.advance(Duration::from_secs(73 * 3_600));
    until("the end of it", || async {
        row(&bed).await["status"] == "disabled"
    })
    .await;
    let reason = row(&bed).await["status_reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("72 h"), "{reason}");
    let entries = bed.entries("state").await;
    let disabled = entries
        .iter()
        .filter(|e| e["leaf"]["kind"] == "state.subscription.disable");
    assert_eq!(disabled.count(), 1);
    // An operator lets it go on: from now on, not from where it stood.
    let path = format!("/v1/tenants/acme/subscriptions/{id}/status");
    let enabled = bed.post(&path, &json!({"status": "enabled"})).await.ok();
    assert_eq!(enabled["attempts"], 0);
    assert!(enabled["position"].as_u64() > failing["position"].as_u64());
    let why = json!({"reason": "not needed"});
    let removed = bed
        .post(&format!("/v1/tenants/acme/subscriptions/{id}/remove"), &why)
        .await;
    removed.ok();
    let again = bed.post(&path, &json!({"status": "paused", "reason": "x"})).await;
    again.refused(422, "signal.removed");
    let page = bed.get("/v1/tenants/acme/subscriptions").await.ok();
    assert_eq!(page["items"], json!([]));
}
