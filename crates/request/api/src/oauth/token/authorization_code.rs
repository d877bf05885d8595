//! `grant_type=authorization_code` (RFC 6749 §4.1.3) with its proof (RFC 7636 §4.5).
//!
//! A code that was made here and is shown by somebody else, elsewhere, or a second time is in other hands: the consent
//! ends, and with it everything that was issued from it.

use bailiwick_base::{ConsentId, Digest, TenantId};
use bailiwick_credential::consent::{self, Consent, ConsentFault};
use bailiwick_credential::{Confirmation, ExchangeRule};
use bailiwick_decide::{Bearer, DenyReason, MarkEffect, MarkScope, Principal};
use bailiwick_store::{Actor, Context, Reach, RequestId, Tx};
use bailiwick_wire as wire;
use std::sync::Arc;

use super::client_credentials::bound;
use super::{details, require_resource};
use crate::Deps;
use crate::command::{CommandError, store_error};
use crate::issue::{self, Requester};
use crate::oauth::error::{OauthError, bad, refused};
use crate::oauth::form::Form;
use crate::oauth::proof::Shown;
use crate::oauth::public;
use crate::oauth::secret;
use crate::problem::RouteError;
use crate::stop::Stop;

pub(super) const GRANT_TYPE: &str = "authorization_code";

pub(super) async fn granted(
    deps: &Deps,
    tenant: &TenantId,
    form: &Form,
    shown: &Shown,
) -> Result<wire::Token, OauthError> {
    let received = deps.clock.monotonic();
    let client = public::caller(deps, tenant, form, shown.certificate())
        .await?
        .id();
    let given = |name: &'static str| {
        form.get(name)
            .ok_or_else(|| bad("invalid_request", format!("parameter `{name}` is missing")))
    };
    let (code, redirect, verifier) = (given("code")?, given("redirect_uri")?, given("code_verifier")?);
    require_resource(deps, tenant, form)?;
    let unknown = || bad("invalid_grant", "this code was not made here");
    let code = secret::read_code(deps, tenant, code).ok_or_else(unknown)?;
    let consent = lookup(deps, &code.consent).await?.ok_or_else(unknown)?;
    let now = deps.clock.now();
    if let Err(fault) = consent.require_redeemable(&client, redirect, verifier, now) {
        return Err(faulty(deps, &consent, fault, received).await);
    }
    if !code.is_alive(now) {
        return Err(bad("invalid_grant", format!("code: {}", ConsentFault::Late)));
    }
    let (token, bound) = issued(deps, &consent, form, shown, code.bound).await?;
    let (refresh, digest) = secret::refresh_token(deps, &consent.id, 1, bound).map_err(|e| refused(&e))?;
    used(deps, &consent, received, move |held, now| {
        consent::redeem(held, digest, now)
    })
    .await?;
    Ok(wire::Token {
        refresh_token: Some(refresh),
        ..token
    })
}

pub(in crate::oauth) async fn lookup(deps: &Deps, id: &ConsentId) -> Result<Option<Consent>, OauthError> {
    let found = async { deps.store.reader(id.tenant()).await?.consent().lookup(id).await };
    found.await.map_err(|e| refused(&store_error(&e)))
}

/// An access token under the consent: decided like a renewal by its bearer, and standing on it. Nothing is issued to
/// whoever does not show what the code or refresh token was `bonded` to.
pub(super) async fn issued(
    deps: &Deps,
    consent: &Consent,
    form: &Form,
    shown: &Shown,
    bonded: Option<Digest>,
) -> Result<(wire::Token, Option<Confirmation>), OauthError> {
    let tenant = consent.id.tenant();
    let claims = consent.claims(&deps.issuer(tenant), &deps.audience(tenant));
    let bearer = Bearer {
        claims: Arc::new(claims),
        token_hash: Digest::of(consent.id.to_string().as_bytes()),
    };
    let requester = Requester::Consent(bearer, consent.link());
    let requested = details::requested(deps, form, &consent.task, &requester)?;
    let wider = requested
        .as_ref()
        .and_then(|asked| asked.iter().find(|s| !consent.scopes.covers(s)));
    if let Some(wider) = wider {
        let shown = bailiwick_base::limits::shown(wider);
        return Err(bad("invalid_scope", format!("scope `{shown}` was not agreed to")));
    }
    let bound = bound(deps, tenant, &requester, shown)?;
    if bonded.is_some() && bonded != secret::bond(bound) {
        return Err(unproven(deps, consent).await);
    }
    let issued = issue::for_task(deps, &consent.task, 1, requester, requested.as_ref(), bound)
        .await
        .map_err(|e| refused(&e))?;
    let token = issued.tokens.into_iter().next();
    let token = token.map(|token| details::told(deps, form, &consent.task, token));
    token
        .map(|token| (token, bound))
        .ok_or_else(|| bad("invalid_grant", "no token was issued"))
}

/// Whoever shows a bound secret without its key may be a thief: recorded first, then told. The consent goes on, for the
/// one who has the key.
async fn unproven(deps: &Deps, consent: &Consent) -> OauthError {
    let id = match deps.mint(consent.id.tenant()) {
        Ok(id) => id,
        Err(error) => return refused(&error),
    };
    let principal = Principal::Identity {
        id: consent.identity.clone(),
        task: Some(consent.task.clone()),
    };
    let call = issue::about(id, principal, "consent.use", ("consent", consent.id.to_string()));
    metrics::counter!("bailiwick_consents_misused_total").increment(1);
    let text = "code or refresh token is bound to another key or certificate";
    let reason = DenyReason::Exchange(ExchangeRule::Proof);
    let denial = deps.pep.refuse(&call, reason, text.to_owned()).await;
    refused(&issue::Stopped::Denied(denial).into_route(false))
}

/// Writes down that it was used. Whoever comes second with the same secret finds it used, and ends the consent.
pub(super) async fn used<W>(
    deps: &Deps,
    consent: &Consent,
    received: std::time::Duration,
    work: W,
) -> Result<(), OauthError>
where
    W: Fn(Consent, bailiwick_base::Time) -> Result<bailiwick_base::Transition<Consent>, ConsentFault>
        + Clone
        + Send
        + 'static,
{
    let request = deps
        .ids
        .uuid()
        .map_err(|e| refused(&RouteError::broken("randomness failed", &e)))?;
    let tenant = consent.id.tenant();
    let context = Context::new(
        Reach::from(tenant),
        Actor::Identity(consent.identity.clone()),
        RequestId(request),
    );
    let id = consent.id.clone();
    let written = deps
        .store
        .transact(context, async move |tx: &mut Tx| {
            let held = tx.consent().lookup(&id).await?;
            let held = held.ok_or_else(|| RouteError::not_found("consent"))?;
            match work(held, tx.now()) {
                Ok(transition) => {
                    tx.consent().apply(transition).await?;
                    Ok(Vec::new())
                }
                Err(fault) => Err(Unused::Fault(fault)),
            }
        })
        .await;
    match written {
        Ok(_) => Ok(()),
        Err(Unused::Fault(fault)) => Err(faulty(deps, consent, fault, received).await),
        Err(Unused::Command(error)) => Err(refused(&RouteError::from(error))),
    }
}

enum Unused {
    Command(CommandError),
    Fault(ConsentFault),
}

impl<E: Into<CommandError>> From<E> for Unused {
    fn from(error: E) -> Self {
        Self::Command(error.into())
    }
}

/// What is shown wrongly is in other hands; the answer comes when everything that stands on it is dead.
pub(super) async fn faulty(
    deps: &Deps,
    consent: &Consent,
    fault: ConsentFault,
    received: std::time::Duration,
) -> OauthError {
    let text = format!("code or refresh token: {fault}");
    if fault == ConsentFault::Late {
        return bad("invalid_grant", text);
    }
    metrics::counter!("bailiwick_consents_misused_total").increment(1);
    let reason = format!("consent {}: a code or refresh token of it: {fault}", consent.id);
    match end(deps, consent, reason, received).await {
        Ok(()) => bad("invalid_grant", text),
        Err(error) => refused(&error),
    }
}

/// Ends a consent: everything that stands on it is dead from now on.
pub(in crate::oauth) async fn end(
    deps: &Deps,
    consent: &Consent,
    reason: String,
    received: std::time::Duration,
) -> Result<(), RouteError> {
    if crate::v1::consents::is_ended(deps, consent)? {
        return Ok(());
    }
    let stop = Stop {
        scope: MarkScope::Token(consent.token.clone()),
        effect: MarkEffect::Kill,
        reason,
    };
    deps.revoke(&consent.identity, stop, received).await.map(drop)
}
