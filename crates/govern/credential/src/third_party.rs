//! What is known about a secret that somebody else's system accepts, and where its rotation stands.

use std::collections::BTreeSet;
use std::time::Duration;

use bailiwick_base::{CredentialId, IdentityId, Time};

/// What kind of secret it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretKind {
    /// A key of a service's own API.
    ApiKey,
    /// An AWS access key.
    AwsAccessKey,
    /// Anything else.
    Generic,
    /// A token of GitHub.
    GithubToken,
    /// Name and password of a PostgreSQL login role.
    PgLogin,
}

impl SecretKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::ApiKey,
        Self::AwsAccessKey,
        Self::Generic,
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
            Self::ApiKey | Self::AwsAccessKey | Self::Generic | Self::GithubToken => (90 * DAY, DAY),
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

/// Where the secret is accepted, for kinds that are rotated by a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database in which the logins are managed.
    pub database: String,
    /// The application's role, of which both logins are members.
    pub role: String,
    /// The two logins.
    pub logins: [String; 2],
    /// The login in use.
    pub current: Turn,
    /// The login that manages them.
    pub manager_login: String,
    /// The registered credential with the manager's password.
    pub manager: CredentialId,
    /// Whether the connection may be without TLS.
    pub allow_plaintext: bool,
}

impl Target {
    /// The name of a login.
    #[must_use]
    pub fn login(&self, turn: Turn) -> &str {
        let [first, second] = &self.logins;
        match turn {
            Turn::First => first,
            Turn::Second => second,
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

/// A step of a rotation that has been decided and recorded; what it asks for may or may not be done yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
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
    /// Keyed fingerprint of the new secret.
    pub fingerprint: String,
    /// What is decided.
    pub phase: Phase,
    /// Known consumers that were seen with the new secret.
    pub moved: BTreeSet<String>,
    /// Consumers nobody registered that were seen with the old secret at the last look.
    pub strangers: BTreeSet<String>,
    /// What went wrong last.
    pub trouble: Option<String>,
}

/// Where a third-party credential stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
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
    /// Where it stands.
    pub standing: Standing,
}

impl ThirdParty {
    /// When it has to be rotated next.
    #[must_use]
    pub fn due_at(&self) -> Time {
        let from = self.rotated.as_ref().map_or(self.created_at, |last| last.at);
        from.after(self.policy.every)
    }

    /// The rotation under way.
    #[must_use]
    pub fn rotation(&self) -> Option<&Rotation> {
        match &self.standing {
            Standing::Rotating(rotation) => Some(rotation),
            Standing::Steady => None,
        }
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

/// Everything that was seen at one look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// Consumers with their logins.
    pub seen: BTreeSet<Seen>,
}
