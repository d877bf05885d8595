//! An issuer: a TLS server on a loopback port with metadata, a key set and its private keys.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use bailiwick_attest::{AttestError, Attested, Attester, Evidence, IssuerProfile, KeyPlace};
use bailiwick_base::{ManualClock, TenantId, Time};
use bailiwick_credential::trust::Method;
use bailiwick_outbound::{AddressRule, Dialer, FetchConfig, Fetcher};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

pub(crate) const AUDIENCE: &str = "https://bailiwick.example/t/acme";
pub(crate) const NOW: i64 = 1_800_000_000;

pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A signing key of an issuer.
pub(crate) struct Key {
    pub(crate) kid: String,
    pair: EcdsaKeyPair,
}

impl Key {
    pub(crate) fn generate(kid: &str) -> Self {
        Self {
            kid: kid.to_owned(),
            pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        }
    }

    pub(crate) fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
            "x": encode(&point[1..33]), "y": encode(&point[33..]),
        })
    }

    /// The bytes of the private key, as a careless issuer publishes them.
    pub(crate) fn private(&self) -> String {
        let bytes: aws_lc_rs::encoding::EcPrivateKeyBin<'_> = self.pair.private_key().as_be_bytes().unwrap();
        encode(bytes.as_ref())
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({"alg": "ES256", "typ": "JWT", "kid": self.kid}), claims)
    }

    pub(crate) fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let input = format!(
            "{}.{}",
            encode(header.to_string().as_bytes()),
            encode(claims.to_string().as_bytes())
        );
        let signature = self.pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", encode(signature.as_ref()))
    }
}

/// Answers of the issuer by path; a path that is missing never answers.
type Answers = Arc<Mutex<std::collections::BTreeMap<String, String>>>;
/// Heads of requests, in lower case.
type Heads = Arc<Mutex<Vec<String>>>;

pub(crate) struct Issuer {
    pub(crate) url: String,
    pub(crate) key: Key,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) attester: Attester,
    answers: Answers,
    asked: Arc<AtomicUsize>,
    heads: Heads,
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let provider = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let served = rustls::ServerConfig::builder_with_provider(provider())
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
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let (answers, asked) = (Answers::default(), Arc::new(AtomicUsize::new(0)));
        let heads = Heads::default();
        tokio::spawn(serve(
            listener,
            TlsAcceptor::from(Arc::new(served)),
            answers.clone(),
            asked.clone(),
            heads.clone(),
        ));
        let clock = Arc::new(ManualClock::at(Time::from_secs(NOW)));
        let dialer = Dialer {
            tls: Arc::new(tls),
            ..Dialer::of_system()
        };
        let config = FetchConfig {
            whole_timeout: Duration::from_millis(500),
            ..FetchConfig::default()
        };
        let fetcher = Arc::new(Fetcher::new(dialer, clock.clone(), config));
        let issuer = Self {
            url,
            key: Key::generate("k1"),
            clock,
            attester: Attester::new(fetcher).unwrap(),
            answers,
            asked,
            heads,
        };
        issuer.answers(
            "/.well-known/openid-configuration",
            &json!({"issuer": issuer.url, "jwks_uri": format!("{}/jwks", issuer.url)}),
        );
        issuer.publishes(&[issuer.key.jwk()]);
        issuer
    }

    pub(crate) fn answers(&self, path: &str, body: &Value) {
        let _ = self
            .answers
            .lock()
            .unwrap()
            .insert(path.to_owned(), body.to_string());
    }

    pub(crate) fn publishes(&self, keys: &[Value]) {
        self.answers("/jwks", &json!({ "keys": keys }));
    }

    pub(crate) fn is_silent(&self) {
        self.answers.lock().unwrap().clear();
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn last_head(&self) -> String {
        self.heads.lock().unwrap().last().cloned().unwrap_or_default()
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) fn profile(&self, method: Method) -> IssuerProfile {
        IssuerProfile {
            tenant: TenantId::parse("acme").unwrap(),
            method,
            issuer: self.url.clone(),
            keys: KeyPlace::Discovery,
            addresses: AddressRule::parse(&["127.0.0.0/8".to_owned(), "::1".to_owned()]).unwrap(),
            danger_plaintext: false,
        }
    }

    /// Claims of a generic token of this issuer, alive now.
    pub(crate) fn claims(&self) -> Value {
        let now = bailiwick_base::Clock::now(&*self.clock).secs();
        json!({"iss": self.url, "sub": "w1", "aud": AUDIENCE, "iat": now, "nbf": now, "exp": now + 300})
    }

    pub(crate) async fn verify(&self, token: &str, profile: &IssuerProfile) -> Result<Attested, AttestError> {
        let now = bailiwick_base::Clock::now(&*self.clock);
        let evidence = Evidence::parse(token.as_bytes())?;
        self.attester.verify(&evidence, profile, AUDIENCE, now).await
    }
}

async fn serve(
    listener: tokio::net::TcpListener,
    tls: TlsAcceptor,
    answers: Answers,
    asked: Arc<AtomicUsize>,
    heads: Heads,
) {
    while let Ok((stream, _)) = listener.accept().await {
        asked.fetch_add(1, Ordering::SeqCst);
        let (tls, answers, heads) = (tls.clone(), answers.clone(), heads.clone());
        tokio::spawn(async move {
            let Ok(mut stream) = tls.accept(stream).await else {
                return;
            };
            let mut head = vec![0; 8_192];
            let read = stream.read(&mut head).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            heads.lock().unwrap().push(head.to_lowercase());
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let body = answers.lock().unwrap().get(&path).cloned();
            let Some(body) = body else {
                let _ = stream.read(&mut [0]).await;
                return;
            };
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: max-age=60\r\netag: \"same\"\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        });
    }
}
