//! What a pure rule gives and the store applies.

/// A change of one thing, worked out by a room from the old state and not yet written.
///
/// The store refuses it when the stored row is no longer `before`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition<T> {
    /// The command in the record, e.g. `identity.suspend`; stable.
    pub command: &'static str,
    /// What it was; `None` when it is made.
    pub before: Option<T>,
    /// What it is from now on.
    pub after: T,
    /// Why, as a person or a rule said it; recorded.
    pub reason: Option<String>,
}

impl<T> Transition<T> {
    /// Something new.
    #[must_use]
    pub fn made(command: &'static str, after: T) -> Self {
        Self {
            command,
            before: None,
            after,
            reason: None,
        }
    }

    /// Something that was `before`.
    #[must_use]
    pub fn changed(command: &'static str, before: T, after: T) -> Self {
        Self {
            command,
            before: Some(before),
            after,
            reason: None,
        }
    }

    /// The same with a reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}
