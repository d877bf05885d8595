//! GitHub Actions. `sub` can be made to say anything; the numbers cannot.

use super::Seen;
use crate::claims::wrong;
use crate::error::AttestError;

pub(super) fn require(seen: &Seen<'_>) -> Result<(), AttestError> {
    seen.require_jwt()?;
    seen.require_issuer()?;
    let (repository, owner) = (seen.attribute("repository"), seen.attribute("repository_owner"));
    if repository
        .split_once('/')
        .is_none_or(|(before, _)| before != owner)
    {
        return Err(wrong("repository", "it has to be below `repository_owner`"));
    }
    if seen.claim("jti").is_none_or(str::is_empty) {
        return Err(wrong("jti", "it is missing"));
    }
    Ok(())
}
