//! `/v1/tenants/{tenant}/subscriptions`: streams and webhooks, as operators see them.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bailiwick_base::SubscriptionId;
use bailiwick_signal::{Status, Subscription, set_status, withdraw as end};
use bailiwick_store::{Progress, StoreError, Tx, WithSecret};
use bailiwick_wire as wire;
use http::StatusCode;

use crate::Deps;
use crate::body::Strict;
use crate::command::{answer, committed, store_error};
use crate::problem::RouteError;
use crate::query::Path;
use crate::session::Session;

pub(crate) async fn list(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    _: Session,
) -> Result<Json<wire::Page<wire::Subscription>>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let read = async {
        let mut reader = deps.store.reader(&tenant).await?;
        let mut items = Vec::new();
        for living in reader.subscription().living().await? {
            let progress = reader.subscription().progress(&living.id).await?;
            let mut item = to_wire(&living, &progress);
            item.receiver_name = living.receiver.as_ref().and_then(|id| super::name_of(&deps, id));
            items.push(item);
        }
        Ok::<_, StoreError>(items)
    };
    let items = read.await.map_err(|e| store_error(&e))?;
    Ok(Json(wire::Page::whole(items)))
}

pub(crate) async fn set(
    State(deps): State<Deps>,
    Path((slug, id)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::SetStatus>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let id = SubscriptionId::parse(&tenant, &id).map_err(|_| RouteError::not_found("subscription"))?;
    let status = Status::parse(&body.status).ok_or_else(|| {
        RouteError::invalid("signal.status", "`status` is one of: disabled, enabled, paused")
    })?;
    let (path, reason) = (format!("subscriptions/{id}/status"), body.reason.clone());
    let receipt = deps
        .command(&session, &tenant, (&path, &body), async move |tx: &mut Tx| {
            let found = tx.subscription().lookup(&id).await?;
            let found = found.ok_or_else(|| RouteError::not_found("subscription"))?;
            let mut progress = tx.subscription().progress(&id).await?;
            if found.status == Status::Disabled && status != Status::Disabled {
                progress = Progress {
                    position: tx.position().0,
                    verified_at: progress.verified_at,
                    ..Progress::default()
                };
                tx.subscription().proceed(&id, &progress).await?;
            }
            let set = set_status(found, status, reason.as_deref(), tx.now())?;
            let shown = to_wire(&set.after, &progress);
            tx.subscription().apply(set, WithSecret::Keep).await?;
            answer(&shown)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}

pub(crate) async fn withdraw(
    State(deps): State<Deps>,
    Path((slug, id)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::RemoveSubscription>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let id = SubscriptionId::parse(&tenant, &id).map_err(|_| RouteError::not_found("subscription"))?;
    let (path, reason) = (format!("subscriptions/{id}/remove"), body.reason.clone());
    let receipt = deps
        .command(&session, &tenant, (&path, &body), async move |tx: &mut Tx| {
            let found = tx.subscription().lookup(&id).await?;
            let found = found.ok_or_else(|| RouteError::not_found("subscription"))?;
            let progress = tx.subscription().progress(&id).await?;
            let removed = end(found, &reason, tx.now())?;
            let shown = to_wire(&removed.after, &progress);
            tx.subscription().apply(removed, WithSecret::Forget).await?;
            answer(&shown)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}

pub(super) fn to_wire(subscription: &Subscription, progress: &Progress) -> wire::Subscription {
    wire::Subscription {
        id: subscription.id.to_string(),
        delivery: subscription.delivery.as_str().to_owned(),
        receiver: subscription.receiver.as_ref().map(ToString::to_string),
        receiver_name: None,
        url: subscription.delivery.place().map(|place| place.url.clone()),
        events: subscription
            .events
            .iter()
            .map(|kind| kind.as_str().to_owned())
            .collect(),
        description: subscription.description.clone(),
        status: subscription.status.as_str().to_owned(),
        status_reason: subscription.status_reason.clone(),
        position: progress.position,
        attempts: progress.attempts,
        failing_since: progress.failing_since.map(|at| at.to_string()),
        trouble: progress.trouble.clone(),
        created_at: subscription.created_at.to_string(),
    }
}
