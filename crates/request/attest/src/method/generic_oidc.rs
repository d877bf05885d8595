//! Any OpenID issuer: who it is stands in `iss` and `sub`, and nothing else is believed.

use super::Seen;
use crate::error::AttestError;

pub(super) fn require(seen: &Seen<'_>) -> Result<(), AttestError> {
    seen.require_jwt()?;
    seen.require_issuer()
}
