//! Kill, suspend, resume: what stops, what comes back, and who may.

use std::time::Duration;

use bailiwick_journal::{KillJournal, OsDisk};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::bed::{BASE, Bed, claims_of, identity, until};
use crate::desk::Desk;

pub(crate) struct World {
    pub(crate) bed: Bed,
    pub(crate) desk: Desk,
    pub(crate) identity: String,
    pub(crate) task: String,
    pub(crate) token: String,
}

pub(crate) async fn world() -> World {
    let bed = Bed::start().await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    bed.add_server("acme", "files", &desk).await;
    let mut wanted = identity("worker");
    wanted["labels"] = json!({"agent": "invoicer"});
    let added = bed.post("/v1/tenants/acme/identities", &wanted).await.ok();
    let id = added["id"].as_str().unwrap().to_owned();
    let (task, token) = bed.open_task("acme", &id, &["files:*"]).await;
    World {
        bed,
        desk,
        identity: id,
        task,
        token,
    }
}

impl World {
    pub(crate) async fn passes(&self, token: &str) -> bool {
        let answer = self.bed.call(token, "acme", "files", "echo", json!({})).await;
        answer.status == 200 && answer.json()["result"].is_object()
    }

    /// Every scope with the name that selects this world's token.
    pub(crate) fn scopes(&self) -> Vec<(&'static str, String)> {
        let jti = claims_of(&self.token)["jti"].as_str().unwrap().to_owned();
        vec![
            ("agent", "invoicer".to_owned()),
            ("identity", self.identity.clone()),
            ("issuer", format!("{BASE}/t/acme")),
            ("owner", "finance".to_owned()),
            ("server", "files".to_owned()),
            ("task", self.task.clone()),
            ("tenant", "acme".to_owned()),
            ("token", jti),
            ("tool", "files:echo".to_owned()),
            ("all", String::new()),
        ]
    }

    async fn open(&self, can: &[&str]) -> crate::bed::Answer {
        let body = crate::bed::task(&self.identity, can);
        self.bed.post("/v1/tenants/acme/tasks", &body).await
    }

    async fn tasks(&self) -> usize {
        let page = self.bed.get("/v1/tenants/acme/tasks").await.ok();
        page["items"].as_array().unwrap().len()
    }

    pub(crate) async fn order(&self, verb: &str, scope: &str, name: &str, more: Value) -> crate::bed::Answer {
        let path = if scope == "all" {
            format!("/v1/all-tenants/{verb}")
        } else {
            format!("/v1/tenants/acme/{verb}")
        };
        let mut body = json!({"scope": scope, "name": name, "reason": "a drill"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.bed.post(&path, &body).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_stops_every_scope_and_resume_brings_it_back_also_over_a_restart() {
    let mut world = world().await;
    for (scope, name) in world.scopes() {
        assert!(world.passes(&world.token).await, "before {scope}");
        let suspended = world
            .order("kill", scope, &name, json!({"suspend": true}))
            .await
            .ok();
        assert_eq!(suspended["effect"], "suspend");
        assert_eq!(suspended["stopped"]["reversible"], true);
        assert!(!world.passes(&world.token).await, "{scope} is suspended");
        world.bed.restart().await;
        assert!(
            !world.passes(&world.token).await,
            "{scope} is suspended after a restart"
        );
        world.order("resume", scope, &name, json!({})).await.ok();
        assert!(world.passes(&world.token).await, "{scope} is resumed");
        world.bed.restart().await;
        assert!(
            world.passes(&world.token).await,
            "{scope} is resumed after a restart"
        );
        let again = world.order("resume", scope, &name, json!({})).await;
        assert_eq!(again.status, 422, "{scope}: nothing to resume: {}", again.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_is_for_ever_and_a_suspension_beside_it_does_not_hide_it() {
    for (n, _) in world().await.scopes().into_iter().enumerate() {
        let mut world = world().await;
        let (scope, name) = world.scopes().swap_remove(n);
        let glass = json!({"break_glass": true});
        let frozen = json!({"suspend": true});
        world.order("kill", scope, &name, frozen.clone()).await.ok();
        let receipt = world.order("kill", scope, &name, glass).await.ok();
        assert_eq!(receipt["effect"], "kill");
        assert!(receipt["epoch"].as_u64().unwrap() > 1, "{receipt}");
        // Suspended before: the gateway refused already, and still does.
        assert!(!world.passes(&world.token).await, "{scope}");
        let lifted = world.order("resume", scope, &name, json!({})).await;
        assert!(
            !world.passes(&world.token).await,
            "{scope} came back: {}",
            lifted.text()
        );
        world.bed.restart().await;
        assert!(
            !world.passes(&world.token).await,
            "{scope} came back with a restart"
        );
        let again = world.order("resume", scope, &name, json!({})).await;
        assert_eq!(again.status, 422, "{scope}: {}", again.text());
        assert!(!world.passes(&world.token).await, "{scope} came back");
        assert_eq!(world.desk.calls(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_reports_a_refusal_at_every_enforcement_point_and_counts_what_it_cut() {
    let world = world().await;
    let held = {
        let call = world.bed.call(&world.token, "acme", "files", "hold", json!({}));
        let kill = async {
            until("the call to arrive", || async { world.desk.calls() == 1 }).await;
            let dry = world
                .order("kill", "identity", &world.identity, json!({"dry_run": true}))
                .await
                .ok();
            assert_eq!(dry["calls_in_flight"], 1);
            assert_eq!(dry["identities"], json!([world.identity]));
            assert_eq!(dry["tasks"], json!([world.task]));
            world
                .order("kill", "identity", &world.identity, json!({}))
                .await
                .ok()
        };
        let (call, killed) = tokio::join!(call, kill);
        assert_eq!(killed["cancelled_calls"], 1);
        let points: Vec<&str> = killed["points"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["point"].as_str().unwrap())
            .collect();
        let every = ["gateway", "authzen", "issue", "introspection", "egress", "spiffe"];
        assert_eq!(points, every, "{killed}");
        assert!(
            killed["denied_us"].as_u64() <= killed["committed_us"].as_u64(),
            "{killed}"
        );
        call.ok()
    };
    assert_eq!(held["error"]["code"], -32001, "{held}");
    until("the upstream server to hear of it", || async {
        world.desk.cancelled() >= 1
    })
    .await;
    assert!(!world.passes(&world.token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_listing_shows_what_is_stopped_and_by_what() {
    for (n, _) in world().await.scopes().into_iter().enumerate() {
        let world = world().await;
        let (scope, name) = world.scopes().swap_remove(n);
        let order = json!({"break_glass": true});
        world.order("kill", scope, &name, order).await.ok();
        let marks = world.bed.get("/v1/tenants/acme/marks").await.ok();
        let shown = format!("{scope} {name}");
        assert_eq!(marks["items"][0]["scope"], shown.trim(), "{marks}");
        assert_eq!(marks["items"][0]["reversible"], false);
        let reason = marks["items"][0]["reason"].as_str().unwrap();
        assert!(reason.starts_with("a drill"), "{marks}");
        assert!(
            marks["items"][0]["by"].as_str().unwrap().starts_with("operator:"),
            "{marks}"
        );
        let list = async |what: &str| {
            let path = format!("/v1/tenants/acme/{what}");
            world.bed.get(&path).await.ok()["items"][0].clone()
        };
        let (server, task) = (list("servers").await, list("tasks").await);
        let tenant = world.bed.get("/v1/tenants").await.ok()["items"][0].clone();
        let wide = matches!(scope, "tenant" | "all" | "issuer");
        assert_eq!(tenant["effective"] == "killed", wide, "{scope}: {tenant}");
        assert_eq!(
            server["effective"] == "killed",
            wide || scope == "server",
            "{scope}: {server}"
        );
        let tools = server["tools"].as_array().unwrap();
        let echo = tools.iter().find(|t| t["name"] == "echo").unwrap();
        assert_eq!(
            echo["effective"] == "killed",
            wide || matches!(scope, "server" | "tool"),
            "{scope}: {server}"
        );
        let stopped = wide || matches!(scope, "agent" | "identity" | "owner" | "task");
        assert_eq!(task["effective"] == "killed", stopped, "{scope}: {task}");
        assert_eq!(task["stopped_by"].is_string(), stopped, "{scope}: {task}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_a_server_or_a_tool_counts_the_tasks_that_are_granted_something_there() {
    let world = world().await;
    for (scope, name) in [("server", "files"), ("tool", "files:echo")] {
        let dry = world
            .order("kill", scope, name, json!({"dry_run": true}))
            .await
            .ok();
        assert_eq!(dry["tasks"], json!([world.task]), "{scope}");
        assert!(dry["names"][&world.task].is_string(), "{dry}");
    }
    let unknown = world.order("kill", "tool", "files:ecco", json!({})).await;
    assert_eq!(unknown.status, 404, "{}", unknown.text());
}

/// A milder level that is told as a stop makes whoever reads it believe that something was stopped.
#[tokio::test(flavor = "multi_thread")]
async fn each_level_is_told_as_what_it_does_and_a_resume_names_what_it_lifts() {
    let world = world().await;
    let dry = async |level: &str| {
        let order = json!({"dry_run": true, "level": level});
        world.order("kill", "identity", &world.identity, order).await.ok()
    };
    let mut told = std::collections::BTreeSet::new();
    for level in ["observe", "read-only", "no-egress", "frozen", "killed"] {
        let dry = dry(level).await;
        assert_eq!(dry["level"], level);
        assert_eq!(dry["scope"], format!("identity {}", world.identity));
        assert_eq!(dry["read_at"], "node-1", "{dry}");
        told.insert(dry["does"].as_str().unwrap().to_owned());
    }
    assert_eq!(told.len(), 5, "{told:?}");
    for level in ["observe", "read-only"] {
        let order = json!({"level": level});
        let set = world.order("kill", "identity", &world.identity, order).await.ok();
        assert_eq!(set["points"] == json!([]), level == "observe", "{set}");
    }
    let marks = world.bed.get("/v1/tenants/acme/marks").await.ok();
    let does = marks["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["does"].as_str());
    assert!(
        does.flatten().any(|does| does.starts_with("refuses nothing")),
        "{marks}"
    );
    let ask = json!({"dry_run": true});
    let dry = world.order("resume", "identity", &world.identity, ask).await.ok();
    assert_eq!(dry["lifts"], json!(["observe", "read-only"]));
    let resumed = world
        .order("resume", "identity", &world.identity, json!({}))
        .await
        .ok();
    assert_eq!(resumed["lifted"], json!(["observe", "read-only"]));
    // What an observation is held against is no refusal of another mark.
    let receipts = world.bed.get("/v1/tenants/acme/kills").await.ok();
    let observed = receipts["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["effect"] == "observe");
    assert_eq!(observed.unwrap()["body"]["points"], json!([]), "{receipts}");
    assert!(observed.unwrap()["names"].is_object(), "{receipts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_names_the_tokens_the_users_and_the_second_operator() {
    let world = world().await;
    let claims = claims_of(&world.token);
    let token = claims["jti"].as_str().unwrap();
    let order = json!({"dry_run": true});
    let dry = world.order("kill", "token", token, order.clone()).await.ok();
    assert_eq!(dry["tokens"], json!([token]));
    for (scope, name) in [("server", "files"), ("tool", "files:echo")] {
        let dry = world.order("kill", scope, name, order.clone()).await.ok();
        assert_eq!(dry["scope"], format!("{scope} {name}"));
        assert_eq!(dry["users"], json!([world.identity]), "{dry}");
        assert!(dry["tokens"].as_array().unwrap().contains(&json!(token)), "{dry}");
    }
    let dry = world.order("kill", "tenant", "acme", order.clone()).await.ok();
    assert_eq!(dry["second_operator"], "break-glass");
    let frozen = json!({"dry_run": true, "suspend": true});
    let dry = world.order("kill", "tenant", "acme", frozen).await.ok();
    assert!(dry["second_operator"].is_null(), "{dry}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_tells_how_many_of_those_in_service_a_mark_holds_back() {
    let world = world().await;
    let before = world.bed.get("/v1/tenants/acme/count").await.ok();
    assert!(before["held"].is_null(), "{before}");
    world.order("kill", "server", "files", json!({})).await.ok();
    let held = world.bed.get("/v1/tenants/acme/count").await.ok();
    assert_eq!(held["held"], json!({"killed": 1}), "the server's own identity");
    let listed = world.bed.get("/v1/tenants/acme/identities").await.ok();
    let own = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|i| i["name"] == "mcp:files")
        .unwrap();
    assert_eq!(
        (&own["effective"], &own["stopped_by"]),
        (&json!("killed"), &json!("kill of server files"))
    );
    let glass = json!({"break_glass": true});
    world.order("kill", "tenant", "acme", glass).await.ok();
    let held = world.bed.get("/v1/tenants/acme/count").await.ok();
    assert_eq!(held["held"]["killed"], held["total"], "{held}");
    assert_eq!(held["total"], before["total"], "the number is exact by state");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_added_to_a_killed_tenant_and_a_resume_says_what_still_holds() {
    let world = world().await;
    world
        .order("kill", "server", "files", json!({"suspend": true}))
        .await
        .ok();
    let order = json!({"break_glass": true});
    world.order("kill", "tenant", "acme", order).await.ok();
    let resumed = world.order("resume", "server", "files", json!({})).await.ok();
    assert_eq!(resumed["still"], json!(["kill of tenant acme"]));
    let added = world
        .bed
        .post("/v1/tenants/acme/identities", &identity("late"))
        .await;
    assert_eq!(added.status, 403);
    assert_eq!(added.json()["code"], "tenant.killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing() {
    let world = world().await;
    // Outcomes of calls before it may still be on their way into the log.
    let decided = async || {
        let entries = world.bed.entries("decisions").await;
        entries.iter().filter(|e| e["leaf"]["kind"] != "outcome").count()
    };
    let (state, decisions) = (world.bed.entries("state").await.len(), decided().await);
    for (scope, name) in world.scopes() {
        for verb in ["kill", "resume"] {
            let dry = world
                .order(verb, scope, &name, json!({"dry_run": true}))
                .await
                .ok();
            assert!(dry["identities"].is_array(), "{dry}");
        }
    }
    assert_eq!(world.bed.entries("state").await.len(), state);
    assert_eq!(decided().await, decisions);
    assert!(world.passes(&world.token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_undone_and_is_wide_takes_two_operators_or_broken_glass() {
    let world = world().await;
    let wide = [
        ("issuer", format!("{BASE}/t/acme")),
        ("tenant", "acme".to_owned()),
        ("all", String::new()),
    ];
    for (scope, name) in &wide {
        world
            .order("kill", scope, name, json!({}))
            .await
            .refused(403, "kill.second-operator");
        assert!(world.passes(&world.token).await, "{scope}: nothing was stopped");
    }
    // A countersignature must be somebody else's, and alive.
    let now = world.bed.now();
    let body = json!({"scope": "tenant", "name": "acme", "reason": "a drill"});
    for (title, second) in [
        ("one's own", world.bed.session()),
        ("expired", world.bed.operator.session_with(now - 300, &json!({}))),
        ("garbage", "x".to_owned()),
    ] {
        let answer = world
            .bed
            .command(
                "POST",
                "/v1/tenants/acme/kill",
                &[("bailiwick-countersign", &second)],
                &body,
            )
            .await;
        assert_eq!(answer.status, 401, "{title}: {}", answer.text());
    }
    assert!(world.passes(&world.token).await);
    let killed = world
        .order("kill", "tenant", "acme", json!({"break_glass": true}))
        .await
        .ok();
    assert_eq!(killed["effect"], "kill");
    assert!(!world.passes(&world.token).await);
    let entries = world.bed.entries("state").await;
    let mut marks = entries.iter().filter(|e| e["payload"]["command"] == "mark.kill");
    let last = marks.next_back().unwrap();
    assert!(
        last["payload"]["reason"]
            .as_str()
            .unwrap()
            .contains("break-glass"),
        "{last}"
    );
}

/// Dry run, broken glass, refused; and what opens tasks says so instead of handing out dead tokens.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_issuer_issues_nothing_more_also_after_a_restart() {
    let mut world = world().await;
    let issuer = format!("{BASE}/t/acme");
    let dry = world
        .order("kill", "issuer", &issuer, json!({"dry_run": true}))
        .await
        .ok();
    assert_eq!(dry["tasks"], json!([world.task]), "{dry}");
    assert!(world.passes(&world.token).await, "a dry run stops nothing");
    let glass = json!({"break_glass": true});
    let receipt = world.order("kill", "issuer", &issuer, glass).await.ok();
    assert_eq!(receipt["effect"], "kill");
    for moment in ["at once", "after a restart"] {
        assert!(!world.passes(&world.token).await, "{moment}");
        let before = world.tasks().await;
        let opened = world.open(&["files:*"]).await;
        opened.refused(403, "tenant.killed");
        assert_eq!(world.tasks().await, before, "{moment}: no task is left behind");
        let path = format!("/v1/tenants/acme/tasks/{}/tokens", world.task);
        world
            .bed
            .post(&path, &json!({"count": 1}))
            .await
            .refused(403, "token.revoked");
        world.bed.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_could_have_no_token_is_not_opened() {
    let world = world().await;
    let before = world.tasks().await;
    let glass = json!({"break_glass": true});
    world.order("kill", "tenant", "acme", glass).await.ok();
    let opened = world.open(&["files:*"]).await;
    assert_eq!(opened.status, 403, "{}", opened.text());
    assert_eq!(world.tasks().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_not_opened_for_what_was_killed() {
    let world = world().await;
    world.order("kill", "tool", "files:echo", json!({})).await.ok();
    let before = world.tasks().await;
    for can in [&["files:echo"][..], &["files:*", "files:echo"]] {
        world.open(can).await.refused(422, "grant.killed");
    }
    assert_eq!(world.tasks().await, before);
    world.open(&["files:*"]).await.ok();
    world.order("kill", "server", "files", json!({})).await.ok();
    world.open(&["files:*"]).await.refused(422, "grant.killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_names_nothing_or_says_no_reason_is_refused_and_stops_nothing() {
    let world = world().await;
    for (scope, name, status) in [
        ("agent", "invoicr", 404),
        ("owner", "financ", 404),
        ("identity", "idn_aaaaaaaaaaaaaaaaaaaaaaaaaa", 404),
        ("issuer", "https://elsewhere.example", 404),
        ("server", "vault", 404),
        ("task", "tsk_aaaaaaaaaaaaaaaaaaaaaaaaaa", 404),
        ("task", "x", 400),
        ("token", "x", 400),
        ("tool", "echo", 400),
        ("tenant", "globex", 400),
        ("agent", "", 400),
    ] {
        let answer = world.order("kill", scope, name, json!({})).await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{scope} {name}: {}",
            answer.text()
        );
    }
    let near = world.order("kill", "owner", "financ", json!({})).await;
    assert!(near.text().contains("did you mean `finance`?"), "{}", near.text());
    for reason in ["", "  ", "a\nb", &"x".repeat(2_000)] {
        let answer = world
            .order("kill", "identity", &world.identity, json!({"reason": reason}))
            .await;
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
    world
        .order("kill", "all", "", json!({}))
        .await
        .refused(403, "kill.second-operator");
    let wrong_door = world
        .bed
        .post("/v1/tenants/acme/kill", &json!({"scope": "all", "reason": "x"}))
        .await;
    wrong_door.refused(400, "kill.scope");
    let wrong_door = world
        .bed
        .post(
            "/v1/all-tenants/kill",
            &json!({"scope": "owner", "name": "finance", "reason": "x"}),
        )
        .await;
    wrong_door.refused(400, "kill.scope");
    assert!(world.passes(&world.token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_family_larger_than_one_transaction_is_stopped_and_resumed_whole() {
    let bed = Bed::start().await;
    bed.add_tenant("acme").await;
    let mut wanted = identity("");
    wanted["labels"] = json!({"agent": "swarm"});
    let register = async |who: &str| {
        let all: Vec<usize> = (0..300).collect();
        for some in all.chunks(50) {
            let adding = some.iter().map(|n| {
                let mut wanted = wanted.clone();
                wanted["name"] = json!(format!("{who}{n}"));
                let bed = &bed;
                async move { bed.post("/v1/tenants/acme/identities", &wanted).await.ok() }
            });
            futures_util::future::join_all(adding).await;
        }
    };
    register("w").await;
    let order = |verb: &'static str, suspend: bool| {
        let bed = &bed;
        async move {
            let body = json!({"scope": "agent", "name": "swarm", "reason": "a drill", "suspend": suspend});
            bed.post(&format!("/v1/tenants/acme/{verb}"), &body).await.ok()
        }
    };
    let count = || async {
        let count = bed.get("/v1/tenants/acme/count?explain=true").await.ok();
        assert_eq!(count["explained"]["equal"], true, "{count}");
        ["total", "suspended", "retired"].map(|f| count[f].as_u64().unwrap())
    };
    order("kill", true).await;
    assert_eq!(count().await, [0, 300, 0]);
    order("resume", false).await;
    assert_eq!(count().await, [300, 0, 0]);
    // Nobody's state holds up what else is written, and the mark goes last.
    let entries = bed.entries("state").await;
    let of = |command: &str| {
        let places = entries.iter().enumerate();
        let places = places.filter(|(_, entry)| entry["payload"]["command"] == command);
        places.map(|(n, _)| n).collect::<Vec<_>>()
    };
    let resumed = of("identity.resume");
    assert_eq!(resumed.len(), 300);
    assert!(
        of("mark.lift")[0] > resumed[299],
        "what breaks off leaves everybody stopped"
    );
    let body = json!({"scope": "agent", "name": "swarm", "reason": "a drill"});
    let kill = async || {
        bed.keyed("/v1/tenants/acme/kill", "the-whole-swarm", &body)
            .await
            .ok()
    };
    let killed = kill().await;
    assert_eq!(count().await, [0, 0, 300]);
    // A retry is an answer and no act: who was registered since is not meant.
    register("reborn").await;
    assert_eq!(kill().await["epoch"], killed["epoch"]);
    assert_eq!(count().await, [300, 0, 300]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_name_can_be_registered_anew_and_its_old_token_stays_dead() {
    let world = world().await;
    world.order("kill", "agent", "invoicer", json!({})).await.ok();
    let mut wanted = identity("worker");
    wanted["labels"] = json!({"agent": "invoicer"});
    let reborn = world.bed.post("/v1/tenants/acme/identities", &wanted).await.ok();
    let (_, fresh) = world
        .bed
        .open_task("acme", reborn["id"].as_str().unwrap(), &["files:*"])
        .await;
    assert!(world.passes(&fresh).await, "issued after the kill");
    assert!(!world.passes(&world.token).await, "issued before it");
}

/// A request whose caller resets the connection `after` it was written.
async fn abandoned(bed: &Bed, path: &str, body: &Value, after: Duration) {
    let mut socket = tokio::net::TcpStream::connect(bed.address()).await.unwrap();
    let (body, session) = (body.to_string(), bed.session());
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {session}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        bed.address(),
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let heard = tokio::time::timeout(after, socket.readable());
    let _answered = heard.await;
    socket.set_zero_linger().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_whose_giver_hangs_up_is_carried_to_its_end() {
    let World { mut bed, .. } = world().await;
    let mut names = Vec::new();
    for n in 0..24 {
        let id = bed.add_identity("acme", &format!("paused-{n}")).await;
        let body = json!({"scope": "identity", "name": id, "reason": "a drill", "suspend": true});
        let after = Duration::from_micros(150 * n);
        abandoned(&bed, "/v1/tenants/acme/kill", &body, after).await;
        names.push(id);
    }
    // One that is waited for comes after all of them.
    bed.kill("acme", "identity", &names[0]).await.ok();
    let mut stopped = 0;
    for id in &names[1..] {
        let at = format!("/v1/tenants/acme/identities/{id}");
        let state = bed.get(&at).await.ok()["state"].clone();
        if state != "suspended" {
            continue;
        }
        stopped += 1;
        bed.post(&format!("{at}/resume"), &json!({})).await.ok();
        bed.open_task("acme", id, &["files:*"]).await;
    }
    assert!(stopped > 0, "nobody was heard");
    bed.stop().await;
    let (_, unsettled) = KillJournal::open(&OsDisk, &bed.data().join("kill.journal")).unwrap();
    assert_eq!(unsettled.len(), 0, "what was given is carried out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_family_that_grows_while_it_is_stopped_is_stopped_whole() {
    let bed = Bed::start().await;
    bed.add_tenant("acme").await;
    for round in 0..8 {
        let label = format!("swarm-{round}");
        let added = async |n: usize| {
            let mut wanted = identity(&format!("w{round}-{n}"));
            wanted["labels"] = json!({"agent": label});
            bed.post("/v1/tenants/acme/identities", &wanted).await.ok();
        };
        added(0).await;
        let adding = (1..40).map(added);
        let kill = async {
            crate::pause(Duration::from_millis(2 * round)).await;
            bed.kill("acme", "agent", &label).await.ok();
        };
        tokio::join!(futures_util::future::join_all(adding), kill);
    }
    let entries = bed.entries("state").await;
    let place = |command: &str, id: &Value| {
        let is_it = |e: &Value| e["payload"]["command"] == command && e["payload"]["objects"][0]["id"] == *id;
        entries.iter().position(is_it).unwrap()
    };
    let page = bed.get("/v1/tenants/acme/identities").await.ok();
    let mut stopped = 0;
    for shown in page["items"].as_array().unwrap() {
        let label = format!("agent:{}", shown["labels"]["agent"].as_str().unwrap());
        if place("identity.register", &shown["id"]) < place("mark.kill", &json!(label)) {
            assert_eq!(shown["state"], "retired", "{shown}");
            stopped += 1;
        }
    }
    assert!(stopped >= 8, "{stopped}");
}
