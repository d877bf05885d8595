//! The HTTP client of the operator commands: signs a short-lived session with the operator's key.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bailiwick_server::operator::{OperatorKey, session_token};
use bailiwick_wire::Problem;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::args::Global;
use crate::output::{Failure, exit};

/// For a connection to the service.
const CONNECTING: Duration = Duration::from_secs(10);
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
    /// PEM file with the private CA of the service; public roots when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
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

/// The certificates of a PEM file.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let unread = |what: String| {
        Failure::usage(format!("CA file `{}`: {what}", file.display()))
            .hint("give --ca FILE, a PEM file with the certificate of the CA")
    };
    let found: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| unread(error.to_string()))?;
    if found.is_empty() {
        return Err(unread("no certificate in it".to_owned()));
    }
    Ok(found)
}

/// With a CA of its own a service is vouched for by that one alone.
fn roots(ca: &Path) -> Result<rustls::ClientConfig, Failure> {
    let mut store = rustls::RootCertStore::empty();
    for certificate in certificates(ca)? {
        store
            .add(certificate)
            .map_err(|error| Failure::usage(format!("CA file `{}`: {error}", ca.display())))?;
    }
    Ok(rustls::ClientConfig::builder()
        .with_root_certificates(store)
        .with_no_client_auth())
}

type Http = HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>;

fn connector(ca: Option<&Path>) -> Result<Http, Failure> {
    let builder = hyper_rustls::HttpsConnectorBuilder::new();
    let connector = match ca {
        Some(ca) => builder.with_tls_config(roots(ca)?),
        None => builder.with_webpki_roots(),
    };
    let mut http = HttpConnector::new();
    // TLS is the other one's part.
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECTING));
    let connector = connector.https_or_http().enable_http1().wrap_connector(http);
    Ok(HyperClient::builder(TokioExecutor::new()).build(connector))
}

/// Posts to a service where nobody has a session yet.
pub(crate) async fn post_openly<B: Serialize, T: DeserializeOwned>(
    server: &str,
    ca: Option<&Path>,
    path: &str,
    body: &B,
) -> Result<T, Failure> {
    let server = server.trim_end_matches('/');
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{server}{path}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(encode(body)?))
        .map_err(|error| Failure::usage(format!("`{server}` is no URL: {error}")))?;
    let unreachable = |error: &dyn std::fmt::Display| {
        Failure::new(
            exit::UNREACHABLE,
            "cli.unreachable",
            format!("no service at {server}: {error}"),
        )
    };
    let reply = connector(ca)?
        .request(request)
        .await
        .map_err(|e| unreachable(&chain(&e)))?;
    let status = reply.status();
    let body = Limited::new(reply.into_body(), REPLY_MAX).collect().await;
    let bytes = body.map_err(|e| unreachable(&e))?.to_bytes();
    if status.is_success() {
        return parse(path, &bytes);
    }
    Err(problem(status, &bytes))
}

/// A connection to the service.
pub(crate) struct Client {
    http: Http,
    context: Context,
    key: OperatorKey,
    tenant: Option<String>,
    /// The node that is asked, where that is not the address of the installation.
    at: Option<String>,
}

impl Client {
    pub(crate) fn connect(global: &Global) -> Result<Self, Failure> {
        let context = read_context(global)?;
        let key = OperatorKey::read(Path::new(&context.key_file))
            .map_err(|error| Failure::new(exit::ERROR, "cli.operator-key", error.to_string()))?;
        let ca = global.ca.as_deref().or(context.ca.as_deref());
        let http = connector(ca)?;
        let tenant = global.tenant.clone().or_else(|| context.tenant.clone());
        Ok(Self {
            http,
            context,
            key,
            tenant,
            at: None,
        })
    }

    /// The same, asking the node at this URL.
    pub(crate) fn at(self, node: Option<String>) -> Self {
        let at = node.map(|url| url.trim_end_matches('/').to_owned());
        Self { at, ..self }
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

    /// As [`Client::post`], for what is answered with nothing.
    pub(crate) async fn order<B: Serialize>(&self, path: &str, body: &B) -> Result<(), Failure> {
        self.bytes(Method::POST, path, encode(body)?).await.map(drop)
    }

    /// Where the service is.
    pub(crate) fn base_url(&self) -> &str {
        &self.context.server
    }

    pub(crate) async fn put<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, Failure> {
        self.send(Method::PUT, path, encode(body)?).await
    }

    /// A stop: over the socket of the data folder where that is at hand, because a kill must not queue behind what
    /// comes over the network. `data` insists on it.
    pub(crate) async fn stop<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        data: Option<&Path>,
    ) -> Result<T, Failure> {
        let Some(folder) = data.or(self.context.data.as_deref()) else {
            return self.post(path, body).await;
        };
        let socket = folder.join("claim.sock");
        let unreachable = |error: &dyn std::fmt::Display| {
            Failure::new(
                exit::UNREACHABLE,
                "cli.unreachable",
                format!("no service at `{}`: {error}", socket.display()),
            )
            .hint("is it running with this data folder, as this user?")
        };
        let stream = match tokio::net::UnixStream::connect(&socket).await {
            Ok(stream) => stream,
            Err(error) if data.is_some() => return Err(unreachable(&error)),
            // Another machine's service, or another user's.
            Err(_) => return self.post(path, body).await,
        };
        let request = self
            .head(&Method::POST, path)?
            .uri(path)
            .header(header::HOST, "socket.invalid")
            .body(Full::new(encode(body)?))
            .map_err(|error| Failure::usage(format!("`{path}` is not a path: {error}")))?;
        let (status, bytes) = bailiwick_server::operator::ask_socket(stream, request)
            .await
            .map_err(|error| unreachable(&error))?;
        if status.is_success() {
            return parse(path, &bytes);
        }
        Err(problem(status, &bytes))
    }

    async fn send<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, Failure> {
        let bytes = self.bytes(method, path, body).await?;
        parse(path, &bytes)
    }

    /// The head of a request. Each has a session of its own, for the service takes none twice for a change.
    fn head(&self, method: &Method, path: &str) -> Result<http::request::Builder, Failure> {
        let session = session_token(&self.key, &self.context.operator, &self.context.server)
            .map_err(|error| Failure::new(exit::ERROR, "cli.session", error.to_string()))?;
        let mut request = Request::builder()
            .method(method.clone())
            .uri(format!(
                "{}{path}",
                self.at.as_ref().unwrap_or(&self.context.server)
            ))
            .header(header::AUTHORIZATION, format!("Bearer {session}"))
            .header(header::CONTENT_TYPE, "application/json");
        if *method != Method::GET {
            let key = bailiwick_server::operator::idempotency_key()
                .map_err(|error| Failure::new(exit::ERROR, "cli.randomness", error.to_string()))?;
            request = request.header("idempotency-key", key);
        }
        Ok(request)
    }

    /// The raw answer, for files.
    pub(crate) async fn bytes(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Failure> {
        let request = self
            .head(&method, path)?
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
        if let Some(tls) = tls_error(error) {
            return Failure::new(
                exit::UNREACHABLE,
                "cli.tls",
                format!("no secure connection to {}: {tls}", self.context.server),
            )
            .hint(tls_hint(tls));
        }
        Failure::new(
            exit::UNREACHABLE,
            "cli.unreachable",
            format!("no service at {}: {}", self.context.server, chain(error)),
        )
        .hint("start it with `bailiwick serve`, or `bailiwick demo`")
    }
}

fn parse<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        Failure::new(
            exit::ERROR,
            "cli.answer",
            format!("answer of {path} not understood: {error}"),
        )
    })
}

/// What TLS found wrong, wherever in the chain it stands; an I/O error hides what it wraps.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let wrapped = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn tls_hint(error: &rustls::Error) -> &'static str {
    use rustls::CertificateError;
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "give the certificate of the service's CA with --ca FILE, or as `ca` in the context"
        }
        rustls::Error::InvalidCertificate(_) => {
            "the service needs a certificate that is valid now and for the host of this address"
        }
        _ => "does the service speak TLS at this address? `server` in the context says https or http",
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
