//! AWS: a workload shows a signed GetCallerIdentity, and gets a token of the task of the identity that a trust rule
//! makes it.

use bailiwick_attest::{AttestError, Attested, SignedRequest};
use bailiwick_base::TenantId;
use bailiwick_credential::trust::Method;
use bailiwick_wire as wire;

use super::jwt_bearer::{chosen, issued, issuer_of, shown_by, taken, unproven};
use crate::Deps;
use crate::issue::Requester;
use crate::oauth::error::OauthError;
use crate::oauth::form::Form;
use crate::oauth::proof::Shown;

/// Ours: no standard has a name for it.
pub(super) const GRANT_TYPE: &str = "urn:bailiwick:grant-type:aws-sts";

pub(super) async fn granted(
    deps: &Deps,
    tenant: &TenantId,
    form: &Form,
    shown: &Shown,
) -> Result<wire::Token, OauthError> {
    let assertion = shown_by(deps, tenant, form)?;
    let (requester, attested) = workload(deps, tenant, assertion).await?;
    issued(deps, tenant, form, (requester, &attested), shown).await
}

async fn workload(
    deps: &Deps,
    tenant: &TenantId,
    assertion: &str,
) -> Result<(Requester, Attested), OauthError> {
    let request = SignedRequest::parse(assertion, &deps.issuer(tenant), deps.clock.now())
        .map_err(|e| unproven(deps, tenant, &e))?;
    let rules = |deps: &Deps| -> Vec<_> {
        let now = deps.clock.now();
        let of_aws = |rule: &bailiwick_credential::trust::Trust| {
            rule.is_alive(now) && rule.issuer.method == Method::Aws && request.may_go_to(&rule.issuer.url)
        };
        let snapshot = deps.cell.load();
        snapshot
            .trusts(tenant)
            .filter(|rule| of_aws(rule))
            .cloned()
            .collect()
    };
    let before = rules(deps);
    let first = before
        .first()
        .ok_or(AttestError::Issuer)
        .map_err(|e| unproven(deps, tenant, &e))?;
    // One endpoint answers for the request, and its answer counts for the rules that name it.
    let sts = deps.federation.sts.as_ref().ok_or(AttestError::Issuer);
    let attested = sts
        .map_err(|e| unproven(deps, tenant, &e))?
        .verify(&request, &issuer_of(tenant, &first.issuer)?)
        .await
        .map_err(|e| unproven(deps, tenant, &e))?;
    // Time has passed: what was removed meanwhile admits nobody.
    let mut after = rules(deps);
    after.retain(|rule| rule.issuer == first.issuer);
    let (rule, since) = chosen(deps, &after, &attested)?;
    let requester = taken(deps, tenant, &attested, (rule, since)).await?;
    Ok((requester, attested))
}
