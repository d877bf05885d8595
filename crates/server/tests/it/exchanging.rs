//! Token exchange over HTTP: every case of the public table, and what a delegated token may do and dies of.

use std::collections::BTreeMap;
use std::time::Duration;

use bailiwick_base::Clock;
use serde_json::{Value, json};

use crate::bed::{Answer, BASE, Bed, claims_of, until};
use crate::desk::Desk;
use crate::tokens::{ASSERTION_TYPE, Client, ask, form};
use bailiwick_vectors as vectors;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const KIND: &str = "urn:ietf:params:oauth:token-type:";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// An exchange of access tokens; `more` comes on top.
pub(crate) fn exchange(
    bed: &Bed,
    tenant: &str,
    client: &Client,
    subject: &str,
    actor: &str,
    more: &[(&str, &str)],
) -> String {
    let (assertion, kind) = (client.assertion(bed, tenant), format!("{KIND}access_token"));
    let mut parameters = vec![
        ("grant_type", GRANT),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", &assertion),
        ("subject_token", subject),
        ("actor_token", actor),
    ];
    for (name, usual) in [("subject_token_type", &kind), ("actor_token_type", &kind)] {
        if more.iter().all(|(given, _)| *given != name) {
            parameters.push((name, usual));
        }
    }
    parameters.extend_from_slice(more);
    form(&parameters)
}

pub(crate) async fn open(
    bed: &Bed,
    tenant: &str,
    identity: &str,
    can: &[String],
    may_act: &[&str],
) -> String {
    let body = json!({
        "identity": identity, "purpose": "July", "can": can, "for_secs": 3600, "may_act": may_act,
    });
    let opened = bed.post(&format!("/v1/tenants/{tenant}/tasks"), &body).await.ok();
    text(&opened["task"]["id"]).to_owned()
}

/// A token of a task, as the operator gets it.
pub(crate) async fn issued(bed: &Bed, tenant: &str, task: &str) -> String {
    let path = format!("/v1/tenants/{tenant}/tasks/{task}/tokens");
    let batch = bed.post(&path, &json!({"count": 1})).await.ok();
    text(&batch["tokens"][0]["access_token"]).to_owned()
}

/// A token of a task, as the client of its identity gets it.
pub(crate) async fn fetched(bed: &Bed, tenant: &str, client: &Client, task: &str) -> String {
    let assertion = client.assertion(bed, tenant);
    let body = form(&[
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", &assertion),
        ("task", task),
    ]);
    let granted = ask(bed, tenant, body).await.ok();
    text(&granted["access_token"]).to_owned()
}

/// Two tenants with the parties of the table, each by its name there.
struct Parties {
    bed: Bed,
    _desk: Desk,
    /// Tenant and name → identity.
    identities: BTreeMap<(String, String), String>,
    /// Tenant and name → client.
    clients: BTreeMap<(String, String), Client>,
    /// Tasks that were opened, by everything that makes them differ.
    tasks: BTreeMap<String, String>,
}

fn slug(tenant: &Value) -> &'static str {
    match tenant.as_str() {
        Some("A") => "acme",
        Some("B") => "globex",
        _ => panic!("no such tenant: {tenant}"),
    }
}

/// What a scope of the table is here, on one server.
fn scope_on(server: &str, scope: &str) -> String {
    let tool = scope
        .replace("read", "echo")
        .replace("write", "hold")
        .replace("READ", "ECHO");
    format!("{server}:{tool}")
}

impl Parties {
    async fn gather() -> Self {
        let (bed, desk) = (Bed::start().await, Desk::open().await);
        let (mut identities, mut clients) = (BTreeMap::new(), BTreeMap::new());
        for tenant in ["acme", "globex"] {
            bed.add_tenant(tenant).await;
            for server in ["a", "b"] {
                bed.add_server(tenant, server, &desk).await;
            }
            for name in [
                "user-1", "agent-1", "agent-2", "agent-10", "past-1", "past-2", "past-3", "past-4", "past-5",
            ] {
                let id = bed.add_identity(tenant, name).await;
                identities.insert((tenant.to_owned(), name.to_owned()), id);
            }
            let agent = identities[&(tenant.to_owned(), "agent-1".to_owned())].clone();
            for name in ["c1", "c2", "inactive"] {
                let client = if name == "inactive" {
                    let ends = bed.clock.now().after(Duration::from_secs(60)).to_string();
                    Client::register_until(&bed, tenant, &agent, Some(&ends)).await
                } else {
                    Client::register(&bed, tenant, &agent).await
                };
                clients.insert((tenant.to_owned(), name.to_owned()), client);
            }
        }
        // The client that is not active any more was one.
        let own = open(&bed, "acme", "user-1", &[scope_on("a", "read")], &[]).await;
        bed.clock.advance(Duration::from_secs(120));
        let path = format!("/v1/tenants/acme/tasks/{own}/tokens");
        until("fresh word from the store", || async {
            bed.post(&path, &json!({"count": 1})).await.status == 200
        })
        .await;
        Self {
            bed,
            _desk: desk,
            identities,
            clients,
            tasks: BTreeMap::new(),
        }
    }

    fn id(&self, tenant: &str, name: &str) -> String {
        self.identities[&(tenant.to_owned(), name.to_owned())].clone()
    }

    async fn task(&mut self, tenant: &str, holder: &str, can: &[String], may_act: &[&str]) -> String {
        let key = format!("{tenant} {holder} {can:?} {may_act:?}");
        if let Some(task) = self.tasks.get(&key) {
            return task.clone();
        }
        let task = open(&self.bed, tenant, holder, can, may_act).await;
        self.tasks.insert(key, task.clone());
        task
    }

    /// The subject token of a case.
    async fn subject(&mut self, case: &Value) -> String {
        let wanted = &case["subject"];
        let tenant = slug(&wanted["tenant"]);
        let can: Vec<String> = ["a", "b"]
            .iter()
            .flat_map(|server| list(&wanted["scope"]).into_iter().map(|s| scope_on(server, s)))
            .collect();
        let named = list(&wanted["may_act"]);
        let known: Vec<&str> = named.iter().copied().filter(|name| *name != "*").collect();
        let task = self.task(tenant, "user-1", &can, &known).await;
        let token = issued(&self.bed, tenant, &task).await;
        let depth = usize::try_from(wanted["act_depth"].as_u64().unwrap()).unwrap();
        let mut acts: Vec<(String, String, String)> = Vec::new();
        for n in 0..depth {
            let name = format!("past-{}", n + 1);
            let task = self.task(tenant, &name, &can, &known).await;
            let token = issued(&self.bed, tenant, &task).await;
            acts.push((
                self.id(tenant, &name),
                task,
                text(&claims_of(&token)["jti"]).to_owned(),
            ));
        }
        let now = self.bed.now();
        let life = wanted["expires_in"].as_i64().unwrap();
        self.bed.resigned(tenant, &token, |claims| {
            if named.contains(&"*") {
                claims["may_act"] = json!({"sub": "*"});
            }
            if life != 300 {
                claims["iat"] = json!(now + life.min(0) - 60);
                claims["exp"] = json!(now + life);
            }
            if wanted["audience_is_us"] == false {
                claims["aud"] = json!("https://up.example/a");
            }
            if wanted["sender_proof"] != "valid" {
                claims["cnf"] = json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"});
            }
            if let Some((id, task, _)) = acts.first() {
                let chain = acts
                    .iter()
                    .rev()
                    .fold(Value::Null, |inner, (id, _, _)| match inner {
                        Value::Null => json!({"sub": id}),
                        inner => json!({"sub": id, "act": inner}),
                    });
                let own = json!({"jti": claims["jti"], "task": claims["task"]});
                let stood = acts
                    .iter()
                    .map(|(_, task, jti)| json!({"jti": jti, "task": task}));
                let lineage: Vec<Value> = stood.chain([own]).take(8).collect();
                claims["act"] = chain;
                claims["nhi"] = json!(id);
                claims["task"] = json!(task);
                claims["lineage"] = json!(lineage);
            }
        })
    }

    /// The actor token of a case.
    async fn actor(&mut self, case: &Value) -> String {
        let (wanted, client) = (&case["actor"], &case["client"]);
        let tenant = slug(&wanted["tenant"]);
        // A client reaches a server, and may exchange, through the task of its identity.
        let servers: Vec<&str> = list(&client["allowed_audiences"])
            .iter()
            .map(|audience| audience.strip_prefix("https://up.example/").unwrap())
            .collect();
        let (mut can, mut carried) = (Vec::new(), Vec::new());
        for scope in list(&wanted["scope"]) {
            if scope == "exchange" {
                carried.push("token:exchange".to_owned());
                if client["may_exchange"] == true {
                    can.push("token:exchange".to_owned());
                }
                continue;
            }
            for server in &servers {
                can.push(scope_on(server, scope));
                carried.push(scope_on(server, scope));
            }
        }
        let task = self.task(tenant, "agent-1", &can, &[]).await;
        let who = text(&wanted["issued_to_client"]).to_owned();
        let token = fetched(&self.bed, tenant, &self.clients[&(tenant.to_owned(), who)], &task).await;
        let now = self.bed.now();
        let life = wanted["expires_in"].as_i64().unwrap();
        self.bed.resigned(tenant, &token, |claims| {
            claims["scope"] = json!(carried.join(" "));
            if life != 300 {
                claims["iat"] = json!(now + life.min(0) - 60);
                claims["exp"] = json!(now + life);
            }
        })
    }

    /// The parameters of the request of a case.
    fn request(case: &Value) -> Vec<(String, String)> {
        let wanted = &case["request"];
        let target = |audience: &str| {
            let base = format!("{BASE}/t/{}/mcp", slug(&case["client"]["tenant"]));
            match audience.strip_prefix("https://up.example/") {
                Some(server) => format!("{base}/{server}"),
                None => audience.to_owned(),
            }
        };
        let audiences: Vec<String> = match &wanted["audience"] {
            Value::Null => Vec::new(),
            Value::String(one) => vec![one.clone()],
            several => list(several).into_iter().map(str::to_owned).collect(),
        };
        let server = audiences
            .first()
            .and_then(|a| a.strip_prefix("https://up.example/"))
            .map_or("a", |rest| rest.trim_end_matches('/'));
        let scopes: Vec<String> = list(&wanted["scope"])
            .iter()
            .map(|s| scope_on(server, s))
            .collect();
        let mut out = vec![("scope".to_owned(), scopes.join(" "))];
        out.extend(audiences.iter().map(|a| ("audience".to_owned(), target(a))));
        let kind = |name: &str| format!("{KIND}{name}");
        out.push((
            "requested_token_type".to_owned(),
            kind(text(&wanted["requested_token_type"])),
        ));
        if let Some(seconds) = wanted["lifetime"].as_u64() {
            out.push(("expires_in".to_owned(), seconds.to_string()));
        }
        for party in ["subject", "actor"] {
            out.push((format!("{party}_token_type"), kind(text(&case[party]["type"]))));
        }
        out
    }

    /// The reasons of what was refused at the token endpoint, as recorded.
    async fn denied(&self) -> Vec<Value> {
        let entries = self.bed.entries("decisions").await;
        entries
            .iter()
            .map(|e| &e["payload"])
            // What a stop presents itself, to see that it holds, is nobody's exchange.
            .filter(|p| p["effect"] == "deny" && p["door"] == "issue" && p["client"] != "probe")
            .map(|p| p["reason"].clone())
            .collect()
    }

    /// Suspends or resumes.
    async fn turn(&self, verb: &str, tenant: &str, name: &str) {
        let path = format!("/v1/tenants/{tenant}/identities/{}/{verb}", self.id(tenant, name));
        self.bed.post(&path, &json!({"reason": "a case"})).await.ok();
    }

    async fn run(&mut self, case: &Value) -> Answer {
        let (subject, actor) = (self.subject(case).await, self.actor(case).await);
        let mut asleep = Vec::new();
        for (party, name, token) in [("subject", "user-1", &subject), ("actor", "agent-1", &actor)] {
            let tenant = slug(&case[party]["tenant"]);
            if case[party]["revoked"] == true {
                let jti = claims_of(token)["jti"].clone();
                self.bed.kill(tenant, "token", text(&jti)).await.ok();
            }
            if case[party]["identity_active"] == false {
                self.turn("suspend", tenant, name).await;
                asleep.push((tenant, name));
            }
        }
        let tenant = slug(&case["client"]["tenant"]);
        let name = if case["client"]["active"] == true {
            text(&case["client"]["id"])
        } else {
            "inactive"
        };
        let client = &self.clients[&(tenant.to_owned(), name.to_owned())];
        let more = Self::request(case);
        let more: Vec<(&str, &str)> = more.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let body = exchange(&self.bed, tenant, client, &subject, &actor, &more);
        let answer = ask(&self.bed, tenant, body).await;
        for (tenant, name) in asleep {
            self.turn("resume", tenant, name).await;
        }
        answer
    }

    /// The exact answer that a case expects.
    fn holds(&self, case: &Value, answer: Answer) {
        let (expect, now) = (&case["expect"], self.bed.now());
        assert_eq!(answer.header("cache-control"), "no-store");
        let answer = answer.ok();
        assert_eq!(answer["issued_token_type"], format!("{KIND}access_token"));
        assert_eq!(answer["token_type"], "Bearer");
        let server = text(&expect["audience"])
            .strip_prefix("https://up.example/")
            .unwrap();
        let scopes: Vec<String> = list(&expect["scope"])
            .iter()
            .map(|s| scope_on(server, s))
            .collect();
        assert_eq!(answer["scope"], scopes.join(" "));
        let claims = claims_of(text(&answer["access_token"]));
        let tenant = slug(&expect["tenant"]);
        assert_eq!(claims["scope"], scopes.join(" "));
        assert_eq!(claims["aud"], format!("{BASE}/t/{tenant}/mcp"));
        assert_eq!(claims["tenant"], tenant);
        assert_eq!(claims["sub"], self.id(tenant, text(&expect["sub"])));
        let actor = self.id(tenant, text(&expect["act_sub"]));
        assert_eq!(
            (&claims["nhi"], &claims["act"]["sub"]),
            (&json!(actor), &json!(actor))
        );
        let mut depth = 0;
        let mut level = &claims["act"];
        while level.is_object() {
            depth += 1;
            level = &level["act"];
        }
        assert_eq!(Some(depth), expect["act_depth"].as_u64());
        let max = expect["max_expires_in"].as_i64().unwrap();
        let left = claims["exp"].as_i64().unwrap() - now;
        assert!((max - 5..=max).contains(&left), "{left} of {max}");
        assert!(answer["expires_in"].as_i64().unwrap() <= max);
    }
}

fn list(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_of_the_exchange_table_is_answered_as_it_says() {
    let Some(folder) = vectors::folder("token-exchange") else {
        return;
    };
    let cases: Vec<Value> =
        serde_json::from_slice(&std::fs::read(folder.join("cases.json")).unwrap()).unwrap();
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let count: usize = readme
        .lines()
        .find_map(|l| l.strip_prefix("Count: ")?.trim().parse().ok())
        .unwrap();
    let mut parties = Parties::gather().await;
    let before = parties.denied().await.len();
    let (mut run, mut told) = (0, 0);
    for (n, case) in cases.iter().enumerate() {
        let answer = parties.run(case).await;
        if case["expect"]["result"] == "issue" {
            assert_eq!(answer.status, 200, "case {n} {case}: {}", answer.text());
            parties.holds(case, answer);
        } else if case["client"]["active"] == false {
            answer.refused(401, "invalid_client");
        } else {
            let refused = (answer.status.as_u16(), answer.code());
            assert_eq!(refused.0, 400, "case {n} {case}: {}", answer.text());
            let known = [
                "invalid_request",
                "invalid_scope",
                "invalid_target",
                "unauthorized_client",
            ];
            assert!(known.contains(&refused.1.as_str()), "case {n}: {}", answer.text());
            told += 1;
        }
        run += 1;
    }
    // Every refusal of a client that proved who it is has its record, with the rule.
    let denied = parties.denied().await.split_off(before);
    assert_eq!(denied.len(), told);
    for code in [
        "exchange.may-act",
        "exchange.depth",
        "exchange.scope",
        "exchange.audience",
        "token.revoked",
    ] {
        assert!(denied.iter().any(|reason| reason == code), "no record of {code}");
    }
    println!("token-exchange: {run}/{count}");
    assert_eq!(run, count);
}

/// A tenant where `clerk` may act for `boss`, and a third who may act for the clerk.
struct Office {
    bed: Bed,
    desk: Desk,
    boss: String,
    boss_task: String,
    clerk_task: String,
    clerk: Client,
}

impl Office {
    async fn open() -> Self {
        let (bed, desk) = (Bed::start().await, Desk::open().await);
        bed.add_tenant("acme").await;
        bed.add_server("acme", "files", &desk).await;
        let boss = bed.add_identity("acme", "boss").await;
        let clerk = bed.add_identity("acme", "clerk").await;
        let can = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let narrow = can(&["files:read_text_file(path under \"/srv/in\")", "files:echo"]);
        let boss_task = open(&bed, "acme", "boss", &narrow, &["clerk"]).await;
        let wide = can(&["files:read_text_file", "files:echo", "token:exchange"]);
        let clerk_task = open(&bed, "acme", "clerk", &wide, &[]).await;
        let clerk = Client::register(&bed, "acme", &clerk).await;
        Self {
            bed,
            desk,
            boss,
            boss_task,
            clerk_task,
            clerk,
        }
    }

    /// Both tokens, and what they are exchanged for.
    async fn exchanged(&self) -> (String, String, String) {
        let subject = issued(&self.bed, "acme", &self.boss_task).await;
        let actor = fetched(&self.bed, "acme", &self.clerk, &self.clerk_task).await;
        let audience = format!("{BASE}/t/acme/mcp");
        let more = [
            ("scope", "files:echo files:read_text_file"),
            ("audience", audience.as_str()),
        ];
        let body = exchange(&self.bed, "acme", &self.clerk, &subject, &actor, &more);
        let answer = ask(&self.bed, "acme", body).await.ok();
        (subject, actor, text(&answer["access_token"]).to_owned())
    }

    async fn reads(&self, token: &str, path: &str) -> Answer {
        let args = json!({"path": path});
        self.bed
            .call(token, "acme", "files", "read_text_file", args)
            .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delegated_call_is_one_that_both_may_make() {
    let office = Office::open().await;
    let (subject, actor, token) = office.exchanged().await;
    // The clerk alone may read anything, the boss only below one folder.
    assert!(office.reads(&actor, "/etc/passwd").await.ok()["result"].is_object());
    assert!(office.reads(&token, "/srv/in/a").await.ok()["result"].is_object());
    assert!(office.reads(&subject, "/srv/in/a").await.ok()["result"].is_object());
    assert_eq!(office.desk.calls(), 3);
    let refused = office.reads(&token, "/etc/passwd").await.ok();
    assert_eq!(
        refused["error"]["data"]["code"], "grant.argument-out-of-scope",
        "{refused}"
    );
    assert_eq!(office.desk.calls(), 3);
    // Renewing would lose whom it acts for.
    let path = format!("/v1/tenants/acme/tasks/{}/tokens", office.clerk_task);
    let renewed = office.bed.bearing(&token, &path, &json!({"count": 1})).await;
    renewed.refused(403, "grant.none");
    // The record names both, before the token left.
    let entries = office.bed.entries("decisions").await;
    let jti = claims_of(&token)["jti"].clone();
    let issue = entries
        .iter()
        .find(|e| e["leaf"]["kind"] == "token.issue" && e["payload"]["issue"]["jti"][0] == jti)
        .unwrap();
    let said = &issue["payload"]["issue"];
    assert_eq!(said["sub"], office.boss.as_str());
    assert_eq!(
        said["from"],
        json!([claims_of(&actor)["jti"], claims_of(&subject)["jti"]])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_ancestor_kills_every_descendant() {
    let office = Office::open().await;
    let bed = &office.bed;
    for which in ["subject token", "actor token"] {
        let (subject, actor, token) = office.exchanged().await;
        assert!(office.reads(&token, "/srv/in/a").await.ok()["result"].is_object());
        let killed = if which == "subject token" {
            &subject
        } else {
            &actor
        };
        bed.kill("acme", "token", text(&claims_of(killed)["jti"]))
            .await
            .ok();
        dead(&office.reads(&token, "/srv/in/a").await);
        // Nothing of the dead one is exchanged again.
        let more = [
            ("scope", "files:echo"),
            ("audience", "http://bailiwick.test/t/acme/mcp"),
        ];
        let body = exchange(bed, "acme", &office.clerk, &subject, &actor, &more);
        ask(bed, "acme", body).await.refused(400, "invalid_request");
    }
    let (_, _, token) = office.exchanged().await;
    let path = format!("/v1/tenants/acme/tasks/{}/close", office.boss_task);
    bed.post(&path, &json!({})).await.ok();
    dead(&office.reads(&token, "/srv/in/a").await);
    let again = Office::open().await;
    let (_, _, token) = again.exchanged().await;
    again.bed.kill("acme", "identity", "boss").await.ok();
    dead(&again.reads(&token, "/srv/in/a").await);
}

/// The token is dead, because something it stands on is.
#[track_caller]
fn dead(answer: &Answer) {
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert_eq!(
        answer.json()["error"]["data"]["code"],
        "token.actor-revoked",
        "{}",
        answer.text()
    );
}
