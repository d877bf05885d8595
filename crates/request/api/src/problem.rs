//! Refusals, denials and errors of this door, as RFC 9457 problem details.

use axum::response::{IntoResponse, Response};
use bailiwick_pep::token::TokenError;
use bailiwick_wire::Problem;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};

use crate::point::DecisionPoint;
use crate::presented::Challenge;

/// Why a route did not do what was asked.
#[derive(Debug)]
pub struct RouteError {
    status: StatusCode,
    code: String,
    detail: String,
    hint: Option<String>,
    challenge: Option<Box<Challenge>>,
}

impl RouteError {
    /// A refusal with its stable code.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            detail: detail.into(),
            hint: None,
            challenge: None,
        }
    }

    /// 401: the token of the request is not taken, and how one would be.
    pub(crate) fn token(deps: &impl DecisionPoint, parts: &Parts, error: TokenError) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error.code(), error.to_string()).challenged(deps, parts, error)
    }

    /// With the challenge that answers `error`.
    pub(crate) fn challenged(mut self, deps: &impl DecisionPoint, parts: &Parts, error: TokenError) -> Self {
        self.challenge = Challenge::of(deps, parts, error).map(Box::new);
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// 400: the request itself is wrong.
    pub(crate) fn invalid(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 404, the same bytes for what never existed and for what is another tenant's.
    pub(crate) fn not_found(what: &str) -> Self {
        let error = Self::new(
            StatusCode::NOT_FOUND,
            "request.not-found",
            match what {
                "tenant" | "log" | "entry" => format!("no such {what}"),
                _ => format!("no such {what} in this tenant"),
            },
        );
        match what {
            "tenant" => error.hint("list them with `bailiwick tenant ls`"),
            "client" | "credential" | "server" | "task" | "trust" => {
                error.hint(format!("list them with `bailiwick -t TENANT {what} ls`"))
            }
            "identity" => error.hint("list them with `bailiwick -t TENANT id ls`"),
            "subscription" => error.hint("list them with `bailiwick -t TENANT signal ls`"),
            "transmitter" => error.hint("list them with `bailiwick -t TENANT signal transmitter ls`"),
            _ => error,
        }
    }

    /// 422: a room refused the command in this state.
    pub(crate) fn refused(code: &str, refusal: &dyn std::error::Error) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, refusal.to_string())
    }

    /// 500: something is broken; the chain goes to the log, not to the caller.
    pub(crate) fn broken(what: &'static str, error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %chain(error), "{what}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "service.failed", what)
            .hint("the cause is in the service's log")
    }

    /// 503: not now.
    pub(crate) fn unavailable(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    }

    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// What a person reads, with the next step.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}; next: {hint}", self.detail),
            None => self.detail.clone(),
        }
    }

    /// The status, for tests and metrics.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

impl IntoResponse for RouteError {
    fn into_response(self) -> Response {
        let problem = Problem {
            kind: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("error").to_owned(),
            status: self.status.as_u16(),
            code: self.code,
            detail: self.detail,
            hint: self.hint,
        };
        let mut response = (self.status, axum::Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge {
            challenge.apply(&mut response);
        }
        response
    }
}
