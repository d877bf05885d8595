//! Sending one message and hearing its answer, bounded in every way. Nothing is kept, nothing is sent twice.

use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use bailiwick_base::{Secret, Time};
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONNECTION, DATE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::address::AddressRule;
use crate::dial::{Dialer, alongside};
use crate::endpoint::{Endpoint, GuardError};
use crate::fetch::{FetchError, whole};
use crate::freshness::instant;

/// How messages are bounded.
#[derive(Debug, Clone)]
pub struct SendConfig {
    /// Until a connection stands, TLS included. Default 5 s.
    pub connect_timeout: Duration,
    /// From the first byte to the last. Default 15 s.
    pub whole_timeout: Duration,
    /// Bytes of an answer. Default 256 KiB.
    pub body_max: usize,
}

impl Default for SendConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            whole_timeout: Duration::from_secs(15),
            body_max: 256 * 1024,
        }
    }
}

/// What is sent. It may hold a secret: there is no way to print it.
pub struct Message {
    /// Method.
    pub method: Method,
    /// Headers beyond those of the connection.
    pub headers: HeaderMap,
    /// Body; empty when there is none.
    pub body: Secret<Vec<u8>>,
}

/// What was answered. It may hold a secret: there is no way to print it.
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// When it was answered, by the clock of whoever answered (RFC 9110 §6.6.1).
    pub date: Option<Time>,
    /// Body.
    pub body: Secret<Vec<u8>>,
}

/// Sends messages to places that somebody else names.
#[derive(Clone)]
pub struct Sender {
    dialer: Dialer,
    config: SendConfig,
}

impl Sender {
    /// A sender.
    #[must_use]
    pub const fn new(dialer: Dialer, config: SendConfig) -> Self {
        Self { dialer, config }
    }

    /// The addresses of `to`, each of which `rule` admits: for protocols that are not spoken here. The caller bounds the
    /// time, and connects to one of them.
    ///
    /// # Errors
    /// [`GuardError`].
    pub async fn judged_addresses(
        &self,
        to: &Endpoint,
        rule: &AddressRule,
    ) -> Result<Vec<IpAddr>, GuardError> {
        self.dialer.judged_addresses(to, rule).await
    }

    /// Sends `message` to `to` and gives the answer, whatever its status; a redirect is an answer.
    ///
    /// # Errors
    /// [`FetchError`]: it may not be sent there, or no whole answer came in time. It may have arrived even so.
    pub async fn send(
        &self,
        to: &Endpoint,
        rule: &AddressRule,
        message: Message,
    ) -> Result<Answer, FetchError> {
        rule.require_endpoint(to)?;
        let sent = tokio::time::timeout(self.config.whole_timeout, self.ask(to, rule, message));
        sent.await.unwrap_or(Err(FetchError::TimedOut))
    }

    async fn ask(&self, to: &Endpoint, rule: &AddressRule, message: Message) -> Result<Answer, FetchError> {
        let dialled = tokio::time::timeout(self.config.connect_timeout, self.dialer.dial(to, rule)).await;
        let wire = dialled.map_err(|_| FetchError::TimedOut)??;
        let (mut send, driver) = http1::Builder::new()
            .max_buf_size(64 * 1024)
            .max_headers(64)
            .handshake::<_, Full<Bytes>>(TokioIo::new(wire))
            .await
            .map_err(|_| FetchError::Closed)?;
        let mut driver = Some(Box::pin(driver));
        let question = question(to, message)?;
        let response = {
            let mut sent = pin!(send.send_request(question));
            std::future::poll_fn(|cx| alongside(sent.as_mut(), &mut driver, cx)).await
        };
        let response = response.map_err(|_| FetchError::Closed)?;
        let status = response.status();
        let date = response.headers().get(DATE).and_then(date_of);
        let mut whole = pin!(whole(response.into_body(), self.config.body_max));
        let body = std::future::poll_fn(|cx| alongside(whole.as_mut(), &mut driver, cx)).await?;
        Ok(Answer {
            status,
            date,
            body: Secret::new(body),
        })
    }
}

fn date_of(value: &HeaderValue) -> Option<Time> {
    instant(value.to_str().ok()?).map(Time::from_secs)
}

fn question(to: &Endpoint, message: Message) -> Result<Request<Full<Bytes>>, FetchError> {
    let malformed = || FetchError::Unreachable("its path or host cannot be sent".to_owned());
    let body = Bytes::from(message.body.reveal().clone());
    let mut question = Request::builder()
        .method(message.method)
        .uri(to.path.as_str())
        .body(Full::new(body))
        .map_err(|_| malformed())?;
    let headers = question.headers_mut();
    *headers = message.headers;
    headers.insert(
        HOST,
        HeaderValue::from_str(&to.authority).map_err(|_| malformed())?,
    );
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(USER_AGENT, HeaderValue::from_static("bailiwick"));
    Ok(question)
}
