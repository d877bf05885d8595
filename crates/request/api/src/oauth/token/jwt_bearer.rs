//! jwt-bearer (RFC 7523 §2.1): a workload shows what its platform says about it, and gets a token of the task of the
//! identity that a trust rule makes it.

use std::sync::Arc;

use bailiwick_attest::{AttestError, Attested, Evidence, IssuerProfile, KeyPlace};
use bailiwick_base::{TenantId, Time};
use bailiwick_credential::trust::{IssuerKeys, Trust, TrustedIssuer};
use bailiwick_outbound::AddressRule;
use bailiwick_wire as wire;
use http::StatusCode;

use super::client_credentials::{bound, task_of};
use super::{details, id_jag, require_resource};
use crate::Deps;
use crate::issue::{self, Requester};
use crate::oauth::error::{OauthError, bad, refused};
use crate::oauth::federation::UsedError;
use crate::oauth::form::Form;
use crate::oauth::once;
use crate::oauth::proof::Shown;

/// Rules that the log tells of, for one workload that none admits.
const RULES_TOLD_MAX: usize = 8;
pub(super) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

pub(super) async fn granted(
    deps: &Deps,
    tenant: &TenantId,
    form: &Form,
    shown: &Shown,
) -> Result<wire::Token, OauthError> {
    let assertion = shown_by(deps, tenant, form)?;
    let (requester, attested) = workload(deps, tenant, form, shown, assertion).await?;
    issued(deps, tenant, form, (requester, &attested), shown).await
}

/// What a workload shows.
pub(super) fn shown_by<'a>(deps: &Deps, tenant: &TenantId, form: &'a Form) -> Result<&'a str, OauthError> {
    let assertion = form
        .get("assertion")
        .ok_or_else(|| bad("invalid_request", "parameter `assertion` is missing"))?;
    require_resource(deps, tenant, form)?;
    Ok(assertion)
}

/// A token of the task for a workload that is known.
pub(super) async fn issued(
    deps: &Deps,
    tenant: &TenantId,
    form: &Form,
    (requester, attested): (Requester, &Attested),
    shown: &Shown,
) -> Result<wire::Token, OauthError> {
    let task = task_of(deps, tenant, form, &requester)?;
    let requested = details::requested(deps, form, &task, &requester)?;
    let held = deps
        .cell
        .load()
        .task(&task)
        .map(|(_, grant)| grant.coarse_scopes());
    let requested = id_jag::narrowed(attested, &held.unwrap_or_default(), requested)?;
    let bound = bound(deps, tenant, &requester, shown)?;
    let issued = issue::for_task(deps, &task, 1, requester, requested.as_ref(), bound)
        .await
        .map_err(|e| refused(&e))?;
    let token = issued.tokens.into_iter().next();
    token
        .map(|token| details::told(deps, form, &task, token))
        .ok_or_else(|| bad("invalid_grant", "no token was issued"))
}

/// Who shows this, by the trust rules of the tenant.
async fn workload(
    deps: &Deps,
    tenant: &TenantId,
    form: &Form,
    shown: &Shown,
    assertion: &str,
) -> Result<(Requester, Attested), OauthError> {
    let evidence = Evidence::parse(assertion.as_bytes()).map_err(|e| unproven(deps, tenant, &e))?;
    let issuer = one_issuer(deps, tenant, &evidence)?;
    let profile = issuer_of(tenant, &issuer)?;
    let attested = deps
        .federation
        .attester
        .verify(&evidence, &profile, &deps.issuer(tenant), deps.clock.now())
        .await
        .map_err(|e| unproven(deps, tenant, &e))?;
    // Fetching keys takes time: what ended meanwhile has ended.
    let (now, snapshot) = (deps.clock.now(), deps.cell.load());
    attested
        .require_alive(now)
        .map_err(|e| unproven(deps, tenant, &e))?;
    // Only rules of the issuer that signed: nobody vouches for the workloads of somebody else.
    let rules: Vec<_> = snapshot
        .trusts(tenant)
        .filter(|rule| rule.is_alive(now) && rule.issuer == issuer)
        .cloned()
        .collect();
    let (rule, since) = chosen(deps, &rules, &attested)?;
    id_jag::require_client(deps, tenant, (form, shown), &attested, rule).await?;
    let requester = taken(deps, tenant, &attested, (rule, since)).await?;
    Ok((requester, attested))
}

/// The rule that makes a workload an identity, of rules that are alive and of its issuer; and since when that issuer is
/// trusted.
pub(super) fn chosen<'a>(
    deps: &Deps,
    rules: &'a [Arc<Trust>],
    attested: &Attested,
) -> Result<(&'a Trust, Time), OauthError> {
    let tenant = &attested.issuer.tenant;
    let since = rules
        .iter()
        .map(|rule| rule.created_at)
        .min()
        .ok_or(AttestError::Issuer)
        .map_err(|e| unproven(deps, tenant, &e))?;
    let mut admitting = rules.iter().filter(|rule| rule.admits(&attested.attributes));
    let rule = admitting
        .next()
        .ok_or_else(|| not_admitted(deps, rules, attested))?;
    if admitting.any(|other| other.identity != rule.identity) {
        return Err(bad(
            "invalid_grant",
            "trust rules make this workload several identities",
        ));
    }
    Ok((rule, since))
}

/// Uses the evidence up.
pub(super) async fn taken(
    deps: &Deps,
    tenant: &TenantId,
    attested: &Attested,
    (rule, since): (&Trust, Time),
) -> Result<Requester, OauthError> {
    deps.federation
        .take(tenant, attested, since, deps.clock.now())
        .map_err(|e| bad("invalid_grant", e.to_string()))?;
    if let Some(token) = attested.once {
        let used = (
            once::of_issuer(&attested.issuer.issuer, token),
            attested.expires_at,
        );
        let replayed = || bad("invalid_grant", UsedError::Before.to_string());
        once::require_first(deps, tenant, used, replayed).await?;
    }
    Ok(Requester::Workload(
        rule.id.clone(),
        rule.identity.clone(),
        Some(attested.token_hash),
    ))
}

/// The issuer that this evidence may be of: `iss` names one, and a SPIFFE ID in `sub` may name another.
fn one_issuer(deps: &Deps, tenant: &TenantId, evidence: &Evidence<'_>) -> Result<TrustedIssuer, OauthError> {
    let (now, snapshot) = (deps.clock.now(), deps.cell.load());
    let mut issuers = snapshot
        .trusts(tenant)
        .filter(|rule| rule.is_alive(now) && evidence.may_be_of(rule.issuer.method, &rule.issuer.url))
        .map(|rule| &rule.issuer);
    let first = issuers
        .next()
        .ok_or(AttestError::Issuer)
        .map_err(|e| unproven(deps, tenant, &e))?;
    if issuers.any(|other| other != first) {
        return Err(bad(
            "invalid_grant",
            "evidence may be of several issuers of this tenant: `iss` names one, the trust domain of `sub` another",
        ));
    }
    Ok(first.clone())
}

pub(super) fn issuer_of(tenant: &TenantId, issuer: &TrustedIssuer) -> Result<IssuerProfile, OauthError> {
    let addresses = AddressRule::parse(&issuer.allow_addresses)
        .map_err(|e| OauthError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", e.to_string()))?;
    Ok(IssuerProfile {
        tenant: tenant.clone(),
        method: issuer.method,
        issuer: issuer.url.clone(),
        keys: match &issuer.keys {
            IssuerKeys::Discovery => KeyPlace::Discovery,
            IssuerKeys::Given(text) => KeyPlace::Given(text.clone()),
            IssuerKeys::Url(url) => KeyPlace::Url(url.clone()),
        },
        addresses,
        danger_plaintext: issuer.danger_plaintext,
    })
}

/// No rule fits what was proven: which attribute differed stands in the log, where the operator looks for it. Who
/// asks is not told: it would learn what to look like.
fn not_admitted(deps: &Deps, rules: &[Arc<Trust>], attested: &Attested) -> OauthError {
    let shown = bailiwick_base::limits::shown;
    for rule in rules.iter().take(RULES_TOLD_MAX) {
        let Some(unsaid) = line(deps, &attested.issuer.tenant, "difference") else {
            break;
        };
        let (attribute, wanted, found) = rule.difference(&attested.attributes).unwrap_or_default();
        tracing::info!(
            issuer = %shown(&rule.issuer.url),
            rule = %rule.id,
            attribute = %shown(attribute),
            wanted = %shown(wanted),
            shown = %found.map_or_else(|| "nothing".to_owned(), |found| format!("`{}`", shown(found))),
            unsaid,
            "a trust rule did not admit a workload"
        );
    }
    bad(
        "invalid_grant",
        "no trust rule of this tenant admits this workload",
    )
}

/// A line of the log about somebody who is not known, if there is one left.
fn line(deps: &Deps, tenant: &TenantId, kind: &'static str) -> Option<u64> {
    deps.federation
        .strangers
        .line(tenant, kind, deps.clock.monotonic())
}

/// The caller may come again when the issuer answers; otherwise the grant is invalid.
pub(super) fn unproven(deps: &Deps, tenant: &TenantId, error: &AttestError) -> OauthError {
    if let Some(unsaid) = line(deps, tenant, error.code()) {
        tracing::info!(%tenant, code = error.code(), %error, unsaid, "evidence of a workload was refused");
    }
    match error {
        // Who asks is nobody yet: what our network looks like from inside stays in the log.
        AttestError::Keys(error) => OauthError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            format!(
                "keys of the issuer are not available ({}): ask again later",
                error.code()
            ),
        ),
        _ => bad("invalid_grant", error.to_string()),
    }
}
