//! Disks that are full: a process of its own runs the service under a limit on the size of files, so that the
//! system refuses the writes, and this process looks at what is left.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::bed::{Answer, Bed, Operator, until};
use crate::desk::Desk;

const PLAN: &str = "IT_FAULT_PLAN";
/// Where writes end in every file, in blocks of 512 bytes: beyond the kill journal's 1 MiB.
const LIMIT: &str = "2560";

/// What the limited process needs to know.
struct Plan {
    folder: PathBuf,
    operator: Operator,
    identities: Vec<String>,
    tasks: Vec<String>,
    tokens: Vec<String>,
}

impl Plan {
    fn to_json(&self) -> String {
        json!({
            "folder": self.folder, "operator": self.operator.id, "seed": self.operator.seed,
            "identities": self.identities, "tasks": self.tasks, "tokens": self.tokens,
        })
        .to_string()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the parent tells its own child where to look"
    )]
    fn read() -> Option<Self> {
        let plan: Value = serde_json::from_str(&std::env::var(PLAN).ok()?).unwrap();
        let texts = |name: &str| serde_json::from_value(plan[name].clone()).unwrap();
        Some(Self {
            folder: serde_json::from_value(plan["folder"].clone()).unwrap(),
            operator: Operator {
                id: plan["operator"].as_str().unwrap().to_owned(),
                seed: serde_json::from_value(plan["seed"].clone()).unwrap(),
            },
            identities: texts("identities"),
            tasks: texts("tasks"),
            tokens: texts("tokens"),
        })
    }

    async fn adopt(&self) -> Bed {
        Bed::adopt(&self.folder, self.operator.clone(), |_| {}).await
    }

    fn marker(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Three identities with a token each, and the service stopped.
async fn prepare(desk: &Desk) -> (Bed, Plan) {
    let mut bed = Bed::start().await;
    bed.add_tenant("acme").await;
    bed.add_server("acme", "files", desk).await;
    let (mut identities, mut tasks, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..3 {
        let identity = bed.add_identity("acme", &format!("worker{n}")).await;
        let (task, token) = bed
            .open_task("acme", &identity, &["files:echo", "authzen:evaluate"])
            .await;
        identities.push(identity);
        tasks.push(task);
        tokens.push(token);
    }
    bed.stop().await;
    let plan = Plan {
        folder: bed.folder().to_owned(),
        operator: bed.operator.clone(),
        identities,
        tasks,
        tokens,
    };
    (bed, plan)
}

/// One of the tests below that do nothing without a plan, in a process whose files end at [`LIMIT`]; the hard limit stays open.
fn limited(test: &str, plan: &Plan) -> Child {
    let program = std::env::current_exe().unwrap();
    let limit = format!("trap '' XFSZ; ulimit -S -f {LIMIT}; exec \"$0\" \"$@\"");
    Command::new("sh")
        .args(["-c", &limit])
        .arg(program)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(PLAN, plan.to_json())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn passed(child: Child) {
    let output = child.wait_with_output().await.unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

impl Bed {
    async fn evaluate(&self, token: &str, identity: &str, many: usize) -> Answer {
        let question = json!({
            "subject": {"type": "identity", "id": identity}, "action": {"name": "read"},
            "resource": {"type": "document", "id": "1"},
        });
        if many == 1 {
            return self.bearing(token, "/access/v1/evaluation", &question).await;
        }
        let body = json!({"evaluations": vec![question; many]});
        self.bearing(token, "/access/v1/evaluations", &body).await
    }

    /// What health says of the kill switch; it is red without it.
    async fn kill_switch(&self) -> bool {
        let ready = self.send("GET", "/readyz", &[], "").await;
        let works = ready.json()["kill_switch"].as_bool().unwrap();
        assert!(works || ready.status == 503, "{}", ready.text());
        works
    }

    /// Writes decisions until none fits.
    async fn fill_decisions(&self, plan: &Plan) {
        for _ in 0..200 {
            let answer = self.evaluate(&plan.tokens[2], &plan.identities[2], 100).await;
            if answer.status == 503 {
                answer.refused(503, "record.unavailable");
                return;
            }
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        panic!("the decision log took everything");
    }

    /// Writes state until not even the smallest change fits.
    async fn fill_state(&self) {
        let path = "/v1/tenants/acme/policies";
        let mut n = 0;
        for size in [60_000, 8_000, 1_000, 1, 1, 1] {
            loop {
                n += 1;
                assert!(n < 300, "the store took everything");
                let text = format!("// {n} {}", "x".repeat(size));
                let answer = self.command("PUT", path, &[], &json!({"cedar": text})).await;
                if !answer.status.is_success() {
                    assert_eq!(answer.status, 503, "{}", answer.text());
                    break;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_record_nothing_is_permitted_and_a_kill_still_works() {
    let desk = Desk::open().await;
    let (mut bed, plan) = prepare(&desk).await;
    passed(limited("faults::decision_log_full", &plan)).await;
    assert_eq!(desk.calls(), 1, "only the call before the fault arrived");
    bed.run().await;
    let dead = bed
        .call(&plan.tokens[0], "acme", "files", "echo", json!({}))
        .await;
    assert_eq!(
        dead.status,
        401,
        "killed while nothing could be recorded: {}",
        dead.text()
    );
    let alive = bed
        .call(&plan.tokens[1], "acme", "files", "echo", json!({}))
        .await
        .ok();
    assert!(
        alive["result"].is_object(),
        "with room there are records again: {alive}"
    );
    // Everything that was answered is in the log, whole.
    bed.stop().await;
    let reports = bailiwick_server::evidence::verify_folder(&bed.data(), &[]).unwrap();
    assert!(
        reports
            .iter()
            .all(bailiwick_server::evidence::LogReport::is_sound),
        "{reports:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_log_full() {
    let Some(plan) = Plan::read() else { return };
    let mut bed = plan.adopt().await;
    let call = |n: usize| bed.call(&plan.tokens[n], "acme", "files", "echo", json!({}));
    assert!(call(1).await.ok()["result"].is_object());
    bed.fill_decisions(&plan).await;
    for _ in 0..3 {
        let refused = call(1).await;
        assert!(
            refused.text().contains("record.unavailable"),
            "{}",
            refused.text()
        );
        assert!(!refused.text().contains("\"result\""), "{}", refused.text());
    }
    bed.evaluate(&plan.tokens[1], &plan.identities[1], 1)
        .await
        .refused(503, "record.unavailable");
    let tokens = format!("/v1/tenants/acme/tasks/{}/tokens", plan.tasks[1]);
    bed.post(&tokens, &json!({"count": 1}))
        .await
        .refused(503, "record.unavailable");
    bed.bearing(&plan.tokens[1], &tokens, &json!({"count": 1}))
        .await
        .refused(503, "record.unavailable");
    let check = json!({"principal": plan.identities[1], "action": "tools/call", "resource": "files:echo"});
    bed.post("/v1/tenants/acme/check", &check)
        .await
        .refused(503, "record.unavailable");
    // Reading works, and says what is wrong.
    assert_eq!(bed.get("/v1/tenants/acme/identities").await.ok()["total"], 4);
    assert_eq!(bed.get("/v1/tenants/acme/count").await.ok()["total"], 4);
    let ready = bed.send("GET", "/readyz", &[], "").await;
    assert_eq!(
        (ready.status.as_u16(), &ready.json()["decision_log"]),
        (503, &json!(false))
    );
    assert_eq!(bed.send("GET", "/healthz", &[], "").await.status, 200);
    let metrics = bed.send("GET", "/metrics", &[], "").await;
    every_metric_is_described(&metrics.text());
    // A kill does not wait for the decision log.
    let killed = bed.kill("acme", "identity", &plan.identities[0]).await.ok();
    assert_eq!(killed["effect"], "kill");
    let refused = call(0).await;
    assert!(!refused.text().contains("\"result\""), "{}", refused.text());
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_that_the_store_cannot_take_holds_here_and_over_a_restart() {
    let desk = Desk::open().await;
    let (mut bed, plan) = prepare(&desk).await;
    passed(limited("faults::store_full", &plan)).await;
    assert_eq!(desk.calls(), 1, "only the call before the fault arrived");
    let before = std::fs::read(bed.data().join("kill.journal")).unwrap();
    assert!(
        before
            .windows(plan.identities[0].len())
            .any(|w| w == plan.identities[0].as_bytes())
    );
    bed.run().await;
    for n in [0, 1] {
        let dead = bed
            .call(&plan.tokens[n], "acme", "files", "echo", json!({}))
            .await;
        assert_eq!(dead.status, 401, "{n}: {}", dead.text());
    }
    let alive = bed
        .call(&plan.tokens[2], "acme", "files", "echo", json!({}))
        .await
        .ok();
    assert!(alive["result"].is_object(), "{alive}");
    let replayed = |entries: &[Value]| {
        let from_journal = |e: &&Value| {
            e["payload"]["actor"] == "system:kill-journal" && e["leaf"]["kind"] == "state.mark.kill"
        };
        entries.iter().filter(from_journal).count()
    };
    assert_eq!(
        replayed(&bed.entries("state").await),
        2,
        "both kills are in the state log"
    );
    bed.restart().await;
    assert_eq!(
        replayed(&bed.entries("state").await),
        2,
        "and are carried out once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn store_full() {
    let Some(plan) = Plan::read() else { return };
    let mut bed = plan.adopt().await;
    let call = |n: usize| bed.call(&plan.tokens[n], "acme", "files", "echo", json!({}));
    assert!(call(2).await.ok()["result"].is_object());
    bed.fill_state().await;
    let refused = bed.kill("acme", "identity", &plan.identities[0]).await;
    refused.refused(503, "kill.local-only");
    assert!(refused.text().contains("stays denied"), "{}", refused.text());
    let dead = call(0).await;
    assert_eq!(dead.status, 401, "{}", dead.text());
    // Other commands are refused with the reason, and reading works.
    let added = bed
        .post("/v1/tenants/acme/identities", &crate::bed::identity("more"))
        .await;
    assert_eq!(added.status, 503, "{}", added.text());
    assert_eq!(bed.get("/v1/tenants/acme/identities").await.ok()["total"], 4);
    // Both disks full: the kill still holds.
    bed.fill_decisions(&plan).await;
    bed.kill("acme", "identity", &plan.identities[1])
        .await
        .refused(503, "kill.local-only");
    let dead = call(1).await;
    assert!(!dead.text().contains("\"result\""), "{}", dead.text());
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_that_waits_enters_the_state_log_when_the_store_comes_back() {
    if !Path::new("/usr/bin/prlimit").exists() {
        eprintln!("SKIPPED: no prlimit to lift the limit with");
        return;
    }
    let desk = Desk::open().await;
    let (_bed, plan) = prepare(&desk).await;
    let child = limited("faults::store_full_for_a_while", &plan);
    let pid = child.id().unwrap().to_string();
    let lift = async {
        until("the kill under the limit", || async {
            plan.marker("killed").exists()
        })
        .await;
        let lifted = Command::new("/usr/bin/prlimit")
            .args(["--pid", &pid, "--fsize=unlimited"])
            .status()
            .await
            .unwrap();
        assert!(lifted.success());
        std::fs::write(plan.marker("lifted"), b"").unwrap();
    };
    let ((), ()) = tokio::join!(lift, passed(child));
    assert_eq!(desk.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn store_full_for_a_while() {
    let Some(plan) = Plan::read() else { return };
    let bed = plan.adopt().await;
    assert!(bed.kill_switch().await);
    bed.fill_state().await;
    // Whatever hinders a drill hinders a kill: health is red, and says why.
    let drilled = bed.post("/v1/tenants/acme/drills", &json!({})).await;
    assert_eq!(drilled.status, 503, "{}", drilled.text());
    assert!(!bed.kill_switch().await, "a drill failed, and health is green");
    let drills = bed.get("/v1/tenants/acme/drills").await.ok();
    assert!(drills["trouble"].is_string(), "{drills}");
    bed.kill("acme", "identity", &plan.identities[0])
        .await
        .refused(503, "kill.local-only");
    std::fs::write(plan.marker("killed"), b"").unwrap();
    until("the limit to be lifted", || async {
        plan.marker("lifted").exists()
    })
    .await;
    until("the kill in the state log", || async {
        let last = bed.entries("state").await.pop().unwrap();
        last["payload"]["actor"] == "system:kill-journal"
            || bed.get("/v1/tenants/acme/count").await.ok()["retired"] == 1
    })
    .await;
    let drilled = bed.post("/v1/tenants/acme/drills", &json!({})).await.ok();
    assert!(drilled["trouble"].is_null(), "{drilled}");
    assert!(
        bed.kill_switch().await,
        "a drill showed that the switch works again"
    );
    let state = bed
        .get(&format!("/v1/tenants/acme/identities/{}", plan.identities[0]))
        .await
        .ok();
    assert_eq!(state["state"], "retired");
    let reason = state["state_reason"].as_str().unwrap();
    assert!(
        reason.contains("a drill") && reason.contains("operator:"),
        "{reason}"
    );
    let dead = bed
        .call(&plan.tokens[0], "acme", "files", "echo", json!({}))
        .await;
    assert_eq!(dead.status, 401, "{}", dead.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_on_a_queue_of_one_whatever_is_allowed_is_recorded() {
    let bed = Bed::start_with(|config| config.log.queue_max = 1).await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    let (_, _, token) = bed.add_worker(&desk, &["files:echo"]).await;
    let calls = (0..200).map(|_| bed.call(&token, "acme", "files", "echo", json!({})));
    let answers = futures_util::future::join_all(calls).await;
    let (mut allowed, mut unrecorded) = (0, 0);
    for answer in &answers {
        let text = answer.text();
        if text.contains("\"result\"") {
            allowed += 1;
        } else {
            assert!(text.contains("record.unavailable"), "{text}");
            unrecorded += 1;
        }
    }
    assert!(
        unrecorded > 0 && allowed > 0,
        "{allowed} allowed, {unrecorded} refused"
    );
    assert_eq!(desk.calls(), allowed, "what was refused was not forwarded");
    let permits = bed
        .entries("decisions")
        .await
        .iter()
        .filter(|e| e["payload"]["effect"] == "permit" && e["payload"]["action"] == "tools/call")
        .count();
    assert!(permits >= allowed, "{permits} records for {allowed} calls");
}

/// Every sample belongs to a metric with a text and a kind, and no kind is a summary.
fn every_metric_is_described(exposed: &str) {
    let said = |word: &str| -> std::collections::BTreeMap<&str, &str> {
        let lines = exposed.lines().filter_map(|line| line.strip_prefix(word));
        lines.filter_map(|line| line.split_once(' ')).collect()
    };
    let (helps, kinds) = (said("# HELP "), said("# TYPE "));
    assert!(
        kinds.contains_key("bailiwick_decision_log_flush_seconds"),
        "{exposed}"
    );
    let samples = exposed
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    for sample in samples {
        let name = sample.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|part| name.strip_suffix(part).filter(|base| kinds.contains_key(base)))
            .unwrap_or(name);
        let kind = kinds.get(family).unwrap_or_else(|| panic!("no kind: {sample}"));
        assert_ne!(*kind, "summary", "{sample}");
        assert!(
            helps.get(family).is_some_and(|help| help.ends_with('.')),
            "no text: {sample}"
        );
    }
}
