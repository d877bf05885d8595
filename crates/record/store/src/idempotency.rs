//! The same command twice is one command.

use std::time::Duration;

use bailiwick_base::{Epoch, SealContext, StatePos, TenantId};

use crate::context::{Idempotency, Reach};
use crate::error::StoreError;
use crate::row::{Fields, args, signed};
use crate::tx::{Receipt, Tx};

const SELECT: &str =
    "SELECT key_hash, request, answer, log_pos, epoch FROM idempotency WHERE tenant = $1 AND key_hash = $2";
const INSERT: &str = "INSERT INTO idempotency (tenant, key_hash, request, answer, log_pos, epoch, at) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7)";
/// A few at a time: no command waits for all that became old since the one before.
const FORGET: &str = "DELETE FROM idempotency WHERE tenant = $1 AND key_hash IN (SELECT key_hash FROM idempotency \
                      WHERE tenant = $1 AND at < $2 ORDER BY at LIMIT 16)";
/// How long a repeated command is known at least. Then its key is free again.
const KEPT: Duration = Duration::from_secs(86_400);

fn owner<'a>(reach: &Reach, tenant: &'a TenantId) -> Option<&'a TenantId> {
    matches!(reach, Reach::Tenant(_)).then_some(tenant)
}

fn sealing<'a>(tenant: Option<&'a TenantId>, key: &'a [u8; 32]) -> SealContext<'a> {
    SealContext {
        tenant,
        table: "idempotency",
        row: key,
        column: "answer",
    }
}

/// Reading all tenants changes nothing: it may be repeated, and each time is recorded.
fn wanted(tx: &Tx) -> Option<Idempotency> {
    if matches!(tx.view.reach, Reach::DangerAllTenants) {
        None
    } else {
        tx.ctx.idempotency.clone()
    }
}

/// The first answer, when this command was done before.
pub(crate) async fn replay(tx: &mut Tx) -> Result<Option<Receipt>, StoreError> {
    let Some(wanted) = wanted(tx) else {
        return Ok(None);
    };
    let tenant = tx.view.home();
    let Some(cells) = tx
        .view
        .fetch(SELECT, args![tenant.as_str(), wanted.key])
        .await?
        .into_iter()
        .next()
    else {
        return Ok(None);
    };
    let mut fields = Fields::of("idempotency", cells);
    fields.digest("key_hash")?;
    if fields.digest("request")? != wanted.request {
        return Err(StoreError::IdempotencyReused);
    }
    let sealed = fields.bytes("answer")?;
    let owner = owner(&tx.view.reach, &tenant);
    let answer = tx
        .view
        .ground
        .sealer
        .open(&sealing(owner, &wanted.key.0), &sealed)?;
    let (pos, epoch) = (
        StatePos(fields.number("log_pos")?),
        Epoch(fields.number("epoch")?),
    );
    Ok(Some(Receipt {
        pos,
        epoch,
        facts: Vec::new(),
        entries: Vec::new(),
        answer,
        replayed: true,
    }))
}

/// Keeps the answer of a command that had a key.
pub(crate) async fn keep(tx: &mut Tx, answer: &[u8]) -> Result<(), StoreError> {
    let Some(wanted) = wanted(tx) else {
        return Ok(());
    };
    let tenant = tx.view.home();
    let owner = owner(&tx.view.reach, &tenant);
    let sealed = tx
        .view
        .ground
        .sealer
        .seal(&sealing(owner, &wanted.key.0), answer)?;
    let (size, epoch, now) = (signed(tx.head.size), signed(tx.head.epoch), tx.now);
    let values = args![
        tenant.as_str(),
        wanted.key,
        wanted.request,
        sealed,
        size,
        epoch,
        now
    ];
    tx.write_quietly(INSERT, values).await?;
    let before = now.before(KEPT);
    tx.write_quietly(FORGET, args![tenant.as_str(), before])
        .await
        .map(drop)
}
