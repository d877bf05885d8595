//! An upstream MCP server (2025-11-25, HTTP) that lets a test see what arrived.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;

struct Seen {
    tools: Mutex<Vec<Value>>,
    calls: Mutex<Vec<Value>>,
    cancelled: AtomicU64,
    /// `hold` answers once this is true.
    open: watch::Sender<bool>,
}

pub(crate) struct Desk {
    pub(crate) url: String,
    seen: Arc<Seen>,
}

pub(crate) fn tool(name: &str) -> Value {
    json!({"name": name, "description": format!("the {name} tool"), "inputSchema": {"type": "object"}})
}

impl Desk {
    pub(crate) async fn open() -> Self {
        let seen = Arc::new(Seen {
            tools: Mutex::new(["echo", "hold", "read_text_file"].map(tool).to_vec()),
            calls: Mutex::default(),
            cancelled: AtomicU64::new(0),
            open: watch::Sender::new(false),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/mcp", post(answer))
            .with_state(Arc::clone(&seen));
        crate::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, seen }
    }

    /// `tools/call` messages that arrived.
    pub(crate) fn calls(&self) -> usize {
        self.seen.calls.lock().unwrap().len()
    }

    /// Answers what is held.
    pub(crate) fn release(&self) {
        self.seen.open.send_replace(true);
    }

    /// Calls whose caller went away, or that were cancelled by message.
    pub(crate) fn cancelled(&self) -> u64 {
        self.seen.cancelled.load(Ordering::SeqCst)
    }

    /// Shows other tools from now on.
    pub(crate) fn show(&self, tools: Vec<Value>) {
        *self.seen.tools.lock().unwrap() = tools;
    }
}

/// Counts a call that was dropped before it was answered.
struct Held<'a>(&'a Seen, bool);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn answer(State(seen): State<Arc<Seen>>, Json(message): Json<Value>) -> Response {
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => json!({
            "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
            "serverInfo": {"name": "desk", "version": "1"},
        }),
        "tools/list" => json!({"tools": *seen.tools.lock().unwrap()}),
        "tools/call" => {
            seen.calls.lock().unwrap().push(message.clone());
            if message["params"]["name"] == "hold" {
                let mut held = Held(&seen, false);
                let mut open = seen.open.subscribe();
                open.wait_for(|open| *open).await.unwrap();
                held.1 = true;
            }
            let text = message["params"]["arguments"].to_string();
            json!({"content": [{"type": "text", "text": text}], "isError": false})
        }
        "notifications/cancelled" => {
            seen.cancelled.fetch_add(1, Ordering::SeqCst);
            return StatusCode::ACCEPTED.into_response();
        }
        method if method.starts_with("notifications/") => return StatusCode::ACCEPTED.into_response(),
        _ => {
            let error = json!({"code": -32601, "message": "not served here"});
            return Json(json!({"jsonrpc": "2.0", "id": message["id"], "error": error})).into_response();
        }
    };
    Json(json!({"jsonrpc": "2.0", "id": message["id"], "result": result})).into_response()
}
