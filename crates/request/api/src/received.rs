//! A stop, whose time is measured from its last byte. Who sent it is known from the head, before any of its body
//! is taken.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use serde::de::DeserializeOwned;

use crate::Deps;
use crate::body;
use crate::problem::RouteError;
use crate::session::Session;

/// Bytes of a stop: a selector and a reason.
const STOP_MAX: usize = 16 * 1024;

/// An operator's command with the monotonic time at which its last byte was here.
pub(crate) struct Received<T> {
    pub(crate) session: Session,
    pub(crate) body: T,
    pub(crate) at: Duration,
}

impl<T: DeserializeOwned> FromRequest<Deps> for Received<T> {
    type Rejection = RouteError;

    async fn from_request(request: Request, deps: &Deps) -> Result<Self, RouteError> {
        let (mut parts, stream) = request.into_parts();
        let session = Session::from_request_parts(&mut parts, deps).await?;
        body::require_json(&parts.headers)?;
        let bytes = body::read(stream, STOP_MAX).await?;
        let at = deps.clock.monotonic();
        Ok(Self {
            session,
            body: body::parse(&bytes)?,
            at,
        })
    }
}
