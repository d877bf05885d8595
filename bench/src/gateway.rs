//! The MCP gateway (goal b5): the way to a server with nothing between, with the least that can be between,
//! and with the gateway between, queued and durable. Client, gateway and server share one core.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::gauge::{Sample, count, figure, resident};
use crate::http::{Connection, Load, request};
use crate::installation::{Installation, Server, free_port};

const REVISION: &str = "2026-07-28";
const CORE: usize = 1;
const TENANT: &str = "acme";
/// Calls a second that fresh tokens are made for.
const FRESH_PER_S: f64 = 16_000.0;
/// Sessions that are opened to see what one takes, after as many of a tenth to warm up.
const SESSIONS: usize = 2_000;

/// A `tools/call` of the stateless revision.
pub(crate) fn call_body() -> String {
    json!({
        "jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": {
            "name": "echo",
            "arguments": {"text": "the quick brown fox jumps over the lazy dog and comes back to do it once more"},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": REVISION,
                "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    })
    .to_string()
}

pub(crate) fn call(address: &str, path: &str, token: &str, body: &str) -> Vec<u8> {
    let authorization = format!("Bearer {token}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", REVISION),
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
    ];
    request("POST", address, path, &headers, body)
}

/// An installation with one server and one identity that may call its tool.
pub(crate) struct Scene {
    pub(crate) installation: Installation,
    pub(crate) backend: Server,
    identity: String,
}

impl Scene {
    pub(crate) async fn set(folder: &Path, limits: &Path, core: usize) -> anyhow::Result<Self> {
        let backend = listening(&limits.join("mcp_backend"), &[], core)?;
        let installation = Installation::start(folder, core).await?;
        installation.add_tenant(TENANT, "ES256").await?;
        let identity = installation.add_identity(TENANT, "caller").await?;
        let url = format!("http://{}/mcp", backend.address);
        installation.add_server(TENANT, "limits", &url).await?;
        Ok(Self {
            installation,
            backend,
            identity,
        })
    }
}

fn listening(program: &Path, arguments: &[&str], core: usize) -> anyhow::Result<Server> {
    let port = free_port()?;
    let text = port.to_string();
    let mut all = vec!["--port", text.as_str()];
    all.extend(arguments);
    Server::start(program, &all, port, core)
}

struct Way<'a> {
    name: &'a str,
    server: &'a Server,
    /// Whose CPU time counts.
    counted: bool,
    requests: Vec<Vec<u8>>,
    once: bool,
    span: Duration,
}

impl Way<'_> {
    async fn go(self) -> anyhow::Result<(String, Sample, f64)> {
        let load = Load {
            address: self.server.address.clone(),
            connections: 1,
            warm: self.span / 5,
            span: self.span,
            requests: Rc::new(self.requests),
            once: self.once,
            server: self.counted.then(|| self.server.pid()),
        };
        let taken = load.run().await?;
        Ok((self.name.to_owned(), taken.sample, taken.cpu))
    }
}

pub(crate) async fn run(folder: &Path, limits: &Path, span: Duration) -> anyhow::Result<()> {
    let scene = Scene::set(folder, limits, CORE).await?;
    let installation = &scene.installation;
    let (task, token) = installation
        .open_task(TENANT, &scene.identity, &["limits:echo"], &[])
        .await?;
    let fresh_span = span / 2;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of tokens"
    )]
    let wanted = (fresh_span.as_secs_f64() * 1.2 * FRESH_PER_S) as usize;
    let tokens = installation.tokens(TENANT, &task, wanted).await?;
    let queued = installation.queued(folder, CORE).await?;
    let upstream = scene.backend.address.clone();
    let l7 = listening(
        &limits.join("relay"),
        &["--kind", "l7", "--upstream", &upstream],
        CORE,
    )?;
    let l7auth = listening(
        &limits.join("relay"),
        &["--kind", "l7auth", "--upstream", &upstream],
        CORE,
    )?;
    let body = call_body();
    let path = format!("/t/{TENANT}/mcp/limits");
    for server in [&queued, &installation.service] {
        require_result(server, &call(&server.address, &path, &token, &body)).await?;
    }
    let plain = |name, server, counted| Way {
        name,
        server,
        counted,
        requests: vec![call("127.0.0.1", "/mcp", &token, &body)],
        once: false,
        span,
    };
    let ours = |server: &Server| vec![call(&server.address, &path, &token, &body)];
    let ways = vec![
        plain("direct", &scene.backend, false),
        plain("l7", &l7, true),
        plain("l7auth", &l7auth, true),
        Way {
            requests: ours(&queued),
            ..plain("queued", &queued, true)
        },
        Way {
            requests: ours(&installation.service),
            ..plain("durable", &installation.service, true)
        },
        Way {
            requests: tokens
                .iter()
                .map(|token| call(&queued.address, &path, token, &body))
                .collect(),
            once: true,
            span: fresh_span,
            ..plain("fresh", &queued, true)
        },
    ];
    let (mut direct50, mut direct99, mut queued50) = (0.0, 0.0, 0.0);
    for way in ways {
        let (name, mut sample, cpu) = way.go().await?;
        let (p50, p99) = (sample.quantile(0.5), sample.quantile(0.99));
        figure(&format!("gateway {name} p50"), p50, "us");
        figure(&format!("gateway {name} p99"), p99, "us");
        if name == "direct" {
            (direct50, direct99) = (p50, p99);
            continue;
        }
        figure(&format!("gateway {name} added p50"), p50 - direct50, "us");
        figure(&format!("gateway {name} added p99"), p99 - direct99, "us");
        figure(&format!("gateway {name} cpu"), cpu, "us");
        match name.as_str() {
            "queued" => queued50 = p50,
            "durable" => figure("gateway durability p50", p50 - queued50, "us"),
            _ => {}
        }
    }
    Ok(())
}

/// The call came through: what is measured is what was meant.
async fn require_result(server: &Server, request: &[u8]) -> anyhow::Result<()> {
    let mut connection = Connection::open(&server.address).await?;
    let status = connection.exchange(request).await?;
    let reply = connection.reply();
    anyhow::ensure!(
        status == 200 && reply.body.contains("quick brown fox") && reply.body.contains("\"result\""),
        "{status} {}{}",
        reply.head,
        reply.body
    );
    Ok(())
}

/// Memory of an open session of 2025-11-25.
pub(crate) async fn sessions(folder: &Path, limits: &Path) -> anyhow::Result<()> {
    let scene = Scene::set(folder, limits, CORE).await?;
    let service = &scene.installation.service;
    let mut tokens = Vec::new();
    for n in 0..3 {
        let identity = scene
            .installation
            .add_identity(TENANT, &format!("caller-{n}"))
            .await?;
        let (_, token) = scene
            .installation
            .open_task(TENANT, &identity, &["limits:echo"], &[])
            .await?;
        tokens.push(token);
    }
    let mut connection = Connection::open(&service.address).await?;
    let mut open = async |number: usize| -> anyhow::Result<()> {
        let token = tokens
            .get(number % tokens.len())
            .map(String::as_str)
            .unwrap_or_default();
        let request = initialize(&service.address, token);
        let status = connection.exchange(&request).await?;
        let reply = connection.reply();
        anyhow::ensure!(
            reply.header("mcp-session-id").is_some(),
            "no session: {status} {}{}",
            reply.head,
            reply.body
        );
        Ok(())
    };
    for number in 0..SESSIONS / 10 {
        open(number).await?;
    }
    let before = resident(service.pid())?;
    for number in 0..SESSIONS {
        open(number).await?;
    }
    let after = resident(service.pid())?;
    figure(
        "session memory",
        (after - before) / count(SESSIONS) / 1024.0,
        "KiB",
    );
    Ok(())
}

fn initialize(address: &str, token: &str) -> Vec<u8> {
    let body: Value = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "bench", "version": "1"},
        },
    });
    let authorization = format!("Bearer {token}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    let path = format!("/t/{TENANT}/mcp/limits");
    request("POST", address, &path, &headers, &body.to_string())
}
