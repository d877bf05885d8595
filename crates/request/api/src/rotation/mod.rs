//! Rotations: begun by an operator or by the schedule, carried on by whoever looks next.

mod attempt;
mod step;

use std::sync::Arc;

use bailiwick_base::{CredentialId, IdentityId, Secret};
use bailiwick_credential::{ThirdParty, rotation};
use bailiwick_decide::Snapshot;
use bailiwick_store::{Context, Sealing, Tx};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;

pub(crate) use self::attempt::require_manager;
pub(crate) use self::step::{Stopped, advance, manager};

use crate::Deps;
use crate::command::CommandError;
use crate::effective::View;
use crate::problem::RouteError;

/// Bytes of a new secret.
const SECRET_LEN: usize = 32;

/// Why nothing that belongs to this identity may be used now, if it may not.
pub(crate) fn owner_stopped(deps: &Deps, snapshot: &Snapshot, owner: &IdentityId) -> Option<String> {
    View::new(deps, snapshot).stopped(owner)
}

/// Whoever the credential belongs to may use what belongs to him.
pub(crate) fn require_owner(deps: &Deps, credential: &ThirdParty) -> Result<(), RouteError> {
    match owner_stopped(deps, &deps.cell.load(), &credential.identity) {
        None => Ok(()),
        Some(why) => Err(
            RouteError::new(StatusCode::CONFLICT, "credential.identity-stopped", why)
                .hint("resume the identity, or register the credential for another one"),
        ),
    }
}

/// A new secret of ours.
pub(crate) fn fresh_secret(deps: &Deps) -> Result<Secret<Vec<u8>>, RouteError> {
    let mut random = zeroize::Zeroizing::new([0_u8; SECRET_LEN]);
    deps.entropy
        .fill(random.as_mut())
        .map_err(|e| RouteError::broken("randomness failed", &e))?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(random.as_ref()).into_bytes()))
}

/// Makes a new secret, seals it unless the system makes its own, and records that the rotation of `id` begins; nothing was done yet. Gives the
/// credential as it is now.
///
/// # Errors
/// What a door answers: not found, refused (one is under way, no driver), or broken.
pub(crate) async fn begin_rotation(
    deps: &Deps,
    context: Context,
    id: &CredentialId,
    reason: &str,
) -> Result<ThirdParty, RouteError> {
    let secret = Arc::new(fresh_secret(deps)?);
    let fingerprint = deps
        .keyring
        .fingerprint(id.tenant(), secret.reveal())
        .map_err(|e| RouteError::broken("keys are not available", &e))?;
    let (id, reason) = (id.clone(), reason.to_owned());
    let (asked, doors) = (id.clone(), deps.clone());
    deps.store
        .transact(context, async move |tx: &mut Tx| {
            let known = tx
                .third_party()
                .lookup(&asked)
                .await?
                .ok_or_else(|| RouteError::not_found("credential"))?;
            require_owner(&doors, &known)?;
            let begun = rotation::begin(known, Some(fingerprint.clone()), &reason, tx.now())?;
            let ours = begun.after.rotation().is_some_and(|r| r.fingerprint.is_some());
            let sealing = if ours {
                Sealing::Stage(secret.as_ref())
            } else {
                Sealing::Keep
            };
            tx.third_party().apply(begun, sealing).await?;
            Ok::<_, CommandError>(Vec::new())
        })
        .await?;
    let mut reader = deps
        .store
        .reader(id.tenant())
        .await
        .map_err(|e| crate::command::store_error(&e))?;
    let found = reader
        .third_party()
        .lookup(&id)
        .await
        .map_err(|e| crate::command::store_error(&e))?;
    found.ok_or_else(|| RouteError::not_found("credential"))
}
