//! `/v1/tenants/{tenant}/kills` and `/v1/all-tenants/kills`: receipts, and the second operator's word.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bailiwick_base::{Digest, Epoch};
use bailiwick_decide::MarkEffect;
use bailiwick_store::{Actor, KeptReceipt, Reach, StoreError};
use bailiwick_wire as wire;
use http::StatusCode;
use serde::Deserialize;

use super::kill::{note_stop, told};
use super::marks::operator_name;
use crate::Deps;
use crate::body::Strict;
use crate::command::{request_digest, store_error};
use crate::effective::require_not_killed;
use crate::problem::RouteError;
use crate::query::{Path, Query};
use crate::receipts::{drill, signable, to_body};
use crate::received::{Heard, Received};
use crate::session::Session;
use crate::stop::{Signed, Stop, reach_of};

/// Receipts of one answer.
const LISTED_MAX: u32 = 200;

/// Which receipts are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Those of which something is not confirmed, the oldest first; else all, the newest first.
    #[serde(default)]
    open: bool,
    /// Behind this one: the `next` of the page in front.
    #[serde(default)]
    after: Option<u64>,
}

pub(crate) async fn list(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    Query(wanted): Query<Wanted>,
    _: Session,
) -> Result<Json<wire::Page<wire::Receipt>>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    listed(&deps, Reach::from(&tenant), &wanted).await
}

pub(crate) async fn list_all(
    State(deps): State<Deps>,
    Query(wanted): Query<Wanted>,
    _: Session,
) -> Result<Json<wire::Page<wire::Receipt>>, RouteError> {
    listed(&deps, Reach::Installation, &wanted).await
}

async fn listed(
    deps: &Deps,
    reach: Reach,
    wanted: &Wanted,
) -> Result<Json<wire::Page<wire::Receipt>>, RouteError> {
    let read = async {
        let mut reader = deps.store.reader(reach).await?;
        let after = wanted.after.map(Epoch);
        let found = if wanted.open {
            let after = after.unwrap_or(Epoch(0));
            reader.kill_receipt().unclosed(after, LISTED_MAX).await?
        } else {
            reader.kill_receipt().newest(after, LISTED_MAX).await?
        };
        Ok((found, reader.kill_receipt().count(wanted.open).await?))
    };
    let (found, total) = read.await.map_err(|e: StoreError| store_error(&e))?;
    let last = found.last().filter(|_| found.len() == LISTED_MAX as usize);
    Ok(Json(wire::Page {
        next: last.map(|kept| kept.epoch.0.to_string()),
        items: found
            .iter()
            .map(|kept| to_wire(deps, kept))
            .collect::<Result<_, _>>()?,
        total,
    }))
}

pub(crate) async fn find(
    State(deps): State<Deps>,
    Path((slug, id)): Path<(String, String)>,
    _: Session,
) -> Result<Json<wire::Receipt>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    to_wire(&deps, &known(&deps, Reach::from(&tenant), &id).await?).map(Json)
}

pub(crate) async fn find_all(
    State(deps): State<Deps>,
    Path(id): Path<String>,
    _: Session,
) -> Result<Json<wire::Receipt>, RouteError> {
    to_wire(&deps, &known(&deps, Reach::Installation, &id).await?).map(Json)
}

/// With the names of today beside the ids that the document has.
fn to_wire(deps: &Deps, kept: &KeptReceipt) -> Result<wire::Receipt, RouteError> {
    let mut receipt = crate::receipts::to_wire(kept)?;
    let pending = receipt.body.pending.iter();
    let actors = pending
        .flat_map(|p| [Some(&p.by), p.signed_by.as_ref()])
        .flatten();
    for actor in actors.chain([&receipt.body.by]) {
        if let Some(name) = operator_name(deps, actor) {
            receipt.names.insert(actor.clone(), name);
        }
    }
    Ok(receipt)
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
    (request, heard): (Digest, Heard),
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
        .freeze_for(session, (frozen, request), heard, pending)
        .await?;
    note_stop(session, &scope, MarkEffect::Suspend, &done);
    let receipt = std::sync::Arc::clone(&done.receipt);
    let answer = wire::KillReceipt {
        pending: true,
        ..told(deps, (&scope, MarkEffect::Suspend), &before, &receipt, Ok(done)).await
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
    let body = to_body(&kept)?;
    let second = Actor::Operator(session.operator.clone()).to_string();
    let request = request_digest(&format!("kills/{id}/sign"), &command.body)?;
    let before = deps.cell.load();
    let (receipt, done) = match signable(&kept, &body, &second) {
        // It is not signable any more either where this very command was carried out before.
        Err(refused) => {
            let replayed = deps.replayed(session, reach_of(&kept.scope), request).await?;
            (replayed.ok_or(refused)?, Err(command.heard.until))
        }
        Ok(pending) => {
            let stop = Stop {
                scope: kept.scope.clone(),
                effect: MarkEffect::Kill,
                reason: format!(
                    "{} (asked for by {}, signed by {second})",
                    body.reason, pending.by
                ),
            };
            let signed = Signed {
                freeze: kept.epoch,
                by: second,
            };
            let done = deps
                .kill_signed(session, (stop, request), command.heard, signed)
                .await?;
            note_stop(session, &kept.scope, MarkEffect::Kill, &done);
            (std::sync::Arc::clone(&done.receipt), Ok(done))
        }
    };
    let answer = told(deps, (&kept.scope, MarkEffect::Kill), &before, &receipt, done).await;
    let mut response = Json(answer).into_response();
    crate::command::mark_replayed(&mut response, &receipt);
    Ok(response)
}
