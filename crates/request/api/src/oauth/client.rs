//! Who asks: `private_key_jwt` (RFC 7523 §3, audience as in 7523bis).

use bailiwick_base::TenantId;
use bailiwick_pep::token::{AssertionError, UnverifiedAssertion};
use http::StatusCode;

use super::error::OauthError;
use super::form::Form;
use crate::Deps;
use crate::issue::Requester;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The client of the form, once it proved to hold its key.
pub(super) fn authenticate(deps: &Deps, tenant: &TenantId, form: &Form) -> Result<Requester, OauthError> {
    let invalid = |why: String| OauthError(StatusCode::UNAUTHORIZED, "invalid_client", why);
    if form.get("client_assertion_type") != Some(ASSERTION_TYPE) {
        return Err(invalid(format!(
            "`client_assertion_type` must be {ASSERTION_TYPE}"
        )));
    }
    let assertion = form
        .get("client_assertion")
        .ok_or_else(|| invalid("parameter `client_assertion` is missing".to_owned()))?;
    let refused = |e: AssertionError| invalid(e.to_string());
    let assertion = UnverifiedAssertion::parse(tenant, assertion.as_bytes()).map_err(refused)?;
    let named = assertion.untrusted_client().to_string();
    if form.get("client_id").is_some_and(|id| id != named) {
        return Err(invalid(
            "`client_id` and the assertion name different clients".to_owned(),
        ));
    }
    let snapshot = deps.cell.load();
    let client = snapshot
        .client(assertion.untrusted_client())
        .ok_or(AssertionError::Client)
        .map_err(refused)?;
    deps.assertions
        .verify(&assertion, client, &deps.issuer(tenant), deps.clock.now())
        .map_err(refused)?;
    Ok(Requester::Client(client.id.clone(), client.identity.clone()))
}
