//! What a token says its identity is made of, against what is declared.

use bailiwick_base::{Digest, IdentityId};
use bailiwick_credential::Claims;

use crate::decide::Refused;
use crate::reason::DenyReason;
use crate::snapshot::Space;
use crate::view::Caller;

/// A token that says a composition lives as long as that one is declared.
pub(crate) fn require_present(space: &Space, claims: &Claims) -> Result<(), Refused> {
    if claims.composition.is_none() || claims.composition == declared(space, &claims.nhi) {
        return Ok(());
    }
    Err(changed())
}

/// A new token says what is declared, no less: whoever renews one has to show one that does.
pub(crate) fn require_stated(space: &Space, caller: &Caller<'_>, wanted: &Claims) -> Result<(), Refused> {
    let declared = declared(space, &wanted.nhi);
    match (wanted.composition, caller) {
        (stated, _) if stated == declared => Ok(()),
        (None, Caller::Identity(..)) => Err(Refused::new(
            DenyReason::CompositionMissing,
            "the identity has declared what it is made of: state claim `composition` in the assertion",
        )),
        _ => Err(changed()),
    }
}

fn declared(space: &Space, identity: &IdentityId) -> Option<Digest> {
    space.identity(identity)?.composition
}

fn changed() -> Refused {
    Refused::new(
        DenyReason::CompositionChanged,
        "what the identity is made of was declared anew since: ask for a token with its present composition",
    )
}
