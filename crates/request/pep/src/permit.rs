//! The permit: the proof an enforcement point must hold before it forwards anything.

use bailiwick_base::DecisionId;
use bailiwick_decide::{Decision, DenyReason, Effect};

use crate::record::{Recorded, Sequenced};

/// A refusal in the form that may be shown to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The stable code.
    pub reason: DenyReason,
    /// One sentence for people; never a secret.
    pub text: String,
    /// The decision, so that it can be found in the log.
    pub decision: DecisionId,
}

/// The right to forward exactly one call. Not `Clone`, not `Serialize`, no public field.
#[derive(Debug)]
pub struct Permit {
    decision: Decision,
    sequenced: Sequenced,
}

impl Permit {
    /// The only way to a permit.
    ///
    /// # Errors
    /// The denial when the recorded decision is not a plain permit.
    pub fn from_recorded(recorded: Recorded<Decision>) -> Result<Self, Denial> {
        let (decision, sequenced) = recorded.into_parts();
        let refused = |reason, text: &str| Denial { reason, text: text.to_owned(), decision: decision.id.clone() };
        match &decision.effect {
            Effect::Deny(reason) => return Err(refused(*reason, &decision.reasons.text)),
            Effect::Hold(_) => {
                return Err(refused(DenyReason::UnknownObligation, "a person must approve this call"));
            }
            Effect::Permit => {}
        }
        if !decision.obligations.is_empty() {
            return Err(refused(DenyReason::UnknownObligation, "the decision carries an obligation unknown here"));
        }
        Ok(Self { decision, sequenced })
    }

    /// The decision behind it.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Where its record is.
    #[must_use]
    pub fn sequenced(&self) -> Sequenced {
        self.sequenced
    }
}
