//! Fetching a JSON document, bounded in every way, and keeping it as long as its server says.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::limits::shown;
use bailiwick_base::{Clock, TenantId, json};
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HOST, HeaderValue,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, USER_AGENT,
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use quick_cache::sync::Cache;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::address::AddressRule;
use crate::dial::{DialError, Dialer, alongside};
use crate::endpoint::{Endpoint, GuardError};
use crate::freshness;

/// How fetches are bounded.
#[derive(Debug, Clone)]
pub struct FetchConfig {
    /// Until a connection stands, TLS included. Default 5 s.
    pub connect_timeout: Duration,
    /// For the whole fetch. Default 10 s.
    pub whole_timeout: Duration,
    /// Bytes of a document. Default 1 MiB.
    pub body_max: usize,
    /// The longest a document is kept, whatever its server says. Default 1 h.
    pub kept_max: Duration,
    /// The shortest time between two fetches of one document, failed ones among them. Default 10 s.
    pub refetch_min: Duration,
    /// Documents that are kept. Default 4,096.
    pub documents_max: usize,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            whole_timeout: Duration::from_secs(10),
            body_max: 1024 * 1024,
            kept_max: Duration::from_secs(3_600),
            refetch_min: Duration::from_secs(10),
            documents_max: 4_096,
        }
    }
}

/// Where a document is, and what is allowed on the way there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// For whom it is fetched; what is kept is kept for this tenant alone.
    pub tenant: TenantId,
    /// The URL, `https` unless the flag below is set.
    pub url: String,
    /// Addresses beyond the public ones.
    pub addresses: AddressRule,
    /// Plain HTTP, for tests and closed networks. Whoever listens on the way may change what is read.
    pub danger_plaintext: bool,
}

/// How fresh a document has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// As caching allows.
    Kept,
    /// Fetched after now, because what is kept lacks something; not more often than once in
    /// [`FetchConfig::refetch_min`], within which the kept one is given again.
    Newer,
}

/// A document as it was fetched. While its content stays the same, the same `Arc` is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its content, read strictly.
    pub value: Value,
}

/// Why there is no document. Never carries text of the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The connection broke before the answer was whole.
    #[error("it closed the connection before its answer was whole")]
    Closed,
    /// It may not be fetched; nothing was sent.
    #[error("it may not be fetched: {0}")]
    Guarded(#[from] GuardError),
    /// The answer is not strict JSON, or says that it is something else.
    #[error("its answer is not JSON: {0}")]
    NotJson(String),
    /// It answered with a redirect, which is not followed.
    #[error("it answered with a redirect (HTTP {0}): give the final URL")]
    Redirected(u16),
    /// It answered with another status than 200.
    #[error("it answered with HTTP {0}")]
    Status(u16),
    /// It did not answer in time.
    #[error("it did not answer in time")]
    TimedOut,
    /// Its answer is too long.
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
    /// It cannot be connected to.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
}

impl FetchError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Closed => "outbound.closed",
            Self::Guarded(_) => "outbound.guarded",
            Self::NotJson(_) => "outbound.not-json",
            Self::Redirected(_) => "outbound.redirected",
            Self::Status(_) => "outbound.status",
            Self::TimedOut => "outbound.timed-out",
            Self::TooLong(_) => "outbound.too-long",
            Self::Unreachable(_) => "outbound.unreachable",
        }
    }
}

impl From<DialError> for FetchError {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Guarded(error) => Self::Guarded(error),
            DialError::Unreachable(text) => Self::Unreachable(text),
        }
    }
}

/// What is known of one document.
#[derive(Default)]
struct Kept {
    document: Option<Arc<Document>>,
    fresh_until: Duration,
    etag: Option<HeaderValue>,
    modified: Option<HeaderValue>,
    asked_at: Option<Duration>,
    failed: Option<FetchError>,
}

enum Fetched {
    Changed(Value),
    Same,
}

struct Answer {
    fetched: Fetched,
    kept_for: Duration,
    etag: Option<HeaderValue>,
    modified: Option<HeaderValue>,
}

/// Fetches JSON documents.
pub struct Fetcher {
    dialer: Dialer,
    clock: Arc<dyn Clock>,
    config: FetchConfig,
    kept: Cache<Place, Arc<Mutex<Kept>>>,
}

/// Whose document, from where, and under which leave.
type Place = (TenantId, String, String);

impl Fetcher {
    /// A fetcher that has nothing yet.
    #[must_use]
    pub fn new(dialer: Dialer, clock: Arc<dyn Clock>, config: FetchConfig) -> Self {
        let kept = Cache::new(config.documents_max);
        Self {
            dialer,
            clock,
            config,
            kept,
        }
    }

    /// The document at `to`, kept or fetched. One fetch at a time for each document.
    ///
    /// # Errors
    /// [`FetchError`]; the error of a failed fetch is given again until the next one is due.
    pub async fn json(&self, to: &Destination, need: Need) -> Result<Arc<Document>, FetchError> {
        let endpoint = Endpoint::parse(&to.url, to.danger_plaintext)?;
        to.addresses.require_endpoint(&endpoint)?;
        let leave = format!("{:?} {}", to.addresses, to.danger_plaintext);
        let place = (to.tenant.clone(), to.url.clone(), leave);
        let entry = match self.kept.get(&place) {
            Some(entry) => entry,
            None => self
                .kept
                .get_or_insert_with(&place, || Ok::<_, std::convert::Infallible>(Arc::default()))
                .unwrap_or_default(),
        };
        let mut kept = entry.lock().await;
        let now = self.clock.monotonic();
        let fresh = kept.document.clone().filter(|_| now < kept.fresh_until);
        let asked_lately = kept
            .asked_at
            .is_some_and(|at| now.saturating_sub(at) < self.config.refetch_min);
        match (fresh, need, asked_lately) {
            (Some(document), Need::Kept, _) | (Some(document), Need::Newer, true) => return Ok(document),
            (None, _, true) => {
                if let Some(error) = &kept.failed {
                    return Err(error.clone());
                }
                // It may not be kept, and was fetched a moment ago: a crowd shares that answer.
                if let Some(document) = &kept.document {
                    return Ok(Arc::clone(document));
                }
            }
            _ => {}
        }
        kept.asked_at = Some(now);
        // Whoever stops waiting for this fetch leaves this behind.
        kept.failed = Some(FetchError::TimedOut);
        let asked = self.ask(&endpoint, &to.addresses, &kept);
        let answer = tokio::time::timeout(self.config.whole_timeout, asked).await;
        let answer = answer.unwrap_or(Err(FetchError::TimedOut));
        self.settle(&mut kept, answer, now)
    }

    /// Keeps what a fetch brought. After a failed one nothing stale is given: what its server took back may be the
    /// very key that it answers no more for.
    fn settle(
        &self,
        kept: &mut Kept,
        answer: Result<Answer, FetchError>,
        now: Duration,
    ) -> Result<Arc<Document>, FetchError> {
        let answer = answer.inspect_err(|error| kept.failed = Some(error.clone()))?;
        let document = match (answer.fetched, kept.document.take()) {
            (Fetched::Same, Some(document)) => document,
            (Fetched::Same, None) => {
                kept.failed = Some(FetchError::Status(304));
                return Err(FetchError::Status(304));
            }
            (Fetched::Changed(value), Some(before)) if before.value == value => before,
            (Fetched::Changed(value), _) => Arc::new(Document { value }),
        };
        kept.failed = None;
        kept.fresh_until = now + answer.kept_for.min(self.config.kept_max);
        kept.etag = answer.etag;
        kept.modified = answer.modified;
        kept.document = Some(Arc::clone(&document));
        Ok(document)
    }

    async fn ask(&self, endpoint: &Endpoint, rule: &AddressRule, kept: &Kept) -> Result<Answer, FetchError> {
        let dialled =
            tokio::time::timeout(self.config.connect_timeout, self.dialer.dial(endpoint, rule)).await;
        let wire = dialled.map_err(|_| FetchError::TimedOut)??;
        let (mut send, driver) = http1::Builder::new()
            .max_buf_size(64 * 1024)
            .max_headers(64)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(wire))
            .await
            .map_err(|_| FetchError::Closed)?;
        let mut driver = Some(Box::pin(driver));
        let question = question(endpoint, kept)?;
        let response = {
            let mut sent = pin!(send.send_request(question));
            std::future::poll_fn(|cx| alongside(sent.as_mut(), &mut driver, cx)).await
        };
        let response = response.map_err(|_| FetchError::Closed)?;
        let headers = response.headers();
        let (kept_for, etag) = (freshness::of(headers), headers.get(ETAG).cloned());
        let modified = headers.get(LAST_MODIFIED).cloned();
        let fetched = if response.status() == StatusCode::NOT_MODIFIED {
            Fetched::Same
        } else {
            require_json(&response)?;
            let mut whole = pin!(whole(response.into_body(), self.config.body_max));
            let bytes = std::future::poll_fn(|cx| alongside(whole.as_mut(), &mut driver, cx)).await?;
            let value = json::parse(&bytes, self.config.body_max);
            Fetched::Changed(value.map_err(|e| FetchError::NotJson(shown(&e.to_string())))?)
        };
        let (etag, modified) = match &fetched {
            Fetched::Same => (etag.or(kept.etag.clone()), modified.or(kept.modified.clone())),
            Fetched::Changed(_) => (etag, modified),
        };
        Ok(Answer {
            fetched,
            kept_for,
            etag,
            modified,
        })
    }
}

fn question(endpoint: &Endpoint, kept: &Kept) -> Result<Request<Empty<Bytes>>, FetchError> {
    let mut question = Request::get(endpoint.path.as_str())
        .header(HOST, endpoint.authority.as_str())
        .header(ACCEPT, "application/json, application/jwk-set+json")
        .header(ACCEPT_ENCODING, "identity")
        .header(CONNECTION, "close")
        .header(USER_AGENT, "bailiwick");
    if kept.document.is_some() {
        if let Some(etag) = &kept.etag {
            question = question.header(IF_NONE_MATCH, etag);
        }
        if let Some(modified) = &kept.modified {
            question = question.header(IF_MODIFIED_SINCE, modified);
        }
    }
    question.body(Empty::new()).map_err(|_| {
        FetchError::Guarded(GuardError::Url {
            url: shown(&endpoint.path),
            rule: "its path is malformed",
        })
    })
}

/// 200, not packed, and JSON by its own word (RFC 6839 §3.1 for `+json`).
fn require_json(response: &Response<Incoming>) -> Result<(), FetchError> {
    let status = response.status();
    if status.is_redirection() {
        return Err(FetchError::Redirected(status.as_u16()));
    }
    if status != StatusCode::OK {
        return Err(FetchError::Status(status.as_u16()));
    }
    let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
    if header(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(FetchError::NotJson("it is packed".to_owned()));
    }
    let kind = header(CONTENT_TYPE).unwrap_or_default();
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let is_json = kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"));
    if is_json {
        return Ok(());
    }
    Err(FetchError::NotJson(format!("its type is `{}`", shown(&kind))))
}

async fn whole(mut body: Incoming, max: usize) -> Result<Vec<u8>, FetchError> {
    if body.size_hint().lower() > max as u64 {
        return Err(FetchError::TooLong(max));
    }
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| FetchError::Closed)?;
        if let Ok(bytes) = frame.into_data() {
            if all.len() + bytes.len() > max {
                return Err(FetchError::TooLong(max));
            }
            all.extend_from_slice(&bytes);
        }
    }
    Ok(all)
}
