//! A command whose time is measured from its last byte: the body is read before anything else is done.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use bailiwick_base::limits;
use serde::de::DeserializeOwned;

use crate::Deps;
use crate::body;
use crate::problem::RouteError;
use crate::session::Session;

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
        let bytes = body::read(stream, limits::BODY_MAX).await?;
        let at = deps.clock.monotonic();
        let session = Session::from_request_parts(&mut parts, deps).await?;
        body::require_json(&parts.headers)?;
        Ok(Self {
            session,
            body: body::parse(&bytes)?,
            at,
        })
    }
}
