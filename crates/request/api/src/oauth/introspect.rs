//! `POST /t/{tenant}/introspect` (RFC 7662), signed where it is asked for (RFC 9701).
//!
//! The kill-switch read path: what it says is what the next decision would find. Whatever the caller may not see
//! is inactive, and looks exactly like a token that never was.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bailiwick_base::{ClientId, IdentityId, TenantId};
use bailiwick_credential::{Claims, Confirmation, TaskState};
use bailiwick_decide::{Arguments, Call, Door, NamedEntity, Principal, Snapshot, Target};
use bailiwick_grant as grant;
use bailiwick_pep::token::Presented;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use smallvec::SmallVec;

use super::client::authenticate_living;
use super::error::{OauthError, bad, no_store, refused};
use super::form::{self, Form};
use super::metadata::served;
use super::revoke::is_own;
use crate::Deps;
use crate::issue::Requester;
use crate::point::DecisionPoint;
use crate::presented;
use crate::problem::RouteError;
use crate::query::Path;
use crate::signing_keys;

/// The scope, in a task of the caller's identity, that lets it see every token of the tenant.
pub(crate) const SCOPE: (&str, &str) = ("token", "introspect");
/// RFC 9701 §4.
const SIGNED: &str = "application/token-introspection+jwt";

pub(crate) async fn handler(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    parts: Parts,
    body: Body,
) -> Result<Response, Response> {
    let tenant = served(&deps, &slug).map_err(IntoResponse::into_response)?;
    let form = form::read(&parts.headers, body).await?;
    let (client, answer) = introspected(&deps, &tenant, &parts, &form)
        .await
        .map_err(IntoResponse::into_response)?;
    if !is_signed_wanted(&parts.headers) {
        return Ok(no_store((StatusCode::OK, axum::Json(answer)).into_response()));
    }
    let signed = signed(&deps, &tenant, &client, &answer).await;
    signed.map_err(IntoResponse::into_response)
}

async fn introspected(
    deps: &Deps,
    tenant: &TenantId,
    parts: &Parts,
    form: &Form,
) -> Result<(ClientId, Value), OauthError> {
    let Requester::Client(client, identity, _) =
        authenticate_living(deps, tenant, form, Presented::of(parts).certificate).await?
    else {
        return Err(bad("invalid_request", "tokens are introspected by a client"));
    };
    let token = form
        .get("token")
        .ok_or_else(|| bad("invalid_request", "parameter `token` is missing"))?;
    let sees = |claims: &Claims| is_own(claims, &client, &identity) || may_see_all(deps, &identity);
    let answer = told(deps, tenant, token, sees)?;
    Ok((client, answer))
}

/// The same for whoever shows a token of the tenant with the scope `token:introspect`; in the clear only, for the keys
/// that sign answers are not at every point that decides.
pub(crate) async fn by_bearer<P: DecisionPoint>(
    State(point): State<P>,
    Path(slug): Path<String>,
    parts: Parts,
    body: Body,
) -> Result<Response, Response> {
    let tenant = TenantId::parse(&slug).map_err(|_| RouteError::not_found("tenant").into_response())?;
    presented::admitted(&point, Some(&tenant), &parts, ("resource server", &[SCOPE]))
        .map_err(IntoResponse::into_response)?;
    let form = form::read(&parts.headers, body).await?;
    let token = form.get("token");
    let token =
        token.ok_or_else(|| bad("invalid_request", "parameter `token` is missing").into_response())?;
    let answer = told(&point, &tenant, token, |_| true).map_err(IntoResponse::into_response)?;
    let answer = no_store((StatusCode::OK, axum::Json(answer)).into_response());
    Ok(presented::with_nonce(&point, &parts, answer))
}

/// What is said of a token to somebody who may see it, when `sees` holds.
fn told(
    point: &impl DecisionPoint,
    tenant: &TenantId,
    token: &str,
    sees: impl FnOnce(&Claims) -> bool,
) -> Result<Value, OauthError> {
    let inactive = json!({"active": false});
    let now = point.clock().now();
    let Ok(verified) = point.verifier().verify_unshown(tenant, token.as_bytes(), now) else {
        return Ok(inactive);
    };
    if !sees(&verified.claims) {
        return Ok(inactive);
    }
    if !point.cell().is_fresh(point.clock().monotonic()) {
        let stale = "this node has not heard from its store in time";
        return Err(OauthError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            stale.to_owned(),
        ));
    }
    let call = Call {
        id: point
            .pep()
            .next_id(tenant)
            .map_err(|e| refused(&RouteError::broken("randomness failed", &e)))?,
        door: Door::Check,
        principal: Principal::Bearer(verified.bearer()),
        target: Target::Named {
            action: "token.introspect".to_owned(),
            action_properties: Map::new(),
            resource: NamedEntity::default(),
            context: Map::new(),
        },
        arguments: Arguments::default(),
        rates: SmallVec::new(),
    };
    let snapshot = point.cell().load();
    if snapshot.ended(&call, point.clock().now()).is_some() {
        return Ok(inactive);
    }
    active(&snapshot, &verified.claims)
}

/// The claims themselves, that they count, and what the grant says beside them (RFC 9396 §9.2): a delegated token is
/// bounded by several grants, which one list cannot say.
fn active(snapshot: &Snapshot, claims: &Claims) -> Result<Value, OauthError> {
    let mut members = members(&claims.to_json())?;
    if claims.act.is_empty()
        && let Some((_, granted)) = snapshot.task(&claims.task)
    {
        let held = grant::held(&granted.scopes, &claims.scopes);
        members.insert(
            "authorization_details".to_owned(),
            grant::to_authorization_details(&held),
        );
    }
    members.insert("active".to_owned(), json!(true));
    members.insert(
        "token_type".to_owned(),
        json!(Confirmation::token_type(claims.confirmation)),
    );
    Ok(Value::Object(members))
}

/// Claims that cannot be told are no claims of a token that is told to be active.
fn members(claims: &[u8]) -> Result<Map<String, Value>, OauthError> {
    serde_json::from_slice(claims).map_err(|error| {
        tracing::error!(%error, "the claims of a verified token cannot be read");
        let failed = "the claims of the token cannot be told".to_owned();
        OauthError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", failed)
    })
}

/// A resource server: its identity holds an open task that grants `token:introspect`.
fn may_see_all(deps: &Deps, identity: &IdentityId) -> bool {
    let now = deps.clock.now();
    let scope = format!("{}:{}", SCOPE.0, SCOPE.1);
    deps.cell.load().tasks(identity.tenant()).any(|(task, grant)| {
        task.identity == *identity
            && task.state == TaskState::Open
            && (task.opens_at..task.closes_at.min(grant.expires_at)).contains(&now)
            && grant.coarse_scopes().covers(&scope)
    })
}

fn is_signed_wanted(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|value| {
        value.to_str().is_ok_and(|text| {
            text.split(',').any(|part| {
                let kind = part.split(';').next().unwrap_or_default();
                kind.trim().eq_ignore_ascii_case(SIGNED)
            })
        })
    })
}

/// RFC 9701 §5: the answer inside, for this caller; no `sub` and no `exp` outside of it.
async fn signed(
    deps: &Deps,
    tenant: &TenantId,
    client: &ClientId,
    answer: &Value,
) -> Result<Response, OauthError> {
    let claims = json!({
        "iss": deps.issuer(tenant),
        "aud": client.to_string(),
        "iat": deps.clock.now().secs(),
        "token_introspection": answer,
    });
    let said = vec![claims.to_string().into_bytes()];
    let text = signing_keys::sign_all(deps, tenant, "token-introspection+jwt", said)
        .await
        .map_err(|error| OauthError::new(error.status(), "server_error", error.text()))?
        .pop()
        .unwrap_or_default();
    let mut response = no_store((StatusCode::OK, text).into_response());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(SIGNED));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::members;

    #[test]
    fn claims_that_cannot_be_told_are_an_error_and_no_active_token() {
        assert_eq!(members(br#"{"sub":"a"}"#).ok().map(|m| m.len()), Some(1));
        for broken in [&b""[..], b"[]", b"{", b"null"] {
            assert_eq!(
                members(broken).err().map(|e| (e.status.as_u16(), e.error)),
                Some((500, "server_error"))
            );
        }
    }
}
