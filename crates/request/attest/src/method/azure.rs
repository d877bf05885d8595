//! Microsoft Entra ID. The directory is named twice, in the issuer and in `tid`; both have to be one.

use super::Seen;
use crate::claims::wrong;
use crate::error::AttestError;

pub(super) fn require(seen: &Seen<'_>) -> Result<(), AttestError> {
    seen.require_jwt()?;
    seen.require_issuer()?;
    let tid = seen.attribute("tid");
    let issuer = seen.issuer.issuer.as_str();
    let named = issuer.split('/').any(|segment| segment == tid);
    if !named {
        return Err(wrong("tid", "it has to be the directory that `iss` names"));
    }
    // A person's token has a `scp` and no `idtyp`, or says `user`.
    if seen.claims.contains_key("scp") || seen.claim("idtyp").is_some_and(|kind| kind != "app") {
        return Err(wrong(
            "idtyp",
            "only tokens of applications and managed identities are taken",
        ));
    }
    Ok(())
}
