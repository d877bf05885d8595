//! A permitted request on its way: out with the secret of its destination, back without it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bailiwick_decide::UpstreamServer;
use bailiwick_outbound::{DialError, Endpoint};
use bailiwick_pep::{Outcome, Permit};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::answer::{Body, Refused};
use crate::connection::Session;
use crate::destination::{Found, Injected};
use crate::reply;
use crate::wanted::Wanted;

/// Headers of one hop (RFC 9110 §7.6.1), and those that are ours.
const HOP: [&str; 11] = [
    "connection",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The connection to a destination that was used last; it is used again when it is idle.
#[derive(Default)]
pub(crate) struct Line(Mutex<Option<Kept>>);

/// A connection, and where it leads.
struct Kept {
    server: Arc<UpstreamServer>,
    /// Scheme, host and port.
    origin: (bool, String, u16),
    send: SendRequest<Upload>,
}

impl Kept {
    /// Whether it leads to this destination: names are those of a tenant, and the same destination may be opened in
    /// another way since an operator changed it.
    fn leads_to(&self, found: &Found, endpoint: &Endpoint) -> bool {
        let (this, that) = (&self.server, &found.server);
        let same = Arc::ptr_eq(this, that)
            || (this.tenant == that.tenant
                && this.name == that.name
                && this.created_at == that.created_at
                && this.connection == that.connection
                && this.credential == that.credential);
        same && self.origin == origin(endpoint)
    }
}

fn origin(endpoint: &Endpoint) -> (bool, String, u16) {
    (endpoint.tls, endpoint.host.clone(), endpoint.port)
}

impl Line {
    /// The kept connection when it leads to `found`; any other ends.
    fn take(&self, found: &Found, endpoint: &Endpoint) -> Option<SendRequest<Upload>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut kept = kept.filter(|kept| kept.leads_to(found, endpoint))?;
        // Polled once: an idle connection is ready at once, a busy or a dead one is not.
        let ready = kept.send.ready().now_or_never();
        ready.is_some_and(|ready| ready.is_ok()).then_some(kept.send)
    }

    fn keep(&self, found: &Found, endpoint: &Endpoint, send: SendRequest<Upload>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Kept {
            server: Arc::clone(&found.server),
            origin: origin(endpoint),
            send,
        });
    }
}

/// Refuses a body that says it is too long.
pub(crate) fn require_length(headers: &HeaderMap, max: u64) -> Result<(), Refused> {
    let stated = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|len| len > max) {
        return Err(too_long(max));
    }
    Ok(())
}

fn too_long(max: u64) -> Refused {
    Refused::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "proxy.body-too-long",
        format!("the body is longer than {max} bytes"),
    )
}

/// Sends a permitted request and gives what came back.
pub(crate) async fn forward(
    session: &Arc<Session>,
    permit: Permit,
    found: &Found,
    wanted: &Wanted,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let deps = &session.shared.deps;
    let runs = session.runs(&permit);
    let exceeded = Arc::new(AtomicBool::new(false));
    let sent = async {
        let opened = session.shared.opened.of(found, &*deps.secrets, &*deps.clock);
        let opened = tokio::time::timeout(deps.config.connect_timeout, opened).await;
        let injected = opened.unwrap_or_else(|_| Err(late()))?;
        let outgoing = outgoing(session, wanted, injected.as_ref(), request, &exceeded)?;
        let response = send(session, found, wanted, outgoing).await?;
        Ok::<_, Refused>((response, injected.map(|i| i.mask).unwrap_or_default()))
    };
    let answered = tokio::select! {
        biased;
        reason = permit.revoked() => {
            let refused = stopped(&permit, reason);
            permit.finish(Outcome::Cancelled);
            return Err(refused);
        }
        answered = tokio::time::timeout(deps.config.call_max, sent) => answered.unwrap_or_else(|_| Err(late())),
    };
    let (response, mask) = match answered {
        Ok(answered) => answered,
        Err(refused) => {
            let refused = match exceeded.load(Ordering::Relaxed) {
                true => too_long(deps.config.body_max),
                false => refused,
            };
            let decision = Some(permit.decision().id.to_string());
            permit.finish(Outcome::Failed);
            return Err(Refused { decision, ..refused });
        }
    };
    reply::pass_on((session, runs), permit, mask, response)
}

fn stopped(permit: &Permit, reason: bailiwick_decide::DenyReason) -> Refused {
    let mut refused = Refused::new(
        StatusCode::FORBIDDEN,
        reason.code(),
        "the call was stopped while it ran",
    );
    refused.decision = Some(permit.decision().id.to_string());
    refused.closing()
}

fn late() -> Refused {
    Refused::new(
        StatusCode::GATEWAY_TIMEOUT,
        "destination.timed-out",
        "the destination did not answer in time",
    )
}

/// The request as the destination gets it: one hop's headers off, the secret in the place of whatever stood there.
fn outgoing(
    session: &Session,
    wanted: &Wanted,
    injected: Option<&Injected>,
    request: Request<Incoming>,
    exceeded: &Arc<AtomicBool>,
) -> Result<Request<Upload>, Refused> {
    let malformed = || Refused::malformed("proxy.form", "the request cannot be sent on");
    let (mut parts, body) = request.into_parts();
    let chunked = parts.headers.contains_key(header::TRANSFER_ENCODING);
    strip(&mut parts.headers);
    let headers = &mut parts.headers;
    if chunked {
        // Unsaid, a body of unknown length would be left out of a GET.
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let host = HeaderValue::from_str(&wanted.endpoint.authority).map_err(|_| malformed())?;
    headers.insert(header::HOST, host);
    if let Some(injected) = injected {
        headers.insert(injected.name.clone(), injected.value.clone());
        // What is packed cannot be looked into for the secret, nor what comes in pieces that the agent chose.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.remove(header::ACCEPT_CHARSET);
        if asks_for_bytes(headers) {
            headers.remove(header::RANGE);
            headers.remove(header::IF_RANGE);
        }
    }
    let config = &session.shared.deps.config;
    let mut out = Request::new(Upload {
        body,
        left: config.body_max,
        exceeded: Arc::clone(exceeded),
        silence: Silence::new(config.silence_max),
    });
    *out.method_mut() = parts.method;
    *out.uri_mut() = wanted.endpoint.path.parse::<Uri>().map_err(|_| malformed())?;
    *out.headers_mut() = parts.headers;
    Ok(out)
}

/// Ranges of bytes; pages are counted in other units.
fn asks_for_bytes(headers: &HeaderMap) -> bool {
    let mut ranges = headers.get_all(header::RANGE).iter();
    ranges.any(|range| {
        let unit = range.as_bytes().trim_ascii().get(..5);
        unit.is_some_and(|unit| unit.eq_ignore_ascii_case(b"bytes"))
    })
}

/// Takes off what is for one hop only, the headers named by `Connection` too.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP {
        headers.remove(name);
    }
}

/// Over the kept connection when it is idle, else over a new one. A kept one that the destination closed before it
/// took anything is replaced once.
async fn send(
    session: &Arc<Session>,
    found: &Found,
    wanted: &Wanted,
    mut request: Request<Upload>,
) -> Result<Response<Incoming>, Refused> {
    let moved = Arc::clone(&request.body().silence.moved);
    let mut kept = session.line.take(found, &wanted.endpoint);
    loop {
        let fresh = kept.is_none();
        let mut line = match kept.take() {
            Some(line) => line,
            None => dial(session, found, wanted).await?,
        };
        let answered = tokio::select! {
            answered = line.try_send_request(request) => answered,
            () = quiet(&moved, session.shared.deps.config.silence_max) => return Err(late()),
        };
        match answered {
            Ok(response) => {
                session.line.keep(found, &wanted.endpoint, line);
                return Ok(response);
            }
            Err(mut failed) => match failed.take_message() {
                Some(untaken) if !fresh => request = untaken,
                _ => {
                    return Err(Refused::gateway(
                        "destination.closed",
                        "the destination closed the connection, or did not answer in HTTP",
                    ));
                }
            },
        }
    }
}

/// A new connection, through the guard.
async fn dial(
    session: &Arc<Session>,
    found: &Found,
    wanted: &Wanted,
) -> Result<SendRequest<Upload>, Refused> {
    let deps = &session.shared.deps;
    let (dialer, rule) = (found.dialer(&deps.dialer)?, found.rule()?);
    let dialled =
        tokio::time::timeout(deps.config.connect_timeout, dialer.dial(&wanted.endpoint, &rule)).await;
    let wire = dialled.map_err(|_| late())?.map_err(unreachable)?;
    let (send, driver) = http1::Builder::new()
        .max_buf_size(deps.config.head_max)
        .handshake(TokioIo::new(wire))
        .await
        .map_err(|_| Refused::gateway("destination.closed", "the destination closed the connection"))?;
    deps.spawner.spawn(Box::pin(async move {
        // It ends with the one who sends, or with the destination; both notice.
        let _ended = driver.await;
    }));
    Ok(send)
}

pub(crate) fn unreachable(error: DialError) -> Refused {
    match error {
        DialError::Guarded(error) => Refused::gateway("destination.guarded", error.to_string()),
        DialError::Unreachable(text) => {
            Refused::gateway("destination.unreachable", format!("it cannot be reached: {text}"))
        }
    }
}

/// When something of a request went on last.
type Moved = Arc<Mutex<Instant>>;

/// Resolves once nothing moved for `max`.
async fn quiet(moved: &Moved, max: Duration) {
    // A connection may have been waited for meanwhile.
    let begun = Instant::now();
    loop {
        let last = *moved.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = last.max(begun) + max;
        if Instant::now() >= ends {
            return;
        }
        let _elapsed = tokio::time::timeout_at(ends, std::future::pending::<()>()).await;
    }
}

/// Ends what is silent for too long.
pub(crate) struct Silence {
    max: Duration,
    moved: Moved,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl Silence {
    pub(crate) fn new(max: Duration) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "it is polled beside a body, where a timeout cannot be wrapped around"
        )]
        let timer = Box::pin(tokio::time::sleep(max));
        Self {
            max,
            moved: Arc::new(Mutex::new(Instant::now())),
            timer,
        }
    }

    /// Something came.
    fn broken(&mut self) {
        let now = Instant::now();
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = now;
        self.timer.as_mut().reset(now + self.max);
    }
}

/// The body of a request on its way out: bounded, and never silent for long. Trailers stay behind.
pub(crate) struct Upload {
    body: Incoming,
    left: u64,
    exceeded: Arc<AtomicBool>,
    silence: Silence,
}

impl hyper::body::Body for Upload {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    return match self.silence.timer.as_mut().poll(cx) {
                        Poll::Ready(()) => Poll::Ready(Some(Err(std::io::ErrorKind::TimedOut.into()))),
                        Poll::Pending => Poll::Pending,
                    };
                }
            };
            self.silence.broken();
            let data = match frame {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(std::io::Error::other(error)))),
                Some(Ok(frame)) => frame.into_data(),
            };
            let Ok(data) = data else { continue };
            let len = u64::try_from(data.len()).unwrap_or(u64::MAX);
            let Some(left) = self.left.checked_sub(len) else {
                self.exceeded.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(std::io::ErrorKind::FileTooLarge.into())));
            };
            self.left = left;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
