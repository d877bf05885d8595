//! `/v1/tenants/{tenant}/kills` and `/v1/all-tenants/kills`: receipts, and the second operator's word.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bailiwick_base::{Digest, Epoch};
use bailiwick_decide::MarkEffect;
use bailiwick_store::{Actor, KeptReceipt, Reach, ReceiptState};
use bailiwick_wire as wire;
use http::StatusCode;

use super::kill::{note_stop, told};
use crate::Deps;
use crate::body::Strict;
use crate::command::{request_digest, store_error};
use crate::effective::require_not_killed;
use crate::problem::RouteError;
use crate::receipts::{drill, to_body, to_wire};
use crate::received::Received;
use crate::session::Session;
use crate::stop::{Stop, reach_of};

/// Receipts of one answer.
const LISTED_MAX: u32 = 200;

pub(crate) async fn list(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    _: Session,
) -> Result<Json<wire::Page<wire::Receipt>>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    listed(&deps, Reach::from(&tenant)).await
}

pub(crate) async fn list_all(
    State(deps): State<Deps>,
    _: Session,
) -> Result<Json<wire::Page<wire::Receipt>>, RouteError> {
    listed(&deps, Reach::Installation).await
}

async fn listed(deps: &Deps, reach: Reach) -> Result<Json<wire::Page<wire::Receipt>>, RouteError> {
    let mut reader = deps.store.reader(reach).await.map_err(|e| store_error(&e))?;
    let found = reader.kill_receipt().newest(LISTED_MAX).await;
    let found = found.map_err(|e| store_error(&e))?;
    let items = found.iter().map(to_wire).collect::<Result<_, _>>()?;
    Ok(Json(wire::Page::whole(items)))
}

pub(crate) async fn find(
    State(deps): State<Deps>,
    Path((slug, id)): Path<(String, String)>,
    _: Session,
) -> Result<Json<wire::Receipt>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    to_wire(&known(&deps, Reach::from(&tenant), &id).await?).map(Json)
}

pub(crate) async fn find_all(
    State(deps): State<Deps>,
    Path(id): Path<String>,
    _: Session,
) -> Result<Json<wire::Receipt>, RouteError> {
    to_wire(&known(&deps, Reach::Installation, &id).await?).map(Json)
}

async fn known(deps: &Deps, reach: Reach, id: &str) -> Result<KeptReceipt, RouteError> {
    let found = match id.parse() {
        Ok(epoch) => deps.receipt(reach, Epoch(epoch)).await?,
        Err(_) => None,
    };
    found.ok_or_else(|| RouteError::not_found("receipt").hint("list them with `bailiwick kill receipt`"))
}

/// The kill that a second operator has to sign: the scope is frozen at once.
pub(super) async fn freeze(
    deps: &Deps,
    session: &Session,
    wanted: Stop,
    (request, received): (Digest, Duration),
) -> Result<Response, RouteError> {
    let pending = wire::PendingKill {
        by: Actor::Operator(session.operator.clone()).to_string(),
        asked_at: deps.clock.now().to_string(),
        signed_by: None,
        killed: None,
    };
    let before = deps.cell.load();
    let frozen = Stop {
        effect: MarkEffect::Suspend,
        ..wanted
    };
    let scope = frozen.scope.clone();
    let done = deps
        .stop_for(session, frozen, request, received, Some(pending))
        .await?;
    note_stop(session, &scope, MarkEffect::Suspend, &done);
    let receipt = std::sync::Arc::clone(&done.receipt);
    let answer = wire::KillReceipt {
        pending: true,
        ..told(deps, (&scope, MarkEffect::Suspend), &before, &receipt, Some(done)).await
    };
    let mut response = (StatusCode::ACCEPTED, Json(answer)).into_response();
    crate::command::mark_replayed(&mut response, &receipt);
    Ok(response)
}

pub(crate) async fn drills(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    _: Session,
) -> Result<Json<wire::Drills>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    drill::report(&deps, &tenant).await.map(Json)
}

pub(crate) async fn drill(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    session: Session,
    Strict(wire::DrillRequest {}): Strict<wire::DrillRequest>,
) -> Result<Json<wire::Drill>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    require_not_killed(&deps, &tenant)?;
    let by = Actor::Operator(session.operator);
    drill::run(&deps, &tenant, by).await.map(Json)
}

pub(crate) async fn sign(
    State(deps): State<Deps>,
    Path((slug, id)): Path<(String, String)>,
    command: Received<wire::SignRequest>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    signed(&deps, Reach::from(&tenant), &id, &command).await
}

pub(crate) async fn sign_all(
    State(deps): State<Deps>,
    Path(id): Path<String>,
    command: Received<wire::SignRequest>,
) -> Result<Response, RouteError> {
    signed(&deps, Reach::Installation, &id, &command).await
}

/// Whoever asked cannot be the second, and what was lifted meanwhile is not killed.
async fn signed(
    deps: &Deps,
    reach: Reach,
    id: &str,
    command: &Received<wire::SignRequest>,
) -> Result<Response, RouteError> {
    let session = &command.session;
    let kept = known(deps, reach, id).await?;
    let mut body = to_body(&kept)?;
    let refused = |code, text: &str| RouteError::new(StatusCode::CONFLICT, code, text);
    let Some(mut pending) = body.pending.take().filter(|pending| pending.signed_by.is_none()) else {
        return Err(refused("kill.not-pending", "this receipt waits for no signature"));
    };
    let second = Actor::Operator(session.operator.clone()).to_string();
    if pending.by == second {
        return Err(RouteError::new(
            StatusCode::FORBIDDEN,
            "kill.own-signature",
            "whoever asked for a kill cannot sign it as the second operator",
        ));
    }
    // Lifted now, or seen to be lifted before.
    if kept.state != ReceiptState::Pending || !deps.stands(&kept).await? {
        return Err(refused(
            "kill.withdrawn",
            "the freeze was lifted, and with it the kill: ask for it again",
        ));
    }
    let before = deps.cell.load();
    let stop = Stop {
        scope: kept.scope.clone(),
        effect: MarkEffect::Kill,
        reason: format!(
            "{} (asked for by {}, signed by {second})",
            body.reason, pending.by
        ),
    };
    let request = request_digest(&format!("kills/{id}/sign"), &command.body)?;
    let done = deps.stop(session, stop, request, command.at).await?;
    note_stop(session, &kept.scope, MarkEffect::Kill, &done);
    let receipt = std::sync::Arc::clone(&done.receipt);
    pending.signed_by = Some(second);
    pending.killed = Some(receipt.epoch.0);
    body.pending = Some(pending);
    if !deps
        .advance(&kept, ReceiptState::Closed, &body, "kill.sign")
        .await?
    {
        settle_signed(deps, &kept, &body).await?;
    }
    let answer = told(
        deps,
        (&kept.scope, MarkEffect::Kill),
        &before,
        &receipt,
        Some(done),
    )
    .await;
    Ok(Json(answer).into_response())
}

/// The receipt was looked at meanwhile: what was found stays, and the signature comes to it.
async fn settle_signed(
    deps: &Deps,
    before: &KeptReceipt,
    body: &wire::ReceiptBody,
) -> Result<(), RouteError> {
    let reach = reach_of(&before.scope);
    if let Some(kept) = deps.receipt(reach, before.epoch).await? {
        let mut found = to_body(&kept)?;
        found.pending.clone_from(&body.pending);
        deps.advance(&kept, ReceiptState::Closed, &found, "kill.sign")
            .await?;
    }
    Ok(())
}
