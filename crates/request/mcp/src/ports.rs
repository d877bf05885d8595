//! What the gateway needs from outside; `server` connects each.

use bailiwick_base::{TenantId, Time};
use bailiwick_decide::Bearer;
use bailiwick_pep::token::{Presented, TokenError};

use crate::pins::PinReport;

pub use bailiwick_outbound::{BoxFuture, Spawner, UpstreamSecrets};

/// Verifies access tokens (the verifier of `pep::token`).
pub trait Authenticator: Send + Sync + 'static {
    /// The bearer of the token that is presented, if the token is whole, ours, of this tenant and alive at `now`, and
    /// its sender the one it is bound to.
    ///
    /// # Errors
    /// [`TokenError`].
    fn verify(&self, tenant: &TenantId, presented: &Presented<'_>, now: Time) -> Result<Bearer, TokenError>;

    /// The nonce for the next proof of possession.
    fn nonce(&self, now: Time) -> String;
}

/// Where changed tool definitions are reported. `server` writes the transition and publishes the new pins
/// before it answers, so that the next decision sees them.
pub trait PinReporter: Send + Sync + 'static {
    /// Takes a report; resolves once the state log has it.
    fn report(&self, report: PinReport) -> BoxFuture<'_, Result<(), PinReportError>>;
}

/// The report could not be written. The tools stay refused all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the change of a tool definition could not be recorded: {0}")]
pub struct PinReportError(pub String);
