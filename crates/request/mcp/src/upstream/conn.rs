//! Kept connections to one HTTP upstream server. A connection is driven by the call that uses it: no task per
//! connection, no wake-up between tasks, and dropping the call closes it.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bailiwick_base::Clock;
use bailiwick_outbound::{AddressRule, DialError, Dialer, Endpoint, Wire, alongside};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;

use crate::error::UpstreamError;

/// How long an unused connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(55);
/// Unused connections kept per server.
const IDLE_COUNT_MAX: usize = 64;

/// One connection with its driver.
struct Conn {
    send: SendRequest<Full<Bytes>>,
    driver: Driver,
    used_at: Duration,
    /// How long the server lets it stand unused.
    idle_max: Duration,
}

impl Conn {
    /// Lets the connection make progress; afterwards `driver` is gone if it ended.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(cx).is_ready()
        {
            self.driver = None;
        }
    }

    fn is_usable(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.drive(&mut cx);
        self.driver.is_some() && self.send.is_ready()
    }
}

/// The connections to one endpoint.
pub(crate) struct Pool {
    endpoint: Endpoint,
    rule: AddressRule,
    dialer: Dialer,
    clock: Arc<dyn Clock>,
    connect_timeout: Duration,
    answer_timeout: Duration,
    idle: Mutex<Vec<Conn>>,
}

/// What a pool is made from.
pub(crate) struct PoolParts {
    pub(crate) endpoint: Endpoint,
    pub(crate) rule: AddressRule,
    pub(crate) dialer: Dialer,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) connect_timeout: Duration,
    pub(crate) answer_timeout: Duration,
}

impl Pool {
    pub(crate) fn new(parts: PoolParts) -> Arc<Self> {
        let PoolParts {
            endpoint,
            rule,
            dialer,
            clock,
            connect_timeout,
            answer_timeout,
        } = parts;
        let idle = Mutex::new(Vec::new());
        Arc::new(Self {
            endpoint,
            rule,
            dialer,
            clock,
            connect_timeout,
            answer_timeout,
            idle,
        })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends one message and waits for the head of its answer.
    pub(crate) async fn send(
        self: &Arc<Self>,
        message: http::Request<Full<Bytes>>,
    ) -> Result<(http::response::Parts, Answer), UpstreamError> {
        let waited = tokio::time::timeout(self.answer_timeout, self.send_unbounded(message)).await;
        waited.unwrap_or(Err(UpstreamError::TimedOut))
    }

    /// As [`Pool::send`], without a bound on how long the head may take.
    pub(crate) async fn send_unbounded(
        self: &Arc<Self>,
        message: http::Request<Full<Bytes>>,
    ) -> Result<(http::response::Parts, Answer), UpstreamError> {
        let mut message = message;
        loop {
            let kept = self.take_idle();
            let fresh = kept.is_none();
            let mut conn = match kept {
                Some(conn) => conn,
                None => self.dial().await?,
            };
            let reply = {
                let mut sent = pin!(conn.send.try_send_request(message));
                let driver = &mut conn.driver;
                std::future::poll_fn(|cx| alongside(sent.as_mut(), driver, cx)).await
            };
            match reply {
                Ok(response) => {
                    let (parts, body) = response.into_parts();
                    if let Some(stated) = stated_idle(&parts.headers) {
                        conn.idle_max = stated.min(IDLE_MAX);
                    }
                    return Ok((
                        parts,
                        Answer {
                            pool: Arc::clone(self),
                            conn: Some(conn),
                            body,
                        },
                    ));
                }
                // The server closed a kept connection before it took a byte of this message: once more.
                Err(mut failed) => match failed.take_message() {
                    Some(untaken) if !fresh => message = untaken,
                    _ => return Err(UpstreamError::Closed),
                },
            }
        }
    }

    fn take_idle(&self) -> Option<Conn> {
        let now = self.clock.monotonic();
        loop {
            let mut conn = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if now.saturating_sub(conn.used_at) < conn.idle_max && conn.is_usable() {
                return Some(conn);
            }
        }
    }

    fn keep(&self, mut conn: Conn) {
        if !conn.is_usable() {
            return;
        }
        conn.used_at = self.clock.monotonic();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_COUNT_MAX {
            idle.push(conn);
        }
    }

    async fn dial(&self) -> Result<Conn, UpstreamError> {
        let connected =
            tokio::time::timeout(self.connect_timeout, self.dialer.dial(&self.endpoint, &self.rule)).await;
        let wire = connected
            .map_err(|_| UpstreamError::TimedOut)?
            .map_err(|error| match error {
                DialError::Guarded(error) => UpstreamError::Guarded(error.to_string()),
                DialError::Unreachable(text) => UpstreamError::Unreachable(text),
            })?;
        let (send, driver) = http1::Builder::new()
            .max_buf_size(128 * 1024)
            .handshake(TokioIo::new(wire))
            .await
            .map_err(|_| UpstreamError::Closed)?;
        Ok(Conn {
            send,
            driver: Some(Box::pin(driver)),
            used_at: self.clock.monotonic(),
            idle_max: IDLE_MAX,
        })
    }
}

/// How long a server says it keeps an unused connection (`Keep-Alive: timeout=5`), less a second in which a message
/// and its goodbye could cross.
fn stated_idle(headers: &http::HeaderMap) -> Option<Duration> {
    let stated = headers.get("keep-alive")?.to_str().ok()?;
    let timeout = stated
        .split(',')
        .find_map(|part| part.trim().strip_prefix("timeout="))?;
    Some(Duration::from_secs(
        timeout.parse::<u64>().ok()?.saturating_sub(1),
    ))
}

type Driver = Option<Pin<Box<Connection<TokioIo<Wire>, Full<Bytes>>>>>;

/// The body of an answer. Dropped before its end, the connection is closed.
pub(crate) struct Answer {
    pool: Arc<Pool>,
    conn: Option<Conn>,
    body: Incoming,
}

impl Answer {
    /// The next bytes; `None` at the end, when the connection goes back to the pool.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        loop {
            let frame = std::future::poll_fn(|cx| self.poll_frame(cx)).await;
            match frame {
                None => {
                    self.give_back();
                    return Ok(None);
                }
                Some(Err(_)) => return Err(UpstreamError::Closed),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if let Some(conn) = &mut self.conn {
            conn.drive(cx);
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    /// Reads what is left, when it is there already, so that the connection can be used again.
    pub(crate) fn finish(mut self) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for _ in 0..8 {
            match self.poll_frame(&mut cx) {
                Poll::Ready(None) => return self.give_back(),
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_))) | Poll::Pending => return,
            }
        }
    }

    fn give_back(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.pool.keep(conn);
        }
    }

    /// The whole body, at most `max` bytes.
    pub(crate) async fn whole(mut self, max: usize) -> Result<Bytes, UpstreamError> {
        let hint = self.body.size_hint();
        if hint.lower() > max as u64 {
            return Err(UpstreamError::TooLong(max));
        }
        let Some(first) = self.next().await? else {
            return Ok(Bytes::new());
        };
        if first.len() > max {
            return Err(UpstreamError::TooLong(max));
        }
        let Some(second) = self.next().await? else {
            return Ok(first);
        };
        let mut all = Vec::with_capacity(first.len() + second.len());
        all.extend_from_slice(&first);
        let mut piece = Some(second);
        while let Some(bytes) = piece {
            if all.len() + bytes.len() > max {
                return Err(UpstreamError::TooLong(max));
            }
            all.extend_from_slice(&bytes);
            piece = self.next().await?;
        }
        Ok(Bytes::from(all))
    }
}
