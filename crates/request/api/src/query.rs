//! What a path names, and the parameters behind its `?`: what cannot be read is told like everything else.

use axum::extract::{FromRequestParts, Path as Named, Query as Lenient};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::problem::RouteError;

/// What axum says before the reason.
const PREFIX: &str = "Failed to deserialize query string: ";

/// The parameters of a route.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = RouteError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, RouteError> {
        match Lenient::try_from_uri(&parts.uri) {
            Ok(Lenient(read)) => Ok(Self(read)),
            Err(rejected) => Err(refused(&rejected.body_text())),
        }
    }
}

/// What the segments of a path name.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = RouteError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, RouteError> {
        match Named::from_request_parts(parts, state).await {
            Ok(Named(read)) => Ok(Self(read)),
            Err(rejected) => Err(RouteError::invalid(
                "request.path",
                format!("path: {}", rejected.body_text()),
            )
            .hint("segments of a path are percent-encoded UTF-8; a number is one in decimal digits")),
        }
    }
}

/// Names the parameter, where it is known which one it is.
fn refused(said: &str) -> RouteError {
    let why = said.strip_prefix(PREFIX).unwrap_or(said);
    let detail = match why.split_once(": ") {
        Some((name, why)) => format!("query parameter `{name}`: {why}"),
        None => format!("query: {why}"),
    };
    RouteError::invalid("request.query", detail)
        .hint("send each parameter once, as NAME=VALUE, and only those that this path knows")
}
