//! The side that faces upstream servers: one [`Upstream`] per server of a tenant, whatever it speaks.

pub(crate) mod bound;
pub(crate) mod canary;
pub(crate) mod conn;
pub(crate) mod exchange;
pub(crate) mod http;
pub(crate) mod line;
pub(crate) mod peer;
pub(crate) mod registry;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bailiwick_base::{Clock, IdentityId, TaskId, ToolName};
use bailiwick_decide::{Bearer, UpstreamServer};

use crate::client::Client;
use crate::error::UpstreamError;
use crate::method::Era;
use crate::pins::{Catalog, PinReport};
use http::{HttpServer, HttpSession};
use line::LineServer;
use peer::Peer;

/// How long the era of an HTTP server is believed.
const ERA_TTL: Duration = Duration::from_secs(600);
/// Sessions kept inside for callers of the stateless revision.
const INNER_MAX: usize = 1_024;
/// How long such a session is kept unused.
const INNER_IDLE: Duration = Duration::from_secs(300);

/// Whose session inside it is. Nothing is ever carried from one key to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct InnerKey {
    identity: IdentityId,
    task: TaskId,
    /// Text of the declared capabilities.
    capabilities: Arc<str>,
}

struct Inner {
    session: Arc<HttpSession>,
    used_at: Duration,
    bearer: Bearer,
}

/// What a call is sent over.
#[derive(Clone)]
pub(crate) enum Link {
    /// Standard streams, used by many callers at once.
    Line(Arc<LineServer>),
    /// Stateless HTTP.
    Modern(Arc<HttpServer>),
    /// One session at a legacy HTTP server; `own` when it belongs to one session of ours.
    Session { session: Arc<HttpSession>, own: bool },
}

impl Link {
    /// Whether answers of this session come as event streams.
    pub(crate) fn streams(&self) -> bool {
        matches!(self, Self::Session { session, own: true } if session.streamed)
    }
}

/// How the server is reached.
enum Reach {
    Http(Arc<HttpServer>),
    Line(Arc<LineServer>),
}

/// One upstream server.
pub(crate) struct Upstream {
    /// As the snapshot had it when this was made.
    pub(crate) server: Arc<UpstreamServer>,
    reach: Reach,
    clock: Arc<dyn Clock>,
    known: Mutex<Option<(Arc<Peer>, Duration)>>,
    /// When it was found that the server has no sessions.
    stateless_only: Mutex<Option<Duration>>,
    inner: Mutex<BTreeMap<InnerKey, Inner>>,
    /// The gateway's own session, for reading the tool list.
    own: tokio::sync::Mutex<Option<Arc<HttpSession>>>,
    pub(crate) catalog: Mutex<Option<Arc<Catalog>>>,
    /// What was recorded last beyond changed pins: unusable and missing tools.
    reported: Mutex<(Vec<String>, Vec<ToolName>)>,
    /// Held while the tool list is read, so that it is read once for many.
    pub(crate) reading: tokio::sync::Mutex<()>,
}

impl Upstream {
    fn new(server: Arc<UpstreamServer>, reach: Reach, clock: Arc<dyn Clock>) -> Self {
        Self {
            server,
            reach,
            clock,
            known: Mutex::new(None),
            stateless_only: Mutex::new(None),
            inner: Mutex::new(BTreeMap::new()),
            own: tokio::sync::Mutex::new(None),
            catalog: Mutex::new(None),
            reported: Mutex::default(),
            reading: tokio::sync::Mutex::new(()),
        }
    }

    /// What the server said about itself; asked at first use and again when that is old.
    pub(crate) async fn peer(&self) -> Result<Arc<Peer>, UpstreamError> {
        let server = match &self.reach {
            Reach::Line(line) => return line.peer().await,
            Reach::Http(server) => server,
        };
        let now = self.clock.monotonic();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((peer, at)) = known
            && now.saturating_sub(at) < ERA_TTL
        {
            return Ok(peer);
        }
        let peer = match server.discover().await? {
            Some(peer) => peer,
            None => Arc::clone(&server.open(&Client::own()).await?.peer),
        };
        self.remember(&peer);
        Ok(peer)
    }

    fn remember(&self, peer: &Arc<Peer>) {
        let now = self.clock.monotonic();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((Arc::clone(peer), now));
    }

    /// Asks again what the server is at the next call.
    pub(crate) fn forget_peer(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Reads `server/discover` afresh, for a caller who asks for it.
    pub(crate) async fn fresh_peer(&self) -> Result<Arc<Peer>, UpstreamError> {
        let known = self.peer().await?;
        if let (Reach::Http(server), Era::Modern) = (&self.reach, known.era)
            && let Some(peer) = server.discover().await?
        {
            self.remember(&peer);
            return Ok(peer);
        }
        Ok(known)
    }

    /// The link for one stateless call. Its client is asked for only where the server has sessions.
    pub(crate) async fn link(
        &self,
        bearer: &Bearer,
        client: &(dyn Fn() -> Arc<Client> + Sync),
    ) -> Result<Link, UpstreamError> {
        let server = match &self.reach {
            Reach::Line(line) => return Ok(Link::Line(Arc::clone(line))),
            Reach::Http(server) => server,
        };
        if self.peer().await?.era == Era::Modern {
            return Ok(Link::Modern(Arc::clone(server)));
        }
        let client = client();
        let key = InnerKey {
            identity: bearer.claims.nhi.clone(),
            task: bearer.claims.task.clone(),
            capabilities: Arc::clone(&client.declared),
        };
        let now = self.clock.monotonic();
        if let Some(found) = self
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(&key)
            && !found.session.is_lost()
        {
            found.used_at = now;
            return Ok(Link::Session {
                session: Arc::clone(&found.session),
                own: false,
            });
        }
        let session = server.open(&client).await?;
        self.remember(&session.peer);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.retain(|_, i| now.saturating_sub(i.used_at) < INNER_IDLE && !i.session.is_lost());
        if inner.len() >= INNER_MAX {
            return Err(UpstreamError::Busy);
        }
        let entry = inner.entry(key).or_insert(Inner {
            session,
            used_at: now,
            bearer: bearer.clone(),
        });
        Ok(Link::Session {
            session: Arc::clone(&entry.session),
            own: false,
        })
    }

    /// The link that one session of ours keeps.
    pub(crate) async fn session_link(&self, client: &Client) -> Result<(Link, Arc<Peer>), UpstreamError> {
        let server = match &self.reach {
            Reach::Line(line) => return Ok((Link::Line(Arc::clone(line)), line.peer().await?)),
            Reach::Http(server) => server,
        };
        let peer = self.peer().await?;
        let now = self.clock.monotonic();
        let stateless_only = || {
            let since = *self.stateless_only.lock().unwrap_or_else(PoisonError::into_inner);
            since.is_some_and(|at| now.saturating_sub(at) < ERA_TTL)
        };
        if peer.era == Era::Modern && stateless_only() {
            return Ok((Link::Modern(Arc::clone(server)), peer));
        }
        // A server that speaks both gets the session as a session: then nothing has to be translated.
        match server.open(client).await {
            Ok(session) => {
                let peer = Arc::clone(&session.peer);
                Ok((Link::Session { session, own: true }, peer))
            }
            Err(UpstreamError::NotMcp(_) | UpstreamError::Unsupported) if peer.era == Era::Modern => {
                *self.stateless_only.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
                Ok((Link::Modern(Arc::clone(server)), peer))
            }
            Err(e) => Err(e),
        }
    }

    /// The link for the gateway's own calls.
    pub(crate) async fn own_link(&self) -> Result<Link, UpstreamError> {
        let server = match &self.reach {
            Reach::Line(line) => return Ok(Link::Line(Arc::clone(line))),
            Reach::Http(server) => server,
        };
        if self.peer().await?.era == Era::Modern {
            return Ok(Link::Modern(Arc::clone(server)));
        }
        let mut own = self.own.lock().await;
        if let Some(session) = own.as_ref().filter(|s| !s.is_lost()) {
            return Ok(Link::Session {
                session: Arc::clone(session),
                own: false,
            });
        }
        let session = server.open(&Client::own()).await?;
        *own = Some(Arc::clone(&session));
        Ok(Link::Session { session, own: false })
    }

    /// A session of its own, for a stream that is read by one caller only.
    pub(crate) async fn separate_session(&self, client: &Client) -> Result<Arc<HttpSession>, UpstreamError> {
        match &self.reach {
            Reach::Http(server) => server.open(client).await,
            Reach::Line(_) => Err(UpstreamError::Unsupported),
        }
    }

    /// The host of an HTTP server.
    pub(crate) fn host(&self) -> Option<&str> {
        match &self.reach {
            Reach::Http(server) => Some(&server.pool.endpoint().host),
            Reach::Line(_) => None,
        }
    }

    /// Ends sessions inside that are unused or whose holder `is_dead`.
    pub(crate) fn sweep(&self, is_dead: &dyn Fn(&Bearer) -> bool) {
        let now = self.clock.monotonic();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.retain(|_, i| now.saturating_sub(i.used_at) < INNER_IDLE && !is_dead(&i.bearer));
    }

    /// Whether a report says anything that was not said before.
    pub(crate) fn is_news(&self, report: &PinReport) -> bool {
        let said = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        report.changes_pins() || said.0 != report.unusable || said.1 != report.missing
    }

    /// Takes note of what a report said, now that it is recorded.
    pub(crate) fn said(&self, unusable: Vec<String>, missing: Vec<ToolName>) {
        *self.reported.lock().unwrap_or_else(PoisonError::into_inner) = (unusable, missing);
    }

    /// The known tool list, if it is younger than `ttl`.
    pub(crate) fn known_catalog(&self, ttl: Duration) -> Option<Arc<Catalog>> {
        let now = self.clock.monotonic();
        let known = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .as_ref()
            .filter(|c| now.saturating_sub(c.read_at) < ttl)
            .map(Arc::clone)
    }

    /// The server said that its tools changed: read them again before the next call.
    pub(crate) fn forget_catalog(&self) {
        *self.catalog.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
