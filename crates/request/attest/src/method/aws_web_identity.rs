//! Tokens of STS GetWebIdentityToken. The account is named twice, and its root is nobody in particular.

use super::Seen;
use crate::claims::wrong;
use crate::error::AttestError;

pub(super) fn require(seen: &Seen<'_>) -> Result<(), AttestError> {
    seen.require_jwt()?;
    seen.require_issuer()?;
    // `arn:aws:iam::ACCOUNT:role/NAME`, of which the form was looked at.
    let account = seen.attribute("principal").split(':').nth(4);
    if account != Some(seen.attribute("account")) {
        return Err(wrong("sub", "it has to be a role or a user of `aws_account`"));
    }
    Ok(())
}
