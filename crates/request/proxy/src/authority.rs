//! The egress CA: certificates for destinations, minted when first needed and kept in memory.
//!
//! One key of this process is that of every certificate, and it is never written down. A certificate is good for a
//! day and made anew after half of it. Who trusts the CA is told by whoever starts the agent; nobody else does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bailiwick_base::{Clock, Entropy, Time};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber, SignatureAlgorithm, SigningKey,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

/// Certificates kept.
const KEPT_MAX: usize = 1_024;
/// How long a certificate is good.
const LEAF_TTL: Duration = Duration::from_secs(24 * 3_600);
/// How long the certificate of the CA is good; its key stays.
const CA_TTL: Duration = Duration::from_secs(365 * 24 * 3_600);
/// Clocks of agents may be behind ours by so much.
const SKEW: Duration = Duration::from_secs(3_600);

/// The egress CA could not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the egress CA cannot sign: {0}")]
pub struct CaError(pub String);

type Sign = dyn Fn(&[u8]) -> Result<Vec<u8>, CaError> + Send + Sync;

/// The key of the egress CA (ECDSA on P-256). It stays where it is and is asked for signatures.
#[derive(Clone)]
pub struct CaKey {
    public: Vec<u8>,
    sign: Arc<Sign>,
}

impl CaKey {
    /// A key by its public part, an uncompressed point (SEC 1 §2.3.3), and whoever signs with it: over SHA-256 of a
    /// message, in DER (RFC 3279 §2.2.3).
    pub fn new<E: std::fmt::Display>(
        public: Vec<u8>,
        sign: impl Fn(&[u8]) -> Result<Vec<u8>, E> + Send + Sync + 'static,
    ) -> Self {
        let sign = Arc::new(move |message: &[u8]| sign(message).map_err(failed));
        Self { public, sign }
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        (self.sign)(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// TLS towards agents in the name of one host, and until when it is used.
type Kept = BTreeMap<String, (Time, Arc<ServerConfig>)>;

/// The egress CA.
pub(crate) struct Authority {
    issuer: Issuer<'static, CaKey>,
    certificate: String,
    leaf: KeyPair,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    kept: Mutex<Kept>,
}

fn failed(error: impl std::fmt::Display) -> CaError {
    CaError(error.to_string())
}

impl Authority {
    /// The CA of this key.
    ///
    /// # Errors
    /// [`CaError`].
    pub(crate) fn new(key: CaKey, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<Self, CaError> {
        let now = clock.now();
        let mut wanted = params("bailiwick egress CA", serial(&*entropy)?, (now, CA_TTL))?;
        wanted.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        wanted.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = pem(wanted.self_signed(&key).map_err(failed)?.der());
        Ok(Self {
            issuer: Issuer::new(wanted, key),
            certificate,
            leaf: KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?,
            clock,
            entropy,
            kept: Mutex::default(),
        })
    }

    /// The certificate of the CA (PEM). It is no secret.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// TLS in the name of `host`.
    pub(crate) fn tls_of(&self, host: &str) -> Result<Arc<ServerConfig>, CaError> {
        let now = self.clock.now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((until, config)) = kept.get(host)
            && now < *until
        {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.mint(host, now)?);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(host.to_owned(), (now.after(LEAF_TTL / 2), Arc::clone(&config)));
        Ok(config)
    }

    fn mint(&self, host: &str, now: Time) -> Result<ServerConfig, CaError> {
        let mut wanted = params(host, serial(&*self.entropy)?, (now, LEAF_TTL))?;
        wanted.subject_alt_names = CertificateParams::new(vec![host.to_owned()])
            .map_err(failed)?
            .subject_alt_names;
        wanted.is_ca = IsCa::ExplicitNoCa;
        wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        wanted.use_authority_key_identifier_extension = true;
        let certificate = wanted.signed_by(&self.leaf, &self.issuer).map_err(failed)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.leaf.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(certificate)], key)
            .map_err(failed)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(tls)
    }
}

/// The text form (RFC 7468 §2).
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        out.extend(line.iter().copied().map(char::from));
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

fn serial(entropy: &dyn Entropy) -> Result<[u8; 16], CaError> {
    let mut serial = [0; 16];
    entropy.fill(&mut serial).map_err(failed)?;
    // A serial number is positive.
    if let Some(first) = serial.first_mut() {
        *first &= 0x7f;
    }
    Ok(serial)
}

fn params(name: &str, serial: [u8; 16], (now, ttl): (Time, Duration)) -> Result<CertificateParams, CaError> {
    let mut wanted = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    // A common name holds 64 characters; what counts is the alternative name.
    subject.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    wanted.distinguished_name = subject;
    wanted.serial_number = Some(SerialNumber::from_slice(&serial));
    wanted.not_before = instant(now.before(SKEW))?;
    wanted.not_after = instant(now.after(ttl))?;
    Ok(wanted)
}

fn instant(at: Time) -> Result<OffsetDateTime, CaError> {
    OffsetDateTime::from_unix_timestamp(at.micros() / 1_000_000).map_err(failed)
}
