//! The socket: connections, requests, methods.

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::frame::{Body, Code, REQUEST_MAX, Status, parse, streaming, unary};
use crate::message::{
    Jwt, JwtAnswer, JwtBundles, JwtQuestion, Nothing, ValidateAnswer, ValidateQuestion, X509, X509Answer,
    X509Bundles, claims,
};
use crate::wire::Tamed;
use crate::{Authority, BoxFuture, Peer, Refused};

/// Connections at once.
const CONNECTIONS_MAX: usize = 256;
/// Those of one user, so that no user can take the places of all others.
const OF_ONE_USER_MAX: usize = 64;
/// Requests at once on one connection.
const STREAMS_MAX: u32 = 16;
/// Until the next connection is taken after one that could not be.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a request may take to arrive.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// How often a silent peer is asked whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// The header that every request carries (SPIFFE Workload Endpoint §4).
const SECURITY_HEADER: &str = "workload.spiffe.io";

/// Starts work that runs beside; only the composition root starts tasks.
pub type Spawn = Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

/// Work of a connection, started in the same way.
#[derive(Clone)]
struct Beside(Spawn);

impl<F> hyper::rt::Executor<F> for Beside
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, work: F) {
        (self.0)(Box::pin(async move {
            work.await;
        }));
    }
}

/// Serves until `stop` is done, where there is a socket.
pub async fn serve(
    listener: Option<UnixListener>,
    authority: Arc<dyn Authority>,
    spawn: Spawn,
    stop: impl Future<Output = ()> + Send,
) {
    let Some(listener) = listener else {
        return;
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut held: Vec<(u32, Weak<OwnedSemaphorePermit>)> = Vec::new();
    tokio::pin!(stop);
    loop {
        let stream = tokio::select! {
            () = &mut stop => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the workload API was not taken");
                    let _passed = tokio::time::timeout(PAUSE, std::future::pending::<()>()).await;
                    continue;
                }
            },
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let Some(peer) = Peer::of(&stream) else {
            continue;
        };
        held.retain(|(_, place)| place.strong_count() > 0);
        if held.iter().filter(|(uid, _)| *uid == peer.uid).count() >= OF_ONE_USER_MAX {
            continue;
        }
        let place = Arc::new(place);
        held.push((peer.uid, Arc::downgrade(&place)));
        let (authority, peer) = (Arc::clone(&authority), Arc::new(peer));
        let connection = http2::Builder::new(Beside(Arc::clone(&spawn)))
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(16 * 1024)
            .serve_connection(
                TokioIo::new(Tamed::new(stream)),
                service_fn(move |request| answer(Arc::clone(&authority), Arc::clone(&peer), request)),
            );
        spawn(Box::pin(async move {
            let _place = place;
            // However it ends, it is over.
            let _ended = connection.await;
        }));
    }
}

async fn answer(
    authority: Arc<dyn Authority>,
    peer: Arc<Peer>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = match taken(request).await {
        Ok(body) => body,
        Err(status) => return Ok(unary::<Nothing>(Err(status))),
    };
    Ok(match path.as_str() {
        "/SpiffeWorkloadAPI/FetchJWTSVID" => unary(fetch_jwt(authority.as_ref(), &peer, &body).await),
        "/SpiffeWorkloadAPI/ValidateJWTSVID" => unary(validate(authority.as_ref(), &peer, &body)),
        "/SpiffeWorkloadAPI/FetchX509SVID" => match parse::<Nothing>(&body) {
            Ok(_) => renewing(authority, peer, |authority, peer| {
                Box::pin(async move { fetch_x509(authority.as_ref(), &peer).await })
            }),
            Err(status) => unary::<Nothing>(Err(status)),
        },
        "/SpiffeWorkloadAPI/FetchJWTBundles" => match parse::<Nothing>(&body) {
            Ok(_) => renewing(authority, peer, |authority, peer| {
                let bundles = authority.jwt_bundles(&peer);
                let answer = bundles
                    .map(|bundles| (JwtBundles { bundles }, None))
                    .map_err(Status::from);
                Box::pin(std::future::ready(answer))
            }),
            Err(status) => unary::<Nothing>(Err(status)),
        },
        "/SpiffeWorkloadAPI/FetchX509Bundles" => match parse::<Nothing>(&body) {
            Ok(_) => renewing(authority, peer, |authority, peer| {
                let bundles = authority.x509_bundles(&peer);
                let answer = bundles
                    .map(|bundles| (X509Bundles { bundles }, None))
                    .map_err(Status::from);
                Box::pin(std::future::ready(answer))
            }),
            Err(status) => unary::<Nothing>(Err(status)),
        },
        _ => unary::<Nothing>(Err(Status(
            Code::Unimplemented,
            "there is no such method".to_owned(),
        ))),
    })
}

/// The body of a request that may be looked at.
async fn taken(request: Request<Incoming>) -> Result<Bytes, Status> {
    let refused = |why: &str| Status(Code::InvalidArgument, why.to_owned());
    let headers = request.headers();
    let mut marks = headers.get_all(SECURITY_HEADER).iter();
    if marks.next().is_none_or(|mark| mark != "true") || marks.next().is_some() {
        return Err(refused("security header `workload.spiffe.io: true` is missing"));
    }
    if request.method() != Method::POST {
        return Err(refused("a request is a POST"));
    }
    let body = Limited::new(request.into_body(), REQUEST_MAX).collect();
    match tokio::time::timeout(REQUEST_TIME, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(Status(
            Code::ResourceExhausted,
            "request is too large, or broke off".to_owned(),
        )),
        Err(_) => Err(refused("request did not arrive in time")),
    }
}

async fn fetch_jwt(authority: &dyn Authority, peer: &Peer, body: &Bytes) -> Result<JwtAnswer, Status> {
    let question: JwtQuestion = parse(body)?;
    let wanted = Some(question.spiffe_id).filter(|id| !id.is_empty());
    let svids = authority.jwt_svids(peer, question.audience, wanted).await?;
    let svids = svids.into_iter().map(|svid| Jwt {
        spiffe_id: svid.id,
        svid: svid.token,
    });
    Ok(JwtAnswer {
        svids: svids.collect(),
    })
}

async fn fetch_x509(authority: &dyn Authority, peer: &Peer) -> Result<Good<X509Answer>, Status> {
    let svids = authority.x509_svids(peer).await?;
    let good_for = svids.iter().map(|svid| svid.good_for).min();
    let svids = svids.into_iter().map(|svid| X509 {
        spiffe_id: svid.id,
        x509_svid: svid.chain.into(),
        x509_svid_key: svid.key.into(),
        bundle: svid.bundle.into(),
    });
    let answer = X509Answer {
        svids: svids.collect(),
    };
    Ok((answer, good_for))
}

fn validate(authority: &dyn Authority, peer: &Peer, body: &Bytes) -> Result<ValidateAnswer, Status> {
    let question: ValidateQuestion = parse(body)?;
    let (spiffe_id, members) = authority.validate(peer, &question.audience, &question.svid)?;
    Ok(ValidateAnswer {
        spiffe_id,
        claims: Some(claims(members)),
    })
}

/// A message, and how long it is good by itself.
type Good<M> = (M, Option<Duration>);
type Make<M> = fn(Arc<dyn Authority>, Arc<Peer>) -> BoxFuture<'static, Result<Good<M>, Status>>;

/// What the last answer of a stream stood on.
struct Told {
    standing: Result<Vec<u8>, Refused>,
    good_for: Option<Duration>,
}

impl Told {
    /// Until it is no longer good.
    async fn outlived(&self, authority: &dyn Authority, peer: &Peer) {
        let changed = authority.changed(peer, &self.standing);
        match self.good_for {
            Some(good_for) => {
                let _either = tokio::time::timeout(good_for, changed).await;
            }
            None => changed.await,
        }
    }
}

/// An answer now, and a new one whenever the last is no longer good, until one is refused.
fn renewing<M: prost::Message + 'static>(
    authority: Arc<dyn Authority>,
    peer: Arc<Peer>,
    make: Make<M>,
) -> Response<Body> {
    /// Where the stream stands.
    enum Stand {
        First,
        Later(Told),
        Over,
    }
    let answers = stream::unfold(
        (authority, peer, Stand::First),
        move |(authority, peer, stand)| async move {
            match stand {
                Stand::Over => return None,
                Stand::Later(told) => told.outlived(authority.as_ref(), &peer).await,
                Stand::First => {}
            }
            // Asked for first: what changes from here on is told by the next answer.
            let standing = authority.standing(&peer);
            let answer = make(Arc::clone(&authority), Arc::clone(&peer)).await;
            let (answer, next) = match answer {
                Ok((message, good_for)) => (Ok(message), Stand::Later(Told { standing, good_for })),
                Err(status) => (Err(status), Stand::Over),
            };
            Some((answer, (authority, peer, next)))
        },
    );
    streaming(answers)
}
