//! Authorization server metadata (RFC 8414, and the OIDC discovery alias) and protected resource metadata
//! (RFC 9728), each at every path a client tries.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use bailiwick_base::{ServerName, SigningAlgorithm, TenantId};
use bailiwick_credential::signing_key::KEY_SET_AGE;
use http::header;
use serde_json::{Value, json};

use crate::Deps;
use crate::problem::RouteError;
use crate::query::Path;

/// `GET /.well-known/oauth-authorization-server/t/{tenant}` and its two aliases.
///
/// It names what is served and no more.
pub(crate) async fn authorization_server(
    State(deps): State<Deps>,
    Path(tenant): Path<String>,
) -> Result<Json<Value>, RouteError> {
    let tenant = served(&deps, &tenant)?;
    let issuer = deps.issuer(&tenant);
    let algorithms: Vec<&str> = SigningAlgorithm::ALL.iter().map(|a| a.as_str()).collect();
    // Answers are signed with the key that signs the tenant's tokens: one algorithm, not every one that a client
    // may sign its assertion with.
    let signs: Vec<&str> = deps
        .keyring
        .signer(&tenant)
        .map(|signer| signer.algorithm().as_str())
        .into_iter()
        .collect();
    let mut methods = vec!["private_key_jwt"];
    if deps.certificates {
        methods.push("self_signed_tls_client_auth");
    }
    let scopes: Vec<String> = deps
        .cell
        .load()
        .servers(&tenant)
        .map(|s| format!("{}:*", s.name))
        .collect();
    let public_too: Vec<&str> = methods.iter().copied().chain(["none"]).collect();
    let mut metadata = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "authorization_response_iss_parameter_supported": true,
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "revocation_endpoint_auth_methods_supported": public_too,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint": format!("{issuer}/introspect"),
        "introspection_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_signing_alg_values_supported": signs,
        "scopes_supported": scopes,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": super::token::GRANT_TYPES,
        "authorization_details_types_supported": [bailiwick_grant::DETAIL_TYPE],
        "token_endpoint_auth_methods_supported": public_too,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "dpop_signing_alg_values_supported": crate::presented::algorithms(),
        "tls_client_certificate_bound_access_tokens": deps.certificates,
    });
    if super::documents::are_served(&deps, &tenant)
        && let Some(members) = metadata.as_object_mut()
    {
        members.insert("client_id_metadata_document_supported".to_owned(), json!(true));
    }
    Ok(Json(metadata))
}

/// `GET /.well-known/oauth-protected-resource/t/{tenant}/mcp` and `…/mcp/{server}`.
pub(crate) async fn protected_resource(
    State(deps): State<Deps>,
    Path(path): Path<Vec<(String, String)>>,
) -> Result<Json<Value>, RouteError> {
    let part = |name: &str| path.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let tenant = served(&deps, part("tenant").unwrap_or_default())?;
    let snapshot = deps.cell.load();
    let resource = match part("server") {
        None => deps.audience(&tenant),
        Some(name) => {
            let name = ServerName::parse(name).map_err(|_| RouteError::not_found("server"))?;
            snapshot
                .server(&tenant, &name)
                .ok_or_else(|| RouteError::not_found("server"))?;
            format!("{}/{name}", deps.audience(&tenant))
        }
    };
    Ok(Json(json!({
        "resource": resource,
        "authorization_servers": [deps.issuer(&tenant)],
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": crate::presented::algorithms(),
        "tls_client_certificate_bound_access_tokens": deps.certificates,
    })))
}

/// `GET /t/{tenant}/jwks`. It says how long it may be kept: a key is published longer than that before it signs.
pub(crate) async fn jwks(
    State(deps): State<Deps>,
    Path(tenant): Path<String>,
) -> Result<impl IntoResponse, RouteError> {
    let tenant = served(&deps, &tenant)?;
    let age = format!("public, max-age={}", KEY_SET_AGE.as_secs());
    let keys = deps.jwks(&tenant)?;
    Ok(([(header::CACHE_CONTROL, age)], Json(keys)))
}

/// `GET /t/{tenant}/spiffe/bundle`: what verifies the SVIDs of the tenant.
pub(crate) async fn spiffe_bundle(
    State(deps): State<Deps>,
    Path(tenant): Path<String>,
) -> Result<Json<Value>, RouteError> {
    let tenant = served(&deps, &tenant)?;
    let asked = deps.clone();
    // The authority is made at the first question, with a write to the disk.
    tokio::task::spawn_blocking(move || asked.spiffe_bundle(&tenant))
        .await
        .map_err(|e| RouteError::broken("bundle could not be made", &e))?
        .map(Json)
}

/// The tenant, when it is served.
pub(crate) fn served(deps: &Deps, slug: &str) -> Result<TenantId, RouteError> {
    let tenant = TenantId::parse(slug).map_err(|_| RouteError::not_found("tenant"))?;
    if deps.cell.load().tenant(&tenant).is_some() {
        Ok(tenant)
    } else {
        Err(RouteError::not_found("tenant"))
    }
}
