//! A real HTTP upstream server of either era, which remembers everything it was sent.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bailiwick_decide::Connection;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Received {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) state: Arc<Shared>,
}

pub(crate) struct Shared {
    modern: bool,
    pub(crate) received: Mutex<Vec<Received>>,
    sessions: AtomicU32,
    pub(crate) tools: Mutex<Vec<Value>>,
    /// Answers in place of the usual ones: method, status, content type, body.
    pub(crate) canned: Mutex<Option<(String, u16, &'static str, String)>>,
    /// Open streams of sessions.
    pub(crate) streams: Mutex<Vec<mpsc::UnboundedSender<Value>>>,
    /// Answers of the client to questions, by id.
    pub(crate) answered: Notify,
    pub(crate) dropped: Arc<Mutex<u32>>,
}

pub(crate) fn tool(name: &str) -> Value {
    json!({"name": name, "description": format!("the {name} tool"), "inputSchema": {"type": "object"}})
}

pub(crate) const TOOLS: [&str; 6] = ["ask", "echo", "hang", "progress", "reflect", "secret"];

impl Server {
    pub(crate) async fn start(modern: bool) -> Self {
        let state = Arc::new(Shared {
            modern,
            received: Mutex::default(),
            sessions: AtomicU32::new(0),
            tools: Mutex::new(TOOLS.into_iter().map(tool).collect()),
            canned: Mutex::default(),
            streams: Mutex::default(),
            answered: Notify::new(),
            dropped: Arc::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new()
            .route("/mcp", any(handler))
            .with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, state }
    }

    pub(crate) fn router(&self) -> Router {
        Router::new()
            .route("/mcp", any(handler))
            .with_state(Arc::clone(&self.state))
    }

    pub(crate) fn connection(&self) -> Connection {
        Connection::Http {
            url: format!("http://127.0.0.1:{}/mcp", self.port),
            allow_addresses: vec!["127.0.0.0/8".to_owned()],
            allow_plaintext: true,
        }
    }

    pub(crate) fn received(&self, method: &str) -> Vec<Received> {
        let all = self.state.received.lock().unwrap();
        all.iter()
            .filter(|r| r.json()["method"] == method)
            .cloned()
            .collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.state.received.lock().unwrap().len()
    }
}

/// Tells that the answer was not waited for.
struct Dropped(Arc<Mutex<u32>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += 1;
    }
}

async fn handler(
    State(state): State<Arc<Shared>>,
    verb: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let message: Value = serde_json::from_str(&text).unwrap_or_default();
    state.received.lock().unwrap().push(Received {
        headers: headers.clone(),
        text,
    });
    if let Some((method, status, kind, body)) = state.canned.lock().unwrap().clone()
        && message["method"] == method.as_str()
    {
        let body = body.replace("\"$ID\"", &message["id"].to_string());
        return (
            StatusCode::from_u16(status).unwrap(),
            [("content-type", kind)],
            body,
        )
            .into_response();
    }
    if state.modern {
        modern(&state, &headers, &message).await
    } else {
        legacy(&state, &verb, &headers, &message).await
    }
}

fn reply(message: &Value, result: Value) -> Response {
    let text = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
    ([("content-type", "application/json")], text).into_response()
}

fn failure(status: u16, id: &Value, code: i64, text: &str) -> Response {
    let text = json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": text}}).to_string();
    (
        StatusCode::from_u16(status).unwrap(),
        [("content-type", "application/json")],
        text,
    )
        .into_response()
}

fn events(messages: impl futures_util::Stream<Item = Value> + Send + 'static) -> Response {
    use futures_util::StreamExt;
    let text = messages.map(|m| Ok::<_, std::convert::Infallible>(format!("event: message\ndata: {m}\n\n")));
    ([("content-type", "text/event-stream")], Body::from_stream(text)).into_response()
}

fn progress(message: &Value, n: u32) -> Value {
    let token = message["params"]["_meta"]["progressToken"].clone();
    json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": n}})
}

fn echo(message: &Value, extra: Value) -> Value {
    let mut result = json!({"content": [{"type": "text", "text": message["params"].to_string()}]});
    result
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    result
}

async fn modern(state: &Arc<Shared>, headers: &HeaderMap, message: &Value) -> Response {
    match message["method"].as_str().unwrap_or_default() {
        "server/discover" => reply(
            message,
            json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 600_000, "cacheScope": "public",
                "capabilities": {"tools": {"listChanged": true}, "prompts": {}, "resources": {}},
                "instructions": "be kind",
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "upstream", "version": "9"}},
            }),
        ),
        "tools/list" => {
            let tools = state.tools.lock().unwrap().clone();
            reply(
                message,
                json!({"resultType": "complete", "ttlMs": 600_000, "cacheScope": "public", "tools": tools}),
            )
        }
        "prompts/list" => reply(
            message,
            json!({
                "resultType": "complete", "ttlMs": 600_000, "cacheScope": "public", "prompts": [{"name": "greet"}],
            }),
        ),
        "resources/list" => reply(
            message,
            json!({
                "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
                "resources": [{"uri": "file:///srv/a", "name": "a"}, {"uri": "file:///etc/b", "name": "b"}],
            }),
        ),
        "resources/templates/list" => reply(
            message,
            json!({
                "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
                "resourceTemplates": [{"uriTemplate": "file:///{path}", "name": "any"}],
            }),
        ),
        "resources/read" => failure(200, &message["id"], -32602, "no such resource"),
        "subscriptions/listen" => {
            let (sender, receiver) = mpsc::unbounded_channel();
            let id = message["id"].clone();
            sender
                .send(
                    json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {
                        "notifications": message["params"]["notifications"],
                        "_meta": {"io.modelcontextprotocol/subscriptionId": id},
                    }}),
                )
                .unwrap();
            state.streams.lock().unwrap().push(sender);
            events(stream_of(receiver))
        }
        "tools/call" => modern_tool(state, headers, message).await,
        _ => failure(404, &message["id"], -32601, "Method not found"),
    }
}

async fn modern_tool(state: &Arc<Shared>, headers: &HeaderMap, message: &Value) -> Response {
    let complete = json!({"resultType": "complete"});
    match message["params"]["name"].as_str().unwrap_or_default() {
        "endless" => endless(state, message),
        "hang" => hang(state).await,
        "progress" => {
            let last = json!({"jsonrpc": "2.0", "id": message["id"], "result": echo(message, complete)});
            events(futures_util::stream::iter([
                progress(message, 1),
                progress(message, 2),
                last,
            ]))
        }
        "ask" if message["params"]["inputResponses"].is_null() => reply(
            message,
            json!({
                "resultType": "input_required", "requestState": "state-1",
                "inputRequests": {"q": {"method": "elicitation/create", "params": {
                    "message": "how many?", "mode": "form",
                    "requestedSchema": {"type": "object", "properties": {"count": {"type": "integer"}}},
                }}},
            }),
        ),
        "secret" => reply(
            message,
            json!({
                "resultType": "input_required", "requestState": "state-1",
                "inputRequests": {"q": {"method": "elicitation/create", "params": {
                    "message": "who are you?", "mode": "form",
                    "requestedSchema": {"type": "object", "properties": {"password": {"type": "string"}}},
                }}},
            }),
        ),
        "reflect" => reflect(message, headers),
        _ => reply(message, echo(message, complete)),
    }
}

fn reflect(message: &Value, headers: &HeaderMap) -> Response {
    let seen = headers.get("authorization").map_or("", |v| v.to_str().unwrap());
    reply(
        message,
        json!({"resultType": "complete", "content": [{"type": "text", "text": seen}]}),
    )
}

async fn hang(state: &Arc<Shared>) -> Response {
    let _dropped = Dropped(Arc::clone(&state.dropped));
    std::future::pending().await
}

/// Progress for ever, and never an answer.
fn endless(state: &Arc<Shared>, message: &Value) -> Response {
    let first = (message.clone(), Dropped(Arc::clone(&state.dropped)), 1);
    events(futures_util::stream::unfold(
        first,
        |(message, dropped, n)| async move {
            tokio::task::yield_now().await;
            Some((progress(&message, n), (message, dropped, n + 1)))
        },
    ))
}

fn stream_of(receiver: mpsc::UnboundedReceiver<Value>) -> impl futures_util::Stream<Item = Value> {
    futures_util::stream::unfold(receiver, |mut r| async move { r.recv().await.map(|m| (m, r)) })
}

async fn legacy(state: &Arc<Shared>, verb: &Method, headers: &HeaderMap, message: &Value) -> Response {
    let session = headers
        .get("mcp-session-id")
        .map(|v| v.to_str().unwrap().to_owned());
    let method = message["method"].as_str().unwrap_or_default();
    if *verb == Method::DELETE {
        return StatusCode::OK.into_response();
    }
    if method == "initialize" {
        let n = state.sessions.fetch_add(1, Ordering::Relaxed);
        let mut response = reply(
            message,
            json!({
                "protocolVersion": "2025-11-25", "serverInfo": {"name": "upstream", "version": "9"},
                "capabilities": {"tools": {"listChanged": true}, "logging": {}, "resources": {"subscribe": true}},
            }),
        );
        response
            .headers_mut()
            .insert("mcp-session-id", format!("up-{n}").parse().unwrap());
        return response;
    }
    if session.is_none() {
        return failure(400, &Value::Null, -32000, "Bad Request: Server not initialized");
    }
    if *verb == Method::GET {
        let (sender, receiver) = mpsc::unbounded_channel();
        state.streams.lock().unwrap().push(sender);
        return events(stream_of(receiver));
    }
    match method {
        "" => {
            state.answered.notify_one();
            StatusCode::ACCEPTED.into_response()
        }
        m if m.starts_with("notifications/") => StatusCode::ACCEPTED.into_response(),
        "tools/list" => reply(message, json!({"tools": state.tools.lock().unwrap().clone()})),
        "tools/call" => match message["params"]["name"].as_str().unwrap_or_default() {
            "endless" => endless(state, message),
            "hang" => hang(state).await,
            "progress" => {
                let last = json!({"jsonrpc": "2.0", "id": message["id"], "result": echo(message, json!({}))});
                events(futures_util::stream::iter([
                    progress(message, 1),
                    progress(message, 2),
                    last,
                ]))
            }
            "ask" => ask(state, message, "count"),
            "secret" => ask(state, message, "password"),
            "reflect" => reflect(message, headers),
            _ => reply(message, echo(message, json!({}))),
        },
        "ping" | "logging/setLevel" | "resources/subscribe" => reply(message, json!({})),
        _ => failure(200, &message["id"], -32601, "Method not found"),
    }
}

/// Asks the client in the middle of the call and puts its answer into the result.
fn ask(state: &Arc<Shared>, message: &Value, property: &str) -> Response {
    use futures_util::StreamExt;
    let question = json!({"jsonrpc": "2.0", "id": 0, "method": "elicitation/create", "params": {
        "message": "how many?", "mode": "form",
        "requestedSchema": {"type": "object", "properties": {property: {"type": "integer"}}},
    }});
    let (state, message) = (Arc::clone(state), message.clone());
    let last = futures_util::stream::once(async move {
        state.answered.notified().await;
        let all = state.received.lock().unwrap().clone();
        let answer = all
            .iter()
            .rev()
            .map(Received::json)
            .find(|m| m.get("method").is_none() && m["id"] == 0)
            .unwrap();
        let text = answer.get("result").or(answer.get("error")).unwrap().to_string();
        json!({"jsonrpc": "2.0", "id": message["id"], "result": {"content": [{"type": "text", "text": text}]}})
    });
    events(futures_util::stream::iter([question]).chain(last))
}
