//! Errors of this room.

use bailiwick_base::limits::shown;

/// Why a text is not a scope: where it went wrong and what was expected there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("scope, byte {position}: expected {expected}, found {found}")]
pub struct ScopeError {
    /// Byte offset into the text.
    pub position: usize,
    /// What would have been right.
    pub expected: String,
    /// What stands there, shortened.
    pub found: String,
}

impl ScopeError {
    pub(crate) fn new(position: usize, expected: impl Into<String>, rest: &str) -> Self {
        let found = if rest.is_empty() {
            "the end".to_owned()
        } else {
            format!("`{}`", shown(&rest.chars().take(24).collect::<String>()))
        };
        Self {
            position,
            expected: expected.into(),
            found,
        }
    }
}

/// Why a JSON value is not our `authorization_details` (RFC 9396).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("authorization_details{path}: {problem}")]
pub struct DetailsError {
    /// Where: a JSON path below the array.
    pub path: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl DetailsError {
    pub(crate) fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            problem: problem.into(),
        }
    }
}

/// Why a grant has no policies. A grant that was parsed always compiles; this is the answer for one that was
/// put together by hand or is corrupt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// A condition is not one the grammar can express.
    #[error("scope {scope}: condition on `{arg}`: {problem}")]
    Condition {
        /// Position of the scope in the grant.
        scope: usize,
        /// Argument.
        arg: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Cedar refuses the tree.
    #[error("scope {scope}: {problem}")]
    Policy {
        /// Position of the scope in the grant.
        scope: usize,
        /// Cedar's words.
        problem: String,
    },
}
