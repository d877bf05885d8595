//! A token as a request shows it: under which scheme, with which proof, over which connection.

use bailiwick_base::{Digest, Sha256, TenantId, Time};
use bailiwick_credential::Confirmation;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method};

use super::bearer::is_token;
use super::dpop::{Place, ProofError, ProofVerifier};
use super::error::TokenError;
use super::profile::Profile;
use super::verifier::{VerifiedToken, Verifier};

/// SHA-256 of the certificate that the client of a connection proved to hold the key of. The listener puts it into
/// the extensions of every request; nobody else can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientCertificate(pub Digest);

/// What a request shows about its sender.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// Method.
    pub method: &'a Method,
    /// Path.
    pub path: &'a str,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// The client certificate of the connection.
    pub certificate: Option<Digest>,
}

/// How a token was sent (RFC 6750 §2.1, RFC 9449 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Bearer,
    Dpop,
}

impl<'a> Presented<'a> {
    /// Of a request.
    #[must_use]
    pub fn of(parts: &'a Parts) -> Self {
        Self {
            method: &parts.method,
            path: parts.uri.path(),
            headers: &parts.headers,
            certificate: parts.extensions.get::<ClientCertificate>().map(|c| c.0),
        }
    }

    /// Whether it speaks of proofs at all: it came with one, or under their scheme. It then gets a nonce.
    #[must_use]
    pub fn is_proving(&self) -> bool {
        let scheme = self.headers.get(AUTHORIZATION).map(http::HeaderValue::as_bytes);
        self.headers.contains_key(super::dpop::PROOF_HEADER)
            || scheme.is_some_and(|value| {
                value
                    .get(..5)
                    .is_some_and(|start| start.eq_ignore_ascii_case(b"dpop "))
            })
    }

    /// What a proof in it speaks of.
    #[must_use]
    pub const fn place(&self) -> Place<'a> {
        Place {
            method: self.method,
            path: self.path,
        }
    }

    /// The one token, and how it was sent.
    fn token(&self) -> Result<(Scheme, &'a [u8]), TokenError> {
        let mut values = self.headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(TokenError::Bearer);
        };
        let mut parts = value.as_bytes().splitn(2, |b| *b == b' ');
        let (Some(scheme), Some(token)) = (parts.next(), parts.next()) else {
            return Err(TokenError::Bearer);
        };
        let token = token.trim_ascii();
        let scheme = if scheme.eq_ignore_ascii_case(b"bearer") {
            Scheme::Bearer
        } else if scheme.eq_ignore_ascii_case(b"dpop") {
            Scheme::Dpop
        } else {
            return Err(TokenError::Bearer);
        };
        if is_token(token) {
            Ok((scheme, token))
        } else {
            Err(TokenError::Bearer)
        }
    }
}

impl<P: Profile> Verifier<P> {
    /// Verifies the token of a request, and that its sender is the one it is bound to. `tenant` is that of the door;
    /// without one, the token alone says which is meant.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify_presented(
        &self,
        proofs: &ProofVerifier,
        tenant: Option<&TenantId>,
        presented: &Presented<'_>,
        now: Time,
    ) -> Result<VerifiedToken<P::Claims>, TokenError> {
        let (scheme, text) = presented.token()?;
        let entry = self.entry(text, now)?;
        if tenant.is_some_and(|tenant| entry.1.registered.tenant != *tenant) {
            return Err(TokenError::Tenant);
        }
        let (token_hash, entry) = entry;
        match (scheme, entry.registered.confirmation) {
            (Scheme::Bearer, None) => {}
            (Scheme::Bearer, Some(Confirmation::Key(_))) => return Err(TokenError::SenderConstrained),
            (Scheme::Bearer, Some(Confirmation::Certificate(bound))) => {
                if presented.certificate != Some(bound) {
                    return Err(TokenError::Certificate);
                }
            }
            (Scheme::Dpop, Some(Confirmation::Key(bound))) => {
                let proof = ProofVerifier::of(presented.headers)?.ok_or(ProofError::Missing)?;
                let proof = proofs.verify(proof, presented.place(), Some(&token_hash), now)?;
                if proof.key() != bound {
                    return Err(TokenError::Proof(ProofError::Key));
                }
                let registered = &entry.registered;
                proofs.take(&proof, caller(&registered.tenant, &registered.client), now)?;
            }
            (Scheme::Dpop, Some(Confirmation::Certificate(_)) | None) => return Err(TokenError::NotBound),
        }
        Ok(VerifiedToken::of(&entry, token_hash))
    }
}

/// Whose share of what is remembered a proof takes.
#[must_use]
pub fn caller(tenant: &TenantId, client: &str) -> Digest {
    let mut hash = Sha256::new();
    hash.update_field(tenant.as_str().as_bytes());
    hash.update_field(client.as_bytes());
    hash.finish()
}
