//! The witness outside the data folder: what is older than it does not start, a kill is contained when it knows of it,
//! and whoever goes on in spite of it does so on record.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use bailiwick_base::Clock;
use bailiwick_journal::OsDisk;
use bailiwick_server::{Machine, Service, WitnessConfig, WitnessError};
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::desk::Desk;
use crate::flipped::copy_of;
use crate::folder::refusal;

impl Bed {
    fn witness(&self) -> PathBuf {
        self.folder().join("data.witness")
    }

    fn word(&self) -> Value {
        serde_json::from_slice(&fs::read(self.witness()).unwrap()).unwrap()
    }

    /// As `bailiwick witness accept`: starts on what is there, on an operator's word, and serves nobody.
    pub(crate) async fn accept(&self) -> Result<(), String> {
        let mut config = self.config();
        config.witness = config.witness.accepting("the disk broke".to_owned());
        let machine = Machine {
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            disk: Arc::new(OsDisk),
            launcher: None,
        };
        let service = Service::start_on(machine, config).await;
        let service = service.map_err(|error| format!("{error:#}"))?;
        service.stopper().stop();
        service.run().await;
        Ok(())
    }

    async fn token_of(&self, task: &str) -> String {
        let path = format!("/v1/tenants/acme/tasks/{task}/tokens");
        let issued = self.post(&path, &json!({"count": 1})).await.ok();
        let token = issued.pointer("/tokens/0/access_token").and_then(Value::as_str);
        token.unwrap_or_else(|| panic!("{issued}")).to_owned()
    }

    async fn answers(&self, token: &str) -> u16 {
        let answer = self.call(token, "acme", "files", "echo", json!({})).await;
        answer.status.as_u16()
    }
}

/// Size and text of the state log's checkpoint in the witness.
fn witnessed_size(word: &Value) -> u64 {
    let checkpoint = word["checkpoints"][0].as_str().unwrap();
    checkpoint.lines().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_does_not_start_and_going_on_from_it_ends_every_token_on_record() {
    let mut bed = Bed::start().await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    let (killed, _, early) = bed.add_worker(&desk, &["files:echo"]).await;
    let other = bed.add_identity("acme", "other").await;
    let (task, _) = bed.open_task("acme", &other, &["files:echo"]).await;
    bed.stop().await;
    let backup = bed.folder().join("backup");
    copy_of(&bed.data(), &backup);

    bed.run().await;
    let answer = bed.kill("acme", "identity", &killed).await.ok();
    assert!(answer["contained_us"].is_u64(), "{answer}");
    let word = bed.word();
    assert!(
        word["epoch"].as_u64() >= answer["epoch"].as_u64() && answer["epoch"].as_u64() > Some(0),
        "{word} {answer}"
    );
    assert!(
        witnessed_size(&word) >= answer["position"].as_u64().unwrap(),
        "{word}"
    );
    // Issued at an epoch that the backup never had.
    let late = bed.token_of(&task).await;
    assert_eq!((bed.answers(&early).await, bed.answers(&late).await), (401, 200));
    bed.stop().await;

    copy_of(&backup, &bed.data());
    let checkpoint = fs::read(bed.data().join("log/state/checkpoint")).unwrap();
    let said = refusal(bed.config()).await;
    assert!(
        said.contains("is older than its witness") && said.contains("bailiwick witness accept"),
        "{said}"
    );
    assert_eq!(
        fs::read(bed.data().join("log/state/checkpoint")).unwrap(),
        checkpoint,
        "nothing was signed"
    );
    bed.accept().await.unwrap();
    let said = bed.accept().await.unwrap_err();
    assert!(said.contains("nothing to accept"), "{said}");

    bed.run().await;
    for token in [&early, &late] {
        assert_eq!(bed.answers(token).await, 401);
    }
    let marks = bed.get("/v1/all-tenants/marks").await.ok();
    let frozen = |mark: &Value| mark["scope"] == "all" && mark["effect"] == "suspend";
    assert!(marks["items"].as_array().unwrap().iter().any(frozen), "{marks}");
    let entries = bed.entries("state").await;
    let raised = entries
        .iter()
        .find(|e| e["payload"]["command"] == "epoch.raise-floor")
        .unwrap();
    assert_eq!(raised["payload"]["actor"], "system:witness");
    assert_eq!(
        raised["payload"]["reason"],
        "the disk broke (accepted: witness.older-folder)"
    );
    let resume = json!({"scope": "all", "reason": "looked at what was killed"});
    bed.post("/v1/all-tenants/resume", &resume).await.ok();
    assert_eq!(
        (bed.answers(&early).await, bed.answers(&late).await),
        (401, 401),
        "they stay dead"
    );
    let fresh = bed.token_of(&task).await;
    assert_eq!(bed.answers(&fresh).await, 200);
    bed.restart().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_forked_or_cut_is_refused_with_the_reason() {
    let mut bed = Bed::start().await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    let (_, _, token) = bed.add_worker(&desk, &["files:echo"]).await;
    bed.stop().await;
    let (backup, first) = (bed.folder().join("backup"), bed.folder().join("first"));
    copy_of(&bed.data(), &backup);
    let word = fs::read(bed.witness()).unwrap();

    // One history, and from the same beginning a longer one.
    bed.run().await;
    bed.add_identity("acme", "one").await;
    assert_eq!(bed.answers(&token).await, 200);
    bed.restart().await;
    bed.stop().await;
    copy_of(&bed.data(), &first);
    let seen = fs::read(bed.witness()).unwrap();
    copy_of(&backup, &bed.data());
    fs::write(bed.witness(), &word).unwrap();
    bed.run().await;
    for name in ["two", "three", "four"] {
        bed.add_identity("acme", name).await;
    }
    bed.stop().await;
    fs::write(bed.witness(), &seen).unwrap();
    let said = refusal(bed.config()).await;
    assert!(
        said.contains("the state log is not the one") && said.contains("forked"),
        "{said}"
    );

    // Only the decision log is an older copy; then only the state log.
    for (log, other) in [("decisions", "state"), ("state", "decisions")] {
        copy_of(&first, &bed.data());
        let path = format!("log/{log}");
        copy_of(&backup.join(&path), &bed.data().join(&path));
        let said = refusal(bed.config()).await;
        assert!(
            said.contains(&format!("the {log} log has")) && said.contains("cut off") && !said.contains(other),
            "{said}"
        );
    }
    copy_of(&first, &bed.data());
    bed.run().await;
    assert_eq!(bed.answers(&token).await, 200, "mended, it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_witness_an_installation_does_not_start() {
    let mut bed = Bed::start().await;
    let stranger = Bed::start().await;
    bed.add_tenant("acme").await;
    bed.stop().await;
    let word = fs::read(bed.witness()).unwrap();

    fs::remove_file(bed.witness()).unwrap();
    let said = refusal(bed.config()).await;
    assert!(
        said.contains("is missing") && said.contains("data.witness"),
        "{said}"
    );
    assert!(!bed.witness().exists(), "it was not made anew");
    fs::create_dir(bed.witness()).unwrap();
    let said = refusal(bed.config()).await;
    assert!(said.contains("cannot be read"), "{said}");
    fs::remove_dir(bed.witness()).unwrap();
    for at in (0..word.len()).step_by(word.len() / 10) {
        let mut flipped = word.clone();
        flipped[at] ^= 4;
        fs::write(bed.witness(), &flipped).unwrap();
        let said = refusal(bed.config()).await;
        assert!(
            said.contains("is damaged") && said.contains("data.witness"),
            "{at}: {said}"
        );
    }
    fs::copy(stranger.witness(), bed.witness()).unwrap();
    let said = refusal(bed.config()).await;
    assert!(said.contains("of another installation"), "{said}");
    let said = bed.accept().await.unwrap_err();
    assert!(
        said.contains("of another installation"),
        "that is not accepted: {said}"
    );
    let mut inside = bed.config();
    inside.witness = WitnessConfig::default();
    inside.witness.file = Some(bed.data().join("log/../word"));
    let refused = inside.witness.place(&inside.data).unwrap_err();
    assert_eq!(refused.code(), Some("witness.inside"), "{refused}");
    assert!(matches!(refused, WitnessError::Refused(_)));

    fs::write(bed.witness(), &word).unwrap();
    bed.run().await;
    bed.stop().await;
    fs::remove_file(bed.witness()).unwrap();
    bed.accept().await.unwrap();
    bed.run().await;
    // Nobody knows how far it was.
    assert!(bed.word()["epoch"].as_u64() > Some(1 << 32), "{}", bed.word());
    assert_eq!(bed.get("/v1/tenants").await.ok()["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_witness_cannot_be_written_kills_are_committed_and_not_contained() {
    let bed = Bed::start().await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    let (killed, _, token) = bed.add_worker(&desk, &["files:echo"]).await;
    let other = bed.add_identity("acme", "other").await;
    let (_, alive) = bed.open_task("acme", &other, &["files:echo"]).await;
    // A folder where its draft has to go.
    let draft = bed.folder().join("data.witness.new");
    fs::create_dir(&draft).unwrap();
    let before = bed.word();
    let answer = bed.kill("acme", "identity", &killed).await.ok();
    assert!(
        answer["committed_us"].is_u64() && answer["contained_us"].is_null(),
        "{answer}"
    );
    assert_eq!(bed.word(), before);
    assert_eq!((bed.answers(&token).await, bed.answers(&alive).await), (401, 200));
    fs::remove_dir(&draft).unwrap();
    let answer = bed.kill("acme", "identity", &other).await.ok();
    assert!(answer["contained_us"].is_u64(), "{answer}");
    assert!(bed.word()["epoch"].as_u64() >= answer["epoch"].as_u64());
    assert_eq!(bed.answers(&alive).await, 401);
}
