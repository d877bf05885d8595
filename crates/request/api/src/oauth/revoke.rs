//! `POST /t/{tenant}/revoke` (RFC 7009): a client ends a token of its own, at once and for good.
//!
//! The way is that of a kill: journal, deny in memory, flush beside the state log. The answer comes when it is
//! committed.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bailiwick_base::{ClientId, IdentityId, TenantId, TrustId};
use bailiwick_credential::Claims;
use bailiwick_decide::{MarkEffect, MarkScope};
use bailiwick_pep::token::Presented;
use http::StatusCode;
use http::request::Parts;

use super::client::require_living;
use super::error::{OauthError, bad, no_store, refused};
use super::form::{self, Form};
use super::metadata::served;
use super::public::{self, Caller};
use super::secret;
use super::token::authorization_code;
use crate::Deps;
use crate::issue::OPERATOR_CLIENT;
use crate::query::Path;
use crate::stop::Stop;

pub(crate) async fn handler(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    parts: Parts,
    body: Body,
) -> Result<Response, Response> {
    let tenant = served(&deps, &slug).map_err(IntoResponse::into_response)?;
    let form = form::read(&parts.headers, body).await?;
    revoked(&deps, &tenant, &parts, &form)
        .await
        .map(|()| no_store(StatusCode::OK.into_response()))
        .map_err(IntoResponse::into_response)
}

/// What is no living token of ours is revoked already (RFC 7009 §2.2).
async fn revoked(deps: &Deps, tenant: &TenantId, parts: &Parts, form: &Form) -> Result<(), OauthError> {
    let received = deps.clock.monotonic();
    let caller = public::ending(deps, tenant, form, Presented::of(parts).certificate).await?;
    if let Caller::Keyed(_, identity) = &caller {
        require_living(deps, identity)?;
    }
    let token = form
        .get("token")
        .ok_or_else(|| bad("invalid_request", "parameter `token` is missing"))?;
    if let Some(refresh) = secret::read_refresh(deps, tenant, token) {
        return refresh_revoked(deps, &caller, &refresh, received).await;
    }
    let now = deps.clock.now();
    let Ok(verified) = deps.verifier.verify_unshown(tenant, token.as_bytes(), now) else {
        return Ok(());
    };
    let (is_own, identity) = match &caller {
        Caller::Keyed(client, identity) => (is_own(&verified.claims, client, identity), identity.clone()),
        Caller::Described(client) | Caller::Public(client) => {
            (verified.claims.client == *client, verified.claims.nhi.clone())
        }
    };
    if !is_own {
        return Err(bad("invalid_grant", "the token was issued to another client"));
    }
    let stop = Stop {
        scope: MarkScope::Token(verified.claims.token.clone()),
        effect: MarkEffect::Kill,
        reason: format!("revoked by its client {}", caller.id()),
    };
    deps.revoke(&identity, stop, received)
        .await
        .map(drop)
        .map_err(|e| refused(&e))
}

/// Whichever generation it is, its consent ends, and with it all that stands on it (RFC 7009 §2.1).
async fn refresh_revoked(
    deps: &Deps,
    caller: &Caller,
    refresh: &secret::RefreshToken,
    received: std::time::Duration,
) -> Result<(), OauthError> {
    let Some(consent) = authorization_code::lookup(deps, &refresh.consent).await? else {
        return Ok(());
    };
    if consent.client != caller.id() {
        return Err(bad("invalid_grant", "the token was issued to another client"));
    }
    let reason = format!("consent {}: revoked by its client {}", consent.id, consent.client);
    authorization_code::end(deps, &consent, reason, received)
        .await
        .map_err(|e| refused(&e))
}

/// A token of this client, or one of its identity that nobody has a client for: an operator got it, or a workload by
/// a trust rule.
pub(super) fn is_own(claims: &Claims, client: &ClientId, identity: &IdentityId) -> bool {
    let has_no_client =
        || claims.client == OPERATOR_CLIENT || TrustId::parse(&claims.tenant, &claims.client).is_ok();
    claims.client == client.to_string() || (claims.nhi == *identity && has_no_client())
}
