//! The answer.

use bailiwick_base::{DecisionId, Epoch, StatePos};
use smallvec::SmallVec;

use crate::reason::DenyReason;

/// A decision. It becomes a right only when it has been recorded (`pep::Permit`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Id, taken from the call.
    pub id: DecisionId,
    /// The answer.
    pub effect: Effect,
    /// What led to it.
    pub reasons: Reasons,
    /// What the enforcement point must also do; one it does not know is a denial.
    pub obligations: SmallVec<[Obligation; 1]>,
    /// The revocation epoch it was taken at.
    pub epoch: Epoch,
    /// The position of the state log it was taken at.
    pub state_pos: StatePos,
    /// How old the word of the shared store was at that moment, milliseconds; the enforcement point says it.
    pub age_ms: u64,
}

/// Permit, deny, or hold for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Refused.
    Deny(DenyReason),
    /// A person must say yes first.
    Hold(ApprovalDemand),
    /// Granted, once recorded.
    Permit,
}

/// Who must say yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalDemand {
    /// The policy that asked.
    pub policy: String,
}

/// What the enforcement point must also do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obligation {
    /// Tell the owner.
    Notify,
}

/// The policies that determined the answer, and what a person reads about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reasons {
    /// Ids of the determining policies, sorted.
    pub policies: SmallVec<[String; 2]>,
    /// One sentence for people: what was refused and what would pass; never a secret.
    pub text: String,
}
