//! The demo's agent: a plain MCP client over HTTP (revision 2026-07-28), and the server it talks to.

use std::path::{Path, PathBuf};

use bailiwick_wire::{NewServer, Owner};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::args::Demo;
use crate::output::{Failure, exit};

const REVISION: &str = "2026-07-28";
/// The official filesystem server, inside a `node_modules` folder.
const FILESYSTEM: &str = "@modelcontextprotocol/server-filesystem/dist/index.js";

/// The MCP server behind the gateway.
pub(super) struct Upstream {
    pub(super) title: &'static str,
    program: PathBuf,
    args: Vec<String>,
    pinned: Vec<PathBuf>,
}

impl Upstream {
    /// The official filesystem server where Node and the package are, else the one inside this binary.
    pub(super) fn choose(command: &Demo, files: &Path) -> Result<Self, Failure> {
        let node = command.search_path.as_deref().and_then(find_node);
        let script = command
            .node_modules
            .as_ref()
            .map(|m| m.join(FILESYSTEM))
            .filter(|s| s.is_file());
        if let (Some(node), Some(script)) = (node, script) {
            let script = std::fs::canonicalize(&script).map_err(|e| Failure::io("find", &script, &e))?;
            let args = vec![script.display().to_string(), files.display().to_string()];
            let mut pinned = vec![node.clone(), script];
            let lock = command
                .node_modules
                .as_ref()
                .map(|m| m.join(".package-lock.json"));
            pinned.extend(lock.filter(|l| l.is_file()));
            return Ok(Self {
                title: "the official filesystem server",
                program: node,
                args,
                pinned,
            });
        }
        let program = super::own_path()?;
        let args = vec![
            "builtin-mcp".to_owned(),
            "--root".to_owned(),
            files.display().to_string(),
        ];
        Ok(Self {
            title: "the server inside this binary",
            pinned: vec![program.clone()],
            program,
            args,
        })
    }

    /// The request that adds it, with the digest of every file that is run.
    pub(super) fn registration(&self, expires_at: String) -> Result<NewServer, Failure> {
        let mut digests = Vec::new();
        for file in &self.pinned {
            let file = std::fs::canonicalize(file).map_err(|e| Failure::io("find", file, &e))?;
            let bytes = std::fs::read(&file).map_err(|e| Failure::io("read", &file, &e))?;
            digests.push(format!(
                "{}={}",
                file.display(),
                bailiwick_base::Digest::of(&bytes)
            ));
        }
        let program =
            std::fs::canonicalize(&self.program).map_err(|e| Failure::io("find", &self.program, &e))?;
        Ok(NewServer {
            destination: None,
            methods: Vec::new(),
            header: None,
            tunnel: false,
            destination_ca: None,
            name: "files".to_owned(),
            url: None,
            exec: Some(program.display().to_string()),
            args: self.args.clone(),
            digests,
            allow_addresses: Vec::new(),
            allow_plaintext: false,
            credential: None,
            credential_from: None,
            owner: Some(Owner {
                team: "platform".to_owned(),
                contact: "platform@acme.example".to_owned(),
            }),
            purpose: Some("files of the demo".to_owned()),
            expires_at: Some(expires_at),
        })
    }
}

fn find_node(search_path: &str) -> Option<PathBuf> {
    search_path
        .split(':')
        .map(|d| Path::new(d).join("node"))
        .find(|p| p.is_file())
}

/// What the gateway answered.
pub(super) enum Answer {
    Result(Value),
    Refused {
        status: StatusCode,
        code: String,
        reason: String,
        decision: Option<String>,
    },
}

/// An MCP client with one credential.
pub(super) struct Agent {
    http: Client<HttpConnector, Full<Bytes>>,
    endpoint: String,
    token: String,
    next_id: u64,
}

impl Agent {
    pub(super) fn new(endpoint: String, token: String) -> Self {
        Self {
            http: Client::builder(TokioExecutor::new()).build_http(),
            endpoint,
            token,
            next_id: 1,
        }
    }

    pub(super) async fn list_tools(&mut self) -> Result<Answer, Failure> {
        self.send("tools/list", json!({}), None).await
    }

    pub(super) async fn call(&mut self, tool: &str, arguments: Value) -> Result<Answer, Failure> {
        self.send(
            "tools/call",
            json!({"name": tool, "arguments": arguments}),
            Some(tool),
        )
        .await
    }

    async fn send(&mut self, method: &str, mut params: Value, name: Option<&str>) -> Result<Answer, Failure> {
        if let Some(members) = params.as_object_mut() {
            members.insert(
                "_meta".to_owned(),
                json!({
                    "io.modelcontextprotocol/protocolVersion": REVISION,
                    "io.modelcontextprotocol/clientInfo": {"name": "report-writer", "version": "1"},
                    "io.modelcontextprotocol/clientCapabilities": {},
                }),
            );
        }
        let body = json!({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params});
        self.next_id += 1;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.endpoint)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", REVISION)
            .header("mcp-method", method);
        if let Some(name) = name {
            request = request.header("mcp-name", name);
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|e| wire(&e))?;
        let reply = self.http.request(request).await.map_err(|e| wire(&e))?;
        let status = reply.status();
        let bytes = reply
            .into_body()
            .collect()
            .await
            .map_err(|e| wire(&e))?
            .to_bytes();
        Ok(answer(status, &message(&bytes)))
    }
}

fn wire(error: &dyn std::error::Error) -> Failure {
    Failure::new(
        exit::UNREACHABLE,
        "demo.wire",
        format!("the gateway could not be reached: {error}"),
    )
}

/// The JSON-RPC message of a plain answer, or the last one of an event stream.
fn message(bytes: &[u8]) -> Value {
    let text = String::from_utf8_lossy(bytes);
    serde_json::from_str(&text)
        .ok()
        .or_else(|| {
            text.lines()
                .rev()
                .filter_map(|l| l.strip_prefix("data: "))
                .find_map(|d| serde_json::from_str(d).ok())
        })
        .unwrap_or(Value::Null)
}

fn answer(status: StatusCode, message: &Value) -> Answer {
    if let Some(result) = message.get("result") {
        return Answer::Result(result.clone());
    }
    let error = message.get("error").unwrap_or(message);
    let data = error.get("data").unwrap_or(error);
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    Answer::Refused {
        status,
        code: text(data.get("code"))
            .or_else(|| text(error.get("error")))
            .unwrap_or_default(),
        reason: text(data.get("reason"))
            .or_else(|| text(error.get("message")))
            .unwrap_or_default(),
        decision: text(data.get("decision_id")),
    }
}
