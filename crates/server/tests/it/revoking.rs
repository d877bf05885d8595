//! Revocation and introspection: what a client ends is dead at once, and what it asks about is told exactly.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::bed::{Answer, BASE, Bed, claims_of};
use crate::desk::Desk;
use crate::tokens::{ASSERTION_TYPE, Client, FORM, form};

const INACTIVE: &str = r#"{"active":false}"#;

struct World {
    bed: Bed,
    _desk: Desk,
    identity: String,
    task: String,
    client: Client,
    /// A resource server, which sees every token of its tenant.
    server: Client,
    /// A client that has nothing to do with the others.
    stranger: Client,
    /// A client of the other tenant.
    foreign: Client,
}

async fn world() -> World {
    let (bed, desk) = (Bed::start().await, Desk::open().await);
    for tenant in ["acme", "globex"] {
        bed.add_tenant(tenant).await;
        bed.add_server(tenant, "files", &desk).await;
    }
    let identity = bed.add_identity("acme", "worker").await;
    let (task, _) = bed.open_task("acme", &identity, &["files:echo"]).await;
    let client = Client::register(&bed, "acme", &identity).await;
    let seer = bed.add_identity("acme", "seer").await;
    bed.open_task("acme", &seer, &["token:introspect"]).await;
    let server = Client::register(&bed, "acme", &seer).await;
    let other = bed.add_identity("acme", "other").await;
    let stranger = Client::register(&bed, "acme", &other).await;
    let far = bed.add_identity("globex", "far").await;
    bed.open_task("globex", &far, &["token:introspect"]).await;
    let foreign = Client::register(&bed, "globex", &far).await;
    World {
        bed,
        _desk: desk,
        identity,
        task,
        client,
        server,
        stranger,
        foreign,
    }
}

impl World {
    async fn ask(
        &self,
        tenant: &str,
        client: &Client,
        what: &str,
        more: &[(&str, &str)],
        accept: &str,
    ) -> Answer {
        let assertion = client.assertion(&self.bed, tenant);
        let mut parameters = vec![
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
        ];
        parameters.extend_from_slice(more);
        let headers = [("content-type", FORM), ("accept", accept)];
        let path = format!("/t/{tenant}/{what}");
        self.bed.send("POST", &path, &headers, form(&parameters)).await
    }

    async fn token(&self) -> String {
        let more = [("grant_type", "client_credentials"), ("task", self.task.as_str())];
        let granted = self.ask("acme", &self.client, "token", &more, "*/*").await.ok();
        granted["access_token"].as_str().unwrap().to_owned()
    }

    async fn introspect(&self, client: &Client, token: &str) -> Answer {
        self.ask(
            "acme",
            client,
            "introspect",
            &[("token", token)],
            "application/json",
        )
        .await
    }

    async fn revoke(&self, client: &Client, token: &str) -> Answer {
        self.ask("acme", client, "revoke", &[("token", token)], "*/*")
            .await
    }

    async fn works(&self, token: &str) -> bool {
        self.bed
            .call(token, "acme", "files", "echo", json!({}))
            .await
            .status
            == 200
    }
}

#[track_caller]
fn inactive(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, INACTIVE));
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_revokes_its_own_token_at_once_and_for_good() {
    let mut world = world().await;
    let (token, spared) = (world.token().await, world.token().await);
    assert!(world.works(&token).await);
    // Nobody else's: the token stays alive.
    let refused = world.revoke(&world.stranger, &token).await;
    refused.refused(400, "invalid_grant");
    assert!(world.works(&token).await);
    let revoked = world.revoke(&world.client, &token).await;
    assert_eq!((revoked.status.as_u16(), revoked.text().as_str()), (200, ""));
    assert_eq!(revoked.header("cache-control"), "no-store");
    assert!(!world.works(&token).await, "dead with the answer");
    inactive(&world.introspect(&world.client, &token).await);
    assert!(world.works(&spared).await, "only the token that was named");
    // Revoked, unknown and malformed tokens are told the same (RFC 7009 §2.2).
    let unknown = world.bed.resigned("globex", &spared, |claims| {
        claims["iss"] = json!(format!("{BASE}/t/globex"));
    });
    for gone in [token.as_str(), "x", "a.b.c", unknown.as_str()] {
        assert_eq!(world.revoke(&world.client, gone).await.status, 200, "{gone}");
    }
    // A hint is a hint.
    for hint in ["access_token", "refresh_token", "nonsense"] {
        let more = [("token", token.as_str()), ("token_type_hint", hint)];
        assert_eq!(
            world
                .ask("acme", &world.client, "revoke", &more, "*/*")
                .await
                .status,
            200
        );
    }
    world
        .ask("acme", &world.client, "revoke", &[], "*/*")
        .await
        .refused(400, "invalid_request");
    let bare = form(&[("token", &spared)]);
    let unproven = world
        .bed
        .send("POST", "/t/acme/revoke", &[("content-type", FORM)], bare)
        .await;
    unproven.refused(401, "invalid_client");
    // It is in the state log under the identity's name, and outlives the process.
    let entries = world.bed.entries("state").await;
    let actor = format!("identity:{}", world.identity);
    let mark = entries
        .iter()
        .find(|e| e["payload"]["actor"] == actor.as_str())
        .unwrap();
    assert_eq!(mark["leaf"]["kind"], "state.mark.kill");
    world.bed.restart().await;
    assert!(!world.works(&token).await);
    assert!(world.works(&spared).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_says_what_the_next_decision_would_find() {
    let world = world().await;
    let token = world.token().await;
    for (who, client) in [("itself", &world.client), ("a resource server", &world.server)] {
        let told = world.introspect(client, &token).await;
        assert_eq!(told.header("cache-control"), "no-store");
        let told = told.ok();
        let mut expected = claims_of(&token);
        // Whoever asks here needs no list for those who cannot.
        expected.as_object_mut().unwrap().remove("status");
        expected["active"] = json!(true);
        expected["token_type"] = json!("Bearer");
        expected["authorization_details"] =
            json!([{"type": "bailiwick_call", "locations": ["files"], "actions": ["echo"]}]);
        assert_eq!(told, expected, "{who}");
    }
    // Whoever may not see it cannot tell it from one that never was.
    inactive(&world.introspect(&world.stranger, &token).await);
    let far = world
        .ask(
            "globex",
            &world.foreign,
            "introspect",
            &[("token", token.as_str())],
            "*/*",
        )
        .await;
    inactive(&far);
    for never in ["x", "a.b.c", "", " "] {
        let answer = world.introspect(&world.server, never).await;
        if never.is_empty() {
            answer.refused(400, "invalid_request");
        } else {
            inactive(&answer);
        }
    }
    let expired = world.bed.resigned("acme", &token, |claims| {
        claims["iat"] = json!(claims["iat"].as_i64().unwrap() - 600);
        claims["exp"] = json!(claims["iat"].as_i64().unwrap() + 300);
    });
    inactive(&world.introspect(&world.server, &expired).await);
    let bare = form(&[("token", &token)]);
    let unproven = world
        .bed
        .send("POST", "/t/acme/introspect", &[("content-type", FORM)], bare)
        .await;
    unproven.refused(401, "invalid_client");
    // A suspension is seen while it stands, a kill for ever, each with its own answer.
    let path = format!("/v1/tenants/acme/identities/{}", world.identity);
    let why = json!({"reason": "a drill"});
    world.bed.post(&format!("{path}/suspend"), &why).await.ok();
    inactive(&world.introspect(&world.server, &token).await);
    world.bed.post(&format!("{path}/resume"), &why).await.ok();
    assert_eq!(
        world.introspect(&world.server, &token).await.json()["active"],
        true
    );
    world.bed.kill("acme", "task", &world.task).await.ok();
    inactive(&world.introspect(&world.server, &token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_identity_sees_and_ends_no_tokens_any_more() {
    let world = world().await;
    let token = world.token().await;
    let why = json!({"reason": "a drill"});
    let seer = world.bed.get("/v1/tenants/acme/identities").await.ok()["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|identity| identity["name"] == "seer")
        .map(|identity| identity["id"].as_str().unwrap().to_owned())
        .unwrap();
    let path = format!("/v1/tenants/acme/identities/{seer}");
    world.bed.post(&format!("{path}/suspend"), &why).await.ok();
    world
        .introspect(&world.server, &token)
        .await
        .refused(401, "invalid_client");
    world.bed.post(&format!("{path}/resume"), &why).await.ok();
    world.introspect(&world.server, &token).await.ok();
    world.bed.kill("acme", "identity", &seer).await.ok();
    world
        .introspect(&world.server, &token)
        .await
        .refused(401, "invalid_client");
    world
        .revoke(&world.server, &token)
        .await
        .refused(401, "invalid_client");
    assert!(world.works(&token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_introspection_is_for_its_caller() {
    let world = world().await;
    let token = world.token().await;
    let kind = "application/token-introspection+jwt";
    for (asked, active) in [(token.as_str(), true), ("x", false)] {
        let answer = world
            .ask("acme", &world.server, "introspect", &[("token", asked)], kind)
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type")),
            (200, kind)
        );
        let text = answer.text();
        let mut parts = text.split('.');
        let header: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap()).unwrap();
        assert_eq!(header["typ"], "token-introspection+jwt");
        let claims = claims_of(&text);
        assert_eq!(claims["iss"], format!("{BASE}/t/acme"));
        assert_eq!(claims["aud"], world.server.id.as_str());
        assert!((claims["iat"].as_i64().unwrap() - world.bed.now()).abs() < 5);
        assert!(claims["sub"].is_null() && claims["exp"].is_null());
        assert_eq!(claims["token_introspection"]["active"], active);
        // Under the key that the tenant publishes, and no access token for all that.
        let jwks = world.bed.get("/t/acme/jwks").await.ok();
        let key = jwks["keys"]
            .as_array()
            .unwrap()
            .iter()
            .find(|k| k["kid"] == header["kid"])
            .unwrap();
        let x = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();
        let (signed, signature) = text.rsplit_once('.').unwrap();
        aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, x)
            .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
            .unwrap();
        assert!(!world.works(&text).await);
    }
}
