//! Consents where somebody leads them astray: into another tenant, away by a stranger's document, under another agent.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::{Answer, BASE, claims_of};
use crate::consenting::{Page, World, allow, authorize, query, returned, world};
use crate::describing::{Host, REDIRECT as DESCRIBED};
use crate::desk::Desk;
use crate::exchanging::{exchange, fetched, open};
use crate::signing::later;
use crate::tokens::{Client, ask, form};

/// Longer than a document is kept.
const KEPT: Duration = Duration::from_secs(601);

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

async fn revoke(world: &World, tenant: &str, client: &str, token: &str) -> Answer {
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    let sent = form(&[("client_id", client), ("token", token)]);
    world
        .bed
        .send("POST", &format!("/t/{tenant}/revoke"), &kind, sent)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_refresh_tokens_and_pages_of_one_tenant_are_nothing_in_another() {
    let world = world().await;
    let bed = &world.bed;
    bed.add_tenant("globex").await;
    let agent = bed.add_identity("globex", "agent").await;
    let desk = Desk::open().await;
    bed.add_server("globex", "files", &desk).await;
    let (task, _) = bed.open_task("globex", &agent, &["files:echo"]).await;
    let body = json!({"name": "Notebook", "redirects": [crate::consenting::REDIRECT]});
    let added = bed.post("/v1/tenants/globex/public-clients", &body).await.ok();
    let theirs = text(&added["client_id"]);
    let (code, tokens) = (world.code().await, world.tokens().await);
    let refresh = text(&tokens["refresh_token"]);
    for client in [theirs, world.client.as_str()] {
        let known = client == theirs;
        let (status, error) = if known {
            (400, "invalid_grant")
        } else {
            (401, "invalid_client")
        };
        let redeemed = [
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("code", code.as_str()),
            ("redirect_uri", crate::consenting::REDIRECT),
            ("code_verifier", crate::consenting::VERIFIER),
        ];
        ask(bed, "globex", form(&redeemed)).await.refused(status, error);
        let renewed = [
            ("grant_type", "refresh_token"),
            ("client_id", client),
            ("refresh_token", refresh),
        ];
        ask(bed, "globex", form(&renewed)).await.refused(status, error);
        let revoked = revoke(&world, "globex", client, refresh).await;
        assert_eq!(revoked.status.as_u16(), if known { 200 } else { 401 });
    }
    // A page is answered in its own tenant, for a task of it, and shown there.
    let page = Page::begin(bed, &query(&world.client, &[])).await;
    let path = format!("/v1/tenants/globex/consents/waiting/{}/allow", page.code);
    bed.post(&path, &json!({"task": task}))
        .await
        .refused(404, "consent.unknown");
    allow(bed, &page.code, &task)
        .await
        .refused(404, "request.not-found");
    let elsewhere = page.path.replace("/t/acme/", "/t/globex/");
    let shown = bed.send("GET", &elsewhere, &[("cookie", &page.cookie)], "").await;
    assert_eq!(shown.status, 404);
    // None of that cost what is whole.
    world.redeem(&code, &[]).await.ok();
    let next = world.refresh(refresh, &[]).await.ok();
    assert!(world.lives(&next["access_token"]).await);
    allow(bed, &page.code, &world.task).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_nobody_vouched_for_sends_nobody_away_before_a_person_agrees() {
    let world = world().await;
    let host = Host::open().await;
    host.admit(&world.bed).await.ok();
    let url = host.describe("lure", |_| {});
    for more in [
        ("response_type", "token"),
        ("code_challenge_method", "plain"),
        ("scope", " "),
        ("resource", "https://elsewhere.example/mcp"),
    ] {
        let asked = query(&url, &[("redirect_uri", DESCRIBED), more]);
        let answer = authorize(&world.bed, &asked).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location")),
            (400, ""),
            "{more:?}"
        );
        // Whoever reads the page may go back, and sees where to.
        let html = answer.text();
        assert!(html.contains(&format!("<a href=\"{DESCRIBED}?error=")), "{html}");
        assert!(
            html.contains("iss=") && html.contains("<strong>127.0.0.1</strong>"),
            "{html}"
        );
        assert!(
            !html.contains("<script") && !html.contains("http-equiv"),
            "{html}"
        );
    }
    // A client that an operator registered hears of it at once.
    let asked = query(&world.client, &[("response_type", "token")]);
    let (place, back) = returned(&authorize(&world.bed, &asked).await);
    assert_eq!(place, crate::consenting::REDIRECT);
    assert_eq!(back["error"], "unsupported_response_type");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_changes_is_read_anew_and_what_it_says_then_counts() {
    let world = world().await;
    let host = Host::open().await;
    host.admit(&world.bed).await.ok();
    let url = host.describe("editor", |_| {});
    let sent = query(&url, &[("redirect_uri", "http://127.0.0.1:7777/cb")]);
    let page = Page::begin(&world.bed, &sent).await;
    let allowed = allow(&world.bed, &page.code, &world.task).await.ok();
    let (_, back) = returned(&page.word(&world.bed, text(&allowed["word"])).await);
    let more = [
        ("client_id", url.as_str()),
        ("redirect_uri", "http://127.0.0.1:7777/cb"),
    ];
    let first = world.redeem(&back["code"], &more).await.ok();
    let renew = async |token: &Value| {
        let more = [("client_id", url.as_str())];
        world.refresh(text(token), &more).await
    };
    let second = renew(&first["refresh_token"]).await.ok();
    // Taken over by somebody who sends the browser elsewhere, and asks for keys that the old client has not.
    host.describe("editor", |document| {
        document["redirect_uris"] = json!(["https://evil.example/cb"]);
        document["token_endpoint_auth_method"] = json!("private_key_jwt");
        document["jwks"] = json!({"keys": []});
    });
    let third = renew(&second["refresh_token"]).await.ok();
    later(&world.bed, KEPT).await;
    assert_eq!(
        authorize(&world.bed, &sent).await.status,
        400,
        "not registered any more"
    );
    renew(&third["refresh_token"])
        .await
        .refused(401, "invalid_client");
    // A document that leads elsewhere, or is gone, describes nobody; nothing old is taken instead.
    // What may pass is told to come again.
    for (status, document, page, told) in [
        (302, "{}", 400, (401, "invalid_client")),
        (404, "", 400, (401, "invalid_client")),
        (500, "", 503, (503, "temporarily_unavailable")),
    ] {
        host.put("editor", status, document.to_owned());
        later(&world.bed, KEPT).await;
        assert_eq!(authorize(&world.bed, &sent).await.status, page, "{status}");
        renew(&third["refresh_token"]).await.refused(told.0, told.1);
    }
    // What was refused for now has cost nothing.
    host.describe("editor", |_| {});
    later(&world.bed, KEPT).await;
    renew(&third["refresh_token"]).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_serves_the_agent_that_it_was_given_for() {
    let world = world().await;
    let bed = &world.bed;
    let path = format!("/v1/tenants/acme/identities/{}/composition", world.identity);
    let declare = async |prompt: &str| {
        let body = json!({"prompt": crate::composing::part(prompt)});
        bed.command("PUT", &path, &[], &body).await.ok()["composition"]["digest"].clone()
    };
    let before = world.tokens().await;
    let digest = declare("one").await;
    // Agreed to before anything was declared: a token of it ends by itself, and there is no next one.
    let undeclared = world.refresh(text(&before["refresh_token"]), &[]).await;
    undeclared.refused(400, "invalid_grant");
    let tokens = world.tokens().await;
    let claims = claims_of(text(&tokens["access_token"]));
    assert_eq!(claims["composition"], digest);
    let next = world.refresh(text(&tokens["refresh_token"]), &[]).await.ok();
    assert!(world.lives(&next["access_token"]).await);
    declare("two").await;
    assert!(!world.lives(&next["access_token"]).await);
    let refused = world.refresh(text(&next["refresh_token"]), &[]).await;
    refused.refused(400, "invalid_grant");
    assert!(refused.text().contains("made of"), "{}", refused.text());
    // A person agrees to what it is now.
    let anew = world.tokens().await;
    assert!(world.lives(&anew["access_token"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_exchanged_from_a_token_of_a_consent_ends_with_it() {
    let world = world().await;
    let bed = &world.bed;
    let helper = bed.add_identity("acme", "helper").await;
    let client = Client::register(bed, "acme", &helper).await;
    let can = |all: &[&str]| all.iter().map(|&scope| scope.to_owned()).collect::<Vec<_>>();
    let task = open(bed, "acme", &world.identity, &can(&["files:echo"]), &[&helper]).await;
    let own = open(bed, "acme", &helper, &can(&["files:echo", "token:exchange"]), &[]).await;
    let page = Page::begin(bed, &query(&world.client, &[])).await;
    let allowed = allow(bed, &page.code, &task).await.ok();
    let (_, back) = returned(&page.word(bed, text(&allowed["word"])).await);
    let tokens = world.redeem(&back["code"], &[]).await.ok();
    let (subject, actor) = (
        text(&tokens["access_token"]),
        fetched(bed, "acme", &client, &own).await,
    );
    let audience = format!("{BASE}/t/acme/mcp");
    let more = [("scope", "files:echo"), ("audience", audience.as_str())];
    let delegated = ask(
        bed,
        "acme",
        exchange(bed, "acme", &client, subject, &actor, &more),
    )
    .await
    .ok();
    // It stands on both tokens and on the consent.
    let lineage = &claims_of(text(&delegated["access_token"]))["lineage"];
    assert_eq!(lineage.as_array().map(Vec::len), Some(3), "{lineage}");
    assert_eq!(lineage[2]["jti"], allowed["consent"]["token"]);
    assert!(world.lives(&delegated["access_token"]).await);
    world
        .redeem(&back["code"], &[])
        .await
        .refused(400, "invalid_grant");
    assert!(!world.lives(&delegated["access_token"]).await);
}
