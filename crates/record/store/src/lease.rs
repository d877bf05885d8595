//! Leases of third-party credentials: their secret is sealed, what is known about them is plain.

use bailiwick_base::{
    CredentialId, Digest, IdentityId, LeaseId, SealContext, Secret, TaskId, TenantId, Time, Transition, json,
};
use bailiwick_credential::lease::wakes_at;
use bailiwick_credential::{Lease, LeaseStanding, ProbeAnswer};
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::row::{Arg, Cells, Fields, args, signed};
use crate::stored::{
    Rows, Stored, column_bytes, digest_of, members, object, require_seen, verify_sealed, whole,
};
use crate::tx::{Source, Tx};

const TABLE: &str = "lease";
const DETAIL_MAX: usize = 64 * 1024;
/// `due_at` of what opens nothing any more.
const NEVER: Time = Time::from_micros(i64::MAX);
/// Leases of one task in one answer: the latest.
const TASK_MAX: i64 = 1_000;

macro_rules! columns {
    () => {
        "tenant, lease, task, detail, created_at, digest"
    };
}

const LOOKUP: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM credential_lease WHERE tenant = $1 AND lease = $2"
);
const OF_TASK: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM credential_lease WHERE tenant = $1 AND task = $2 ORDER BY lease DESC LIMIT $3"
);
const OPEN: &str = "SELECT tenant, lease, task, due_at, digest FROM credential_lease WHERE tenant = $1 \
                    AND due_at < $2 AND (due_at, lease) > ($3, $4) ORDER BY due_at, lease LIMIT $5";
const SECRET: &str = "SELECT tenant, lease, secret FROM credential_lease WHERE tenant = $1 AND lease = $2";
const INSERT: &str = concat!(
    "INSERT INTO credential_lease (",
    columns!(),
    ", due_at, secret) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING"
);
const UPDATE: &str = "UPDATE credential_lease SET detail = $3, due_at = $4, digest = $5, secret = $6 \
                      WHERE tenant = $1 AND lease = $2 AND digest = $7";

fn probe_to_json(probe: &ProbeAnswer) -> Value {
    json!({ "code": probe.code, "text": probe.text })
}

fn standing_to_json(standing: &LeaseStanding) -> Value {
    let word = standing.as_str();
    match standing {
        LeaseStanding::Barred { probe, until } => {
            json!({ "is": word, "probe": probe_to_json(probe), "until": until.micros() })
        }
        LeaseStanding::Held | LeaseStanding::Making => json!({ "is": word }),
        LeaseStanding::Returned { at, entry, probe } => {
            let probe = probe.as_ref().map(probe_to_json);
            json!({ "is": word, "at": at.micros(), "entry": entry, "probe": probe })
        }
        LeaseStanding::Returning { reason, trouble } => {
            json!({ "is": word, "reason": reason, "trouble": trouble })
        }
    }
}

fn detail(l: &Lease) -> Value {
    json!({
        "identity": l.identity.to_string(),
        "source": l.source.to_string(),
        "name": l.name,
        "handle": l.handle,
        "reason": l.reason,
        "requested_by": l.requested_by,
        "beyond_scope": l.is_beyond_scope,
        "fingerprint": l.fingerprint,
        "system_ends_at": l.system_ends_at.map(Time::micros),
        "expires_at": l.expires_at.micros(),
        "standing": standing_to_json(&l.standing),
    })
}

fn text(v: &Value, name: &str) -> Option<String> {
    v.get(name)?.as_str().map(str::to_owned)
}

/// Null, or a text.
fn text_or_null(v: &Value, name: &str) -> Option<Option<String>> {
    match v.get(name)? {
        Value::Null => Some(None),
        Value::String(text) => Some(Some(text.clone())),
        _ => None,
    }
}

fn time(v: &Value, name: &str) -> Option<Time> {
    v.get(name)?.as_i64().map(Time::from_micros)
}

fn probe(v: &Value) -> Option<ProbeAnswer> {
    Some(ProbeAnswer {
        code: text(v, "code")?,
        text: text(v, "text")?,
    })
}

fn standing(v: &Value) -> Option<LeaseStanding> {
    Some(match v.get("is")?.as_str()? {
        "barred" => LeaseStanding::Barred {
            probe: probe(v.get("probe")?)?,
            until: time(v, "until")?,
        },
        "held" => LeaseStanding::Held,
        "making" => LeaseStanding::Making,
        "returned" => LeaseStanding::Returned {
            at: time(v, "at")?,
            entry: v.get("entry")?.as_u64()?,
            probe: match v.get("probe")? {
                Value::Null => None,
                found => Some(probe(found)?),
            },
        },
        "returning" => LeaseStanding::Returning {
            reason: text(v, "reason")?,
            trouble: text_or_null(v, "trouble")?,
        },
        _ => return None,
    })
}

fn read(id: LeaseId, task: TaskId, created_at: Time, v: &Value) -> Option<Lease> {
    let tenant = id.tenant().clone();
    Some(Lease {
        task,
        identity: IdentityId::parse(&tenant, v.get("identity")?.as_str()?).ok()?,
        source: CredentialId::parse(&tenant, v.get("source")?.as_str()?).ok()?,
        name: text(v, "name")?,
        handle: text(v, "handle")?,
        reason: text(v, "reason")?,
        requested_by: text(v, "requested_by")?,
        is_beyond_scope: v.get("beyond_scope")?.as_bool()?,
        fingerprint: text_or_null(v, "fingerprint")?,
        system_ends_at: match v.get("system_ends_at")? {
            Value::Null => None,
            at => Some(Time::from_micros(at.as_i64()?)),
        },
        created_at,
        expires_at: time(v, "expires_at")?,
        standing: standing(v.get("standing")?)?,
        id,
    })
}

impl Stored for Lease {
    const TABLE: &'static str = TABLE;

    fn document(&self) -> Value {
        json!({
            "tenant": self.id.tenant().as_str(),
            "id": self.id.to_string(),
            "task": self.task.to_string(),
            "created_at": self.created_at.micros(),
            "detail": detail(self),
        })
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    /// All of it: an auditor sees for which task, why, until when, and how it was refused afterwards.
    fn outline(&self) -> Map<String, Value> {
        members(json!({ "task": self.task.to_string(), "detail": detail(self) }))
    }
}

/// Every row, for the comparison with the log.
pub(crate) const ROWS: Rows = Rows {
    table: TABLE,
    sql: concat!(
        "SELECT tenant, digest, ",
        columns!(),
        ", due_at, secret FROM credential_lease"
    ),
    verify: |mut cells, sealer| {
        let (secret, due) = (cells.pop(), cells.pop());
        let known = from_row(cells)?;
        require_seen(TABLE, &known.name(), due, due_at(&known))?;
        let row = known.id.uuid();
        verify_sealed(sealer, &context(&known.id, row.as_bytes()), &known.name(), secret)
    },
};

fn from_row(cells: Cells) -> Result<Lease, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
    let id = LeaseId::from_parts(tenant.clone(), f.uuid("lease")?);
    let task = TaskId::from_parts(tenant, f.uuid("task")?);
    let bytes = f.bytes("detail")?;
    let created_at = f.time("created_at")?;
    let parsed = json::parse(&bytes, DETAIL_MAX).ok();
    let lease = parsed
        .and_then(|v| read(id, task, created_at, &v))
        .ok_or_else(|| f.corrupt("detail"))?;
    whole(lease, f.digest("digest")?)
}

/// What could not be read again is not written.
fn detail_of(l: &Lease) -> Result<Vec<u8>, StoreError> {
    let bytes = column_bytes((TABLE, "detail"), &l.id, &detail(l))?;
    if bytes.len() > DETAIL_MAX {
        return Err(StoreError::Limit {
            what: "bytes that are known about the lease",
            found: bytes.len() as u64,
            max: DETAIL_MAX as u64,
        });
    }
    Ok(bytes)
}

/// When it needs something whatever its task does.
fn due_at(l: &Lease) -> Time {
    wakes_at(l).unwrap_or(NEVER)
}

/// A lease of which something may be left in its system, without what is known about it: one whose row cannot be
/// read holds up no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenLease {
    /// Which.
    pub id: LeaseId,
    /// The task that holds it.
    pub task: TaskId,
    /// When it needs something, whatever its task does.
    pub due_at: Time,
    /// Changes whenever anything about it does.
    pub digest: Digest,
}

impl OpenLease {
    /// What stands in the row of this lease as its digest.
    ///
    /// # Errors
    /// [`StoreError::RowCorrupt`] when it has no canonical form.
    pub fn digest_of(lease: &Lease) -> Result<Digest, StoreError> {
        digest_of(lease)
    }
}

fn context<'a>(id: &'a LeaseId, row: &'a [u8]) -> SealContext<'a> {
    SealContext {
        tenant: Some(id.tenant()),
        table: "credential_lease",
        row,
        column: "secret",
    }
}

/// Leases of a tenant.
pub struct Leases<'a, S>(pub(crate) &'a mut S);

impl<S: Source> Leases<'_, S> {
    async fn rows(&mut self, sql: &'static str, values: Vec<Arg>) -> Result<Vec<Lease>, StoreError> {
        let rows = self.0.view().fetch(sql, values).await?;
        rows.into_iter().map(from_row).collect()
    }

    /// What is known about a lease.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lookup(&mut self, id: &LeaseId) -> Result<Option<Lease>, StoreError> {
        self.0.view().require(id.tenant())?;
        let values = args![id.tenant().as_str(), id.uuid()];
        Ok(self.rows(LOOKUP, values).await?.into_iter().next())
    }

    /// The latest leases of a task, at most 1,000, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn of_task(&mut self, task: &TaskId) -> Result<Vec<Lease>, StoreError> {
        self.0.view().require(task.tenant())?;
        let values = args![task.tenant().as_str(), task.uuid(), TASK_MAX];
        self.rows(OF_TASK, values).await
    }

    /// A page of those of which something may be left in their system, whoever holds them; what is due longest
    /// first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(&mut self, after: Option<&OpenLease>, max: u32) -> Result<Vec<OpenLease>, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        let (at, id) = after.map_or((i64::MIN, Vec::new()), |last| {
            (last.due_at.micros(), last.id.uuid().as_bytes().to_vec())
        });
        let values = args![tenant.as_str(), NEVER, at, id, signed(max.into())];
        let rows = view.fetch(OPEN, values).await?;
        let open = rows.into_iter().map(|cells| {
            let mut f = Fields::of(TABLE, cells);
            let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
            Ok(OpenLease {
                id: LeaseId::from_parts(tenant.clone(), f.uuid("lease")?),
                task: TaskId::from_parts(tenant, f.uuid("task")?),
                due_at: f.time("due_at")?,
                digest: f.digest("digest")?,
            })
        });
        open.collect()
    }

    /// Its secret, opened; none before it was made and after it was given back.
    ///
    /// # Errors
    /// [`StoreError::Seal`] when it does not open.
    pub async fn reveal(&mut self, id: &LeaseId) -> Result<Option<Secret<Vec<u8>>>, StoreError> {
        let Some(sealed) = self.sealed(id).await? else {
            return Ok(None);
        };
        let row = id.uuid();
        let sealer = &self.0.view().ground.sealer;
        Ok(Some(Secret::new(
            sealer.open(&context(id, row.as_bytes()), &sealed)?,
        )))
    }

    async fn sealed(&mut self, id: &LeaseId) -> Result<Option<Vec<u8>>, StoreError> {
        let view = self.0.view();
        view.require(id.tenant())?;
        let rows = view.fetch(SECRET, args![id.tenant().as_str(), id.uuid()]).await?;
        let Some(cells) = rows.into_iter().next() else {
            return Ok(None);
        };
        let mut f = Fields::of(TABLE, cells);
        f.text("tenant")?;
        f.uuid("lease")?;
        f.bytes_or_null("secret")
    }
}

impl Leases<'_, Tx> {
    /// Writes a transition and its entry; seals `secret` if there is one, and forgets the secret of a lease that
    /// opens nothing any more.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the lease was changed meanwhile, [`StoreError::Duplicate`],
    /// [`StoreError::Seal`].
    pub async fn apply(
        &mut self,
        t: Transition<Lease>,
        secret: Option<&Secret<Vec<u8>>>,
    ) -> Result<(), StoreError> {
        let l = &t.after;
        self.0.view.require(l.id.tenant())?;
        let row = l.id.uuid();
        let sealer = &self.0.view.ground.sealer;
        let fresh = secret
            .map(|plain| sealer.seal(&context(&l.id, row.as_bytes()), plain.reveal()))
            .transpose()?;
        let written = match &t.before {
            None => {
                let values = vec![
                    Arg::from(l.id.tenant().as_str()),
                    Arg::from(row),
                    Arg::from(l.task.uuid()),
                    Arg::from(detail_of(l)?),
                    Arg::from(l.created_at),
                    Arg::from(digest_of(l)?),
                    Arg::from(due_at(l)),
                    Arg::BytesOrNull(fresh),
                ];
                self.0.write(INSERT, values).await?
            }
            Some(before) => {
                let kept = match fresh {
                    _ if !l.is_live() => None,
                    Some(fresh) => Some(fresh),
                    None => self.sealed(&l.id).await?,
                };
                let values = vec![
                    Arg::from(l.id.tenant().as_str()),
                    Arg::from(row),
                    Arg::from(detail_of(l)?),
                    Arg::from(due_at(l)),
                    Arg::from(digest_of(l)?),
                    Arg::BytesOrNull(kept),
                    Arg::from(digest_of(before)?),
                ];
                self.0.write(UPDATE, values).await?
            }
        };
        if written == 0 {
            let row = l.id.to_string();
            return Err(StoreError::Conflict { table: TABLE, row });
        }
        let objects = vec![object(t.before.as_ref(), Some(l))?];
        self.0.enter(t.command, t.reason.as_deref(), objects).await
    }
}
