//! A client that is removed: its key opens nothing, and what it holds is not renewed.

use serde_json::json;

use crate::bed::Bed;
use crate::desk::Desk;
use crate::tokens::{ASSERTION_TYPE, Client, ask, form};

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_client_gets_and_renews_nothing_and_the_others_of_its_identity_do() {
    let (bed, desk) = (Bed::start().await, Desk::open().await);
    for tenant in ["acme", "globex"] {
        bed.add_tenant(tenant).await;
        bed.add_server(tenant, "files", &desk).await;
    }
    let identity = bed.add_identity("acme", "worker").await;
    let (task, _) = bed.open_task("acme", &identity, &["files:echo"]).await;
    let leaked = Client::register(&bed, "acme", &identity).await;
    let kept = Client::register(&bed, "acme", &identity).await;
    let request = |client: &Client| {
        let assertion = client.assertion(&bed, "acme");
        ask(
            &bed,
            "acme",
            form(&[
                ("grant_type", "client_credentials"),
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", &assertion),
            ]),
        )
    };
    let granted = request(&leaked).await.ok();
    let renewal = format!("/v1/tenants/acme/tasks/{task}/tokens");
    let bearer = format!("Bearer {}", granted["access_token"].as_str().unwrap());
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    bed.send("POST", &renewal, &headers, r#"{"count":1}"#).await.ok();

    let of = |tenant: &str| format!("/v1/tenants/{tenant}/clients/{}/remove", leaked.id);
    let body = json!({"reason": "key found in a repository"});
    let blank = bed.post(&of("acme"), &json!({"reason": " "})).await;
    assert_eq!(blank.status, 422, "{}", blank.text());
    assert_eq!(bed.post(&of("globex"), &body).await.status, 404);
    request(&leaked).await.ok();
    bed.post(&of("acme"), &body).await.ok();

    request(&leaked).await.refused(401, "invalid_client");
    let renewed = bed.send("POST", &renewal, &headers, r#"{"count":1}"#).await;
    renewed.refused(401, "token.client-ended");
    request(&kept).await.ok();
    let again = bed.post(&of("acme"), &body).await;
    again.refused(422, "client.already-removed");
    let listed = bed.get("/v1/tenants/acme/clients").await.ok();
    let mut ids = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["client_id"]);
    assert!(ids.all(|id| *id != json!(leaked.id)), "{listed}");
}
