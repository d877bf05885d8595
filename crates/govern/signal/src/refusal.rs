//! What is refused, in words for whoever asked.

/// A command that is not possible like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The receiver has a stream.
    #[error("this receiver has the stream `{0}` already: change it, or remove it first")]
    Already(String),
    /// Nothing that is asked for exists here.
    #[error("`{0}` has no event type that is told here: ask for one of `events_supported`")]
    Events(&'static str),
    /// Too long or too many.
    #[error("`{field}` is longer than {max}: give less")]
    Limit {
        /// Which field.
        field: &'static str,
        /// How much is taken.
        max: usize,
    },
    /// A poll stream has no place, a webhook has no authorization.
    #[error("`{0}` does not fit this way of delivery: leave it out")]
    Misplaced(&'static str),
    /// Needed.
    #[error("`{0}` is missing: give it")]
    Missing(&'static str),
    /// It was removed.
    #[error("`{0}` was removed; that is final: add a new one")]
    Removed(String),
    /// There is one for that issuer.
    #[error("issuer `{0}` is registered already: remove it first")]
    SameIssuer(String),
    /// The tenant has as many as it may.
    #[error("this tenant has {0} of them, which is the most: remove one first")]
    TooMany(usize),
    /// Nothing would change.
    #[error("it is `{0}` already")]
    Unchanged(&'static str),
}

impl Refusal {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Already(_) => "signal.stream-exists",
            Self::Events(_) => "signal.events",
            Self::Limit { .. } => "signal.limit",
            Self::Misplaced(_) => "signal.field-misplaced",
            Self::Missing(_) => "signal.field-missing",
            Self::Removed(_) => "signal.removed",
            Self::SameIssuer(_) => "signal.issuer-exists",
            Self::TooMany(_) => "signal.too-many",
            Self::Unchanged(_) => "signal.unchanged",
        }
    }
}
