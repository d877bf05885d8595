//! A crash between the steps of a kill, for every scope.

use bailiwick_base::{AgentLabel, Epoch, IdentityId, ServerName, TaskId, TenantId, Time, TokenId, ToolName};
use bailiwick_decide::{MarkEffect, MarkScope};
use bailiwick_journal::{KillEntry, KillJournal, KillMark, OsDisk};
use serde_json::{Value, json};

use crate::killing::{World, world};

fn scope_of(kind: &str, name: &str) -> MarkScope {
    let acme = TenantId::parse("acme").unwrap();
    let server = |name: &str| ServerName::parse(name).unwrap();
    match kind {
        "agent" => MarkScope::Agent(acme, AgentLabel::parse(name).unwrap()),
        "identity" => MarkScope::Identity(IdentityId::parse(&acme, name).unwrap()),
        "issuer" => MarkScope::Issuer(acme, name.to_owned()),
        "owner" => MarkScope::Owner(acme, name.to_owned()),
        "server" => MarkScope::Server(acme, server(name)),
        "task" => MarkScope::Task(TaskId::parse(&acme, name).unwrap()),
        "tenant" => MarkScope::Tenant(acme),
        "token" => MarkScope::Token(TokenId::parse(&acme, name).unwrap()),
        "tool" => {
            let (place, tool) = name.split_once(':').unwrap();
            MarkScope::Tool(acme, server(place), ToolName::parse(tool).unwrap())
        }
        _ => MarkScope::All,
    }
}

impl World {
    /// What is left by a service that died after it wrote the journal and before it settled its entry.
    fn journal(&self, scope: &MarkScope, effect: MarkEffect) {
        self.journal_of(scope, effect, ("0".repeat(64), None));
    }

    fn journal_of(
        &self,
        scope: &MarkScope,
        effect: MarkEffect,
        (request, idempotency): (String, Option<String>),
    ) {
        let (journal, _) = KillJournal::open(&OsDisk, &self.bed.data().join("kill.journal")).unwrap();
        let entry = KillEntry {
            at: Time::from_secs(self.bed.now()),
            actor: format!("operator:{}", self.bed.operator.id),
            marks: vec![KillMark {
                scope: scope.clone(),
                effect,
            }],
            provisional_epoch: Epoch(u64::MAX >> 1),
            request,
            idempotency,
        };
        let _slot = journal.write(&entry).unwrap();
        journal.flush().unwrap();
    }

    async fn receipts(&self, kind: &str) -> Vec<Value> {
        let path = match kind {
            "all" => "/v1/all-tenants/kills",
            _ => "/v1/tenants/acme/kills",
        };
        let list = self.bed.get(path).await.ok();
        list["items"].as_array().unwrap().clone()
    }
}

/// The steps: journal, memory, flush, state log, journal settled. Whatever a crash falls between, what it leaves is the
/// journal's entry, with the state log's or without.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_two_steps_of_a_kill_of_any_scope_comes_back_denied() {
    for (n, _) in world().await.scopes().into_iter().enumerate() {
        let mut world = world().await;
        let (kind, name) = world.scopes().swap_remove(n);
        let scope = scope_of(kind, &name);
        assert!(world.passes(&world.token).await);
        // In the journal, and not in the state log.
        world.bed.stop().await;
        world.journal(&scope, MarkEffect::Suspend);
        world.bed.run().await;
        assert!(
            !world.passes(&world.token).await,
            "{kind}: frozen in the journal only"
        );
        let receipts = world.receipts(kind).await;
        assert_eq!(receipts.len(), 1, "{kind}: {receipts:?}");
        assert_eq!(receipts[0]["effect"], "suspend", "{kind}");
        world.order("resume", kind, &name, json!({})).await.ok();
        assert!(world.passes(&world.token).await, "{kind}: resumed");
        // In both, because the journal was not settled.
        let glass = json!({"break_glass": true});
        let killed = world.order("kill", kind, &name, glass).await.ok();
        world.bed.stop().await;
        world.journal(&scope, MarkEffect::Kill);
        world.bed.run().await;
        assert!(!world.passes(&world.token).await, "{kind}: killed");
        let receipts = world.receipts(kind).await;
        let kills = receipts.iter().filter(|r| r["effect"] == "kill");
        let ids: Vec<&Value> = kills.map(|r| &r["id"]).collect();
        assert!(ids.contains(&&killed["receipt"]), "{kind}: {ids:?}");
        world.bed.stop().await;
        let (_, unsettled) = KillJournal::open(&OsDisk, &world.bed.data().join("kill.journal")).unwrap();
        assert_eq!(unsettled.len(), 0, "{kind}: what was replayed is settled");
    }
}

/// The journal's entry has the key of the command: its giver, who heard no answer, hears the first one.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_that_only_the_journal_had_is_one_kill_under_its_key() {
    let mut world = world().await;
    let body = json!({"scope": "identity", "name": world.identity, "reason": "found out"});
    let path = "/v1/tenants/acme/kill";
    // What was asked, as a service has it that took the command.
    let probe = world.bed.keyed(path, "the-first-key", &body).await;
    probe.ok();
    let known = |receipts: &[Value]| receipts.len();
    let before = known(&world.receipts("identity").await);
    world.bed.stop().await;
    let (_, left) = KillJournal::open(&OsDisk, &world.bed.data().join("kill.journal")).unwrap();
    assert!(left.is_empty(), "settled");
    let request = kill_digest(&body);
    let scope = scope_of("identity", &world.identity);
    // Committed, and not settled: nothing is done twice.
    let entry = (request.clone(), Some("the-first-key".to_owned()));
    world.journal_of(&scope, MarkEffect::Kill, entry);
    world.bed.run().await;
    assert_eq!(known(&world.receipts("identity").await), before);
    // Not committed: carried out at the start, and its giver hears of it under the key.
    let other = world.bed.add_identity("acme", "other").await;
    let body = json!({"scope": "identity", "name": other, "reason": "found out"});
    world.bed.stop().await;
    let entry = (kill_digest(&body), Some("the-second-key".to_owned()));
    world.journal_of(&scope_of("identity", &other), MarkEffect::Kill, entry);
    world.bed.run().await;
    let again = world.bed.keyed(path, "the-second-key", &body).await;
    assert_eq!(again.header("idempotent-replayed"), "true", "{}", again.text());
    let elsewhere = json!({"scope": "task", "name": world.task, "reason": "found out"});
    let refused = world.bed.keyed(path, "the-second-key", &elsewhere).await;
    refused.refused(409, "idempotency.reused");
    // A key that was used for something else meanwhile lets nobody run.
    let third = world.bed.add_identity("acme", "third").await;
    world.bed.stop().await;
    let entry = (kill_digest(&elsewhere), Some("the-second-key".to_owned()));
    world.journal_of(&scope_of("identity", &third), MarkEffect::Kill, entry);
    world.bed.run().await;
    let state = world
        .bed
        .get(&format!("/v1/tenants/acme/identities/{third}"))
        .await;
    assert_eq!(state.ok()["state"], "retired");
}

/// The digest of what is asked of `kill`, as the service takes it.
fn kill_digest(body: &Value) -> String {
    let asked: bailiwick_wire::KillRequest = serde_json::from_value(body.clone()).unwrap();
    let body = bailiwick_base::canonical::to_vec(&asked).unwrap();
    let mut sha = bailiwick_base::Sha256::new();
    sha.update_field(b"kill");
    sha.update_field(&body);
    sha.finish().to_string()
}
