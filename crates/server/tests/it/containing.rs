//! Levels of containment, receipts, and what is shown of both.

use std::time::Duration;

use bailiwick_base::Time;
use serde_json::{Value, json};

use crate::bed::{Bed, identity, until};
use crate::killing::{World, world};

const EVERY: [&str; 6] = ["gateway", "authzen", "issue", "introspection", "egress", "spiffe"];

impl World {
    /// The receipt, once somebody has looked.
    async fn receipt(&self, scope: &str, id: &Value) -> Value {
        let path = if scope == "all" {
            format!("/v1/all-tenants/kills/{id}")
        } else {
            format!("/v1/tenants/acme/kills/{id}")
        };
        let looked = || async {
            let receipt = self.bed.get(&path).await.ok();
            receipt["body"]["looked_from"].is_object()
        };
        until("the receipt to be looked at", looked).await;
        self.bed.get(&path).await.ok()
    }

    async fn refused_with(&self, tool: &str) -> String {
        let answer = self.bed.call(&self.token, "acme", "files", tool, json!({})).await;
        answer.json()["error"]["data"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// Scope × enforcement point: where each stop is seen to hold, with a record of the refusal wherever one is made.
#[tokio::test(flavor = "multi_thread")]
async fn every_scope_is_refused_at_every_enforcement_point_it_concerns() {
    let targets = ["gateway", "authzen"];
    for (n, _) in world().await.scopes().into_iter().enumerate() {
        let world = world().await;
        let (scope, name) = world.scopes().swap_remove(n);
        assert!(world.passes(&world.token).await);
        let glass = json!({"break_glass": true});
        let answer = world.order("kill", scope, &name, glass).await.ok();
        let receipt = world.receipt(scope, &answer["receipt"]).await;
        assert_eq!(answer["receipt"], answer["epoch"]);
        assert_eq!(receipt["reversible"], false);
        let wanted = match scope {
            "server" | "tool" => &targets[..],
            _ => &EVERY[..],
        };
        let lines = receipt["body"]["points"].as_array().unwrap();
        let points: Vec<&str> = lines.iter().map(|l| l["point"].as_str().unwrap()).collect();
        assert_eq!(points, wanted, "{scope}: {receipt}");
        for line in lines {
            assert_eq!(line["known"], "revoked", "{scope}: {line}");
            assert!(line["refusal_us"].is_u64(), "{scope}: {line}");
            assert_eq!(line["permitted_after"], 0, "{scope}: {line}");
            let recorded = line["point"] != "introspection";
            assert_eq!(line["refusal"].is_object(), recorded, "{scope}: {line}");
            if recorded {
                let index = line["refusal"]["index"].as_u64().unwrap();
                let entry = world
                    .bed
                    .entries("decisions")
                    .await
                    .swap_remove(usize::try_from(index).unwrap());
                assert_eq!(entry["payload"]["effect"], "deny", "{scope}: {entry}");
                assert_eq!(entry["payload"]["door"], line["point"], "{scope}: {entry}");
            }
        }
        // The call before the kill is the last one that the gateway let through.
        let last = &lines[0]["last_permitted"];
        let entries = world.bed.entries("decisions").await;
        let entry = &entries[usize::try_from(last["index"].as_u64().unwrap()).unwrap()];
        assert_eq!(entry["payload"]["effect"], "permit", "{scope}: {receipt}");
        assert_eq!(entry["payload"]["decision"], last["decision"], "{scope}");
        assert_eq!(
            (&receipt["state"], &receipt["known"]),
            (&json!("closed"), &json!("revoked")),
            "{receipt}"
        );
        assert!(receipt["body"]["contained_at"].is_string(), "{receipt}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_written_also_for_what_a_restart_carried_out_and_shows_in_the_list() {
    let mut world = world().await;
    let answer = world
        .order("kill", "identity", &world.identity, json!({}))
        .await
        .ok();
    world.bed.restart().await;
    let receipt = world.receipt("identity", &answer["receipt"]).await;
    assert_eq!(receipt["state"], "closed", "{receipt}");
    let list = world.bed.get("/v1/tenants/acme/kills").await.ok();
    assert_eq!(list["items"][0]["id"], answer["receipt"], "{list}");
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let unknown = world.bed.get("/v1/tenants/acme/kills/9999").await;
    assert_eq!(unknown.status, 404);
    let elsewhere = world
        .bed
        .get(&format!("/v1/all-tenants/kills/{}", answer["receipt"]))
        .await;
    assert_eq!(elsewhere.status, 404, "a receipt is its tenant's");
}

#[tokio::test(flavor = "multi_thread")]
async fn milder_levels_let_a_part_of_it_run_and_resume_lifts_each_of_them() {
    let mut world = world().await;
    for (scope, name) in world.scopes() {
        for (level, effect) in [
            ("observe", "observe"),
            ("read-only", "read-only"),
            ("no-egress", "no-egress"),
            ("frozen", "suspend"),
        ] {
            assert!(world.passes(&world.token).await, "before {scope} {level}");
            let set = world
                .order("kill", scope, &name, json!({"level": level}))
                .await
                .ok();
            assert_eq!(
                (&set["effect"], &set["reversible"]),
                (&json!(effect), &json!(true)),
                "{set}"
            );
            // The desk is on this machine, and what it does is not known to be reading.
            let runs = matches!(level, "observe" | "no-egress");
            assert_eq!(world.passes(&world.token).await, runs, "{scope} {level}");
            if level == "read-only" {
                assert_eq!(world.refused_with("echo").await, "mark.read-only", "{scope}");
            }
            let marks = world.bed.get("/v1/tenants/acme/marks").await.ok();
            let shown = &marks["items"][0];
            assert_eq!(
                (&shown["effect"], &shown["reversible"]),
                (&json!(effect), &json!(true)),
                "{marks}"
            );
            world.order("resume", scope, &name, json!({})).await.ok();
            assert!(world.passes(&world.token).await, "{scope} {level} is lifted");
            let again = world.order("resume", scope, &name, json!({})).await;
            assert_eq!(again.status, 422, "{}", again.text());
        }
    }
    // A restart knows of them, and the strictest speaks.
    let name = world.identity.clone();
    for level in ["observe", "read-only"] {
        world
            .order("kill", "identity", &name, json!({"level": level}))
            .await
            .ok();
    }
    world.bed.restart().await;
    assert_eq!(world.refused_with("echo").await, "mark.read-only");
    world.order("resume", "identity", &name, json!({})).await.ok();
    assert!(world.passes(&world.token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_reads_is_an_operators_word_and_never_the_servers() {
    let world = world().await;
    let reads = async |body: Value| {
        world
            .bed
            .post("/v1/tenants/acme/servers/files/reads", &body)
            .await
    };
    world
        .order("kill", "owner", "finance", json!({"level": "read-only"}))
        .await
        .ok();
    assert_eq!(world.refused_with("echo").await, "mark.read-only");
    reads(json!({"tools": ["ecco"]}))
        .await
        .refused(422, "server.tool-unknown");
    let told = reads(json!({"tools": ["echo"]})).await.ok();
    let tools = told["tools"].as_array().unwrap();
    let state = |name: &str| tools.iter().find(|t| t["name"] == name).unwrap()["state"].clone();
    assert_eq!(state("echo"), "reads", "{told}");
    assert!(world.passes(&world.token).await, "it reads");
    reads(json!({"tools": []})).await.ok();
    assert_eq!(
        world.refused_with("echo").await,
        "mark.read-only",
        "it was taken back"
    );
    reads(json!({"tools": []}))
        .await
        .refused(422, "server.tools-unchanged");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observed_call_is_permitted_and_its_record_names_the_mark() {
    let world = world().await;
    world
        .order("kill", "identity", &world.identity, json!({"level": "observe"}))
        .await
        .ok();
    assert!(world.passes(&world.token).await);
    let entries = world.bed.entries("decisions").await;
    let watched = |e: &&Value| {
        let policies = e["payload"]["policies"].as_array();
        policies.is_some_and(|p| p.iter().any(|p| p.as_str().unwrap().starts_with("mark:")))
    };
    let entry = entries.iter().rfind(watched).unwrap();
    assert_eq!(entry["payload"]["effect"], "permit", "{entry}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_and_the_older_word_for_one_do_not_contradict_each_other() {
    let world = world().await;
    let both = json!({"level": "read-only", "suspend": true});
    world
        .order("kill", "identity", &world.identity, both)
        .await
        .refused(400, "kill.level");
    assert!(world.passes(&world.token).await);
}

/// The kinds of what was found in `receipt` and is open, and how far it is known.
fn shown(receipt: &Value) -> (&Value, &Value) {
    (&receipt["state"], &receipt["known"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_that_was_lifted_leaves_nothing_open_whatever_ran_since() {
    let world = world().await;
    let frozen = json!({"level": "frozen"});
    for _ in 0..3 {
        let set = world.order("kill", "owner", "finance", frozen.clone()).await.ok();
        world.order("resume", "owner", "finance", json!({})).await.ok();
        for _ in 0..4 {
            assert!(world.passes(&world.token).await);
        }
        let path = format!("/v1/tenants/acme/kills/{}", set["receipt"]);
        let closed = || async { world.bed.get(&path).await.ok()["state"] == "closed" };
        until("the receipt to be closed", closed).await;
        let receipt = world.bed.get(&path).await.ok();
        assert_ne!(receipt["known"], "live", "nothing ran under it: {receipt}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_registered_anew_under_a_killed_name_is_not_held_against_the_kill() {
    let world = world().await;
    let killed = world.order("kill", "agent", "invoicer", json!({})).await.ok();
    let mut wanted = identity("worker");
    wanted["labels"] = json!({"agent": "invoicer"});
    let reborn = world.bed.post("/v1/tenants/acme/identities", &wanted).await.ok();
    let (_, fresh) = world
        .bed
        .open_task("acme", reborn["id"].as_str().unwrap(), &["files:*"])
        .await;
    // Calls of both times are in the log when somebody looks.
    for _ in 0..20 {
        assert!(world.passes(&fresh).await);
    }
    let receipt = world.receipt("agent", &killed["receipt"]).await;
    assert_eq!(
        shown(&receipt),
        (&json!("closed"), &json!("revoked")),
        "{receipt}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_that_was_withdrawn_is_not_signed_whatever_is_frozen_later() {
    let world = world().await;
    let bed = &world.bed;
    let second = bed.add_operator("second").await;
    let other = async |path: &str, body: &Value| bed.as_operator(&second, path, &[], body).await;
    let asked = world.order("kill", "tenant", "acme", json!({})).await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let first = asked.ok()["receipt"].clone();
    let body = json!({"scope": "tenant", "name": "acme", "reason": "a mistake"});
    other("/v1/tenants/acme/resume", &body).await.ok();
    let path = format!("/v1/tenants/acme/kills/{first}/sign");
    assert_eq!(
        bed.get(&format!("/v1/tenants/acme/kills/{first}")).await.ok()["state"],
        "closed"
    );
    let frozen = json!({"scope": "tenant", "name": "acme", "reason": "to look", "level": "frozen"});
    other("/v1/tenants/acme/kill", &frozen).await.ok();
    other(&path, &json!({})).await.refused(409, "kill.withdrawn");
    other("/v1/tenants/acme/resume", &body).await.ok();
    assert!(world.passes(&world.token).await, "nothing was killed");

    // Asked for anew it is signed, once, and a retry of that is the same answer.
    let asked = world.order("kill", "tenant", "acme", json!({})).await.ok();
    let path = format!("/v1/tenants/acme/kills/{}/sign", asked["receipt"]);
    let sign = async |key: &str| {
        bed.as_operator(&second, &path, &[("idempotency-key", key)], &json!({}))
            .await
    };
    let signed = sign("the-second-word").await.ok();
    assert_eq!(signed["effect"], "kill");
    assert_eq!(sign("the-second-word").await.ok()["epoch"], signed["epoch"]);
    sign("another-key").await.refused(409, "kill.not-pending");
    let receipt = bed.get(&path.replace("/sign", "")).await.ok();
    assert_eq!(receipt["body"]["pending"]["killed"], signed["epoch"], "{receipt}");
    assert!(!world.passes(&world.token).await);
}

/// Half a day, the last of it in steps in which the word of the store stays fresh: a drill is not made without.
async fn half_a_day(bed: &Bed) {
    let fresh = || async { bed.send("GET", "/readyz", &[], "").await.json()["fresh"] == true };
    bed.clock.advance(Duration::from_secs(12 * 3_600 - 120));
    for _ in 0..8 {
        until("fresh word", fresh).await;
        bed.clock.advance(Duration::from_secs(20));
    }
    until("fresh word", fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drills_come_when_they_are_due_however_often_a_node_is_started() {
    let mut bed = Bed::start_with(|config| {
        config.kill.drill_hours = 24;
        (config.freshness.warn_secs, config.freshness.refuse_secs) = (30, 30);
    })
    .await;
    bed.add_tenant("acme").await;
    let drills = async |bed: &Bed| {
        bed.get("/v1/tenants/acme/drills").await.ok()["drills"]
            .as_u64()
            .unwrap()
    };
    for half in 1..=4_u64 {
        bed.restart().await;
        // Its reconciler looks once before time goes on.
        crate::pause(Duration::from_millis(2_500)).await;
        half_a_day(&bed).await;
        let wanted = half / 2;
        until("the drill that is due", || async { drills(&bed).await >= wanted }).await;
        // None comes that is not due.
        crate::pause(Duration::from_millis(2_500)).await;
        assert_eq!(drills(&bed).await, wanted, "after {half} times twelve hours");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_answered_at_its_commit_where_nobody_waits_for_more() {
    let world = world().await;
    let body = json!({"scope": "identity", "name": world.identity, "reason": "a drill"});
    let path = "/v1/tenants/acme/kill";
    let odd = world.bed.post(&format!("{path}?wait=forever"), &body).await;
    odd.refused(400, "request.query");
    assert!(world.passes(&world.token).await, "nothing was stopped");
    let answer = world
        .bed
        .post(&format!("{path}?wait=committed"), &body)
        .await
        .ok();
    assert!(answer["contained_us"].is_null(), "{answer}");
    assert!(!world.passes(&world.token).await);
    // It is contained all the same, and its receipt tells when and after how long.
    let receipt = world.receipt("identity", &answer["receipt"]).await;
    assert!(receipt["body"]["contained_at"].is_string(), "{receipt}");
    let us = receipt["body"]["contained_us"].as_u64().expect("a span");
    let time = |at: &Value| Time::parse(at.as_str().expect("a time")).expect("RFC 3339");
    let span = time(&receipt["body"]["contained_at"]).since(time(&receipt["committed_at"]));
    assert!(span >= Duration::from_micros(us), "{receipt}");
    assert_eq!(
        shown(&receipt),
        (&json!("closed"), &json!("revoked")),
        "{receipt}"
    );
}
