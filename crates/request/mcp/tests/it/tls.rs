//! An upstream server behind TLS.

use std::sync::Arc;

use bailiwick_decide::Connection;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio_rustls::TlsAcceptor;

use crate::server::Server;
use crate::world::{World, json_of, modern};

/// Puts TLS in front of a server; the port, and the certificate.
async fn in_front_of(server: &Server) -> (u16, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = server.router();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                // A client that does not trust us goes away here.
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = hyper_util::service::TowerToHyperService::new(router);
                let served = hyper::server::conn::http1::Builder::new();
                let _ = served.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (port, certificate)
}

fn trusting(certificate: CertificateDer<'static>) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn at(host: &str, port: u16) -> Connection {
    Connection::Http {
        url: format!("https://{host}:{port}/mcp"),
        allow_addresses: vec!["127.0.0.0/8".to_owned(), "::1".to_owned()],
        allow_plaintext: false,
    }
}

#[tokio::test]
async fn a_trusted_server_is_called_over_one_kept_connection() {
    let server = Server::start(true).await;
    let (port, certificate) = in_front_of(&server).await;
    let world = World::trusting(trusting(certificate));
    world.add("up", at("localhost", port)).await;
    world.grant("t", 1, &["up:*"]);
    for id in 0..3 {
        let body = json_of(
            world
                .send(modern(
                    "t",
                    "up",
                    json!(id),
                    "tools/call",
                    json!({"name": "echo"}),
                ))
                .await,
        )
        .await;
        assert_eq!(body["id"], id, "{body}");
        assert!(body["error"].is_null(), "{body}");
    }
    assert_eq!(server.received("tools/call").len(), 3);
}

#[tokio::test]
async fn an_unknown_authority_or_name_is_not_spoken_to() {
    let server = Server::start(true).await;
    let (port, certificate) = in_front_of(&server).await;
    for (world, host) in [
        (World::new(), "localhost"),
        (World::trusting(trusting(certificate)), "127.0.0.1"),
    ] {
        let unpinned = Arc::new(world.unpinned("up", at(host, port)));
        let failed = world.gateway.inspect(&unpinned).await.unwrap_err();
        assert_eq!(failed.code(), "upstream.unreachable", "{failed}");
        assert!(failed.to_string().contains("TLS"), "{failed}");
    }
    assert_eq!(server.count(), 0);
}
