//! Projected tokens of Kubernetes service accounts. The account is named twice; both have to be one.

use super::Seen;
use crate::claims::wrong;
use crate::error::AttestError;

pub(super) fn require(seen: &Seen<'_>) -> Result<(), AttestError> {
    seen.require_jwt()?;
    seen.require_issuer()?;
    let (namespace, name) = (seen.attribute("namespace"), seen.attribute("serviceaccount"));
    if seen.attribute("sub") != format!("system:serviceaccount:{namespace}:{name}") {
        return Err(wrong(
            "sub",
            "it has to be the service account that `kubernetes.io` names",
        ));
    }
    Ok(())
}
