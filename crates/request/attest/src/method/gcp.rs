//! Google Cloud. People and service accounts share one issuer; only a service account is presented as itself.

use super::Seen;
use crate::claims::wrong;
use crate::error::AttestError;

pub(super) fn require(seen: &Seen<'_>) -> Result<(), AttestError> {
    seen.require_jwt()?;
    seen.require_issuer()?;
    if seen
        .claim("azp")
        .is_some_and(|party| party != seen.attribute("sub"))
    {
        return Err(wrong(
            "azp",
            "it has to be the service account itself, as `sub` is",
        ));
    }
    let email = seen.claim("email");
    if email.is_some_and(|address| !address.ends_with(".gserviceaccount.com")) {
        return Err(wrong("email", "only tokens of service accounts are taken"));
    }
    Ok(())
}
