//! A stop, whose time is measured from its last byte. Who sent it is known from the head, before any of its body
//! is taken.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Deps;
use crate::body;
use crate::problem::RouteError;
use crate::query::Query;
use crate::session::Session;

/// Bytes of a stop: a selector and a reason.
const STOP_MAX: usize = 16 * 1024;

/// How far a stop is to have come when it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Until {
    /// It is durable, and in force on this node.
    Committed,
    /// No node permits any more what it forbids, or that could not be confirmed in time.
    #[default]
    Contained,
}

/// Behind the `?` of the path of a stop.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    wait: Until,
}

/// When the last byte of a stop was here, monotonic, and how long its giver waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    pub(crate) at: Duration,
    pub(crate) until: Until,
}

impl Heard {
    /// By whoever waits until it is contained.
    pub(crate) fn whole(at: Duration) -> Self {
        Self {
            at,
            until: Until::Contained,
        }
    }
}

/// An operator's command, and when it was here.
pub(crate) struct Received<T> {
    pub(crate) session: Session,
    pub(crate) body: T,
    pub(crate) heard: Heard,
}

impl<T: DeserializeOwned> FromRequest<Deps> for Received<T> {
    type Rejection = RouteError;

    async fn from_request(request: Request, deps: &Deps) -> Result<Self, RouteError> {
        let (mut parts, stream) = request.into_parts();
        let session = Session::from_request_parts(&mut parts, deps).await?;
        let Query(Wanted { wait }) = Query::from_request_parts(&mut parts, deps).await?;
        body::require_json(&parts.headers)?;
        let bytes = body::read(stream, STOP_MAX).await?;
        let heard = Heard {
            at: deps.clock.monotonic(),
            until: wait,
        };
        Ok(Self {
            session,
            body: body::parse(&bytes)?,
            heard,
        })
    }
}
