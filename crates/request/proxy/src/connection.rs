//! One connection of an agent: who it is, then request after request, outside TLS and inside.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bailiwick_base::{TenantId, Time};
use bailiwick_decide::{Arguments, Bearer, Call, DenyReason, Door, Principal, Target};
use bailiwick_outbound::{BoxFuture, Endpoint};
use bailiwick_pep::Permit;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use crate::answer::{self, Body, Refused};
use crate::destination::{self, Found};
use crate::forward::{self, Line};
use crate::listener::Shared;
use crate::tunnel;
use crate::wanted::Wanted;

/// A connection ends so long before the token it was opened with: whoever comes back shows the next one.
const MARGIN: Duration = Duration::from_secs(2);

/// What is known of one connection.
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    /// The token that was shown last.
    token: Mutex<Option<Zeroizing<String>>>,
    /// When the token ends that was shown last.
    ends: watch::Sender<Option<Time>>,
    /// A kept connection to a destination.
    pub(crate) line: Line,
    /// Inside the TLS of a destination: where.
    at: Option<Endpoint>,
    /// One of the places for connections; what a `CONNECT` opened keeps it.
    pub(crate) place: Arc<OwnedSemaphorePermit>,
}

/// Who asks.
#[derive(Clone)]
pub(crate) struct Asking {
    pub(crate) tenant: TenantId,
    pub(crate) bearer: Bearer,
}

/// Serves one connection to its end.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream, place: OwnedSemaphorePermit) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let session = Arc::new(Session {
        shared,
        token: Mutex::default(),
        ends: watch::Sender::new(None),
        line: Line::default(),
        at: None,
        place: Arc::new(place),
    });
    drive(session, stream).await;
}

impl Session {
    /// The session inside of what a `CONNECT` opened, with the token that was shown for it.
    fn inside(&self, at: Endpoint) -> Arc<Self> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Arc::new(Self {
            shared: Arc::clone(&self.shared),
            token: Mutex::new(token),
            ends: watch::Sender::new(None),
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
    fn authenticate(&self, headers: &HeaderMap) -> Result<Asking, Refused> {
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
        self.ends.send_replace(Some(verified.expires_at));
        Ok(Asking {
            tenant: verified.tenant.clone(),
            bearer: verified.bearer(),
        })
    }

    fn find(&self, asking: &Asking, wanted: &Wanted) -> Option<Found> {
        let snapshot = self.shared.deps.pep.cell().load();
        let aim = (&wanted.endpoint, &wanted.method);
        destination::find(&snapshot, &asking.tenant, aim, &asking.bearer)
    }

    fn call(&self, asking: &Asking, target: Target, arguments: Arguments) -> Result<Call, Refused> {
        let id = self.shared.deps.pep.next_id(&asking.tenant).map_err(|_| {
            Refused::new(
                http::StatusCode::SERVICE_UNAVAILABLE,
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

    /// Resolves when the connection should end by itself: its token is about to, or the service does.
    async fn ending(&self) {
        let mut ends = self.ends.subscribe();
        let stop = &self.shared.stop;
        loop {
            let ends_at = *ends.borrow_and_update();
            let now = self.shared.deps.clock.now();
            let left = ends_at.map(|at| at.since(now).saturating_sub(MARGIN));
            let over = async {
                match left {
                    Some(left) => drop(tokio::time::timeout(left, std::future::pending::<()>()).await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = over => return,
                changed = ends.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// Serves requests until the peer goes, or the token does; the request that runs then is finished.
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
        async move { Ok::<_, Infallible>(session.answer(request).await) }
    });
    let connection = builder
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = session.ending() => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection through the egress proxy ended");
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
