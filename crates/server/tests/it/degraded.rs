//! What still works when a part is lost: cells of `docs/degraded.md` that no other test shows.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_server::Config;
use serde_json::{Value, json};

use crate::bed::{Answer, BASE, Bed, sign, until};
use crate::clock::ShiftedClock;
use crate::desk::Desk;

/// Fits the schema, and overflows in every evaluation.
const BROKEN: &str = "forbid (principal, action, resource) when { 9223372036854775807 + 1 > 0 };";

struct World {
    bed: Bed,
    desk: Desk,
    worker: (String, String, String),
    victim: (String, String),
}

async fn world() -> World {
    let (bed, desk) = (Bed::start().await, Desk::open().await);
    bed.add_tenant("acme").await;
    let worker = bed.add_worker(&desk, &["files:echo", "authzen:evaluate"]).await;
    let identity = bed.add_identity("acme", "victim").await;
    let (_, token) = bed.open_task("acme", &identity, &["files:echo"]).await;
    World {
        bed,
        desk,
        worker,
        victim: (identity, token),
    }
}

impl World {
    async fn call(&self, token: &str) -> Answer {
        self.bed.call(token, "acme", "files", "echo", json!({})).await
    }

    async fn issue(&self) -> Answer {
        let path = format!("/v1/tenants/acme/tasks/{}/tokens", self.worker.1);
        self.bed.post(&path, &json!({"count": 1})).await
    }

    async fn is_served(&self) -> bool {
        let (called, issued) = (self.call(&self.worker.2).await, self.issue().await);
        called.text().contains("\"result\"") && issued.status == 200
    }

    /// A kill is committed and holds, and reading works.
    async fn kill_and_read(&self) {
        let killed = self.bed.kill("acme", "identity", &self.victim.0).await.ok();
        assert_eq!(killed["effect"], "kill");
        let dead = self.call(&self.victim.1).await;
        assert!(!dead.text().contains("\"result\""), "{}", dead.text());
        for path in ["identities", "tasks", "marks", "count"] {
            let read = self.bed.get(&format!("/v1/tenants/acme/{path}")).await;
            assert_eq!(read.status, 200, "{path}: {}", read.text());
        }
    }

    /// Refusals in the decision log with this code.
    async fn refusals(&self, code: &str) -> usize {
        let entries = self.bed.entries("decisions").await;
        let is_one = |e: &&Value| e["payload"]["reason"] == code;
        entries.iter().filter(is_one).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_policy_that_cannot_be_evaluated_nothing_is_permitted_and_everything_else_works() {
    let world = world().await;
    assert!(world.is_served().await);
    let policies = "/v1/tenants/acme/policies";
    let put = async |text: &str| {
        let body = json!({ "cedar": text });
        world.bed.command("PUT", policies, &[], &body).await
    };
    put(BROKEN).await.ok();
    let before = world.desk.calls();
    let refused = world.call(&world.worker.2).await;
    assert!(
        refused.text().contains("policy.evaluation-failed"),
        "{}",
        refused.text()
    );
    let issue = world.issue().await;
    issue.refused(403, "policy.evaluation-failed");
    assert_eq!(world.desk.calls(), before);
    world.kill_and_read().await;
    assert!(
        world.refusals("policy.evaluation-failed").await >= 2,
        "each is recorded"
    );
    put("// none").await.ok();
    assert!(world.is_served().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_away_is_refused_alone_and_everything_else_works() {
    let world = world().await;
    let issuer = "https://127.0.0.1:1";
    let rule = json!({
        "identity": world.worker.0, "method": "generic-oidc", "issuer": issuer,
        "allow_addresses": ["127.0.0.0/8"], "attributes": {"sub": "w1"},
    });
    world.bed.post("/v1/tenants/acme/trusts", &rule).await.ok();
    let now = world.bed.now();
    let claims = json!({
        "iss": issuer, "sub": "w1", "aud": format!("{BASE}/t/acme"), "iat": now, "exp": now + 300, "jti": "one",
    });
    let assertion = sign(
        &[7; 32],
        r#"{"alg":"EdDSA","typ":"JWT","kid":"p1"}"#,
        &claims.to_string(),
    );
    let body = serde_urlencoded::to_string([
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("assertion", assertion.as_str()),
    ])
    .unwrap();
    let form = ("content-type", "application/x-www-form-urlencoded");
    let asked = world.bed.send("POST", "/t/acme/token", &[form], body).await;
    asked.refused(503, "temporarily_unavailable");
    assert!(world.is_served().await, "what is ours goes on");
    world.kill_and_read().await;
    let issued = world.bed.entries("decisions").await;
    let issued = issued
        .iter()
        .filter(|e| e["leaf"]["kind"] == "token.issue")
        .count();
    assert!(issued >= 3, "issuing is recorded as ever: {issued}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_silent_refusals_are_recorded_here() {
    let world = world().await;
    assert!(world.is_served().await);
    // Its last word is older than the bound at once.
    world.bed.clock.advance(Duration::from_secs(6));
    let refused = world.call(&world.worker.2).await;
    assert!(refused.text().contains("snapshot.stale"), "{}", refused.text());
    until("the next fresh word", || world.is_served()).await;
    assert!(world.refusals("snapshot.stale").await >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_witness_cannot_be_written_everything_works_and_no_kill_counts_as_contained() {
    let world = world().await;
    // A folder where its draft has to go.
    let draft = world.bed.folder().join("data.witness.new");
    std::fs::create_dir(&draft).unwrap();
    assert!(world.is_served().await);
    world.kill_and_read().await;
    let again = world.bed.kill("acme", "identity", &world.worker.0).await.ok();
    assert!(
        again["committed_us"].is_u64() && again["contained_us"].is_null(),
        "{again}"
    );
    std::fs::remove_dir(&draft).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_clock_is_doubted_nothing_is_permitted_and_everything_else_works() {
    let world = world().await;
    assert!(world.is_served().await);
    world.bed.clock.doubt(true);
    let before = world.desk.calls();
    let refused = world.call(&world.worker.2).await;
    assert!(refused.text().contains("clock.untrusted"), "{}", refused.text());
    world.issue().await.refused(503, "clock.untrusted");
    assert_eq!(world.desk.calls(), before);
    world.kill_and_read().await;
    assert!(world.refusals("clock.untrusted").await >= 2, "each is recorded");
    world.bed.clock.doubt(false);
    assert!(world.is_served().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_far_behind_the_last_record_is_refused_and_where_it_is_accepted_every_token_is_dead() {
    let World { mut bed, worker, .. } = world().await;
    // A little behind: time goes on.
    bed.clock.advance(Duration::from_secs(300));
    bed.add_tenant("later").await;
    bed.stop().await;
    bed.clock = Arc::new(ShiftedClock::new());
    bed.run().await;
    bed.clock.advance(Duration::from_secs(3_600));
    until("fresh word", || async {
        bed.send("GET", "/readyz", &[], "").await.status == 200
    })
    .await;
    let (_, token) = bed.open_task("acme", &worker.0, &["files:echo"]).await;
    bed.stop().await;
    bed.clock = Arc::new(ShiftedClock::new());
    let why = bed.try_run().await.unwrap_err();
    assert!(
        why.contains("the clock says") && why.contains("the last record is of"),
        "{why}"
    );
    let accept = |config: &mut Config| config.danger_clock_set_back = true;
    let mut accepted = Bed::idle(bed.folder().to_owned(), bed.operator.clone(), accept);
    accepted.run().await;
    let raised = accepted.entries("state").await;
    let raised: Vec<_> = raised
        .iter()
        .filter(|e| e["leaf"]["kind"] == "state.epoch.raise-floor")
        .collect();
    assert_eq!(raised.len(), 1, "{raised:?}");
    assert!(
        raised[0]["payload"]["reason"]
            .as_str()
            .unwrap()
            .contains("set back")
    );
    let dead = accepted.call(&token, "acme", "files", "echo", json!({})).await;
    assert_eq!(dead.status, 401, "{}", dead.text());
}
