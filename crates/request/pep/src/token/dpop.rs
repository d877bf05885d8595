//! Proofs of possession (RFC 9449): who presents a token, or asks for one, holds this key, now and here.
//!
//! A proof is for one method, one place, a minute, and one use. It carries a nonce that this process gave, so that
//! none was made long before, and none that another node took is taken here. What it says about itself is looked at
//! before its signature; it is used up only once the caller is known, so that strangers fill no memory.

use std::time::Duration;

use bailiwick_base::{Compact, CompactError, Digest, Sha256, SigningAlgorithm, Time};
use http::{HeaderMap, Method, Uri};
use serde_json::{Map, Value};

use super::claims::{seconds, text};
use super::error::TokenError;
use super::nonce::{Nonces, TurnNonces};
use super::replay::{ReplayMemory, Seen};

/// The header of a proof (RFC 9449 §4.1), and the one with the nonce for the next (§8).
pub const PROOF_HEADER: &str = "dpop";
/// The header with the nonce for the next proof.
pub const NONCE_HEADER: &str = "dpop-nonce";
/// RFC 9449 §4.2.
const PROOF_TYPE: &str = "dpop+jwt";
/// Bytes of a proof: a header with its key, and a few short claims.
const PROOF_MAX: usize = 4_096;

/// How proofs are judged.
#[derive(Debug, Clone)]
pub struct ProofConfig {
    /// How old a proof may be. Default 60 s.
    pub past_max: Duration,
    /// How far ahead of ours the clock of its maker may run. Default 30 s.
    pub ahead_max: Duration,
    /// Proofs that are remembered as used, in all. Default 262,144.
    pub remembered_max: usize,
    /// The same for one client. Default 65,536.
    pub remembered_per_client_max: usize,
}

impl Default for ProofConfig {
    fn default() -> Self {
        Self {
            past_max: Duration::from_secs(60),
            ahead_max: Duration::from_secs(30),
            remembered_max: 262_144,
            remembered_per_client_max: 65_536,
        }
    }
}

/// Why a proof is refused: `use_dpop_nonce` or `invalid_dpop_proof` on the wire. Echoes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// A claim is missing or not of its form.
    #[error("claim `{claim}` of the proof is not usable: {rule}")]
    Claim {
        /// Which.
        claim: &'static str,
        /// What it has to be.
        rule: &'static str,
    },
    /// Made with another key than the one that is asked for.
    #[error("proof is made with another key than the token is bound to")]
    Key,
    /// For another method.
    #[error("proof is for another method: `htm` has to be that of the request")]
    Method,
    /// There is none.
    #[error("header `dpop` is missing: sign a proof for this request")]
    Missing,
    /// Without a nonce of ours that still counts.
    #[error("proof needs the nonce of the header `dpop-nonce`: sign it again with that one")]
    Nonce,
    /// For another place.
    #[error("proof is for another URL: `htu` has to be that of the request")]
    Place,
    /// It was used before.
    #[error("proof was used before: sign a new one with a new `jti` for every request")]
    Replayed,
    /// There are several.
    #[error("header `dpop` stands there more than once")]
    Several,
    /// The signature or the shape is wrong.
    #[error("proof is not usable: {0}")]
    Shape(#[from] CompactError),
    /// Too old, or from the future.
    #[error("proof is too old or from the future: sign one for every request, and check the clock")]
    Time,
    /// For another token, or for none.
    #[error("proof is for another token: `ath` has to be the hash of the one presented")]
    Token,
    /// So many live proofs that no more can be remembered.
    #[error("too many proofs at once: wait a minute")]
    TooMany,
    /// Another kind of token.
    #[error("proof is of another type than `dpop+jwt`")]
    Type,
}

impl ProofError {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Claim { .. } => "dpop.claim-invalid",
            Self::Key => "dpop.key",
            Self::Method => "dpop.method",
            Self::Missing => "dpop.missing",
            Self::Nonce => "dpop.nonce",
            Self::Place => "dpop.place",
            Self::Replayed => "dpop.replayed",
            Self::Several => "dpop.several",
            Self::Shape(_) => "dpop.shape",
            Self::Time => "dpop.time",
            Self::Token => "dpop.token",
            Self::TooMany => "dpop.too-many",
            Self::Type => "dpop.type",
        }
    }

    /// The error of RFC 9449 §5 and §7.1.
    #[must_use]
    pub const fn oauth(self) -> &'static str {
        match self {
            Self::Nonce => "use_dpop_nonce",
            _ => "invalid_dpop_proof",
        }
    }
}

/// What a request is, as far as a proof speaks of it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Method.
    pub method: &'a Method,
    /// Path; scheme and authority are those under which we are reached.
    pub path: &'a str,
}

/// A proof that holds. It counts once it is used up: [`ProofVerifier::take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a proof counts only once it is used up"]
pub struct Proof {
    /// Thumbprint of the key (RFC 7638): `jkt`.
    key: Digest,
    /// SHA-256 over thumbprint and `jti`.
    once: Digest,
    ends_at: Time,
}

impl Proof {
    /// Thumbprint of the key that made it.
    #[must_use]
    pub const fn key(&self) -> Digest {
        self.key
    }
}

/// Verifies proofs and remembers each until it ends. One per process.
pub struct ProofVerifier<N: Nonces = TurnNonces> {
    config: ProofConfig,
    base: Option<Origin>,
    nonces: N,
    used: ReplayMemory,
}

impl ProofVerifier {
    /// Algorithms that a proof may be signed with. RSA is not among them: its keys are large, and whoever sends one
    /// chooses what verifying it costs.
    pub const ALGORITHMS: [SigningAlgorithm; 2] = [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa];

    /// The one proof of a request; `None` when it has none.
    ///
    /// # Errors
    /// [`ProofError::Several`].
    pub fn of(headers: &HeaderMap) -> Result<Option<&[u8]>, ProofError> {
        let mut values = headers.get_all(PROOF_HEADER).iter();
        match (values.next(), values.next()) {
            (Some(_), Some(_)) => Err(ProofError::Several),
            (one, _) => Ok(one.map(http::HeaderValue::as_bytes)),
        }
    }
}

impl<N: Nonces> ProofVerifier<N> {
    /// A verifier for what is reached under `base_url`. A base URL that is none matches no proof.
    #[must_use]
    pub fn new(config: ProofConfig, base_url: &str, nonces: N) -> Self {
        let used = ReplayMemory::new(config.remembered_max, config.remembered_per_client_max);
        Self {
            config,
            base: Origin::parse(base_url).map(|(origin, _)| origin),
            nonces,
            used,
        }
    }

    /// The nonce for the next proof.
    #[must_use]
    pub fn nonce(&self, now: Time) -> String {
        self.nonces.present(now)
    }

    /// Verifies a proof for a request; `token` is the hash of the access token that is presented with it.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(
        &self,
        proof: &[u8],
        place: Place<'_>,
        token: Option<&Digest>,
        now: Time,
    ) -> Result<Proof, ProofError> {
        if proof.len() > PROOF_MAX {
            return Err(ProofError::Shape(CompactError::TooLong));
        }
        let (compact, key) = Compact::parse_proof(proof)?;
        if compact.header().typ.as_deref() != Some(PROOF_TYPE) {
            return Err(ProofError::Type);
        }
        if !ProofVerifier::ALGORITHMS.contains(&compact.header().algorithm) {
            return Err(ProofError::Shape(CompactError::Algorithm));
        }
        let claims = compact.untrusted_claims()?;
        let jti = text(&claims, "jti").map_err(claim)?;
        let issued_at = self.require_here_and_now(&claims, place, now)?;
        if let Some(token) = token {
            let said = claims.get("ath").and_then(Value::as_str);
            if said != Some(token.to_base64url().as_str()) {
                return Err(ProofError::Token);
            }
        }
        self.require_nonce(&claims, now)?;
        compact.verify(&key)?;
        let key = key.thumbprint_digest();
        Ok(Proof {
            key,
            once: once(&key, &jti),
            // A second more than it is taken for.
            ends_at: issued_at.after(self.config.past_max + Duration::from_secs(1)),
        })
    }

    /// Uses a proof up, for a caller that is known by now.
    ///
    /// # Errors
    /// [`ProofError::Replayed`], [`ProofError::TooMany`].
    pub fn take(&self, proof: &Proof, caller: Digest, now: Time) -> Result<(), ProofError> {
        match self.used.take(caller, proof.once, proof.ends_at, now) {
            Ok(()) => Ok(()),
            Err(Seen::Before) => Err(ProofError::Replayed),
            Err(Seen::Full) => Err(ProofError::TooMany),
        }
    }

    fn require_here_and_now(
        &self,
        claims: &Map<String, Value>,
        place: Place<'_>,
        now: Time,
    ) -> Result<Time, ProofError> {
        if claims.get("htm").and_then(Value::as_str) != Some(place.method.as_str()) {
            return Err(ProofError::Method);
        }
        let said = claims.get("htu").and_then(Value::as_str).and_then(Origin::parse);
        let here =
            said.is_some_and(|(origin, path)| Some(&origin) == self.base.as_ref() && path == place.path);
        if !here {
            return Err(ProofError::Place);
        }
        let issued_at = seconds(claims, "iat").map_err(claim)?;
        if issued_at.after(self.config.past_max) < now || issued_at > now.after(self.config.ahead_max) {
            return Err(ProofError::Time);
        }
        Ok(issued_at)
    }

    /// Asked for last, so that whoever is sent for a nonce needs nothing else.
    fn require_nonce(&self, claims: &Map<String, Value>, now: Time) -> Result<(), ProofError> {
        match claims.get("nonce") {
            Some(Value::String(nonce)) if self.nonces.accepts(nonce, now) => Ok(()),
            None | Some(Value::String(_)) => Err(ProofError::Nonce),
            Some(_) => Err(ProofError::Claim {
                claim: "nonce",
                rule: "it has to be text",
            }),
        }
    }
}

/// Where something is served: scheme, host and port, in one spelling (RFC 3986 §6.2.2, §6.2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    https: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of a URL and its path, without query and fragment. Neither user information nor dot segments:
    /// nobody who means our doors writes them.
    fn parse(url: &str) -> Option<(Self, String)> {
        let uri: Uri = url.parse().ok()?;
        let https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        let path = uri.path();
        if authority.as_str().contains('@') || path.split('/').any(|part| matches!(part, "." | "..")) {
            return None;
        }
        let port = match authority.port_u16() {
            Some(port) => port,
            // A port that is there and no number.
            None if authority.as_str().len() != authority.host().len() => return None,
            None if https => 443,
            None => 80,
        };
        let origin = Self {
            https,
            host: authority.host().to_ascii_lowercase(),
            port,
        };
        Some((origin, if path.is_empty() { "/" } else { path }.to_owned()))
    }
}

fn claim(error: TokenError) -> ProofError {
    match error {
        TokenError::Claim { claim, rule } => ProofError::Claim { claim, rule },
        _ => ProofError::Shape(CompactError::Json),
    }
}

fn once(key: &Digest, jti: &str) -> Digest {
    let mut hash = Sha256::new();
    hash.update_field(&key.0);
    hash.update_field(jti.as_bytes());
    hash.finish()
}
