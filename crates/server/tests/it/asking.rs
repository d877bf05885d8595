//! AuthZEN Authorization API 1.0 over HTTP: the certification scenario, batches, discovery, who may ask.

use serde_json::{Value, json};

use crate::bed::{Answer, BASE, Bed};
use crate::desk::Desk;

const POLICIES: &str = include_str!("../../../../content/policies/examples/authzen-certification.cedar");

struct World {
    bed: Bed,
    token: String,
}

impl World {
    async fn build() -> Self {
        let bed = Bed::start().await;
        bed.add_tenant("acme").await;
        let pep = bed.add_identity("acme", "outside-pep").await;
        let set = bed
            .command(
                "PUT",
                "/v1/tenants/acme/policies",
                &[],
                &json!({"cedar": POLICIES}),
            )
            .await;
        assert_eq!(set.status, 200, "{}", set.text());
        let (_, token) = bed.open_task("acme", &pep, &["authzen:evaluate"]).await;
        Self { bed, token }
    }

    async fn one(&self, body: &Value) -> Answer {
        self.bed.bearing(&self.token, "/access/v1/evaluation", body).await
    }

    async fn many(&self, body: &Value) -> Answer {
        self.bed
            .bearing(&self.token, "/access/v1/evaluations", body)
            .await
    }

    async fn recorded(&self) -> usize {
        let entries = self.bed.entries("decisions").await;
        entries.iter().filter(|e| e["leaf"]["kind"] == "decision").count()
    }
}

fn alice() -> Value {
    json!({"type": "user", "id": "alice"})
}

fn bob() -> Value {
    json!({"type": "user", "id": "bob", "properties": {"role": "admin"}})
}

fn record(id: &str, status: &str) -> Value {
    json!({"type": "record", "id": id, "properties": {"status": status}})
}

fn question(subject: Value, action: Value, resource: Value) -> Value {
    json!({"subject": subject, "action": action, "resource": resource})
}

/// The eight questions of the scenario with their answers.
fn scenario() -> Vec<(Value, bool)> {
    let (first, second) = (record("record-1", "active"), record("record-2", "archived"));
    let (read, write) = (json!({"name": "read"}), json!({"name": "write"}));
    let delete = |soft: bool| json!({"name": "delete", "properties": {"soft": soft}});
    vec![
        (question(alice(), read.clone(), first.clone()), true),
        (question(alice(), write.clone(), first.clone()), true),
        (question(bob(), read, first.clone()), true),
        (question(bob(), write.clone(), first.clone()), false),
        (question(alice(), write.clone(), second.clone()), false),
        (question(bob(), write, second), true),
        (question(alice(), delete(true), first.clone()), true),
        (question(alice(), delete(false), first), false),
    ]
}

fn decisions(answer: &Answer) -> Vec<bool> {
    let body = answer.json();
    let items = body["evaluations"].as_array().unwrap_or_else(|| panic!("{body}"));
    items.iter().map(|e| e["decision"].as_bool().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certification_scenario_holds_one_by_one_and_as_a_batch() {
    let world = World::build().await;
    let scenario = scenario();
    let before = world.recorded().await;
    for (question, expected) in &scenario {
        let answer = world.one(question).await;
        assert_eq!(answer.status, 200, "a denial is 200: {}", answer.text());
        let body = answer.json();
        assert_eq!(body["decision"], *expected, "{question}");
        if !*expected {
            assert!(body["context"]["code"].is_string(), "{body}");
        }
    }
    let items: Vec<&Value> = scenario.iter().map(|(q, _)| q).collect();
    let expected: Vec<bool> = scenario.iter().map(|(_, d)| *d).collect();
    assert_eq!(
        decisions(&world.many(&json!({"evaluations": items})).await),
        expected
    );
    assert_eq!(
        world.recorded().await - before,
        16,
        "every decision has its record"
    );
    for (question, _) in scenario {
        let stranger = json!({"type": "user", "id": "mallory"});
        let mut asked = question;
        asked["subject"] = stranger;
        assert_eq!(world.one(&asked).await.ok()["decision"], false, "deny by default");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_defaults_overrides_and_the_three_semantics() {
    let world = World::build().await;
    let defaults = json!({
        "subject": alice(), "action": {"name": "write"}, "resource": record("record-1", "active"),
        "evaluations": [
            {}, {"subject": bob()}, {"resource": record("record-2", "archived")},
            {"subject": bob(), "resource": record("record-2", "archived")}, {"action": {"name": "read"}},
        ],
    });
    assert_eq!(
        decisions(&world.many(&defaults).await),
        [true, false, false, true, true]
    );
    let single = world.many(&scenario()[0].0).await.ok();
    assert_eq!(
        (&single["decision"], &single["evaluations"]),
        (&json!(true), &Value::Null)
    );

    let items: Vec<Value> = [0, 3, 1].map(|n| scenario()[n].0.clone()).to_vec();
    let run = |semantic: &'static str| {
        let (world, items) = (&world, &items);
        async move {
            let before = world.recorded().await;
            let body = json!({"evaluations": items, "options": {"evaluations_semantic": semantic}});
            let answered = decisions(&world.many(&body).await);
            assert_eq!(
                world.recorded().await - before,
                answered.len(),
                "what is not answered is not decided"
            );
            answered
        }
    };
    assert_eq!(run("execute_all").await, [true, false, true]);
    assert_eq!(run("deny_on_first_deny").await, [true, false]);
    assert_eq!(run("permit_on_first_permit").await, [true]);
    let unknown = json!({"evaluations": items, "options": {"evaluations_semantic": "best_effort"}});
    world.many(&unknown).await.refused(400, "authzen.semantic");
    let large = json!({"evaluations": vec![json!({}); 1_025], "subject": alice()});
    world.many(&large).await.refused(400, "authzen.batch-too-large");
}

/// A shared member is copied for each item that takes it: one request of 1 MiB must not become tens of GiB.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_batch_shares_is_bounded_by_how_many_share_it() {
    let world = World::build().await;
    let batch = |field: &str, shared: Value, items: usize| {
        let mut body = question(alice(), json!({"name": "read"}), record("record-1", "active"));
        body[field] = shared;
        body["evaluations"] = Value::from(vec![json!({}); items]);
        body
    };
    let long = "x".repeat(900 * 1024);
    let deep = json!({"notes": vec![json!({"a": 1}); 60_000]});
    for (field, shared) in [
        ("context", json!({"notes": long})),
        ("context", deep),
        ("subject", json!({"type": "user", "id": long})),
        (
            "subject",
            json!({"type": "user", "id": "alice", "properties": {"notes": long}}),
        ),
        (
            "resource",
            json!({"type": "record", "id": "1", "properties": {"notes": long}}),
        ),
        ("action", json!({"name": "read", "properties": {"notes": long}})),
    ] {
        let answer = world.many(&batch(field, shared, 1_024)).await;
        let said = answer.json()["detail"].clone();
        answer.refused(400, "authzen.batch-too-large");
        let said = said.as_str().unwrap();
        assert!(
            said.contains(&format!("`{field}`")) && said.contains("4096"),
            "{said}"
        );
    }
    // What is the item's own is not shared, and what few share may be large.
    let mut own = batch("context", json!({"notes": long}), 2);
    assert_eq!(decisions(&world.many(&own).await), [true, true]);
    own["evaluations"] = Value::from(vec![json!({"context": {}}); 512]);
    assert_eq!(decisions(&world.many(&own).await), [true; 512]);
    let small = batch("context", json!({"notes": "x".repeat(2_048)}), 1_024);
    assert_eq!(decisions(&world.many(&small).await), [true; 1_024]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_400_and_what_is_unknown_is_ignored() {
    let world = World::build().await;
    let (whole, _) = scenario().swap_remove(0);
    let without = |path: &[&str]| {
        let mut spoilt = whole.clone();
        let mut at = &mut spoilt;
        for part in &path[..path.len() - 1] {
            at = &mut at[*part];
        }
        at.as_object_mut().unwrap().remove(path[path.len() - 1]);
        spoilt
    };
    for path in [
        &["subject"][..],
        &["subject", "type"],
        &["subject", "id"],
        &["action"],
        &["action", "name"],
        &["resource"],
        &["resource", "type"],
        &["resource", "id"],
    ] {
        let answer = world.one(&without(path)).await;
        answer.refused(400, "authzen.field-missing");
        assert!(answer.text().contains(&path.join(".")), "{}", answer.text());
        let batch = json!({"evaluations": [whole, without(path)]});
        world.many(&batch).await.refused(400, "authzen.field-missing");
    }
    for (field, wrong) in [
        ("subject", json!("alice")),
        ("action", json!([])),
        ("resource", json!(7)),
        ("context", json!("x")),
    ] {
        let mut spoilt = whole.clone();
        spoilt[field] = wrong;
        world.one(&spoilt).await.refused(400, "authzen.field-missing");
    }
    let mut extended = whole;
    extended["x-extension"] = json!({"a": 1});
    extended["subject"]["x-extension"] = json!(1);
    assert_eq!(world.one(&extended).await.ok()["decision"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_names_the_endpoints_and_the_request_id_comes_back() {
    let world = World::build().await;
    for path in [
        "/.well-known/authzen-configuration/t/acme",
        "/t/acme/.well-known/authzen-configuration",
    ] {
        let metadata = world.bed.send("GET", path, &[], "").await.ok();
        assert_eq!(metadata["policy_decision_point"], format!("{BASE}/t/acme"));
        for name in ["access_evaluation_endpoint", "access_evaluations_endpoint"] {
            let endpoint = metadata[name].as_str().unwrap().strip_prefix(BASE).unwrap();
            let answer = world
                .bed
                .bearing(&world.token, endpoint, &scenario()[0].0)
                .await
                .ok();
            assert_eq!(answer["decision"], true, "{name}");
        }
    }
    let bearer = format!("Bearer {}", world.token);
    let body = scenario()[0].0.to_string();
    for id in ["bfe9eb29-ab87-4ca3-be83-a1d5d8305716", "x y", &"i".repeat(256)] {
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("x-request-id", id),
        ];
        let answer = world
            .bed
            .send("POST", "/access/v1/evaluation", &headers, body.clone())
            .await;
        assert_eq!(answer.header("x-request-id"), id, "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_enforcement_point_may_ask_and_only_about_its_own_tenant() {
    let world = World::build().await;
    let desk = Desk::open().await;
    let bed = &world.bed;
    let (worker, task, token) = bed.add_worker(&desk, &["files:echo(a = 1)"]).await;
    let (question, _) = scenario().swap_remove(0);
    bed.bearing(&token, "/access/v1/evaluation", &question)
        .await
        .refused(403, "insufficient_scope");
    let reserved = bed
        .post(
            "/v1/tenants/acme/servers",
            &crate::bed::server("authzen", &desk.url),
        )
        .await;
    assert_eq!(
        reserved.status,
        400,
        "a server of that name would make anybody one: {}",
        reserved.text()
    );

    // The gateway's own call, asked from outside: the same grant decides.
    let ask = |a: i64, task: &str| {
        let body = json!({
            "subject": {"type": "identity", "id": worker}, "action": {"name": "tools/call"},
            "resource": {"type": "tool", "id": "files/echo"}, "context": {"task": task, "args": {"a": a}},
        });
        let world = &world;
        async move { world.one(&body).await }
    };
    assert_eq!(ask(1, &task).await.ok()["decision"], true);
    assert_eq!(ask(2, &task).await.ok()["decision"], false);
    ask(1, "x").await.refused(400, "authzen.task");

    bed.add_tenant("globex").await;
    let stranger = bed.add_identity("globex", "worker").await;
    let (foreign, _) = {
        bed.add_server("globex", "files", &desk).await;
        bed.open_task("globex", &stranger, &["files:echo"]).await
    };
    let about = |id: &str, task: &str| {
        json!({
            "subject": {"type": "identity", "id": id}, "action": {"name": "tools/call"},
            "resource": {"type": "tool", "id": "files/echo"}, "context": {"task": task},
        })
    };
    let ghost = ("idn_aaaaaaaaaaaaaaaaaaaaaaaaaa", "tsk_aaaaaaaaaaaaaaaaaaaaaaaaaa");
    let said = |body: Value| {
        let world = &world;
        async move {
            let mut answer = world.one(&body).await.ok();
            answer["context"]["evaluation_id"] = json!("…");
            answer
                .to_string()
                .replace(body["subject"]["id"].as_str().unwrap(), "…")
        }
    };
    let of_foreign = said(about(&stranger, &foreign)).await;
    assert_eq!(
        of_foreign,
        said(about(ghost.0, ghost.1)).await,
        "another tenant's is as unknown as none"
    );
    assert!(of_foreign.contains("\"decision\":false"), "{of_foreign}");
    bed.bearing(&world.token, "/t/globex/access/v1/evaluation", &question)
        .await
        .refused(401, "invalid_token");
    bed.bearing(&world.token, "/t/nobody/access/v1/evaluation", &question)
        .await
        .refused(401, "invalid_token");
}
