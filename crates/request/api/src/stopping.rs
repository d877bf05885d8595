//! What a stop writes in one transaction: its mark, its receipt, and the states of what it names.

use bailiwick_base::{Epoch, IdentityId, TaskId};
use bailiwick_credential::TaskState;
use bailiwick_decide::{MarkEffect, MarkScope};
use bailiwick_inventory as inventory;
use bailiwick_store::{ReceiptState, Tx};
use serde_json::Value;

use crate::command::CommandError;
use crate::problem::RouteError;
use crate::stop::Stop;

/// The mark, and the states of the identities it names, in one transaction.
pub(crate) async fn write_mark(
    tx: &mut Tx,
    stop: &Stop,
    members: &[IdentityId],
    receipt: Option<&(Value, bool)>,
) -> Result<Epoch, CommandError> {
    let epoch = tx
        .mark()
        .set(stop.scope.clone(), stop.effect, &stop.reason)
        .await?;
    if let Some((body, is_pending)) = receipt {
        let state = if *is_pending {
            ReceiptState::Pending
        } else {
            ReceiptState::Committed
        };
        tx.kill_receipt()
            .begin(stop.scope.clone(), stop.effect, state, body.clone())
            .await?;
    }
    if let (MarkScope::Task(id), MarkEffect::Kill) = (&stop.scope, stop.effect) {
        end_task(tx, id, &stop.reason).await?;
    }
    end_members(tx, stop, members).await?;
    Ok(epoch)
}

pub(crate) async fn stopped(tx: &mut Tx, id: &IdentityId) -> Result<inventory::Identity, CommandError> {
    let found = tx.identity().lookup(id).await?;
    found.ok_or_else(|| RouteError::not_found("identity").into())
}

/// The states of the identities a stop names.
pub(crate) async fn end_members(
    tx: &mut Tx,
    stop: &Stop,
    members: &[IdentityId],
) -> Result<(), CommandError> {
    let single = matches!(stop.scope, MarkScope::Identity(_));
    if !stop.effect.is_whole() {
        return Ok(());
    }
    for id in members {
        let identity = stopped(tx, id).await?;
        let now = tx.now();
        let transition = match stop.effect {
            MarkEffect::Kill => inventory::retire(identity, &stop.reason, now),
            _ => inventory::suspend(identity, &stop.reason, now),
        };
        match transition {
            Ok(transition) => {
                tx.identity().apply(transition).await?;
            }
            // One of many that is stopped already is no reason to let the others run.
            Err(_) if !single => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Ok(())
}

/// A mark stops the tokens that exist; a task that is closed gets no new ones.
async fn end_task(tx: &mut Tx, id: &TaskId, reason: &str) -> Result<(), CommandError> {
    let (task, _) = tx
        .task()
        .lookup(id)
        .await?
        .ok_or_else(|| RouteError::not_found("task"))?;
    if task.state == TaskState::Open {
        let transition = bailiwick_credential::close_task(task, reason, tx.now())?;
        tx.task().apply(transition).await?;
    }
    Ok(())
}
