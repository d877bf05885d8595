//! Many things to carry on at once: none of them holds up another.

use std::time::Duration;

use bailiwick_base::Clock;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::bed::{Bed, PATIENCE};
use crate::keeper::{Keeper, Silent, place};

/// A bed with tenants that have an identity `orders` and the credential that manages keys.
async fn bed(tenants: &[&str]) -> Bed {
    let bed = Bed::start().await;
    for tenant in tenants {
        bed.add_tenant(tenant).await;
        bed.add_identity(tenant, "orders").await;
        register(
            &bed,
            tenant,
            "manager",
            "managing-secret",
            &json!({"kind": "api-key"}),
        )
        .await;
    }
    bed
}

async fn register(bed: &Bed, tenant: &str, name: &str, secret: &str, more: &Value) {
    let mut body = json!({
        "name": name, "identity": "orders", "secret": STANDARD.encode(secret), "overlap": 3_600,
    });
    for (member, value) in more.as_object().unwrap() {
        body[member] = value.clone();
    }
    bed.post(&format!("/v1/tenants/{tenant}/credentials"), &body)
        .await
        .ok();
}

/// A key of a service, which nobody says he moved from.
async fn key(bed: &Bed, tenant: &str, name: &str, (id, secret): (String, String), url: &str) {
    let more = json!({"kind": "api-key", "consumers": ["mailer"], "http": place(url, &id)});
    register(bed, tenant, name, &secret, &more).await;
}

async fn ask(bed: &Bed, tenant: &str, name: &str, what: &str) -> Value {
    let path = format!("/v1/tenants/{tenant}/credentials/{name}/{what}");
    bed.post(&path, &json!({"reason": "a drill"})).await.ok()
}

async fn shown(bed: &Bed, tenant: &str, name: &str) -> Value {
    bed.get(&format!("/v1/tenants/{tenant}/credentials/{name}"))
        .await
        .ok()
}

/// Waits on the service itself; nothing here sleeps.
async fn until<F: Future<Output = bool>>(bed: &Bed, what: &str, within: Duration, done: impl Fn() -> F) {
    let from = bed.clock.monotonic();
    while !done().await {
        assert!(
            bed.clock.monotonic() < from + within,
            "{what}: not within {within:?}"
        );
        tokio::task::yield_now().await;
    }
}

fn is_revoked(shown: &Value) -> bool {
    shown["revoked"]["entry"].is_u64()
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_that_wait_are_no_queue_for_a_revocation_or_another_rotation() {
    let bed = bed(&["acme"]).await;
    let keeper = Keeper::open().await;
    let names: Vec<String> = (0..33).map(|n| format!("key-{n:02}")).collect();
    for name in &names {
        key(&bed, "acme", name, keeper.add(name), &keeper.url).await;
        ask(&bed, "acme", name, "rotate").await;
    }
    key(&bed, "acme", "leaked", keeper.add("leaked"), &keeper.url).await;
    // More than there are places: all of them get as far as they can.
    for name in &names {
        let watches = async || shown(&bed, "acme", name).await["rotation"]["phase"] == "watching";
        until(&bed, "it waits for its consumer", PATIENCE, watches).await;
    }
    let last = names.last().unwrap();
    for name in ["leaked", last] {
        ask(&bed, "acme", name, "revoke").await;
        let revoked = async || is_revoked(&shown(&bed, "acme", name).await);
        until(&bed, "it is revoked", PATIENCE / 4, revoked).await;
        assert!(!keeper.accepts(name));
    }
    assert!(keeper.accepts(&names[0]), "what waits is left as it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_never_answers_holds_up_no_other_system_and_no_other_tenant() {
    let bed = bed(&["acme", "bolt"]).await;
    let (keeper, silent) = (Keeper::open().await, Silent::open().await);
    for n in 0..40 {
        let name = format!("stuck-{n:02}");
        let known = (name.clone(), "never told".to_owned());
        key(&bed, "acme", &name, known, &silent.url).await;
        ask(&bed, "acme", &name, "rotate").await;
    }
    for tenant in ["acme", "bolt"] {
        key(&bed, tenant, "leaked", keeper.add(tenant), &keeper.url).await;
    }
    until(&bed, "every place is taken", PATIENCE, async || {
        silent.taken() >= 32
    })
    .await;
    // Each of those is waited for for fifteen seconds.
    for tenant in ["bolt", "acme"] {
        ask(&bed, tenant, "leaked", "revoke").await;
        let revoked = async || is_revoked(&shown(&bed, tenant, "leaked").await);
        until(&bed, "it is revoked", PATIENCE / 4, revoked).await;
        assert!(!keeper.accepts(tenant));
    }
}

/// An access key of `identity` at `keeper`, from which sessions of a role are leased.
async fn lender(bed: &Bed, keeper: &Keeper, name: &str, identity: &str) {
    let over = json!({"url": keeper.url, "allow_addresses": ["127.0.0.1/32"], "allow_plaintext": true});
    let key = format!("AKIAEXAMPLEUSED{}", name.replace('-', "").to_ascii_uppercase());
    let aws = json!({
        "user": name, "key": key, "region": "eu-central-1",
        "manager_key": "AKIAEXAMPLEMANAGE", "manager": "manager",
        "lease_role": "arn:aws:iam::123456789012:role/orders", "danger_endpoint_override": over,
    });
    let more = json!({"kind": "aws-access-key", "aws": aws, "identity": identity});
    register(bed, "acme", name, "secret of the key", &more).await;
}

async fn lease(bed: &Bed, task: &str) -> String {
    let body = json!({"credential": "cloud", "for": 3_600, "reason": "a drill"});
    let lent = bed
        .post(&format!("/v1/tenants/acme/tasks/{task}/leases"), &body)
        .await
        .ok();
    lent["lease"]["handle"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_behind_hundreds_of_others_is_taken_back_with_its_task() {
    let bed = bed(&["acme"]).await;
    let keeper = Keeper::open().await;
    lender(&bed, &keeper, "cloud", "orders").await;
    let identity = bed.add_identity("acme", "worker").await;
    let mut last = (String::new(), String::new());
    for n in 0..9 {
        let (task, _) = bed
            .open_task("acme", &identity, &[r#"credential:lease(name = "cloud")"#])
            .await;
        for _ in 0..if n == 8 { 1 } else { 32 } {
            last = (task.clone(), lease(&bed, &task).await);
        }
    }
    let (task, handle) = last;
    assert_eq!(keeper.denied(), Vec::<String>::new());
    bed.kill("acme", "task", &task).await.ok();
    until(&bed, "it is denied", PATIENCE / 4, async || {
        keeper.denied() == [handle.clone()]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_a_stopped_identity_or_has_expired_is_not_given_out_not_rotated_and_not_lent() {
    let bed = bed(&["acme"]).await;
    let keeper = Keeper::open().await;
    let worker = bed.add_identity("acme", "worker").await;
    let (task, _) = bed.open_task("acme", &worker, &["credential:lease"]).await;
    for how in ["suspend", "retire", "kill"] {
        bed.add_identity("acme", how).await;
        lender(&bed, &keeper, &format!("of-{how}"), how).await;
        let path = format!("/v1/tenants/acme/credentials/of-{how}/fetch");
        bed.post(&path, &json!({})).await.ok();
    }
    let lent = bed
        .post(
            &format!("/v1/tenants/acme/tasks/{task}/leases"),
            &json!({"credential": "of-suspend", "for": 3_600, "reason": "a drill"}),
        )
        .await
        .ok();
    for how in ["suspend", "retire"] {
        let path = format!("/v1/tenants/acme/identities/{how}/{how}");
        bed.post(&path, &json!({"reason": "a drill"})).await.ok();
    }
    bed.kill("acme", "identity", "kill").await.ok();
    for how in ["suspend", "retire", "kill"] {
        let doors = [
            (format!("credentials/of-{how}/fetch"), json!({})),
            (
                format!("credentials/of-{how}/rotate"),
                json!({"reason": "a drill"}),
            ),
            (
                format!("tasks/{task}/leases"),
                json!({"credential": format!("of-{how}"), "for": 3_600, "reason": "a drill"}),
            ),
        ];
        for (path, body) in doors {
            let answer = bed.post(&format!("/v1/tenants/acme/{path}"), &body).await;
            let known = ["credential.identity-stopped", "credential.revoked"];
            assert!(
                known.contains(&answer.code().as_str()),
                "{path}: {}",
                answer.text()
            );
        }
    }
    // What it lent to the task of another identity comes back as well.
    let handle = lent["lease"]["handle"].as_str().unwrap().to_owned();
    until(&bed, "it is denied", PATIENCE, async || {
        keeper.denied() == [handle.clone()]
    })
    .await;
    // And another one that is only too old.
    let more = json!({
        "kind": "api-key", "http": place(&keeper.url, "old"),
        "expires_at": bed.clock.now().after(Duration::from_secs(60)).to_string(),
        "every": 3_600, "overlap": 1,
    });
    register(&bed, "acme", "old", "secret", &more).await;
    bed.clock.advance(Duration::from_secs(61));
    for (door, body) in [("fetch", json!({})), ("rotate", json!({"reason": "a drill"}))] {
        let path = format!("/v1/tenants/acme/credentials/old/{door}");
        let refused = async || bed.post(&path, &body).await.code() == "credential.expired";
        until(&bed, "it expired", PATIENCE, refused).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_a_killed_identity_end_where_they_are_accepted() {
    let bed = bed(&["acme"]).await;
    let keeper = Keeper::open().await;
    for how in ["suspend", "retire", "kill"] {
        bed.add_identity("acme", how).await;
        let (id, secret) = keeper.add(how);
        let more = json!({"kind": "api-key", "http": place(&keeper.url, &id), "identity": how});
        register(&bed, "acme", how, &secret, &more).await;
    }
    for how in ["suspend", "retire"] {
        let path = format!("/v1/tenants/acme/identities/{how}/{how}");
        bed.post(&path, &json!({"reason": "a drill"})).await.ok();
    }
    bed.kill("acme", "identity", "kill").await.ok();
    for how in ["kill", "retire"] {
        let revoked = async || is_revoked(&shown(&bed, "acme", how).await);
        until(&bed, "its key is revoked", PATIENCE, revoked).await;
        assert!(!keeper.accepts(how));
        let why = shown(&bed, "acme", how).await["revoked"]["reason"].to_string();
        assert!(why.contains("its identity is"), "{why}");
    }
    assert!(keeper.accepts("suspend"), "a suspension can be lifted");
    assert!(shown(&bed, "acme", "suspend").await["revoked"].is_null());
}
