//! Request bodies: JSON only, limits first, strict reader, our own messages.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use bailiwick_base::{json, limits};
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::problem::RouteError;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long, and how far, a body that is too long is thrown away, so that its sender hears why before the connection
/// ends.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_MAX: usize = 2 * limits::BODY_MAX;

/// A strictly parsed JSON body.
pub(crate) struct Strict<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Strict<T> {
    type Rejection = RouteError;

    async fn from_request(request: Request, _: &S) -> Result<Self, RouteError> {
        let (parts, body) = request.into_parts();
        whole(&parts.headers, body).await.map(Self)
    }
}

/// A JSON body, read and parsed; for a door that authenticates first in its own way.
pub(crate) async fn whole<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, RouteError> {
    require_json(headers)?;
    parse(&read(body, limits::BODY_MAX).await?)
}

/// A body as JSON: no member twice, no member that is not known, no depth beyond the limit.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RouteError> {
    json::parse_as(bytes, limits::BODY_MAX)
        .map_err(|error| RouteError::invalid("request.body", format!("body is {error}")))
}

/// Whether the body is of the media type `kind`, whatever its parameters.
pub(crate) fn is_kind(headers: &HeaderMap, kind: &str) -> bool {
    let mut given = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return false;
    };
    let essence = value.to_str().unwrap_or_default().split(';').next();
    essence.unwrap_or_default().trim().eq_ignore_ascii_case(kind)
}

pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), RouteError> {
    if is_kind(headers, "application/json") {
        return Ok(());
    }
    Err(RouteError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "request.content-type",
        "content-type must be application/json",
    ))
}

/// The whole body, at most `max` bytes, within the time limit.
pub(crate) async fn read(mut body: Body, max: usize) -> Result<Bytes, RouteError> {
    let too_large = || {
        RouteError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request.too-large",
            format!("body is larger than {max} bytes"),
        )
    };
    if body.size_hint().lower() > max as u64 {
        discard(&mut body).await;
        return Err(too_large());
    }
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, max).collect())
        .await
        .map_err(|_| {
            RouteError::new(
                StatusCode::REQUEST_TIMEOUT,
                "request.timeout",
                format!("body did not arrive within {} s", BODY_TIMEOUT.as_secs()),
            )
        })?;
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Err(_) => Err(RouteError::invalid("request.body", "body broke off")),
    }
}

async fn discard(body: &mut Body) {
    let reading = async {
        let mut left = LINGER_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else {
                return;
            };
            left = rest;
        }
    };
    // Whatever is still to come after that time is cut off with the connection.
    let _cut = tokio::time::timeout(LINGER, reading).await;
}
