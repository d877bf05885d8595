//! Levels of containment, receipts, and what is shown of both.

use serde_json::{Value, json};

use crate::bed::until;
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
