//! Clients without a key of their own here: who they are and where their browser may go back to.

use bailiwick_base::{ClientId, Digest, IdentityId, TenantId};
use bailiwick_credential::consent::redirect_matches;
use http::StatusCode;

use super::client::{ASSERTION_TYPE, authenticate};
use super::documents;
use super::error::OauthError;
use super::form::Form;
use crate::Deps;
use crate::issue::Requester;

/// A client that may ask for consent.
pub(super) struct Known {
    /// `client_id`.
    pub(super) id: String,
    /// What people call it.
    pub(super) name: String,
    pub(super) redirects: Vec<String>,
    /// Where it described itself with keys.
    pub(super) keys: Option<documents::Keys>,
}

impl Known {
    pub(super) fn redirects_to(&self, presented: &str) -> bool {
        self.redirects
            .iter()
            .any(|registered| redirect_matches(registered, presented))
    }
}

/// Why a client is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unknown {
    #[error(transparent)]
    Document(#[from] documents::DocumentError),
    #[error("it is not registered, or its registration has ended")]
    Unregistered,
}

impl Unknown {
    /// Whether it may be known in a moment.
    pub(super) const fn is_passing(&self) -> bool {
        matches!(self, Self::Document(error) if error.is_passing())
    }
}

impl From<Unknown> for OauthError {
    /// A client that hears `invalid_client` throws its tokens away: that is for what does not pass.
    fn from(error: Unknown) -> Self {
        let why = format!("client is refused: {error}");
        if error.is_passing() {
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", why);
        }
        invalid(why)
    }
}

/// The client that this id names.
pub(super) async fn known(deps: &Deps, tenant: &TenantId, id: &str) -> Result<Known, Unknown> {
    if documents::is_url(id) {
        return Ok(documents::described(deps, tenant, id).await?);
    }
    let client = ClientId::parse(tenant, id).map_err(|_| Unknown::Unregistered)?;
    let now = deps.clock.now();
    let snapshot = deps.cell.load();
    let found = snapshot
        .public_clients(tenant)
        .find(|c| c.id == client && c.is_alive(now));
    let found = found.ok_or(Unknown::Unregistered)?;
    Ok(Known {
        id: id.to_owned(),
        name: found.name.clone(),
        redirects: found.redirects().to_vec(),
        keys: None,
    })
}

/// Who asks an endpoint.
pub(super) enum Caller {
    /// A client of an identity, which proved to hold its key.
    Keyed(ClientId, IdentityId),
    /// A client that described itself with keys, and proved to hold one.
    Described(String),
    /// A client that is known by its name alone.
    Public(String),
}

impl Caller {
    pub(super) fn id(&self) -> String {
        match self {
            Self::Keyed(client, _) => client.to_string(),
            Self::Described(client) | Self::Public(client) => client.clone(),
        }
    }
}

pub(super) fn invalid(why: String) -> OauthError {
    OauthError::new(StatusCode::UNAUTHORIZED, "invalid_client", why)
}

/// The client of a form.
pub(super) async fn caller(
    deps: &Deps,
    tenant: &TenantId,
    form: &Form,
    certificate: Option<Digest>,
) -> Result<Caller, OauthError> {
    let assertion = form.get("client_assertion");
    let asserts = assertion.is_some() || form.get("client_assertion_type").is_some();
    let id = form.get("client_id");
    let Some(id) = id.filter(|id| documents::is_url(id) || !asserts) else {
        if let Some(url) = assertion
            .and_then(subject_of)
            .filter(|sub| documents::is_url(sub))
        {
            return described(deps, tenant, form, &url).await;
        }
        return keyed(deps, tenant, form, certificate).await;
    };
    if documents::is_url(id) {
        return described(deps, tenant, form, id).await;
    }
    match known(deps, tenant, id).await {
        Ok(known) => Ok(Caller::Public(known.id)),
        // A client of an identity may be known by the certificate of its connection.
        Err(_) if certificate.is_some() => keyed(deps, tenant, form, certificate).await,
        Err(error) => Err(error.into()),
    }
}

/// The client that ends a token. While the document of one that described itself cannot be had, whoever holds a token
/// of it may end it: that waits for no server of others.
pub(super) async fn ending(
    deps: &Deps,
    tenant: &TenantId,
    form: &Form,
    certificate: Option<Digest>,
) -> Result<Caller, OauthError> {
    let named = form.get("client_id").filter(|id| documents::is_url(id));
    if let Some(id) = named
        && let Err(error) = known(deps, tenant, id).await
        && error.is_passing()
    {
        return Ok(Caller::Public(id.to_owned()));
    }
    caller(deps, tenant, form, certificate).await
}

async fn keyed(
    deps: &Deps,
    tenant: &TenantId,
    form: &Form,
    certificate: Option<Digest>,
) -> Result<Caller, OauthError> {
    match authenticate(deps, tenant, form, certificate).await? {
        Requester::Client(client, identity, _) => Ok(Caller::Keyed(client, identity)),
        _ => Err(invalid("a client is needed here".to_owned())),
    }
}

/// Whom an assertion names, unverified: it says which client to look up, and nothing else.
fn subject_of(assertion: &str) -> Option<String> {
    let evidence = bailiwick_attest::Evidence::parse(assertion.as_bytes()).ok()?;
    evidence.untrusted_issuer().map(str::to_owned)
}

async fn described(deps: &Deps, tenant: &TenantId, form: &Form, url: &str) -> Result<Caller, OauthError> {
    let known = known(deps, tenant, url).await?;
    match (&known.keys, form.get("client_assertion")) {
        (None, None) => Ok(Caller::Public(known.id)),
        (Some(keys), Some(assertion)) if form.get("client_assertion_type") == Some(ASSERTION_TYPE) => {
            documents::proven(deps, tenant, &known.id, keys, assertion).await?;
            Ok(Caller::Described(known.id))
        }
        (Some(_), _) => Err(invalid(format!(
            "this client has keys: send `client_assertion` with `client_assertion_type` {ASSERTION_TYPE}"
        ))),
        (None, Some(_)) => Err(invalid("this client has no keys in its document".to_owned())),
    }
}
