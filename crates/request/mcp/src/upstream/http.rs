//! Streamable HTTP towards an upstream server, in both eras.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bailiwick_base::{Clock, CredentialId, Secret};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value};

use super::bound::{Bound, Bounds};
use super::canary::Canary;
use super::conn::{Answer, Pool};
use super::exchange::{Outgoing, Reply, Step, classify, reply};
use super::line::restore_numbers;
use super::peer::{self, Peer};
use crate::answer;
use crate::client::Client;
use crate::error::UpstreamError;
use crate::frame::{self, CallId, Foreign, ForeignError};
use crate::method;
use crate::ports::{Spawner, UpstreamSecrets};
use crate::sse::Decoder;

pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(crate) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(crate) const NAME: HeaderName = HeaderName::from_static("mcp-name");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// How long an opened credential is used without asking whether it still lives.
const OPENED_TTL: Duration = Duration::from_secs(5);

/// A credential as it is sent.
pub(crate) struct Opened {
    name: HeaderName,
    value: HeaderValue,
    canary: Canary,
    at: Duration,
}

/// An HTTP upstream server.
pub(crate) struct HttpServer {
    pub(crate) path: http::Uri,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) opened: Mutex<Option<Arc<Opened>>>,
    pub(crate) opening: tokio::sync::Mutex<()>,
    pub(crate) session_peer: Mutex<Option<Arc<Peer>>>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) credential: Option<CredentialId>,
    pub(crate) secrets: Arc<dyn UpstreamSecrets>,
    pub(crate) spawner: Arc<dyn Spawner>,
    pub(crate) host: HeaderValue,
    pub(crate) reply_max: usize,
    pub(crate) bounds: Bounds,
}

/// A session at a legacy HTTP server.
pub(crate) struct HttpSession {
    server: Arc<HttpServer>,
    id: Option<HeaderValue>,
    version: HeaderValue,
    pub(crate) peer: Arc<Peer>,
    /// Whether it answered `initialize` with an event stream.
    pub(crate) streamed: bool,
    next_id: AtomicI64,
    lost: AtomicBool,
    level: Mutex<Option<String>>,
}

impl HttpServer {
    /// The fixed head of every message, with our own credential. Nothing of the caller's head is copied.
    async fn head(&self, verb: Method) -> Result<(http::Request<Full<Bytes>>, Canary), UpstreamError> {
        let mut message = http::Request::new(Full::new(Bytes::new()));
        *message.method_mut() = verb;
        *message.uri_mut() = self.path.clone();
        message.headers_mut().insert(HOST, self.host.clone());
        let opened = self.opened().await?;
        if let Some(opened) = &opened {
            message
                .headers_mut()
                .insert(opened.name.clone(), opened.value.clone());
        }
        Ok((message, opened.map(|o| o.canary.clone()).unwrap_or_default()))
    }

    /// The credential, asked for again when it was opened a while ago.
    async fn opened(&self) -> Result<Option<Arc<Opened>>, UpstreamError> {
        let Some(id) = &self.credential else {
            return Ok(None);
        };
        let known = || {
            let now = self.clock.monotonic();
            let known = self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone();
            known.filter(|k| now.saturating_sub(k.at) < OPENED_TTL)
        };
        if let Some(known) = known() {
            return Ok(Some(known));
        }
        // One asks for all who wait.
        let _opening = self.opening.lock().await;
        if let Some(known) = known() {
            return Ok(Some(known));
        }
        let secret = self
            .secrets
            .secret(id)
            .await
            .ok_or(UpstreamError::CredentialMissing)?;
        let (name, value) = credential_header(&secret)?;
        let opened = Arc::new(Opened {
            name,
            value,
            canary: Canary::new(&secret)?,
            at: self.clock.monotonic(),
        });
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&opened));
        Ok(Some(opened))
    }

    /// Sends a call in the stateless revision.
    pub(crate) async fn call_modern(
        self: &Arc<Self>,
        mut out: Outgoing,
    ) -> Result<HttpExchange, UpstreamError> {
        let (mut message, canary) = self.head(Method::POST).await?;
        let headers = message.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(ACCEPT, BOTH);
        headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(method::MODERN));
        headers.insert(METHOD, crate::param_headers::encode(&out.method));
        if let Some(name) = &out.name {
            headers.insert(NAME, crate::param_headers::encode(name));
        }
        for (name, value) in &out.param_headers {
            headers.insert(name.clone(), value.clone());
        }
        *message.body_mut() = Full::new(out.take_text());
        let (parts, body) = self.pool.send(message).await?;
        self.exchange(out, parts, body, canary, None)
    }

    fn exchange(
        self: &Arc<Self>,
        out: Outgoing,
        parts: http::response::Parts,
        body: Answer,
        canary: Canary,
        session: Option<Arc<HttpSession>>,
    ) -> Result<HttpExchange, UpstreamError> {
        let shape = shape_of(&parts)?;
        let cancel = session.map(|session| CancelOnDrop {
            session,
            id: out.wire_id.clone(),
            armed: true,
        });
        let decoder = Decoder::new(self.reply_max);
        Ok(HttpExchange {
            bound: Bound::begin(self.bounds, &self.clock),
            server: Arc::clone(self),
            out,
            status: parts.status.as_u16(),
            body: Some(body),
            shape,
            decoder,
            canary,
            cancel,
        })
    }

    /// Asks in the stateless revision what the server is; `None` when it is a legacy server.
    pub(crate) async fn discover(self: &Arc<Self>) -> Result<Option<Arc<Peer>>, UpstreamError> {
        let meta = peer::envelope(&Client::own());
        let params = Value::Object(Map::from_iter([("_meta".to_owned(), Value::Object(meta))]));
        let out = own_call("server/discover", &params);
        let asked = async { self.call_modern(out).await?.reply().await };
        let reply = match asked.await {
            Ok(reply) => reply,
            // Whatever is no answer in this revision may be a server of the other one.
            Err(UpstreamError::NotMcp(_) | UpstreamError::SessionLost) => return Ok(None),
            Err(e) => return Err(e),
        };
        if let Some(result) = &reply.result {
            let result: Value = bailiwick_base::json::parse(result, self.reply_max)
                .map_err(|_| UpstreamError::NotMcp("the result of server/discover is not strict JSON"))?;
            return Ok(Peer::from_discovery(&result).map(Arc::new));
        }
        let code = reply
            .error
            .as_ref()
            .and_then(|e| serde_json::from_slice::<ForeignError<'_>>(e).ok())
            .map(|e| e.code);
        match code {
            // It understood the envelope, and wants a revision that we do not speak.
            Some(answer::UNSUPPORTED_VERSION) => Err(UpstreamError::Unsupported),
            _ => Ok(None),
        }
    }

    /// Sessions of one server hear the same words about it; they are kept once.
    fn known_peer(&self, peer: Arc<Peer>) -> Arc<Peer> {
        let mut known = self.session_peer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_ref().filter(|k| ***k == *peer) {
            return Arc::clone(known);
        }
        *known = Some(Arc::clone(&peer));
        peer
    }

    /// Opens a session: `initialize`, then `notifications/initialized`.
    pub(crate) async fn open(self: &Arc<Self>, client: &Client) -> Result<Arc<HttpSession>, UpstreamError> {
        let mut out = own_call("initialize", &peer::initialize_params(client));
        let (mut message, canary) = self.head(Method::POST).await?;
        message.headers_mut().insert(CONTENT_TYPE, JSON);
        message.headers_mut().insert(ACCEPT, BOTH);
        *message.body_mut() = Full::new(out.take_text());
        let (parts, body) = self.pool.send(message).await?;
        // A copy: the value as received would keep the whole buffer of the connection with it.
        let id = parts
            .headers
            .get(SESSION_ID)
            .map(|id| HeaderValue::from_bytes(id.as_bytes()));
        let id = id
            .transpose()
            .map_err(|_| UpstreamError::NotMcp("its session id is malformed"))?;
        if id.as_ref().is_some_and(|id| !is_session_id(id)) {
            return Err(UpstreamError::NotMcp("its session id is not visible ASCII"));
        }
        let reply = self.exchange(out, parts, body, canary, None)?.reply().await?;
        let streamed = reply.streamed;
        let result = reply.result.ok_or(UpstreamError::Unsupported)?;
        let result = bailiwick_base::json::parse(&result, self.reply_max)
            .map_err(|_| UpstreamError::NotMcp("the result of initialize is not strict JSON"))?;
        let peer = Arc::new(Peer::from_initialize(&result).ok_or(UpstreamError::Unsupported)?);
        let spoken = method::LEGACY_UPSTREAM.into_iter().find(|v| *v == peer.version);
        let version = HeaderValue::from_static(spoken.ok_or(UpstreamError::Unsupported)?);
        let peer = self.known_peer(peer);
        let session = Arc::new(HttpSession {
            server: Arc::clone(self),
            id,
            version,
            peer,
            streamed,
            next_id: AtomicI64::new(1),
            lost: AtomicBool::new(false),
            level: Mutex::new(None),
        });
        session
            .send(frame::write(None, "notifications/initialized", None))
            .await?;
        Ok(session)
    }
}

impl HttpSession {
    /// An id that no other call of this session has.
    pub(crate) fn mint(&self) -> CallId {
        CallId::Integer(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    pub(crate) fn mark_lost(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    /// Takes note of a log level; whether it is another one than before.
    pub(crate) fn level_changes(&self, level: &str) -> bool {
        let mut known = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = known.as_deref() != Some(level);
        *known = Some(level.to_owned());
        changes
    }

    async fn head(&self, verb: Method) -> Result<(http::Request<Full<Bytes>>, Canary), UpstreamError> {
        let (mut message, canary) = self.server.head(verb).await?;
        self.address(&mut message);
        Ok((message, canary))
    }

    /// Makes `message` one of this session.
    fn address(&self, message: &mut http::Request<Full<Bytes>>) {
        let headers = message.headers_mut();
        headers.insert(PROTOCOL_VERSION, self.version.clone());
        if let Some(id) = &self.id {
            headers.insert(SESSION_ID, id.clone());
        }
    }

    /// Sends a call.
    pub(crate) async fn call(self: &Arc<Self>, mut out: Outgoing) -> Result<HttpExchange, UpstreamError> {
        let (mut message, canary) = self.head(Method::POST).await?;
        message.headers_mut().insert(CONTENT_TYPE, JSON);
        message.headers_mut().insert(ACCEPT, BOTH);
        *message.body_mut() = Full::new(out.take_text());
        let mut guard = CancelOnDrop {
            session: Arc::clone(self),
            id: out.wire_id.clone(),
            armed: true,
        };
        let sent = self.server.pool.send(message).await;
        let failed_before = matches!(
            &sent,
            Err(UpstreamError::Guarded(_) | UpstreamError::Unreachable(_))
        );
        guard.armed = !failed_before && guard.armed;
        let (parts, body) = sent?;
        if self.id.is_some() && parts.status == StatusCode::NOT_FOUND {
            guard.armed = false;
            self.mark_lost();
            return Err(UpstreamError::SessionLost);
        }
        guard.armed = false;
        self.server
            .exchange(out, parts, body, canary, Some(Arc::clone(self)))
    }

    /// Sends a notification or a response.
    pub(crate) async fn send(&self, text: Bytes) -> Result<(), UpstreamError> {
        let (mut message, _) = self.head(Method::POST).await?;
        message.headers_mut().insert(CONTENT_TYPE, JSON);
        message.headers_mut().insert(ACCEPT, BOTH);
        *message.body_mut() = Full::new(text);
        let (parts, body) = self.server.pool.send(message).await?;
        body.finish();
        match parts.status {
            s if s.is_success() => Ok(()),
            StatusCode::NOT_FOUND if self.id.is_some() => Err(UpstreamError::SessionLost),
            s => Err(refusal_of(s)),
        }
    }

    /// Opens the stream of messages that belong to no call. The head may be long in coming.
    pub(crate) async fn listen(self: &Arc<Self>) -> Result<HttpExchange, UpstreamError> {
        let (mut message, canary) = self.head(Method::GET).await?;
        message.headers_mut().insert(ACCEPT, EVENTS);
        let (parts, body) = self.server.pool.send_unbounded(message).await?;
        let out = own_call("", &Value::Null);
        let mut exchange = self.server.exchange(out, parts, body, canary, None)?;
        if exchange.shape != AnswerShape::Events {
            return Err(UpstreamError::NotMcp("no stream of messages"));
        }
        exchange.cancel = Some(CancelOnDrop {
            session: Arc::clone(self),
            id: CallId::Integer(0),
            armed: false,
        });
        Ok(exchange)
    }
}

impl Drop for HttpSession {
    fn drop(&mut self) {
        if self.id.is_none() || self.is_lost() {
            return;
        }
        let mut last = http::Request::new(Full::new(Bytes::new()));
        self.address(&mut last);
        let server = Arc::clone(&self.server);
        self.server.spawner.spawn(Box::pin(async move {
            let Ok((mut message, _)) = server.head(Method::DELETE).await else {
                return;
            };
            message.headers_mut().extend(std::mem::take(last.headers_mut()));
            // The server may not answer; its own time-out ends the session then.
            if let Ok((_, body)) = server.pool.send(message).await {
                body.finish();
            }
        }));
    }
}

/// Tells a legacy server that a call is over when nobody waits for its answer any more.
struct CancelOnDrop {
    session: Arc<HttpSession>,
    id: CallId,
    armed: bool,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if !self.armed || self.session.is_lost() {
            return;
        }
        let params =
            serde_json::json!({"requestId": self.id, "reason": "cancelled by the gateway"}).to_string();
        let text = frame::write(None, "notifications/cancelled", Some(params.as_bytes()));
        let session = Arc::clone(&self.session);
        self.session.server.spawner.spawn(Box::pin(async move {
            if let Err(e) = session.send(text).await {
                tracing::debug!(error = %e, "a cancellation did not reach the upstream server");
            }
        }));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnswerShape {
    Empty,
    Events,
    Json,
}

/// One call over HTTP.
pub(crate) struct HttpExchange {
    bound: Bound,
    server: Arc<HttpServer>,
    out: Outgoing,
    status: u16,
    body: Option<Answer>,
    shape: AnswerShape,
    decoder: Decoder,
    canary: Canary,
    cancel: Option<CancelOnDrop>,
}

impl HttpExchange {
    pub(crate) async fn next(&mut self) -> Result<Step, UpstreamError> {
        match self.shape {
            AnswerShape::Empty => Err(UpstreamError::NotMcp("an empty answer to a call")),
            AnswerShape::Json => {
                let body = self.body.take().ok_or(UpstreamError::Closed)?;
                let text = self.bound.wait(body.whole(self.server.reply_max)).await??;
                self.done();
                self.read(&text, false)?
                    .ok_or(UpstreamError::NotMcp("a notification in place of an answer"))
            }
            AnswerShape::Events => self.next_event(self.out.method != "subscriptions/listen").await,
        }
    }

    /// The next message of a stream that has no end of its own; it may be silent for as long as it likes.
    pub(crate) async fn next_of_stream(&mut self) -> Result<Step, UpstreamError> {
        self.next_event(false).await
    }

    async fn next_event(&mut self, bounded: bool) -> Result<Step, UpstreamError> {
        loop {
            while let Some(text) = self.decoder.next()? {
                let Some(step) = self.read(&text, true)? else {
                    continue;
                };
                if matches!(step, Step::Done(_)) {
                    self.done();
                    if let Some(body) = self.body.take() {
                        body.finish();
                    }
                }
                return Ok(step);
            }
            let body = self.body.as_mut().ok_or(UpstreamError::Closed)?;
            let next = if bounded {
                self.bound.wait(body.next()).await??
            } else {
                body.next().await?
            };
            match next {
                Some(bytes) => self.decoder.push(&bytes),
                None => {
                    self.body = None;
                    return Err(UpstreamError::Closed);
                }
            }
        }
    }

    fn read(&self, text: &Bytes, streamed: bool) -> Result<Option<Step>, UpstreamError> {
        self.canary.require_absent(text)?;
        let status = if streamed { 200 } else { self.status };
        if !streamed && self.lost_its_session(text) {
            if let Some(cancel) = &self.cancel {
                cancel.session.mark_lost();
            }
            return Err(UpstreamError::SessionLost);
        }
        match classify(&self.out, status, text)? {
            Some(Step::Notice(notice)) if self.out.wire_id != self.out.id => {
                Ok(restore_numbers(&self.out, notice).map(Step::Notice))
            }
            Some(Step::Done(reply)) => Ok(Some(Step::Done(Reply { streamed, ..reply }))),
            step => Ok(step),
        }
    }

    /// Some servers answer HTTP 400 and an error without an id when they do not know a session.
    fn lost_its_session(&self, text: &[u8]) -> bool {
        let in_session = self.cancel.as_ref().is_some_and(|c| c.session.id.is_some());
        if !in_session || self.status != 400 {
            return false;
        }
        let Some(message) = Foreign::parse(text) else {
            return false;
        };
        let code = message
            .error
            .and_then(|e| serde_json::from_str::<ForeignError<'_>>(e.get()).ok())
            .map(|e| e.code);
        message.call_id().is_none() && code == Some(-32000)
    }

    /// The answer, skipping everything before it.
    pub(crate) async fn reply(&mut self) -> Result<Reply, UpstreamError> {
        loop {
            if let Step::Done(reply) = self.next().await? {
                return Ok(reply);
            }
        }
    }

    pub(crate) async fn answer(&mut self, text: Bytes) -> Result<(), UpstreamError> {
        match &self.cancel {
            Some(cancel) => cancel.session.send(text).await,
            None => Err(UpstreamError::NotMcp("a question outside of a session")),
        }
    }

    pub(crate) fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.out
    }

    fn done(&mut self) {
        if let Some(cancel) = &mut self.cancel {
            cancel.armed = false;
        }
    }
}

fn own_call(method: &str, params: &Value) -> Outgoing {
    let id = CallId::Text("bailiwick".into());
    Outgoing {
        id: id.clone(),
        method: method.to_owned(),
        wire_id: id,
        params: Some(Bytes::from(params.to_string())),
        verbatim: None,
        token: None,
        name: None,
        param_headers: Vec::new(),
    }
}

/// The shape of the answer, or why it cannot be one.
fn shape_of(parts: &http::response::Parts) -> Result<AnswerShape, UpstreamError> {
    if parts.status == StatusCode::ACCEPTED || parts.status == StatusCode::NO_CONTENT {
        return Ok(AnswerShape::Empty);
    }
    if matches!(parts.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) || !passes(parts.status) {
        return Err(refusal_of(parts.status));
    }
    if parts.headers.contains_key(CONTENT_ENCODING) {
        return Err(UpstreamError::NotMcp("an encoded answer that nobody asked for"));
    }
    match content_type(&parts.headers) {
        Some(t) if t == "application/json" => Ok(AnswerShape::Json),
        Some(t) if t == "text/event-stream" && parts.status == StatusCode::OK => Ok(AnswerShape::Events),
        _ => Err(UpstreamError::NotMcp("neither JSON nor an event stream")),
    }
}

fn passes(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::OK | StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND
    )
}

fn refusal_of(status: StatusCode) -> UpstreamError {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => UpstreamError::Refused(status.as_u16()),
        s if s.is_redirection() => UpstreamError::Redirected,
        s if s.is_server_error() => UpstreamError::NotMcp("a server error"),
        _ => UpstreamError::NotMcp("an HTTP status that MCP does not use"),
    }
}

pub(crate) fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(
        value
            .split(';')
            .next()
            .unwrap_or(value)
            .trim()
            .to_ascii_lowercase(),
    )
}

pub(crate) fn is_session_id(id: &HeaderValue) -> bool {
    (1..=512).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// The header a credential is sent in: `Authorization: Bearer …`, unless the secret is itself a whole header
/// line such as `X-Api-Key: …`.
fn credential_header(secret: &Secret<Vec<u8>>) -> Result<(HeaderName, HeaderValue), UpstreamError> {
    let bytes = secret.reveal().trim_ascii();
    let line = memchr::memmem::find(bytes, b": ").and_then(|at| bytes.split_at_checked(at));
    let (name, value) = match line {
        Some((name, rest)) => match HeaderName::from_bytes(name) {
            Ok(name) => (
                name,
                rest.trim_ascii_start()
                    .strip_prefix(b":")
                    .unwrap_or(rest)
                    .trim_ascii()
                    .to_vec(),
            ),
            Err(_) => (AUTHORIZATION, [b"Bearer ", bytes].concat()),
        },
        None => (AUTHORIZATION, [b"Bearer ", bytes].concat()),
    };
    let mut value = HeaderValue::from_bytes(&value).map_err(|_| UpstreamError::CredentialMissing)?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// An error of the server as a reply with another code, for callers of another era.
pub(crate) fn recoded(id: &CallId, status: u16, code: i64, message: &str, data: Option<&[u8]>) -> Reply {
    let mut error = serde_json::json!({"code": code, "message": message});
    if let (Some(data), Some(error)) = (
        data.and_then(|d| serde_json::from_slice::<Value>(d).ok()),
        error.as_object_mut(),
    ) {
        error.insert("data".to_owned(), data);
    }
    reply(id, status, "error", error.to_string().as_bytes())
}
