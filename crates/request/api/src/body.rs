//! Request bodies: JSON only, limits first, strict reader, our own messages.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use bailiwick_base::{json, limits};
use http::{StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::problem::RouteError;

/// A strictly parsed JSON body.
pub(crate) struct Strict<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Strict<T> {
    type Rejection = RouteError;

    async fn from_request(request: Request, _: &S) -> Result<Self, RouteError> {
        require_json(&request)?;
        let bytes = read(request.into_body()).await?;
        json::parse_as(&bytes, limits::BODY_MAX)
            .map(Self)
            .map_err(|error| RouteError::invalid("request.body", format!("body is {error}")))
    }
}

fn require_json(request: &Request) -> Result<(), RouteError> {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(RouteError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "request.content-type",
        "content-type must be application/json",
    ))
}

/// The whole body, at most [`limits::BODY_MAX`] bytes.
pub(crate) async fn read(body: Body) -> Result<Bytes, RouteError> {
    match Limited::new(body, limits::BODY_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(RouteError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request.too-large",
            format!("body is larger than {} bytes", limits::BODY_MAX),
        )),
        Err(_) => Err(RouteError::invalid("request.body", "body broke off")),
    }
}
