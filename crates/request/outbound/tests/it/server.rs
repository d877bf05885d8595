//! A TLS server on a loopback port that answers with canned bytes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

pub(crate) enum Next {
    /// These bytes once this is told, then the end.
    Held(Arc<Notify>, Vec<u8>),
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// Never an answer.
    Silence,
}

pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) tls: Arc<rustls::ClientConfig>,
    asked: Arc<AtomicUsize>,
    next: Arc<Mutex<Next>>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let provider = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            tls: Arc::new(tls),
            asked: Arc::default(),
            next: Arc::new(Mutex::new(Next::Silence)),
            heads: Arc::default(),
        };
        let (asked, next, heads) = (server.asked.clone(), server.next.clone(), server.heads.clone());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                asked.fetch_add(1, Ordering::SeqCst);
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut head = vec![0; 8_192];
                let read = stream.read(&mut head).await.unwrap_or(0);
                heads
                    .lock()
                    .unwrap()
                    .push(String::from_utf8_lossy(&head[..read]).to_lowercase());
                let (held, bytes) = match &*next.lock().unwrap() {
                    Next::Held(notify, bytes) => (Some(notify.clone()), Some(bytes.clone())),
                    Next::Bytes(bytes) => (None, Some(bytes.clone())),
                    Next::Silence => (None, None),
                };
                if let Some(notify) = held {
                    notify.notified().await;
                }
                let Some(bytes) = bytes else {
                    tokio::spawn(async move { stream.read(&mut [0]).await });
                    continue;
                };
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
            }
        });
        server
    }

    pub(crate) fn answers(&self, status: &str, headers: &str, body: &str) {
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        self.answers_bytes([head.as_bytes(), body.as_bytes()].concat());
    }

    pub(crate) fn answers_bytes(&self, bytes: Vec<u8>) {
        *self.next.lock().unwrap() = Next::Bytes(bytes);
    }

    /// As the answer that was set before, but not until this is told.
    pub(crate) fn holds(&self) -> Arc<Notify> {
        let (notify, mut next) = (Arc::new(Notify::new()), self.next.lock().unwrap());
        if let Next::Bytes(bytes) = &*next {
            *next = Next::Held(Arc::clone(&notify), bytes.clone());
        }
        notify
    }

    pub(crate) fn is_silent(&self) {
        *self.next.lock().unwrap() = Next::Silence;
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Requests that were read.
    pub(crate) fn heads(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    pub(crate) fn last_head(&self) -> String {
        self.heads.lock().unwrap().last().cloned().unwrap_or_default()
    }
}
