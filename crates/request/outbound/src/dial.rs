//! From an endpoint to a connection: resolve once, judge every address, connect to what was judged.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bailiwick_base::limits::shown;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::address::AddressRule;
use crate::endpoint::{Endpoint, GuardError};

/// A boxed future, so that a port can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 16;
/// Addresses of one name that are tried.
const TRIES_MAX: usize = 3;

/// Name resolution.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of `host`.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The resolver of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, port)).await?;
            Ok(found.map(|socket| socket.ip()).collect())
        })
    }
}

/// Opening a connection to an address that was judged.
pub trait Connect: Send + Sync + 'static {
    /// A connected stream.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>>;
}

/// The network of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemConnector;

impl Connect for SystemConnector {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(address))
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// It may not be connected to; nothing was sent.
    #[error(transparent)]
    Guarded(#[from] GuardError),
    /// It does not answer, or not in TLS that we trust.
    #[error("{0}")]
    Unreachable(String),
}

/// Opens connections.
#[derive(Clone)]
pub struct Dialer {
    /// Names to addresses.
    pub resolver: Arc<dyn Resolve>,
    /// Addresses to streams.
    pub connector: Arc<dyn Connect>,
    /// TLS towards `https` endpoints.
    pub tls: Arc<rustls::ClientConfig>,
}

impl Dialer {
    /// Resolver and network of the operating system, and TLS that trusts the roots of the Web.
    #[must_use]
    pub fn of_system() -> Self {
        Self {
            resolver: Arc::new(SystemResolver),
            connector: Arc::new(SystemConnector),
            tls: public_tls(),
        }
    }

    /// The same, with TLS that trusts the authorities of this PEM file too.
    ///
    /// # Errors
    /// [`RootsError`].
    pub fn trusting(file: Option<&Path>) -> Result<Self, RootsError> {
        let Some(file) = file else {
            return Ok(Self::of_system());
        };
        let shown = || file.display().to_string();
        let pem = std::fs::read(file).map_err(|error| RootsError::Read(shown(), error.kind()))?;
        let mut roots = public_roots();
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|_| RootsError::Pem(shown()))?;
            roots
                .add(certificate)
                .map_err(|_| RootsError::Certificate(shown()))?;
        }
        if roots.len() == before {
            return Err(RootsError::Empty(shown()));
        }
        Ok(Self {
            tls: tls(roots),
            ..Self::of_system()
        })
    }

    /// A connection to `endpoint`, to an address that `rule` admits. The caller bounds the time.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn dial(&self, endpoint: &Endpoint, rule: &AddressRule) -> Result<Wire, DialError> {
        let addresses = self.judged_addresses(endpoint, rule).await?;
        let unreachable = |e: io::Error| DialError::Unreachable(e.kind().to_string());
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        let mut opened = None;
        for address in addresses.into_iter().take(TRIES_MAX) {
            match self
                .connector
                .connect(SocketAddr::new(address, endpoint.port))
                .await
            {
                Ok(stream) => {
                    opened = Some(stream);
                    break;
                }
                Err(error) => last = error,
            }
        }
        let stream = opened.ok_or(last).map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        if !endpoint.tls {
            return Ok(Wire::Plain(stream));
        }
        let name = rustls::pki_types::ServerName::try_from(endpoint.host.clone())
            .map_err(|_| DialError::Unreachable("its name cannot be in a certificate".to_owned()))?;
        let tls = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await;
        let tls = tls.map_err(|e| DialError::Unreachable(format!("TLS: {}", shown(&e.to_string()))))?;
        Ok(Wire::Tls(Box::new(tls)))
    }

    /// Resolves once; what is returned is what is connected to. One address out of bounds refuses them all.
    pub(crate) async fn judged_addresses(
        &self,
        endpoint: &Endpoint,
        rule: &AddressRule,
    ) -> Result<Vec<IpAddr>, GuardError> {
        rule.require_endpoint(endpoint)?;
        if let Some(address) = endpoint.literal() {
            return Ok(vec![address]);
        }
        let none = || GuardError::NoAddress(shown(&endpoint.host));
        let found = self.resolver.resolve(&endpoint.host, endpoint.port).await;
        let found = found.map_err(|_| none())?;
        if found.is_empty() || found.len() > ADDRESSES_MAX {
            return Err(none());
        }
        for address in &found {
            rule.require(*address)?;
        }
        Ok(found)
    }
}

/// Why a file of authorities cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// A certificate cannot vouch for others.
    #[error("a certificate in `{0}` cannot be used as an authority")]
    Certificate(String),
    /// There is none.
    #[error("there is no certificate in `{0}`")]
    Empty(String),
    /// It is not PEM.
    #[error("`{0}` is not PEM text")]
    Pem(String),
    /// It cannot be read.
    #[error("`{0}` cannot be read: {1}")]
    Read(String, io::ErrorKind),
}

/// TLS that trusts the roots of the Web and offers HTTP/1.1.
#[must_use]
pub fn public_tls() -> Arc<rustls::ClientConfig> {
    tls(public_roots())
}

fn public_roots() -> rustls::RootCertStore {
    rustls::RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned())
}

fn tls(roots: rustls::RootCertStore) -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|b| b.with_root_certificates(roots.clone()).with_no_client_auth());
    Arc::new(match builder {
        Ok(config) => config,
        Err(_) => rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    })
}

/// A plain or a TLS stream.
pub enum Wire {
    /// Without TLS, by leave.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! on_wire {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Wire::Plain($stream) => $call,
            Wire::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_wire!(self, s => Pin::new(s).poll_read(cx, buf))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_wire!(self, s => Pin::new(s).poll_write(cx, buf))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_wire!(self, s => Pin::new(s).poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_wire!(self, s => Pin::new(s).poll_shutdown(cx))
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_wire!(self, s => Pin::new(s).poll_write_vectored(cx, bufs))
    }
    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(s) => s.is_write_vectored(),
            Self::Tls(s) => s.is_write_vectored(),
        }
    }
}

/// Polls the wanted future, then the connection it depends on, then the future again. A connection that ended is
/// taken away.
pub fn alongside<F: Future, C: Future>(
    mut wanted: Pin<&mut F>,
    driver: &mut Option<Pin<Box<C>>>,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    if let Poll::Ready(done) = wanted.as_mut().poll(cx) {
        return Poll::Ready(done);
    }
    if let Some(connection) = driver
        && connection.as_mut().poll(cx).is_ready()
    {
        *driver = None;
    }
    wanted.poll(cx)
}
