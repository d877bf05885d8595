//! Reading the state log.

use bailiwick_audit::entry::Leaf;
use bailiwick_base::{StatePos, TenantId, Time, json};
use serde_json::Value;

use crate::context::Reach;
use crate::engine::{Conn, Failure};
use crate::error::StoreError;
use crate::row::{Arg, Cell, Cells, Fields, args, signed};
use crate::store::Store;
use crate::tx::{Entry, StagedEntry, View, payload_context};

const TABLE: &str = "log_entry";
/// The most entries of one read.
const ENTRIES_MAX: u32 = 10_000;
/// Bytes of a payload.
const PAYLOAD_MAX: usize = 64 * 1024 * 1024;

macro_rules! columns {
    () => {
        "log_index, tenant, tenant_seq, kind, at, leaf, payload"
    };
}

const FROM: &str = "SELECT log_index, leaf FROM log_entry WHERE log_index >= $1 ORDER BY log_index LIMIT $2";
const ONE: &str = concat!("SELECT ", columns!(), " FROM log_entry WHERE log_index = $1");
const SPAN: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM log_entry WHERE log_index >= $1 AND log_index < $2 ORDER BY log_index LIMIT $3"
);
const SPAN_OF: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM log_entry WHERE tenant = $4 AND log_index >= $1 AND log_index < $2 ORDER BY log_index LIMIT $3"
);
const INSTANT: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM log_entry WHERE tenant = $1 AND at = $2 AND kind = $3 ORDER BY log_index LIMIT $4"
);
/// The kind stands in it literally: so it is answered from the index of prunings.
const PRUNINGS: &str = "SELECT log_index FROM log_entry WHERE kind = 'state.log.prune' AND log_index < $1 \
    ORDER BY log_index DESC LIMIT $2";
const POSITION_AT: &str = "SELECT log_index FROM log_entry WHERE at <= $1 ORDER BY log_index DESC LIMIT 1";
const TIME_AT: &str = "SELECT at FROM log_entry WHERE log_index = $1";

const INSERT_ONE: &str = concat!(
    "INSERT INTO log_entry (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7)"
);
/// Sixteen rows at once: a statement costs more than a row.
const ROWS: usize = 16;
const INSERT_ROWS: &str = concat!(
    "INSERT INTO log_entry (",
    columns!(),
    ") VALUES \
     ($1, $2, $3, $4, $5, $6, $7),\
     ($8, $9, $10, $11, $12, $13, $14),\
     ($15, $16, $17, $18, $19, $20, $21),\
     ($22, $23, $24, $25, $26, $27, $28),\
     ($29, $30, $31, $32, $33, $34, $35),\
     ($36, $37, $38, $39, $40, $41, $42),\
     ($43, $44, $45, $46, $47, $48, $49),\
     ($50, $51, $52, $53, $54, $55, $56),\
     ($57, $58, $59, $60, $61, $62, $63),\
     ($64, $65, $66, $67, $68, $69, $70),\
     ($71, $72, $73, $74, $75, $76, $77),\
     ($78, $79, $80, $81, $82, $83, $84),\
     ($85, $86, $87, $88, $89, $90, $91),\
     ($92, $93, $94, $95, $96, $97, $98),\
     ($99, $100, $101, $102, $103, $104, $105),\
     ($106, $107, $108, $109, $110, $111, $112)"
);

/// Inserts the entries of a batch.
pub(crate) async fn insert(conn: &mut Conn, entries: Vec<StagedEntry>) -> Result<(), Failure> {
    let mut rows: Vec<Vec<Arg>> = entries.into_iter().map(to_row).collect();
    while rows.len() >= ROWS {
        let rest = rows.split_off(ROWS);
        conn.execute(INSERT_ROWS, rows.into_iter().flatten().collect())
            .await?;
        rows = rest;
    }
    for row in rows {
        conn.execute(INSERT_ONE, row).await?;
    }
    Ok(())
}

fn to_row(entry: StagedEntry) -> Vec<Arg> {
    args![
        signed(entry.index),
        entry.tenant.as_str(),
        signed(entry.tenant_seq),
        entry.kind,
        entry.at,
        entry.leaf,
        entry.payload,
    ]
}

/// An entry with its payload in clear.
#[derive(Debug, Clone, PartialEq)]
pub struct Opening {
    /// Index.
    pub index: u64,
    /// Whose entry; the installation's own have its reserved name.
    pub tenant: TenantId,
    /// Number within the tenant.
    pub tenant_seq: u64,
    /// `state.<command>`.
    pub kind: String,
    /// When it was recorded.
    pub at: Time,
    /// Canonical leaf.
    pub leaf: Vec<u8>,
    /// The payload, exactly as it was committed to; canonical JSON.
    pub payload: Vec<u8>,
}

impl Opening {
    /// The payload as JSON.
    ///
    /// # Errors
    /// [`StoreError::LogCorrupt`] when it is none.
    pub fn value(&self) -> Result<Value, StoreError> {
        json::parse(&self.payload, PAYLOAD_MAX).map_err(|_| StoreError::LogCorrupt {
            index: self.index,
            what: "the payload is not strict JSON",
        })
    }
}

impl Store {
    /// When the newest entry was recorded.
    ///
    /// # Errors
    /// As [`Store::entries`]; [`StoreError::LogCorrupt`] when it cannot be read.
    pub async fn last_at(&self) -> Result<Option<Time>, StoreError> {
        let last = self.position().await?.0.0.saturating_sub(1);
        let Some(entry) = self.entries(last, 1).await?.pop() else {
            return Ok(None);
        };
        let leaf = Leaf::decode(&entry.leaf).map_err(|_| StoreError::LogCorrupt {
            index: last,
            what: "it is no leaf",
        })?;
        Ok(Some(Time::from_micros(
            i64::try_from(leaf.at).unwrap_or(i64::MAX),
        )))
    }

    /// Leaves from index `from` on, at most `max` (≤ 10,000), without gaps: what a publisher of tiles reads.
    ///
    /// # Errors
    /// [`StoreError::Limit`], [`StoreError::LogCorrupt`] when an index is missing.
    pub async fn entries(&self, from: u64, max: u32) -> Result<Vec<Entry>, StoreError> {
        if max == 0 || max > ENTRIES_MAX {
            return Err(StoreError::Limit {
                what: "max",
                found: max.into(),
                max: ENTRIES_MAX.into(),
            });
        }
        let mut view = self.every().await?;
        let rows = view.fetch(FROM, args![signed(from), i64::from(max)]).await?;
        let mut out = Vec::with_capacity(rows.len());
        for (expected, cells) in (from..).zip(rows) {
            let mut f = Fields::of(TABLE, cells);
            let index = f.number("log_index")?;
            if index != expected {
                return Err(StoreError::LogCorrupt {
                    index: expected,
                    what: "it is missing",
                });
            }
            out.push(Entry {
                index,
                leaf: f.bytes("leaf")?,
            });
        }
        Ok(out)
    }

    /// Where prunings of logs are recorded in front of entry `before`, the newest first, at most `max` of them.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn prunings(&self, before: u64, max: u32) -> Result<Vec<u64>, StoreError> {
        let mut view = self.every().await?;
        let rows = view
            .fetch(PRUNINGS, args![signed(before), i64::from(max)])
            .await?;
        rows.into_iter()
            .map(|cells| Fields::of(TABLE, cells).number("log_index"))
            .collect()
    }

    /// One entry with its payload in clear. `reach` says whose entries may be opened.
    ///
    /// # Errors
    /// [`StoreError::OtherTenant`] for an entry of somebody else, [`StoreError::Seal`] when the payload does
    /// not open (its tenant's key was erased), [`StoreError::LogCorrupt`] when it is not the one its leaf
    /// commits to.
    pub async fn opening(&self, reach: impl Into<Reach>, index: u64) -> Result<Option<Opening>, StoreError> {
        let reach = reach.into();
        let mut view = self.every().await?;
        let Some(cells) = view.fetch(ONE, args![signed(index)]).await?.into_iter().next() else {
            return Ok(None);
        };
        let sealed = sealed_from(cells)?;
        if !matches!(reach, Reach::DangerAllTenants) && sealed.tenant != reach.home() {
            let expected = reach.home().to_string();
            return Err(StoreError::OtherTenant {
                expected,
                found: sealed.tenant.to_string(),
            });
        }
        view.open(sealed).map(Some)
    }
}

impl Store {
    /// Entries of `tenant` and of the installation in `[from, to)` whose kind is `wanted`, opened, and the index up
    /// to which that is all of them. At most `max` (≤ 10,000) entries of each are looked at.
    ///
    /// # Errors
    /// [`StoreError::Limit`], [`StoreError::Seal`], [`StoreError::LogCorrupt`].
    pub async fn openings_since(
        &self,
        tenant: &TenantId,
        (from, to): (u64, u64),
        max: u32,
        wanted: fn(&str) -> bool,
    ) -> Result<(Vec<Opening>, u64), StoreError> {
        if max == 0 || max > ENTRIES_MAX {
            return Err(StoreError::Limit {
                what: "max",
                found: max.into(),
                max: ENTRIES_MAX.into(),
            });
        }
        let mut view = self.every().await?;
        let (mut all, mut end) = (Vec::new(), to);
        for owner in [tenant, &bailiwick_inventory::installation()] {
            let found = view.span(from, to, max, Some(owner)).await?;
            if let Some(last) = found.last().filter(|_| found.len() >= max as usize) {
                end = end.min(last.index + 1);
            }
            all.extend(found.into_iter().filter(|entry| wanted(&entry.kind)));
        }
        all.retain(|entry| entry.index < end);
        all.sort_by_key(|entry| entry.index);
        let opened: Result<Vec<Opening>, StoreError> =
            all.into_iter().map(|entry| view.open(entry)).collect();
        Ok((opened?, end))
    }
}

/// An entry as it is stored.
#[derive(Clone)]
pub(crate) struct Sealed {
    index: u64,
    pub(crate) tenant: TenantId,
    tenant_seq: u64,
    kind: String,
    at: Time,
    pub(crate) leaf: Vec<u8>,
    payload: Vec<u8>,
}

fn sealed_from(cells: Cells) -> Result<Sealed, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    Ok(Sealed {
        index: f.number("log_index")?,
        tenant: f.word("tenant", |t| TenantId::parse(t).ok())?,
        tenant_seq: f.number("tenant_seq")?,
        kind: f.text("kind")?,
        at: f.time("at")?,
        leaf: f.bytes("leaf")?,
        payload: f.bytes("payload")?,
    })
}

impl View {
    /// Opens a payload and compares it with its leaf: columns, commitment, index.
    pub(crate) fn open(&self, sealed: Sealed) -> Result<Opening, StoreError> {
        let commitment = sealed.told()?.commitment;
        let Sealed {
            index,
            tenant,
            tenant_seq,
            kind,
            at,
            leaf,
            payload,
        } = sealed;
        let owner = (tenant != bailiwick_inventory::installation()).then_some(&tenant);
        let row = index.to_be_bytes();
        let payload = self.ground.sealer.open(&payload_context(owner, &row), &payload)?;
        if commitment != self.ground.sealer.commit(owner, &payload)? {
            return Err(StoreError::LogCorrupt {
                index,
                what: "its payload is not the one its leaf commits to",
            });
        }
        Ok(Opening {
            index,
            tenant,
            tenant_seq,
            kind,
            at,
            leaf,
            payload,
        })
    }

    /// Stored entries of `[from, to)`, at most `max`, of one tenant or of all.
    pub(crate) async fn span(
        &mut self,
        from: u64,
        to: u64,
        max: u32,
        tenant: Option<&TenantId>,
    ) -> Result<Vec<Sealed>, StoreError> {
        let mut values = args![signed(from), signed(to), i64::from(max)];
        let rows = match tenant {
            None => self.fetch(SPAN, values).await?,
            Some(tenant) => {
                values.extend(args![tenant.as_str()]);
                self.fetch(SPAN_OF, values).await?
            }
        };
        rows.into_iter().map(sealed_from).collect()
    }

    /// Stored entries of one kind and instant.
    pub(crate) async fn at_instant(
        &mut self,
        tenant: &TenantId,
        kind: &str,
        at: Time,
        max: usize,
    ) -> Result<Vec<Sealed>, StoreError> {
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let rows = self.fetch(INSTANT, args![tenant.as_str(), at, kind, max]).await?;
        rows.into_iter().map(sealed_from).collect()
    }

    /// The position that takes into account every entry up to `at`. Times in the log never go back.
    pub(crate) async fn position_at(&mut self, at: Time) -> Result<StatePos, StoreError> {
        let rows = self.fetch(POSITION_AT, args![at]).await?;
        Ok(StatePos(match rows.into_iter().next() {
            Some(cells) => Fields::of(TABLE, cells).number("log_index")? + 1,
            None => 0,
        }))
    }

    /// The time of the last entry before `pos`; the beginning of time for an empty log.
    pub(crate) async fn time_at(&mut self, pos: StatePos) -> Result<Time, StoreError> {
        let Some(last) = pos.0.checked_sub(1) else {
            return Ok(Time::default());
        };
        match self
            .fetch(TIME_AT, args![signed(last)])
            .await?
            .first()
            .and_then(|cells| cells.first())
        {
            Some(Cell::Int(at)) => Ok(Time::from_micros(*at)),
            _ => Err(StoreError::LogCorrupt {
                index: last,
                what: "it is missing",
            }),
        }
    }
}

impl Sealed {
    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    /// What its leaf tells, which its columns must tell too.
    pub(crate) fn told(&self) -> Result<Leaf<'_>, StoreError> {
        let index = self.index;
        let wrong = |what| StoreError::LogCorrupt { index, what };
        let said = Leaf::decode(&self.leaf).map_err(|_| wrong("its leaf is not in canonical form"))?;
        if said.state_pos != index || said.tenant_seq != self.tenant_seq || said.kind.as_str() != self.kind {
            return Err(wrong("its columns are not those of its leaf"));
        }
        if i64::try_from(said.at) != Ok(self.at.micros()) {
            return Err(wrong("its time is not that of its leaf"));
        }
        Ok(said)
    }

    pub(crate) fn kind(&self) -> &str {
        &self.kind
    }

    pub(crate) fn tenant_seq(&self) -> u64 {
        self.tenant_seq
    }
}
