//! Key pairs of OAuth clients, for the command line and for tests: made here, kept by their owner.

use std::time::Duration;

use bailiwick_base::{Entropy, Secret, SigningAlgorithm, Time};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use zeroize::Zeroizing;

use crate::error::KeysError;
use crate::jwk::PublicJwk;
use crate::jws;
use crate::signer::{Pkcs8, TokenSigner};

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
const PEM_MAX: usize = 16 * 1024;

/// What a client assertion says (RFC 7523 §3).
#[derive(Debug, Clone)]
pub struct AssertionPlan<'a> {
    /// `aud`: the issuer identifier of the tenant, and nothing else.
    pub issuer: &'a str,
    /// `iss` and `sub`: the client.
    pub client: &'a str,
    /// `jti`: never used before.
    pub token: &'a str,
    /// `iat`.
    pub now: Time,
    /// `exp` is so much later; at most five minutes are accepted.
    pub ttl: Duration,
}

/// A client's key pair.
pub struct ClientKey {
    signer: TokenSigner,
    pkcs8: Pkcs8,
}

impl ClientKey {
    /// Makes a key pair. RSA takes about a tenth of a second.
    ///
    /// # Errors
    /// [`KeysError::Generate`], [`KeysError::Entropy`].
    pub fn generate(algorithm: SigningAlgorithm, entropy: &dyn Entropy) -> Result<Self, KeysError> {
        let pkcs8 = TokenSigner::generate(algorithm, entropy)?;
        Ok(Self {
            signer: TokenSigner::from_pkcs8(algorithm, &pkcs8)?,
            pkcs8,
        })
    }

    /// Reads the private key back from PKCS #8 PEM (RFC 7468 §10); the algorithm follows from the key.
    ///
    /// # Errors
    /// [`KeysError::PrivateKey`]; says nothing about the content.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeysError> {
        let pkcs8 = decode_pem(pem).ok_or(KeysError::PrivateKey)?;
        SigningAlgorithm::ALL
            .into_iter()
            .find_map(|algorithm| TokenSigner::from_pkcs8(algorithm, &pkcs8).ok())
            .map(|signer| Self { signer, pkcs8 })
            .ok_or(KeysError::PrivateKey)
    }

    /// The private key as PKCS #8 PEM, for a file with mode 0600.
    #[must_use]
    pub fn to_pem(&self) -> Secret<String> {
        let body = Zeroizing::new(STANDARD.encode(self.pkcs8.as_slice()));
        let mut pem = String::with_capacity(body.len() + body.len() / 64 + 64);
        pem.push_str(PEM_BEGIN);
        for (at, character) in body.chars().enumerate() {
            if at % 64 == 0 {
                pem.push('\n');
            }
            pem.push(character);
        }
        pem.push('\n');
        pem.push_str(PEM_END);
        pem.push('\n');
        Secret::new(pem)
    }

    /// The algorithm of the pair.
    #[must_use]
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.signer.algorithm()
    }

    /// The public half, for registration.
    #[must_use]
    pub fn public_jwk(&self) -> PublicJwk {
        self.signer.public_jwk()
    }

    /// Signs anything with this key; assertions go through [`ClientKey::sign_assertion`].
    #[must_use]
    pub const fn signer(&self) -> &TokenSigner {
        &self.signer
    }

    /// A client assertion for the token endpoint.
    ///
    /// # Errors
    /// [`KeysError::Sign`].
    pub fn sign_assertion(&self, plan: &AssertionPlan<'_>) -> Result<String, KeysError> {
        let claims = json!({
            "iss": plan.client,
            "sub": plan.client,
            "aud": plan.issuer,
            "jti": plan.token,
            "iat": plan.now.secs(),
            "exp": plan.now.after(plan.ttl).secs(),
        });
        jws::encode(&self.signer, jws::CLIENT_ASSERTION, claims.to_string().as_bytes())
    }
}

fn decode_pem(pem: &[u8]) -> Option<Pkcs8> {
    let text = std::str::from_utf8(pem.get(..PEM_MAX).unwrap_or(pem)).ok()?;
    let body = text.trim().strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
    let mut packed = Zeroizing::new(String::with_capacity(body.len()));
    packed.extend(body.chars().filter(|c| !matches!(c, '\n' | '\r')));
    let mut der = Zeroizing::new(vec![0; base64::decoded_len_estimate(packed.len())]);
    let length = STANDARD.decode_slice(packed.as_bytes(), &mut der).ok()?;
    der.truncate(length);
    Some(der)
}
