//! Tenants.

use std::sync::Arc;

use bailiwick_base::{SigningAlgorithm, TenantId, Transition};
use bailiwick_credential::signing_key::SigningKey;
use bailiwick_decide::Fact;
use bailiwick_inventory::{Tenant, TenantState};
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::row::{Cells, Fields, args};
use crate::stored::{Rows, Stored, digest_of, members, object};
use crate::tx::{Source, Tx};

const TABLE: &str = "tenant";

macro_rules! columns {
    () => {
        "tenant, name, employees, reference, algorithm, state, created_at, digest"
    };
}

const LOOKUP: &str = concat!("SELECT ", columns!(), " FROM tenant WHERE tenant = $1");
const LIST: &str = concat!("SELECT ", columns!(), " FROM tenant");
const INSERT: &str = concat!(
    "INSERT INTO tenant (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING"
);
const UPDATE: &str = "UPDATE tenant SET name = $2, employees = $3, state = $4, digest = $5 \
                      WHERE tenant = $1 AND digest = $6";

/// A tenant and the algorithm its issuer signs with.
struct TenantRow(Tenant, SigningAlgorithm);

impl Stored for TenantRow {
    const TABLE: &'static str = TABLE;

    fn document(&self) -> Value {
        json!({
            "tenant": self.0.id.as_str(),
            "name": self.0.name,
            "employees": self.0.employees,
            "reference": self.0.reference,
            "algorithm": self.1.as_str(),
            "state": self.0.state.as_str(),
            "created_at": self.0.created_at.micros(),
        })
    }

    fn name(&self) -> String {
        self.0.id.to_string()
    }

    fn outline(&self) -> Map<String, Value> {
        members(json!({ "state": self.0.state.as_str(), "employees": self.0.employees }))
    }
}

/// Every row, for the comparison with the log.
pub(crate) const ROWS: Rows = Rows {
    table: TABLE,
    sql: concat!("SELECT tenant, digest, ", columns!(), " FROM tenant"),
    verify: |cells, _| from_row(cells).map(drop),
};

fn from_row(cells: Cells) -> Result<TenantRow, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    let tenant = Tenant {
        id: f.word("tenant", |t| TenantId::parse(t).ok())?,
        name: f.text("name")?,
        employees: f
            .number("employees")
            .and_then(|n| u32::try_from(n).map_err(|_| f.corrupt("employees")))?,
        reference: f.text("reference")?,
        state: TenantState::Active,
        created_at: bailiwick_base::Time::default(),
    };
    let algorithm = f.word("algorithm", SigningAlgorithm::parse)?;
    let tenant = Tenant {
        state: f.word("state", TenantState::parse)?,
        created_at: f.time("created_at")?,
        ..tenant
    };
    crate::stored::whole(TenantRow(tenant, algorithm), f.digest("digest")?)
}

/// Tenants. In a transaction of one tenant only that tenant exists.
pub struct Tenants<'a, S>(pub(crate) &'a mut S);

impl<S: Source> Tenants<'_, S> {
    /// A tenant and its signing algorithm.
    ///
    /// # Errors
    /// [`StoreError`], also when `id` is another tenant than this view's.
    pub async fn lookup(&mut self, id: &TenantId) -> Result<Option<(Tenant, SigningAlgorithm)>, StoreError> {
        let view = self.0.view();
        view.require(id)?;
        let rows = view.fetch(LOOKUP, args![id.as_str()]).await?;
        rows.into_iter()
            .next()
            .map(from_row)
            .transpose()
            .map(|row| row.map(|TenantRow(t, a)| (t, a)))
    }

    /// A tenant that must be there.
    ///
    /// # Errors
    /// [`StoreError::TenantUnknown`] when it is not.
    pub async fn require(&mut self, id: &TenantId) -> Result<(Tenant, SigningAlgorithm), StoreError> {
        self.lookup(id)
            .await?
            .ok_or_else(|| StoreError::TenantUnknown(id.to_string()))
    }

    /// Every tenant this view may see, by slug: all of them only in a view of all tenants.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&mut self) -> Result<Vec<(Tenant, SigningAlgorithm)>, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        let rows = if matches!(view.reach, crate::context::Reach::DangerAllTenants) {
            view.fetch(LIST, Vec::new()).await?
        } else {
            view.fetch(LOOKUP, args![tenant.as_str()]).await?
        };
        let mut out: Vec<_> = rows.into_iter().map(from_row).collect::<Result<_, _>>()?;
        // The engines collate text differently.
        out.sort_by(|one, other| one.0.id.cmp(&other.0.id));
        Ok(out.into_iter().map(|TenantRow(t, a)| (t, a)).collect())
    }
}

impl Tenants<'_, Tx> {
    /// Writes a new tenant with its first signing keys. The keys must exist already: the entry is sealed under
    /// them.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] when the slug was ever used.
    pub async fn add(
        &mut self,
        t: Transition<Tenant>,
        algorithm: SigningAlgorithm,
        keys: Vec<SigningKey>,
    ) -> Result<(), StoreError> {
        self.0.view.require(&t.after.id)?;
        let row = TenantRow(t.after.clone(), algorithm);
        let values = args![
            t.after.id.as_str(),
            t.after.name.as_str(),
            i64::from(t.after.employees),
            t.after.reference.as_str(),
            algorithm.as_str(),
            t.after.state.as_str(),
            t.after.created_at,
            digest_of(&row)?,
        ];
        if self.0.write(INSERT, values).await? == 0 {
            return Err(StoreError::Duplicate {
                table: TABLE,
                field: "tenant",
            });
        }
        self.0.reference = Some(Arc::from(t.after.reference.as_str()));
        let keys: Vec<_> = keys
            .into_iter()
            .map(|key| Transition::made("key.add", key))
            .collect();
        let mut objects = vec![object(None, Some(&row))?];
        objects.extend(self.0.signing_key().write(&keys).await?);
        self.0.enter(t.command, t.reason.as_deref(), objects).await?;
        self.0.facts.push(Fact::Tenant(Arc::new(t.after), algorithm));
        if !keys.is_empty() {
            self.0.signing_key().tell().await?;
        }
        Ok(())
    }

    /// Writes a change of a tenant; slug, reference and algorithm never change.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it was changed meanwhile, [`StoreError::Unchanged`].
    pub async fn apply(&mut self, t: Transition<Tenant>) -> Result<(), StoreError> {
        let (_, algorithm) = self.require(&t.after.id).await?;
        let id = t.after.id.to_string();
        let Some(before) = t.before else {
            return Err(StoreError::Duplicate {
                table: TABLE,
                field: "tenant",
            });
        };
        let (before, after) = (
            TenantRow(before, algorithm),
            TenantRow(t.after.clone(), algorithm),
        );
        let (was, is) = (digest_of(&before)?, digest_of(&after)?);
        if was == is {
            return Err(StoreError::Unchanged {
                table: TABLE,
                row: id,
            });
        }
        let values = args![
            id.as_str(),
            t.after.name.as_str(),
            i64::from(t.after.employees),
            t.after.state.as_str(),
            is,
            was
        ];
        if self.0.write(UPDATE, values).await? == 0 {
            return Err(StoreError::Conflict {
                table: TABLE,
                row: id,
            });
        }
        let objects = vec![object(Some(&before), Some(&after))?];
        self.0.enter(t.command, t.reason.as_deref(), objects).await?;
        self.0.facts.push(Fact::Tenant(Arc::new(t.after), algorithm));
        Ok(())
    }
}
