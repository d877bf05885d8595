//! Refusal codes of this room.

/// Why a command on a grant is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The grant or its task would outlive what it hangs on.
    #[error("the grant would end at {ends_at}, after its task closes at {closes_at}")]
    BeyondTask {
        /// Wanted end.
        ends_at: bailiwick_base::Time,
        /// End of the task.
        closes_at: bailiwick_base::Time,
    },
    /// The grant's end has passed already.
    #[error("the grant would end at {0}, which has passed")]
    Ended(bailiwick_base::Time),
    /// A grant without a scope permits nothing.
    #[error("a grant needs at least one scope, such as `filesystem:read_text_file`")]
    NoScope,
    /// A scope that the grammar cannot express.
    #[error("the scopes do not compile: {0}")]
    Scope(String),
    /// The task is closed.
    #[error("the task is closed")]
    TaskClosed,
    /// More scopes than one grant may have.
    #[error("{0} scopes are more than one grant may have ({max})", max = crate::SCOPES_MAX)]
    TooManyScopes(usize),
}

impl Refusal {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BeyondTask { .. } => "grant.beyond-task",
            Self::Ended(_) => "grant.ended",
            Self::NoScope => "grant.no-scope",
            Self::Scope(_) => "grant.scope-invalid",
            Self::TaskClosed => "grant.task-closed",
            Self::TooManyScopes(_) => "grant.too-many-scopes",
        }
    }
}
