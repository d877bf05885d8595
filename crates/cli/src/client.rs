//! The HTTP client of the operator commands: signs a short-lived session with the operator's key.

use std::path::{Path, PathBuf};

use bailiwick_server::operator::{OperatorKey, session_token};
use bailiwick_wire::Problem;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::args::Global;
use crate::output::{Failure, exit};

const REPLY_MAX: usize = 64 * 1024 * 1024;

/// Where the service is and who asks; written by `claim`, read by every operator command.
#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// Base URL of the service.
    pub(crate) server: String,
    /// Data folder, when the service runs on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<PathBuf>,
    /// Operator id.
    pub(crate) operator: String,
    /// File with the operator's private key (0600).
    pub(crate) key_file: PathBuf,
    /// Tenant used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
}

/// Where the context is kept when no `--context` is given.
pub(crate) fn context_path(global: &Global) -> Result<PathBuf, Failure> {
    if let Some(path) = &global.context {
        return Ok(path.clone());
    }
    let base = match (&global.xdg_config_home, &global.home) {
        (Some(xdg), _) => xdg.clone(),
        (None, Some(home)) => home.join(".config"),
        (None, None) => {
            return Err(Failure::usage("no home folder to keep the context in").hint("give --context FILE"));
        }
    };
    Ok(base.join("bailiwick").join("context.json"))
}

pub(crate) fn read_context(global: &Global) -> Result<Context, Failure> {
    let path = context_path(global)?;
    let text = std::fs::read(&path).map_err(|error| {
        Failure::new(
            exit::USAGE,
            "cli.no-context",
            format!("no context at `{}`: {error}", path.display()),
        )
        .hint("run `bailiwick claim --data DIR --name NAME`, or give --context FILE")
    })?;
    serde_json::from_slice(&text).map_err(|error| {
        Failure::new(
            exit::ERROR,
            "cli.context",
            format!("context `{}` is not valid: {error}", path.display()),
        )
        .hint("restore the file from a copy, or give another one: --context FILE")
    })
}

/// A connection to the service.
pub(crate) struct Client {
    http: HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    context: Context,
    key: OperatorKey,
    tenant: Option<String>,
}

impl Client {
    pub(crate) fn connect(global: &Global) -> Result<Self, Failure> {
        let context = read_context(global)?;
        let key = OperatorKey::read(Path::new(&context.key_file))
            .map_err(|error| Failure::new(exit::ERROR, "cli.operator-key", error.to_string()))?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .build();
        let http = HyperClient::builder(TokioExecutor::new()).build(connector);
        let tenant = global.tenant.clone().or_else(|| context.tenant.clone());
        Ok(Self {
            http,
            context,
            key,
            tenant,
        })
    }

    /// The tenant of this command.
    pub(crate) fn tenant(&self) -> Result<&str, Failure> {
        self.tenant.as_deref().ok_or_else(|| {
            Failure::usage("no tenant named").hint("give --tenant SLUG, or set BAILIWICK_TENANT")
        })
    }

    /// `/v1/tenants/{tenant}/{rest}`.
    pub(crate) fn path(&self, rest: &str) -> Result<String, Failure> {
        Ok(format!("/v1/tenants/{}/{rest}", self.tenant()?))
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, Failure> {
        self.send(Method::POST, path, encode(body)?).await
    }

    pub(crate) async fn put<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, Failure> {
        self.send(Method::PUT, path, encode(body)?).await
    }

    async fn send<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, Failure> {
        let bytes = self.bytes(method, path, body).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::new(
                exit::ERROR,
                "cli.answer",
                format!("answer of {path} not understood: {error}"),
            )
        })
    }

    /// The raw answer, for files.
    pub(crate) async fn bytes(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Failure> {
        let session = session_token(&self.key, &self.context.operator, &self.context.server)
            .map_err(|error| Failure::new(exit::ERROR, "cli.session", error.to_string()))?;
        let mut request = Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.context.server))
            .header(header::AUTHORIZATION, format!("Bearer {session}"))
            .header(header::CONTENT_TYPE, "application/json");
        if method != Method::GET {
            let key = bailiwick_server::operator::idempotency_key()
                .map_err(|error| Failure::new(exit::ERROR, "cli.randomness", error.to_string()))?;
            request = request.header("idempotency-key", key);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Failure::usage(format!("`{path}` is not a path: {error}")))?;
        let reply = self
            .http
            .request(request)
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), REPLY_MAX)
            .collect()
            .await
            .map_err(|error| {
                Failure::new(
                    exit::UNREACHABLE,
                    "cli.broken-off",
                    format!("answer broke off: {error}"),
                )
            })?;
        let bytes = body.to_bytes();
        if status.is_success() {
            return Ok(bytes);
        }
        Err(problem(status, &bytes))
    }

    fn unreachable(&self, error: &hyper_util::client::legacy::Error) -> Failure {
        Failure::new(
            exit::UNREACHABLE,
            "cli.unreachable",
            format!("no service at {}: {}", self.context.server, chain(error)),
        )
        .hint("start it with `bailiwick serve`, or `bailiwick demo`")
    }
}

fn encode<B: Serialize>(body: &B) -> Result<Bytes, Failure> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(|error| Failure::usage(format!("request cannot be written as JSON: {error}")))
}

fn problem(status: StatusCode, bytes: &[u8]) -> Failure {
    match serde_json::from_slice::<Problem>(bytes) {
        Ok(problem) => problem.into(),
        Err(_) => Failure::new(exit::ERROR, "cli.http", format!("the service answered {status}")),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
