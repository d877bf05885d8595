//! One connection of an agent: who it is, then request after request, outside TLS and inside.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bailiwick_base::{TenantId, Time};
use bailiwick_decide::{Arguments, Bearer, Call, DenyReason, Door, Principal, Snapshot, Target};
use bailiwick_outbound::{BoxFuture, Endpoint};
use bailiwick_pep::{Permit, Watch};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use crate::answer::{self, Body, Refused};
use crate::destination::{self, Found};
use crate::detour;
use crate::forward::{self, Line};
use crate::listener::Shared;
use crate::patience::Patient;
use crate::places::Place;
use crate::tunnel;
use crate::wanted::Wanted;

/// So long before the token it was opened with ends, a connection ends behind its next answer, and whoever comes back
/// shows the next token. It is not closed while it is idle: that would lose a request that is on its way.
const MARGIN: Duration = Duration::from_secs(2);
/// For the answer that says so, when a call was stopped.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// For the answers that are under way, when the token died.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What is known of one connection.
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    /// The token that was shown last.
    token: Mutex<Option<Zeroizing<String>>>,
    /// Whose token that is.
    asking: watch::Sender<Option<Arc<Asking>>>,
    /// The call that runs.
    running: watch::Sender<Option<Arc<Running>>>,
    /// A kept connection to a destination.
    pub(crate) line: Line,
    /// Inside the TLS of a destination: where.
    at: Option<Endpoint>,
    /// One of the places for connections; what a `CONNECT` opened keeps it.
    pub(crate) place: Arc<Place>,
}

/// Who asks.
pub(crate) struct Asking {
    pub(crate) tenant: TenantId,
    pub(crate) bearer: Bearer,
    /// When the token was shown.
    at: Time,
    expires_at: Time,
}

/// A call that runs, as its connection sees it.
struct Running {
    watch: Watch,
    /// When it has taken long enough, monotonic.
    ends_at: Duration,
}

/// Tells the connection of a call that its call runs, until it is dropped.
pub(crate) struct Runs(Arc<Session>);

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.running.send_replace(None);
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream, place: Place) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let (place, silence_max) = (Arc::new(place), shared.deps.config.silence_max);
    let session = Arc::new(Session {
        shared,
        token: Mutex::default(),
        asking: watch::Sender::new(None),
        running: watch::Sender::new(None),
        line: Line::default(),
        at: None,
        place: Arc::clone(&place),
    });
    // Also what a `CONNECT` opens later is written through it.
    let stream = Patient::new(stream, silence_max);
    tokio::select! {
        () = place.given_up() => tracing::debug!("a connection without a token made room for another"),
        () = drive(session, stream) => {}
    }
}

impl Session {
    /// The session inside of what a `CONNECT` opened, with the token that was shown for it.
    fn inside(&self, at: Endpoint) -> Arc<Self> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Arc::new(Self {
            shared: Arc::clone(&self.shared),
            token: Mutex::new(token),
            asking: watch::Sender::new(self.asking.borrow().clone()),
            running: watch::Sender::new(None),
            line: Line::default(),
            at: Some(at),
            place: Arc::clone(&self.place),
        })
    }

    /// The answer to one request, whatever it is.
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let answered = match (&self.at, request.method()) {
            // Of a refused CONNECT nothing is left to talk about.
            (None, &Method::CONNECT) => self.connect(request).await.map_err(Refused::closing),
            _ => self.forward(request).await,
        };
        answered.unwrap_or_else(Refused::into_response)
    }

    /// A request that is looked into.
    async fn forward(self: &Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Refused> {
        let asking = self.authenticate(request.headers())?;
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let read = match &self.at {
            Some(at) => Wanted::inside(at, method, uri, headers),
            None => Wanted::absolute(method, uri, headers),
        };
        let read = read.and_then(|wanted| {
            detour::require_none(headers)?;
            forward::require_length(headers, self.shared.deps.config.body_max)?;
            Ok((wanted.arguments()?, wanted))
        });
        let (arguments, wanted) = match read {
            Ok(read) => read,
            Err(refused) => return Err(self.record(&asking, &request, refused).await),
        };
        let found = self.find(&asking, &wanted);
        let permit = self.permit(&asking, &wanted, found.as_ref(), arguments).await?;
        let Some(found) = found else {
            return Err(Refused::gateway(
                "destination.gone",
                "the destination was removed",
            ));
        };
        forward::forward(self, permit, &found, &wanted, request).await
    }

    /// `CONNECT`: into a destination's TLS, or through to it where that was granted.
    async fn connect(self: &Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Refused> {
        let asking = self.authenticate(request.headers())?;
        let wanted = match Wanted::connect(request.uri(), request.headers()) {
            Ok(wanted) => wanted,
            Err(refused) => return Err(self.record(&asking, &request, refused).await),
        };
        let mut wanted = wanted;
        let mut found = self.find(&asking, &wanted);
        if found.is_none() {
            // Some clients tunnel plain HTTP too.
            wanted.endpoint.tls = false;
            found = self.find(&asking, &wanted);
        }
        match found {
            Some(found) if !found.tunnel => {
                self.require_alive(&asking, &wanted, &found).await?;
                let (session, at) = (Arc::clone(self), wanted.endpoint);
                let spawner = Arc::clone(&self.shared.deps.spawner);
                spawner.spawn(session.look_into(request, at));
                Ok(Response::new(answer::empty()))
            }
            found => {
                // Nobody's place, or a tunnel: one call either way, and a record of it.
                let permit = self
                    .permit(&asking, &wanted, found.as_ref(), wanted.arguments()?)
                    .await?;
                let Some(found) = found else {
                    return Err(Refused::gateway(
                        "destination.gone",
                        "the destination was removed",
                    ));
                };
                tunnel::open(self, permit, &found, &wanted, request).await
            }
        }
    }

    /// Speaks TLS in the name of the destination, or plainly where it has none, and serves what is asked inside.
    fn look_into(self: Arc<Self>, request: Request<Incoming>, at: Endpoint) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let inside = self.inside(at.clone());
            if at.tls {
                if let Some(stream) = self.shake_hands(request, &at).await {
                    drive(inside, stream).await;
                }
            } else if let Ok(upgraded) = hyper::upgrade::on(request).await {
                drive(inside, TokioIo::new(upgraded)).await;
            }
        })
    }

    async fn shake_hands(
        &self,
        request: Request<Incoming>,
        at: &Endpoint,
    ) -> Option<TlsStream<TokioIo<Upgraded>>> {
        let deps = &self.shared.deps;
        let tls = match self.shared.authority.tls_of(&at.host) {
            Ok(tls) => tls,
            Err(error) => {
                tracing::error!(%error, "no certificate for a destination");
                return None;
            }
        };
        let shaken = async {
            let upgraded = hyper::upgrade::on(request).await.ok()?;
            TlsAcceptor::from(tls).accept(TokioIo::new(upgraded)).await.ok()
        };
        let Ok(Some(stream)) = tokio::time::timeout(deps.config.head_timeout, shaken).await else {
            tracing::debug!("no TLS inside a CONNECT");
            return None;
        };
        // An address has no server name; a name has the one it was asked for.
        let named = stream.get_ref().1.server_name();
        if named.is_some_and(|name| !name.eq_ignore_ascii_case(&at.host)) {
            tracing::debug!("another server name than the one of the CONNECT");
            return None;
        }
        Some(stream)
    }

    /// Whose token was shown: with this request, or outside of TLS with an earlier one of the same connection.
    fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Asking>, Refused> {
        let shown = if self.at.is_some() {
            None
        } else {
            shown_token(headers)?
        };
        let mut kept = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shown) = shown {
            *kept = Some(shown);
        }
        let token = kept.as_ref().ok_or_else(|| {
            Refused::unauthenticated(
                "proxy.token-missing",
                "show a task's token: Proxy-Authorization with Bearer, or with Basic and the token as password; \
                 or start the program with `bailiwick run`",
            )
        })?;
        let deps = &self.shared.deps;
        let now = deps.clock.now();
        let verified = deps.verifier.verify_any(token.as_bytes(), now);
        let verified = verified.map_err(|e| Refused::unauthenticated(e.code(), e.to_string()))?;
        // The verifier is patient with clocks of others; this one's own word decides here, as in the decision.
        if now >= verified.expires_at {
            return Err(Refused::unauthenticated(
                "token.expired",
                "token has expired: show a new one",
            ));
        }
        let asking = Arc::new(Asking {
            tenant: verified.tenant.clone(),
            bearer: verified.bearer(),
            at: now,
            expires_at: verified.expires_at,
        });
        self.place
            .belongs_to(&asking.bearer.claims.task)
            .map_err(|full| {
                full.count();
                Refused::new(StatusCode::SERVICE_UNAVAILABLE, "proxy.places", full.text()).closing()
            })?;
        self.asking.send_replace(Some(Arc::clone(&asking)));
        Ok(asking)
    }

    fn find(&self, asking: &Asking, wanted: &Wanted) -> Option<Found> {
        let snapshot = self.shared.deps.pep.cell().load();
        let aim = (&wanted.endpoint, &wanted.method);
        destination::find(&snapshot, &asking.tenant, aim, &asking.bearer)
    }

    fn call(&self, asking: &Asking, target: Target, arguments: Arguments) -> Result<Call, Refused> {
        let id = self.shared.deps.pep.next_id(&asking.tenant).map_err(|_| {
            Refused::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "proxy.randomness",
                "randomness failed",
            )
        })?;
        Ok(Call {
            id,
            door: Door::Egress,
            principal: Principal::Bearer(asking.bearer.clone()),
            target,
            arguments,
            rates: Default::default(),
        })
    }

    /// Decides and records.
    async fn permit(
        &self,
        asking: &Asking,
        wanted: &Wanted,
        found: Option<&Found>,
        arguments: Arguments,
    ) -> Result<Permit, Refused> {
        let target = Target::Http {
            server: found.map(|f| f.server.name.clone()),
            method: wanted.method.as_str().to_owned(),
            place: wanted.place(),
        };
        let call = self.call(asking, target, arguments)?;
        self.shared.deps.pep.permit(call).await.map_err(Refused::denied)
    }

    /// Refuses and records a `CONNECT` whose every request would be refused: the token is dead, or the destination
    /// stopped. Nothing is minted for it.
    async fn require_alive(&self, asking: &Asking, wanted: &Wanted, found: &Found) -> Result<(), Refused> {
        let target = Target::Http {
            server: Some(found.server.name.clone()),
            method: wanted.method.as_str().to_owned(),
            place: wanted.place(),
        };
        let call = self.call(asking, target, Arguments::default())?;
        let pep = &self.shared.deps.pep;
        let snapshot = pep.cell().load();
        let dead = dead(&snapshot, &call, self.shared.deps.clock.now());
        let Some(reason) = dead.or_else(|| snapshot.marked(&call).map(|(reason, _)| reason)) else {
            return Ok(());
        };
        drop(snapshot);
        let text = "every request inside would be refused".to_owned();
        Err(Refused::denied(pep.refuse(&call, reason, text).await))
    }

    /// Tells the connection of `permit`, so that its end is the end of the connection even where nobody reads.
    pub(crate) fn runs(self: &Arc<Self>, permit: &Permit) -> Runs {
        let deps = &self.shared.deps;
        self.running.send_replace(Some(Arc::new(Running {
            watch: permit.watch(),
            ends_at: deps.clock.monotonic() + deps.config.call_max,
        })));
        Runs(Arc::clone(self))
    }

    /// Records what a known caller sent that cannot be decided on.
    async fn record(&self, asking: &Asking, request: &Request<Incoming>, refused: Refused) -> Refused {
        let (uri, inside) = (request.uri(), self.at.as_ref().map(|at| at.authority.as_str()));
        let authority = inside.or(uri.authority().map(|a| a.as_str())).unwrap_or_default();
        let target = Target::Http {
            server: None,
            method: request.method().as_str().to_owned(),
            place: format!("{authority}{}", uri.path()),
        };
        let call = match self.call(asking, target, Arguments::default()) {
            Ok(call) => call,
            Err(broken) => return broken,
        };
        let pep = &self.shared.deps.pep;
        let denial = pep
            .refuse(&call, DenyReason::ArgumentOutOfScope, refused.text.clone())
            .await;
        Refused {
            decision: Some(denial.decision.to_string()),
            ..refused
        }
    }

    /// Whether the answer that is given now is the last one of its connection.
    fn is_last(&self) -> bool {
        let now = self.shared.deps.clock.now();
        let asking = self.asking.borrow();
        asking
            .as_ref()
            .is_some_and(|asks| asks.expires_at.since(now) <= MARGIN)
    }

    /// Resolves when the connection should end by itself, with how long that may take: its token ended, was killed, or
    /// the service stops.
    async fn ending(&self) -> Duration {
        let deps = &self.shared.deps;
        let (mut asking, mut narrowed) = (self.asking.subscribe(), deps.pep.cell().narrowed());
        let (stop, call_max) = (&self.shared.stop, deps.config.call_max);
        loop {
            let asks = asking.borrow_and_update().clone();
            // Listening begins before looking, so nothing falls between the two.
            narrowed.mark_unchanged();
            if asks.as_ref().is_some_and(|asks| self.is_dead(asks)) {
                return LAST_ANSWERS;
            }
            let over = async {
                match &asks {
                    Some(asks) => pause(asks.expires_at.since(deps.clock.now())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return call_max,
                () = over => return call_max,
                changed = asking.changed() => if changed.is_err() { return call_max },
                changed = narrowed.changed() => if changed.is_err() { return LAST_ANSWERS },
            }
        }
    }

    /// Whether nothing that is asked with this token would be permitted any more.
    fn is_dead(&self, asking: &Asking) -> bool {
        let deps = &self.shared.deps;
        let target = Target::Http {
            server: None,
            method: Method::CONNECT.as_str().to_owned(),
            place: String::new(),
        };
        // Time alone ends nothing here: that is what `expires_at` is for.
        self.call(asking, target, Arguments::default())
            .is_ok_and(|call| dead(&deps.pep.cell().load(), &call, asking.at).is_some())
    }

    /// Resolves when the call that runs may do so no longer. Its own future sees that too, but only while the agent
    /// reads.
    async fn overdue(&self) {
        let clock = &self.shared.deps.clock;
        let mut running = self.running.subscribe();
        loop {
            let call = running.borrow_and_update().clone();
            let over = async {
                match &call {
                    Some(call) => {
                        let left = call.ends_at.saturating_sub(clock.monotonic());
                        let _either = tokio::time::timeout(left, call.watch.revoked()).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                changed = running.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// Why the credential behind `call` is dead, if it is.
fn dead(snapshot: &Snapshot, call: &Call, now: Time) -> Option<DenyReason> {
    snapshot
        .ended(call, now)
        .filter(|reason| reason.kills_credential())
}

async fn pause(time: Duration) {
    let _over = tokio::time::timeout(time, std::future::pending::<()>()).await;
}

/// Serves requests until the peer goes, or the token does; the request that runs then is finished. A call that was
/// stopped ends at once with everything it holds, whether the peer reads or not.
async fn drive<S>(session: Arc<Session>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = &session.shared.deps.config;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.head_timeout)
        .max_buf_size(config.head_max);
    let each = Arc::clone(&session);
    let service = service_fn(move |request| {
        let session = Arc::clone(&each);
        async move {
            let opens = request.method() == Method::CONNECT;
            let mut response = Arc::clone(&session).answer(request).await;
            if !opens && session.is_last() {
                let close = http::HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = builder
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = async {
        tokio::select! {
            ended = connection.as_mut() => Some(ended),
            left = session.ending() => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(left, connection.as_mut()).await.ok()
            }
        }
    };
    let ended = tokio::select! {
        ended = served => ended,
        () = session.overdue() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(LAST_WORDS, connection.as_mut()).await.ok()
        }
    };
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "connection through the egress proxy ended"),
        None => tracing::debug!("connection through the egress proxy was cut: its call or its token ended"),
    }
}

/// The token in `Proxy-Authorization`: as Bearer, or as the password of Basic.
fn shown_token(headers: &HeaderMap) -> Result<Option<Zeroizing<String>>, Refused> {
    let malformed =
        || Refused::unauthenticated("proxy.token-malformed", "Proxy-Authorization cannot be read");
    let mut shown = headers.get_all(header::PROXY_AUTHORIZATION).iter();
    let Some(value) = shown.next() else {
        return Ok(None);
    };
    if shown.next().is_some() {
        return Err(malformed());
    }
    let (scheme, rest) = value
        .to_str()
        .ok()
        .and_then(|v| v.split_once(' '))
        .ok_or_else(malformed)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(Zeroizing::new(rest.trim().to_owned())));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed());
    }
    let pair = Zeroizing::new(STANDARD.decode(rest.trim()).map_err(|_| malformed())?);
    let pair = std::str::from_utf8(&pair).map_err(|_| malformed())?;
    let (_, password) = pair.split_once(':').ok_or_else(malformed)?;
    Ok(Some(Zeroizing::new(password.to_owned())))
}
