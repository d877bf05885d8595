//! How OAuth endpoints say no (RFC 6749 §5.2), and answers that nobody may keep.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::problem::RouteError;

/// Seconds after which it is worth to come again: by then a document that could not be had is asked for anew.
const RETRY_AFTER: u64 = 10;

/// An OAuth error answer (RFC 6749 §5.2).
pub(super) struct OauthError {
    pub(super) status: StatusCode,
    pub(super) error: &'static str,
    pub(super) description: String,
    /// Seconds; told where the status says that it is worth to come again.
    retry_after: u64,
}

impl OauthError {
    pub(super) fn new(status: StatusCode, error: &'static str, description: String) -> Self {
        Self {
            status,
            error,
            description,
            retry_after: RETRY_AFTER,
        }
    }

    /// What was asked is in order, and can be had in so many seconds. The error is the one that RFC 6749 §4.1.2.1
    /// has for this; clients look at the status and at Retry-After.
    pub(super) fn later(seconds: u64, description: String) -> Self {
        Self {
            // At once is no wait: whoever sends the same again would do so without end.
            retry_after: seconds.max(1),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                description,
            )
        }
    }
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let body = json!({"error": self.error, "error_description": self.description});
        let mut response = no_store((self.status, axum::Json(body)).into_response());
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after));
        }
        response
    }
}

pub(super) fn bad(error: &'static str, description: impl Into<String>) -> OauthError {
    OauthError::new(StatusCode::BAD_REQUEST, error, description.into())
}

pub(super) fn no_store(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) fn refused(error: &RouteError) -> OauthError {
    match error.status() {
        StatusCode::SERVICE_UNAVAILABLE => OauthError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            error.detail().to_owned(),
        ),
        StatusCode::INTERNAL_SERVER_ERROR => OauthError::new(
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
