//! A consent: an operator's word that a client may have tokens of one task, and how far it was used.
//!
//! Everything issued under it stands on its `token`: one mark on that ends all of it.

use std::time::Duration;

use bailiwick_base::{ConsentId, Digest, Epoch, IdentityId, TaskId, Time, TokenId, Transition};

use super::pkce::Challenge;
use crate::model::{Claims, Link, ScopeSet, Task, TaskState};
use crate::refusal::Refusal;

/// What an operator agreed to, and how far it was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// Its id, tenant included.
    pub id: ConsentId,
    /// What everything issued under it stands on.
    pub token: TokenId,
    /// `client_id` as the client names itself.
    pub client: String,
    /// Where its browser is sent back to.
    pub redirect: String,
    /// What its code has to be proven with.
    pub challenge: Challenge,
    /// The task that bounds it.
    pub task: TaskId,
    /// Who acts: the identity of the task.
    pub identity: IdentityId,
    /// What its tokens may carry at most.
    pub scopes: ScopeSet,
    /// The revocation epoch at which it was given: a later kill of anything it rests on ends it.
    pub epoch: Epoch,
    /// What the identity was made of then, where it had said so: with another composition the consent serves no more.
    pub composition: Option<Digest>,
    /// Who agreed.
    pub given_by: String,
    /// When.
    pub created_at: Time,
    /// When it ends: with its task.
    pub expires_at: Time,
    /// Until when its code can be redeemed.
    pub code_until: Time,
    /// When its code was redeemed: once.
    pub redeemed_at: Option<Time>,
    /// How often it was renewed; 1 with the redemption, 0 before.
    pub generation: u32,
    /// Keyed digest of the one refresh token that serves.
    pub refresh: Option<Digest>,
}

/// Why a code or a refresh token does not serve. Each but [`ConsentFault::Late`] is a sign that it is in other hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConsentFault {
    /// Its time has passed.
    #[error("it has expired: begin again")]
    Late,
    /// It is bound to something else.
    #[error("it is bound to another {0}")]
    Other(&'static str),
    /// It was used before.
    #[error("it was used before: everything that was issued from it is revoked")]
    Used,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct ConsentPlan<'a> {
    /// Its id, freshly minted.
    pub id: ConsentId,
    /// What its tokens stand on, freshly minted.
    pub token: TokenId,
    /// `client_id`.
    pub client: String,
    /// Where the browser goes back to.
    pub redirect: String,
    /// What the code has to be proven with.
    pub challenge: Challenge,
    /// The task.
    pub task: &'a Task,
    /// The coarse scopes of its grant.
    pub granted: &'a ScopeSet,
    /// What the client asked for; everything granted when absent.
    pub requested: Option<&'a ScopeSet>,
    /// The epoch that holds.
    pub epoch: Epoch,
    /// What the identity is made of, where it has said so.
    pub composition: Option<Digest>,
    /// Who agrees.
    pub given_by: String,
    /// How long the browser has to come back for its code, and the client to redeem it.
    pub code_ttl: Duration,
}

/// What of `granted` was asked for: a wide wish (`files:*`) gets what there is of it, and nothing more.
#[must_use]
pub fn common_scopes(granted: &ScopeSet, requested: &ScopeSet) -> ScopeSet {
    let asked = requested.iter().filter(|scope| granted.covers(scope));
    let held = granted.iter().filter(|scope| requested.covers(scope));
    asked.chain(held).map(str::to_owned).collect()
}

/// Writes down that an operator agreed.
///
/// # Errors
/// [`Refusal`] when the task does not serve or grants nothing of what was asked for.
pub fn give_consent(plan: ConsentPlan<'_>, now: Time) -> Result<Transition<Consent>, Refusal> {
    let task = plan.task;
    if plan.id.tenant() != task.id.tenant() || plan.token.tenant() != task.id.tenant() {
        return Err(Refusal::OtherOwner("task"));
    }
    if let TaskState::Closed { at, .. } = task.state {
        return Err(Refusal::TaskClosed(at));
    }
    if task.closes_at <= now {
        return Err(Refusal::TaskEnded(task.closes_at));
    }
    let scopes = match plan.requested.filter(|scopes| !scopes.is_empty()) {
        None => plan.granted.clone(),
        Some(requested) => common_scopes(plan.granted, requested),
    };
    if scopes.is_empty() {
        return Err(Refusal::ConsentEmpty);
    }
    let consent = Consent {
        id: plan.id,
        token: plan.token,
        client: plan.client,
        redirect: plan.redirect,
        challenge: plan.challenge,
        task: task.id.clone(),
        identity: task.identity.clone(),
        scopes,
        epoch: plan.epoch,
        composition: plan.composition,
        given_by: plan.given_by,
        created_at: now,
        expires_at: task.closes_at,
        code_until: now.after(plan.code_ttl).min(task.closes_at),
        redeemed_at: None,
        generation: 0,
        refresh: None,
    };
    Ok(Transition::made("consent.give", consent))
}

impl Consent {
    /// Who redeems has to be who asked, and to be asked back where it said.
    ///
    /// # Errors
    /// [`ConsentFault::Used`], [`ConsentFault::Other`], [`ConsentFault::Late`].
    pub fn require_redeemable(
        &self,
        client: &str,
        redirect: &str,
        verifier: &str,
        now: Time,
    ) -> Result<(), ConsentFault> {
        if self.client != client {
            return Err(ConsentFault::Other("client"));
        }
        if self.redeemed_at.is_some() {
            return Err(ConsentFault::Used);
        }
        if self.redirect != redirect {
            return Err(ConsentFault::Other("redirect URI"));
        }
        if !self.challenge.is_of(verifier) {
            return Err(ConsentFault::Other("code verifier"));
        }
        if now >= self.code_until {
            return Err(ConsentFault::Late);
        }
        Ok(())
    }

    /// A refresh token of `generation` with this keyed digest is the one that serves.
    ///
    /// # Errors
    /// [`ConsentFault::Other`], [`ConsentFault::Used`], [`ConsentFault::Late`].
    pub fn require_renewable(
        &self,
        client: &str,
        generation: u32,
        digest: Digest,
        now: Time,
    ) -> Result<(), ConsentFault> {
        if self.client != client {
            return Err(ConsentFault::Other("client"));
        }
        if generation != self.generation || self.refresh != Some(digest) {
            return Err(ConsentFault::Used);
        }
        if now >= self.expires_at {
            return Err(ConsentFault::Late);
        }
        Ok(())
    }

    /// The consent as the bearer of itself: whoever renews under it is judged like the holder of a token that was
    /// issued when it was given.
    #[must_use]
    pub fn claims(&self, issuer: &str, audience: &str) -> Claims {
        Claims {
            issuer: issuer.to_owned(),
            subject: self.identity.to_string(),
            audience: audience.to_owned(),
            client: self.client.clone(),
            issued_at: self.created_at,
            expires_at: self.expires_at,
            token: self.token.clone(),
            tenant: self.id.tenant().clone(),
            nhi: self.identity.clone(),
            task: self.task.clone(),
            epoch: self.epoch,
            scopes: self.scopes.clone(),
            act: smallvec::SmallVec::new(),
            may_act: Vec::new(),
            lineage: Vec::new(),
            confirmation: None,
            composition: self.composition,
        }
    }

    /// What every token of it names.
    #[must_use]
    pub fn link(&self) -> Link {
        Link {
            token: self.token.clone(),
            task: self.task.clone(),
            trust: None,
        }
    }
}

/// Redeems the code, once; `refresh` is the first refresh token's keyed digest.
///
/// # Errors
/// [`ConsentFault::Used`].
pub fn redeem(consent: Consent, refresh: Digest, now: Time) -> Result<Transition<Consent>, ConsentFault> {
    if consent.redeemed_at.is_some() || consent.generation != 0 {
        return Err(ConsentFault::Used);
    }
    let after = Consent {
        redeemed_at: Some(now),
        generation: 1,
        refresh: Some(refresh),
        ..consent.clone()
    };
    Ok(Transition::changed("consent.redeem", consent, after))
}

/// Replaces the refresh token of `generation` by the next.
///
/// # Errors
/// [`ConsentFault::Used`] when another one serves by now.
pub fn renew(
    consent: Consent,
    generation: u32,
    used: Digest,
    next: Digest,
) -> Result<Transition<Consent>, ConsentFault> {
    let following = generation.checked_add(1).ok_or(ConsentFault::Late)?;
    if consent.generation != generation || consent.refresh != Some(used) {
        return Err(ConsentFault::Used);
    }
    let after = Consent {
        generation: following,
        refresh: Some(next),
        ..consent.clone()
    };
    Ok(Transition::changed("consent.renew", consent, after))
}
