//! `POST /t/{tenant}/token` (RFC 6749 §3.2): one file per grant type.

pub(super) mod authorization_code;
mod aws_sts;
mod client_credentials;
mod composition;
mod details;
mod id_jag;
mod jwt_bearer;
mod refresh_token;
mod token_exchange;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bailiwick_base::{ServerName, TenantId};
use http::StatusCode;
use http::request::Parts;

use super::error::{OauthError, bad, no_store};
use super::form::{self, Form};
use super::metadata::served;
use super::proof::Shown;
use crate::Deps;
use crate::presented::with_nonce;
use crate::query::Path;

/// The grant types that are served here, as metadata names them.
pub(super) const GRANT_TYPES: [&str; 6] = [
    aws_sts::GRANT_TYPE,
    authorization_code::GRANT_TYPE,
    "client_credentials",
    jwt_bearer::GRANT_TYPE,
    refresh_token::GRANT_TYPE,
    token_exchange::GRANT_TYPE,
];

pub(crate) async fn handler(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    parts: Parts,
    body: Body,
) -> Result<Response, Response> {
    let tenant = served(&deps, &slug).map_err(IntoResponse::into_response)?;
    let form = form::read(&parts.headers, body).await?;
    let response = match granted(&deps, &tenant, &parts, &form).await {
        Ok(token) => no_store((StatusCode::OK, axum::Json(token)).into_response()),
        Err(error) => {
            metrics::counter!("bailiwick_token_requests_refused_total", "error" => error.error).increment(1);
            error.into_response()
        }
    };
    Ok(with_nonce(&deps, &parts, response))
}

async fn granted(
    deps: &Deps,
    tenant: &TenantId,
    parts: &Parts,
    form: &Form,
) -> Result<bailiwick_wire::Token, OauthError> {
    let shown = Shown::read(deps, parts)?;
    match form.get("grant_type") {
        Some(authorization_code::GRANT_TYPE) => authorization_code::granted(deps, tenant, form, &shown).await,
        Some(refresh_token::GRANT_TYPE) => refresh_token::granted(deps, tenant, form, &shown).await,
        Some("client_credentials") => client_credentials::granted(deps, tenant, form, &shown).await,
        Some(token_exchange::GRANT_TYPE) => token_exchange::granted(deps, tenant, form, &shown).await,
        Some(jwt_bearer::GRANT_TYPE) => jwt_bearer::granted(deps, tenant, form, &shown).await,
        Some(aws_sts::GRANT_TYPE) => aws_sts::granted(deps, tenant, form, &shown).await,
        Some(_) => Err(bad(
            "unsupported_grant_type",
            format!("`grant_type` must be one of: {}", GRANT_TYPES.join(", ")),
        )),
        None => Err(bad("invalid_request", "parameter `grant_type` is missing")),
    }
}

/// RFC 8707: a resource that is not ours is `invalid_target`; ours all mean the one audience.
pub(in crate::oauth) fn require_resource(
    deps: &Deps,
    tenant: &TenantId,
    form: &Form,
) -> Result<(), OauthError> {
    if form
        .all("resource")
        .all(|resource| is_ours(deps, tenant, resource))
    {
        return Ok(());
    }
    let audience = deps.audience(tenant);
    Err(bad(
        "invalid_target",
        format!("`resource` must be {audience} or below it"),
    ))
}

/// Whether a resource is the gateway of the tenant, or a server below it.
pub(super) fn is_ours(deps: &Deps, tenant: &TenantId, resource: &str) -> bool {
    let audience = deps.audience(tenant);
    resource.strip_prefix(&audience).is_some_and(|rest| {
        rest.is_empty()
            || rest
                .strip_prefix('/')
                .is_some_and(|name| ServerName::parse(name).is_ok())
    })
}
