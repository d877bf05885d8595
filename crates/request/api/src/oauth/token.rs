//! `POST /t/{tenant}/token`: client_credentials with `private_key_jwt` (RFC 6749 §4.4, RFC 7523).
//!
//! The task is named by the `task` parameter, or by RFC 9396 `authorization_details` of a task that was opened;
//! without one, the identity's only open task is meant.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bailiwick_base::{ServerName, TaskId, TenantId};
use bailiwick_credential::{ScopeSet, TaskState};
use bailiwick_pep::token::{AssertionError, UnverifiedAssertion};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use super::metadata::served;
use crate::Deps;
use crate::issue::{self, Requester};
use crate::problem::RouteError;

/// Bytes of a form: an assertion, and a few short parameters beside it.
const FORM_MAX: usize = 64 * 1024;
/// Parameters of a form.
const PARAMETERS_MAX: usize = 64;
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An OAuth error answer (RFC 6749 §5.2).
struct OauthError(StatusCode, &'static str, String);

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let body = json!({"error": self.1, "error_description": self.2});
        no_store((self.0, axum::Json(body)).into_response())
    }
}

fn bad(error: &'static str, description: impl Into<String>) -> OauthError {
    OauthError(StatusCode::BAD_REQUEST, error, description.into())
}

fn no_store(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The form's parameters; a parameter twice is refused (RFC 6749 §3.2).
struct Form(Vec<(String, String)>);

impl Form {
    fn parse(bytes: &[u8]) -> Result<Self, OauthError> {
        // Counted before anything is unpacked: nobody has been authenticated yet.
        if bytes.iter().filter(|b| **b == b'&').count() >= PARAMETERS_MAX {
            return Err(bad(
                "invalid_request",
                format!("more than {PARAMETERS_MAX} parameters"),
            ));
        }
        let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(bytes)
            .map_err(|_| bad("invalid_request", "body is not application/x-www-form-urlencoded"))?;
        let mut seen = BTreeSet::new();
        for (name, _) in &pairs {
            if !seen.insert(name) && name != "resource" {
                let shown = bailiwick_base::limits::shown(name);
                return Err(bad(
                    "invalid_request",
                    format!("parameter `{shown}` is there twice"),
                ));
            }
        }
        Ok(Self(pairs))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
            .filter(|v| !v.is_empty())
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}

pub(crate) async fn handler(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Response> {
    let tenant = served(&deps, &slug).map_err(IntoResponse::into_response)?;
    if !crate::body::is_kind(&headers, "application/x-www-form-urlencoded") {
        return Err(bad(
            "invalid_request",
            "content-type must be application/x-www-form-urlencoded",
        )
        .into_response());
    }
    let bytes = crate::body::read(body, FORM_MAX)
        .await
        .map_err(IntoResponse::into_response)?;
    match token(&deps, &tenant, &bytes).await {
        Ok(response) => Ok(response),
        Err(error) => {
            metrics::counter!("bailiwick_token_requests_refused_total", "error" => error.1).increment(1);
            Err(error.into_response())
        }
    }
}

async fn token(deps: &Deps, tenant: &TenantId, bytes: &[u8]) -> Result<Response, OauthError> {
    let form = Form::parse(bytes)?;
    match form.get("grant_type") {
        Some("client_credentials") => {}
        Some(_) => {
            return Err(bad(
                "unsupported_grant_type",
                "only client_credentials is served here",
            ));
        }
        None => return Err(bad("invalid_request", "parameter `grant_type` is missing")),
    }
    let requester = authenticate(deps, tenant, &form)?;
    require_resource(deps, tenant, &form)?;
    let task = task_of(deps, tenant, &form, &requester)?;
    let requested = requested_scope(&form);
    let issued = issue::for_task(deps, &task, 1, requester, requested.as_ref())
        .await
        .map_err(|e| refused(&e))?;
    let token = issued
        .tokens
        .into_iter()
        .next()
        .ok_or_else(|| bad("invalid_grant", "no token was issued"))?;
    Ok(no_store((StatusCode::OK, axum::Json(token)).into_response()))
}

fn authenticate(deps: &Deps, tenant: &TenantId, form: &Form) -> Result<Requester, OauthError> {
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

/// RFC 8707: a resource that is not ours is `invalid_target`; ours all mean the one audience.
fn require_resource(deps: &Deps, tenant: &TenantId, form: &Form) -> Result<(), OauthError> {
    let audience = deps.audience(tenant);
    let ours = |resource: &str| {
        resource.strip_prefix(&audience).is_some_and(|rest| {
            rest.is_empty()
                || rest
                    .strip_prefix('/')
                    .is_some_and(|name| ServerName::parse(name).is_ok())
        })
    };
    if form.all("resource").all(ours) {
        return Ok(());
    }
    Err(bad(
        "invalid_target",
        format!("`resource` must be {audience} or below it"),
    ))
}

fn task_of(deps: &Deps, tenant: &TenantId, form: &Form, requester: &Requester) -> Result<TaskId, OauthError> {
    if let Some(named) = form.get("task") {
        return TaskId::parse(tenant, named).map_err(|e| bad("invalid_request", format!("`task`: {e}")));
    }
    let Requester::Client(_, identity) = requester else {
        return Err(bad("invalid_request", "parameter `task` is missing"));
    };
    let snapshot = deps.cell.load();
    let now = deps.clock.now();
    let mut open = snapshot
        .tasks(tenant)
        .filter(|(t, _)| t.identity == *identity && t.state == TaskState::Open && t.closes_at > now)
        .map(|(t, _)| t.id.clone());
    match (open.next(), open.next()) {
        (Some(task), None) => Ok(task),
        (None, _) => Err(bad(
            "invalid_grant",
            "this identity has no open task; have one opened first",
        )),
        (Some(_), Some(_)) => Err(bad(
            "invalid_request",
            "this identity has several open tasks; name one with `task`",
        )),
    }
}

/// The scope that was asked for: the token carries no more than that (RFC 6749 §3.3).
fn requested_scope(form: &Form) -> Option<ScopeSet> {
    form.get("scope").map(ScopeSet::parse)
}

fn refused(error: &RouteError) -> OauthError {
    match error.status() {
        StatusCode::SERVICE_UNAVAILABLE => OauthError(
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            error.detail().to_owned(),
        ),
        StatusCode::INTERNAL_SERVER_ERROR => OauthError(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            error.detail().to_owned(),
        ),
        _ if error.code() == "task.scope-not-granted" => bad("invalid_scope", error.detail()),
        _ => bad("invalid_grant", error.detail()),
    }
}
