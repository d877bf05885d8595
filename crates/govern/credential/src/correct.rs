//! Setting right what was registered wrongly, and taking out what nobody needs. Neither touches a secret: what was
//! recorded before stays in the log, and the record of the change shows both forms.

use std::time::Duration;

use bailiwick_base::{IdentityId, Time, Transition};

use crate::limits::Limits;
use crate::place::{Target, require_target};
use crate::refusal::Refusal;
use crate::rotation::{known_consumers, policy_of, require_living};
use crate::task::{ending, required};
use crate::third_party::{Standing, ThirdParty, Turn};

/// What is to be otherwise; what is absent stays.
#[derive(Debug, Clone)]
pub struct Correction {
    /// The identity it proves.
    pub identity: Option<IdentityId>,
    /// When the identity that it proves then ends; the credential ends no later.
    pub identity_expires_at: Time,
    /// When it must not be used any more.
    pub expires_at: Option<Time>,
    /// Schedule.
    pub every: Option<Duration>,
    /// Overlap.
    pub overlap: Option<Duration>,
    /// Who is known to use it: all of them.
    pub consumers: Option<Vec<String>>,
    /// Where it is rotated by a driver.
    pub target: Option<Target>,
    /// Why; recorded.
    pub reason: String,
}

/// Corrects a registration.
///
/// # Errors
/// [`Refusal::RotationRunning`] while one is under way, [`Refusal::CredentialRevoked`], [`Refusal::SecretBelongs`]
/// when the new target does not name what the secret of the last rotation belongs to, or the field that does not fit.
pub fn correct(
    credential: ThirdParty,
    wanted: Correction,
    limits: &Limits,
    now: Time,
) -> Result<Transition<ThirdParty>, Refusal> {
    require_resting(&credential)?;
    let reason = required(&wanted.reason, "reason", Refusal::ReasonMissing)?;
    let identity = wanted.identity.unwrap_or_else(|| credential.identity.clone());
    if identity.tenant() != credential.id.tenant() {
        return Err(Refusal::OtherOwner("identity"));
    }
    let consumers = match &wanted.consumers {
        Some(names) => known_consumers(names)?,
        None => credential.consumers.clone(),
    };
    let target = match wanted.target {
        Some(target) => Some(placed(&credential, target)?),
        None => credential.target.clone(),
    };
    let every = wanted.every.unwrap_or(credential.policy.every);
    let overlap = wanted.overlap.unwrap_or(credential.policy.overlap);
    let policy = policy_of(credential.kind, Some(every), Some(overlap))?;
    let latest = [
        wanted.identity_expires_at,
        credential.created_at.max(now).after(limits.upstream_lifetime_max),
    ];
    let expires_at = match wanted.expires_at {
        Some(asked) => ending(asked, latest, now)?,
        // Another identity may end earlier than the one before.
        None => credential.expires_at.min(wanted.identity_expires_at),
    };
    let after = ThirdParty {
        identity,
        expires_at,
        policy,
        consumers,
        target,
        ..credential.clone()
    };
    Ok(Transition::changed("credential.correct", credential, after).because(reason))
}

/// Takes a registration out: one whose secret was never ours, or that opens nothing any more.
///
/// # Errors
/// [`Refusal::RotationRunning`], [`Refusal::CredentialEnding`], [`Refusal::CredentialRotated`],
/// [`Refusal::ReasonMissing`].
pub fn withdraw(credential: ThirdParty, reason: &str) -> Result<Transition<ThirdParty>, Refusal> {
    match &credential.standing {
        Standing::Revoked { .. } => {}
        Standing::Ending { .. } => return Err(Refusal::CredentialEnding),
        Standing::Rotating(rotation) => return Err(Refusal::RotationRunning(rotation.began_at)),
        Standing::Steady => {
            if let Some(last) = &credential.rotated {
                return Err(Refusal::CredentialRotated(last.at));
            }
        }
    }
    let reason = required(reason, "reason", Refusal::ReasonMissing)?;
    Ok(Transition::changed("credential.remove", credential.clone(), credential).because(reason))
}

fn require_resting(credential: &ThirdParty) -> Result<(), Refusal> {
    require_living(credential)?;
    match credential.rotation() {
        Some(rotation) => Err(Refusal::RotationRunning(rotation.began_at)),
        None => Ok(()),
    }
}

/// The new place, with the secret we hold in use there.
fn placed(credential: &ThirdParty, target: Target) -> Result<Target, Refusal> {
    require_target(&target, credential.kind, credential.id.tenant())?;
    let target = match (target, &credential.target) {
        (Target::Pg(mut pg), Some(before)) => {
            let [_, second] = &pg.logins;
            pg.current = if second == before.handle() {
                Turn::Second
            } else {
                Turn::First
            };
            Target::Pg(pg)
        }
        (target, _) => target,
    };
    // A secret that a driver put there is valid for that name and for no other.
    let by_driver = credential
        .rotated
        .as_ref()
        .is_some_and(|last| last.probe.is_some());
    match credential.target.as_ref().filter(|_| by_driver) {
        Some(before) if before.handle() != target.handle() => {
            Err(Refusal::SecretBelongs(before.handle().to_owned()))
        }
        _ => Ok(target),
    }
}
