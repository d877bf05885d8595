//! One tenant, two identities with a task each, a gateway with a real pipeline and a recorder that remembers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bailiwick_base::{
    Clock, CredentialId, Digest, Epoch, GrantId, IdentityId, Ids, ManualClock, Secret, SeededEntropy,
    ServerName, SigningAlgorithm, StatePos, TaskId, TenantId, Time, TokenId,
};
use bailiwick_credential::{Claims, ScopeSet, Task, TaskState};
use bailiwick_decide::{
    Bearer, Call, Connection, Decision, Effect, Fact, Mark, MarkEffect, MarkScope, PinState, Snapshot,
    Target, ToolPin, UpstreamServer,
};
use bailiwick_grant::{Grant, parse_scope};
use bailiwick_inventory::{Identity, Kind, Labels, Origin, Owner, State, Tenant, TenantState};
use bailiwick_mcp::launcher::Launcher;
use bailiwick_mcp::{
    Authenticator, BoxFuture, Gateway, GatewayConfig, GatewayDeps, PinReport, PinReportError, PinReporter,
    Spawner, UpstreamSecrets,
};
use bailiwick_outbound::Dialer;
use bailiwick_pep::token::{Presented, TokenError, bearer};
use bailiwick_pep::{Outcome, Pep, RecordFuture, Recorder, Sequenced, SnapshotCell};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

pub(crate) const BASE: &str = "https://bailiwick.example";
pub(crate) const UPSTREAM_SECRET: &str = "upstream-secret-0123456789";

pub(crate) fn at(secs: i64) -> Time {
    Time::from_secs(1_000_000 + secs)
}

pub(crate) fn tenant_id() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub(crate) fn identity_id(n: u128) -> IdentityId {
    IdentityId::from_parts(tenant_id(), Uuid::from_u128(n))
}

pub(crate) fn task_id(n: u128) -> TaskId {
    TaskId::from_parts(tenant_id(), Uuid::from_u128(n))
}

pub(crate) fn credential_id() -> CredentialId {
    CredentialId::from_parts(tenant_id(), Uuid::from_u128(5))
}

fn tenant() -> Fact {
    let tenant = Tenant {
        id: tenant_id(),
        name: "Acme".to_owned(),
        employees: 10,
        reference: "0011223344556677".to_owned(),
        state: TenantState::Active,
        created_at: at(-1000),
    };
    Fact::Tenant(Arc::new(tenant), SigningAlgorithm::default())
}

fn identity(n: u128) -> Fact {
    Fact::Identity(Arc::new(Identity {
        id: identity_id(n),
        kind: Kind::Agent,
        name: format!("agent-{n}"),
        platform: "bailiwick".to_owned(),
        owner: Owner {
            team: "payments".to_owned(),
            contact: "payments@acme.test".to_owned(),
        },
        application: None,
        purpose: "reads invoices".to_owned(),
        labels: Labels::default(),
        origin: Origin::Registered,
        state: State::Active,
        composition: None,
        created_at: at(-1000),
        expires_at: at(100_000),
        changed_at: at(-1000),
    }))
}

pub(crate) fn task(n: u128, scopes: &[&str], state: TaskState) -> Fact {
    let task = Task {
        id: task_id(n),
        identity: identity_id(n),
        purpose: "monthly close".to_owned(),
        requested_by: "operator".to_owned(),
        opens_at: at(-100),
        closes_at: at(10_000),
        state,
        may_act: Vec::new(),
    };
    let grant = Grant {
        id: GrantId::from_parts(tenant_id(), Uuid::from_u128(n)),
        task: task_id(n),
        identity: identity_id(n),
        scopes: scopes.iter().map(|s| parse_scope(s).unwrap()).collect(),
        expires_at: at(10_000),
    };
    Fact::Task(Arc::new(task), Arc::new(grant))
}

/// What was recorded: method, item, and `permit` or the reason code.
#[derive(Default)]
pub(crate) struct Remembered {
    pub(crate) decisions: Mutex<Vec<(String, String, String)>>,
    pub(crate) outcomes: Mutex<Vec<(String, Outcome)>>,
}

impl Recorder for Remembered {
    fn record<'a>(&'a self, call: &'a Call, decision: &'a Decision) -> RecordFuture<'a> {
        let (method, item) = named(call);
        let effect = match &decision.effect {
            Effect::Permit => "permit".to_owned(),
            Effect::Deny(reason) => reason.code().to_owned(),
            Effect::Hold(_) => "hold".to_owned(),
        };
        let mut all = self.decisions.lock().unwrap();
        all.push((method, item, effect));
        let index = all.len() as u64;
        Box::pin(async move { Ok(Sequenced { index }) })
    }

    fn record_outcome(&self, call: &Call, outcome: Outcome) {
        self.outcomes.lock().unwrap().push((named(call).0, outcome));
    }
}

fn named(call: &Call) -> (String, String) {
    match &call.target {
        Target::Mcp { method, item, .. } => (
            method.clone(),
            item.as_ref().map(|(_, n)| n.clone()).unwrap_or_default(),
        ),
        _ => Default::default(),
    }
}

/// Tokens by their text.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<BTreeMap<String, Bearer>>);

impl Authenticator for Tokens {
    fn verify(&self, _: &TenantId, presented: &Presented<'_>, _: Time) -> Result<Bearer, TokenError> {
        let token = bearer(presented.headers)?.ok_or(TokenError::Bearer)?;
        let token = std::str::from_utf8(token).unwrap();
        let found = self.0.lock().unwrap().get(token).cloned();
        found.ok_or(TokenError::Signature)
    }

    fn nonce(&self, _: Time) -> String {
        "nonce".to_owned()
    }
}

struct Secrets;

impl UpstreamSecrets for Secrets {
    fn secret<'a>(&'a self, id: &'a CredentialId) -> BoxFuture<'a, Option<Secret<Vec<u8>>>> {
        let found = (*id == credential_id()).then(|| Secret::new(UPSTREAM_SECRET.as_bytes().to_vec()));
        Box::pin(std::future::ready(found))
    }
}

/// Writes the reported pins into the snapshot, as the state log would.
struct Reports {
    cell: Arc<SnapshotCell>,
    seen: Arc<Mutex<Vec<PinReport>>>,
    lost: Arc<AtomicU32>,
}

impl PinReporter for Reports {
    fn report(&self, report: PinReport) -> BoxFuture<'_, Result<(), PinReportError>> {
        Box::pin(async move {
            let one_less = |lost: u32| lost.checked_sub(1);
            if self.lost.fetch_update(SeqCst, SeqCst, one_less).is_ok() {
                return Err(PinReportError("the log is full".to_owned()));
            }
            let snapshot = self.cell.load();
            let mut server = (**snapshot.server(&report.tenant, &report.server).unwrap()).clone();
            for (tools, state) in [(&report.drifted, PinState::Drifted), (&report.new, PinState::New)] {
                for tool in tools {
                    server.pins.retain(|pin| pin.name != tool.name);
                    let (name, digest, definition) =
                        (tool.name.clone(), tool.digest, tool.definition.clone());
                    server.pins.push(ToolPin {
                        name,
                        digest,
                        definition,
                        state,
                    });
                }
            }
            self.seen.lock().unwrap().push(report);
            self.cell
                .publish([Fact::Server(Arc::new(server))])
                .map_err(|e| PinReportError(e.to_string()))
        })
    }
}

pub(crate) struct Tokio;

impl Spawner for Tokio {
    fn spawn(&self, work: BoxFuture<'static, ()>) {
        tokio::spawn(work);
    }
}

/// An example program of this crate.
pub(crate) fn example(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    if !path.ends_with("examples") {
        path.pop();
        path.push("examples");
    }
    path.join(name)
}

/// The server on standard streams.
pub(crate) fn program() -> PathBuf {
    example("echo_mcp")
}

pub(crate) struct World {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) cell: Arc<SnapshotCell>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) recorder: Arc<Remembered>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) reports: Arc<Mutex<Vec<PinReport>>>,
    /// So many of the next reports are not recorded.
    pub(crate) lost: Arc<AtomicU32>,
    launcher: Option<tokio::process::Child>,
}

impl World {
    /// A world without servers.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut GatewayConfig)) -> Self {
        Self::made(change, None, None)
    }

    /// A world that trusts this authority, and no other.
    pub(crate) fn trusting(tls: rustls::ClientConfig) -> Self {
        Self::made(|_| {}, None, Some(Arc::new(tls)))
    }

    /// A world that can start programs.
    pub(crate) fn with_launcher() -> Self {
        let launcher = Launcher::start_process(&example("launcher"), &[], &Tokio).unwrap();
        Self::made(|_| {}, Some(launcher), None)
    }

    fn made(
        change: impl FnOnce(&mut GatewayConfig),
        launcher: Option<(Launcher, tokio::process::Child)>,
        tls: Option<Arc<rustls::ClientConfig>>,
    ) -> Self {
        let clock = Arc::new(ManualClock::at(at(0)));
        let facts = [
            tenant(),
            identity(1),
            identity(2),
            identity(99),
            Fact::Position(StatePos(7), Epoch(5)),
        ];
        let snapshot = Snapshot::empty().apply(facts).unwrap();
        let cell = Arc::new(SnapshotCell::new(snapshot, Duration::from_secs(3_600)));
        cell.heard(clock.monotonic());
        let entropy = Arc::new(SeededEntropy::new(7));
        let shared: Arc<dyn Clock> = clock.clone();
        let ids = Ids::new(Arc::clone(&shared), entropy.clone());
        let recorder = Arc::new(Remembered::default());
        let pep = Arc::new(Pep::new(
            Arc::clone(&cell),
            recorder.clone(),
            Arc::clone(&shared),
            ids.clone(),
            Duration::from_secs(1),
        ));
        let tokens = Arc::new(Tokens::default());
        let reports = Arc::new(Mutex::new(Vec::new()));
        let lost = Arc::new(AtomicU32::new(0));
        let (launcher, child) = launcher.unzip();
        let mut config = GatewayConfig::new(BASE).unwrap();
        change(&mut config);
        let gateway = Gateway::new(GatewayDeps {
            pep,
            cell: Arc::clone(&cell),
            authenticator: tokens.clone(),
            secrets: Arc::new(Secrets),
            pins: Arc::new(Reports {
                cell: Arc::clone(&cell),
                seen: Arc::clone(&reports),
                lost: Arc::clone(&lost),
            }),
            launcher,
            dialer: Dialer {
                tls: tls.unwrap_or_else(bailiwick_outbound::public_tls),
                ..Dialer::of_system()
            },
            clock: shared,
            ids,
            entropy,
            spawner: Arc::new(Tokio),
            config,
        });
        Self {
            gateway,
            cell,
            clock,
            recorder,
            tokens,
            reports,
            lost,
            launcher: child,
        }
    }

    /// A token of identity and task `n`, with a grant for `scopes`.
    pub(crate) fn grant(&self, token: &str, n: u128, scopes: &[&str]) {
        self.cell.publish([task(n, scopes, TaskState::Open)]).unwrap();
        let coarse = scopes.iter().map(|s| s.split('(').next().unwrap().to_owned());
        let claims = Claims {
            issuer: format!("{BASE}/t/acme"),
            subject: identity_id(n).to_string(),
            audience: format!("{BASE}/t/acme/mcp"),
            client: "client".to_owned(),
            issued_at: at(-10),
            expires_at: at(9_000),
            token: TokenId::from_parts(tenant_id(), Uuid::from_u128(n)),
            tenant: tenant_id(),
            nhi: identity_id(n),
            task: task_id(n),
            epoch: Epoch(5),
            scopes: ScopeSet::from_iter(coarse),
            act: smallvec::SmallVec::new(),
            may_act: Vec::new(),
            lineage: Vec::new(),
            confirmation: None,
            composition: None,
        };
        let bearer = Bearer {
            claims: Arc::new(claims),
            token_hash: Digest::of(token.as_bytes()),
        };
        self.tokens.0.lock().unwrap().insert(token.to_owned(), bearer);
    }

    /// Adds a server as an operator does: looks at it, and pins what is there.
    pub(crate) async fn add(&self, name: &str, connection: Connection) {
        let server = self.unpinned(name, connection);
        let seen = self.gateway.inspect(&Arc::new(server.clone())).await.unwrap();
        let pins = seen
            .tools
            .into_iter()
            .map(|t| ToolPin {
                name: t.name,
                digest: t.digest,
                definition: t.definition,
                state: PinState::Pinned,
            })
            .collect();
        self.publish(UpstreamServer { pins, ..server });
    }

    pub(crate) fn unpinned(&self, name: &str, connection: Connection) -> UpstreamServer {
        UpstreamServer {
            tenant: tenant_id(),
            name: ServerName::parse(name).unwrap(),
            identity: identity_id(99),
            connection,
            credential: Some(credential_id()),
            pins: Vec::new(),
            created_at: at(-1000),
        }
    }

    pub(crate) fn publish(&self, server: UpstreamServer) {
        self.cell.publish([Fact::Server(Arc::new(server))]).unwrap();
    }

    /// A program of this crate as a server.
    pub(crate) fn exec(&self, args: &[&str]) -> Connection {
        let program = program().to_str().unwrap().to_owned();
        let digest = Digest::of(&std::fs::read(&program).unwrap());
        let args = args.iter().map(|a| (*a).to_owned()).collect();
        Connection::Exec {
            digests: vec![(program.clone(), digest)],
            program,
            args,
        }
    }

    pub(crate) fn kill(&self, scope: MarkScope) {
        self.cell.mark(&Mark {
            scope,
            effect: MarkEffect::Kill,
            epoch: Epoch(6),
        });
    }

    pub(crate) async fn send(&self, message: http::Request<Body>) -> Response {
        self.gateway.router().oneshot(message).await.unwrap()
    }

    pub(crate) fn decisions(&self) -> Vec<(String, String, String)> {
        self.recorder.decisions.lock().unwrap().clone()
    }

    pub(crate) fn outcomes(&self) -> Vec<(String, Outcome)> {
        self.recorder.outcomes.lock().unwrap().clone()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.launcher.take());
    }
}

/// A message builder with what every good message has.
pub(crate) fn message(token: &str, server: &str) -> http::request::Builder {
    http::Request::builder()
        .method("POST")
        .uri(format!("/t/acme/mcp/{server}"))
        .header("host", "bailiwick.example")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
}

pub(crate) fn envelope() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

/// A stateless call.
pub(crate) fn modern(
    token: &str,
    server: &str,
    id: Value,
    method: &str,
    params: Value,
) -> http::Request<Body> {
    let mut params = params;
    let object = params.as_object_mut().unwrap();
    let mut meta = envelope();
    if let Some(given) = object.remove("_meta") {
        meta.as_object_mut()
            .unwrap()
            .extend(given.as_object().unwrap().clone());
    }
    object.insert("_meta".to_owned(), meta);
    let name = ["name", "uri"]
        .iter()
        .find_map(|m| params.get(m))
        .and_then(Value::as_str)
        .map(str::to_owned);
    let mut builder = message(token, server)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method);
    if let Some(name) = name {
        builder = builder.header("mcp-name", name);
    }
    let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    builder.body(Body::from(body.to_string())).unwrap()
}

/// A message within a session.
pub(crate) fn in_session(token: &str, server: &str, session: &str, body: &Value) -> http::Request<Body> {
    message(token, server)
        .header("mcp-session-id", session)
        .header("mcp-protocol-version", "2025-11-25")
        .body(Body::from(body.to_string()))
        .unwrap()
}

pub(crate) fn call(id: i64, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

pub(crate) fn initialize(token: &str, server: &str, capabilities: Value) -> http::Request<Body> {
    let body = call(
        0,
        "initialize",
        json!({
            "protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": {"name": "test", "version": "1"},
        }),
    );
    message(token, server).body(Body::from(body.to_string())).unwrap()
}

/// Opens a session; its id.
pub(crate) async fn open(world: &World, token: &str, server: &str, capabilities: Value) -> String {
    let response = world.send(initialize(token, server, capabilities)).await;
    assert_eq!(response.status(), 200);
    let id = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let body = json_of(response).await;
    assert_eq!(body["result"]["protocolVersion"], "2025-11-25", "{body}");
    let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(
        world.send(in_session(token, server, &id, &done)).await.status(),
        202
    );
    id
}

pub(crate) async fn text_of(response: Response) -> String {
    let whole = tokio::time::timeout(Duration::from_secs(10), response.into_body().collect()).await;
    String::from_utf8(
        whole
            .expect("a body within ten seconds")
            .unwrap()
            .to_bytes()
            .to_vec(),
    )
    .unwrap()
}

/// The one message of a response, as JSON or as the only event of a stream.
pub(crate) async fn json_of(response: Response) -> Value {
    let streamed = response
        .headers()
        .get("content-type")
        .is_some_and(|t| t == "text/event-stream");
    let text = text_of(response).await;
    if streamed {
        let mut events = events_of(&text);
        assert_eq!(events.len(), 1, "{text}");
        return events.remove(0);
    }
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"))
}

/// The messages of an event stream.
pub(crate) fn events_of(text: &str) -> Vec<Value> {
    let datas = text.lines().filter_map(|line| line.strip_prefix("data: "));
    datas.map(|d| serde_json::from_str(d).unwrap()).collect()
}

/// Reads an open stream message by message.
pub(crate) struct Events {
    body: Body,
    buffer: String,
}

impl Events {
    pub(crate) fn of(response: Response) -> Self {
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            body: response.into_body(),
            buffer: String::new(),
        }
    }

    /// The next message; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let data = event
                    .lines()
                    .find_map(|l| l.strip_prefix("data: "))
                    .map(str::to_owned);
                self.buffer = rest.to_owned();
                if let Some(data) = data {
                    return Some(serde_json::from_str(&data).unwrap());
                }
                continue;
            }
            let frame = tokio::time::timeout(Duration::from_secs(10), self.body.frame()).await;
            let frame = frame.expect("an event within ten seconds")?;
            self.buffer
                .push_str(std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap());
        }
    }
}

/// Waits until something is true, without a fixed pause.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if holds() {
            return;
        }
        tokio::task::yield_now().await;
        tokio::task::spawn_blocking(|| {}).await.unwrap();
    }
    panic!("never: {what}");
}
