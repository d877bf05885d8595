//! The count at a position, from rows where the position is the present, and the recount from the log.

use std::collections::BTreeMap;

use bailiwick_base::{StatePos, TenantId, Time};
use bailiwick_inventory::{Count, Kind, Origin};
use serde_json::Value;

use crate::context::Reach;
use crate::error::StoreError;
use crate::row::{Cells, Fields, args};
use crate::store::Store;
use crate::tx::View;

/// Entries read at once during a recount.
const CHUNK: u32 = 2_000;

const GROUPED: &str = "SELECT kind, origin, state, count(*) FROM identity GROUP BY kind, origin, state";
const GROUPED_OF: &str =
    "SELECT kind, origin, state, count(*) FROM identity WHERE tenant = $1 GROUP BY kind, origin, state";

/// Where a count is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum At {
    /// Now.
    #[default]
    Head,
    /// At this position of the state log.
    Position(StatePos),
    /// At this time: everything recorded up to it.
    Time(Time),
}

/// A count and where it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The numbers.
    pub count: Count,
    /// People of the tenants counted, at that position.
    pub employees: u64,
    /// The position of the state log at which this holds.
    pub position: StatePos,
    /// The time of the last entry before it.
    pub as_of: Time,
}

/// A count found by replaying the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recount {
    /// What was found.
    pub counted: Counted,
    /// Entries that were replayed.
    pub entries: u64,
    /// Entries whose payload does not open because the tenant's key was erased.
    pub erased: u64,
}

impl Store {
    /// The exact number of identities at a position: of one tenant, or of all with
    /// [`Reach::DangerAllTenants`].
    ///
    /// # Errors
    /// [`StoreError::NoSuchPosition`] behind the end of the log, else [`StoreError`].
    pub async fn count(&self, reach: impl Into<Reach>, at: At) -> Result<Counted, StoreError> {
        let reach = reach.into();
        let mut view = self.every().await?;
        let size = view.head().await?.size;
        let position = view.position(at, size).await?;
        if position.0 < size {
            return Ok(view.replay(&reach, position).await?.counted);
        }
        let tenant = reach.home();
        let all = matches!(reach, Reach::DangerAllTenants);
        let rows = if all {
            view.fetch(GROUPED, Vec::new()).await?
        } else {
            view.fetch(GROUPED_OF, args![tenant.as_str()]).await?
        };
        let count = grouped(rows)?;
        let tenants = view.tenant().list().await?;
        let counted = tenants.iter().filter(|(t, _)| all || t.id == tenant);
        let employees = counted.map(|(t, _)| u64::from(t.employees)).sum();
        Ok(Counted {
            count,
            employees,
            position,
            as_of: view.time_at(position).await?,
        })
    }

    /// The same number from the log alone: every payload up to the position is opened, compared with its leaf
    /// and replayed; no row of the inventory is read.
    ///
    /// # Errors
    /// [`StoreError::LogCorrupt`] naming the entry that does not fit those before it.
    pub async fn recount(&self, reach: impl Into<Reach>, at: At) -> Result<Recount, StoreError> {
        let mut view = self.every().await?;
        let size = view.head().await?.size;
        let position = view.position(at, size).await?;
        view.replay(&reach.into(), position).await
    }
}

fn grouped(rows: Vec<Cells>) -> Result<Count, StoreError> {
    let mut count = Count::default();
    for cells in rows {
        let mut f = Fields::of("identity", cells);
        let (kind, origin) = (f.word("kind", Kind::parse)?, f.word("origin", Origin::parse)?);
        let state = f.text("state")?;
        let n = f.number("count")?;
        if !count.add(kind, origin, &state, n) {
            return Err(f.corrupt("state"));
        }
    }
    Ok(count)
}

/// What a record says about an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outline {
    kind: Kind,
    origin: Origin,
    state: String,
    digest: String,
}

impl Outline {
    fn read(value: &Value) -> Option<Option<Self>> {
        if value.is_null() {
            return Some(None);
        }
        Some(Some(Self {
            kind: Kind::parse(value.get("kind")?.as_str()?)?,
            origin: Origin::parse(value.get("origin")?.as_str()?)?,
            state: value.get("state")?.as_str()?.to_owned(),
            digest: value.get("digest")?.as_str()?.to_owned(),
        }))
    }
}

/// The inventory as the log tells it.
#[derive(Default)]
struct Replay {
    identities: BTreeMap<(TenantId, String), Outline>,
    employees: BTreeMap<TenantId, u64>,
    seqs: BTreeMap<TenantId, u64>,
}

impl Replay {
    /// Takes one entry into account.
    fn take(&mut self, tenant: &TenantId, payload: &Value) -> Result<(), &'static str> {
        let objects = payload
            .get("objects")
            .and_then(Value::as_array)
            .ok_or("its payload has no objects")?;
        for object in objects {
            match object.get("type").and_then(Value::as_str) {
                Some("identity") => self
                    .take_identity(tenant, object)
                    .ok_or("an identity in it is malformed")??,
                Some("tenant") => {
                    let employees = object.pointer("/after/employees").and_then(Value::as_u64);
                    self.employees
                        .insert(tenant.clone(), employees.ok_or("a tenant in it is malformed")?);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn take_identity(&mut self, tenant: &TenantId, object: &Value) -> Option<Result<(), &'static str>> {
        let key = (tenant.clone(), object.get("id")?.as_str()?.to_owned());
        let before = Outline::read(object.get("before")?)?;
        let after = Outline::read(object.get("after")?)??;
        if self.identities.get(&key) != before.as_ref() {
            return Some(Err("an identity in it was something else before"));
        }
        self.identities.insert(key, after);
        Some(Ok(()))
    }

    /// The sequence of each tenant has no gap, also across entries that do not open.
    fn take_seq(&mut self, tenant: &TenantId, seq: u64) -> Result<(), &'static str> {
        let last = self.seqs.entry(tenant.clone()).or_default();
        if seq != *last + 1 {
            return Err("its number within the tenant does not follow the one before");
        }
        *last = seq;
        Ok(())
    }

    fn count(&self) -> Option<Count> {
        let mut count = Count::default();
        for outline in self.identities.values() {
            if !count.add(outline.kind, outline.origin, &outline.state, 1) {
                return None;
            }
        }
        Some(count)
    }
}

impl View {
    async fn position(&mut self, at: At, size: u64) -> Result<StatePos, StoreError> {
        match at {
            At::Head => Ok(StatePos(size)),
            At::Position(pos) if pos.0 > size => Err(StoreError::NoSuchPosition { at: pos.0, size }),
            At::Position(pos) => Ok(pos),
            At::Time(time) => self.position_at(time).await,
        }
    }

    async fn replay(&mut self, reach: &Reach, position: StatePos) -> Result<Recount, StoreError> {
        let tenant = reach.home();
        let only = (!matches!(reach, Reach::DangerAllTenants)).then_some(&tenant);
        let (mut replay, mut from, mut entries, mut erased) = (Replay::default(), 0, 0_u64, 0_u64);
        loop {
            let chunk = self.span(from, position.0, CHUNK, only).await?;
            let Some(last) = chunk.last() else { break };
            let next = last.index() + 1;
            for (expected, sealed) in (from..).zip(chunk) {
                let index = sealed.index();
                let wrong = |what| StoreError::LogCorrupt { index, what };
                if only.is_none() && index != expected {
                    return Err(StoreError::LogCorrupt {
                        index: expected,
                        what: "it is missing",
                    });
                }
                replay
                    .take_seq(&sealed.tenant, sealed.tenant_seq())
                    .map_err(wrong)?;
                entries += 1;
                match self.open(sealed) {
                    Ok(opening) => replay.take(&opening.tenant, &opening.value()?).map_err(wrong)?,
                    Err(StoreError::Seal(bailiwick_base::SealError::NoKey(_))) => erased += 1,
                    Err(error) => return Err(error),
                }
            }
            from = next;
        }
        let count = replay.count().ok_or(StoreError::LogCorrupt {
            index: position.0,
            what: "a state is unknown",
        })?;
        let employees = replay.employees.values().sum();
        let as_of = self.time_at(position).await?;
        Ok(Recount {
            counted: Counted {
                count,
                employees,
                position,
                as_of,
            },
            entries,
            erased,
        })
    }
}
