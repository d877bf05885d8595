//! The matrix of deactivations, suspend and kill: whatever is stopped, every later use of it is refused at once and
//! recorded. Cells whose object or use does not exist are listed with the reason; those on another node are run by
//! `tests/e2e/story/nodes.mjs`.

use std::collections::BTreeMap;
use std::fs;

use bailiwick_server::backup::{make, put_back};
use bailiwick_vectors as vectors;
use serde_json::{Value, json};

use crate::bed::{Answer, BASE, Bed, claims_of, identity, modern, until};
use crate::consenting::{self, REDIRECT, text};
use crate::desk::Desk;
use crate::exchanging::{exchange, fetched, open};
use crate::folder::refusal;
use crate::tokens::{ASSERTION_TYPE, Client, FORM, ask, form};

/// What the cells are about: the mark that stops an object, or why nothing does yet.
fn scopes(object: &str, party: &Party) -> Result<Vec<(&'static str, String)>, &'static str> {
    let jti = || text(&claims_of(&party.token)["jti"]).to_owned();
    Ok(match object {
        "tenant" => vec![("tenant", "acme".to_owned())],
        "owner" => vec![("owner", "finance".to_owned())],
        "agent" => vec![("agent", "invoicer".to_owned())],
        // A client, and one that tokens of others were derived from, are stopped as the identity that they are.
        "agent_instance" | "client" | "delegation_parent" => vec![("identity", party.identity.clone())],
        "credential" => vec![("token", jti())],
        // What a run may do, and the run, end together.
        "grant" | "session" => vec![("task", party.task.clone())],
        "mcp_server" => vec![("server", "files".to_owned())],
        "tool_pin" => ["files:echo", "files:hold"]
            .map(|tool| ("tool", tool.to_owned()))
            .into(),
        "connector" => return Err("connectors come with the inventory"),
        "policy" => return Err("a policy is replaced, neither suspended nor killed"),
        _ => panic!("an object that nobody knows: {object}"),
    })
}

/// Why a use is not tried here.
fn not_here(object: &str, used: &str) -> Option<&'static str> {
    match (object, used) {
        (_, "queued_approval_execute") => Some("nothing waits for a person's approval yet"),
        (_, "webhook_callback") => {
            Some("nothing is called back for an identity; whoever comes shows its token")
        }
        (_, "on_other_node") => Some("run on two nodes by tests/e2e/story/nodes.mjs"),
        ("mcp_server" | "tool_pin", "introspect") => {
            Some("a token is not of one server: the decision at the server refuses")
        }
        ("delegation_parent", "refresh") => Some("a delegated token has none"),
        _ => None,
    }
}

/// One identity with everything that it can be used by, and another that it works with.
struct Party {
    bed: Bed,
    desk: Desk,
    identity: String,
    task: String,
    token: String,
    client: Client,
    /// Somebody else's, under another owner and agent.
    other_token: String,
    other: Client,
    /// Asks about tokens.
    seer: Client,
    /// A consent of a person for a public client.
    consent: (String, String),
    /// What the other got for this identity's token: it stands on both.
    derived: String,
}

const CAN: [&str; 3] = ["files:echo", "files:hold", "token:exchange"];

impl Party {
    async fn gather() -> Self {
        let (bed, desk) = (Bed::start().await, Desk::open().await);
        bed.add_tenant("acme").await;
        bed.add_server("acme", "files", &desk).await;
        let mut wanted = identity("worker");
        wanted["labels"] = json!({"agent": "invoicer"});
        let added = bed.post("/v1/tenants/acme/identities", &wanted).await.ok();
        let worker = text(&added["id"]).to_owned();
        let (other_id, other) = stranger(&bed, "other").await;
        let (seer_id, seer) = stranger(&bed, "seer").await;
        bed.open_task("acme", &seer_id, &["token:introspect"]).await;
        let client = Client::register(&bed, "acme", &worker).await;
        let can = CAN.map(str::to_owned);
        let task = open(&bed, "acme", &worker, &can, &[&other_id]).await;
        let other_task = open(&bed, "acme", &other_id, &can, &[&worker]).await;
        let token = fetched(&bed, "acme", &client, &task).await;
        let other_token = fetched(&bed, "acme", &other, &other_task).await;
        let browser = consenting::World {
            client: consenting::register(&bed, &[REDIRECT]).await,
            _desk: Desk::open().await,
            identity: worker.clone(),
            task: task.clone(),
            bed,
        };
        let refresh = text(&browser.tokens().await["refresh_token"]).to_owned();
        let consenting::World {
            bed, client: public, ..
        } = browser;
        let mut party = Self {
            bed,
            desk,
            identity: worker,
            task,
            token,
            client,
            other_token,
            other,
            seer,
            consent: (public, refresh),
            derived: String::new(),
        };
        let derived = party.exchanged(true).await.ok();
        party.derived = text(&derived["access_token"]).to_owned();
        party
    }

    /// Stops the object.
    async fn stop(&self, object: &str, action: &str) {
        for (scope, name) in scopes(object, self).unwrap() {
            let body = json!({
                "scope": scope, "name": name, "reason": "a cell", "suspend": action == "suspend", "break_glass": true,
            });
            let stopped = self.bed.post("/v1/tenants/acme/kill", &body).await.ok();
            assert_eq!(stopped["effect"], action, "{object}: {stopped}");
        }
    }

    /// The token that a cell of this object presents.
    fn shown(&self, object: &str) -> &str {
        if object == "delegation_parent" {
            &self.derived
        } else {
            &self.token
        }
    }

    async fn call(&self, token: &str) -> Answer {
        self.bed
            .call(token, "acme", "files", "echo", json!({"n": 1}))
            .await
    }

    /// This identity's token against the other's, as subject or as actor.
    async fn exchanged(&self, as_subject: bool) -> Answer {
        let (client, subject, actor) = if as_subject {
            (&self.other, &self.token, &self.other_token)
        } else {
            (&self.client, &self.other_token, &self.token)
        };
        let audience = format!("{BASE}/t/acme/mcp");
        let more = [
            ("scope", "files:echo files:hold"),
            ("audience", audience.as_str()),
        ];
        ask(
            &self.bed,
            "acme",
            exchange(&self.bed, "acme", client, subject, actor, &more),
        )
        .await
    }

    async fn renewed(&self, token: &str) -> Answer {
        let path = format!("/v1/tenants/acme/tasks/{}/tokens", self.task);
        self.bed.bearing(token, &path, &json!({"count": 1})).await
    }

    async fn refreshed(&self) -> Answer {
        let (client, refresh) = &self.consent;
        let asked = [
            ("grant_type", "refresh_token"),
            ("client_id", client),
            ("refresh_token", refresh),
        ];
        ask(&self.bed, "acme", form(&asked)).await
    }

    /// What a job that runs by the clock does: it fetches a token of its task.
    async fn by_schedule(&self) -> Answer {
        let assertion = self.client.assertion(&self.bed, "acme");
        let asked = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", &assertion),
            ("task", &self.task),
        ];
        ask(&self.bed, "acme", form(&asked)).await
    }

    /// A token that was given after all must not pass.
    async fn token_is_refused(&self, given: Answer) -> bool {
        if !given.status.is_success() {
            return true;
        }
        let given = given.ok();
        let token = given
            .pointer("/tokens/0/access_token")
            .unwrap_or(&given["access_token"]);
        is_refused(&self.call(text(token)).await)
    }

    async fn introspect(&self, token: &str) -> Answer {
        let assertion = self.seer.assertion(&self.bed, "acme");
        let asked = [
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", &assertion),
            ("token", token),
        ];
        let kind = [("content-type", FORM)];
        self.bed
            .send("POST", "/t/acme/introspect", &kind, form(&asked))
            .await
    }

    async fn listed(&self, token: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/list"),
        ];
        let body = modern("tools/list", json!({})).to_string();
        self.bed.send("POST", "/t/acme/mcp/files", &headers, body).await
    }

    /// Whether a use is refused. What a stop does to a call under way is seen where it is made.
    async fn refuses(&mut self, object: &str, used: &str) -> bool {
        let token = self.shown(object).to_owned();
        match used {
            "call_tool" | "with_cached_decision" => is_refused(&self.call(&token).await),
            "after_restart" => {
                self.bed.restart().await;
                is_refused(&self.call(&token).await)
            }
            // One token is neither a client's key nor a person's consent: it is renewed by itself, and a job keeps it.
            "refresh" if object == "credential" => self.token_is_refused(self.renewed(&token).await).await,
            "scheduled_job" if object == "credential" => is_refused(&self.call(&token).await),
            "exchange_as_subject" => self.token_is_refused(self.exchanged(true).await).await,
            "exchange_as_actor" => self.token_is_refused(self.exchanged(false).await).await,
            "refresh" => self.token_is_refused(self.refreshed().await).await,
            "scheduled_job" => self.token_is_refused(self.by_schedule().await).await,
            "introspect" => {
                let told = self.introspect(&token).await;
                !told.status.is_success() || told.json() == json!({"active": false})
            }
            "list_tools" => {
                let listed = self.listed(&token).await;
                is_refused(&listed) || !names(&listed).contains(&"echo".to_owned())
            }
            _ => panic!("a use that nobody knows: {used}"),
        }
    }

    /// Refusals on record, and ends of calls that were cut.
    async fn refusals(&self) -> usize {
        let entries = self.bed.entries("decisions").await;
        let counts = |e: &&Value| {
            let payload = &e["payload"];
            payload["effect"] == "deny" && payload["client"] != "probe" || payload["outcome"] == "cancelled"
        };
        entries.iter().filter(counts).count()
    }
}

/// An identity that shares neither owner nor agent with the one that is stopped.
async fn stranger(bed: &Bed, name: &str) -> (String, Client) {
    let mut wanted = identity(name);
    wanted["owner"] = json!({"team": "platform", "contact": "platform@example.com"});
    let added = bed.post("/v1/tenants/acme/identities", &wanted).await.ok();
    let id = text(&added["id"]).to_owned();
    let client = Client::register(bed, "acme", &id).await;
    (id, client)
}

fn is_refused(answer: &Answer) -> bool {
    !answer.status.is_success() || answer.json()["error"].is_object()
}

fn names(listed: &Answer) -> Vec<String> {
    let listed = listed.json();
    let tools = listed["result"]["tools"].as_array().cloned().unwrap_or_default();
    tools.iter().map(|tool| text(&tool["name"]).to_owned()).collect()
}

/// Everything that the cells of one object and one action ask for; each use was permitted before.
async fn run(object: &str, action: &str, uses: &[String]) {
    let mut party = Party::gather().await;
    let token = party.shown(object).to_owned();
    party.call(&token).await.ok();
    assert!(names(&party.listed(&token).await).contains(&"echo".to_owned()));
    assert_eq!(party.introspect(&token).await.ok()["active"], true);
    party.exchanged(false).await.ok();
    party.by_schedule().await.ok();
    party.renewed(&party.token).await.ok();
    let rotated = party.refreshed().await.ok();
    party.consent.1 = text(&rotated["refresh_token"]).to_owned();
    let backup = party.bed.folder().join("backup");
    make(&party.bed.data(), &backup).await.unwrap();
    if uses.iter().any(|used| used == "open_stream_continue") {
        let calls = party.desk.calls();
        let held = party.bed.call(&token, "acme", "files", "hold", json!({}));
        let stop = async {
            until("the call to arrive", || async { party.desk.calls() > calls }).await;
            party.stop(object, action).await;
        };
        let (held, ()) = tokio::join!(held, stop);
        assert!(is_refused(&held), "{object} {action}: {}", held.text());
        until("the server to hear of it", || async {
            party.desk.cancelled() >= 1
        })
        .await;
    } else {
        party.stop(object, action).await;
    }
    for used in uses {
        if matches!(
            used.as_str(),
            "open_stream_continue" | "after_restore_of_older_backup"
        ) {
            continue;
        }
        let before = party.refusals().await;
        assert!(party.refuses(object, used).await, "{object} {action} {used}");
        // Introspection answers a question, and a list shows what there is: nobody was let in or kept out.
        if !matches!(used.as_str(), "introspect" | "list_tools") {
            assert!(
                party.refusals().await > before,
                "no record of {object} {action} {used}"
            );
        }
    }
    if uses.iter().any(|used| used == "after_restore_of_older_backup") {
        restored(party, &token, &backup, &format!("{object} {action}")).await;
    }
}

/// The backup from before the stop, put back and accepted: what was given before it passes nowhere.
async fn restored(mut party: Party, token: &str, backup: &std::path::Path, cell: &str) {
    let data = party.bed.data();
    let bed = &mut party.bed;
    bed.stop().await;
    let away = bed.folder().join("away");
    fs::rename(&data, &away).unwrap();
    put_back(backup, &data).unwrap();
    fs::copy(away.join("unseal.key"), data.join("unseal.key")).unwrap();
    let said = refusal(bed.config()).await;
    assert!(said.contains("older than its witness"), "{cell}: {said}");
    bed.accept().await.unwrap();
    bed.run().await;
    let before = party.refusals().await;
    assert!(is_refused(&party.call(token).await), "{cell}: restored");
    let resume = json!({"scope": "all", "reason": "looked"});
    party.bed.post("/v1/all-tenants/resume", &resume).await.ok();
    assert!(
        is_refused(&party.call(token).await),
        "{cell}: restored and resumed"
    );
    assert!(party.refusals().await > before, "no record of {cell} restored");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_suspended_or_killed_every_later_use_is_refused_and_recorded() {
    let Some(folder) = vectors::folder("deactivation-matrix") else {
        return;
    };
    let cells = vectors::json(&folder.join("cells.json"));
    let (mut todo, mut listed) = (BTreeMap::<(String, String), Vec<String>>::new(), BTreeMap::new());
    let none = Party::gather().await;
    let mut later = 0;
    for cell in cells.as_array().unwrap() {
        let [object, action, used] =
            ["object", "action", "then_use"].map(|name| text(&cell[name]).to_owned());
        if !matches!(action.as_str(), "suspend" | "kill") {
            later += 1;
            continue;
        }
        assert_eq!(cell["expect"], "refused at once, audited");
        if let Some(why) = scopes(&object, &none).err().or_else(|| not_here(&object, &used)) {
            *listed.entry(why).or_insert(0_usize) += 1;
        } else {
            todo.entry((object, action)).or_default().push(used);
        }
    }
    drop(none);
    let mut held = 0;
    for ((object, action), uses) in &todo {
        run(object, action, uses).await;
        held += uses.len();
    }
    for (why, count) in &listed {
        println!("deactivation-matrix: {count} cells not run here: {why}");
    }
    println!(
        "deactivation-matrix: {later} cells are of delete, expire and transfer, which come with decommissioning"
    );
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    let count = readme
        .lines()
        .find_map(|line| line.strip_prefix("Count: ")?.trim().parse().ok());
    println!("deactivation-matrix: {held} cells held, the others are listed above");
    let run = held + listed.values().sum::<usize>() + later;
    vectors::report("deactivation-matrix", run, count.unwrap());
    assert!(held > 100, "only {held} cells were tried");
}
