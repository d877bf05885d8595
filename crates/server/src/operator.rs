//! The operator's side: key, session, claim. Used by the command line; the service has only public keys.

use std::path::Path;

use anyhow::Context;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bailiwick_api::session::{SESSION_LIFE, SESSION_TYPE};
use bailiwick_base::{Secret, SigningAlgorithm};
use bailiwick_keys::{ClientKey, SystemEntropy};
use bailiwick_wire::{ClaimRequest, Operator, Problem};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::json;

use crate::clock;

/// Why an operator's key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OperatorKeyError {
    /// The file cannot be read.
    #[error("operator key `{path}` cannot be read: {source}; run `bailiwick claim` again, or mend --context")]
    File {
        /// Path.
        path: String,
        /// Cause.
        source: std::io::Error,
    },
    /// Not 32 bytes.
    #[error("operator key `{0}` is not a key: 32 bytes are needed")]
    Malformed(String),
    /// Others may read it.
    #[error("{0}")]
    Open(String),
    /// No randomness.
    #[error("the source of randomness failed")]
    Randomness,
}

/// An operator's Ed25519 key.
pub struct OperatorKey {
    seed: Secret<Vec<u8>>,
    pair: Ed25519KeyPair,
}

impl OperatorKey {
    /// A new key.
    ///
    /// # Errors
    /// [`OperatorKeyError::Randomness`].
    pub fn generate() -> Result<Self, OperatorKeyError> {
        let mut seed = vec![0_u8; 32];
        SystemRandom::new()
            .fill(&mut seed)
            .map_err(|_| OperatorKeyError::Randomness)?;
        Self::from_seed(seed, "new key")
    }

    /// Reads the file that `claim` wrote; refused when others may read it.
    ///
    /// # Errors
    /// [`OperatorKeyError`].
    pub fn read(path: &Path) -> Result<Self, OperatorKeyError> {
        let shown = path.display().to_string();
        let seed = std::fs::read(path).map_err(|source| OperatorKeyError::File {
            path: shown.clone(),
            source,
        })?;
        crate::listener::require_private(path).map_err(|error| OperatorKeyError::Open(error.to_string()))?;
        Self::from_seed(seed, &shown)
    }

    fn from_seed(seed: Vec<u8>, shown: &str) -> Result<Self, OperatorKeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed)
            .map_err(|_| OperatorKeyError::Malformed(shown.to_owned()))?;
        Ok(Self {
            seed: Secret::new(seed),
            pair,
        })
    }

    /// The private half, to be kept in a file of its owner.
    #[must_use]
    pub fn seed(&self) -> &Secret<Vec<u8>> {
        &self.seed
    }

    /// The public half, base64url without padding.
    #[must_use]
    pub fn public(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref())
    }
}

/// A session for one command: a JWT of type `bailiwick-session+jwt`, EdDSA, half a minute.
///
/// # Errors
/// [`OperatorKeyError::Randomness`].
pub fn session_token(key: &OperatorKey, operator: &str, base: &str) -> Result<String, OperatorKeyError> {
    let issued = clock::now().secs();
    let ttl = i64::try_from(SESSION_LIFE.as_secs()).unwrap_or(30);
    let header = json!({"alg": "EdDSA", "typ": SESSION_TYPE}).to_string();
    let claims = json!({
        "iss": operator, "aud": base, "iat": issued, "exp": issued + ttl, "jti": idempotency_key()?,
    });
    let mut text = URL_SAFE_NO_PAD.encode(header);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut text);
    let signature = key.pair.sign(text.as_bytes());
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut text);
    Ok(text)
}

/// A fresh idempotency key: 128 random bits.
///
/// # Errors
/// [`OperatorKeyError::Randomness`].
pub fn idempotency_key() -> Result<String, OperatorKeyError> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| OperatorKeyError::Randomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes).replace('-', "x").replace('_', "y"))
}

/// Claims over the data folder's socket.
///
/// # Errors
/// The service's refusal, or that the socket does not answer.
pub async fn claim(socket: &Path, name: &str, key: &OperatorKey) -> Result<Operator, Problem> {
    let body = ClaimRequest {
        name: name.to_owned(),
        public_key: key.public(),
    };
    let bytes = serde_json::to_vec(&body).map_err(|error| local("claim.request", &error))?;
    let stream = tokio::net::UnixStream::connect(socket).await.map_err(|error| {
        let mut problem = local(
            "claim.unreachable",
            &format_args!("`{}`: {error}", socket.display()),
        );
        problem.hint = Some("is the service running with this data folder, as this user?".to_owned());
        problem
    })?;
    let request = Request::builder()
        .method(Method::POST)
        .uri("/claim")
        .header(header::HOST, "claim.invalid")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(bytes)))
        .map_err(|error| local("claim.request", &error))?;
    let (status, bytes) = ask_socket(stream, request)
        .await
        .map_err(|error| local("claim.unreachable", &error))?;
    if status.is_success() {
        return serde_json::from_slice(&bytes).map_err(|error| local("claim.answer", &error));
    }
    Err(serde_json::from_slice(&bytes).unwrap_or_else(|error| local("claim.answer", &error)))
}

/// One request over the data folder's socket, to which `stream` leads.
///
/// # Errors
/// When the connection breaks.
pub async fn ask_socket(
    stream: tokio::net::UnixStream,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), hyper::Error> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    crate::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the socket ended");
        }
    });
    let reply = sender.send_request(request).await?;
    let status = reply.status();
    Ok((status, reply.into_body().collect().await?.to_bytes()))
}

/// A problem found on this side of the wire.
fn local(code: &str, what: &dyn std::fmt::Display) -> Problem {
    Problem {
        kind: "about:blank".to_owned(),
        title: "claim failed".to_owned(),
        status: 400,
        code: code.to_owned(),
        detail: what.to_string(),
        hint: None,
    }
}

/// A key pair for `private_key_jwt`: the private key as PEM, for a file of its owner, and the public JWK.
///
/// # Errors
/// When the algorithm is none of RS256, ES256, EdDSA, or randomness fails.
pub fn generate_client_key(algorithm: &str) -> anyhow::Result<(Secret<String>, serde_json::Value)> {
    let known = SigningAlgorithm::parse(algorithm)
        .with_context(|| format!("`{algorithm}` is none of RS256, ES256, EdDSA"))?;
    let key = ClientKey::generate(known, &SystemEntropy)?;
    Ok((
        key.to_pem(),
        serde_json::Value::Object(key.public_jwk().to_json()),
    ))
}
