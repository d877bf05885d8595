//! Stable codes of denials. A code is never renamed or reused.

use bailiwick_credential::ExchangeRule;

/// Why a call was refused. The text form ([`DenyReason::code`]) is stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DenyReason {
    /// A condition on an argument of the call does not hold.
    ArgumentOutOfScope,
    /// An ancestor in the act chain is dead.
    ActorRevoked,
    /// The clock of this enforcement point has just leapt, and what has expired is not known.
    ClockUntrusted,
    /// The token says another composition than the one its identity has declared.
    CompositionChanged,
    /// The identity has declared a composition, and whoever asks for a token states none.
    CompositionMissing,
    /// A policy could not be evaluated.
    EvaluationFailed,
    /// A rule of token exchange does not hold.
    Exchange(ExchangeRule),
    /// A policy forbids it.
    ForbiddenByPolicy,
    /// The identity's expiry has passed.
    IdentityExpired,
    /// The identity is retired, or was killed.
    IdentityRevoked,
    /// The identity is suspended.
    IdentitySuspended,
    /// No such identity in this tenant.
    IdentityUnknown,
    /// The server, tool or resource was stopped by an operator.
    KilledByOperator,
    /// It leaves for another machine, and a mark lets nothing leave.
    NoEgress,
    /// Nothing grants it.
    NoGrant,
    /// The decision could not be recorded; nothing happens without a record.
    NotRecorded,
    /// More calls than the grant's rate allows.
    RateExceeded,
    /// It is not known to only read, and a mark lets nothing else happen.
    ReadOnly,
    /// The token's scope does not name this server and tool.
    ScopeMissing,
    /// No such upstream server in this tenant.
    ServerUnknown,
    /// This enforcement point's word is older than the bound.
    SnapshotStale,
    /// The task is closed.
    TaskClosed,
    /// The task's window has not begun or has passed.
    TaskOutsideWindow,
    /// No such task in this tenant, or not this identity's.
    TaskUnknown,
    /// The tenant is unknown, closed or stopped.
    TenantUnavailable,
    /// The token was issued before the installation's epoch floor, or names an epoch that does not exist.
    TokenEpochInvalid,
    /// The token's expiry has passed.
    TokenExpired,
    /// The token, or something it depends on, was revoked.
    TokenRevoked,
    /// The tool's definition differs from the pinned one.
    ToolDrifted,
    /// The tool is not among the pinned ones.
    ToolNotPinned,
    /// An obligation this enforcement point does not know.
    UnknownObligation,
}

impl DenyReason {
    /// Every reason, for the reference page and for tests.
    pub const ALL: [Self; 42] = [
        Self::ArgumentOutOfScope,
        Self::ActorRevoked,
        Self::ClockUntrusted,
        Self::CompositionChanged,
        Self::CompositionMissing,
        Self::EvaluationFailed,
        Self::Exchange(ExchangeRule::Request),
        Self::Exchange(ExchangeRule::SubjectToken),
        Self::Exchange(ExchangeRule::ActorToken),
        Self::Exchange(ExchangeRule::ActorClient),
        Self::Exchange(ExchangeRule::ActorScope),
        Self::Exchange(ExchangeRule::MayAct),
        Self::Exchange(ExchangeRule::Cycle),
        Self::Exchange(ExchangeRule::Depth),
        Self::Exchange(ExchangeRule::Audience),
        Self::Exchange(ExchangeRule::Scope),
        Self::Exchange(ExchangeRule::Lifetime),
        Self::Exchange(ExchangeRule::Proof),
        Self::ForbiddenByPolicy,
        Self::IdentityExpired,
        Self::IdentityRevoked,
        Self::IdentitySuspended,
        Self::IdentityUnknown,
        Self::KilledByOperator,
        Self::NoEgress,
        Self::NoGrant,
        Self::NotRecorded,
        Self::RateExceeded,
        Self::ReadOnly,
        Self::ScopeMissing,
        Self::ServerUnknown,
        Self::SnapshotStale,
        Self::TaskClosed,
        Self::TaskOutsideWindow,
        Self::TaskUnknown,
        Self::TenantUnavailable,
        Self::TokenEpochInvalid,
        Self::TokenExpired,
        Self::TokenRevoked,
        Self::ToolDrifted,
        Self::ToolNotPinned,
        Self::UnknownObligation,
    ];

    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::ArgumentOutOfScope => "grant.argument-out-of-scope",
            Self::ActorRevoked => "token.actor-revoked",
            Self::ClockUntrusted => "clock.untrusted",
            Self::CompositionChanged => "composition.changed",
            Self::CompositionMissing => "composition.missing",
            Self::EvaluationFailed => "policy.evaluation-failed",
            Self::Exchange(rule) => rule.code(),
            Self::ForbiddenByPolicy => "policy.forbidden",
            Self::IdentityExpired => "identity.expired",
            Self::IdentityRevoked => "identity.revoked",
            Self::IdentitySuspended => "identity.suspended",
            Self::IdentityUnknown => "identity.unknown",
            Self::KilledByOperator => "mark.killed",
            Self::NoEgress => "mark.no-egress",
            Self::NoGrant => "grant.none",
            Self::NotRecorded => "record.unavailable",
            Self::RateExceeded => "grant.rate-exceeded",
            Self::ReadOnly => "mark.read-only",
            Self::ScopeMissing => "token.scope-missing",
            Self::ServerUnknown => "server.unknown",
            Self::SnapshotStale => "snapshot.stale",
            Self::TaskClosed => "task.closed",
            Self::TaskOutsideWindow => "task.outside-window",
            Self::TaskUnknown => "task.unknown",
            Self::TenantUnavailable => "tenant.unavailable",
            Self::TokenEpochInvalid => "token.epoch-invalid",
            Self::TokenExpired => "token.expired",
            Self::TokenRevoked => "token.revoked",
            Self::ToolDrifted => "tool.drifted",
            Self::ToolNotPinned => "tool.not-pinned",
            Self::UnknownObligation => "policy.unknown-obligation",
        }
    }

    /// What the code means, in one line.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::ArgumentOutOfScope => "a condition on an argument of the call does not hold",
            Self::ActorRevoked => "an ancestor in the act chain is dead",
            Self::ClockUntrusted => {
                "the clock of this enforcement point has just leapt, and what has expired is not known"
            }
            Self::CompositionChanged => {
                "the token says another composition than the one its identity has declared"
            }
            Self::CompositionMissing => {
                "the identity has declared a composition, and whoever asks for a token states none"
            }
            Self::EvaluationFailed => "a policy could not be evaluated",
            Self::Exchange(rule) => rule.meaning(),
            Self::ForbiddenByPolicy => "a policy forbids it",
            Self::IdentityExpired => "the identity's expiry has passed",
            Self::IdentityRevoked => "the identity is retired, or was killed",
            Self::IdentitySuspended => "the identity is suspended",
            Self::IdentityUnknown => "no such identity in this tenant",
            Self::KilledByOperator => "the server, tool or resource was stopped by an operator",
            Self::NoEgress => "it leaves for another machine, and a mark lets nothing leave",
            Self::NoGrant => "nothing grants it",
            Self::NotRecorded => "the decision could not be recorded; nothing happens without a record",
            Self::RateExceeded => "more calls than the grant's rate allows",
            Self::ReadOnly => "it is not known to only read, and a mark lets nothing else happen",
            Self::ScopeMissing => "the token's scope does not name this server and tool",
            Self::ServerUnknown => "no such upstream server in this tenant",
            Self::SnapshotStale => {
                "this enforcement point's word is older than the bound, or it was fenced: its /readyz tells which"
            }
            Self::TaskClosed => "the task is closed",
            Self::TaskOutsideWindow => "the task's window has not begun or has passed",
            Self::TaskUnknown => "no such task in this tenant, or not this identity's",
            Self::TenantUnavailable => "the tenant is unknown, closed or stopped",
            Self::TokenEpochInvalid => {
                "the token was issued before the installation's epoch floor, or names an epoch that does not exist"
            }
            Self::TokenExpired => "the token's expiry has passed",
            Self::TokenRevoked => "the token, or something it depends on, was revoked",
            Self::ToolDrifted => "the tool's definition differs from the pinned one",
            Self::ToolNotPinned => "the tool is not among the pinned ones",
            Self::UnknownObligation => "an obligation this enforcement point does not know",
        }
    }

    /// Whether the credential itself is dead, so that the answer is HTTP 401 and not a refusal of this call
    /// (decisions page, section 6).
    #[must_use]
    pub const fn kills_credential(self) -> bool {
        matches!(
            self,
            Self::ActorRevoked
                | Self::CompositionChanged
                | Self::IdentityExpired
                | Self::IdentityRevoked
                | Self::IdentitySuspended
                | Self::IdentityUnknown
                | Self::TaskClosed
                | Self::TaskOutsideWindow
                | Self::TaskUnknown
                | Self::TenantUnavailable
                | Self::TokenEpochInvalid
                | Self::TokenExpired
                | Self::TokenRevoked
        )
    }
}

impl std::fmt::Display for DenyReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}
