//! Fetching a JSON document, bounded in every way, and keeping it as long as its server says.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::limits::shown;
use bailiwick_base::{Clock, TenantId, json};
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HOST, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, USER_AGENT,
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};

use crate::address::AddressRule;
use crate::dial::{DialError, Dialer, alongside};
use crate::endpoint::{Endpoint, GuardError};
use crate::freshness::Terms;
use crate::memory::{Asked, Entry, Kept, Memory, Outcome, Place, asked, require_few};
use crate::share::Shares;

/// How fetches are bounded.
#[derive(Debug, Clone)]
pub struct FetchConfig {
    /// Until a connection stands, TLS included. Default 5 s.
    pub connect_timeout: Duration,
    /// For the whole fetch. Default 10 s.
    pub whole_timeout: Duration,
    /// Bytes of a document. Default 256 KiB.
    pub body_max: usize,
    /// The longest a document is kept, whatever its server says. Default 1 h.
    pub kept_max: Duration,
    /// The shortest time from the end of a fetch to the next one of the same document, failed ones among them.
    /// Default 10 s.
    pub refetch_min: Duration,
    /// Documents that are kept. Default 4,096.
    pub documents_max: usize,
    /// Bytes of memory that kept documents take in all. Default 64 MiB.
    pub memory_max: u64,
    /// Fetches that run at once. Default 256.
    pub at_once_max: usize,
    /// Fetches that run at once for one tenant, whoever made it ask. Default 32.
    pub at_once_each_max: usize,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            whole_timeout: Duration::from_secs(10),
            body_max: 256 * 1024,
            kept_max: Duration::from_secs(3_600),
            refetch_min: Duration::from_secs(10),
            documents_max: 4_096,
            memory_max: 64 * 1024 * 1024,
            at_once_max: 256,
            at_once_each_max: 32,
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
    /// As many fetches run as may.
    #[error("too many documents are being fetched: wait a moment")]
    Busy,
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
            Self::Busy => "outbound.busy",
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

enum Fetched {
    Changed(Value),
    Same,
}

struct Answer {
    fetched: Fetched,
    terms: Terms,
}

/// Fetches JSON documents.
pub struct Fetcher(Arc<Inner>);

struct Inner {
    dialer: Dialer,
    clock: Arc<dyn Clock>,
    config: FetchConfig,
    memory: Memory,
    at_once: Arc<Semaphore>,
    shares: Arc<Shares>,
}

impl Fetcher {
    /// A fetcher that has nothing yet.
    #[must_use]
    pub fn new(dialer: Dialer, clock: Arc<dyn Clock>, config: FetchConfig) -> Self {
        let memory = Memory::new(config.documents_max, config.memory_max);
        let at_once = Arc::new(Semaphore::new(config.at_once_max));
        let shares = Shares::new(config.at_once_each_max);
        Self(Arc::new(Inner {
            dialer,
            clock,
            config,
            memory,
            at_once,
            shares,
        }))
    }

    /// The document at `to`, kept or fetched. One fetch at a time for each document: whoever asks meanwhile gets
    /// what is fresh, or waits for the same answer. A fetch goes on when its callers are gone.
    ///
    /// # Errors
    /// [`FetchError`]; the error of a failed fetch is given again until the next one is due.
    pub async fn json(&self, to: &Destination, need: Need) -> Result<Arc<Document>, FetchError> {
        self.json_in_turn(to, need, || Some(())).await
    }

    /// The same where fetches are shared out: `turn` is asked for when one begins, and held until that one has ended,
    /// also when its callers are gone. What is kept, and what is being fetched already, needs none.
    ///
    /// # Errors
    /// [`FetchError`]; [`FetchError::Busy`] where there is no turn.
    pub async fn json_in_turn<T: Send + 'static>(
        &self,
        to: &Destination,
        need: Need,
        turn: impl FnOnce() -> Option<T>,
    ) -> Result<Arc<Document>, FetchError> {
        let endpoint = Endpoint::parse(&to.url, to.danger_plaintext)?;
        to.addresses.require_endpoint(&endpoint)?;
        let place = place(to);
        let entry = self.0.memory.asked(&place);
        let mut running = {
            let mut asked = asked(&entry);
            let kept = self.0.memory.document(&place);
            if let Some(known) = self.0.known(&asked, kept.as_deref(), need) {
                return known;
            }
            match asked.running() {
                Some(running) => running,
                None => {
                    let share = self.0.shares.take(&to.tenant).ok_or(FetchError::Busy)?;
                    let leave = Arc::clone(&self.0.at_once).try_acquire_owned();
                    let leave = leave.ok().zip(turn()).ok_or(FetchError::Busy)?;
                    let towards = (endpoint, to.addresses.clone());
                    self.0
                        .begin(&mut asked, (&entry, place), towards, kept, (leave, share))
                }
            }
        };
        let outcome = running.wait_for(Option::is_some).await;
        let outcome = outcome.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or(Err(FetchError::TimedOut))
    }

    /// Drops what is kept of `to`: nobody will ask for it again.
    pub fn forget(&self, to: &Destination) {
        self.0.memory.forget(&place(to));
    }
}

fn place(to: &Destination) -> Place {
    let leave = format!("{:?} {}", to.addresses, to.danger_plaintext);
    (to.tenant.clone(), to.url.clone(), leave)
}

impl Inner {
    /// What can be said without a fetch.
    fn known(&self, asked: &Asked, kept: Option<&Kept>, need: Need) -> Option<Outcome> {
        let now = self.clock.monotonic();
        let fresh = kept.is_some_and(|kept| now < kept.fresh_until);
        let given = kept.map(|kept| Arc::clone(&kept.document));
        if fresh && need == Need::Kept {
            return given.map(Ok);
        }
        if asked.running().is_some() {
            return None;
        }
        let at = asked.at?;
        if now.saturating_sub(at) >= self.config.refetch_min {
            return None;
        }
        if !fresh && let Some(error) = &asked.failed {
            return Some(Err(error.clone()));
        }
        // It may not be kept, and was fetched a moment ago: a crowd shares that answer.
        given.map(Ok)
    }

    /// Begins a fetch that ends for itself, whoever waits for it; then it lets go of its `leave`.
    fn begin(
        self: &Arc<Self>,
        asked: &mut Asked,
        (entry, place): (&Entry, Place),
        (endpoint, rule): (Endpoint, AddressRule),
        before: Option<Arc<Kept>>,
        leave: impl Send + 'static,
    ) -> watch::Receiver<Option<Outcome>> {
        let (tell, running) = watch::channel(None);
        asked.running = Some(running.clone());
        let (inner, entry) = (Arc::clone(self), Arc::clone(entry));
        let fetch = async move {
            let begun_at = inner.clock.monotonic();
            let asking = inner.ask(&endpoint, &rule, before.as_deref());
            let answer = tokio::time::timeout(inner.config.whole_timeout, asking).await;
            let answer = answer.unwrap_or(Err(FetchError::TimedOut));
            let outcome = inner.settle(&entry, place, answer, before, begun_at);
            tell.send_replace(Some(outcome));
            drop(leave);
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "a fetch is shared by whoever waits for it and must not end with the first of them; it ends \
                      by its own timeout, and no more run at once than the configuration says"
        )]
        drop(tokio::spawn(fetch));
        running
    }

    /// Keeps what a fetch brought. After a failed one nothing stale is given: what its server took back may be the
    /// very key that it answers no more for.
    fn settle(
        &self,
        entry: &Entry,
        place: Place,
        answer: Result<Answer, FetchError>,
        before: Option<Arc<Kept>>,
        begun_at: Duration,
    ) -> Outcome {
        let outcome = answer.and_then(|answer| {
            let document = match (answer.fetched, before) {
                (Fetched::Same, Some(before)) => Arc::clone(&before.document),
                (Fetched::Same, None) => return Err(FetchError::Status(304)),
                (Fetched::Changed(value), Some(before)) if before.document.value == value => {
                    Arc::clone(&before.document)
                }
                (Fetched::Changed(value), _) => Arc::new(Document { value }),
            };
            let kept_for = answer.terms.kept_for().min(self.config.kept_max);
            self.memory.keep(
                place,
                Kept::new(Arc::clone(&document), begun_at + kept_for, answer.terms),
            );
            Ok(document)
        });
        let mut asked = asked(entry);
        // Counted from its end: the next fetch of a server that hangs does not begin where the last one stopped.
        asked.at = Some(self.clock.monotonic());
        asked.failed = outcome.as_ref().err().cloned();
        asked.running = None;
        outcome
    }

    async fn ask(
        &self,
        endpoint: &Endpoint,
        rule: &AddressRule,
        kept: Option<&Kept>,
    ) -> Result<Answer, FetchError> {
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
        let terms = Terms::of(response.headers());
        if response.status() == StatusCode::NOT_MODIFIED {
            let terms = match kept {
                Some(kept) => kept.terms.updated_by(terms),
                None => terms,
            };
            return Ok(Answer {
                fetched: Fetched::Same,
                terms,
            });
        }
        require_json(&response)?;
        let mut whole = pin!(whole(response.into_body(), self.config.body_max));
        let bytes = std::future::poll_fn(|cx| alongside(whole.as_mut(), &mut driver, cx)).await?;
        let value = json::parse(&bytes, self.config.body_max);
        let value = value.map_err(|e| FetchError::NotJson(shown(&e.to_string())))?;
        require_few(&value)?;
        Ok(Answer {
            fetched: Fetched::Changed(value),
            terms,
        })
    }
}

fn question(endpoint: &Endpoint, kept: Option<&Kept>) -> Result<Request<Empty<Bytes>>, FetchError> {
    let mut question = Request::get(endpoint.path.as_str())
        .header(HOST, endpoint.authority.as_str())
        .header(ACCEPT, "application/json, application/jwk-set+json")
        .header(ACCEPT_ENCODING, "identity")
        .header(CONNECTION, "close")
        .header(USER_AGENT, "bailiwick");
    if let Some(kept) = kept {
        if let Some(etag) = kept.terms.header(ETAG) {
            question = question.header(IF_NONE_MATCH, etag);
        }
        if let Some(modified) = kept.terms.header(LAST_MODIFIED) {
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

pub(crate) async fn whole(mut body: Incoming, max: usize) -> Result<Vec<u8>, FetchError> {
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
