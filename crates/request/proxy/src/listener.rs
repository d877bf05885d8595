//! The proxy's listener: loopback, limits first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{Clock, Entropy};
use bailiwick_outbound::{Dialer, Spawner, UpstreamSecrets};
use bailiwick_pep::Pep;
use bailiwick_pep::token::Verifier;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::authority::{Authority, CaError, CaKey};
use crate::config::ProxyConfig;
use crate::connection;
use crate::opened::Opened;
use crate::places::{Full, Places};

/// Before the next try when no connection could be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const NO_PLACE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What the proxy works with; `server` builds it.
pub struct ProxyDeps {
    /// The pipeline.
    pub pep: Arc<Pep>,
    /// Access tokens.
    pub verifier: Arc<Verifier>,
    /// Secrets of destinations.
    pub secrets: Arc<dyn UpstreamSecrets>,
    /// The guarded way out.
    pub dialer: Dialer,
    /// The key of the egress CA.
    pub ca: CaKey,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for the numbers of certificates.
    pub entropy: Arc<dyn Entropy>,
    /// Background work.
    pub spawner: Arc<dyn Spawner>,
    /// Limits.
    pub config: ProxyConfig,
}

/// What every connection shares.
pub(crate) struct Shared {
    pub(crate) deps: ProxyDeps,
    pub(crate) authority: Authority,
    pub(crate) opened: Opened,
    /// Ends with the service.
    pub(crate) stop: CancellationToken,
}

/// A bound proxy; nothing is served before [`Proxy::serve`].
pub struct Proxy {
    listener: TcpListener,
    deps: ProxyDeps,
    authority: Authority,
}

/// The proxy cannot be there.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Its CA cannot be made.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The address cannot be bound.
    #[error("cannot listen: {0}")]
    Listen(#[from] std::io::Error),
    /// Tokens are shown to the proxy without TLS.
    #[error("{0} is not loopback: the proxy is for agents on this machine")]
    NotLoopback(SocketAddr),
}

impl Proxy {
    /// Binds `address`.
    ///
    /// # Errors
    /// [`ProxyError`].
    pub fn bind(address: SocketAddr, deps: ProxyDeps) -> Result<Self, ProxyError> {
        if !address.ip().is_loopback() {
            return Err(ProxyError::NotLoopback(address));
        }
        let authority = Authority::new(
            deps.ca.clone(),
            Arc::clone(&deps.clock),
            Arc::clone(&deps.entropy),
        )?;
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: TcpListener::from_std(listener)?,
            deps,
            authority,
        })
    }

    /// `ADDRESS:PORT` where it listens, and the certificate of its CA (PEM), which is no secret.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn told(&self) -> Result<(String, String), ProxyError> {
        let address = self.listener.local_addr()?;
        Ok((address.to_string(), self.authority.certificate().to_owned()))
    }

    /// Serves until `stop`; what is open then ends with its request.
    pub async fn serve(self, stop: CancellationToken) {
        let Self {
            listener,
            deps,
            authority,
        } = self;
        let places = Places::new(deps.config.connections_max);
        let shared = Arc::new(Shared {
            deps,
            authority,
            opened: Opened::default(),
            stop: stop.clone(),
        });
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => match places.take() {
                    Ok(place) => {
                        let each = Arc::clone(&shared);
                        let work = connection::serve(each, stream, place);
                        shared.deps.spawner.spawn(Box::pin(work));
                    }
                    Err(full) => turn_away(&stream, full),
                },
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted by the egress proxy");
                    let _stopping = tokio::time::timeout(ACCEPT_PAUSE, stop.cancelled()).await;
                }
            }
        }
    }
}

/// Whoever does not read it meets a closed connection, which says the same.
fn turn_away(stream: &TcpStream, full: Full) {
    full.count();
    let _unread = stream.try_write(NO_PLACE);
}
