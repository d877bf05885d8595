//! The agents' and operators' listener: HTTP/1.1 over TCP or TLS, limits first, graceful drain.
//!
//! HTTP/1.1 by construction: no other protocol is built in. A connection that does not send a whole head in time,
//! from its first byte on, is closed, and there is a [`Place`](crate::places::Place) for each or it is refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use bailiwick_pep::token::ClientCertificate;
use bailiwick_proxy::Patient;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::config::Listen;
use crate::places::{Place, Places};

const HEADERS_MAX: usize = 64 * 1024;
/// Before the next try when no connection could be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What a connection without a place hears, as far as it fits into its buffer.
const NO_PLACE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// A bound listener; nothing is served before [`Listener::serve`].
pub(crate) struct Listener {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    drain: Duration,
    /// For a TLS handshake, and for each head of a request.
    head: Duration,
    /// How long a peer may take nothing of what is written to it.
    stall: Duration,
    places: Arc<Places>,
}

impl Listener {
    pub(crate) async fn bind(address: SocketAddr, config: &Listen) -> anyhow::Result<Self> {
        let tcp = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}: choose another address with --listen"))?;
        Ok(Self {
            tcp,
            tls: acceptor(config)?,
            drain: Duration::from_secs(config.drain_secs),
            head: Duration::from_secs(config.header_secs),
            stall: Duration::from_secs(config.stall_secs),
            places: Places::new(config),
        })
    }

    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        self.tcp.local_addr().context("listener has no address")
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Serves until `stop`; then open calls get the drain time.
    pub(crate) async fn serve(self, router: Router, stop: CancellationToken) {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.head)
            .max_buf_size(HEADERS_MAX);
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.tcp.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => match self.places.take(peer.ip()) {
                    Ok(place) => self.connection((stream, peer, place), &builder, &graceful, router.clone()),
                    Err(_) => self.turn_away(&stream),
                },
                Err(error) => {
                    // Out of descriptors: give running calls a chance to end before the next accept.
                    tracing::warn!(%error, "connection not accepted");
                    let _stopping = tokio::time::timeout(ACCEPT_PAUSE, stop.cancelled()).await;
                }
            }
        }
        drop(self.tcp);
        if tokio::time::timeout(self.drain, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("drain time is over; open calls are cut");
        }
    }

    /// Says why, where that can be said without waiting.
    fn turn_away(&self, stream: &TcpStream) {
        if self.tls.is_none() {
            // Whoever does not read it meets a closed connection, which says the same.
            let _unread = stream.try_write(NO_PLACE);
        }
    }

    fn connection(
        &self,
        (stream, peer, place): (TcpStream, SocketAddr, Place),
        builder: &http1::Builder,
        graceful: &GracefulShutdown,
        router: Router,
    ) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, %peer, "no TCP_NODELAY");
        }
        let (tls, head) = (self.tls.clone(), self.head);
        let builder = builder.clone();
        let watcher = graceful.watcher();
        let stream = Patient::new(stream, self.stall);
        crate::spawn(async move {
            let _place = place;
            let from = bailiwick_api::Peer(crate::places::network(peer.ip()));
            let service = |certificate: Option<ClientCertificate>| {
                TowerToHyperService::new(router.map_request(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(from);
                    if let Some(certificate) = certificate {
                        request.extensions_mut().insert(certificate);
                    }
                    request
                }))
            };
            let ended = match tls {
                None => {
                    let connection = builder.serve_connection(TokioIo::new(stream), service(None));
                    watcher.watch(connection).await
                }
                Some(acceptor) => {
                    let Ok(Ok(stream)) = tokio::time::timeout(head, acceptor.accept(stream)).await else {
                        tracing::debug!(%peer, "TLS handshake failed");
                        return;
                    };
                    let shown = crate::certificate::shown(stream.get_ref().1);
                    let connection = builder.serve_connection(TokioIo::new(stream), service(shown));
                    watcher.watch(connection).await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, %peer, "connection ended");
            }
        });
    }
}

fn acceptor(config: &Listen) -> anyhow::Result<Option<TlsAcceptor>> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let (Some(certificate), Some(key)) = (&config.tls_certificate, &config.tls_key) else {
        return Ok(None);
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("config key `listen.tls_certificate`: `{}`", certificate.display()))?;
    require_private(key)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("config key `listen.tls_key`: `{}`", key.display()))?;
    let mut tls = rustls::ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_client_cert_verifier(crate::certificate::verifier()?)
        .with_single_cert(chain, private)
        .context("certificate and key do not belong together")?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(tls))))
}

/// A key file that others may read is refused, not warned about. A pipe has no mode that means anything.
pub(crate) fn require_private(file: &std::path::Path) -> anyhow::Result<()> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    let about = std::fs::metadata(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let mode = about.permissions().mode();
    anyhow::ensure!(
        about.file_type().is_fifo() || mode & 0o077 == 0,
        "`{}` may be read by others (mode {:o}): chmod 600 {}",
        file.display(),
        mode & 0o777,
        file.display()
    );
    Ok(())
}
