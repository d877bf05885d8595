//! What a rotation needs next. Pure: the same state and the same look give the same steps.

use std::collections::BTreeSet;
use std::time::Duration;

use bailiwick_base::Time;

use crate::place::Target;
use crate::third_party::{Observed, Phase, Rotation, Standing, ThirdParty, Turn};

/// One step. Each may be repeated: a driver that died takes it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Begin a rotation: make and record a new secret.
    Begin,
    /// Decide to revoke: everybody moved.
    Close,
    /// Make every secret of the credential invalid for good.
    End,
    /// See who is connected.
    Look,
    /// Find room for a secret that the system makes.
    Prepare,
    /// Try the old secret.
    Probe,
    /// Make the old secret invalid.
    Revoke,
    /// Make the new secret valid.
    Stage,
    /// Make the new secret invalid.
    Unstage,
    /// Nothing yet.
    Wait(Vec<Blocker>),
}

/// Why the old secret may not be revoked yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Blocker {
    /// A known consumer was not seen with the new secret.
    #[error("consumer `{0}` was not seen with the new secret: give it the new one (`credential fetch`)")]
    NotMoved(String),
    /// Both have to be valid for longer.
    #[error("the overlap ends at {0}: wait until then")]
    Overlap(Time),
    /// A known consumer still works with the old secret, whatever else of it has moved.
    #[error("consumer `{0}` is still connected with the old secret: have every copy of it connect again")]
    StillOld(String),
    /// Somebody unknown uses the old secret.
    #[error("unknown consumer `{0}` uses the old secret: find it, and register it or stop it")]
    Unknown(String),
}

/// The next steps.
#[must_use]
pub fn plan(credential: &ThirdParty, observed: Option<&Observed>, now: Time) -> Vec<Step> {
    let rotation = match &credential.standing {
        Standing::Ending { .. } => return vec![Step::End],
        Standing::Revoked { .. } => return Vec::new(),
        Standing::Rotating(rotation) => Some(rotation),
        Standing::Steady => None,
    };
    let Some(rotation) = rotation else {
        let due = credential.target.is_some() && credential.due_at() <= now && credential.expires_at > now;
        return if due { vec![Step::Begin] } else { Vec::new() };
    };
    let step = match (&rotation.phase, observed) {
        (Phase::Preparing, _) => Step::Prepare,
        (Phase::Probing, _) => Step::Probe,
        (Phase::Revoking, _) => Step::Revoke,
        (Phase::RollingBack { .. }, _) => Step::Unstage,
        (Phase::Staging, _) => Step::Stage,
        (Phase::Watching { .. }, None) => Step::Look,
        (Phase::Watching { .. }, Some(observed)) => match blockers(credential, rotation, observed, now) {
            found if found.is_empty() => Step::Close,
            found => Step::Wait(found),
        },
    };
    vec![step]
}

/// The longest rest between two looks at something that waits.
const REST: Duration = Duration::from_secs(60);
/// The same while a secret that has to become invalid is not, and no person has to do it.
const REST_ENDING: Duration = Duration::from_secs(5);
/// The same where the look itself is what tells who is connected.
const REST_WATCHING: Duration = Duration::from_secs(2);

/// How long `credential` may be left alone at most, if nobody does anything about it: it waits for `blockers`, or
/// its last step did not end.
#[must_use]
pub fn rest_max(credential: &ThirdParty, blockers: &[Blocker], now: Time) -> Duration {
    let target = credential.target.as_ref();
    let rest = match &credential.standing {
        _ if target.is_some_and(Target::is_handed_in) => REST,
        // Something stands in the way: the rests grow, and no rest is longer than it has stood there.
        Standing::Ending { trouble: Some(_), .. } => REST,
        Standing::Rotating(Rotation {
            phase: Phase::Probing | Phase::Revoking | Phase::RollingBack { .. },
            trouble: Some(_),
            ..
        }) => REST,
        Standing::Ending { .. } => REST_ENDING,
        Standing::Rotating(rotation) => match rotation.phase {
            Phase::Probing | Phase::Revoking | Phase::RollingBack { .. } => REST_ENDING,
            Phase::Watching { .. } if target.is_some_and(Target::tells_consumers) => REST_WATCHING,
            Phase::Preparing | Phase::Staging | Phase::Watching { .. } => REST,
        },
        Standing::Revoked { .. } | Standing::Steady => REST,
    };
    let overlap = blockers.iter().filter_map(|blocker| match blocker {
        Blocker::Overlap(end) => Some(end.since(now)),
        Blocker::NotMoved(_) | Blocker::StillOld(_) | Blocker::Unknown(_) => None,
    });
    overlap.fold(rest, Duration::min)
}

/// Those of `living`, whose identities may never act again, that are to be made invalid now. What manages another one
/// of them comes after it, because nothing could end that one without it; what has no driver is for a person.
#[must_use]
pub fn ends_now(living: &[ThirdParty]) -> Vec<&ThirdParty> {
    let needed: BTreeSet<_> = living
        .iter()
        .filter_map(|c| c.target.as_ref()?.manager().filter(|manager| **manager != c.id))
        .collect();
    let open = || {
        living
            .iter()
            .filter(|c| c.target.is_some() && c.ended().is_none())
    };
    let free: Vec<_> = open().filter(|c| !needed.contains(&c.id)).collect();
    let is_ending = living.iter().any(|c| c.ended().is_some());
    // Those that manage each other in a circle end together.
    if free.is_empty() && !is_ending {
        open().collect()
    } else {
        free
    }
}

/// Consumers nobody registered that use the old secret. A system that does not tell who they are tells of a use
/// that none of the known ones can have made, because all of them have moved; it counts for as long as the overlap.
#[must_use]
pub fn strangers(credential: &ThirdParty, observed: &Observed, now: Time) -> BTreeSet<String> {
    let Some(target) = &credential.target else {
        return BTreeSet::new();
    };
    let old = observed.seen.iter().filter(|seen| seen.turn == target.current());
    let mut found: BTreeSet<String> = old
        .filter(|seen| !credential.consumers.contains(&seen.consumer))
        .map(|seen| seen.consumer.clone())
        .collect();
    if let (Some(used), Some(rotation)) = (&observed.used, credential.rotation()) {
        let since = rotation.moved_at.unwrap_or(rotation.began_at);
        let all_moved = credential.consumers.is_subset(&rotation.moved);
        let lately = now < used.at.after(credential.policy.overlap);
        if all_moved && used.at > since && lately {
            found.insert(used.what.clone());
        }
    }
    found
}

/// Known consumers that work with the old secret now: one name may be many processes, and each has to move.
#[must_use]
pub fn still_old(credential: &ThirdParty, observed: &Observed) -> BTreeSet<String> {
    let current = credential.target.as_ref().map(|target| target.current());
    known_with(credential, observed, current)
}

fn known_with(credential: &ThirdParty, observed: &Observed, turn: Option<Turn>) -> BTreeSet<String> {
    let seen = observed.seen.iter().filter(|seen| Some(seen.turn) == turn);
    seen.filter(|seen| credential.consumers.contains(&seen.consumer))
        .map(|seen| seen.consumer.clone())
        .collect()
}

/// Whether somebody, known or not, would lose what it works with now if the old secret ended.
#[must_use]
pub fn would_cut_off(credential: &ThirdParty, observed: &Observed, now: Time) -> bool {
    !strangers(credential, observed, now).is_empty() || !still_old(credential, observed).is_empty()
}

/// Known consumers that were seen with the new secret, earlier or now, and are not seen with the old one now.
#[must_use]
pub(crate) fn moved(credential: &ThirdParty, rotation: &Rotation, observed: &Observed) -> BTreeSet<String> {
    let new = credential.target.as_ref().map(|target| target.current().next());
    let mut moved = rotation.moved.clone();
    moved.extend(known_with(credential, observed, new));
    let old = still_old(credential, observed);
    moved.retain(|consumer| !old.contains(consumer));
    moved
}

/// Why the old secret may not be revoked now; nothing when it may.
#[must_use]
pub fn blockers(
    credential: &ThirdParty,
    rotation: &Rotation,
    observed: &Observed,
    now: Time,
) -> Vec<Blocker> {
    let moved = moved(credential, rotation, observed);
    let old = still_old(credential, observed);
    let waiting = credential
        .consumers
        .iter()
        .filter(|known| !moved.contains(*known));
    let mut found: Vec<Blocker> = waiting
        .map(|known| {
            if old.contains(known) {
                Blocker::StillOld(known.clone())
            } else {
                Blocker::NotMoved(known.clone())
            }
        })
        .collect();
    if let Phase::Watching { since } = rotation.phase {
        // Where the system does not tell who is connected, the old secret has to lie still for that long.
        let still = [
            Some(since),
            rotation.moved_at,
            observed.used.as_ref().map(|used| used.at),
        ];
        let from = still.into_iter().flatten().max().unwrap_or(since);
        let end = from.after(credential.policy.overlap);
        found.extend((now < end).then_some(Blocker::Overlap(end)));
    }
    found.extend(
        strangers(credential, observed, now)
            .into_iter()
            .map(Blocker::Unknown),
    );
    found
}
