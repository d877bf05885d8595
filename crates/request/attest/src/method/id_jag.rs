//! Identity assertion authorization grants: told apart from every other token of the same issuer by their type.

use super::Seen;
use crate::error::AttestError;

/// The type that no other token has.
pub(crate) const TYPE: &str = "oauth-id-jag+jwt";

pub(super) fn require(seen: &Seen<'_>) -> Result<(), AttestError> {
    if seen.typ != Some(TYPE) {
        return Err(AttestError::Type);
    }
    seen.require_issuer()
}
