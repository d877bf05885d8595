//! Who asks: `private_key_jwt` (RFC 7523 §3, audience as in 7523bis), or `self_signed_tls_client_auth` (RFC 8705 §2.2).

use bailiwick_base::{ClientId, Digest, IdentityId, TenantId};
use bailiwick_pep::token::{AssertionError, UnverifiedAssertion};
use http::StatusCode;

use super::error::OauthError;
use super::form::Form;
use super::once;
use crate::Deps;
use crate::effective::View;
use crate::issue::Requester;

pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The client that the form names, when this connection has the certificate it is registered with (RFC 8705 §2.2).
fn by_certificate(deps: &Deps, tenant: &TenantId, form: &Form, shown: Digest) -> Option<Requester> {
    let id = ClientId::parse(tenant, form.get("client_id")?).ok()?;
    let snapshot = deps.cell.load();
    let client = snapshot.client(&id)?;
    let known = client.certificate == Some(shown) && client.expires_at > deps.clock.now();
    known.then(|| Requester::Client(client.id.clone(), client.identity.clone(), None))
}

/// The client of the form, once it proved to hold its key.
pub(super) async fn authenticate(
    deps: &Deps,
    tenant: &TenantId,
    form: &Form,
    certificate: Option<Digest>,
) -> Result<Requester, OauthError> {
    let invalid = |why: String| OauthError::new(StatusCode::UNAUTHORIZED, "invalid_client", why);
    let asserts = form.get("client_assertion").is_some() || form.get("client_assertion_type").is_some();
    if let (false, Some(certificate)) = (asserts, certificate) {
        return by_certificate(deps, tenant, form, certificate)
            .ok_or_else(|| invalid(AssertionError::Client.to_string()));
    }
    if form.get("client_assertion_type") != Some(ASSERTION_TYPE) {
        return Err(invalid(format!(
            "`client_assertion_type` must be {ASSERTION_TYPE}"
        )));
    }
    let assertion = form
        .get("client_assertion")
        .ok_or_else(|| invalid("parameter `client_assertion` is missing".to_owned()))?;
    // Signed as it should be, and perhaps used before this process began to remember: nobody can tell, so it is not
    // taken, and the client did nothing wrong.
    let refused = |e: AssertionError| match e {
        AssertionError::TooEarly { retry_after } => OauthError::later(retry_after, e.to_string()),
        _ => invalid(e.to_string()),
    };
    let assertion = UnverifiedAssertion::parse(tenant, assertion.as_bytes()).map_err(refused)?;
    let named = assertion.untrusted_client().to_string();
    if form.get("client_id").is_some_and(|id| id != named) {
        return Err(invalid(
            "`client_id` and the assertion name different clients".to_owned(),
        ));
    }
    let (verified, identity) = {
        let snapshot = deps.cell.load();
        let client = snapshot
            .client(assertion.untrusted_client())
            .ok_or(AssertionError::Client)
            .map_err(refused)?;
        let verified = deps
            .assertions
            .verify(&assertion, client, &deps.issuer(tenant), deps.clock.now())
            .map_err(refused)?;
        (verified, client.identity.clone())
    };
    let used = (verified.token_hash, verified.expires_at);
    once::require_first(deps, tenant, used, || refused(AssertionError::Replayed)).await?;
    Ok(Requester::Client(verified.client, identity, verified.composition))
}

/// The client of the form, whose identity may act now. Where a token is asked for, the decision says that.
pub(super) async fn authenticate_living(
    deps: &Deps,
    tenant: &TenantId,
    form: &Form,
    certificate: Option<Digest>,
) -> Result<Requester, OauthError> {
    let requester = authenticate(deps, tenant, form, certificate).await?;
    if let Requester::Client(_, identity, _) = &requester {
        require_living(deps, identity)?;
    }
    Ok(requester)
}

/// Whoever is stopped asks for nothing any more, about others neither.
pub(super) fn require_living(deps: &Deps, identity: &IdentityId) -> Result<(), OauthError> {
    let snapshot = deps.cell.load();
    let state = snapshot
        .identity(identity)
        .map(|identity| View::new(deps, &snapshot).identity(identity).state);
    let why = match state.as_deref() {
        Some("active" | "probation") => return Ok(()),
        Some(state) => format!("the identity of this client is {state}"),
        None => "the identity of this client is not known".to_owned(),
    };
    Err(OauthError::new(StatusCode::UNAUTHORIZED, "invalid_client", why))
}
