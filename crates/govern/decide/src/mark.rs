//! Marks: stops set on a scope, with the epoch at which they were set (decisions page, section 4).

use bailiwick_base::{AgentLabel, Epoch, IdentityId, ServerName, TaskId, TenantId, TokenId, ToolName};

/// What a mark is set on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MarkScope {
    /// One access token.
    Token(TokenId),
    /// One task.
    Task(TaskId),
    /// One identity.
    Identity(IdentityId),
    /// Every identity of one logical agent.
    Agent(TenantId, AgentLabel),
    /// Every identity of one owner (team).
    Owner(TenantId, String),
    /// Everything derived from one issuer.
    Issuer(TenantId, String),
    /// One upstream server.
    Server(TenantId, ServerName),
    /// One tool of one server.
    Tool(TenantId, ServerName, ToolName),
    /// A whole tenant.
    Tenant(TenantId),
    /// The installation.
    All,
}

/// How far a mark contains what it is set on, the mildest first. Everything but a kill is lifted by `resume`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MarkEffect {
    /// Stops nothing; every decision under it says so in the record.
    Observe,
    /// Stops what is not known to only read.
    ReadOnly,
    /// Stops what leaves for another machine.
    NoEgress,
    /// Frozen: stops everything until it is lifted.
    Suspend,
    /// For ever.
    Kill,
}

impl MarkEffect {
    /// Every effect, the mildest first.
    pub const ALL: [Self; 5] = [
        Self::Observe,
        Self::ReadOnly,
        Self::NoEgress,
        Self::Suspend,
        Self::Kill,
    ];

    /// Its name in rows, journals and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::ReadOnly => "read-only",
            Self::NoEgress => "no-egress",
            Self::Suspend => "suspend",
            Self::Kill => "kill",
        }
    }

    /// The effect of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effect| effect.as_str() == name)
    }

    /// Whether it stops everything under its scope; a milder one lets a part of it run.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        matches!(self, Self::Kill | Self::Suspend)
    }

    /// Whether `resume` lifts it.
    #[must_use]
    pub const fn is_reversible(self) -> bool {
        !matches!(self, Self::Kill)
    }
}

/// A mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// On what.
    pub scope: MarkScope,
    /// Reversible or not.
    pub effect: MarkEffect,
    /// Set at; a token with a lower epoch is dead. How a later token fares depends on the scope and the effect:
    /// see the decision record on marks.
    pub epoch: Epoch,
}
