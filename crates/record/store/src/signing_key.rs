//! Signing keys of tenants: what they are for. The keys themselves are elsewhere.

use std::sync::Arc;

use bailiwick_base::{Epoch, SigningAlgorithm, TenantId, Time, Transition};
use bailiwick_credential::signing_key::{KeyHolder, SigningKey};
use bailiwick_decide::Fact;
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::row::{Arg, Cells, Fields, args, signed};
use crate::stored::{Rows, Stored, digest_of, members, object, whole};
use crate::tx::{Source, Tx, View};

const TABLE: &str = "signing_key";

macro_rules! columns {
    () => {
        "tenant, kid, algorithm, holder, created_at, active_from, entry, retired_at, removed_at, floor, digest"
    };
}

/// What was withdrawn as compromised still has a say: the floor of its tenant.
macro_rules! told {
    () => {
        "(removed_at IS NULL OR floor IS NOT NULL) ORDER BY tenant, created_at, kid"
    };
}

const OF_TENANT: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM signing_key WHERE tenant = $1 AND ",
    told!()
);
const EVERY: &str = concat!("SELECT ", columns!(), " FROM signing_key WHERE ", told!());
const INSERT: &str = concat!(
    "INSERT INTO signing_key (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING"
);
const UPDATE: &str = "UPDATE signing_key SET active_from = $3, entry = $4, retired_at = $5, removed_at = $6, \
                      floor = $7, digest = $8 WHERE tenant = $1 AND kid = $2 AND digest = $9";

impl Stored for SigningKey {
    const TABLE: &'static str = TABLE;

    fn document(&self) -> Value {
        json!({
            "tenant": self.tenant.as_str(),
            "kid": self.kid,
            "algorithm": self.algorithm.as_str(),
            "holder": self.holder.as_str(),
            "created_at": self.created_at.micros(),
            "active_from": self.active_from.map(Time::micros),
            "entry": self.entry,
            "retired_at": self.retired_at.map(Time::micros),
            "removed_at": self.removed_at.map(Time::micros),
            "floor": self.floor.map(|floor| floor.0),
        })
    }

    fn name(&self) -> String {
        self.kid.clone()
    }

    fn outline(&self) -> Map<String, Value> {
        members(json!({
            "algorithm": self.algorithm.as_str(),
            "holder": self.holder.as_str(),
            "state": self.state().as_str(),
            "floor": self.floor.map(|floor| floor.0),
        }))
    }
}

/// Every row, for the comparison with the log.
pub(crate) const ROWS: Rows = Rows {
    table: TABLE,
    sql: concat!("SELECT tenant, digest, ", columns!(), " FROM signing_key"),
    verify: |cells, _| from_row(cells).map(drop),
};

fn from_row(cells: Cells) -> Result<SigningKey, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    let number = |f: &mut Fields, column| -> Result<Option<u64>, StoreError> {
        let found = f.int_or_null(column)?;
        found
            .map(|n| u64::try_from(n).map_err(|_| f.corrupt(column)))
            .transpose()
    };
    let key = SigningKey {
        tenant: f.word("tenant", |t| TenantId::parse(t).ok())?,
        kid: f.text("kid")?,
        algorithm: f.word("algorithm", SigningAlgorithm::parse)?,
        holder: f.word("holder", KeyHolder::parse)?,
        created_at: f.time("created_at")?,
        active_from: f.int_or_null("active_from")?.map(Time::from_micros),
        entry: number(&mut f, "entry")?,
        retired_at: f.int_or_null("retired_at")?.map(Time::from_micros),
        removed_at: f.int_or_null("removed_at")?.map(Time::from_micros),
        floor: number(&mut f, "floor")?.map(Epoch),
    };
    whole(key, f.digest("digest")?)
}

/// The keys of every tenant, one fact for each.
pub(crate) async fn every(view: &mut View) -> Result<Vec<Fact>, StoreError> {
    let rows = view.fetch(EVERY, Vec::new()).await?;
    let mut keys: Vec<SigningKey> = rows.into_iter().map(from_row).collect::<Result<_, _>>()?;
    // The engines collate text differently.
    keys.sort_by(|one, other| one.tenant.cmp(&other.tenant));
    let of_one = keys.chunk_by(|one, other| one.tenant == other.tenant);
    let facts =
        of_one.filter_map(|keys| Some(Fact::SigningKeys(keys.first()?.tenant.clone(), Arc::from(keys))));
    Ok(facts.collect())
}

/// Signing keys of a tenant.
pub struct SigningKeys<'a, S>(pub(crate) &'a mut S);

impl<S: Source> SigningKeys<'_, S> {
    /// The keys that are published, and those that were compromised, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&mut self) -> Result<Vec<SigningKey>, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        let rows = view.fetch(OF_TENANT, args![tenant.as_str()]).await?;
        rows.into_iter().map(from_row).collect()
    }
}

impl SigningKeys<'_, Tx> {
    /// Writes what changes together, under one entry. A withdrawal as compromised raises the epoch.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`], [`StoreError::Conflict`].
    pub async fn apply(&mut self, changes: Vec<Transition<SigningKey>>) -> Result<(), StoreError> {
        let Some(first) = changes.first() else {
            return Ok(());
        };
        let (command, reason) = (first.command, first.reason.clone());
        let objects = self.write(&changes).await?;
        if let Some(floor) = changes.iter().filter_map(|t| t.after.floor).max() {
            self.0.head.epoch = self.0.head.epoch.max(floor.0);
        }
        self.0.enter(command, reason.as_deref(), objects).await?;
        self.tell().await
    }

    /// The rows, and what their entry names.
    pub(crate) async fn write(
        &mut self,
        changes: &[Transition<SigningKey>],
    ) -> Result<Vec<Value>, StoreError> {
        let mut objects = Vec::with_capacity(changes.len());
        for change in changes {
            self.0.view.require(&change.after.tenant)?;
            self.write_one(change).await?;
            objects.push(object(change.before.as_ref(), Some(&change.after))?);
        }
        Ok(objects)
    }

    pub(crate) async fn tell(&mut self) -> Result<(), StoreError> {
        let keys = self.list().await?;
        let tenant = self.0.view.home();
        self.0.facts.push(Fact::SigningKeys(tenant, Arc::from(keys)));
        Ok(())
    }

    async fn write_one(&mut self, t: &Transition<SigningKey>) -> Result<(), StoreError> {
        let (after, is) = (&t.after, digest_of(&t.after)?);
        let number = |n: Option<u64>| Arg::from(n.map(signed));
        let at = |time: Option<Time>| Arg::from(time.map(Time::micros));
        let key = (Arg::from(after.tenant.as_str()), Arg::from(after.kid.as_str()));
        let later = [
            at(after.active_from),
            number(after.entry),
            at(after.retired_at),
            at(after.removed_at),
            number(after.floor.map(|floor| floor.0)),
            Arg::from(is),
        ];
        let Some(before) = &t.before else {
            let made = [
                key.0,
                key.1,
                after.algorithm.as_str().into(),
                after.holder.as_str().into(),
                after.created_at.into(),
            ];
            let values = made.into_iter().chain(later).collect();
            return match self.0.write(INSERT, values).await? {
                0 => Err(StoreError::Duplicate {
                    table: TABLE,
                    field: "kid",
                }),
                _ => Ok(()),
            };
        };
        let was = Arg::from(digest_of(before)?);
        let values = [key.0, key.1].into_iter().chain(later).chain([was]).collect();
        match self.0.write(UPDATE, values).await? {
            0 => Err(StoreError::Conflict {
                table: TABLE,
                row: after.kid.clone(),
            }),
            _ => Ok(()),
        }
    }
}
