//! Client certificates of the listener (RFC 8705): asked for and never demanded. Whose one is, registration says, not
//! an authority; here its holder only proves the key.

use std::sync::Arc;

use anyhow::Context;
use bailiwick_base::Digest;
use bailiwick_pep::token::ClientCertificate;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConnection, SignatureScheme};

#[derive(Debug)]
struct AnyClient(WebPkiSupportedAlgorithms);

/// Takes whatever certificate its holder can sign with.
pub(crate) fn verifier() -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let provider = CryptoProvider::get_default().context("no cryptography was installed")?;
    Ok(Arc::new(AnyClient(provider.signature_verification_algorithms)))
}

/// The certificate that the client of a connection showed.
pub(crate) fn shown(connection: &ServerConnection) -> Option<ClientCertificate> {
    let first = connection.peer_certificates()?.first()?;
    Some(ClientCertificate(Digest::of(first)))
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
