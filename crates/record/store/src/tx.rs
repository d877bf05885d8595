//! A view of the rows, and a transaction: state and its entries, together or not at all.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bailiwick_audit::entry;
use bailiwick_base::{
    Clock, Epoch, KeyShelf, NodeName, SealContext, Sealer, StatePos, TenantId, Time, canonical,
};
use bailiwick_decide::Fact;
use serde_json::{Value, json};

use crate::changes::Changes;
use crate::context::{Context, Reach};
use crate::engine::{Conn, Failure};
use crate::error::StoreError;
use crate::row::{Arg, Cell, Cells, args};
use crate::writer::Observer;

/// One entry of the state log as a publisher needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Index in the state log.
    pub index: u64,
    /// Canonical leaf (`audit::entry::Leaf`).
    pub leaf: Vec<u8>,
}

/// A row of the log before it is inserted.
#[derive(Debug)]
pub(crate) struct StagedEntry {
    pub(crate) index: u64,
    pub(crate) tenant: TenantId,
    pub(crate) tenant_seq: u64,
    pub(crate) kind: String,
    pub(crate) at: i64,
    pub(crate) leaf: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// What a committed transaction gives back.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The position of the state log that takes the transaction into account.
    pub pos: StatePos,
    /// The revocation epoch after it.
    pub epoch: Epoch,
    /// What is true from now on, the position last. Publish them in the order of positions.
    pub facts: Vec<Fact>,
    /// Its entries, in order.
    pub entries: Vec<Entry>,
    /// The answer the transaction gave; the first one when it was replayed.
    pub answer: Vec<u8>,
    /// Whether the idempotency key was known: nothing was done again.
    pub replayed: bool,
}

/// Whoever is told of commits, and up to where: one at a time, in the order of positions.
pub(crate) struct Audience {
    /// Gone once the store is closed: what it holds, such as the way to the publisher, ends then, whoever still has
    /// the store.
    observer: Mutex<Option<Observer>>,
    told: AtomicU64,
    /// Another node may have changed operators.
    pub(crate) operators: AtomicBool,
}

impl Audience {
    pub(crate) fn new(observer: Option<Observer>) -> Self {
        Self {
            observer: Mutex::new(observer),
            told: AtomicU64::new(0),
            operators: AtomicBool::new(false),
        }
    }

    /// Tells of what others committed.
    pub(crate) fn tell_changes(&self, changes: Changes) {
        if changes.operators {
            self.operators.store(true, Ordering::Release);
        }
        self.tell(&changes.into_receipt());
    }

    /// Tells of a commit of this node, or of what others committed. What was told already is not told again: it would
    /// be older than what was told since.
    pub(crate) fn tell(&self, receipt: &Receipt) {
        let one = self.observer.lock().unwrap_or_else(PoisonError::into_inner);
        if receipt.entries.is_empty() || receipt.pos.0 <= self.told() {
            return;
        }
        if let Some(observer) = &*one {
            observer(receipt);
        }
        self.start_at(receipt.pos.0);
    }

    /// Nobody is told any more.
    pub(crate) fn end(&self) {
        drop(
            self.observer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }

    /// Everything before `pos` is known.
    pub(crate) fn start_at(&self, pos: u64) {
        self.told.fetch_max(pos, Ordering::AcqRel);
    }

    pub(crate) fn told(&self) -> u64 {
        self.told.load(Ordering::Acquire)
    }
}

/// What the writer and every transaction share.
pub(crate) struct Ground {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) sealer: Arc<dyn Sealer>,
    /// Where other nodes may be on the store.
    pub(crate) shelf: Option<Arc<dyn KeyShelf>>,
    pub(crate) node: NodeName,
    pub(crate) seat: Option<String>,
}

/// Rows as one transaction or one reader sees them.
pub struct View {
    pub(crate) conn: Conn,
    pub(crate) reach: Reach,
    pub(crate) ground: Arc<Ground>,
    /// The first failed statement; the transaction cannot commit any more.
    pub(crate) failure: Option<Failure>,
}

impl View {
    pub(crate) fn new(conn: Conn, reach: Reach, ground: Arc<Ground>) -> Self {
        Self {
            conn,
            reach,
            ground,
            failure: None,
        }
    }

    /// Refuses ids of another tenant than this view's.
    pub(crate) fn require(&self, tenant: &TenantId) -> Result<(), StoreError> {
        let home = self.reach.home();
        if *tenant == home || matches!(self.reach, Reach::DangerAllTenants) {
            return Ok(());
        }
        Err(StoreError::OtherTenant {
            expected: home.to_string(),
            found: tenant.to_string(),
        })
    }

    /// The one tenant of this view.
    pub(crate) fn home(&self) -> TenantId {
        self.reach.home()
    }

    pub(crate) async fn fetch(
        &mut self,
        sql: &'static str,
        args: Vec<Arg>,
    ) -> Result<Vec<Cells>, StoreError> {
        match self.conn.fetch(sql, args).await {
            Ok(rows) => Ok(rows),
            Err(failure) => Err(self.broken(failure)),
        }
    }

    pub(crate) async fn each(
        &mut self,
        sql: &'static str,
        args: Vec<Arg>,
        take: impl FnMut(Cells) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let done = self.conn.each(sql, args, take).await;
        done.map_err(|failure| self.broken(failure))
    }

    pub(crate) fn broken(&mut self, failure: Failure) -> StoreError {
        let error = failure.error.clone();
        self.failure.get_or_insert(failure);
        error
    }
}

mod sealed {
    /// What aggregates read from.
    pub trait Source {
        fn view(&mut self) -> &mut super::View;
    }
}
pub(crate) use sealed::Source;

impl Source for View {
    fn view(&mut self) -> &mut View {
        self
    }
}

/// A reader: one consistent view of one tenant's rows.
pub type Reader = View;

/// A transaction. It ends with the closure it was given to: committed when that returns `Ok`, rolled back
/// when not.
pub struct Tx {
    pub(crate) view: View,
    pub(crate) ctx: Arc<Context>,
    pub(crate) head: Head,
    /// Position, time and epoch when it began.
    pub(crate) began: Head,
    pub(crate) now: Time,
    pub(crate) changes: u64,
    /// Entries that stand for a change.
    pub(crate) change_entries: u64,
    /// Entries that the writer inserts with those of its whole batch.
    pub(crate) staged: Vec<StagedEntry>,
    pub(crate) facts: Vec<Fact>,
    /// The last sequence number of this tenant, once known.
    pub(crate) seq: Option<u64>,
    /// The pseudonym of this tenant, once known.
    pub(crate) reference: Option<Arc<str>>,
}

/// The counters of the installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) epoch: u64,
    pub(crate) floor: u64,
    pub(crate) size: u64,
    pub(crate) at: i64,
}

impl Source for Tx {
    fn view(&mut self) -> &mut View {
        &mut self.view
    }
}

impl Tx {
    pub(crate) fn new(view: View, ctx: Arc<Context>, head: Head, now: Time) -> Self {
        Self {
            view,
            ctx,
            head,
            began: head,
            now,
            changes: 0,
            change_entries: 0,
            staged: Vec::new(),
            facts: Vec::new(),
            seq: None,
            reference: None,
        }
    }

    /// The time of this transaction: every entry of it carries this or a later one.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// The position that the entries so far lead to, for the answer.
    #[must_use]
    pub fn position(&self) -> StatePos {
        StatePos(self.head.size)
    }

    /// The epoch so far, for the answer.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch(self.head.epoch)
    }

    /// Appends a record of something that is no change of state, e.g. `insecure-listen`. `command` becomes
    /// the kind `state.<command>`.
    ///
    /// # Errors
    /// [`StoreError`] when the entry cannot be sealed or written.
    pub async fn note(&mut self, command: &str, detail: Value) -> Result<(), StoreError> {
        self.append(command, None, Vec::new(), Some(detail)).await
    }

    /// Writes rows. Refused in a view of all tenants.
    pub(crate) async fn write(&mut self, sql: &'static str, args: Vec<Arg>) -> Result<u64, StoreError> {
        if matches!(self.view.reach, Reach::DangerAllTenants) {
            return Err(StoreError::WriteAcrossTenants);
        }
        let touched = self.write_quietly(sql, args).await?;
        self.changes += touched;
        Ok(touched)
    }

    /// Writes rows that are no state: the log itself and answers to repetitions.
    pub(crate) async fn write_quietly(
        &mut self,
        sql: &'static str,
        args: Vec<Arg>,
    ) -> Result<u64, StoreError> {
        match self.view.conn.execute(sql, args).await {
            Ok(touched) => Ok(touched),
            Err(failure) => Err(self.view.broken(failure)),
        }
    }

    /// Appends the entry of a change that was written.
    pub(crate) async fn enter(
        &mut self,
        command: &str,
        reason: Option<&str>,
        objects: Vec<Value>,
    ) -> Result<(), StoreError> {
        self.change_entries += 1;
        self.append(command, reason, objects, None).await
    }

    async fn append(
        &mut self,
        command: &str,
        reason: Option<&str>,
        objects: Vec<Value>,
        detail: Option<Value>,
    ) -> Result<(), StoreError> {
        let tenant = self.view.home();
        let owner =
            (!matches!(self.view.reach, Reach::DangerAllTenants | Reach::Installation)).then_some(&tenant);
        let index = self.head.size;
        let seq = self.next_seq(&tenant).await?;
        let reference = self.reference(&tenant).await?;
        let mut payload = json!({
            "v": 1,
            "command": command,
            "actor": self.ctx.actor.to_string(),
            "request": self.ctx.request.0.to_string(),
            "idempotency": self.ctx.idempotency.as_ref().map(|i| i.key.to_string()),
            "objects": objects,
        });
        if let Value::Object(members) = &mut payload {
            members.extend(reason.map(|r| ("reason".to_owned(), Value::from(r))));
            members.extend(detail.map(|d| ("detail".to_owned(), d)));
        }
        let payload = canonical::to_vec(&payload).map_err(|_| StoreError::LogCorrupt {
            index,
            what: "the payload has no canonical form",
        })?;
        let ground = Arc::clone(&self.view.ground);
        let kind = format!("state.{command}");
        let at = self.now.micros().max(self.head.at);
        let leaf = entry::Leaf {
            at: u64::try_from(at).unwrap_or(0),
            commitment: ground.sealer.commit(owner, &payload)?,
            epoch: self.head.epoch,
            kind: entry::Kind::parse(&kind).map_err(StoreError::Leaf)?,
            node: ground.node.as_str(),
            state_pos: index,
            tenant_ref: &reference,
            tenant_seq: seq,
        }
        .encode()
        .map_err(StoreError::Leaf)?;
        let row = index.to_be_bytes();
        let sealed = ground.sealer.seal(&payload_context(owner, &row), &payload)?;
        self.staged.push(StagedEntry {
            index,
            tenant,
            tenant_seq: seq,
            kind,
            at,
            leaf,
            payload: sealed,
        });
        self.head.size = index + 1;
        self.head.at = at;
        self.seq = Some(seq);
        Ok(())
    }

    async fn next_seq(&mut self, tenant: &TenantId) -> Result<u64, StoreError> {
        if let Some(seq) = self.seq {
            return Ok(seq + 1);
        }
        let sql = "SELECT tenant_seq FROM log_entry WHERE tenant = $1 ORDER BY tenant_seq DESC LIMIT 1";
        let rows = self.view.fetch(sql, args![tenant.as_str()]).await?;
        match rows.first().and_then(|cells| cells.first()) {
            None => Ok(entry::TENANT_SEQ_FIRST),
            Some(Cell::Int(last)) => Ok(u64::try_from(*last).unwrap_or(0) + 1),
            Some(_) => Err(StoreError::RowCorrupt {
                table: "log_entry",
                column: "tenant_seq",
                row: tenant.to_string(),
            }),
        }
    }

    async fn reference(&mut self, tenant: &TenantId) -> Result<Arc<str>, StoreError> {
        if let Some(known) = &self.reference {
            return Ok(Arc::clone(known));
        }
        let reference: Arc<str> = if matches!(self.view.reach, Reach::Tenant(_)) {
            let sql = "SELECT reference FROM tenant WHERE tenant = $1";
            let rows = self.view.fetch(sql, args![tenant.as_str()]).await?;
            match rows.first().and_then(|cells| cells.first()) {
                Some(Cell::Text(text)) => Arc::from(text.as_str()),
                Some(_) => {
                    return Err(StoreError::RowCorrupt {
                        table: "tenant",
                        column: "reference",
                        row: tenant.to_string(),
                    });
                }
                None => return Err(StoreError::TenantUnknown(tenant.to_string())),
            }
        } else {
            Arc::from(tenant.as_str())
        };
        self.reference = Some(Arc::clone(&reference));
        Ok(reference)
    }

    /// Whether state and entries belong together.
    pub(crate) fn require_balance(&self) -> Result<(), StoreError> {
        match (self.changes, self.change_entries) {
            (0, 0) => Ok(()),
            (0, _) => Err(StoreError::EntryWithoutChange),
            (_, 0) => Err(StoreError::StateWithoutEntry),
            _ => Ok(()),
        }
    }
}

/// What the payload of an entry is sealed with.
pub(crate) fn payload_context<'a>(tenant: Option<&'a TenantId>, index: &'a [u8]) -> SealContext<'a> {
    SealContext {
        tenant,
        table: "log_entry",
        row: index,
        column: "payload",
    }
}
