//! Issuing: what a token may say, worked out from the task, its grant and the caller's wish.

use std::time::Duration;

use bailiwick_base::{Digest, Epoch, Time, TokenId};

use crate::limits::Limits;
use crate::model::{Claims, Confirmation, ScopeSet, Task, TaskState};
use crate::refusal::Refusal;

/// Everything a token is made from.
#[derive(Debug, Clone)]
pub struct IssuePlan<'a> {
    /// The task it is for.
    pub task: &'a Task,
    /// When the identity of the task ends.
    pub identity_expires_at: Time,
    /// When the grant of the task ends.
    pub grant_expires_at: Time,
    /// The coarse scopes of the grant.
    pub granted: &'a ScopeSet,
    /// What the caller asked for (RFC 6749 §3.3); everything granted when absent.
    pub requested: Option<&'a ScopeSet>,
    /// How long it should live; never longer than the limits.
    pub ttl: Option<Duration>,
    /// `iss`.
    pub issuer: &'a str,
    /// `aud`.
    pub audience: &'a str,
    /// `client_id`.
    pub client: &'a str,
    /// `jti`, freshly minted.
    pub token: TokenId,
    /// The revocation epoch of the snapshot that permitted it.
    pub epoch: Epoch,
    /// What it is bound to.
    pub confirmation: Option<Confirmation>,
    /// What the identity is made of, as whoever asks states it.
    pub composition: Option<Digest>,
}

/// The claims of a new token. It dies with the first of: its lifetime, its task, its grant, its identity.
///
/// # Errors
/// [`Refusal`] when the task is closed, not open yet or over, or more is asked for than is granted.
pub fn issue(plan: IssuePlan<'_>, limits: &Limits, now: Time) -> Result<Claims, Refusal> {
    let task = plan.task;
    if task.id.tenant() != plan.token.tenant() || task.id.tenant() != task.identity.tenant() {
        return Err(Refusal::OtherOwner("task"));
    }
    if let TaskState::Closed { at, .. } = task.state {
        return Err(Refusal::TaskClosed(at));
    }
    if now < task.opens_at {
        return Err(Refusal::TaskNotOpen(task.opens_at));
    }
    let ends_at = task
        .closes_at
        .min(plan.identity_expires_at)
        .min(plan.grant_expires_at);
    let ttl = plan.ttl.unwrap_or(limits.token_ttl_max).min(limits.token_ttl_max);
    let issued_at = Time::from_secs(now.secs());
    let expires_at = Time::from_secs(issued_at.after(ttl).min(ends_at).secs());
    if expires_at <= issued_at {
        return Err(Refusal::TaskEnded(ends_at));
    }
    Ok(Claims {
        issuer: plan.issuer.to_owned(),
        subject: task.identity.to_string(),
        audience: plan.audience.to_owned(),
        client: plan.client.to_owned(),
        issued_at,
        expires_at,
        tenant: task.id.tenant().clone(),
        nhi: task.identity.clone(),
        task: task.id.clone(),
        epoch: plan.epoch,
        scopes: narrowed(plan.granted, plan.requested)?,
        act: smallvec::SmallVec::new(),
        may_act: task.may_act.clone(),
        lineage: Vec::new(),
        confirmation: plan.confirmation,
        composition: plan.composition,
        token: plan.token,
    })
}

fn narrowed(granted: &ScopeSet, requested: Option<&ScopeSet>) -> Result<ScopeSet, Refusal> {
    if granted.is_empty() {
        return Err(Refusal::NothingGranted);
    }
    let Some(requested) = requested.filter(|scopes| !scopes.is_empty()) else {
        return Ok(granted.clone());
    };
    match requested.iter().find(|scope| !granted.covers(scope)) {
        Some(wider) => Err(Refusal::ScopeNotGranted(bailiwick_base::limits::shown(wider))),
        None => Ok(requested.clone()),
    }
}
