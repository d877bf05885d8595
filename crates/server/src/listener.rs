//! The agents' and operators' listener: HTTP/1.1 over TCP or TLS, limits first, graceful drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::Listen;

const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const HEADERS_MAX: usize = 64 * 1024;
/// Before the next try when no connection could be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A bound listener; nothing is served before [`Listener::serve`].
pub(crate) struct Listener {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    drain: Duration,
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
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEADERS_MAX);
        let builder = Arc::new(builder);
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.tcp.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.connection(stream, peer, &builder, &graceful, router.clone()),
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

    fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        builder: &Arc<auto::Builder<TokioExecutor>>,
        graceful: &GracefulShutdown,
        router: Router,
    ) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, %peer, "no TCP_NODELAY");
        }
        let tls = self.tls.clone();
        let builder = Arc::clone(builder);
        let watcher = graceful.watcher();
        crate::spawn(async move {
            let service = TowerToHyperService::new(router);
            let ended = match tls {
                None => {
                    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
                    watcher.watch(connection).await
                }
                Some(acceptor) => {
                    let Ok(Ok(stream)) =
                        tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await
                    else {
                        tracing::debug!(%peer, "TLS handshake failed");
                        return;
                    };
                    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
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
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .context("certificate and key do not belong together")?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(tls))))
}

/// A key file that others may read is refused, not warned about.
pub(crate) fn require_private(file: &std::path::Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(file)
        .with_context(|| format!("cannot read `{}`", file.display()))?
        .permissions()
        .mode();
    anyhow::ensure!(
        mode & 0o077 == 0,
        "`{}` may be read by others (mode {:o}): chmod 600 {}",
        file.display(),
        mode & 0o777,
        file.display()
    );
    Ok(())
}
