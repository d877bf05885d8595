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

/// Whether the mark can be lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MarkEffect {
    /// Lifted by `resume`.
    Suspend,
    /// For ever.
    Kill,
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
