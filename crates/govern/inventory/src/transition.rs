//! The life of an identity: probation → active ⇄ suspended → retired. Each function takes the old state,
//! gives the new one, and touches nothing.

use bailiwick_base::limits::TEXT_MAX;
use bailiwick_base::{IdentityId, Time, Transition};

use crate::limits::Limits;
use crate::model::{Identity, Kind, Labels, Origin, Owner, State};
use crate::refusal::Refusal;

/// What is asked for. Owner, purpose and expiry may be absent here only so that their absence is refused
/// with its own code.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Its id, freshly minted; the tenant is the id's.
    pub id: IdentityId,
    /// What sort.
    pub kind: Kind,
    /// Name for people.
    pub name: String,
    /// Platform it lives on.
    pub platform: String,
    /// Who answers for it.
    pub owner: Option<Owner>,
    /// Application it belongs to.
    pub application: Option<String>,
    /// What it is for.
    pub purpose: Option<String>,
    /// Labels.
    pub labels: Labels,
    /// When it ends by itself.
    pub expires_at: Option<Time>,
}

/// Makes an identity, in probation.
///
/// # Errors
/// [`Refusal`] when name, owner, contact, purpose or expiry are missing, or a limit is passed.
pub fn register(wanted: Registration, limits: &Limits, now: Time) -> Result<Transition<Identity>, Refusal> {
    let owner = owned(wanted.owner)?;
    let purpose = required(
        wanted.purpose.unwrap_or_default(),
        "purpose",
        Refusal::PurposeMissing,
    )?;
    let expires_at = ending(wanted.expires_at, limits, now)?;
    let workflow = wanted
        .labels
        .workflow
        .map(|w| optional(w, "workflow label"))
        .transpose()?
        .flatten();
    let identity = Identity {
        kind: wanted.kind,
        name: required(wanted.name, "name", Refusal::NameMissing("name"))?,
        platform: required(wanted.platform, "platform", Refusal::NameMissing("platform"))?,
        owner,
        application: wanted
            .application
            .map(|a| optional(a, "application"))
            .transpose()?
            .flatten(),
        purpose,
        labels: Labels {
            agent: wanted.labels.agent,
            workflow,
        },
        origin: Origin::Registered,
        state: State::Probation,
        composition: None,
        created_at: now,
        expires_at,
        changed_at: now,
        id: wanted.id,
    };
    Ok(Transition::made("identity.register", identity))
}

/// Puts an identity into service.
///
/// # Errors
/// [`Refusal::AlreadyActive`], [`Refusal::AlreadySuspended`], [`Refusal::Retired`], [`Refusal::Expired`].
pub fn activate(identity: Identity, now: Time) -> Result<Transition<Identity>, Refusal> {
    living(&identity, now)?;
    match identity.state {
        State::Probation => Ok(moved("identity.activate", identity, State::Active, now)),
        State::Active => Err(Refusal::AlreadyActive),
        State::Suspended { .. } => Err(Refusal::AlreadySuspended),
        State::Retired { .. } => Err(Refusal::Retired),
    }
}

/// Stops an identity; [`resume`] brings it back to what it was.
///
/// # Errors
/// [`Refusal::AlreadySuspended`], [`Refusal::Retired`], [`Refusal::ReasonMissing`].
pub fn suspend(identity: Identity, reason: &str, now: Time) -> Result<Transition<Identity>, Refusal> {
    let was_active = match identity.state {
        State::Probation => false,
        State::Active => true,
        State::Suspended { .. } => return Err(Refusal::AlreadySuspended),
        State::Retired { .. } => return Err(Refusal::Retired),
    };
    let reason = required(reason.to_owned(), "reason", Refusal::ReasonMissing)?;
    let state = State::Suspended {
        was_active,
        reason: reason.clone(),
    };
    Ok(moved("identity.suspend", identity, state, now).because(reason))
}

/// Lifts a suspension.
///
/// # Errors
/// [`Refusal::NotSuspended`], [`Refusal::Retired`], [`Refusal::Expired`].
pub fn resume(identity: Identity, now: Time) -> Result<Transition<Identity>, Refusal> {
    let state = match &identity.state {
        State::Suspended { was_active: true, .. } => State::Active,
        State::Suspended {
            was_active: false, ..
        } => State::Probation,
        State::Retired { .. } => return Err(Refusal::Retired),
        other @ (State::Probation | State::Active) => return Err(Refusal::NotSuspended(other.as_str())),
    };
    living(&identity, now)?;
    Ok(moved("identity.resume", identity, state, now))
}

/// Ends an identity for good: a tombstone remains.
///
/// # Errors
/// [`Refusal::Retired`], [`Refusal::ReasonMissing`].
pub fn retire(identity: Identity, reason: &str, now: Time) -> Result<Transition<Identity>, Refusal> {
    if matches!(identity.state, State::Retired { .. }) {
        return Err(Refusal::Retired);
    }
    let reason = required(reason.to_owned(), "reason", Refusal::ReasonMissing)?;
    Ok(moved(
        "identity.retire",
        identity,
        State::Retired {
            reason: reason.clone(),
        },
        now,
    )
    .because(reason))
}

/// Gives an identity another owner.
///
/// # Errors
/// [`Refusal::Retired`], [`Refusal::OwnerMissing`], [`Refusal::OwnerContactMissing`].
pub fn reassign(identity: Identity, owner: Owner) -> Result<Transition<Identity>, Refusal> {
    unretired(&identity)?;
    let after = Identity {
        owner: owned(Some(owner))?,
        ..identity.clone()
    };
    Ok(Transition::changed("identity.reassign", identity, after))
}

/// Moves the end of an identity.
///
/// # Errors
/// [`Refusal::Retired`], [`Refusal::ExpiryPast`], [`Refusal::ExpiryTooFar`].
pub fn extend(
    identity: Identity,
    expires_at: Time,
    limits: &Limits,
    now: Time,
) -> Result<Transition<Identity>, Refusal> {
    unretired(&identity)?;
    let after = Identity {
        expires_at: ending(Some(expires_at), limits, now)?,
        ..identity.clone()
    };
    Ok(Transition::changed("identity.extend", identity, after))
}

fn moved(command: &'static str, identity: Identity, state: State, now: Time) -> Transition<Identity> {
    let after = Identity {
        state,
        changed_at: now,
        ..identity.clone()
    };
    Transition::changed(command, identity, after)
}

fn unretired(identity: &Identity) -> Result<(), Refusal> {
    if matches!(identity.state, State::Retired { .. }) {
        Err(Refusal::Retired)
    } else {
        Ok(())
    }
}

fn living(identity: &Identity, now: Time) -> Result<(), Refusal> {
    unretired(identity)?;
    if identity.expires_at <= now {
        Err(Refusal::Expired(identity.expires_at))
    } else {
        Ok(())
    }
}

fn owned(owner: Option<Owner>) -> Result<Owner, Refusal> {
    let owner = owner.ok_or(Refusal::OwnerMissing)?;
    Ok(Owner {
        team: required(owner.team, "owner", Refusal::OwnerMissing)?,
        contact: required(owner.contact, "owner contact", Refusal::OwnerContactMissing)?,
    })
}

fn ending(at: Option<Time>, limits: &Limits, now: Time) -> Result<Time, Refusal> {
    let at = at.ok_or(Refusal::ExpiryMissing)?;
    let max = now.after(limits.lifetime_max);
    if at <= now {
        return Err(Refusal::ExpiryPast { at, now });
    }
    if at > max {
        Err(Refusal::ExpiryTooFar { at, max })
    } else {
        Ok(at)
    }
}

/// A text that must be there: trimmed, something in it that can be seen, at most [`TEXT_MAX`] bytes, no control characters.
pub(crate) fn required(text: String, field: &'static str, missing: Refusal) -> Result<String, Refusal> {
    optional(text, field)?.ok_or(missing)
}

/// A text that may be empty, which is the same as absent.
pub(crate) fn optional(text: String, field: &'static str) -> Result<Option<String>, Refusal> {
    let text = text.trim();
    if text.len() > TEXT_MAX {
        return Err(Refusal::TooLong {
            field,
            len: text.len(),
            max: TEXT_MAX,
        });
    }
    if text.chars().any(char::is_control) {
        return Err(Refusal::ControlCharacter(field));
    }
    Ok(bailiwick_base::limits::can_be_seen(text).then(|| text.to_owned()))
}
