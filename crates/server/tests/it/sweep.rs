//! Every route, with callers and identifiers that must not get through. The list of routes comes from the
//! router: a route without a case fails.

mod routes;

use std::collections::BTreeSet;

use bailiwick_base::{Ids, TaskId, TenantId};
use serde_json::json;

use self::routes::{CASES, Case, Door, Names, credential};
use crate::bed::{Answer, Bed};
use crate::desk::Desk;

/// Two tenants with one of everything each.
struct World {
    bed: Bed,
    acme: Names,
    globex: Names,
    _desk: Desk,
}

async fn furnish(bed: &Bed, tenant: &str, server: &str, desk: &Desk) -> Names {
    bed.add_tenant(tenant).await;
    bed.add_server(tenant, server, desk).await;
    let identity = bed.add_identity(tenant, "worker").await;
    let (_, jwk) = bailiwick_server::operator::generate_client_key("EdDSA").unwrap();
    bed.post(
        &format!("/v1/tenants/{tenant}/clients"),
        &json!({"identity": identity, "jwk": jwk}),
    )
    .await
    .ok();
    let rule = json!({"identity": identity, "method": "generic-oidc", "attributes": {"sub": "w"},
        "issuer": format!("https://{tenant}.example")});
    let trust = bed
        .post(&format!("/v1/tenants/{tenant}/trusts"), &rule)
        .await
        .ok();
    let public = json!({"name": "app", "redirects": ["https://app.example/cb"]});
    let client = bed
        .post(&format!("/v1/tenants/{tenant}/public-clients"), &public)
        .await
        .ok();
    let webhook = json!({"url": "https://hooks.acme.example/out"});
    let webhook = bed
        .post(&format!("/v1/tenants/{tenant}/webhooks"), &webhook)
        .await
        .ok();
    let teller =
        json!({"issuer": format!("https://{tenant}.example"), "jwks_url": "https://idp.example/jwks"});
    let teller = bed
        .post(&format!("/v1/tenants/{tenant}/transmitters"), &teller)
        .await
        .ok();
    let can = format!("{server}:echo");
    let (task, token) = bed
        .open_task(tenant, &identity, &[&can, "authzen:evaluate", "ssf:manage"])
        .await;
    let mut names = Names {
        credential: String::new(),
        identity,
        task,
        public_client: client["client_id"].as_str().unwrap().to_owned(),
        trust: trust["id"].as_str().unwrap().to_owned(),
        subscription: webhook["id"].as_str().unwrap().to_owned(),
        transmitter: teller["id"].as_str().unwrap().to_owned(),
        server: server.to_owned(),
        token,
    };
    let added = bed
        .post(
            &format!("/v1/tenants/{tenant}/credentials"),
            &credential("held", &names),
        )
        .await;
    added.ok()["id"]
        .as_str()
        .unwrap()
        .clone_into(&mut names.credential);
    names
}

impl World {
    async fn build() -> Self {
        let bed = Bed::start().await;
        let desk = Desk::open().await;
        let acme = furnish(&bed, "acme", "files", &desk).await;
        let globex = furnish(&bed, "globex", "vault", &desk).await;
        Self {
            bed,
            acme,
            globex,
            _desk: desk,
        }
    }
}

/// Identifiers of the right form that name nothing at all.
fn ghosts() -> Names {
    let clock = std::sync::Arc::new(crate::clock::ShiftedClock::new());
    let ids = Ids::new(clock, std::sync::Arc::new(bailiwick_keys::SystemEntropy));
    let tenant = TenantId::parse("acme").unwrap();
    let task: TaskId = ids.mint(&tenant).unwrap();
    let client: bailiwick_base::ClientId = ids.mint(&tenant).unwrap();
    let trust: bailiwick_base::TrustId = ids.mint(&tenant).unwrap();
    let subscription: bailiwick_base::SubscriptionId = ids.mint(&tenant).unwrap();
    let transmitter: bailiwick_base::TransmitterId = ids.mint(&tenant).unwrap();
    let identity: bailiwick_base::IdentityId = ids.mint(&tenant).unwrap();
    let credential: bailiwick_base::CredentialId = ids.mint(&tenant).unwrap();
    Names {
        credential: credential.to_string(),
        identity: identity.to_string(),
        task: task.to_string(),
        public_client: client.to_string(),
        trust: trust.to_string(),
        subscription: subscription.to_string(),
        transmitter: transmitter.to_string(),
        server: "ghost".to_owned(),
        token: String::new(),
    }
}

/// An answer without what the caller sent itself and without the id of its own decision record.
fn bare(answer: &Answer, sent: &Names) -> String {
    let mut text =
        format!("{} {}", answer.status, answer.text()).replace(&format!("`{}`", sent.server), "`…`");
    if let Some(at) = text.find("dec_") {
        text.replace_range(at..at + 30, "dec_…");
    }
    text
}

#[test]
fn every_route_of_the_router_has_a_case() {
    let served: BTreeSet<String> = bailiwick_server::routes()
        .into_iter()
        .map(|r| format!("{} {}", r.method, r.path))
        .collect();
    let cased: BTreeSet<String> = CASES.iter().map(|c| c.route.to_owned()).collect();
    assert_eq!(served, cased, "left: routes served; right: routes with a case");
    assert_eq!(cased.len(), CASES.len(), "a route has two cases");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_their_own_living_credential() {
    let world = World::build().await;
    let bed = &world.bed;
    let now = bed.now();
    let stranger = bed
        .operator
        .session_with(now, &json!({"iss": world.acme.identity}));
    let other_installation = bed
        .operator
        .session_with(now, &json!({"aud": "https://elsewhere.example"}));
    let expired = bed.operator.session_with(now - 120, &json!({}));
    let not_yet = bed.operator.session_with(now + 120, &json!({}));
    let too_long = bed.operator.session_with(now, &json!({"exp": now + 3_600}));
    let unsigned = {
        let whole = bed.session();
        let (signed, _) = whole.rsplit_once('.').unwrap();
        format!("{signed}.{}", "A".repeat(86))
    };
    let other_type = bed.operator.sign(
        r#"{"alg":"EdDSA","typ":"at+jwt"}"#,
        &json!({"iss": bed.operator.id, "aud": crate::bed::BASE, "iat": now, "exp": now + 60, "jti": "12345678"}).to_string(),
    );
    let twice = bed.operator.sign(
        r#"{"alg":"EdDSA","typ":"bailiwick-session+jwt","typ":"bailiwick-session+jwt"}"#,
        "{}",
    );
    let bad = [
        ("garbage", "x"),
        ("three dots", "a.b.c"),
        ("expired", &expired),
        ("not yet valid", &not_yet),
        ("too long-lived", &too_long),
        ("unsigned", &unsigned),
        ("another installation's", &other_installation),
        ("nobody's", &stranger),
        ("of another type", &other_type),
        ("with a member twice", &twice),
    ];
    for case in CASES {
        if case.door == Door::Public || case.door == Door::Client {
            continue;
        }
        let answer = case.send(bed, "acme", &world.acme, None).await;
        assert_eq!(
            answer.status,
            401,
            "{}: no credential: {}",
            case.route,
            answer.text()
        );
        for (title, session) in bad {
            let answer = case.send(bed, "acme", &world.acme, Some(session)).await;
            assert_eq!(answer.status, 401, "{}: {title}: {}", case.route, answer.text());
        }
    }
    // One credential, under the one scheme, in whatever case.
    let session = bed.session();
    for (header, status) in [
        (format!("bearer {session}"), 200),
        (format!("BEARER  {session} "), 200),
        (format!("Basic {session}"), 401),
        (format!("Bearer{session}"), 401),
        (session.clone(), 401),
        ("Bearer ".to_owned(), 401),
    ] {
        let answer = bed
            .send("GET", "/v1/tenants", &[("authorization", &header)], "")
            .await;
        assert_eq!(answer.status, status, "{header}");
    }
    let good = format!("Bearer {session}");
    let twice = [("authorization", good.as_str()), ("authorization", good.as_str())];
    assert_eq!(bed.send("GET", "/v1/tenants", &twice, "").await.status, 401);
    // Nothing of all this did anything.
    assert!(bed.get("/v1/tenants").await.ok()["total"] == 2);
    let still = bed
        .call(&world.acme.token, "acme", "files", "echo", json!({}))
        .await
        .ok();
    assert!(still["result"].is_object(), "{still}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_door_takes_no_access_token_and_an_agent_door_no_session() {
    let world = World::build().await;
    let bed = &world.bed;
    for case in CASES {
        let wrong = match case.door {
            Door::Operator => world.acme.token.clone(),
            Door::Pep => bed.session(),
            Door::Holder if case.route.contains("/mcp/") => bed.session(),
            _ => continue,
        };
        let answer = case.send(bed, "acme", &world.acme, Some(&wrong)).await;
        assert_eq!(answer.status, 401, "{}: {}", case.route, answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn identifiers_of_another_tenant_are_as_unknown_as_those_of_nobody() {
    let world = World::build().await;
    let (bed, ghost) = (&world.bed, ghosts());
    let before = bed.entries("state").await.len();
    let mut compared = 0;
    for case in CASES.iter().filter(|c| c.named) {
        let (with_foreign, with_ghost) = match case.door {
            Door::Operator => (
                case.send(bed, "acme", &world.globex, Some(&bed.session())).await,
                case.send(bed, "acme", &ghost, Some(&bed.session())).await,
            ),
            Door::Public => (
                case.send(bed, "acme", &world.globex, None).await,
                case.send(bed, "acme", &ghost, None).await,
            ),
            Door::Holder => (
                case.send(bed, "acme", &world.globex, Some(&world.acme.token))
                    .await,
                case.send(bed, "acme", &ghost, Some(&world.acme.token)).await,
            ),
            Door::Pep | Door::Client => continue,
        };
        compared += 1;
        let foreign = bare(&with_foreign, &world.globex);
        assert_eq!(foreign, bare(&with_ghost, &ghost), "{}", case.route);
        if case.route.contains("/mcp/{server}") && case.method() == "POST" {
            assert!(foreign.contains("server.unknown"), "{foreign}");
        } else {
            assert_eq!(with_foreign.status, 404, "{}: {foreign}", case.route);
        }
    }
    assert!(compared == 45, "only {compared} routes took identifiers");
    assert_eq!(bed.entries("state").await.len(), before, "something was done");
}

/// Routes of ours that read JSON, with what lets a request through to the body.
fn reading(world: &World) -> Vec<(&'static Case, String)> {
    CASES
        .iter()
        .filter(|c| {
            !matches!(c.method(), "GET" | "DELETE") && c.door != Door::Client && !c.route.contains("/mcp/")
        })
        .map(|c| match c.door {
            Door::Pep => (c, world.acme.token.clone()),
            _ => (c, world.bed.session()),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_or_not_json_or_read_two_ways_is_refused() {
    let world = World::build().await;
    let bed = &world.bed;
    let before = bed.entries("state").await.len();
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(1024 * 1024));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(70), "]".repeat(70));
    let abyss = "[".repeat(15_000);
    let doubled = |good: &str| good.replacen('{', "{\"reason\":\"x\",\"reason\":\"y\",", 1);
    for (case, bearer) in reading(&world) {
        let good = (case.body)(&world.acme).to_string();
        let path = case.path("acme", &world.acme);
        let send = |kind: &'static str, body: String| {
            // A session serves one command.
            let bearer = match case.door {
                Door::Pep => bearer.clone(),
                _ => bed.session(),
            };
            let headers = [
                ("authorization", format!("Bearer {bearer}")),
                ("content-type", kind.to_owned()),
            ];
            let path = path.clone();
            async move {
                let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
                bed.send(case.method(), &path, &headers, body).await
            }
        };
        let json = "application/json";
        send(json, large.clone()).await.refused(413, "request.too-large");
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "",
            "application/json-seq",
        ] {
            send(kind, good.clone())
                .await
                .refused(415, "request.content-type");
        }
        let spoilt = [
            ("empty", String::new()),
            ("nothing but blanks", "  ".to_owned()),
            ("cut off", good[..good.len() - 1].to_owned()),
            ("two documents", format!("{good}{good}")),
            ("a byte order mark", format!("\u{feff}{good}")),
            ("a member twice", doubled(&good)),
            ("too deep", deep.clone()),
            ("much too deep", abyss.clone()),
            ("not a number", "{\"a\":NaN}".to_owned()),
            ("an array", "[]".to_owned()),
            ("a string", "\"x\"".to_owned()),
            ("null", "null".to_owned()),
        ];
        for (title, body) in spoilt {
            let answer = send(json, body).await;
            assert_eq!(answer.status, 400, "{}: {title}: {}", case.route, answer.text());
        }
        if case.door != Door::Pep {
            let unknown = good.replacen('{', "{\"surprise\":1,", 1).replace(",}", "}");
            let answer = send(json, unknown).await;
            answer.refused(400, "request.body");
            assert!(answer.text().contains("surprise"), "{}", answer.text());
        }
    }
    assert_eq!(bed.entries("state").await.len(), before, "something was done");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_path_a_wrong_method_and_a_foreign_host_are_refused() {
    let bed = Bed::start().await;
    let unknown = bed.get("/v1/nothing").await;
    unknown.refused(404, "request.not-found");
    let wrong = bed.send("DELETE", "/v1/tenants", &[], "").await;
    wrong.refused(405, "request.method");
    assert!(wrong.header("allow").contains("GET"), "{:?}", wrong.headers);
    for (name, value) in [
        ("host", "attacker.example"),
        ("host", "bailiwick.test.attacker.example"),
    ] {
        let answer = bed.send("GET", "/metrics", &[(name, value)], "").await;
        answer.refused(403, "http.host");
    }
    let rebound = bed
        .send(
            "GET",
            "/v1/tenants",
            &[("origin", "https://attacker.example")],
            "",
        )
        .await;
    rebound.refused(403, "http.origin");
    let probed = bed.send("GET", "/readyz", &[("host", "10.0.0.7:8787")], "").await;
    assert_eq!(probed.status, 200, "health is asked for by address");
    let right = bed
        .send("GET", "/metrics", &[("host", "bailiwick.test")], "")
        .await;
    assert_eq!(right.status, 200);
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ] {
        assert_eq!(unknown.header(name), value);
        assert_eq!(right.header(name), value);
    }
}
