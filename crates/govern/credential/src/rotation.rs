//! Registering a third-party credential, and the life of its rotation.
//!
//! ```text
//! steady → preparing → staging → watching → revoking → probing → steady (new secret)
//!              └──────────┴─────────┴→ rolling-back → steady (old secret)
//! ```
//! What is to be done is recorded before it is done, so that there is never a valid secret without a record.

use std::collections::BTreeSet;
use std::time::Duration;

use bailiwick_base::limits::{TEXT_MAX, shown};
use bailiwick_base::{CredentialId, IdentityId, Time, Transition};

use crate::limits::Limits;
use crate::place::{Target, require_target};
use crate::plan::{self, Blocker};
use crate::refusal::Refusal;
use crate::task::{ending, required};
use crate::third_party::{
    LastRotation, Observed, Phase, ProbeAnswer, Rotation, RotationPolicy, SecretKind, Standing, TakenBack,
    ThirdParty,
};

/// The most consumers one credential may have.
const CONSUMERS_MAX: usize = 64;
/// The most unknown consumers that are kept by name: whoever has the old secret makes as many as he likes.
const STRANGERS_MAX: usize = 64;

/// What stands in the way when the old secret was revoked and opens all the same.
pub const STILL_ACCEPTED: &str = "the old secret was revoked and is still accepted there: see in that system why, \
                                  and end it there; it is revoked and tried again, ever less often";

/// What is asked for. The secret itself never comes here.
#[derive(Debug, Clone)]
pub struct NewThirdParty {
    /// Its id, freshly minted; the tenant is the id's.
    pub id: CredentialId,
    /// Name, unique in the tenant: 1 to 64 of `a-z`, `0-9`, `.`, `_` and `-`.
    pub name: String,
    /// The identity it proves.
    pub identity: IdentityId,
    /// When that identity ends; the credential ends no later.
    pub identity_expires_at: Time,
    /// Kind.
    pub kind: SecretKind,
    /// Keyed fingerprint of the secret.
    pub fingerprint: String,
    /// When it must not be used any more; with its identity when absent.
    pub expires_at: Option<Time>,
    /// Schedule; that of the kind when absent.
    pub every: Option<Duration>,
    /// Overlap; that of the kind when absent.
    pub overlap: Option<Duration>,
    /// Who is known to use it.
    pub consumers: Vec<String>,
    /// Where it is rotated by a driver.
    pub target: Option<Target>,
}

/// Registers a third-party credential.
///
/// # Errors
/// [`Refusal`] with the field that does not fit.
pub fn register_third_party(
    wanted: NewThirdParty,
    limits: &Limits,
    now: Time,
) -> Result<Transition<ThirdParty>, Refusal> {
    if wanted.id.tenant() != wanted.identity.tenant() {
        return Err(Refusal::OtherOwner("identity"));
    }
    require_name(&wanted.name)?;
    let consumers = known_consumers(&wanted.consumers)?;
    if let Some(target) = &wanted.target {
        require_target(target, wanted.kind, wanted.id.tenant())?;
    }
    let policy = policy_of(wanted.kind, wanted.every, wanted.overlap)?;
    let latest = [
        wanted.identity_expires_at,
        now.after(limits.upstream_lifetime_max),
    ];
    let wanted_end = wanted.expires_at.or_else(|| latest.iter().min().copied());
    let expires_at = ending(wanted_end.unwrap_or(now), latest, now)?;
    let credential = ThirdParty {
        id: wanted.id,
        name: wanted.name,
        identity: wanted.identity,
        kind: wanted.kind,
        fingerprint: wanted.fingerprint,
        created_at: now,
        expires_at,
        policy,
        consumers,
        target: wanted.target,
        rotated: None,
        taken_back: None,
        standing: Standing::Steady,
    };
    Ok(Transition::made("credential.register", credential))
}

/// Who is known to use it, as it came.
pub(crate) fn known_consumers(names: &[String]) -> Result<BTreeSet<String>, Refusal> {
    if names.len() > CONSUMERS_MAX {
        return Err(Refusal::TooManyConsumers(CONSUMERS_MAX));
    }
    let named = names.iter();
    named
        .map(|name| required(name, "consumer", Refusal::ConsumerNameless))
        .collect()
}

/// A schedule, with what is usual for the kind where nothing is said.
pub(crate) fn policy_of(
    kind: SecretKind,
    every: Option<Duration>,
    overlap: Option<Duration>,
) -> Result<RotationPolicy, Refusal> {
    let usual = kind.policy();
    let policy = RotationPolicy {
        every: every.unwrap_or(usual.every),
        overlap: overlap.unwrap_or(usual.overlap),
    };
    if policy.every.is_zero() || policy.overlap >= policy.every {
        let (every, overlap) = (policy.every.as_secs(), policy.overlap.as_secs());
        return Err(Refusal::OverlapTooLong { every, overlap });
    }
    Ok(policy)
}

fn require_name(name: &str) -> Result<(), Refusal> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    if (1..=64).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with(['.', '-']) {
        return Ok(());
    }
    Err(Refusal::CredentialName(shown(name)))
}

/// Takes note that a person replaced the secret elsewhere. `entry` is the index of the record of this command.
///
/// # Errors
/// [`Refusal::RotationRunning`].
pub fn replace(
    credential: ThirdParty,
    fingerprint: String,
    entry: u64,
    now: Time,
) -> Result<Transition<ThirdParty>, Refusal> {
    require_living(&credential)?;
    if let Some(rotation) = credential.rotation() {
        return Err(Refusal::RotationRunning(rotation.began_at));
    }
    if credential.target.is_some() {
        return Err(Refusal::HasDriver);
    }
    let after = ThirdParty {
        fingerprint,
        rotated: Some(LastRotation {
            at: now,
            entry,
            probe: None,
        }),
        taken_back: None,
        ..credential.clone()
    };
    Ok(Transition::changed("credential.replace", credential, after))
}

/// Begins a rotation; the new secret is sealed in the same transaction and valid nowhere yet. A system that makes
/// secrets itself has none yet, and needs no `fingerprint`.
///
/// # Errors
/// [`Refusal::RotationRunning`] when one is under way, [`Refusal::NoDriver`] when nothing can carry it out,
/// [`Refusal::ReasonMissing`].
pub fn begin(
    credential: ThirdParty,
    fingerprint: Option<String>,
    reason: &str,
    now: Time,
) -> Result<Transition<ThirdParty>, Refusal> {
    require_usable(&credential, now)?;
    if let Some(rotation) = credential.rotation() {
        return Err(Refusal::RotationRunning(rotation.began_at));
    }
    let Some(target) = &credential.target else {
        return Err(Refusal::NoDriver(credential.kind.as_str()));
    };
    let makes = target.makes_secret();
    let reason = required(reason, "reason", Refusal::ReasonMissing)?;
    let after = ThirdParty {
        standing: Standing::Rotating(Rotation {
            began_at: now,
            fingerprint: fingerprint.filter(|_| !makes),
            handle: None,
            prepared: !makes,
            phase: if makes { Phase::Preparing } else { Phase::Staging },
            moved: BTreeSet::new(),
            moved_at: None,
            strangers: BTreeSet::new(),
            strangers_more: 0,
            in_vain: false,
            trouble: None,
        }),
        ..credential.clone()
    };
    Ok(Transition::changed("credential.rotation-begin", credential, after).because(reason))
}

/// A person made the new secret there and hands it in; it is sealed in the same transaction and tried next.
///
/// # Errors
/// [`Refusal::OtherPhase`].
pub fn handed_in(credential: ThirdParty, fingerprint: String) -> Result<Transition<ThirdParty>, Refusal> {
    let rotation = Rotation {
        phase: Phase::Staging,
        fingerprint: Some(fingerprint),
        prepared: true,
        trouble: None,
        ..in_phase(&credential, "preparing")?
    };
    Ok(turned("credential.rotation-prepared", credential, rotation))
}

/// What was revoked, or is being revoked, is used for nothing more.
///
/// # Errors
/// [`Refusal::CredentialRevoked`].
pub fn require_living(credential: &ThirdParty) -> Result<(), Refusal> {
    match credential.ended() {
        Some(reason) => Err(Refusal::CredentialRevoked(reason.to_owned())),
        None => Ok(()),
    }
}

/// What expired is not given out, not rotated and lends nothing either.
///
/// # Errors
/// [`Refusal::CredentialRevoked`], [`Refusal::CredentialExpired`].
pub fn require_usable(credential: &ThirdParty, now: Time) -> Result<(), Refusal> {
    require_living(credential)?;
    if credential.expires_at <= now {
        return Err(Refusal::CredentialExpired(credential.expires_at));
    }
    Ok(())
}

/// Decides to make every secret of the credential invalid for good, whoever uses it.
///
/// # Errors
/// [`Refusal::CredentialRevoked`], [`Refusal::ReasonMissing`].
pub fn end(credential: ThirdParty, reason: &str) -> Result<Transition<ThirdParty>, Refusal> {
    require_living(&credential)?;
    let reason = required(reason, "reason", Refusal::ReasonMissing)?;
    let after = ThirdParty {
        standing: Standing::Ending {
            reason: reason.clone(),
            rotation: credential.rotation().cloned(),
            trouble: None,
        },
        ..credential.clone()
    };
    Ok(Transition::changed("credential.revoke", credential, after).because(reason))
}

/// It opens nothing any more. `entry` is the index of the record of this; without a driver nobody tried it.
///
/// # Errors
/// [`Refusal::OtherPhase`].
pub fn ended(
    credential: ThirdParty,
    probe: Option<ProbeAnswer>,
    entry: u64,
    now: Time,
) -> Result<Transition<ThirdParty>, Refusal> {
    let Standing::Ending { reason, .. } = &credential.standing else {
        return Err(Refusal::OtherPhase {
            wanted: "being revoked",
            found: "in use",
        });
    };
    let after = ThirdParty {
        standing: Standing::Revoked {
            at: now,
            entry,
            reason: reason.clone(),
            probe,
        },
        ..credential.clone()
    };
    Ok(Transition::changed("credential.revoked", credential, after))
}

/// The rotation under way, or the refusal.
fn under_way(credential: &ThirdParty) -> Result<Rotation, Refusal> {
    credential.rotation().cloned().ok_or(Refusal::NoRotation)
}

fn in_phase(credential: &ThirdParty, phase: &'static str) -> Result<Rotation, Refusal> {
    let rotation = under_way(credential)?;
    if rotation.phase.as_str() == phase {
        return Ok(rotation);
    }
    Err(Refusal::OtherPhase {
        wanted: phase,
        found: rotation.phase.as_str(),
    })
}

fn turned(command: &'static str, before: ThirdParty, rotation: Rotation) -> Transition<ThirdParty> {
    let after = ThirdParty {
        standing: Standing::Rotating(rotation),
        ..before.clone()
    };
    Transition::changed(command, before, after)
}

/// There is room for the new secret: only the secret in use is there.
///
/// # Errors
/// [`Refusal::OtherPhase`].
pub fn prepared(credential: ThirdParty) -> Result<Transition<ThirdParty>, Refusal> {
    let rotation = Rotation {
        phase: Phase::Staging,
        prepared: true,
        trouble: None,
        ..in_phase(&credential, "preparing")?
    };
    Ok(turned("credential.rotation-prepared", credential, rotation))
}

/// The system made the new secret, and names it `handle`; it is sealed in the same transaction.
///
/// # Errors
/// [`Refusal::OtherPhase`].
pub fn made(
    credential: ThirdParty,
    handle: String,
    fingerprint: String,
    now: Time,
) -> Result<Transition<ThirdParty>, Refusal> {
    let rotation = Rotation {
        phase: Phase::Watching { since: now },
        fingerprint: Some(fingerprint),
        handle: Some(handle),
        trouble: None,
        ..in_phase(&credential, "staging")?
    };
    Ok(turned("credential.rotation-staged", credential, rotation))
}

/// A known consumer says that it uses the new secret, where the system does not tell.
///
/// # Errors
/// [`Refusal::ConsumerUnknown`], [`Refusal::ConsumersSeen`] where the system tells, [`Refusal::OtherPhase`].
pub fn confirm(credential: ThirdParty, consumer: &str, now: Time) -> Result<Transition<ThirdParty>, Refusal> {
    let mut rotation = in_phase(&credential, "watching")?;
    if credential.target.as_ref().is_some_and(Target::tells_consumers) {
        return Err(Refusal::ConsumersSeen);
    }
    if !credential.consumers.contains(consumer) {
        return Err(Refusal::ConsumerUnknown(shown(consumer)));
    }
    rotation.moved.insert(consumer.to_owned());
    rotation.moved_at = Some(now);
    Ok(turned("credential.rotation-confirm", credential, rotation))
}

/// The new secret is valid.
///
/// # Errors
/// [`Refusal::OtherPhase`].
pub fn staged(credential: ThirdParty, now: Time) -> Result<Transition<ThirdParty>, Refusal> {
    let rotation = Rotation {
        phase: Phase::Watching { since: now },
        trouble: None,
        ..in_phase(&credential, "staging")?
    };
    Ok(turned("credential.rotation-staged", credential, rotation))
}

/// As many of them as are kept by name, and how many more there are.
fn named(strangers: BTreeSet<String>) -> (BTreeSet<String>, u64) {
    let more = strangers.len().saturating_sub(STRANGERS_MAX) as u64;
    let kept = strangers.into_iter().take(STRANGERS_MAX).map(cut);
    (kept.collect(), more)
}

/// No longer than a text may be.
fn cut(mut text: String) -> String {
    while text.len() > TEXT_MAX {
        text.pop();
    }
    text
}

/// Takes note of who was seen; nothing when nothing is new.
///
/// # Errors
/// [`Refusal::OtherPhase`].
pub fn observe(
    credential: ThirdParty,
    observed: &Observed,
    now: Time,
) -> Result<Option<Transition<ThirdParty>>, Refusal> {
    let before = in_phase(&credential, "watching")?;
    let (strangers, strangers_more) = named(plan::strangers(&credential, observed, now));
    let rotation = Rotation {
        moved: plan::moved(&credential, &before, observed),
        strangers,
        strangers_more,
        trouble: None,
        ..before.clone()
    };
    if rotation == before {
        return Ok(None);
    }
    Ok(Some(turned("credential.rotation-observe", credential, rotation)))
}

/// Decides to revoke the old secret.
///
/// # Errors
/// [`Refusal::Blocked`] while somebody would lose what it needs.
pub fn close(
    credential: ThirdParty,
    observed: &Observed,
    now: Time,
) -> Result<Transition<ThirdParty>, Refusal> {
    let before = in_phase(&credential, "watching")?;
    let found = plan::blockers(&credential, &before, observed, now);
    if let Some(first) = found.into_iter().max_by_key(|b| matches!(b, Blocker::Unknown(_))) {
        return Err(Refusal::Blocked(first));
    }
    let rotation = Rotation {
        phase: Phase::Revoking,
        moved: plan::moved(&credential, &before, observed),
        strangers: BTreeSet::new(),
        strangers_more: 0,
        trouble: None,
        ..before
    };
    Ok(turned("credential.rotation-revoke", credential, rotation))
}

/// Somebody was there with the old secret at the last moment: it is valid again.
///
/// # Errors
/// [`Refusal::OtherPhase`].
pub fn reopen(
    credential: ThirdParty,
    observed: &Observed,
    now: Time,
) -> Result<Transition<ThirdParty>, Refusal> {
    let before = in_phase(&credential, "revoking")?;
    let (strangers, strangers_more) = named(plan::strangers(&credential, observed, now));
    let rotation = Rotation {
        phase: Phase::Watching { since: now },
        moved: plan::moved(&credential, &before, observed),
        strangers,
        strangers_more,
        in_vain: false,
        trouble: None,
        ..before.clone()
    };
    Ok(turned("credential.rotation-reopen", credential, rotation))
}

/// The old secret is invalid, as far as its system says.
///
/// # Errors
/// [`Refusal::OtherPhase`].
pub fn revoked(credential: ThirdParty) -> Result<Transition<ThirdParty>, Refusal> {
    let rotation = Rotation {
        phase: Phase::Probing,
        trouble: None,
        ..in_phase(&credential, "revoking")?
    };
    Ok(turned("credential.rotation-revoked", credential, rotation))
}

/// The old secret was tried and accepted: it has to be revoked again. From then on it is tried before it is said
/// to be revoked, so that what stays open is recorded once and not at each attempt.
///
/// # Errors
/// [`Refusal::OtherPhase`].
pub fn probe_accepted(credential: ThirdParty) -> Result<Transition<ThirdParty>, Refusal> {
    let rotation = Rotation {
        phase: Phase::Revoking,
        in_vain: true,
        trouble: Some(STILL_ACCEPTED.to_owned()),
        ..in_phase(&credential, "probing")?
    };
    Ok(turned("credential.rotation-accepted", credential, rotation))
}

/// The old secret was refused: the rotation ends. `entry` is the index of the record of this.
///
/// # Errors
/// [`Refusal::OtherPhase`].
pub fn complete(
    credential: ThirdParty,
    probe: ProbeAnswer,
    entry: u64,
    now: Time,
) -> Result<Transition<ThirdParty>, Refusal> {
    let rotation = in_phase(&credential, "probing")?;
    let target = credential.target.clone();
    let after = ThirdParty {
        fingerprint: rotation
            .fingerprint
            .unwrap_or_else(|| credential.fingerprint.clone()),
        target: target.map(|target| target.turned(rotation.handle)),
        rotated: Some(LastRotation {
            at: now,
            entry,
            probe: Some(probe),
        }),
        taken_back: None,
        standing: Standing::Steady,
        ..credential.clone()
    };
    Ok(Transition::changed(
        "credential.rotation-complete",
        credential,
        after,
    ))
}

/// Gives a rotation up while the old secret is untouched.
///
/// # Errors
/// [`Refusal::OtherPhase`] once the old secret is being revoked, [`Refusal::ReasonMissing`].
pub fn roll_back(credential: ThirdParty, reason: &str) -> Result<Transition<ThirdParty>, Refusal> {
    let before = under_way(&credential)?;
    let untouched = matches!(
        before.phase,
        Phase::Preparing | Phase::Staging | Phase::Watching { .. }
    );
    if !untouched {
        return Err(Refusal::OtherPhase {
            wanted: "preparing, staging or watching",
            found: before.phase.as_str(),
        });
    }
    let reason = required(reason, "reason", Refusal::ReasonMissing)?;
    let rotation = Rotation {
        phase: Phase::RollingBack {
            reason: reason.clone(),
        },
        trouble: None,
        ..before
    };
    Ok(turned("credential.rotation-roll-back", credential, rotation).because(reason))
}

/// The new secret is invalid again.
///
/// # Errors
/// [`Refusal::OtherPhase`].
pub fn rolled_back(credential: ThirdParty, now: Time) -> Result<Transition<ThirdParty>, Refusal> {
    let reason = match in_phase(&credential, "rolling-back")?.phase {
        Phase::RollingBack { reason } => reason,
        _ => String::new(),
    };
    let after = ThirdParty {
        taken_back: Some(TakenBack { at: now, reason }),
        standing: Standing::Steady,
        ..credential.clone()
    };
    Ok(Transition::changed(
        "credential.rotation-rolled-back",
        credential,
        after,
    ))
}

/// Whether it was said before. What differs in figures only, such as the seconds two clocks are apart, is the same:
/// it would fill the log, one entry at each attempt.
fn is_same(before: Option<&String>, what: &str) -> bool {
    let words = |text: &str| -> String { text.chars().filter(|c| !c.is_ascii_digit()).collect() };
    before.is_some_and(|before| words(before) == words(what))
}

/// Takes note of what went wrong; nothing when it is the same as before.
///
/// # Errors
/// [`Refusal::NoRotation`].
pub fn trouble(credential: ThirdParty, what: &str) -> Result<Option<Transition<ThirdParty>>, Refusal> {
    let what = cut(what.chars().filter(|c| !c.is_control()).collect());
    if let Standing::Ending {
        reason,
        rotation,
        trouble,
    } = &credential.standing
    {
        if is_same(trouble.as_ref(), &what) {
            return Ok(None);
        }
        let after = ThirdParty {
            standing: Standing::Ending {
                reason: reason.clone(),
                rotation: rotation.clone(),
                trouble: Some(what),
            },
            ..credential.clone()
        };
        return Ok(Some(Transition::changed(
            "credential.revoke-trouble",
            credential,
            after,
        )));
    }
    let before = under_way(&credential)?;
    if is_same(before.trouble.as_ref(), &what) {
        return Ok(None);
    }
    let rotation = Rotation {
        trouble: Some(what),
        ..before
    };
    Ok(Some(turned("credential.rotation-trouble", credential, rotation)))
}
