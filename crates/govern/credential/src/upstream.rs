//! Credentials for upstream servers, held sealed elsewhere.

use bailiwick_base::{CredentialId, IdentityId, Time, Transition};

use crate::limits::Limits;
use crate::model::UpstreamCredential;
use crate::refusal::Refusal;
use crate::task::ending;

/// What is asked for. The secret itself never comes here.
#[derive(Debug, Clone)]
pub struct UpstreamSecretPlan {
    /// Its id, freshly minted; the tenant is the id's.
    pub id: CredentialId,
    /// The identity (kind MCP server) it opens.
    pub identity: IdentityId,
    /// Keyed fingerprint of the secret.
    pub fingerprint: String,
    /// When it must be replaced; after the longest life when absent.
    pub expires_at: Option<Time>,
}

/// Takes note of a credential that was sealed.
///
/// # Errors
/// [`Refusal`] when the expiry does not fit or the identity is another tenant's.
pub fn add_upstream_credential(
    plan: UpstreamSecretPlan,
    limits: &Limits,
    now: Time,
) -> Result<Transition<UpstreamCredential>, Refusal> {
    if plan.id.tenant() != plan.identity.tenant() {
        return Err(Refusal::OtherOwner("identity"));
    }
    let latest = now.after(limits.upstream_lifetime_max);
    let expires_at = ending(plan.expires_at.unwrap_or(latest), [latest], now)?;
    let credential = UpstreamCredential {
        id: plan.id,
        identity: plan.identity,
        fingerprint: plan.fingerprint,
        created_at: now,
        expires_at,
    };
    Ok(Transition::made("credential.add-upstream", credential))
}
