//! One service in this process: real store, journal and keys in a temporary folder, real HTTP on loopback, a
//! clock that can be moved.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::Ed25519KeyPair;
use bailiwick_base::{Clock, TenantId};
use bailiwick_journal::{Disk, OsDisk};
use bailiwick_keys::{Keyring, SystemEntropy, Unseal};
use bailiwick_server::operator::{OperatorKey, claim, idempotency_key};
use bailiwick_server::{Config, ConfigSources, Machine, Service, Stopper};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::clock::ShiftedClock;
use crate::desk::Desk;

/// The base URL of every bed: the same over restarts, whatever the port.
pub(crate) const BASE: &str = "http://bailiwick.test";
/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|e| panic!("{e}: {} {}", self.status, String::from_utf8_lossy(&self.bytes)))
    }

    /// The stable code of a problem, or the OAuth error.
    pub(crate) fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.bytes).unwrap_or_default();
        let code = body["code"].as_str().or(body["error"].as_str());
        code.unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |v| v.to_str().unwrap_or_default())
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.text());
        self.json()
    }

    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status.as_u16(), self.code().as_str()),
            (status, code),
            "{}",
            self.text()
        );
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// An operator of a bed.
#[derive(Clone)]
pub(crate) struct Operator {
    pub(crate) id: String,
    pub(crate) seed: Vec<u8>,
}

impl Operator {
    /// A session of this operator: `claims` replaces what is usual.
    pub(crate) fn session_with(&self, now: i64, claims: &Value) -> String {
        let mut said = json!({
            "iss": self.id, "aud": BASE, "iat": now, "exp": now + 60, "jti": idempotency_key().unwrap(),
        });
        for (name, value) in claims.as_object().unwrap() {
            said[name] = value.clone();
        }
        let header = json!({"alg": "EdDSA", "typ": "bailiwick-session+jwt"});
        self.sign(&header.to_string(), &said.to_string())
    }

    /// Any header and any claims under this operator's key.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        sign(&self.seed, header, claims)
    }
}

/// A compact JWS under an Ed25519 key.
pub(crate) fn sign(seed: &[u8], header: &str, claims: &str) -> String {
    let mut text = URL_SAFE_NO_PAD.encode(header);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut text);
    let key = Ed25519KeyPair::from_seed_unchecked(seed).unwrap();
    let signature = key.sign(text.as_bytes());
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut text);
    text
}

struct Running {
    address: SocketAddr,
    stopper: Stopper,
    done: JoinHandle<()>,
}

/// The folder is removed behind it: not while the service still writes there.
impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stopper.stop();
            self.clock.release();
            let asked = self.clock.monotonic();
            while !running.done.is_finished() && self.clock.monotonic() < asked + PATIENCE {
                std::thread::yield_now();
            }
        }
    }
}

/// One installation, running.
pub(crate) struct Bed {
    folder: PathBuf,
    /// Removed at the end, unless the bed was made for somebody else's folder.
    _own: Option<TempDir>,
    pub(crate) clock: Arc<ShiftedClock>,
    /// Where the logs of the next start are.
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) operator: Operator,
    running: Option<Running>,
    http: Client<HttpConnector, Full<Bytes>>,
    change: fn(&mut Config),
}

impl Bed {
    /// Claimed, otherwise empty.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: fn(&mut Config)) -> Self {
        let mut bed = Self::unclaimed(change).await;
        bed.operator = bed.claim("first").await;
        bed
    }

    pub(crate) async fn unclaimed(change: fn(&mut Config)) -> Self {
        bailiwick_server::install_crypto();
        let own = tempfile::tempdir().unwrap();
        let nobody = Operator {
            id: String::new(),
            seed: vec![0; 32],
        };
        let mut bed = Self::idle(own.path().to_owned(), nobody, change);
        bed._own = Some(own);
        bed.run().await;
        bed
    }

    /// Not running yet.
    pub(crate) fn idle(folder: PathBuf, operator: Operator, change: fn(&mut Config)) -> Self {
        Self {
            folder,
            _own: None,
            clock: Arc::new(ShiftedClock::new()),
            disk: Arc::new(OsDisk),
            operator,
            running: None,
            http: Client::builder(TokioExecutor::new()).build_http(),
            change,
        }
    }

    /// The installation of another process, which must not run meanwhile.
    pub(crate) async fn adopt(folder: &Path, operator: Operator, change: fn(&mut Config)) -> Self {
        bailiwick_server::install_crypto();
        let mut bed = Self::idle(folder.to_owned(), operator, change);
        bed.run().await;
        bed
    }

    pub(crate) async fn claim(&self, name: &str) -> Operator {
        let key = OperatorKey::generate().unwrap();
        let claimed = claim(&self.data().join("claim.sock"), name, &key).await.unwrap();
        Operator {
            id: claimed.id,
            seed: key.seed().reveal().clone(),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(crate) fn config(&self) -> Config {
        config(&self.data(), self.change)
    }

    pub(crate) async fn run(&mut self) {
        self.try_serve().await.unwrap();
    }

    /// Starts and serves, or says why it does not.
    pub(crate) async fn try_serve(&mut self) -> Result<(), String> {
        let machine = Machine {
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            disk: Arc::clone(&self.disk),
            launcher: None,
        };
        let started = Service::start_on(machine, self.config()).await;
        let service = started.map_err(|error| format!("{error:#}"))?;
        let (address, stopper) = (service.address().unwrap(), service.stopper());
        let done = crate::spawn(service.run());
        self.running = Some(Running {
            address,
            stopper,
            done,
        });
        Ok(())
    }

    /// Why it does not start.
    pub(crate) async fn try_run(&mut self) -> Result<(), String> {
        let machine = Machine {
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            disk: Arc::clone(&self.disk),
            launcher: None,
        };
        let started = Service::start_on(machine, self.config()).await;
        started.map(drop).map_err(|error| format!("{error:#}"))
    }

    /// A signal to stop, which has its time.
    pub(crate) fn begin_stop(&self) {
        self.running.as_ref().unwrap().stopper.stop();
    }

    /// Stops, as after a signal.
    pub(crate) async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.stopper.stop();
        tokio::time::timeout(PATIENCE, running.done)
            .await
            .unwrap()
            .unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.run().await;
    }

    /// Where it listens, by a name of loopback.
    pub(crate) fn address(&self) -> SocketAddr {
        let bound = self.running.as_ref().unwrap().address;
        SocketAddr::from(([127, 0, 0, 1], bound.port()))
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now().secs()
    }

    pub(crate) fn session(&self) -> String {
        self.operator.session_with(self.now(), &json!({}))
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let headers: Vec<(&str, &[u8])> = headers.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
        self.send_bytes(method, path, &headers, body).await
    }

    /// Any request at all.
    pub(crate) async fn send_bytes(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &[u8])],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(format!("http://{}{path}", self.address()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let reply = tokio::time::timeout(PATIENCE, self.http.request(request))
            .await
            .unwrap_or_else(|_| panic!("no answer to {method} {path}"))
            .unwrap();
        let (status, headers) = (reply.status(), reply.headers().clone());
        let body = tokio::time::timeout(PATIENCE, reply.into_body().collect());
        let bytes = body.await.unwrap().unwrap().to_bytes();
        Answer {
            status,
            headers,
            bytes,
        }
    }

    /// As the operator.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        let bearer = format!("Bearer {}", self.session());
        self.send("GET", path, &[(header::AUTHORIZATION.as_str(), &bearer)], "")
            .await
    }

    /// As the operator.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.command("POST", path, &[], body).await
    }

    /// As the operator, with an idempotency key.
    pub(crate) async fn keyed(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.command("POST", path, &[("idempotency-key", key)], body)
            .await
    }

    /// As the operator.
    pub(crate) async fn command(
        &self,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        self.ordered(&self.operator, (method, path), more, body).await
    }

    /// A command of another operator than the first.
    pub(crate) async fn as_operator(
        &self,
        operator: &Operator,
        path: &str,
        more: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        self.ordered(operator, ("POST", path), more, body).await
    }

    /// Another operator.
    pub(crate) async fn add_operator(&self, name: &str) -> Operator {
        let key = OperatorKey::generate().unwrap();
        let body = json!({"name": name, "public_key": key.public()});
        let added = self.post("/v1/operators", &body).await.ok();
        Operator {
            id: added["id"].as_str().unwrap().to_owned(),
            seed: key.seed().reveal().clone(),
        }
    }

    async fn ordered(
        &self,
        operator: &Operator,
        (method, path): (&str, &str),
        more: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let bearer = format!("Bearer {}", operator.session_with(self.now(), &json!({})));
        let mut headers = vec![
            (header::AUTHORIZATION.as_str(), bearer.as_str()),
            (header::CONTENT_TYPE.as_str(), "application/json"),
        ];
        headers.extend_from_slice(more);
        self.send(method, path, &headers, body.to_string()).await
    }

    /// As the bearer of an access token.
    pub(crate) async fn bearing(&self, token: &str, path: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [
            (header::AUTHORIZATION.as_str(), bearer.as_str()),
            (header::CONTENT_TYPE.as_str(), "application/json"),
            (header::ACCEPT.as_str(), "application/json, text/event-stream"),
            ("mcp-protocol-version", "2025-11-25"),
        ];
        self.send("POST", path, &headers, body.to_string()).await
    }

    pub(crate) async fn add_tenant(&self, slug: &str) {
        let body = json!({"tenant": slug, "name": slug, "employees": 7, "algorithm": "EdDSA"});
        self.post("/v1/tenants", &body).await.ok();
    }

    pub(crate) async fn add_identity(&self, tenant: &str, name: &str) -> String {
        let added = self
            .post(&format!("/v1/tenants/{tenant}/identities"), &identity(name))
            .await
            .ok();
        added["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn add_server(&self, tenant: &str, name: &str, desk: &Desk) -> Value {
        self.post(&format!("/v1/tenants/{tenant}/servers"), &server(name, &desk.url))
            .await
            .ok()
    }

    /// A task with its first token.
    pub(crate) async fn open_task(&self, tenant: &str, identity: &str, can: &[&str]) -> (String, String) {
        let opened = self
            .post(&format!("/v1/tenants/{tenant}/tasks"), &task(identity, can))
            .await
            .ok();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (
            text(&opened["task"]["id"]),
            text(&opened["token"]["access_token"]),
        )
    }

    /// The identity `worker` in `acme` with a task on the desk as server `files`: its id, the task, its token.
    pub(crate) async fn add_worker(&self, desk: &Desk, can: &[&str]) -> (String, String, String) {
        self.add_server("acme", "files", desk).await;
        let identity = self.add_identity("acme", "worker").await;
        let (task, token) = self.open_task("acme", &identity, can).await;
        (identity, task, token)
    }

    /// A tool call through the gateway, as a client of 2026-07-28 sends it.
    pub(crate) async fn call(
        &self,
        token: &str,
        tenant: &str,
        server: &str,
        tool: &str,
        args: Value,
    ) -> Answer {
        let path = format!("/t/{tenant}/mcp/{server}");
        let body = modern("tools/call", json!({"name": tool, "arguments": args}));
        let bearer = format!("Bearer {token}");
        let headers = [
            (header::AUTHORIZATION.as_str(), bearer.as_str()),
            (header::CONTENT_TYPE.as_str(), "application/json"),
            (header::ACCEPT.as_str(), "application/json, text/event-stream"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", tool),
        ];
        self.send("POST", &path, &headers, body.to_string()).await
    }

    /// A call of a tool by any name; the header that repeats the name is left out where it cannot be sent.
    pub(crate) async fn call_raw(&self, token: &str, tool: &str, args: &Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let body = modern("tools/call", json!({"name": tool, "arguments": args}));
        let mut headers: Vec<(&str, &[u8])> = vec![
            ("authorization", bearer.as_bytes()),
            ("content-type", b"application/json"),
            ("accept", b"application/json, text/event-stream"),
            ("mcp-protocol-version", b"2026-07-28"),
            ("mcp-method", b"tools/call"),
        ];
        let name = http::HeaderValue::from_bytes(tool.as_bytes());
        if let Ok(name) = &name {
            headers.push(("mcp-name", name.as_bytes()));
        }
        self.send_bytes("POST", "/t/acme/mcp/files", &headers, body.to_string())
            .await
    }

    pub(crate) async fn kill(&self, tenant: &str, scope: &str, name: &str) -> Answer {
        let body = json!({"scope": scope, "name": name, "reason": "a drill"});
        self.post(&format!("/v1/tenants/{tenant}/kill"), &body).await
    }

    /// The keys of this installation, for tokens that it never issued. The service keeps running.
    pub(crate) fn keyring(&self) -> Keyring {
        keyring(&self.data())
    }

    /// The claims of `token`, changed by `change`, under the tenant's own key.
    pub(crate) fn resigned(&self, tenant: &str, token: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = claims_of(token);
        change(&mut claims);
        let tenant = TenantId::parse(tenant).unwrap();
        let signer = self.keyring().signer(&tenant).unwrap();
        bailiwick_keys::jws::encode(&signer, "at+jwt", claims.to_string().as_bytes()).unwrap()
    }

    /// Every entry of a log, in order, with its payload.
    pub(crate) async fn entries(&self, log: &str) -> Vec<Value> {
        let mut out: Vec<Value> = Vec::new();
        loop {
            let page = self
                .get(&format!("/v1/logs/{log}/entries?from={}", out.len()))
                .await
                .ok();
            let items = page["items"].as_array().unwrap();
            if items.is_empty() {
                return out;
            }
            out.extend(items.iter().cloned());
        }
    }
}

pub(crate) fn keyring(data: &Path) -> Keyring {
    let unseal = Unseal::File(data.join("unseal.key"));
    Keyring::open(&data.join("keys"), unseal, Arc::new(SystemEntropy)).unwrap()
}

pub(crate) fn config(data: &Path, change: fn(&mut Config)) -> Config {
    let sources = ConfigSources {
        data: Some(data.to_owned()),
        listen: Some("127.0.0.1:0".to_owned()),
        base_url: Some(BASE.to_owned()),
        ..ConfigSources::default()
    };
    let mut config = Config::read(&sources).unwrap();
    // A disk that stands still for a second is no finding of a test that asks something else.
    config.log.record_budget_ms = 10_000;
    config.telemetry.level = "off".to_owned();
    // Tests move clocks by months: drills by schedule would add to what they count.
    config.kill.drill_hours = 0;
    change(&mut config);
    config
}

pub(crate) fn claims_of(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// An id of the same form that names nothing: one of its random characters is another.
pub(crate) fn ghost(id: &str) -> String {
    let (front, back) = id.split_at(24);
    let other = if back.starts_with('a') { 'b' } else { 'a' };
    format!("{front}{other}{}", &back[1..])
}

/// RFC 3339, so many days from now.
pub(crate) fn in_days(days: u64) -> String {
    bailiwick_server::now()
        .after(Duration::from_secs(days * 86_400))
        .to_string()
}

pub(crate) fn identity(name: &str) -> Value {
    json!({
        "name": name, "kind": "agent", "owner": {"team": "finance", "contact": "finance@example.com"},
        "purpose": "pays invoices", "expires_at": in_days(90),
    })
}

pub(crate) fn server(name: &str, url: &str) -> Value {
    json!({
        "name": name, "url": url, "allow_addresses": ["127.0.0.0/8"], "allow_plaintext": true,
        "owner": {"team": "platform", "contact": "platform@example.com"},
        "purpose": "files", "expires_at": in_days(90),
    })
}

pub(crate) fn task(identity: &str, can: &[&str]) -> Value {
    json!({"identity": identity, "purpose": "July", "can": can, "for_secs": 3600, "issue": true})
}

/// A message of 2026-07-28.
pub(crate) fn modern(method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

/// Waits until `holds`, at most [`PATIENCE`].
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, waiting).await.is_ok(),
        "never came: {what}"
    );
}
