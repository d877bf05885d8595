//! Clients that describe themselves: the id is the URL of a document (client id metadata documents).
//!
//! Nothing is fetched but from where an operator of the tenant said, through the one guarded way out.

use std::sync::Arc;

use bailiwick_attest::{AttestError, Evidence, IssuerProfile, KeyPlace};
use bailiwick_base::limits::{can_be_seen, shown};
use bailiwick_base::{TenantId, Time};
use bailiwick_credential::consent::{ClientSource, PublicClient, require_redirect};
use bailiwick_credential::trust::Method;
use bailiwick_outbound::{AddressRule, Destination, FetchConfig, FetchError, Need};
use serde_json::Value;

use super::error::OauthError;
use super::federation::UsedError;
use super::public::Known;
use crate::Deps;

/// Bytes of a document. The draft speaks of 5 KiB; documents with a key set are longer.
const DOCUMENT_MAX: usize = 16 * 1024;
/// Redirect URIs of a document.
const REDIRECTS_MAX: usize = 32;

/// How documents of clients are fetched.
#[must_use]
pub fn document_fetching() -> FetchConfig {
    FetchConfig {
        body_max: DOCUMENT_MAX,
        ..FetchConfig::default()
    }
}

/// Why a document does not describe a client.
#[derive(Debug, thiserror::Error)]
pub(super) enum DocumentError {
    #[error("its document cannot be had at this moment: come again")]
    Away,
    #[error("too many documents are fetched at this moment: come again")]
    Busy,
    #[error("its document cannot be had")]
    Fetch,
    #[error("its document may not be fetched from there")]
    Guarded,
    #[error("its document is refused: {0}")]
    Member(&'static str),
    #[error("no operator of this tenant lets documents from there describe clients")]
    NotAdmitted,
    #[error("its id is not the URL of a document: {0}")]
    Url(&'static str),
}

impl From<FetchError> for DocumentError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Guarded(_) => Self::Guarded,
            FetchError::Busy => Self::Busy,
            FetchError::Closed | FetchError::TimedOut | FetchError::Unreachable(_) => Self::Away,
            FetchError::Status(500..=599) => Self::Away,
            _ => Self::Fetch,
        }
    }
}

impl DocumentError {
    /// Whether its server, or this one, may answer better in a moment: that says nothing about the client.
    pub(super) const fn is_passing(&self) -> bool {
        matches!(self, Self::Away | Self::Busy)
    }
}

/// How a described client proves who it is.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    place: KeyPlace,
    addresses: AddressRule,
    danger_plaintext: bool,
    /// Since when its documents are taken.
    since: Time,
}

/// Whether an id is a URL, so that a document is meant.
pub(super) fn is_url(id: &str) -> bool {
    id.starts_with("https://") || id.starts_with("http://")
}

/// Whether documents are taken in this tenant.
pub(super) fn are_served(deps: &Deps, tenant: &TenantId) -> bool {
    let now = deps.clock.now();
    let snapshot = deps.cell.load();
    snapshot
        .public_clients(tenant)
        .any(|c| c.is_alive(now) && matches!(c.source, ClientSource::Documents { .. }))
}

/// The client whose document stands at `url`.
pub(super) async fn described(deps: &Deps, tenant: &TenantId, url: &str) -> Result<Known, DocumentError> {
    require_place(url)?;
    let rule = admitting(deps, tenant, url).ok_or(DocumentError::NotAdmitted)?;
    let ClientSource::Documents {
        allow_addresses,
        danger_plaintext,
        ..
    } = &rule.source
    else {
        return Err(DocumentError::NotAdmitted);
    };
    let addresses = AddressRule::parse(allow_addresses)
        .map_err(|_| DocumentError::Url("the address ranges of its rule are not usable"))?;
    let destination = Destination {
        tenant: tenant.clone(),
        url: url.to_owned(),
        addresses: addresses.clone(),
        danger_plaintext: *danger_plaintext,
    };
    let turn = || deps.federation.turns.take(tenant, &host(url));
    let documents = &deps.federation.documents;
    let document = documents
        .json_in_turn(&destination, Need::Kept, turn)
        .await
        .map_err(|error| unfetched(deps, tenant, error))?;
    let mut known = read(&document.value, url)?;
    if let Some(place) = known.1 {
        known.0.keys = Some(Keys {
            place,
            addresses,
            danger_plaintext: *danger_plaintext,
            since: rule.created_at,
        });
    }
    Ok(known.0)
}

/// The page tells strangers no more than that it failed; why stands in the log.
fn unfetched(deps: &Deps, tenant: &TenantId, error: FetchError) -> DocumentError {
    let line = deps
        .federation
        .strangers
        .line(tenant, "document", deps.clock.monotonic());
    if let Some(unsaid) = line {
        tracing::info!(%tenant, code = error.code(), %error, unsaid, "the document of a client was not fetched");
    }
    error.into()
}

fn admitting(deps: &Deps, tenant: &TenantId, url: &str) -> Option<Arc<PublicClient>> {
    let now = deps.clock.now();
    let snapshot = deps.cell.load();
    let mut rules = snapshot.public_clients(tenant);
    rules
        .find(|rule| rule.is_alive(now) && rule.admits_document(url))
        .cloned()
}

/// What the draft asks of the URL beyond what the guarded way out does: a path, and nothing that could be read twice.
fn require_place(url: &str) -> Result<(), DocumentError> {
    let path = url.splitn(4, '/').nth(3).unwrap_or_default();
    if path.is_empty() {
        return Err(DocumentError::Url("it has no path"));
    }
    if url.contains(['?', '#', '\\', '@']) {
        return Err(DocumentError::Url("it has a query, a fragment or a user"));
    }
    if path.split('/').any(|part| matches!(part, "." | "..")) || path.contains('%') {
        return Err(DocumentError::Url("its path can be read in two ways"));
    }
    Ok(())
}

fn read(document: &Value, url: &str) -> Result<(Known, Option<KeyPlace>), DocumentError> {
    let refused = |rule| Err(DocumentError::Member(rule));
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    if text("client_id") != Some(url) {
        return refused("its `client_id` is not its own URL, byte for byte");
    }
    if document.get("client_secret").is_some() || document.get("client_secret_expires_at").is_some() {
        return refused("it holds a shared secret, which everybody can read");
    }
    for (name, wanted) in [("grant_types", "authorization_code"), ("response_types", "code")] {
        let has = |list: &Vec<Value>| list.iter().any(|v| v.as_str() == Some(wanted));
        if document
            .get(name)
            .is_some_and(|list| !list.as_array().is_some_and(has))
        {
            return refused("its `grant_types` or `response_types` leave the authorization code out");
        }
    }
    let redirects: Vec<String> = match document.get("redirect_uris").and_then(Value::as_array) {
        Some(list) if (1..=REDIRECTS_MAX).contains(&list.len()) => {
            let usable = list
                .iter()
                .filter_map(Value::as_str)
                .filter(|uri| require_redirect(uri).is_ok());
            usable.map(str::to_owned).collect()
        }
        _ => return refused("its `redirect_uris` are not a list of 1 to 32"),
    };
    if redirects.is_empty() {
        return refused("none of its `redirect_uris` is usable");
    }
    let place = match text("token_endpoint_auth_method").or_else(|| {
        // Left out, it is a client without a key: the default of RFC 7591 is a shared secret, which it cannot have.
        document
            .get("token_endpoint_auth_method")
            .is_none()
            .then_some("none")
    }) {
        Some("none") => None,
        Some("private_key_jwt") => match (document.get("jwks"), text("jwks_uri")) {
            (Some(keys), None) => Some(KeyPlace::Given(keys.to_string())),
            (None, Some(url)) => Some(KeyPlace::Url(url.to_owned())),
            _ => return refused("it has to have `jwks` or `jwks_uri`, one of both"),
        },
        _ => return refused("its `token_endpoint_auth_method` is neither `none` nor `private_key_jwt`"),
    };
    let name = text("client_name")
        .map(str::trim)
        .filter(|name| can_be_seen(name));
    let known = Known {
        id: url.to_owned(),
        name: name.map_or_else(|| host(url), shown),
        redirects,
        keys: None,
    };
    Ok((known, place))
}

fn host(url: &str) -> String {
    url.split('/').nth(2).unwrap_or(url).to_owned()
}

/// A described client with keys proves that it holds one (RFC 7523), once with each assertion.
pub(super) async fn proven(
    deps: &Deps,
    tenant: &TenantId,
    client: &str,
    keys: &Keys,
    assertion: &str,
) -> Result<(), OauthError> {
    let refused = |error: &AttestError| super::public::invalid(format!("assertion is refused: {error}"));
    let evidence = Evidence::parse(assertion.as_bytes()).map_err(|e| refused(&e))?;
    let party = IssuerProfile {
        tenant: tenant.clone(),
        method: Method::GenericOidc,
        issuer: client.to_owned(),
        keys: keys.place.clone(),
        addresses: keys.addresses.clone(),
        danger_plaintext: keys.danger_plaintext,
    };
    let now = deps.clock.now();
    let asserted = deps
        .federation
        .attester
        .verify_own(&evidence, &party, &deps.issuer(tenant), now)
        .await
        .map_err(|e| refused(&e))?;
    let once = (Some(asserted.once), Some(asserted.issued_at), asserted.expires_at);
    deps.federation
        .take_once(tenant, client, once, keys.since, now)
        .map_err(|e| super::public::invalid(e.to_string()))?;
    let used = (super::once::of_issuer(client, asserted.once), asserted.expires_at);
    let replayed = || super::public::invalid(UsedError::Before.to_string());
    super::once::require_first(deps, tenant, used, replayed).await
}
