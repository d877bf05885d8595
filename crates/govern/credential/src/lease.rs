//! Leases: secrets that a system makes for one task and takes back.
//!
//! ```text
//! making → held → returning → returned
//!    └────────────────┘  └→ barred → returned   (a system that can only refuse what it cannot take back)
//! ```
//! What is to be made is recorded, with its name, before it is made; so nothing outlives its record.

use std::time::Duration;

use bailiwick_base::limits::TEXT_MAX;
use bailiwick_base::{CredentialId, IdentityId, LeaseId, TaskId, Time, Transition};

use crate::place::Target;
use crate::refusal::Refusal;
use crate::task::required;
use crate::third_party::{ProbeAnswer, ThirdParty};
use crate::{Task, TaskState};

/// Server and action of the scope under which a task holds leases: `credential:lease(name = "orders-db")`.
pub const LEASE_SCOPE: (&str, &str) = ("credential", "lease");
/// Leases that one task may hold at once.
pub const LEASES_MAX: usize = 32;
/// Making one takes no longer; whoever was making it is dead then.
const MAKING_MAX: Duration = Duration::from_secs(30);
/// The shortest and the longest lease.
const SPAN: std::ops::RangeInclusive<u64> = 10..=43_200;

/// Where a lease stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseStanding {
    /// The system refuses it, and keeps that rule until what it refuses has ended by itself.
    Barred {
        /// How it was refused.
        probe: ProbeAnswer,
        /// Until when.
        until: Time,
    },
    /// The task has it.
    Held,
    /// It is to be made.
    Making,
    /// It opens nothing any more.
    Returned {
        /// When.
        at: Time,
        /// Index of its entry in the state log.
        entry: u64,
        /// How it was refused; absent when it was never valid.
        probe: Option<ProbeAnswer>,
    },
    /// It is to be taken back.
    Returning {
        /// Why.
        reason: String,
        /// What went wrong last.
        trouble: Option<String>,
    },
}

impl LeaseStanding {
    /// The stable word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Barred { .. } => "barred",
            Self::Held => "held",
            Self::Making => "making",
            Self::Returned { .. } => "returned",
            Self::Returning { .. } => "returning",
        }
    }
}

/// A secret that a system made for one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Id, tenant included.
    pub id: LeaseId,
    /// The task that holds it.
    pub task: TaskId,
    /// The identity of that task.
    pub identity: IdentityId,
    /// The registered credential it is made from.
    pub source: CredentialId,
    /// The name of that credential.
    pub name: String,
    /// How the system names it: a login role, the name of a session.
    pub handle: String,
    /// Why the task needs it.
    pub reason: String,
    /// Who asked for it.
    pub requested_by: String,
    /// The task's grant does not say that it may.
    pub is_beyond_scope: bool,
    /// Keyed fingerprint of its secret, once there is one.
    pub fingerprint: Option<String>,
    /// When what the system made ends by itself, if it is later than the lease.
    pub system_ends_at: Option<Time>,
    /// Asked for.
    pub created_at: Time,
    /// Ends.
    pub expires_at: Time,
    /// Where it stands.
    pub standing: LeaseStanding,
}

impl Lease {
    /// Whether something may be valid in the system.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        !matches!(
            self.standing,
            LeaseStanding::Barred { .. } | LeaseStanding::Returned { .. }
        )
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct NewLease {
    /// Its id, freshly minted.
    pub id: LeaseId,
    /// How long; whole seconds.
    pub span: Duration,
    /// Why the task needs it.
    pub reason: String,
    /// Who asks.
    pub requested_by: String,
    /// Whether the task's grant says that it may.
    pub is_granted: bool,
    /// Asked for although the grant does not say so.
    pub beyond_scope: bool,
    /// Leases that the task holds already.
    pub held: usize,
}

/// Records that a lease is to be made for an open task, no longer than the task, its identity and the credential.
///
/// # Errors
/// [`Refusal`] with what does not fit.
pub fn ask(
    wanted: NewLease,
    task: &Task,
    source: &ThirdParty,
    now: Time,
) -> Result<Transition<Lease>, Refusal> {
    let tenant = wanted.id.tenant();
    if tenant != task.id.tenant() || tenant != source.id.tenant() {
        return Err(Refusal::OtherOwner("task or credential"));
    }
    if let TaskState::Closed { at, .. } = task.state {
        return Err(Refusal::TaskClosed(at));
    }
    if now < task.opens_at {
        return Err(Refusal::TaskNotOpen(task.opens_at));
    }
    if task.closes_at <= now {
        return Err(Refusal::TaskEnded(task.closes_at));
    }
    crate::rotation::require_usable(source, now)?;
    let last = task.closes_at.min(source.expires_at);
    if !source.target.as_ref().is_some_and(Target::lends) {
        return Err(Refusal::NothingToLease(source.name.clone()));
    }
    if !SPAN.contains(&wanted.span.as_secs()) {
        return Err(Refusal::LeaseSpan(wanted.span.as_secs()));
    }
    if !wanted.is_granted && !wanted.beyond_scope {
        return Err(Refusal::LeaseBeyondScope(source.name.clone()));
    }
    if wanted.held >= LEASES_MAX {
        return Err(Refusal::TooManyLeases(LEASES_MAX));
    }
    let lease = Lease {
        handle: handle(&wanted.id),
        id: wanted.id,
        task: task.id.clone(),
        identity: task.identity.clone(),
        source: source.id.clone(),
        name: source.name.clone(),
        reason: required(&wanted.reason, "reason", Refusal::ReasonMissing)?,
        requested_by: required(&wanted.requested_by, "requester", Refusal::RequesterMissing)?,
        is_beyond_scope: !wanted.is_granted,
        fingerprint: None,
        system_ends_at: None,
        created_at: now,
        expires_at: now.after(wanted.span).min(last),
        standing: LeaseStanding::Making,
    };
    Ok(Transition::made("lease.request", lease))
}

/// A name that nobody chose and that every system takes: lower case, digits and `_`, 30 bytes.
fn handle(id: &LeaseId) -> String {
    format!("bailiwick_{}", id.uuid().as_simple())
}

fn moved(command: &'static str, before: Lease, change: impl FnOnce(Lease) -> Lease) -> Transition<Lease> {
    let after = change(before.clone());
    Transition::changed(command, before, after)
}

fn other(lease: &Lease, wanted: &'static str) -> Refusal {
    Refusal::LeaseStands {
        wanted,
        found: lease.standing.as_str(),
    }
}

/// The system made it.
///
/// # Errors
/// [`Refusal::LeaseStands`] when it is to be taken back meanwhile.
pub fn held(
    lease: Lease,
    fingerprint: String,
    system_ends_at: Option<Time>,
) -> Result<Transition<Lease>, Refusal> {
    if lease.standing != LeaseStanding::Making {
        return Err(other(&lease, "making"));
    }
    Ok(moved("lease.hold", lease, |lease| Lease {
        fingerprint: Some(fingerprint),
        system_ends_at,
        standing: LeaseStanding::Held,
        ..lease
    }))
}

/// Decides to take it back.
///
/// # Errors
/// [`Refusal::LeaseStands`] when that is decided already, [`Refusal::ReasonMissing`].
pub fn give_back(lease: Lease, reason: &str) -> Result<Transition<Lease>, Refusal> {
    if !matches!(lease.standing, LeaseStanding::Held | LeaseStanding::Making) {
        return Err(other(&lease, "making or held"));
    }
    let reason = required(reason, "reason", Refusal::ReasonMissing)?;
    let standing = LeaseStanding::Returning {
        reason: reason.clone(),
        trouble: None,
    };
    Ok(moved("lease.return", lease, |lease| Lease { standing, ..lease }).because(reason))
}

/// The system refuses it, and has to keep that rule until `until`.
///
/// # Errors
/// [`Refusal::LeaseStands`].
pub fn barred(lease: Lease, probe: ProbeAnswer, until: Time) -> Result<Transition<Lease>, Refusal> {
    if !matches!(lease.standing, LeaseStanding::Returning { .. }) {
        return Err(other(&lease, "returning"));
    }
    let standing = LeaseStanding::Barred { probe, until };
    Ok(moved("lease.barred", lease, |lease| Lease { standing, ..lease }))
}

/// It opens nothing any more. `entry` is the index of the record of this.
///
/// # Errors
/// [`Refusal::LeaseStands`].
pub fn returned(
    lease: Lease,
    probe: Option<ProbeAnswer>,
    entry: u64,
    now: Time,
) -> Result<Transition<Lease>, Refusal> {
    let probe = match &lease.standing {
        LeaseStanding::Returning { .. } => probe,
        LeaseStanding::Barred { probe, .. } => Some(probe.clone()),
        _ => return Err(other(&lease, "returning")),
    };
    let standing = LeaseStanding::Returned {
        at: now,
        entry,
        probe,
    };
    Ok(moved("lease.returned", lease, |lease| Lease {
        standing,
        ..lease
    }))
}

/// Takes note of what went wrong; nothing when it is the same as before, or nothing is to be taken back.
#[must_use]
pub fn trouble(lease: Lease, what: &str) -> Option<Transition<Lease>> {
    let mut what: String = what.chars().filter(|c| !c.is_control()).collect();
    while what.len() > TEXT_MAX {
        what.pop();
    }
    let standing = match &lease.standing {
        LeaseStanding::Returning { trouble, reason } if trouble.as_ref() != Some(&what) => {
            LeaseStanding::Returning {
                reason: reason.clone(),
                trouble: Some(what),
            }
        }
        _ => return None,
    };
    Some(moved("lease.trouble", lease, |lease| Lease { standing, ..lease }))
}

/// What a lease needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseStep {
    /// Take the rule away that refuses it.
    Clear,
    /// Decide to take it back, for this reason.
    End(String),
    /// Take it back.
    Return,
}

/// When [`lease_plan`] gives a step although nobody stopped the task; never once it opens nothing.
#[must_use]
pub fn wakes_at(lease: &Lease) -> Option<Time> {
    match &lease.standing {
        LeaseStanding::Barred { until, .. } => Some(*until),
        LeaseStanding::Held => Some(lease.expires_at),
        LeaseStanding::Making => Some(lease.created_at.after(MAKING_MAX)),
        LeaseStanding::Returned { .. } => None,
        LeaseStanding::Returning { .. } => Some(Time::from_micros(0)),
    }
}

/// What a lease needs next. Pure: `stopped` is why its task may hold nothing any more.
#[must_use]
pub fn lease_plan(lease: &Lease, stopped: Option<&str>, now: Time) -> Option<LeaseStep> {
    match &lease.standing {
        LeaseStanding::Returned { .. } => None,
        LeaseStanding::Returning { .. } => Some(LeaseStep::Return),
        LeaseStanding::Barred { until, .. } => (*until <= now).then_some(LeaseStep::Clear),
        // Whoever makes it is left alone as long as it may take, or something could be made after it was given back.
        LeaseStanding::Making => (lease.created_at.after(MAKING_MAX) <= now)
            .then(|| LeaseStep::End("whoever was making it died".to_owned())),
        LeaseStanding::Held => {
            let over = (lease.expires_at <= now).then_some("its time is over");
            stopped.or(over).map(|reason| LeaseStep::End(reason.to_owned()))
        }
    }
}
