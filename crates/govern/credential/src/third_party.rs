//! What is known about a secret that somebody else's system accepts, and where its rotation stands.

use std::collections::BTreeSet;
use std::time::Duration;

use bailiwick_base::{CredentialId, IdentityId, Time};

use crate::place::Target;

/// From a rotation that was taken back to the next try by the schedule.
const RETRY: Duration = Duration::from_secs(3_600);

/// What kind of secret it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretKind {
    /// A key of a service's own API.
    ApiKey,
    /// An AWS access key.
    AwsAccessKey,
    /// Anything else.
    Generic,
    /// A private key of a GitHub App.
    GithubAppKey,
    /// A token of GitHub.
    GithubToken,
    /// Name and password of a PostgreSQL login role.
    PgLogin,
}

impl SecretKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::ApiKey,
        Self::AwsAccessKey,
        Self::Generic,
        Self::GithubAppKey,
        Self::GithubToken,
        Self::PgLogin,
    ];

    /// The stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api-key",
            Self::AwsAccessKey => "aws-access-key",
            Self::Generic => "generic",
            Self::GithubAppKey => "github-app-key",
            Self::GithubToken => "github-token",
            Self::PgLogin => "postgres-login",
        }
    }

    /// From the stable word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The schedule of this kind when none is given.
    #[must_use]
    pub const fn policy(self) -> RotationPolicy {
        const DAY: u64 = 86_400;
        let (every, overlap) = match self {
            Self::PgLogin => (30 * DAY, 3_600),
            Self::ApiKey | Self::AwsAccessKey | Self::Generic | Self::GithubAppKey | Self::GithubToken => {
                (90 * DAY, DAY)
            }
        };
        RotationPolicy {
            every: Duration::from_secs(every),
            overlap: Duration::from_secs(overlap),
        }
    }
}

/// How often a secret is replaced, and for how long both are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationPolicy {
    /// From one rotation to the next; whole seconds.
    pub every: Duration,
    /// How long the old secret stays accepted after the new one is; whole seconds.
    pub overlap: Duration,
}

/// One of the two logins that take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// The first.
    First,
    /// The second.
    Second,
}

impl Turn {
    /// The one whose turn is next.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// The answer to an attempt with the revoked secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// The system's own code, such as the SQLSTATE `28P01`.
    pub code: String,
    /// Its words.
    pub text: String,
}

/// The last rotation that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRotation {
    /// When.
    pub at: Time,
    /// Index of its entry in the state log.
    pub entry: u64,
    /// How the old secret was refused; absent when a person replaced it elsewhere.
    pub probe: Option<ProbeAnswer>,
}

/// The last rotation that was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenBack {
    /// When.
    pub at: Time,
    /// Why.
    pub reason: String,
}

/// A step of a rotation that has been decided and recorded; what it asks for may or may not be done yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Room for the new secret is to be found, in a system that makes secrets itself.
    Preparing,
    /// The old secret is to be tried and must be refused.
    Probing,
    /// The old secret is to be made invalid.
    Revoking,
    /// The new secret is to be made invalid; the old one stays.
    RollingBack {
        /// Why.
        reason: String,
    },
    /// The new secret is to be made valid beside the old one.
    Staging,
    /// Both are valid; the consumers move.
    Watching {
        /// Since when.
        since: Time,
    },
}

impl Phase {
    /// The stable word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Probing => "probing",
            Self::Revoking => "revoking",
            Self::RollingBack { .. } => "rolling-back",
            Self::Staging => "staging",
            Self::Watching { .. } => "watching",
        }
    }
}

/// A rotation under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// When it began.
    pub began_at: Time,
    /// Keyed fingerprint of the new secret; absent until a system that makes it itself has made it.
    pub fingerprint: Option<String>,
    /// How the system names the new secret, where it chooses the name.
    pub handle: Option<String>,
    /// Whether room was found: from then on, a secret nobody knows there is ours.
    pub prepared: bool,
    /// What is decided.
    pub phase: Phase,
    /// Known consumers that were seen with the new secret, and not with the old one at the last look.
    pub moved: BTreeSet<String>,
    /// When the last of them confirmed it, where the system does not tell.
    pub moved_at: Option<Time>,
    /// Consumers nobody registered that were seen with the old secret at the last look: some of them, where they
    /// are many.
    pub strangers: BTreeSet<String>,
    /// How many more of them there were.
    pub strangers_more: u64,
    /// The old secret was revoked and opened all the same: it is revoked again, and nobody is looked for, because
    /// its use is our own attempt.
    pub in_vain: bool,
    /// What went wrong last.
    pub trouble: Option<String>,
}

/// Where a third-party credential stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is to be made invalid for good.
    Ending {
        /// Why.
        reason: String,
        /// The rotation that was under way; its new secret ends too.
        rotation: Option<Rotation>,
        /// What went wrong last.
        trouble: Option<String>,
    },
    /// It opens nothing, for ever.
    Revoked {
        /// When.
        at: Time,
        /// Index of its entry in the state log.
        entry: u64,
        /// Why.
        reason: String,
        /// How it was refused; absent when no driver could try it.
        probe: Option<ProbeAnswer>,
    },
    /// Being replaced.
    Rotating(Rotation),
    /// One secret, in use.
    Steady,
}

/// A secret that somebody else's system accepts; the secret itself is held sealed elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThirdParty {
    /// Id, tenant included.
    pub id: CredentialId,
    /// Name, unique in the tenant.
    pub name: String,
    /// The identity it proves; its owner is the credential's.
    pub identity: IdentityId,
    /// Kind.
    pub kind: SecretKind,
    /// Keyed fingerprint of the secret in use.
    pub fingerprint: String,
    /// Registered.
    pub created_at: Time,
    /// When it must not be used any more.
    pub expires_at: Time,
    /// Schedule.
    pub policy: RotationPolicy,
    /// Who is known to use it.
    pub consumers: BTreeSet<String>,
    /// Where it is rotated by a driver.
    pub target: Option<Target>,
    /// The last rotation.
    pub rotated: Option<LastRotation>,
    /// The last rotation that was taken back, since then.
    pub taken_back: Option<TakenBack>,
    /// Where it stands.
    pub standing: Standing,
}

impl ThirdParty {
    /// When it has to be rotated next. After one that was taken back, not before a while has passed.
    #[must_use]
    pub fn due_at(&self) -> Time {
        let from = self.rotated.as_ref().map_or(self.created_at, |last| last.at);
        let due = from.after(self.policy.every);
        match &self.taken_back {
            Some(back) => due.max(back.at.after(RETRY.min(self.policy.every))),
            None => due,
        }
    }

    /// The rotation under way.
    #[must_use]
    pub fn rotation(&self) -> Option<&Rotation> {
        match &self.standing {
            Standing::Rotating(rotation) => Some(rotation),
            Standing::Ending { .. } | Standing::Revoked { .. } | Standing::Steady => None,
        }
    }

    /// The rotation under way, or the one that the end of the credential broke off.
    #[must_use]
    pub fn unfinished(&self) -> Option<&Rotation> {
        match &self.standing {
            Standing::Rotating(rotation) => Some(rotation),
            Standing::Ending { rotation, .. } => rotation.as_ref(),
            Standing::Revoked { .. } | Standing::Steady => None,
        }
    }

    /// Why it may not be used any more.
    #[must_use]
    pub fn ended(&self) -> Option<&str> {
        match &self.standing {
            Standing::Ending { reason, .. } | Standing::Revoked { reason, .. } => Some(reason),
            Standing::Rotating(_) | Standing::Steady => None,
        }
    }

    /// How the system names the new secret of the rotation under way.
    #[must_use]
    pub fn next_handle(&self) -> Option<String> {
        let rotation = self.rotation()?;
        match self.target.as_ref()? {
            Target::Aws(_) | Target::Http(_) => rotation.handle.clone(),
            Target::GithubApp(app) => Some(app.app.clone()),
            Target::Pg(pg) => Some(pg.login(pg.current.next()).to_owned()),
        }
    }

    /// Whether a rotation waits for the new secret that a person makes.
    #[must_use]
    pub fn awaits_hand_in(&self) -> bool {
        let preparing = self.rotation().is_some_and(|r| r.phase == Phase::Preparing);
        preparing && self.target.as_ref().is_some_and(Target::is_handed_in)
    }

    /// Whether its system makes secrets itself.
    #[must_use]
    pub fn makes_secret(&self) -> bool {
        self.target.as_ref().is_some_and(Target::makes_secret)
    }

    /// Whether a consumer has to be given the new secret: it is valid and the old one will not stay.
    #[must_use]
    pub fn offers_new(&self) -> bool {
        self.rotation().is_some_and(|rotation| {
            matches!(
                rotation.phase,
                Phase::Probing | Phase::Revoking | Phase::Watching { .. }
            )
        })
    }
}

/// A consumer that was seen connected.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// With which login.
    pub turn: Turn,
    /// The name it gave itself; empty when it gave none.
    pub consumer: String,
}

/// When the old secret was used last, as far as a system tells that does not tell who is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastUse {
    /// When; as coarse as the system tells.
    pub at: Time,
    /// For what, in the system's words.
    pub what: String,
}

/// Everything that was seen at one look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// Consumers with their logins.
    pub seen: BTreeSet<Seen>,
    /// The last use of the old secret.
    pub used: Option<LastUse>,
}
