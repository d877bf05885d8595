//! What an agent is made of: declared by an operator, stated by its client, and a change of it ends its trust.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::bed::{Answer, Bed, claims_of};
use crate::desk::Desk;
use crate::tokens::{ASSERTION_TYPE, Client, ask, form};

const PATH: &str = "/v1/tenants/acme/identities/worker/composition";
const CAUTION: &str = r#"@id("new-prompts-wait")
forbid (principal is Identity, action == Action::"tools/call", resource == Tool::"files/hold")
when { principal.probation };"#;

/// A part whose digest is this.
pub(crate) fn part(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(bailiwick_base::Digest::of(text.as_bytes()).0)
}

fn made_of(model: &str, prompt: &str) -> Value {
    json!({"model": part(model), "prompt": part(prompt)})
}

struct World {
    bed: Bed,
    desk: Desk,
    client: Client,
    task: String,
    first: String,
}

/// An active worker that may call both tools of the desk.
async fn world() -> World {
    let (bed, desk) = (Bed::start().await, Desk::open().await);
    bed.add_tenant("acme").await;
    let (identity, task, first) = bed
        .add_worker(&desk, &["files:echo", "files:read_text_file"])
        .await;
    let client = Client::register(&bed, "acme", &identity).await;
    let world = World {
        bed,
        desk,
        client,
        task,
        first,
    };
    world.activate().await;
    world
}

impl World {
    async fn declare(&self, composition: &Value) -> Answer {
        self.bed.command("PUT", PATH, &[], composition).await
    }

    async fn activate(&self) {
        self.activate_with(&json!({})).await.ok();
    }

    async fn activate_with(&self, body: &Value) -> Answer {
        let path = "/v1/tenants/acme/identities/worker/activate";
        self.bed.post(path, body).await
    }

    async fn worker(&self) -> Value {
        self.bed.get("/v1/tenants/acme/identities/worker").await.ok()
    }

    async fn post(&self, composition: Option<&Value>, more: &[(&str, &str)]) -> Answer {
        let assertion = self.client.assertion_with(&self.bed, "acme", |claims| {
            if let Some(composition) = composition {
                claims["composition"] = composition.clone();
            }
        });
        let mut parameters = vec![
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
        ];
        parameters.extend_from_slice(more);
        ask(&self.bed, "acme", form(&parameters)).await
    }

    /// By client_credentials, with this claim in the assertion.
    async fn ask(&self, composition: Option<&Value>) -> Answer {
        self.post(composition, &[("grant_type", "client_credentials")])
            .await
    }

    async fn token(&self, composition: Option<&Value>) -> String {
        let granted = self.ask(composition).await.ok();
        granted["access_token"].as_str().unwrap().to_owned()
    }

    async fn renew(&self, token: &str) -> Answer {
        let path = format!("/v1/tenants/acme/tasks/{}/tokens", self.task);
        self.bed.bearing(token, &path, &json!({"count": 1})).await
    }

    async fn call(&self, token: &str, tool: &str) -> Answer {
        let before = self.desk.calls();
        let answer = self.bed.call(token, "acme", "files", tool, json!({})).await;
        let body: Value = serde_json::from_slice(&answer.bytes).unwrap_or_default();
        assert_eq!(
            self.desk.calls() > before,
            body["result"].is_object(),
            "{}",
            answer.text()
        );
        answer
    }

    /// Payloads of the state log with this command.
    async fn composes(&self) -> Vec<Value> {
        let entries = self.bed.entries("state").await;
        let of = |e: &Value| e["payload"].clone();
        let all = entries
            .iter()
            .map(of)
            .filter(|p| p["command"] == "identity.compose");
        all.collect()
    }
}

/// A call with a token that is dead, and why.
#[track_caller]
fn dead(answer: &Answer) {
    let code = &answer.json()["error"]["data"]["code"];
    assert_eq!(
        (answer.status.as_u16(), code),
        (401, &json!("composition.changed"))
    );
    assert!(answer.header("www-authenticate").contains("invalid_token"));
}

#[track_caller]
fn refused(answer: &Answer, words: &str) {
    let found = (answer.status.as_u16(), answer.code());
    assert_eq!(
        (found.0, found.1.as_str()),
        (400, "invalid_grant"),
        "{}",
        answer.text()
    );
    assert!(answer.text().contains(words), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_says_the_declared_composition_and_one_that_states_none_is_not_issued() {
    let world = world().await;
    // Not declared: what the assertion says is not asked for, and no token carries it.
    let stated = made_of("m1", "p1");
    let undeclared = world.token(Some(&stated)).await;
    assert_eq!(claims_of(&undeclared).get("composition"), None);
    assert_eq!(world.composes().await, Vec::<Value>::new());
    // The first declaration changes no state.
    let declared = world.declare(&stated).await.ok();
    assert_eq!(
        (&declared["state"], &declared["composition"]["parts"]),
        (&json!("active"), &stated)
    );
    let digest = declared["composition"]["digest"].as_str().unwrap();
    world.declare(&stated).await.refused(422, "composition.unchanged");
    refused(&world.ask(None).await, "composition.missing");
    let token = world.token(Some(&stated)).await;
    assert_eq!(claims_of(&token)["composition"], digest);
    // The order of members is nothing; both ends come to one digest.
    let members = format!(r#"{{"prompt":"{}","model":"{}"}}"#, part("p1"), part("m1"));
    let shuffled = world.token(Some(&serde_json::from_str(&members).unwrap())).await;
    assert_eq!(claims_of(&shuffled)["composition"], digest);
    // A renewed token says the same; one that says nothing is used up, and not renewed.
    let renewed = world.renew(&token).await.ok();
    let renewed = renewed["tokens"][0]["access_token"].as_str().unwrap();
    assert_eq!(claims_of(renewed)["composition"], digest);
    world.call(&undeclared, "echo").await.ok();
    world.renew(&undeclared).await.refused(401, "composition.changed");
    world
        .renew(&world.first)
        .await
        .refused(401, "composition.changed");
    // What an operator asks for says what is declared.
    let asked = world
        .bed
        .post(
            &format!("/v1/tenants/acme/tasks/{}/tokens", world.task),
            &json!({"count": 1}),
        )
        .await
        .ok();
    let asked = asked["tokens"][0]["access_token"].as_str().unwrap();
    assert_eq!(claims_of(asked)["composition"], digest);
    assert_eq!(world.worker().await["state"], "active");
    assert_eq!(
        world.composes().await.len(),
        1,
        "and no request of a client wrote one"
    );
    // The refusal is a record like any other.
    let decisions = world.bed.entries("decisions").await;
    let missing = decisions
        .iter()
        .filter(|e| e["payload"]["reason"] == "composition.missing");
    assert_eq!(missing.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_composition_is_back_in_probation_until_somebody_activates_it() {
    let world = world().await;
    let policy = CAUTION.replace("hold", "read_text_file");
    let body = json!({ "cedar": policy });
    world
        .bed
        .command("PUT", "/v1/tenants/acme/policies", &[], &body)
        .await
        .ok();
    // A namesake in another tenant, made of the same.
    world.bed.add_tenant("other").await;
    world.bed.add_identity("other", "worker").await;
    let path = "/v1/tenants/other/identities/worker";
    let (old, new) = (made_of("m1", "p1"), made_of("m1", "p2"));
    world.declare(&old).await.ok();
    world
        .bed
        .command("PUT", &format!("{path}/composition"), &[], &old)
        .await
        .ok();
    let bystander = world.bed.get(path).await.ok();

    let before = world.token(Some(&old)).await;
    world.call(&before, "read_text_file").await.ok();
    // Another prompt: the token is issued, to an identity that is in probation by then.
    let after = world.token(Some(&new)).await;
    let worker = world.worker().await;
    assert_eq!(
        (&worker["state"], &worker["effective"]),
        (&json!("probation"), &json!("probation"))
    );
    assert_eq!(worker["state_reason"], "composition changed: prompt");
    assert_eq!(worker["changed_at"], worker["composition"]["since"]);
    assert_eq!(
        (&worker["composition"]["parts"], &worker["composition"]["former"]),
        (&new, &old)
    );
    assert_eq!(claims_of(&after)["composition"], worker["composition"]["digest"]);
    assert_ne!(
        claims_of(&after)["composition"],
        claims_of(&before)["composition"]
    );
    let composes = world.composes().await;
    let change = &composes[composes.len() - 1];
    let identity = worker["id"].as_str().unwrap();
    assert_eq!(change["actor"], format!("identity:{identity}"));
    assert_eq!(change["reason"], "composition changed: prompt");
    for (side, parts, token, state) in [
        ("before", &old, &before, "active"),
        ("after", &new, &after, "probation"),
    ] {
        let said = &change["objects"][0][side];
        assert_eq!(said["composition"]["digest"], claims_of(token)["composition"]);
        assert_eq!(
            (&said["composition"]["prompt"], &said["state"]),
            (&parts["prompt"], &json!(state))
        );
    }
    // What the old composition could call the new one cannot, and everything else it can.
    let forbidden = world.call(&after, "read_text_file").await.json();
    assert_eq!(
        forbidden["error"]["data"]["code"], "policy.forbidden",
        "{forbidden}"
    );
    world.call(&after, "echo").await.ok();
    // The token of the old one is dead, for calls and for renewal, before and after the new one is trusted.
    for _ in 0..2 {
        dead(&world.call(&before, "echo").await);
        world.renew(&before).await.refused(401, "composition.changed");
        world.activate_once().await;
    }
    assert_eq!(world.worker().await["state_reason"], Value::Null);
    world.call(&after, "read_text_file").await.ok();
    // Asking again with what is declared changes nothing; over a restart too.
    world.token(Some(&new)).await;
    assert_eq!(world.worker().await["state"], "active");
    assert_eq!(
        world.bed.get(path).await.ok(),
        bystander,
        "another tenant is not touched"
    );
}

impl World {
    /// Unless it is active already.
    async fn activate_once(&self) {
        if self.worker().await["state"] == "probation" {
            self.activate().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_declared_outlives_a_restart_and_both_logs_agree() {
    let mut world = world().await;
    let (old, new) = (made_of("m1", "p1"), made_of("m2", "p1"));
    world.declare(&old).await.ok();
    let changed = world.declare(&new).await.ok();
    assert_eq!(
        (&changed["state"], &changed["state_reason"]),
        (&json!("probation"), &json!("composition changed: model"))
    );
    world.bed.restart().await;
    assert_eq!(world.worker().await, changed);
    // A client that is registered after the start need not wait for it.
    let identity = changed["id"].as_str().unwrap();
    world.client = Client::register(&world.bed, "acme", identity).await;
    let token = world.token(Some(&new)).await;
    assert_eq!(claims_of(&token)["composition"], changed["composition"]["digest"]);
    let issued = world.bed.entries("decisions").await;
    let last = issued
        .iter()
        .rfind(|e| e["payload"]["action"] == "token.issue")
        .unwrap();
    assert_eq!(
        last["payload"]["issue"]["composition"],
        changed["composition"]["digest"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_after_somebody_looked_is_not_activated() {
    let world = world().await;
    let (old, seen, since) = (made_of("m1", "p1"), made_of("m1", "p2"), made_of("m1", "p3"));
    world.declare(&old).await.ok();
    world.token(Some(&seen)).await;
    let looked_at = world.worker().await["composition"]["digest"].clone();
    world.token(Some(&since)).await;
    let body = json!({"composition": looked_at});
    world.activate_with(&body).await.refused(422, "composition.other");
    assert_eq!(world.worker().await["state"], "probation");
    world
        .activate_with(&json!({"composition": "x"}))
        .await
        .refused(400, "composition.malformed");
    let body = json!({"composition": world.worker().await["composition"]["digest"]});
    assert_eq!(world.activate_with(&body).await.ok()["state"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_holds_and_two_requests_at_once_are_one_change() {
    let world = world().await;
    let (old, new) = (made_of("m1", "p1"), made_of("m1", "p2"));
    world.declare(&old).await.ok();
    let both = tokio::join!(world.ask(Some(&new)), world.ask(Some(&new)));
    both.0.ok();
    both.1.ok();
    assert_eq!(world.composes().await.len(), 2, "declared once, changed once");
    world.activate().await;
    let why = json!({"reason": "a drill"});
    let at = |verb: &str| format!("/v1/tenants/acme/identities/worker/{verb}");
    world.bed.post(&at("suspend"), &why).await.ok();
    // It gets nothing while it is stopped, and what it said is kept all the same.
    refused(&world.ask(Some(&old)).await, "suspended");
    assert_eq!(world.worker().await["state_reason"], "a drill");
    let resumed = world.bed.post(&at("resume"), &json!({})).await.ok();
    assert_eq!(
        (&resumed["state"], &resumed["effective"], &resumed["state_reason"]),
        (
            &json!("probation"),
            &json!("probation"),
            &json!("composition changed: prompt")
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_states_it_too_and_carries_that_of_the_actor() {
    let world = world().await;
    let (old, new) = (made_of("m1", "p1"), made_of("m1", "p2"));
    world.declare(&old).await.ok();
    let actor = {
        let identity = world.worker().await["id"].as_str().unwrap().to_owned();
        let (task, _) = world
            .bed
            .open_task("acme", &identity, &["files:echo", "token:exchange"])
            .await;
        let more = [("grant_type", "client_credentials"), ("task", task.as_str())];
        let granted = world.post(Some(&old), &more).await.ok();
        granted["access_token"].as_str().unwrap().to_owned()
    };
    let subject = {
        let identity = world.bed.add_identity("acme", "asker").await;
        let mut body = crate::bed::task(&identity, &["files:echo"]);
        body["may_act"] = json!(["worker"]);
        let opened = world.bed.post("/v1/tenants/acme/tasks", &body).await.ok();
        opened["token"]["access_token"].as_str().unwrap().to_owned()
    };
    let kind = "urn:ietf:params:oauth:token-type:access_token";
    let audience = format!("{}/t/acme/mcp", crate::bed::BASE);
    let more = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", subject.as_str()),
        ("subject_token_type", kind),
        ("actor_token", actor.as_str()),
        ("actor_token_type", kind),
        ("audience", audience.as_str()),
        ("scope", "files:echo"),
    ];
    let granted = world.post(Some(&old), &more).await.ok();
    let token = granted["access_token"].as_str().unwrap();
    assert_eq!(claims_of(token)["composition"], claims_of(&actor)["composition"]);
    world.call(token, "echo").await.ok();
    // Stated anew: the actor's token is of another composition from then on, and what stands on it dies with it.
    let refused = world.post(Some(&new), &more).await;
    assert_eq!(refused.status.as_u16(), 400, "{}", refused.text());
    assert!(
        refused.text().contains("made of was declared anew"),
        "{}",
        refused.text()
    );
    assert_eq!(world.worker().await["state"], "probation");
    dead(&world.call(token, "echo").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_composition_of_another_form_is_refused_with_its_field() {
    let world = world().await;
    let good = part("x");
    let cases = [
        (json!({"model": good[1..]}), "composition.model"),
        (json!({"prompt": format!("{good}=")}), "composition.prompt"),
        (json!({"tools": "é".repeat(3_000)}), "composition.tools"),
        (json!({"code": 7}), "composition.code"),
        (json!({"code": null}), "composition.code"),
        (json!({"model": good, "weights": good}), "composition"),
        (json!({}), "composition"),
        (json!([good]), "composition"),
        (json!(good), "composition"),
        (Value::Null, "composition"),
    ];
    for (claim, field) in &cases {
        let answer = world.ask(Some(claim)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (401, "invalid_client"),
            "{claim}"
        );
        assert!(answer.text().contains(&format!("`{field}`")), "{}", answer.text());
    }
    // The operator's door is as strict.
    for (body, field) in cases.iter().filter(|(body, _)| body.is_object()) {
        let answer = world.declare(body).await;
        assert!(answer.status.is_client_error(), "{}", answer.text());
        let named = field.rsplit('.').next().unwrap();
        assert!(
            answer.text().contains(named) || body["code"].is_null(),
            "{}",
            answer.text()
        );
    }
    world
        .declare(&json!({}))
        .await
        .refused(400, "composition.malformed");
    assert_eq!(world.worker().await.get("composition"), None);
    // No such identity, and one of another tenant.
    let nobody = "/v1/tenants/acme/identities/nobody/composition";
    let body = made_of("m", "p");
    world
        .bed
        .command("PUT", nobody, &[], &body)
        .await
        .refused(404, "request.not-found");
}
