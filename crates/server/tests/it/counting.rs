//! The count at every position is the recount from the log, after a random history through the doors.

use serde_json::{Value, json};

use crate::bed::{Bed, identity};

const KINDS: [&str; 9] = [
    "agent",
    "api-key",
    "ci-job",
    "cloud-run-job",
    "mcp-server",
    "oauth-grant",
    "service-account",
    "webhook",
    "workload",
];

/// A small stream that is the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % sides as u64).unwrap()
    }
}

/// What a count must be, kept by hand beside the service.
#[derive(Default, Clone)]
struct Ledger(Vec<(String, &'static str, &'static str)>);

impl Ledger {
    fn states(&self, kind: &str) -> [u64; 4] {
        ["probation", "active", "suspended", "retired"].map(|state| {
            self.0
                .iter()
                .filter(|(_, k, s)| *k == kind && *s == state)
                .count() as u64
        })
    }
}

async fn random_history(bed: &Bed, tenant: &str, steps: usize) -> Vec<(u64, Ledger)> {
    let (mut dice, mut ledger, mut history) = (Dice(20_261_121), Ledger::default(), Vec::new());
    for n in 0..steps {
        let at = |rest: String| format!("/v1/tenants/{tenant}/{rest}");
        if ledger.0.len() < 4 || dice.roll(3) == 0 {
            let kind = KINDS[dice.roll(KINDS.len())];
            let mut wanted = identity(&format!("w{n}"));
            wanted["kind"] = json!(kind);
            let added = bed.post(&at("identities".to_owned()), &wanted).await.ok();
            ledger
                .0
                .push((added["id"].as_str().unwrap().to_owned(), kind, "probation"));
        } else {
            let which = dice.roll(ledger.0.len());
            let (id, _, state) = ledger.0[which].clone();
            let (verb, allowed, after) = [
                ("activate", &["probation"][..], "active"),
                ("suspend", &["probation", "active"], "suspended"),
                ("resume", &["suspended"], "active"),
                ("retire", &["probation", "active", "suspended"], "retired"),
            ][dice.roll(4)];
            let answer = bed
                .post(
                    &at(format!("identities/{id}/{verb}")),
                    &json!({"reason": "a drill"}),
                )
                .await;
            assert_eq!(
                answer.status.is_success(),
                allowed.contains(&state),
                "{verb} {state}: {}",
                answer.text()
            );
            if answer.status.is_success() {
                let said = answer.json()["state"].as_str().unwrap().to_owned();
                // Resuming goes back to where it was.
                let after = if verb == "resume" && said == "probation" {
                    "probation"
                } else {
                    after
                };
                assert_eq!(said, after, "{verb}");
                ledger.0[which].2 = after;
            }
        }
        let now = bed.get(&at("count".to_owned())).await.ok();
        history.push((now["position"].as_u64().unwrap(), ledger.clone()));
    }
    history
}

fn require(count: &Value, ledger: &Ledger) {
    let (mut living, mut suspended, mut retired) = (0, 0, 0);
    for kind in KINDS {
        let [probation, active, frozen, gone] = ledger.states(kind);
        living += probation + active;
        suspended += frozen;
        retired += gone;
        let listed = count["kinds"]
            .as_array()
            .unwrap()
            .iter()
            .find(|k| k["kind"] == kind);
        let states = listed.map_or(Value::Null, |k| k["registered"].clone());
        let found = ["probation", "active", "suspended", "retired"].map(|s| states[s].as_u64().unwrap_or(0));
        assert_eq!(found, [probation, active, frozen, gone], "{kind}: {count}");
    }
    assert_eq!(count["total"], living, "{count}");
    assert_eq!(count["suspended"], suspended, "{count}");
    assert_eq!(count["retired"], retired, "{count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_count_at_every_position_equals_the_recount_and_what_was_done() {
    let mut bed = Bed::start().await;
    bed.add_tenant("acme").await;
    bed.add_tenant("globex").await;
    bed.add_identity("globex", "somebody else").await;
    let history = random_history(&bed, "acme", 120).await;
    for restarted in [false, true] {
        if restarted {
            bed.restart().await;
        }
        for (position, ledger) in &history {
            let path = format!("/v1/tenants/acme/count?explain=true&at={position}");
            let count = bed.get(&path).await.ok();
            assert_eq!(count["position"], *position);
            assert_eq!(count["explained"]["equal"], true, "{count}");
            assert_eq!(count["explained"]["recount"], count["total"], "{count}");
            require(&count, ledger);
        }
    }
    let (last, ledger) = history.last().unwrap();
    let now = bed.get("/v1/tenants/acme/count").await.ok();
    require(&now, ledger);
    let at_time = bed
        .get(&format!(
            "/v1/tenants/acme/count?at={}",
            now["as_of"].as_str().unwrap()
        ))
        .await
        .ok();
    require(&at_time, ledger);
    let before = bed.entries("state").await.len();
    let everybody = bed.get("/v1/all-tenants/count?explain=true").await.ok();
    assert_eq!(
        everybody["total"].as_u64().unwrap(),
        now["total"].as_u64().unwrap() + 1
    );
    assert_eq!(everybody["explained"]["equal"], true);
    let entries = bed.entries("state").await;
    assert_eq!(
        entries.len(),
        before + 1,
        "looking at every tenant is an act of its own"
    );
    assert_eq!(entries.last().unwrap()["leaf"]["kind"], "state.all-tenants.read");
    bed.get(&format!("/v1/tenants/acme/count?at={}", last + 1_000))
        .await
        .refused(422, "log.no-such-position");
    for wrong in ["yesterday", "-1", "1e3", "99999999999999999999"] {
        bed.get(&format!("/v1/tenants/acme/count?at={wrong}"))
            .await
            .refused(400, "count.at");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_purpose_and_expiry_are_required_each_by_name() {
    let bed = Bed::start().await;
    bed.add_tenant("acme").await;
    for (field, code) in [
        ("owner", "identity.owner-missing"),
        ("purpose", "identity.purpose-missing"),
        ("expires_at", "identity.expiry-missing"),
    ] {
        for empty in [None, Some("")] {
            let mut wanted = identity("worker");
            match empty {
                None => drop(wanted.as_object_mut().unwrap().remove(field)),
                Some(text) if field == "owner" => wanted[field] = json!({"team": text, "contact": text}),
                Some(_) if field == "expires_at" => continue,
                Some(text) => wanted[field] = json!(text),
            }
            let answer = bed.post("/v1/tenants/acme/identities", &wanted).await;
            assert_eq!(answer.status, 422, "{field}: {}", answer.text());
            assert!(answer.text().contains("missing"), "{field}: {}", answer.text());
            if empty.is_none() {
                answer.refused(422, code);
            }
        }
    }
    for (field, value) in [("kind", "robot"), ("expires_at", "tomorrow")] {
        let mut wanted = identity("worker");
        wanted[field] = json!(value);
        let answer = bed.post("/v1/tenants/acme/identities", &wanted).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(
            answer.text().contains(value) && answer.text().contains(field),
            "{}",
            answer.text()
        );
    }
    for past in ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"] {
        let mut wanted = identity("worker");
        wanted["expires_at"] = json!(past);
        let answer = bed.post("/v1/tenants/acme/identities", &wanted).await;
        assert_eq!(answer.status, 422, "{}", answer.text());
    }
    assert_eq!(bed.get("/v1/tenants/acme/count").await.ok()["total"], 0);
}
