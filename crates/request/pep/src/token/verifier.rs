//! From text to claims.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{Compact, Digest, TenantId, Time};
use bailiwick_credential::Claims;
use bailiwick_decide::Bearer;
use serde_json::Value;

use super::cache::{Entry, VerifiedCache};
use super::claims::Registered;
use super::error::TokenError;
use super::keys::{IssuerKeys, KeySource};
use super::profile::{Profile, TaskToken};

/// The type of an access token (RFC 9068 §2.1).
const ACCESS_TOKEN: &str = "at+jwt";

/// How tokens are judged.
#[derive(Debug, Clone)]
pub struct VerifierConfig {
    /// Difference between clocks that is borne with. Default 30 s.
    pub leeway: Duration,
    /// The longest `exp - iat`. Default 3,600 s.
    pub lifetime_max: Duration,
    /// Tokens that are remembered. Default 65,536; zero turns the memory off.
    pub remembered_max: usize,
}

impl Default for VerifierConfig {
    fn default() -> Self {
        Self {
            leeway: Duration::from_secs(30),
            lifetime_max: Duration::from_secs(3_600),
            remembered_max: 65_536,
        }
    }
}

/// A token that was verified, with the hash that names it in records.
#[derive(Debug, Clone)]
pub struct VerifiedToken<C = Arc<Claims>> {
    /// What it says.
    pub claims: C,
    /// SHA-256 of its text.
    pub token_hash: Digest,
    /// The tenant whose issuer signed it.
    pub tenant: TenantId,
    /// `exp`.
    pub expires_at: Time,
}

impl<C: Clone> VerifiedToken<C> {
    pub(super) fn of<P: Profile<Claims = C>>(entry: &Entry<P>, token_hash: Digest) -> Self {
        Self {
            claims: entry.claims.clone(),
            token_hash,
            tenant: entry.registered.tenant.clone(),
            expires_at: entry.registered.expires_at,
        }
    }
}

impl VerifiedToken {
    /// The caller in the words of the decision point.
    #[must_use]
    pub fn bearer(&self) -> Bearer {
        Bearer {
            claims: self.claims.clone(),
            token_hash: self.token_hash,
        }
    }
}

/// Verifies access tokens. One per process.
pub struct Verifier<P: Profile = TaskToken> {
    keys: Arc<KeySource>,
    config: VerifierConfig,
    cache: VerifiedCache<P>,
    profile: PhantomData<fn() -> P>,
}

impl<P: Profile> Verifier<P> {
    /// A verifier that believes the issuers in `keys`.
    #[must_use]
    pub fn new(keys: Arc<KeySource>, config: VerifierConfig) -> Self {
        let cache = VerifiedCache::new(config.remembered_max);
        Self {
            keys,
            config,
            cache,
            profile: PhantomData,
        }
    }

    /// Verifies a token that whoever has it may use, at a door of `tenant`. Where there is a request, ask
    /// [`Verifier::verify_presented`].
    ///
    /// # Errors
    /// [`TokenError`]; a token of another tenant is [`TokenError::Tenant`], one that is bound to a sender
    /// [`TokenError::SenderConstrained`].
    pub fn verify(
        &self,
        tenant: &TenantId,
        text: &[u8],
        now: Time,
    ) -> Result<VerifiedToken<P::Claims>, TokenError> {
        let token = self.verify_any(text, now)?;
        if token.tenant != *tenant {
            return Err(TokenError::Tenant);
        }
        Ok(token)
    }

    /// The same where the token alone says which tenant is meant.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify_any(&self, text: &[u8], now: Time) -> Result<VerifiedToken<P::Claims>, TokenError> {
        let (token_hash, entry) = self.entry(text, now)?;
        if entry.registered.confirmation.is_some() {
            return Err(TokenError::SenderConstrained);
        }
        Ok(VerifiedToken::of(&entry, token_hash))
    }

    /// Verifies a token without asking who sent it: to say something about it, never to act on it.
    ///
    /// # Errors
    /// [`TokenError`]; a token of another tenant is [`TokenError::Tenant`].
    pub fn verify_unshown(
        &self,
        tenant: &TenantId,
        text: &[u8],
        now: Time,
    ) -> Result<VerifiedToken<P::Claims>, TokenError> {
        let (token_hash, entry) = self.entry(text, now)?;
        if entry.registered.tenant != *tenant {
            return Err(TokenError::Tenant);
        }
        Ok(VerifiedToken::of(&entry, token_hash))
    }

    /// What a text says, when it is a living token of one of our issuers.
    pub(super) fn entry(&self, text: &[u8], now: Time) -> Result<(Digest, Arc<Entry<P>>), TokenError> {
        if text.len() > bailiwick_base::limits::TOKEN_MAX {
            return Err(TokenError::TooLong);
        }
        let token_hash = Digest::of(text);
        let entry = match self.recall(&token_hash) {
            Some(entry) => entry,
            None => self.read(text, token_hash, now)?,
        };
        if let Err(error) = entry.registered.require_alive(&self.config, now) {
            self.cache.remove(&token_hash);
            return Err(error);
        }
        Ok((token_hash, entry))
    }

    /// Forgets what was verified for a tenant, so that memory does not outlive it.
    pub fn forget(&self, tenant: &TenantId) {
        self.cache.forget(tenant);
    }

    /// How many tokens are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.cache.len()
    }

    /// What was verified before, while the issuer still has the very key set it was verified with.
    fn recall(&self, token_hash: &Digest) -> Option<Arc<Entry<P>>> {
        let entry = self.cache.lookup(token_hash)?;
        let current = self.keys.lookup(entry.issuer.issuer())?;
        (current.generation() == entry.issuer.generation()).then_some(entry)
    }

    fn read(&self, text: &[u8], token_hash: Digest, now: Time) -> Result<Arc<Entry<P>>, TokenError> {
        let token = Compact::parse(text)?;
        if token.header().typ.as_deref() != Some(ACCESS_TOKEN) {
            return Err(TokenError::Type);
        }
        let kid = token
            .header()
            .kid
            .as_deref()
            .ok_or(TokenError::Header("`kid` is missing"))?;
        let members = token.untrusted_claims()?;
        let issuer = self.issuer(members.get("iss"))?;
        token.verify(issuer.lookup(kid).ok_or(TokenError::KeyUnknown)?)?;
        let registered = Registered::read(&members, &issuer, &self.config)?;
        registered.require_alive(&self.config, now)?;
        let claims = P::admit(&registered, &members)?;
        let entry = Arc::new(Entry {
            registered,
            claims,
            issuer,
        });
        self.cache.insert(token_hash, entry.clone());
        Ok(entry)
    }

    fn issuer(&self, untrusted: Option<&Value>) -> Result<Arc<IssuerKeys>, TokenError> {
        untrusted
            .and_then(Value::as_str)
            .and_then(|iss| self.keys.lookup(iss))
            .ok_or(TokenError::Issuer)
    }
}
