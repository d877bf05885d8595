//! What the gateway needs from outside; `server` connects each.

use bailiwick_base::{TenantId, Time};
use bailiwick_decide::Bearer;

use crate::pins::PinReport;

pub use bailiwick_outbound::{BoxFuture, Spawner, UpstreamSecrets};

/// Verifies access tokens (the verifier of `pep::token`).
pub trait Authenticator: Send + Sync + 'static {
    /// The bearer of `token`, if the token is whole, ours, of this tenant and alive at `now`.
    ///
    /// # Errors
    /// [`TokenRefusal`] with the stable code and one sentence for people.
    fn verify(&self, tenant: &TenantId, token: &str, now: Time) -> Result<Bearer, TokenRefusal>;
}

/// Why a token was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRefusal {
    /// Stable code, for example `token.expired`.
    pub code: &'static str,
    /// One sentence; never any part of the token.
    pub text: String,
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
