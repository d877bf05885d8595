//! Receipts of kills and of milder marks: one for each, named by the epoch at which its mark was set.

use bailiwick_base::{Digest, Epoch, TenantId, Time, canonical, json};
use bailiwick_decide::{MarkEffect, MarkScope};
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::mark::{scope_from, scope_text, tenant_of};
use crate::row::{Cells, Fields, args, signed};
use crate::store::Store;
use crate::stored::{Rows, Stored, digest_of, members, object, whole};
use crate::tx::{Source, Tx};

const TABLE: &str = "kill_receipt";
/// Longest body that is read back.
const BODY_MAX: usize = 1024 * 1024;

macro_rules! columns {
    () => {
        "tenant, epoch, entry, scope, effect, at, state, body, told, digest"
    };
}

const LOOKUP: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM kill_receipt WHERE tenant = $1 AND epoch = $2"
);
const NEWEST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM kill_receipt WHERE tenant = $1 AND epoch < $2 ORDER BY epoch DESC LIMIT $3"
);
const COUNT: &str = "SELECT count(*) FROM kill_receipt WHERE tenant = $1";
const COUNT_UNCLOSED: &str = "SELECT count(*) FROM kill_receipt WHERE tenant = $1 AND state <> 'closed'";
const OPEN_IN: &str = "SELECT DISTINCT tenant FROM kill_receipt WHERE state <> 'closed' ORDER BY tenant";
const UNCLOSED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM kill_receipt WHERE tenant = $1 AND state <> 'closed' AND epoch > $2 ORDER BY epoch LIMIT $3"
);
const UNSIGNED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM kill_receipt WHERE tenant = $1 AND state <> 'closed' AND state = 'pending' AND scope = $2 ORDER BY epoch"
);
const INSERT: &str = concat!(
    "INSERT INTO kill_receipt (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING"
);
const UPDATE: &str = "UPDATE kill_receipt SET state = $3, body = $4, told = $5, digest = $6 \
                      WHERE tenant = $1 AND epoch = $2 AND digest = $7";

/// How far a receipt has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptState {
    /// Contained, and nothing of it is unconfirmed.
    Closed,
    /// Durable; nobody has looked yet where it holds.
    Committed,
    /// Contained, with a residue that is not confirmed.
    Open,
    /// Frozen; the kill that was asked for waits for a second operator.
    Pending,
}

impl ReceiptState {
    const ALL: [Self; 4] = [Self::Closed, Self::Committed, Self::Open, Self::Pending];

    /// The stable text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Committed => "committed",
            Self::Open => "open",
            Self::Pending => "pending",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A receipt as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptReceipt {
    /// The epoch of its mark: its name.
    pub epoch: Epoch,
    /// Index of the entry of its mark in the state log.
    pub entry: u64,
    /// What was marked.
    pub scope: MarkScope,
    /// How far.
    pub effect: MarkEffect,
    /// When the mark was written.
    pub at: Time,
    /// How far it has come.
    pub state: ReceiptState,
    /// What it says: one JSON object, integers only.
    pub body: Value,
    /// Index of the latest entry that told of it, which names the digest of its document.
    pub told: u64,
}

impl Stored for KeptReceipt {
    const TABLE: &'static str = TABLE;

    fn document(&self) -> Value {
        json!({
            "tenant": tenant_of(&self.scope).as_str(),
            "epoch": self.epoch.0,
            "entry": self.entry,
            "scope": scope_text(&self.scope),
            "effect": self.effect.as_str(),
            "at": self.at.micros(),
            "state": self.state.as_str(),
            "body": self.body,
            "told": self.told,
        })
    }

    fn name(&self) -> String {
        self.epoch.0.to_string()
    }

    fn outline(&self) -> Map<String, Value> {
        members(json!({
            "entry": self.entry,
            "scope": scope_text(&self.scope),
            "level": self.effect.as_str(),
            "state": self.state.as_str(),
        }))
    }
}

impl KeptReceipt {
    /// What its entries in the state log name the digest of.
    #[must_use]
    pub fn document(&self) -> Value {
        Stored::document(self)
    }

    /// The digest that stands in its row and in its latest entry.
    ///
    /// # Errors
    /// [`StoreError::RowCorrupt`] when the body has no canonical form.
    pub fn digest(&self) -> Result<Digest, StoreError> {
        digest_of(self)
    }

    fn body_bytes(&self) -> Result<Vec<u8>, StoreError> {
        let bytes = canonical::to_vec(&self.body).ok();
        bytes
            .filter(|bytes| bytes.len() <= BODY_MAX)
            .ok_or_else(|| StoreError::RowCorrupt {
                table: TABLE,
                column: "body",
                row: self.name(),
            })
    }
}

/// Every row, for the comparison with the log.
pub(crate) const ROWS: Rows = Rows {
    table: TABLE,
    sql: concat!("SELECT tenant, digest, ", columns!(), " FROM kill_receipt"),
    verify: |cells, _| from_row(cells).map(drop),
};

fn from_row(cells: Cells) -> Result<KeptReceipt, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
    let receipt = KeptReceipt {
        epoch: Epoch(f.number("epoch")?),
        entry: f.number("entry")?,
        scope: f.word("scope", |s| scope_from(&tenant, s))?,
        effect: f.word("effect", MarkEffect::parse)?,
        at: f.time("at")?,
        state: f.word("state", ReceiptState::parse)?,
        body: {
            let bytes = f.bytes("body")?;
            json::parse(&bytes, BODY_MAX).map_err(|_| f.corrupt("body"))?
        },
        told: f.number("told")?,
    };
    whole(receipt, f.digest("digest")?)
}

/// Receipts of a tenant; those of marks on everything belong to the installation.
pub struct KillReceipts<'a, S>(pub(crate) &'a mut S);

impl<S: Source> KillReceipts<'_, S> {
    /// The receipt of the mark that was set at this epoch.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lookup(&mut self, epoch: Epoch) -> Result<Option<KeptReceipt>, StoreError> {
        let view = self.0.view();
        let key = args![view.home().as_str(), signed(epoch.0)];
        view.fetch(LOOKUP, key)
            .await?
            .into_iter()
            .next()
            .map(from_row)
            .transpose()
    }

    /// The newest ones, earlier than `before` where that is said, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn newest(&mut self, before: Option<Epoch>, max: u32) -> Result<Vec<KeptReceipt>, StoreError> {
        let view = self.0.view();
        let before = before.map_or(i64::MAX, |epoch| signed(epoch.0));
        let key = args![view.home().as_str(), before, i64::from(max)];
        view.fetch(NEWEST, key).await?.into_iter().map(from_row).collect()
    }

    /// How many there are; with `unclosed` only those of which something is still to be done or confirmed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count(&mut self, unclosed: bool) -> Result<u64, StoreError> {
        let view = self.0.view();
        let sql = if unclosed { COUNT_UNCLOSED } else { COUNT };
        let rows = view.fetch(sql, args![view.home().as_str()]).await?;
        let mut f = Fields::of(TABLE, rows.into_iter().next().unwrap_or_default());
        f.number("count")
    }

    /// Those of freezes on exactly this scope that stand for a kill which nobody signed, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unsigned(&mut self, scope: &MarkScope) -> Result<Vec<KeptReceipt>, StoreError> {
        let view = self.0.view();
        let tenant = tenant_of(scope);
        view.require(&tenant)?;
        let key = args![tenant.as_str(), scope_text(scope)];
        view.fetch(UNSIGNED, key)
            .await?
            .into_iter()
            .map(from_row)
            .collect()
    }

    /// Those later than `after` of which something is still to be done or confirmed, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unclosed(&mut self, after: Epoch, max: u32) -> Result<Vec<KeptReceipt>, StoreError> {
        let view = self.0.view();
        let key = args![view.home().as_str(), signed(after.0), i64::from(max)];
        view.fetch(UNCLOSED, key)
            .await?
            .into_iter()
            .map(from_row)
            .collect()
    }
}

impl Store {
    /// Whose receipts are not all closed: tenants, and the installation where it is a mark on everything.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_receipts_of(&self) -> Result<Vec<TenantId>, StoreError> {
        let rows = self.every().await?.fetch(OPEN_IN, Vec::new()).await?;
        let tenant = |cells| Fields::of(TABLE, cells).word("tenant", |t| TenantId::parse(t).ok());
        rows.into_iter().map(tenant).collect()
    }
}

impl KillReceipts<'_, Tx> {
    /// Begins the receipt of the mark that this transaction set last.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Duplicate`] when that mark has one.
    pub async fn begin(
        &mut self,
        scope: MarkScope,
        effect: MarkEffect,
        state: ReceiptState,
        body: Value,
    ) -> Result<KeptReceipt, StoreError> {
        let tenant = tenant_of(&scope);
        self.0.view.require(&tenant)?;
        let receipt = KeptReceipt {
            epoch: Epoch(self.0.head.epoch),
            entry: self.0.head.size.saturating_sub(1),
            scope,
            effect,
            at: self.0.now,
            state,
            body,
            told: self.0.head.size,
        };
        let values = args![
            tenant.as_str(),
            signed(receipt.epoch.0),
            signed(receipt.entry),
            scope_text(&receipt.scope),
            receipt.effect.as_str(),
            receipt.at,
            receipt.state.as_str(),
            receipt.body_bytes()?,
            signed(receipt.told),
            digest_of(&receipt)?
        ];
        if self.0.write(INSERT, values).await? == 0 {
            return Err(StoreError::Duplicate {
                table: TABLE,
                field: "epoch",
            });
        }
        let objects = vec![object(None, Some(&receipt))?];
        self.0.enter("kill.press", None, objects).await?;
        Ok(receipt)
    }

    /// Writes how far a receipt has come. `command` names the entry.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it has changed since `before` was read.
    pub async fn advance(
        &mut self,
        command: &'static str,
        before: &KeptReceipt,
        state: ReceiptState,
        body: Value,
    ) -> Result<KeptReceipt, StoreError> {
        let tenant = tenant_of(&before.scope);
        self.0.view.require(&tenant)?;
        let after = KeptReceipt {
            state,
            body,
            told: self.0.head.size,
            ..before.clone()
        };
        let values = args![
            tenant.as_str(),
            signed(after.epoch.0),
            after.state.as_str(),
            after.body_bytes()?,
            signed(after.told),
            digest_of(&after)?,
            digest_of(before)?
        ];
        if self.0.write(UPDATE, values).await? == 0 {
            return Err(StoreError::Conflict {
                table: TABLE,
                row: after.name(),
            });
        }
        let objects = vec![object(Some(before), Some(&after))?];
        self.0.enter(command, None, objects).await?;
        Ok(after)
    }
}
