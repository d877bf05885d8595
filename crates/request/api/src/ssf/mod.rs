//! OpenID Shared Signals 1.0: the transmitter's doors for receivers, and our own door as a receiver.
//!
//! A receiver is an identity of the tenant with a token of ours whose scope holds `ssf:manage` or `ssf:read`. Its
//! streams are its own; nobody else's are there for it.

pub(crate) mod metadata;
pub(crate) mod poll;
pub(crate) mod receive;
pub(crate) mod status;
pub(crate) mod streams;
pub(crate) mod subjects;
pub(crate) mod verify;

use bailiwick_base::{IdentityId, SubscriptionId, TenantId};
use bailiwick_decide::Bearer;
use bailiwick_signal::Subscription;
use bailiwick_store::{Actor, Context, Reach, Receipt, RequestId, StoreError, Tx};
use http::StatusCode;
use http::request::Parts;
use std::sync::Arc;

use crate::Deps;
use crate::command::{CommandError, store_error};
use crate::presented;
use crate::problem::RouteError;

/// The scope that makes, changes and reads streams.
pub(crate) const MANAGE: (&str, &str) = ("ssf", "manage");
/// The scope that reads them, and what they tell.
pub(crate) const READ: (&str, &str) = ("ssf", "read");

/// A `scope` with the two names of the CAEP interoperability profile in our spelling, which the answer says.
pub(crate) fn spelled_here(scope: &str) -> String {
    let words = scope.split(' ').map(|word| match word {
        "ssf.manage" => "ssf:manage",
        "ssf.read" => "ssf:read",
        other => other,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Who asks.
pub(crate) struct Receiver {
    pub(crate) tenant: TenantId,
    pub(crate) identity: IdentityId,
    bearer: Bearer,
}

impl Receiver {
    /// One that may change its streams.
    pub(crate) fn managing(deps: &Deps, slug: &str, parts: &Parts) -> Result<Self, RouteError> {
        Self::with(deps, slug, parts, &[MANAGE])
    }

    /// One that may read them.
    pub(crate) fn reading(deps: &Deps, slug: &str, parts: &Parts) -> Result<Self, RouteError> {
        Self::with(deps, slug, parts, &[READ, MANAGE])
    }

    fn with(deps: &Deps, slug: &str, parts: &Parts, scopes: &[(&str, &str)]) -> Result<Self, RouteError> {
        let tenant = TenantId::parse(slug).map_err(|_| RouteError::not_found("tenant"))?;
        let (tenant, bearer) = presented::admitted(deps, Some(&tenant), parts, ("receiver", scopes))?;
        if !deps.cell.is_fresh(deps.clock.monotonic()) {
            return Err(RouteError::unavailable(
                "node.stale",
                "this node has not heard from its store in time",
            ));
        }
        Ok(Self {
            tenant,
            identity: bearer.claims.nhi.clone(),
            bearer,
        })
    }

    /// Whether it still may have what it waited for.
    pub(crate) fn require_living(&self, deps: &Deps) -> Result<(), RouteError> {
        presented::require_living(deps, &self.bearer, "receiver")
    }

    /// The id of a stream, as the receiver sent it.
    pub(crate) fn id(&self, text: &str) -> Result<SubscriptionId, RouteError> {
        SubscriptionId::parse(&self.tenant, text).map_err(|_| RouteError::not_found("stream"))
    }

    /// The receiver's own living stream.
    pub(crate) fn own(&self, found: Option<Subscription>) -> Result<Subscription, RouteError> {
        found
            .filter(|stream| stream.receiver.as_ref() == Some(&self.identity) && stream.removed_at.is_none())
            .ok_or_else(|| RouteError::not_found("stream"))
    }

    pub(crate) async fn lookup(&self, deps: &Deps, text: &str) -> Result<Subscription, RouteError> {
        let id = self.id(text)?;
        let found = async {
            let mut reader = deps.store.reader(&self.tenant).await?;
            reader.subscription().lookup(&id).await
        };
        self.own(found.await.map_err(|e: StoreError| store_error(&e))?)
    }

    /// Runs `work` in one transaction of the tenant, in the name of the receiver.
    pub(crate) async fn command<W>(&self, deps: &Deps, work: W) -> Result<Arc<Receipt>, RouteError>
    where
        W: AsyncFnMut(&mut Tx) -> Result<Vec<u8>, CommandError> + Send + 'static,
    {
        let id = deps
            .ids
            .uuid()
            .map_err(|e| RouteError::broken("randomness failed", &e))?;
        let actor = Actor::Identity(self.identity.clone());
        let context = Context::new(Reach::from(&self.tenant), actor, RequestId(id));
        Ok(deps.store.transact(context, work).await?)
    }
}

/// The statuses of SSF for what the room refuses.
pub(crate) fn refused(refusal: &bailiwick_signal::Refusal) -> RouteError {
    let status = match refusal {
        bailiwick_signal::Refusal::Already(_) => StatusCode::CONFLICT,
        bailiwick_signal::Refusal::Removed(_) => StatusCode::NOT_FOUND,
        bailiwick_signal::Refusal::TooMany(_) => StatusCode::FORBIDDEN,
        _ => StatusCode::BAD_REQUEST,
    };
    RouteError::new(status, refusal.code(), refusal.to_string())
}
