//! One case for each route: who is let in, a body that is understood, and whose identifiers it takes.

use http::header;
use serde_json::{Value, json};

use crate::bed::{Answer, Bed, identity, server, task};

/// Who is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// An enforcement point with its token.
    Pep,
    /// A client with an assertion.
    Client,
    /// The bearer of an access token.
    Holder,
    /// An operator.
    Operator,
    /// Anybody.
    Public,
}

/// The identifiers of one tenant.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) credential: String,
    pub(super) identity: String,
    pub(super) task: String,
    pub(super) public_client: String,
    pub(super) trust: String,
    pub(super) subscription: String,
    pub(super) transmitter: String,
    pub(super) server: String,
    pub(super) token: String,
}

pub(super) struct Case {
    pub(super) route: &'static str,
    pub(super) door: Door,
    /// A body that is understood, with the identifiers given.
    pub(super) body: fn(&Names) -> Value,
    /// Whether it takes identifiers of something inside a tenant.
    pub(super) named: bool,
}

const fn case(route: &'static str, door: Door, body: fn(&Names) -> Value) -> Case {
    let named = false;
    Case {
        route,
        door,
        body,
        named,
    }
}

const fn named(route: &'static str, door: Door, body: fn(&Names) -> Value) -> Case {
    let named = true;
    Case {
        route,
        door,
        body,
        named,
    }
}

fn none(_: &Names) -> Value {
    Value::Null
}

fn nothing(_: &Names) -> Value {
    json!({})
}

fn why(_: &Names) -> Value {
    json!({"reason": "a drill"})
}

fn question(names: &Names) -> Value {
    json!({
        "subject": {"type": "identity", "id": names.identity}, "action": {"name": "read"},
        "resource": {"type": "document", "id": "1"}, "context": {"task": names.task},
    })
}

pub(super) fn credential(name: &str, names: &Names) -> Value {
    json!({"name": name, "kind": "generic", "identity": names.identity, "secret": "c2VjcmV0"})
}

fn all(_: &Names) -> Value {
    json!({"scope": "all", "reason": "a drill", "suspend": true, "dry_run": true})
}

/// One line per route of the service.
pub(super) const CASES: &[Case] = &[
    case(
        "GET /.well-known/oauth-authorization-server/t/{tenant}",
        Door::Public,
        none,
    ),
    case(
        "GET /.well-known/openid-configuration/t/{tenant}",
        Door::Public,
        none,
    ),
    case(
        "GET /t/{tenant}/.well-known/openid-configuration",
        Door::Public,
        none,
    ),
    case(
        "GET /t/{tenant}/.well-known/oauth-authorization-server",
        Door::Public,
        none,
    ),
    case(
        "GET /.well-known/oauth-protected-resource/t/{tenant}/mcp",
        Door::Public,
        none,
    ),
    named(
        "GET /.well-known/oauth-protected-resource/t/{tenant}/mcp/{server}",
        Door::Public,
        none,
    ),
    case("GET /t/{tenant}/jwks", Door::Public, none),
    case("GET /t/{tenant}/status-lists/{list}", Door::Public, none),
    case("GET /t/{tenant}/authorize", Door::Public, none),
    case("GET /t/{tenant}/authorize/{place}", Door::Public, none),
    case("POST /t/{tenant}/authorize/{place}", Door::Client, none),
    case("GET /t/{tenant}/spiffe/bundle", Door::Public, none),
    case("POST /t/{tenant}/token", Door::Client, none),
    case("POST /t/{tenant}/revoke", Door::Client, none),
    case("POST /t/{tenant}/introspect", Door::Client, none),
    case("POST /access/v1/evaluation", Door::Pep, question),
    case("POST /access/v1/evaluations", Door::Pep, question),
    case("POST /t/{tenant}/access/v1/evaluation", Door::Pep, question),
    case("POST /t/{tenant}/access/v1/evaluations", Door::Pep, question),
    case(
        "GET /.well-known/authzen-configuration/t/{tenant}",
        Door::Public,
        none,
    ),
    case(
        "GET /t/{tenant}/.well-known/authzen-configuration",
        Door::Public,
        none,
    ),
    case("GET /v1/tenants", Door::Operator, none),
    case(
        "POST /v1/tenants",
        Door::Operator,
        |_| json!({"tenant": "other", "name": "o", "employees": 1}),
    ),
    case("GET /v1/tenants/{tenant}/identities", Door::Operator, none),
    case("POST /v1/tenants/{tenant}/identities", Door::Operator, |_| {
        identity("fresh")
    }),
    named("GET /v1/tenants/{tenant}/identities/{id}", Door::Operator, none),
    named(
        "PUT /v1/tenants/{tenant}/identities/{id}/composition",
        Door::Operator,
        |_| json!({"model": "A".repeat(43)}),
    ),
    named(
        "POST /v1/tenants/{tenant}/identities/{id}/activate",
        Door::Operator,
        nothing,
    ),
    named(
        "POST /v1/tenants/{tenant}/identities/{id}/suspend",
        Door::Operator,
        why,
    ),
    named(
        "POST /v1/tenants/{tenant}/identities/{id}/resume",
        Door::Operator,
        why,
    ),
    named(
        "POST /v1/tenants/{tenant}/identities/{id}/retire",
        Door::Operator,
        why,
    ),
    case("GET /v1/tenants/{tenant}/credentials", Door::Operator, none),
    named("POST /v1/tenants/{tenant}/credentials", Door::Operator, |names| {
        credential("fresh", names)
    }),
    named("GET /v1/tenants/{tenant}/credentials/{id}", Door::Operator, none),
    named(
        "POST /v1/tenants/{tenant}/credentials/{id}/correct",
        Door::Operator,
        |_| json!({"every": 7_200, "reason": "a drill"}),
    ),
    named(
        "POST /v1/tenants/{tenant}/credentials/{id}/remove",
        Door::Operator,
        why,
    ),
    named(
        "POST /v1/tenants/{tenant}/credentials/{id}/fetch",
        Door::Operator,
        nothing,
    ),
    named(
        "POST /v1/tenants/{tenant}/credentials/{id}/replace",
        Door::Operator,
        |_| json!({"secret": "c2VjcmV0"}),
    ),
    named(
        "POST /v1/tenants/{tenant}/credentials/{id}/rotate",
        Door::Operator,
        why,
    ),
    named(
        "POST /v1/tenants/{tenant}/credentials/{id}/revoke",
        Door::Operator,
        why,
    ),
    named(
        "POST /v1/tenants/{tenant}/credentials/{id}/rotation/confirm",
        Door::Operator,
        |_| json!({"consumer": "billing"}),
    ),
    named(
        "POST /v1/tenants/{tenant}/leases/{id}/return",
        Door::Operator,
        why,
    ),
    named("GET /v1/tenants/{tenant}/tasks/{id}", Door::Operator, none),
    named(
        "POST /v1/tenants/{tenant}/tasks/{id}/leases",
        Door::Operator,
        |names| json!({"credential": names.credential, "for": 60, "reason": "a drill"}),
    ),
    named(
        "POST /v1/tenants/{tenant}/credentials/{id}/rotation/cancel",
        Door::Operator,
        why,
    ),
    case("GET /v1/tenants/{tenant}/clients", Door::Operator, none),
    named("POST /v1/tenants/{tenant}/clients", Door::Operator, |names| {
        let (_, jwk) = bailiwick_server::operator::generate_client_key("EdDSA").unwrap();
        json!({"identity": names.identity, "jwk": jwk})
    }),
    named(
        "POST /v1/tenants/{tenant}/clients/{id}/remove",
        Door::Operator,
        why,
    ),
    case(
        "GET /.well-known/ssf-configuration/t/{tenant}",
        Door::Public,
        none,
    ),
    case(
        "GET /t/{tenant}/.well-known/ssf-configuration",
        Door::Public,
        none,
    ),
    case("GET /t/{tenant}/ssf/stream", Door::Pep, none),
    case("POST /t/{tenant}/ssf/stream", Door::Pep, nothing),
    case("PATCH /t/{tenant}/ssf/stream", Door::Pep, nothing),
    case("PUT /t/{tenant}/ssf/stream", Door::Pep, nothing),
    case("DELETE /t/{tenant}/ssf/stream", Door::Pep, none),
    case("GET /t/{tenant}/ssf/status", Door::Pep, none),
    case(
        "POST /t/{tenant}/ssf/status",
        Door::Pep,
        |names| json!({"stream_id": names.subscription, "status": "paused"}),
    ),
    case(
        "POST /t/{tenant}/ssf/subjects/add",
        Door::Pep,
        |names| json!({"stream_id": names.subscription, "subject": {"format": "opaque", "id": "x"}}),
    ),
    case(
        "POST /t/{tenant}/ssf/subjects/remove",
        Door::Pep,
        |names| json!({"stream_id": names.subscription, "subject": {"format": "opaque", "id": "x"}}),
    ),
    case(
        "POST /t/{tenant}/ssf/verify",
        Door::Pep,
        |names| json!({"stream_id": names.subscription}),
    ),
    case(
        "POST /t/{tenant}/ssf/poll/{stream}",
        Door::Pep,
        |_| json!({"returnImmediately": true}),
    ),
    // Known by what they send alone.
    case("POST /t/{tenant}/ssf/events", Door::Client, none),
    case("GET /v1/tenants/{tenant}/subscriptions", Door::Operator, none),
    named(
        "POST /v1/tenants/{tenant}/subscriptions/{id}/status",
        Door::Operator,
        |_| json!({"status": "paused", "reason": "a drill"}),
    ),
    named(
        "POST /v1/tenants/{tenant}/subscriptions/{id}/remove",
        Door::Operator,
        why,
    ),
    case(
        "POST /v1/tenants/{tenant}/webhooks",
        Door::Operator,
        |_| json!({"url": "https://hooks.acme.example/in"}),
    ),
    named(
        "POST /v1/tenants/{tenant}/webhooks/{id}/rotate",
        Door::Operator,
        |_| json!({"overlap_secs": 60}),
    ),
    case("GET /v1/tenants/{tenant}/transmitters", Door::Operator, none),
    case(
        "POST /v1/tenants/{tenant}/transmitters",
        Door::Operator,
        |_| json!({"issuer": "https://fresh.example", "jwks_url": "https://fresh.example/jwks"}),
    ),
    named(
        "POST /v1/tenants/{tenant}/transmitters/{id}/remove",
        Door::Operator,
        why,
    ),
    case("GET /v1/tenants/{tenant}/trusts", Door::Operator, none),
    named(
        "POST /v1/tenants/{tenant}/trusts",
        Door::Operator,
        |names| json!({"identity": names.identity, "method": "github", "attributes": {}}),
    ),
    named(
        "POST /v1/tenants/{tenant}/trusts/{id}/remove",
        Door::Operator,
        why,
    ),
    case("GET /v1/tenants/{tenant}/public-clients", Door::Operator, none),
    case(
        "POST /v1/tenants/{tenant}/public-clients",
        Door::Operator,
        |_| json!({"name": "fresh", "redirects": ["https://app.example/cb"]}),
    ),
    named(
        "POST /v1/tenants/{tenant}/public-clients/{id}/remove",
        Door::Operator,
        why,
    ),
    case("GET /v1/tenants/{tenant}/consents", Door::Operator, none),
    case(
        "GET /v1/tenants/{tenant}/consents/waiting/{code}",
        Door::Operator,
        none,
    ),
    case(
        "POST /v1/tenants/{tenant}/consents/waiting/{code}/allow",
        Door::Operator,
        |names| json!({"task": names.task}),
    ),
    case(
        "POST /v1/tenants/{tenant}/consents/waiting/{code}/refuse",
        Door::Operator,
        why,
    ),
    case("GET /v1/tenants/{tenant}/keys", Door::Operator, none),
    case("GET /v1/tenants/{tenant}/egress", Door::Operator, none),
    case("POST /v1/tenants/{tenant}/keys/rotate", Door::Operator, nothing),
    case("GET /v1/tenants/{tenant}/tasks", Door::Operator, none),
    named("POST /v1/tenants/{tenant}/tasks", Door::Operator, |names| {
        task(&names.identity, &["files:echo"])
    }),
    named(
        "POST /v1/tenants/{tenant}/tasks/{id}/tokens",
        Door::Holder,
        |_| json!({"count": 1}),
    ),
    named(
        "POST /v1/tenants/{tenant}/tasks/{id}/heartbeat",
        Door::Operator,
        |_| json!({"secs": 60}),
    ),
    named(
        "POST /v1/tenants/{tenant}/tasks/{id}/close",
        Door::Operator,
        nothing,
    ),
    case("GET /v1/tenants/{tenant}/servers", Door::Operator, none),
    case("POST /v1/tenants/{tenant}/servers", Door::Operator, |_| {
        server("fresh", "http://127.0.0.1:1/mcp")
    }),
    named("GET /v1/tenants/{tenant}/servers/{name}", Door::Operator, none),
    named(
        "POST /v1/tenants/{tenant}/servers/{name}/pin",
        Door::Operator,
        nothing,
    ),
    named(
        "POST /v1/tenants/{tenant}/servers/{name}/credential",
        Door::Operator,
        |_| json!({"credential": "c2VjcmV0"}),
    ),
    case("GET /v1/tenants/{tenant}/policies", Door::Operator, none),
    case(
        "PUT /v1/tenants/{tenant}/policies",
        Door::Operator,
        |_| json!({"cedar": ""}),
    ),
    named("POST /v1/tenants/{tenant}/check", Door::Operator, |names| {
        json!({
            "principal": names.identity, "action": "tools/call",
            "resource": format!("{}:echo", names.server), "task": names.task,
        })
    }),
    case("GET /v1/tenants/{tenant}/count", Door::Operator, none),
    named(
        "POST /v1/tenants/{tenant}/kill",
        Door::Operator,
        |names| json!({"scope": "identity", "name": names.identity, "reason": "a drill"}),
    ),
    named(
        "POST /v1/tenants/{tenant}/resume",
        Door::Operator,
        |names| json!({"scope": "identity", "name": names.identity, "reason": "a drill"}),
    ),
    case("GET /v1/tenants/{tenant}/marks", Door::Operator, none),
    case(
        "GET /v1/tenants/{tenant}/logs/{log}/entries",
        Door::Operator,
        none,
    ),
    case("GET /v1/operators", Door::Operator, none),
    case(
        "POST /v1/operators",
        Door::Operator,
        |_| json!({"name": "grace", "public_key": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
    ),
    named(
        "POST /v1/tenants/{tenant}/servers/{name}/reads",
        Door::Operator,
        nothing,
    ),
    case("GET /v1/tenants/{tenant}/kills", Door::Operator, none),
    named("GET /v1/tenants/{tenant}/kills/{id}", Door::Operator, none),
    named("POST /v1/tenants/{tenant}/kills/{id}/sign", Door::Operator, why),
    case("GET /v1/tenants/{tenant}/drills", Door::Operator, none),
    case("POST /v1/tenants/{tenant}/drills", Door::Operator, nothing),
    case("GET /v1/all-tenants/kills", Door::Operator, none),
    named("GET /v1/all-tenants/kills/{id}", Door::Operator, none),
    named("POST /v1/all-tenants/kills/{id}/sign", Door::Operator, why),
    case("GET /v1/all-tenants/count", Door::Operator, none),
    case("GET /v1/all-tenants/marks", Door::Operator, none),
    case("POST /v1/all-tenants/kill", Door::Operator, all),
    case("POST /v1/all-tenants/resume", Door::Operator, all),
    case("GET /v1/nodes", Door::Operator, none),
    case("POST /v1/nodes", Door::Operator, |_| json!({"node": "fresh"})),
    case("POST /v1/nodes/join", Door::Client, none),
    case("POST /v1/nodes/{node}/drain", Door::Operator, why),
    case("POST /v1/nodes/{node}/undrain", Door::Operator, why),
    case("POST /v1/nodes/{node}/fence", Door::Operator, why),
    case("POST /v1/nodes/{node}/readmit", Door::Operator, why),
    case("GET /v1/sidecars", Door::Operator, none),
    case(
        "POST /v1/sidecars",
        Door::Operator,
        |_| json!({"sidecar": "fresh-sidecar", "tenants": ["acme"]}),
    ),
    case("POST /v1/sidecars/join", Door::Client, none),
    case("POST /v1/sidecars/{sidecar}/remove", Door::Operator, why),
    case("POST /v1/sidecars/{sidecar}/word", Door::Client, none),
    case("GET /v1/logs", Door::Operator, none),
    case("GET /v1/logs/{log}/proof", Door::Operator, none),
    case("GET /v1/logs/{log}/entries", Door::Operator, none),
    case("GET /v1/logs/{log}/openings", Door::Operator, none),
    case(
        "POST /v1/logs/{log}/prune",
        Door::Operator,
        |_| json!({"up_to": 0, "reason": "a drill", "dry_run": true}),
    ),
    named("POST /t/{tenant}/mcp/{server}", Door::Holder, |_| {
        crate::bed::modern("tools/list", json!({}))
    }),
    case("GET /healthz", Door::Public, none),
    case("GET /readyz", Door::Public, none),
    case("GET /metrics", Door::Public, none),
];

impl Case {
    pub(super) fn method(&self) -> &'static str {
        self.route.split(' ').next().unwrap()
    }

    pub(super) fn path(&self, tenant: &str, names: &Names) -> String {
        let path = self.route.split(' ').nth(1).unwrap();
        let id = if path.contains("/credentials/") {
            &names.credential
        } else if path.contains("/tasks/") {
            &names.task
        } else if path.contains("/public-clients/") {
            &names.public_client
        } else if path.contains("/trusts/") {
            &names.trust
        } else if path.contains("/subscriptions/") || path.contains("/webhooks/") {
            &names.subscription
        } else if path.contains("/transmitters/") {
            &names.transmitter
        } else {
            &names.identity
        };
        let path = path
            .replace("{tenant}", tenant)
            .replace("{id}", id)
            .replace("{server}", &names.server)
            .replace("{name}", &names.server)
            .replace("{place}", "nowhere")
            .replace("{list}", "0")
            .replace("{stream}", &names.subscription)
            .replace("{node}", "node-9")
            .replace("{sidecar}", "sidecar-9")
            .replace("{code}", "BCDF-GHJK")
            .replace("{log}", "decisions");
        if path.ends_with("/proof") {
            format!("{path}?entry=0")
        } else {
            path
        }
    }

    pub(super) async fn send(&self, bed: &Bed, tenant: &str, names: &Names, bearer: Option<&str>) -> Answer {
        let authorization = bearer.map(|b| format!("Bearer {b}"));
        let mut headers = vec![
            (header::CONTENT_TYPE.as_str(), "application/json"),
            (header::ACCEPT.as_str(), "application/json, text/event-stream"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/list"),
        ];
        if let Some(text) = &authorization {
            headers.push((header::AUTHORIZATION.as_str(), text));
        }
        let body = match (self.body)(names) {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        bed.send(self.method(), &self.path(tenant, names), &headers, body)
            .await
    }
}
