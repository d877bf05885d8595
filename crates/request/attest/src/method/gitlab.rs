//! GitLab CI/CD.

use super::Seen;
use crate::claims::wrong;
use crate::error::AttestError;

pub(super) fn require(seen: &Seen<'_>) -> Result<(), AttestError> {
    seen.require_jwt()?;
    seen.require_issuer()?;
    for flag in ["ref_protected", "environment_protected"] {
        if !matches!(seen.attribute(flag), "" | "true" | "false") {
            return Err(wrong(flag, "it has to be `true` or `false`"));
        }
    }
    if seen.claim("jti").is_none_or(str::is_empty) {
        return Err(wrong("jti", "it is missing"));
    }
    Ok(())
}
