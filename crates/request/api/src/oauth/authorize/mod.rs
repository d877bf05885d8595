//! `GET /t/{tenant}/authorize` (RFC 6749 §4.1.1, RFC 7636, RFC 8707, RFC 9207): a browser that a client sent.
//!
//! Who it is and where the browser goes back to are settled first; before that, whatever is wrong is told on a page of
//! our own and nobody is redirected. Everything else goes back to the client with `iss`.

mod page;
mod waiting;
mod waiting_list;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use bailiwick_base::{Digest, TenantId};
use bailiwick_credential::ScopeSet;
use bailiwick_credential::consent::Challenge;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use http::request::Parts;

use super::documents;
use super::form::Form;
use super::metadata::served;
use super::public::{self, Known};
use super::token::require_resource;
use crate::Deps;
use crate::query::Path;
pub(crate) use page::host_of;
pub(crate) use waiting::{answer, show};
pub use waiting_list::WaitingList;
pub(crate) use waiting_list::{Asking, Stage, Unfound, WAIT, letters};

/// Where a request comes from: its address, or the whole network of one subscriber. The listener says it.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub std::net::IpAddr);

/// Bytes of a query.
const QUERY_MAX: usize = 8 * 1024;
/// Bytes of `state`.
const STATE_MAX: usize = 2_048;
/// Scopes in `scope`.
const SCOPES_MAX: usize = 64;

/// What goes back to the client: the error and its description.
type Answered = (&'static str, String);

pub(crate) async fn begin(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    RawQuery(query): RawQuery,
    parts: Parts,
) -> Response {
    let Ok(tenant) = served(&deps, &slug) else {
        return page::refused(StatusCode::NOT_FOUND, "There is no such place here.");
    };
    let query = query.unwrap_or_default();
    if query.len() > QUERY_MAX {
        return page::refused(StatusCode::BAD_REQUEST, "The address of this page is too long.");
    }
    let form = match Form::parse(query.as_bytes()) {
        Ok(form) => form,
        Err(error) => {
            return page::refused(
                StatusCode::BAD_REQUEST,
                &format!("The request is malformed: {}.", error.description),
            );
        }
    };
    let (known, redirect) = match returning(&deps, &tenant, &form).await {
        Ok(found) => found,
        Err((status, text)) => return page::refused(status, &text),
    };
    let state = form.get("state").map(str::to_owned);
    let described = documents::is_url(&known.id);
    let asked = read(&deps, &tenant, &form);
    let began = asked.and_then(|(challenge, scopes, key)| {
        let asking = Asking {
            client: known.id,
            client_name: known.name,
            redirect: redirect.clone(),
            resources: form.all("resource").map(str::to_owned).collect(),
            scopes,
            state: state.clone(),
            challenge,
            key,
        };
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        deps.waiting
            .add(&deps, &tenant, asking, peer)
            .map_err(|full| ("temporarily_unavailable", full.to_string()))
    });
    match began {
        Ok((place, cookie)) => page::begun(&deps, &tenant, &place, &cookie),
        Err((error, text)) if described => {
            page::offered(&redirect, &deps.issuer(&tenant), state.as_deref(), (error, &text))
        }
        Err((error, text)) => page::back(
            &redirect,
            &deps.issuer(&tenant),
            state.as_deref(),
            &[("error", error), ("error_description", &text)],
        ),
    }
}

/// Whose browser this is, and where it goes back to; the text is for the page.
async fn returning(
    deps: &Deps,
    tenant: &TenantId,
    form: &Form,
) -> Result<(Known, String), (StatusCode, String)> {
    let wrong = |text: &str| Err((StatusCode::BAD_REQUEST, text.to_owned()));
    let Some(id) = form.get("client_id") else {
        return wrong("The request names no client (`client_id`).");
    };
    let known = public::known(deps, tenant, id).await.map_err(|error| {
        let status = if error.is_passing() {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::BAD_REQUEST
        };
        (status, format!("This client is not known here: {error}."))
    })?;
    let Some(redirect) = form.get("redirect_uri") else {
        return wrong("The request does not say where to go back to (`redirect_uri`).");
    };
    if !known.redirects_to(redirect) {
        let text = "The request wants to send you to an address that is not registered for this client \
                    (`redirect_uri`). You were not sent there.";
        return wrong(text);
    }
    if form.get("state").is_some_and(|state| state.len() > STATE_MAX) {
        return wrong("The request is too long (`state`).");
    }
    Ok((known, redirect.to_owned()))
}

/// What is asked for: with the challenge of its client, and the key where its code is for the holder of one.
type Asked = (Challenge, Option<ScopeSet>, Option<Digest>);

fn read(deps: &Deps, tenant: &TenantId, form: &Form) -> Result<Asked, Answered> {
    let wrong = |text: &str| Err(("invalid_request", text.to_owned()));
    if form.get("request").is_some() {
        return Err(("request_not_supported", "`request` is not taken here".to_owned()));
    }
    if form.get("request_uri").is_some() {
        return Err((
            "request_uri_not_supported",
            "`request_uri` is not taken here".to_owned(),
        ));
    }
    match form.get("response_type") {
        Some("code") => {}
        Some(_) => {
            return Err((
                "unsupported_response_type",
                "`response_type` must be code".to_owned(),
            ));
        }
        None => return wrong("parameter `response_type` is missing"),
    }
    if form.get("response_mode").is_some_and(|mode| mode != "query") {
        return wrong("`response_mode` must be query");
    }
    if form.get("authorization_details").is_some() {
        let text = "`authorization_details` are not taken here: the operator chooses the task";
        return Err(("invalid_authorization_details", text.to_owned()));
    }
    if form.get("code_challenge_method") != Some("S256") {
        return wrong("`code_challenge_method` must be S256");
    }
    let Some(challenge) = form.get("code_challenge").and_then(Challenge::parse) else {
        return wrong("`code_challenge` must be a SHA-256 in base64url (RFC 7636)");
    };
    require_resource(deps, tenant, form).map_err(|error| (error.error, error.description))?;
    let scopes = form.get("scope").map(ScopeSet::parse);
    if scopes.as_ref().is_some_and(|scopes| !is_scope(scopes)) {
        return Err((
            "invalid_scope",
            format!("`scope` must be 1 to {SCOPES_MAX} words of the form server:tool"),
        ));
    }
    let key = form.get("dpop_jkt").map(thumbprint).transpose()?;
    Ok((challenge, scopes, key))
}

/// RFC 9449 §10.
fn thumbprint(text: &str) -> Result<Digest, Answered> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    let digest = bytes.and_then(|bytes| bytes.try_into().ok());
    digest.map(Digest).ok_or_else(|| {
        let text = "`dpop_jkt` must be the SHA-256 thumbprint of a key in base64url (RFC 9449)";
        ("invalid_request", text.to_owned())
    })
}

/// RFC 6749 §3.3, and short enough to be read by a person.
fn is_scope(scopes: &ScopeSet) -> bool {
    let plain = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    (1..=SCOPES_MAX).contains(&scopes.iter().count())
        && scopes.iter().all(|s| s.len() <= 128 && s.bytes().all(plain))
}
