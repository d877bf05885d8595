//! Identity assertion authorization grants (MCP enterprise-managed authorization): what is asked beyond a workload's
//! evidence. The client that redeems one is the client it names, and holds a key.

use bailiwick_attest::Attested;
use bailiwick_base::TenantId;
use bailiwick_credential::ScopeSet;
use bailiwick_credential::consent::common_scopes;
use bailiwick_credential::trust::{Method, Trust};

use crate::Deps;
use crate::oauth::error::{OauthError, bad};
use crate::oauth::form::Form;
use crate::oauth::proof::Shown;
use crate::oauth::public::{self, Caller};

/// Who redeems it has a key and is who it names; a client of an identity acts for that identity only.
pub(super) async fn require_client(
    deps: &Deps,
    tenant: &TenantId,
    (form, shown): (&Form, &Shown),
    attested: &Attested,
    rule: &Trust,
) -> Result<(), OauthError> {
    if attested.issuer.method != Method::IdJag {
        return Ok(());
    }
    let named = attested.attributes.get("client_id").map(String::as_str);
    let caller = public::caller(deps, tenant, form, shown.certificate()).await?;
    if let Caller::Public(_) = caller {
        let text = "an identity assertion is redeemed by a client with a key (`private_key_jwt`)";
        return Err(bad("unauthorized_client", text));
    }
    if named != Some(caller.id().as_str()) {
        return Err(bad("invalid_grant", "the assertion was made for another client"));
    }
    if matches!(&caller, Caller::Keyed(_, identity) if *identity != rule.identity) {
        let text = "the trust rule makes this client another identity than its own";
        return Err(bad("invalid_grant", text));
    }
    let resource = attested.attributes.get("resource");
    if resource.is_some_and(|resource| !super::is_ours(deps, tenant, resource)) {
        return Err(bad("invalid_grant", "the assertion is for another `resource`"));
    }
    Ok(())
}

/// The token carries no more than the assertion says (`scope`), and no more than was asked for.
pub(super) fn narrowed(
    attested: &Attested,
    granted: &ScopeSet,
    requested: Option<ScopeSet>,
) -> Result<Option<ScopeSet>, OauthError> {
    let said = attested
        .attributes
        .get("scope")
        .filter(|_| attested.issuer.method == Method::IdJag);
    let Some(said) = said.map(|text| ScopeSet::parse(text)) else {
        return Ok(requested);
    };
    let wanted = match requested {
        None => common_scopes(granted, &said),
        Some(requested) => {
            if let Some(wider) = requested.iter().find(|scope| !said.covers(scope)) {
                let shown = bailiwick_base::limits::shown(wider);
                return Err(bad(
                    "invalid_scope",
                    format!("scope `{shown}` is not in the assertion"),
                ));
            }
            requested
        }
    };
    if wanted.is_empty() {
        return Err(bad(
            "invalid_scope",
            "the task grants nothing of what the assertion says",
        ));
    }
    Ok(Some(wanted))
}
