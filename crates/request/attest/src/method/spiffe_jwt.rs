//! SPIFFE JWT-SVID: the issuer is the trust domain of `sub`; `iss` means nothing here.

use super::Seen;
use crate::claims::wrong;
use crate::error::AttestError;

pub(super) fn require(seen: &Seen<'_>) -> Result<(), AttestError> {
    // JWT-SVID §2.3 knows two types.
    match seen.typ {
        None | Some("jwt" | "jose") => {}
        Some(_) => return Err(AttestError::Type),
    }
    if trust_domain(seen.attribute("sub")) != Some(seen.issuer.issuer.as_str()) {
        return Err(wrong(
            "sub",
            "it has to be of the trust domain that is registered",
        ));
    }
    Ok(())
}

/// `spiffe://name` of a SPIFFE ID.
pub(crate) fn trust_domain(id: &str) -> Option<&str> {
    let rest = id.strip_prefix("spiffe://")?;
    let name = rest.split('/').next()?;
    id.get(..id.len() - rest.len() + name.len())
}
