//! The permit: the proof an enforcement point must hold before it forwards anything.

use bailiwick_base::DecisionId;
use bailiwick_decide::{Decision, DenyReason, Effect};

use crate::pipeline::{Flight, Watch};
use crate::record::{Outcome, Recorded, Sequenced};

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

/// The right to forward exactly one call. Not `Clone`, not `Serialize`, no public field, no public constructor.
///
/// Dropping it without [`Permit::finish`] records the call as cancelled.
///
/// Whatever forwards takes a permit ([`Upstream`](crate::Upstream)); this compiles:
///
/// ```
/// use bailiwick_pep::{Outcome, Permit, Upstream};
/// async fn call<U: Upstream<Message = String>>(upstream: &U, permit: Permit) {
///     let _reply = upstream.forward(&permit, "tools/call".to_owned()).await;
///     permit.finish(Outcome::Returned);
/// }
/// ```
///
/// Without a permit nothing can be forwarded, a recorded decision is not one:
///
/// ```compile_fail,E0308
/// use bailiwick_pep::{Recorded, Upstream};
/// async fn call<U: Upstream<Message = String>>(upstream: &U, recorded: Recorded<bailiwick_decide::Decision>) {
///     let _reply = upstream.forward(&recorded, "tools/call".to_owned()).await;
/// }
/// ```
///
/// A permit cannot be made from a decision, recorded or not:
///
/// ```compile_fail,E0624
/// fn forge(recorded: bailiwick_pep::Recorded<bailiwick_decide::Decision>) {
///     let _ = bailiwick_pep::Permit::from_recorded(recorded);
/// }
/// ```
///
/// A record cannot be claimed:
///
/// ```compile_fail,E0624
/// fn claim(decision: bailiwick_decide::Decision, index: u64) {
///     let _ = bailiwick_pep::Recorded::new(decision, bailiwick_pep::Sequenced { index });
/// }
/// ```
///
/// A permit cannot be used for a second call:
///
/// ```compile_fail,E0382
/// fn twice(permit: bailiwick_pep::Permit) {
///     permit.finish(bailiwick_pep::Outcome::Returned);
///     permit.finish(bailiwick_pep::Outcome::Returned);
/// }
/// ```
pub struct Permit {
    decision: Decision,
    sequenced: Sequenced,
    flight: Flight,
}

impl Permit {
    /// The only way to a permit: a recorded decision, and a place among the calls in flight.
    pub(crate) fn from_recorded(recorded: Recorded<Decision>, flight: Flight) -> Self {
        let (decision, sequenced) = recorded.into_parts();
        Self {
            decision,
            sequenced,
            flight,
        }
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

    /// Resolves with the reason once the call must stop: a kill, a suspension, a closed task, a node that lost
    /// touch with its store. An enforcement point waits on this beside the upstream server's answer, for as long
    /// as anything of the call is open.
    pub async fn revoked(&self) -> DenyReason {
        self.flight.ended().await
    }

    /// What [`Permit::revoked`] waits for, for somebody else to wait on. It permits nothing.
    #[must_use]
    pub fn watch(&self) -> Watch {
        self.flight.watch()
    }

    /// Looks once whether the call must stop: for each message of a long stream.
    #[must_use]
    pub fn must_stop(&self) -> Option<DenyReason> {
        self.flight.must_stop()
    }

    /// Ends the call; its outcome is recorded, and nobody waits for that.
    pub fn finish(mut self, outcome: Outcome) {
        self.flight.set(outcome);
    }
}

/// The denial in a recorded decision that is not a plain permit.
pub(crate) fn require_permit(decision: &Decision) -> Result<(), Denial> {
    let refused = |reason, text: &str| Denial {
        reason,
        text: text.to_owned(),
        decision: decision.id.clone(),
    };
    match &decision.effect {
        Effect::Deny(reason) => Err(refused(*reason, &decision.reasons.text)),
        Effect::Hold(_) => Err(refused(
            DenyReason::UnknownObligation,
            "a person must approve this call",
        )),
        Effect::Permit if !decision.obligations.is_empty() => Err(refused(
            DenyReason::UnknownObligation,
            "the decision carries an obligation unknown here",
        )),
        Effect::Permit => Ok(()),
    }
}
