//! Why a snapshot is not written, and why one is not taken.

/// A body that cannot be written or is not believed. Names the member, never a value that could be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Facts of somebody it is not for.
    #[error("snapshot holds facts of tenant `{0}`, which it is not for")]
    Foreign(String),
    /// The text is not of its form.
    #[error("snapshot is not of its form: {0}")]
    Form(String),
    /// What stands in front is not what the facts say.
    #[error("member `{member}` of the snapshot is not what its facts say")]
    Heading {
        /// Which.
        member: &'static str,
    },
    /// A value that has no form, or is not one of its kind.
    #[error("member `{member}` of the snapshot is not usable: {why}")]
    Member {
        /// Which.
        member: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The signature is not one over this text by that key.
    #[error("signature of the answer does not verify with the key of the installation")]
    Signature,
    /// A version that this program does not read.
    #[error(
        "member `v` of the snapshot is {found}, this program reads {known}: give node and sidecar the same version"
    )]
    Version {
        /// Offered.
        found: u64,
        /// Known.
        known: u64,
    },
}

impl BodyError {
    pub(crate) fn member(member: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Member {
            member,
            why: why.to_string(),
        }
    }
}
