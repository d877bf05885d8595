//! How OAuth endpoints say no (RFC 6749 §5.2), and answers that nobody may keep.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::problem::RouteError;

/// Seconds after which it is worth to come again: by then a document that could not be had is asked for anew.
const RETRY_AFTER: &str = "10";

/// An OAuth error answer (RFC 6749 §5.2).
pub(super) struct OauthError(pub(super) StatusCode, pub(super) &'static str, pub(super) String);

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let body = json!({"error": self.1, "error_description": self.2});
        let mut response = no_store((self.0, axum::Json(body)).into_response());
        if self.0 == StatusCode::SERVICE_UNAVAILABLE {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }
}

pub(super) fn bad(error: &'static str, description: impl Into<String>) -> OauthError {
    OauthError(StatusCode::BAD_REQUEST, error, description.into())
}

pub(super) fn no_store(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) fn refused(error: &RouteError) -> OauthError {
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
        // What an agent has to do next differs by the code, and the answer has no other place for it.
        _ if error.code().starts_with("composition.") => {
            bad("invalid_grant", format!("{}: {}", error.code(), error.detail()))
        }
        _ => bad("invalid_grant", error.detail()),
    }
}
