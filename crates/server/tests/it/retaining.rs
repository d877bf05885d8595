//! Pruning of the decision log: on record before anything goes, nothing that is needed, and whole whatever happens.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bailiwick_base::Digest;
use bailiwick_server::Config;
use bailiwick_server::backup::{make, put_back};
use bailiwick_server::evidence::{LogReport, verify_folder};
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::desk::Desk;
use crate::flipped::copy_of;

const DAY: Duration = Duration::from_secs(86_400);

fn keeping(config: &mut Config) {
    config.kill.drill_hours = 0;
    config.log.keep_decisions_days = 30;
}

fn held(config: &mut Config) {
    keeping(config);
    config.log.legal_hold = Some("counsel, case 17 of the court".to_owned());
}

fn shorter(config: &mut Config) {
    keeping(config);
    config.log.keep_decisions_days = 3;
}

impl Bed {
    fn segment(&self, ordinal: u64) -> PathBuf {
        self.data()
            .join(format!("log/decisions/segments/{ordinal:016}.seg"))
    }

    fn base(&self) -> PathBuf {
        self.data().join("log/decisions/base")
    }

    /// Segments number 0 to `count`, two days from each to the next; the last token.
    async fn fill(&mut self, identity: &str, count: u64) -> String {
        for ordinal in 1..=count {
            self.stop().await;
            self.clock.advance(2 * DAY);
            self.run().await;
            let (_, token) = self.open_task("acme", identity, &["files:echo"]).await;
            // The next one is prepared aside, and nobody waits for it.
            for _ in 0..500 {
                self.call(&token, "acme", "files", "echo", json!({})).await.ok();
                if self.segment(ordinal).exists() {
                    break;
                }
                crate::pause(Duration::from_millis(10)).await;
            }
            for _ in 0..20 {
                self.call(&token, "acme", "files", "echo", json!({})).await.ok();
            }
        }
        self.open_task("acme", identity, &["files:echo"]).await.1
    }

    async fn decisions(&self) -> Value {
        let logs = self.get("/v1/logs").await.ok();
        logs["items"][1].clone()
    }

    async fn prune(&self, body: &Value) -> Value {
        self.post("/v1/logs/decisions/prune", body).await.ok()
    }

    fn since(&self, back: Duration) -> String {
        use bailiwick_base::Clock;
        self.clock.now().before(back).to_string()
    }

    async fn recorded(&self) -> Vec<Value> {
        let entries = self.entries("state").await;
        let of = |entry: &Value| entry["leaf"]["kind"] == "state.log.prune";
        entries.into_iter().filter(of).collect()
    }
}

async fn bed(change: fn(&mut Config)) -> (Bed, Desk, String) {
    let bed = Bed::start_with(change).await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    let (identity, ..) = bed.add_worker(&desk, &["files:echo"]).await;
    (bed, desk, identity)
}

#[track_caller]
fn require_sound(data: &Path) -> Vec<LogReport> {
    let reports = verify_folder(data, &[]).unwrap();
    for report in &reports {
        assert!(report.is_sound(), "{:?}", report.findings);
    }
    reports
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pruned_is_on_record_first_and_what_is_kept_is_proven_and_read() {
    let (mut bed, _desk, identity) = bed(keeping).await;
    let token = bed.fill(&identity, 4).await;
    bed.call(&token, "acme", "files", "echo", json!({})).await.ok();
    crate::pause(Duration::from_millis(1_500)).await;
    let wanted = |dry: bool| json!({"keep_since": bed.since(3 * DAY), "reason": "kept for long enough", "dry_run": dry});
    let before = bed.decisions().await;
    assert_eq!(
        (before["begins"].as_u64(), before["keep_days"].as_u64()),
        (Some(0), Some(30))
    );
    let seen = bed.prune(&wanted(true)).await;
    assert!(
        seen["entries"].as_u64() > Some(20) && seen["dry_run"] == true,
        "{seen}"
    );
    assert!(
        bed.segment(0).exists() && bed.recorded().await.is_empty(),
        "nothing was done"
    );
    let body = wanted(false);
    let done = bed
        .keyed("/v1/logs/decisions/prune", "pruned-once", &body)
        .await
        .ok();
    assert_eq!(
        (&done["begins"], &done["entries"]),
        (&seen["begins"], &seen["entries"])
    );
    let again = bed
        .keyed("/v1/logs/decisions/prune", "pruned-once", &body)
        .await
        .ok();
    assert_eq!(
        again["entries"], done["entries"],
        "a repetition tells what was done"
    );
    assert!(!bed.segment(0).exists() && bed.segment(4).exists());
    let recorded = bed.recorded().await;
    let by: Vec<&Value> = recorded.iter().map(|entry| &entry["tenant"]).collect();
    assert_eq!(by, [&Value::Null, &json!("acme")], "{recorded:?}");
    let detail = &recorded[0]["payload"]["detail"];
    assert_eq!(
        (&detail["base"], &detail["begins"]),
        (&done["base"], &done["begins"])
    );
    assert_eq!(detail["reason"], "kept for long enough");

    let begins = done["begins"].as_u64().unwrap();
    for path in [
        "/v1/logs/decisions/proof?entry=0".to_owned(),
        format!("/v1/logs/decisions/entries?from={}", begins - 1),
        format!("/v1/logs/decisions/entries?before={begins}"),
        format!("/v1/tenants/acme/logs/decisions/entries?before={begins}"),
        "/v1/logs/decisions/openings?from=0".to_owned(),
    ] {
        let gone = bed.get(&path).await;
        let text = gone.text();
        assert!(
            text.contains(&format!("begins with entry `{begins}`")),
            "{path}: {text}"
        );
        gone.refused(410, "log.pruned");
    }
    for path in [
        format!("/v1/logs/decisions/proof?entry={begins}"),
        format!("/v1/logs/decisions/entries?from={begins}"),
        "/v1/logs/decisions/entries?last=1000".to_owned(),
        "/v1/tenants/acme/logs/decisions/entries?last=1000".to_owned(),
        format!("/v1/logs/decisions/openings?from={begins}"),
    ] {
        assert_eq!(bed.get(&path).await.status, 200, "{path}");
    }
    let reports = require_sound(&bed.data());
    assert_eq!(reports[1].begins.as_ref().map(|b| b.with), Some(begins));
    let killed = bed.kill("acme", "identity", &identity).await.ok();
    assert!(killed["contained_us"].is_u64(), "{killed}");

    let out = bed.folder().join("backup");
    make(&bed.data(), &out).await.unwrap();
    bed.restart().await;
    require_sound(&bed.data());
    let copy = bed.folder().join("copy");
    put_back(&out, &copy).unwrap();
    assert!(require_sound(&copy)[1].begins.is_some());
    let nothing = bed.prune(&wanted_again(&bed)).await;
    assert_eq!(nothing["entries"], 0);
    assert_eq!(
        bed.recorded().await.len(),
        2,
        "what removes nothing is not recorded"
    );
}

fn wanted_again(bed: &Bed) -> Value {
    json!({"keep_since": bed.since(3 * DAY), "reason": "once more"})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_pruned_says_why() {
    let (mut bed, _desk, identity) = bed(held).await;
    let token = bed.fill(&identity, 2).await;
    let reason = "kept for long enough";
    let ask = async |log: &str, body: Value| bed.post(&format!("/v1/logs/{log}/prune"), &body).await;
    ask("state", json!({"up_to": 3, "reason": reason}))
        .await
        .refused(422, "log.never-pruned");
    ask("other", json!({"up_to": 3, "reason": reason}))
        .await
        .refused(404, "request.not-found");
    ask("decisions", json!({"up_to": 3, "reason": " "}))
        .await
        .refused(400, "log.prune-reason");
    ask("decisions", json!({"reason": reason}))
        .await
        .refused(400, "log.prune-bound");
    let both = json!({"up_to": 3, "keep_since": bed.since(DAY), "reason": reason});
    ask("decisions", both).await.refused(400, "log.prune-bound");
    let held = ask("decisions", json!({"up_to": 3, "reason": reason})).await;
    assert!(held.text().contains("case 17"), "{}", held.text());
    held.refused(409, "log.held");
    let noted = bed.entries("state").await;
    assert!(
        noted
            .iter()
            .any(|entry| entry["leaf"]["kind"] == "state.log.hold")
    );

    // A receipt that is open, and a rate whose window is open, keep what they need.
    bed.call(&token, "acme", "files", "echo", json!({})).await.ok();
    bed.open_task("acme", &identity, &["files:echo(rate 5/86400s)"])
        .await;
    let all = json!({"up_to": u64::MAX >> 12, "reason": reason, "dry_run": true});
    let seen = bed.prune(&all).await;
    let needed = seen["needed"].to_string();
    assert!(
        needed.contains("the window of a rate") && needed.contains("a kill looks back"),
        "{seen}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_prunes_by_itself_what_its_schedule_does_not_keep() {
    let (mut bed, _desk, identity) = bed(shorter).await;
    bed.fill(&identity, 3).await;
    assert_eq!(bed.decisions().await["keep_days"], 3);
    for _ in 0..1_000 {
        if bed.decisions().await["begins"].as_u64() > Some(0) {
            break;
        }
        // It looks once an hour.
        bed.clock.advance(Duration::from_secs(400));
        crate::pause(Duration::from_millis(20)).await;
    }
    let log = bed.decisions().await;
    assert_eq!(log["pruned"]["by"], "system:retention", "{log}");
    assert_eq!(log["pruned"]["reason"], "log.keep_decisions_days = 3");
    assert_eq!(bed.recorded().await[0]["payload"]["actor"], "system:retention");
    bed.restart().await;
    require_sound(&bed.data());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pruning_that_was_cut_short_is_finished_where_it_was_recorded_and_dropped_where_not() {
    let (mut bed, _desk, identity) = bed(keeping).await;
    bed.fill(&identity, 3).await;
    crate::pause(Duration::from_millis(1_500)).await;
    bed.stop().await;
    let whole = bed.folder().join("whole");
    copy_of(&bed.data(), &whole);
    bed.run().await;
    let done = bed
        .prune(&json!({"keep_since": bed.since(2 * DAY), "reason": "kept for long enough"}))
        .await;
    assert!(done["entries"].as_u64() > Some(0), "{done}");
    bed.stop().await;
    let file = fs::read_to_string(bed.base()).unwrap();
    let intent = file.lines().next().unwrap().to_owned();
    let log = bed.data().join("log/decisions");

    // Recorded, and nothing of it done: by the intent alone.
    let checkpoint = fs::read(log.join("checkpoint")).unwrap();
    put_old_back(&whole, &log);
    assert_eq!(fs::read(log.join("checkpoint")).unwrap(), checkpoint);
    fs::write(log.join("base.intent"), &intent).unwrap();
    bed.run().await;
    assert_eq!(bed.decisions().await["begins"], done["begins"]);
    assert!(!log.join("base.intent").exists() && !bed.segment(0).exists());
    bed.stop().await;
    assert_eq!(
        fs::read_to_string(bed.base()).unwrap(),
        file,
        "the same entry tells of it"
    );

    // A beginning that nobody recorded.
    let forged = intent.replacen("kept for long enough", "kept for far too long", 1);
    let entry = file.lines().nth(2).unwrap();
    fs::write(
        bed.base(),
        format!("{forged}\nsha256 {}\n{entry}\n", Digest::of(forged.as_bytes())),
    )
    .unwrap();
    let said = bed.try_run().await.unwrap_err();
    assert!(said.contains("does not say that it was pruned"), "{said}");
    fs::write(bed.base(), &file).unwrap();

    // Intended, and never recorded.
    copy_of(&whole, &bed.data());
    fs::write(log.join("base.intent"), &intent).unwrap();
    fs::remove_file(bed.folder().join("data.witness")).unwrap();
    bed.accept().await.unwrap();
    bed.run().await;
    assert_eq!(bed.decisions().await["begins"], 0);
    assert!(!log.join("base.intent").exists() && bed.segment(0).exists());
    require_sound(&bed.data());
}

/// Every file below, by its path from there.
/// Puts back what `whole` has and the folder has not, except where the log begins.
fn put_old_back(whole: &Path, log: &Path) {
    fs::remove_file(log.join("base")).unwrap();
    for part in ["segments", "tile"] {
        let from = whole.join("log/decisions").join(part);
        for file in files(&from) {
            let to = log.join(part).join(&file);
            if !to.exists() {
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(from.join(&file), to).unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pruned_does_not_come_back_unseen() {
    let (mut bed, _desk, identity) = bed(keeping).await;
    bed.fill(&identity, 3).await;
    crate::pause(Duration::from_millis(1_500)).await;
    bed.stop().await;
    let whole = bed.folder().join("whole");
    copy_of(&bed.data(), &whole);
    bed.run().await;
    let done = bed
        .prune(&json!({"keep_since": bed.since(2 * DAY), "reason": "kept for long enough"}))
        .await;
    assert!(done["entries"].as_u64() > Some(0), "{done}");
    bed.stop().await;
    let log = bed.data().join("log/decisions");

    // An old segment beside the base goes again.
    let base = fs::read(bed.base()).unwrap();
    fs::copy(
        whole.join("log/decisions/segments/0000000000000000.seg"),
        bed.segment(0),
    )
    .unwrap();
    bed.run().await;
    assert!(!bed.segment(0).exists());
    bed.stop().await;

    put_old_back(&whole, &log);
    let said = bed.try_run().await.unwrap_err();
    assert!(
        said.contains("says that the decision log was pruned") && said.contains("set back"),
        "{said}"
    );
    fs::write(bed.base(), &base).unwrap();
    bed.run().await;
    assert_eq!(bed.decisions().await["begins"], done["begins"]);
    assert!(!bed.segment(0).exists());
    bed.stop().await;

    // Unless somebody says on record that it goes on from an older folder.
    put_old_back(&whole, &log);
    fs::remove_file(bed.folder().join("data.witness")).unwrap();
    bed.accept().await.unwrap();
    bed.run().await;
    assert_eq!(bed.decisions().await["begins"], 0);
    bed.restart().await;
    require_sound(&bed.data());
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            let below = files(&entry.path());
            found.extend(
                below
                    .into_iter()
                    .map(|path| Path::new(&entry.file_name()).join(path)),
            );
        } else {
            found.push(entry.file_name().into());
        }
    }
    found
}
