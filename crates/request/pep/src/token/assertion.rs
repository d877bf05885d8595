//! Client assertions: `private_key_jwt` at the token endpoint (RFC 7523 §3, 7523bis).

use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{ClientId, Compact, Composition, Digest, PublicKey, Sha256, TenantId, Time};
use bailiwick_credential::Client;
use quick_cache::sync::Cache;
use serde_json::{Map, Value};

use super::claims::{is_audience, seconds, text};
use super::error::TokenError;
use super::replay::{ReplayMemory, Seen};

/// Types an assertion may have: none, the general one, or its own. Never that of an access token.
const TYPES: [&str; 2] = ["client-authentication+jwt", "jwt"];
/// Parsed keys of clients that are kept.
const KEYS_MAX: usize = 4_096;

/// How assertions are judged.
#[derive(Debug, Clone)]
pub struct AssertionConfig {
    /// How long after `exp` an assertion is still taken, for clocks that differ. Default 30 s.
    pub leeway: Duration,
    /// How far ahead of ours the clock of a client may run. This long after a start a client that was registered
    /// before has to wait, because what it signs could have been used before. Default 5 s.
    pub ahead_max: Duration,
    /// The longest time an assertion may have left, and have from `iat` to `exp`. Default 300 s.
    pub lifetime_max: Duration,
    /// Assertions that are remembered as used, in all. Default 262,144.
    pub remembered_max: usize,
    /// The same for one client. Default 16,384.
    pub remembered_per_client_max: usize,
}

impl Default for AssertionConfig {
    fn default() -> Self {
        Self {
            leeway: Duration::from_secs(30),
            ahead_max: Duration::from_secs(5),
            lifetime_max: Duration::from_secs(300),
            remembered_max: 262_144,
            remembered_per_client_max: 16_384,
        }
    }
}

/// Why an assertion is refused; `invalid_client` on the wire (RFC 6749 §5.2), but for [`AssertionError::TooEarly`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// Not for the issuer, or not for it alone.
    #[error("assertion is for another audience: `aud` has to be the issuer identifier and nothing else")]
    Audience,
    /// The client is not registered, or its registration ended.
    #[error("client is not registered, or its key has expired")]
    Client,
    /// It was used before.
    #[error("assertion was used before: sign a new one with a new `jti` for every request")]
    Replayed,
    /// It could have been used before this process began to remember. Found only after its signature was verified,
    /// so on the wire it is 503 with Retry-After: the client did nothing wrong.
    #[error("assertion could have been used before this server started: sign a new one {}", when(*.retry_after))]
    TooEarly {
        /// Seconds from now on which a new one passes, if the clocks agree.
        retry_after: u64,
    },
    /// The signature, the shape or a claim is wrong.
    #[error("assertion is not usable: {0}")]
    Token(#[from] TokenError),
    /// So many live assertions that no more can be remembered.
    #[error("too many assertions at once: wait a few minutes, or use a token for several requests")]
    TooMany,
}

fn when(retry_after: u64) -> String {
    match retry_after {
        0 => "now".to_owned(),
        seconds => format!("in {seconds} s"),
    }
}

impl AssertionError {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Audience => "assertion.audience",
            Self::Client => "assertion.client",
            Self::Replayed => "assertion.replayed",
            Self::TooEarly { .. } => "assertion.too-early",
            Self::Token(error) => error.code(),
            Self::TooMany => "assertion.too-many",
        }
    }
}

/// An assertion whose signature nobody has verified. It says which client to look up, and nothing else.
#[derive(Debug)]
pub struct UnverifiedAssertion<'a> {
    token: Compact<'a>,
    claims: Map<String, Value>,
    client: ClientId,
}

impl<'a> UnverifiedAssertion<'a> {
    /// Takes an assertion apart.
    ///
    /// # Errors
    /// [`AssertionError::Token`], or [`AssertionError::Client`] when it names no client of this form.
    pub fn parse(tenant: &TenantId, text: &'a [u8]) -> Result<Self, AssertionError> {
        let token = Compact::parse(text).map_err(TokenError::from)?;
        if token
            .header()
            .typ
            .as_deref()
            .is_some_and(|typ| !TYPES.contains(&typ))
        {
            return Err(AssertionError::Token(TokenError::Type));
        }
        let claims = token.untrusted_claims().map_err(TokenError::from)?;
        let client = claims
            .get("sub")
            .and_then(Value::as_str)
            .ok_or(AssertionError::Client)?;
        let client = ClientId::parse(tenant, client).map_err(|_| AssertionError::Client)?;
        Ok(Self {
            token,
            claims,
            client,
        })
    }

    /// The client it claims to be from.
    #[must_use]
    pub const fn untrusted_client(&self) -> &ClientId {
        &self.client
    }
}

/// A client that proved to hold its key, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedAssertion {
    /// Who.
    pub client: ClientId,
    /// SHA-256 over client and `jti`, for the record.
    pub token_hash: Digest,
    /// `exp`.
    pub expires_at: Time,
    /// `composition`: what it says its identity is made of.
    pub composition: Option<Composition>,
}

/// Verifies assertions and remembers each until it ends. One per process.
pub struct AssertionVerifier {
    config: AssertionConfig,
    used: ReplayMemory,
    keys: Cache<Digest, Arc<PublicKey>>,
    started_at: Time,
}

impl AssertionVerifier {
    /// A verifier that started now: what could have been used before is refused.
    #[must_use]
    pub fn new(config: AssertionConfig, started_at: Time) -> Self {
        let used = ReplayMemory::new(config.remembered_max, config.remembered_per_client_max);
        Self {
            config,
            used,
            keys: Cache::new(KEYS_MAX),
            started_at,
        }
    }

    /// Verifies an assertion with the key of the registered client it names, for this issuer, and uses it up.
    ///
    /// # Errors
    /// [`AssertionError`].
    pub fn verify(
        &self,
        assertion: &UnverifiedAssertion<'_>,
        client: &Client,
        issuer: &str,
        now: Time,
    ) -> Result<VerifiedAssertion, AssertionError> {
        if client.id != assertion.client || client.expires_at <= now {
            return Err(AssertionError::Client);
        }
        let key = self.key(client)?;
        if key.algorithm() != client.algorithm {
            return Err(AssertionError::Client);
        }
        assertion.token.verify(&key).map_err(TokenError::from)?;
        let claims = &assertion.claims;
        if claims.get("iss") != claims.get("sub") {
            let rule = "it has to be the client, as `sub` is";
            return Err(AssertionError::Token(TokenError::Claim { claim: "iss", rule }));
        }
        if !is_audience(claims.get("aud"), issuer) {
            return Err(AssertionError::Audience);
        }
        let expires_at = self.require_alive(claims, client, now)?;
        let composition = composition(claims)?;
        let jti = text(claims, "jti")?;
        let (owner, token_hash) = (hash(client, ""), hash(client, &jti));
        match self
            .used
            .take(owner, token_hash, expires_at.after(self.config.leeway), now)
        {
            Ok(()) => Ok(VerifiedAssertion {
                client: client.id.clone(),
                token_hash,
                expires_at,
                composition,
            }),
            Err(Seen::Before) => Err(AssertionError::Replayed),
            Err(Seen::Full) => Err(AssertionError::TooMany),
        }
    }

    fn require_alive(
        &self,
        claims: &Map<String, Value>,
        client: &Client,
        now: Time,
    ) -> Result<Time, AssertionError> {
        let (issued_at, expires_at) = (seconds(claims, "iat")?, seconds(claims, "exp")?);
        let not_before = claims
            .contains_key("nbf")
            .then(|| seconds(claims, "nbf"))
            .transpose()?;
        let latest = now.after(self.config.ahead_max);
        if now >= expires_at.after(self.config.leeway) {
            return Err(AssertionError::Token(TokenError::Expired));
        }
        if issued_at > latest || not_before.is_some_and(|at| at > latest) {
            return Err(AssertionError::Token(TokenError::NotYetValid));
        }
        if expires_at <= issued_at {
            // Within the leeway of its end it is still looked at: what has passed is called so.
            return Err(AssertionError::Token(if now >= expires_at {
                TokenError::Expired
            } else {
                let rule = "it has to be later than `iat`";
                TokenError::Claim { claim: "exp", rule }
            }));
        }
        let longest = self.config.lifetime_max;
        if expires_at.since(issued_at) > longest || expires_at > latest.after(longest) {
            return Err(AssertionError::Token(TokenError::Lifetime));
        }
        // Before the start, up to its very instant, everything up to this `iat` passed.
        let usable_before = self.started_at.after(self.config.ahead_max);
        if client.created_at < self.started_at && issued_at <= usable_before {
            return Err(AssertionError::TooEarly {
                retry_after: self.wait(now),
            });
        }
        Ok(expires_at)
    }

    /// Seconds until a client whose clock agrees with ours can sign what passes: `iat` holds whole seconds.
    fn wait(&self, now: Time) -> u64 {
        let first = self
            .started_at
            .after(self.config.ahead_max)
            .secs()
            .saturating_add(1);
        u64::try_from(first.saturating_sub(now.secs())).unwrap_or_default()
    }

    /// The registered key, parsed once.
    fn key(&self, client: &Client) -> Result<Arc<PublicKey>, AssertionError> {
        let place = Digest::of(&client.jwk);
        if let Some(key) = self.keys.get(&place) {
            return Ok(key);
        }
        let key = Arc::new(PublicKey::parse_jwk(&client.jwk).map_err(|_| AssertionError::Client)?);
        self.keys.insert(place, key.clone());
        Ok(key)
    }
}

fn composition(claims: &Map<String, Value>) -> Result<Option<Composition>, TokenError> {
    let stated = claims.get("composition").map(Composition::from_json).transpose();
    stated.map_err(|e| TokenError::Claim {
        claim: e.field,
        rule: e.rule,
    })
}

fn hash(client: &Client, jti: &str) -> Digest {
    let mut hash = Sha256::new();
    hash.update_field(client.id.tenant().as_str().as_bytes());
    hash.update_field(client.id.uuid().as_bytes());
    hash.update_field(jti.as_bytes());
    hash.finish()
}
