//! The second operator's word for a kill that waits, and its withdrawal: each in the transaction of the mark that it
//! concerns, so that nothing comes between.

use bailiwick_base::Epoch;
use bailiwick_decide::MarkScope;
use bailiwick_store::{KeptReceipt, ReceiptState, Tx};
use bailiwick_wire::{PendingKill, ReceiptBody};
use http::StatusCode;

use super::{from_body, to_body};
use crate::command::CommandError;
use crate::problem::RouteError;
use crate::stop::Signed;

/// What waits, where `by` may sign it.
pub(crate) fn signable<'a>(
    kept: &KeptReceipt,
    body: &'a ReceiptBody,
    by: &str,
) -> Result<&'a PendingKill, RouteError> {
    let waiting = body.pending.as_ref().filter(|kill| kill.signed_by.is_none());
    let Some(kill) = waiting else {
        return Err(RouteError::new(
            StatusCode::CONFLICT,
            "kill.not-pending",
            "this receipt waits for no signature",
        ));
    };
    if kill.by == by {
        return Err(RouteError::new(
            StatusCode::FORBIDDEN,
            "kill.own-signature",
            "whoever asked for a kill cannot sign it as the second operator",
        ));
    }
    if kept.state != ReceiptState::Pending {
        return Err(withdrawn());
    }
    Ok(kill)
}

fn withdrawn() -> RouteError {
    RouteError::new(
        StatusCode::CONFLICT,
        "kill.withdrawn",
        "the freeze was lifted, and with it the kill: ask for it again",
    )
}

/// Writes who signed beside the mark of the kill. What was lifted meanwhile is not killed.
pub(crate) async fn sign(
    tx: &mut Tx,
    scope: &MarkScope,
    signed: &Signed,
    killed: Epoch,
) -> Result<(), CommandError> {
    let kept = tx.kill_receipt().lookup(signed.freeze).await?;
    let kept = kept.filter(|kept| kept.scope == *scope).ok_or_else(withdrawn)?;
    let marks = tx.mark().lookup(scope).await?;
    if !marks.iter().any(|set| set.mark.effect == kept.effect) {
        return Err(withdrawn().into());
    }
    let mut body = to_body(&kept)?;
    let kill = PendingKill {
        signed_by: Some(signed.by.clone()),
        killed: Some(killed.0),
        ..signable(&kept, &body, &signed.by)?.clone()
    };
    body.pending = Some(kill);
    tx.kill_receipt()
        .advance("kill.sign", &kept, ReceiptState::Closed, from_body(&body)?)
        .await?;
    Ok(())
}

/// Whoever lifts a freeze withdraws the kills that it stands for, whatever is frozen there later.
pub(crate) async fn withdraw(tx: &mut Tx, scope: &MarkScope) -> Result<(), CommandError> {
    for kept in tx.kill_receipt().unsigned(scope).await? {
        let body = kept.body.clone();
        tx.kill_receipt()
            .advance("kill.withdraw", &kept, ReceiptState::Closed, body)
            .await?;
    }
    Ok(())
}
