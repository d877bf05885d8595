//! AuthZEN over HTTP (goal b4): bare axum, the product's doors queued, and the product durable.

use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::gauge::figure;
use crate::http::{Connection, Load, Taken, request};
use crate::installation::{Installation, Server, free_port};

const POLICIES: usize = 1_000;
const ASKED: usize = 500;
const CONNECTIONS: usize = 32;
const BATCH: usize = 32;
const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// Policies of users and records: one that asks for a supplied attribute, the others one user and one record.
fn policies() -> String {
    let mut text = String::new();
    for k in 0..POLICIES {
        let _ = writeln!(
            text,
            "@id(\"p{k}\") permit (principal == user::\"u{k}\", action == Action::\"read\", resource == record::\"r{k}\");"
        );
    }
    text
}

fn question(n: usize) -> Value {
    json!({
        "subject": {"type": "user", "id": format!("u{n}")},
        "action": {"name": "read"},
        "resource": {"type": "record", "id": format!("r{n}")},
        "context": {"ip": "10.1.2.3", "tenant": "acme", "risk": 12, "note": "as long as the floor's question is"},
    })
}

struct Target<'a> {
    name: &'a str,
    server: &'a Server,
    token: &'a str,
}

impl Target<'_> {
    fn request(&self, path: &str, body: &Value) -> Vec<u8> {
        let authorization = format!("Bearer {}", self.token);
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
        ];
        request("POST", &self.server.address, path, &headers, &body.to_string())
    }

    async fn load(&self, request: Vec<u8>, connections: usize, span: Duration) -> anyhow::Result<Taken> {
        let load = Load {
            address: self.server.address.clone(),
            connections,
            warm: span / 4,
            span,
            requests: Rc::new(vec![request]),
            once: false,
            server: Some(self.server.pid()),
        };
        load.run().await
    }

    /// The answer is a permit: what is measured is what was meant.
    async fn require_permit(&self, path: &str, body: &Value) -> anyhow::Result<()> {
        let mut connection = Connection::open(&self.server.address).await?;
        let status = connection.exchange(&self.request(path, body)).await?;
        let reply = connection.reply();
        let permits = reply.body.matches("\"decision\":true").count();
        let expected = body
            .get("evaluations")
            .and_then(Value::as_array)
            .map_or(1, Vec::len);
        anyhow::ensure!(
            status == 200 && permits == expected,
            "{}: {status} {}",
            self.name,
            reply.body
        );
        Ok(())
    }
}

pub(crate) async fn run(folder: &Path, limits: &Path, span: Duration) -> anyhow::Result<()> {
    let installation = Installation::start(folder, SERVER_CORE).await?;
    installation.add_tenant("acme", "ES256").await?;
    let identity = installation.add_identity("acme", "outside-pep").await?;
    let path = "/v1/tenants/acme/policies";
    let _written: Value = installation
        .send("PUT", path, &json!({"cedar": policies()}))
        .await?;
    let (_, token) = installation
        .open_task("acme", &identity, &["authzen:evaluate"], &[])
        .await?;
    let queued = installation.queued(folder, SERVER_CORE).await?;
    let port = free_port()?;
    let port_text = port.to_string();
    let axum = Server::start(
        &limits.join("httpd"),
        &["--kind", "axum", "--port", &port_text],
        port,
        SERVER_CORE,
    )?;
    let targets = [
        ("axum", &axum),
        ("queued", &queued),
        ("durable", &installation.service),
    ]
    .map(|(name, server)| Target {
        name,
        server,
        token: &token,
    });
    one(&targets, span).await?;
    batches(&targets, span).await?;
    for target in &targets {
        target.server.pin(LOAD_CORE)?;
    }
    latency(&targets, span).await
}

async fn one(targets: &[Target<'_>], span: Duration) -> anyhow::Result<()> {
    for target in targets {
        let (path, body) = ("/access/v1/evaluation", question(ASKED));
        target.require_permit(path, &body).await?;
        let mut taken = target
            .load(target.request(path, &body), CONNECTIONS, span)
            .await?;
        let name = target.name;
        figure(&format!("authzen {name} rate"), taken.per_s, "req/s");
        figure(&format!("authzen {name} cpu"), taken.cpu, "us");
        taken.sample.print(&format!("authzen {name}"));
    }
    Ok(())
}

async fn batches(targets: &[Target<'_>], span: Duration) -> anyhow::Result<()> {
    let items: Vec<Value> = (0..BATCH).map(question).collect();
    let body = json!({ "evaluations": items });
    for target in targets.iter().filter(|target| target.name != "axum") {
        let path = "/access/v1/evaluations";
        target.require_permit(path, &body).await?;
        let taken = target
            .load(target.request(path, &body), CONNECTIONS, span)
            .await?;
        let decisions = crate::gauge::count(BATCH);
        figure(
            &format!("authzen {} batch", target.name),
            taken.per_s * decisions,
            "decisions/s",
        );
        figure(
            &format!("authzen {} batch cpu", target.name),
            taken.cpu / decisions,
            "us",
        );
    }
    Ok(())
}

/// One connection, both ends on one core.
async fn latency(targets: &[Target<'_>], span: Duration) -> anyhow::Result<()> {
    for target in targets {
        let request = target.request("/access/v1/evaluation", &question(ASKED));
        let mut taken = target.load(request, 1, span).await?;
        taken
            .sample
            .print(&format!("authzen {} one connection", target.name));
    }
    Ok(())
}
