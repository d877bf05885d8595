//! OAuth clients: who may ask for tokens with which key.

use bailiwick_base::{
    ClientId, Digest, IdentityId, PublicKey, SigningAlgorithm, Time, Transition, canonical,
};

use crate::limits::Limits;
use crate::model::{Client, ClientProof};
use crate::refusal::Refusal;
use crate::task::{ending, required};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct ClientRegistration {
    /// Its id, freshly minted; the tenant is the id's.
    pub id: ClientId,
    /// The identity it authenticates.
    pub identity: IdentityId,
    /// When that identity ends; the client ends no later.
    pub identity_expires_at: Time,
    /// The public key as a JWK, as its owner sent it.
    pub jwk: Vec<u8>,
    /// The algorithm its owner means to use; taken from the key when absent.
    pub algorithm: Option<SigningAlgorithm>,
    /// Until when assertions are taken.
    pub expires_at: Time,
    /// What its tokens are to be bound to.
    pub proof: ClientProof,
    /// SHA-256 of its certificate.
    pub certificate: Option<Digest>,
}

/// Registers a client with one public key. What is kept is the bare key in canonical form.
///
/// # Errors
/// [`Refusal`] when the key is private, weak or of another kind than asked for, or the expiry does not fit.
pub fn register_client(
    wanted: ClientRegistration,
    limits: &Limits,
    now: Time,
) -> Result<Transition<Client>, Refusal> {
    if wanted.id.tenant() != wanted.identity.tenant() {
        return Err(Refusal::OtherOwner("identity"));
    }
    let key = PublicKey::parse_jwk(&wanted.jwk).map_err(Refusal::ClientKey)?;
    if let Some(algorithm) = wanted.algorithm.filter(|algorithm| *algorithm != key.algorithm()) {
        let (wanted, found) = (algorithm.as_str(), key.algorithm().as_str());
        return Err(Refusal::ClientAlgorithm { wanted, found });
    }
    let latest = [now.after(limits.client_lifetime_max), wanted.identity_expires_at];
    let expires_at = ending(wanted.expires_at, latest, now)?;
    let jwk = canonical::to_vec(&key.to_jwk())
        .map_err(|_| Refusal::ClientKey(bailiwick_base::PublicKeyError::Weak("it has no canonical form")))?;
    let client = Client {
        id: wanted.id,
        identity: wanted.identity,
        algorithm: key.algorithm(),
        jwk,
        created_at: now,
        expires_at,
        proof: wanted.proof,
        certificate: wanted.certificate,
    };
    Ok(Transition::made("client.register", client))
}

/// Ends the registration: no assertion of its key is taken, no token of its is renewed. What it holds lives on for at
/// most the life of a token, unless it is killed.
///
/// # Errors
/// [`Refusal::ClientRemoved`], [`Refusal::ReasonMissing`].
pub fn remove_client(client: Client, reason: &str, now: Time) -> Result<Transition<Client>, Refusal> {
    if client.expires_at <= now {
        return Err(Refusal::ClientRemoved(client.expires_at));
    }
    let reason = required(reason, "reason", Refusal::ReasonMissing)?;
    let after = Client {
        expires_at: now,
        ..client.clone()
    };
    Ok(Transition::changed("client.remove", client, after).because(reason))
}
