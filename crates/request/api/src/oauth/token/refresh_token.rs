//! `grant_type=refresh_token` (RFC 6749 §6), rotated with every use (RFC 9700 §4.14.2).
//!
//! One refresh token of a consent serves; the one before it, shown again, ends the consent.

use bailiwick_base::TenantId;
use bailiwick_credential::consent;
use bailiwick_wire as wire;

use super::authorization_code::{faulty, issued, lookup, used};
use super::require_resource;
use crate::Deps;
use crate::oauth::error::{OauthError, bad, refused};
use crate::oauth::form::Form;
use crate::oauth::proof::Shown;
use crate::oauth::public;
use crate::oauth::secret;

pub(super) const GRANT_TYPE: &str = "refresh_token";

pub(super) async fn granted(
    deps: &Deps,
    tenant: &TenantId,
    form: &Form,
    held: &Shown,
) -> Result<wire::Token, OauthError> {
    let received = deps.clock.monotonic();
    let client = public::caller(deps, tenant, form, held.certificate()).await?.id();
    let shown = form
        .get("refresh_token")
        .ok_or_else(|| bad("invalid_request", "parameter `refresh_token` is missing"))?;
    require_resource(deps, tenant, form)?;
    let unknown = || bad("invalid_grant", "this refresh token was not made here");
    let shown = secret::read_refresh(deps, tenant, shown).ok_or_else(unknown)?;
    let consent = lookup(deps, &shown.consent).await?.ok_or_else(unknown)?;
    let now = deps.clock.now();
    if let Err(fault) = consent.require_renewable(&client, shown.generation, shown.digest, now) {
        return Err(faulty(deps, &consent, fault, received).await);
    }
    // Decided first: what is refused now, and may be permitted later, must not cost the refresh token. RFC 9449 §5: one
    // that was given to the holder of a key serves that holder alone.
    let (token, bound) = issued(deps, &consent, form, held, shown.bound).await?;
    let next = shown.generation.saturating_add(1);
    let (refresh, digest) = secret::refresh_token(deps, &consent.id, next, bound).map_err(|e| refused(&e))?;
    used(deps, &consent, received, move |held, _| {
        consent::renew(held, shown.generation, shown.digest, digest)
    })
    .await?;
    Ok(wire::Token {
        refresh_token: Some(refresh),
        ..token
    })
}
