//! One way from a handler to the store: context, transaction, answer.

use axum::response::{IntoResponse, Response};
use bailiwick_base::{Digest, TenantId};
use bailiwick_store::{Actor, Context, Reach, Receipt, RequestId, StoreError, Tx};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use std::sync::Arc;

use crate::Deps;
use crate::problem::RouteError;
use crate::session::Session;

/// Why a command did not commit.
#[derive(Debug)]
pub(crate) enum CommandError {
    Route(RouteError),
    Store(StoreError),
}

/// Whether a command was done before.
enum Asked {
    First,
    Store(StoreError),
}

impl From<StoreError> for Asked {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<RouteError> for CommandError {
    fn from(error: RouteError) -> Self {
        Self::Route(error)
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<CommandError> for RouteError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Route(error) => error,
            CommandError::Store(error) => store_error(&error),
        }
    }
}

impl From<bailiwick_inventory::Refusal> for CommandError {
    fn from(refusal: bailiwick_inventory::Refusal) -> Self {
        Self::Route(RouteError::refused(refusal.code(), &refusal))
    }
}

impl From<bailiwick_credential::Refusal> for CommandError {
    fn from(refusal: bailiwick_credential::Refusal) -> Self {
        Self::Route(RouteError::refused(refusal.code(), &refusal))
    }
}

/// Which of the store's errors are the caller's.
pub(crate) fn store_error(error: &StoreError) -> RouteError {
    let status = match error {
        StoreError::Conflict { .. } | StoreError::Duplicate { .. } | StoreError::IdempotencyReused => {
            StatusCode::CONFLICT
        }
        StoreError::Dangling
        | StoreError::Limit { .. }
        | StoreError::NoSuchPosition { .. }
        | StoreError::Unchanged { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        StoreError::TenantUnknown(_) | StoreError::OtherTenant { .. } => {
            return RouteError::not_found("tenant");
        }
        StoreError::Busy { .. }
        | StoreError::DiskFull { .. }
        | StoreError::ReadOnly { .. }
        | StoreError::Stopped
        | StoreError::Uncertain
        | StoreError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        _ => {
            tracing::error!(error = %crate::problem::chain(error), code = error.code(), "the store failed");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    RouteError::new(status, error.code(), error.to_string())
}

/// What was asked, for the idempotency key: method, path and body.
pub(crate) fn request_digest<T: Serialize>(path: &str, body: &T) -> Result<Digest, RouteError> {
    let body = bailiwick_base::canonical::to_vec(body)
        .map_err(|e| RouteError::invalid("request.body", e.to_string()))?;
    let mut sha = bailiwick_base::Sha256::new();
    sha.update_field(path.as_bytes());
    sha.update_field(&body);
    Ok(sha.finish())
}

impl Deps {
    /// The context of an operator's command.
    pub(crate) fn context(
        &self,
        session: &Session,
        reach: Reach,
        request: Digest,
    ) -> Result<Context, RouteError> {
        let id = self
            .ids
            .uuid()
            .map_err(|e| RouteError::broken("randomness failed", &e))?;
        let context = Context::new(reach, Actor::Operator(session.operator.clone()), RequestId(id));
        Ok(match &session.idempotency {
            Some(key) => context.idempotent(key, request),
            None => context,
        })
    }

    /// What this command answered when it was done before under the same key; nothing is done here. For whatever
    /// has to happen before the transaction and would not be possible, or right, a second time.
    pub(crate) async fn replayed(
        &self,
        session: &Session,
        reach: Reach,
        request: Digest,
    ) -> Result<Option<Arc<Receipt>>, RouteError> {
        if session.idempotency.is_none() {
            return Ok(None);
        }
        let context = self.context(session, reach, request)?;
        let asked = self
            .store
            .transact(context, async move |_: &mut Tx| Err(Asked::First))
            .await;
        match asked {
            Ok(receipt) => Ok(Some(receipt)),
            Err(Asked::First) => Ok(None),
            Err(Asked::Store(error)) => Err(store_error(&error)),
        }
    }

    /// Runs `work` in one transaction of `tenant`; its answer is what the first run gave.
    pub(crate) async fn command<B, W>(
        &self,
        session: &Session,
        tenant: &TenantId,
        asked: (&str, &B),
        work: W,
    ) -> Result<Arc<Receipt>, RouteError>
    where
        B: Serialize,
        W: AsyncFnMut(&mut Tx) -> Result<Vec<u8>, CommandError> + Send + 'static,
    {
        let context = self.context(session, Reach::from(tenant), request_digest(asked.0, asked.1)?)?;
        Ok(self.store.transact(context, work).await?)
    }
}

/// The answer's bytes, as the store keeps them for repetitions.
pub(crate) fn answer<T: Serialize>(value: &T) -> Result<Vec<u8>, CommandError> {
    serde_json::to_vec(value)
        .map_err(|e| CommandError::Route(RouteError::broken("answer cannot be written", &e)))
}

/// A committed answer as a response.
pub(crate) fn committed(receipt: &Receipt, status: StatusCode) -> Response {
    let mut response = (status, receipt.answer.clone()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    mark_replayed(&mut response, receipt);
    response
}

/// Says that nothing was done this time, because it was done before.
pub(crate) fn mark_replayed(response: &mut Response, receipt: &Receipt) {
    if receipt.replayed {
        let headers = response.headers_mut();
        headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
}
