//! Operators and their public keys.

use bailiwick_base::{OperatorId, TenantId, Transition};
use bailiwick_inventory::Operator;
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::row::{Cell, Cells, Fields, args};
use crate::stored::{Rows, Stored, digest_of, members, object, whole};
use crate::tx::{Source, Tx};

const TABLE: &str = "operator";

macro_rules! columns {
    () => {
        "tenant, operator, name, public_key, created_at, digest"
    };
}

const LOOKUP: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM operator WHERE tenant = $1 AND operator = $2"
);
const BY_NAME: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM operator WHERE tenant = $1 AND name = $2"
);
const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM operator WHERE tenant = $1 ORDER BY operator"
);
const COUNT: &str = "SELECT count(*) FROM operator WHERE tenant = $1";
const INSERT: &str = concat!(
    "INSERT INTO operator (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"
);

impl Stored for Operator {
    const TABLE: &'static str = TABLE;

    fn document(&self) -> Value {
        json!({
            "tenant": self.id.tenant().as_str(),
            "id": self.id.to_string(),
            "name": self.name,
            "public_key": self.public_key.iter().map(|b| format!("{b:02x}")).collect::<String>(),
            "created_at": self.created_at.micros(),
        })
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn outline(&self) -> Map<String, Value> {
        members(json!({ "name": self.name }))
    }
}

/// Every row, for the comparison with the log.
pub(crate) const ROWS: Rows = Rows {
    table: TABLE,
    sql: concat!("SELECT tenant, digest, ", columns!(), " FROM operator"),
    verify: |cells, _| from_row(cells).map(drop),
};

fn from_row(cells: Cells) -> Result<Operator, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
    let operator = Operator {
        id: OperatorId::from_parts(tenant, f.uuid("operator")?),
        name: f.text("name")?,
        public_key: f
            .bytes("public_key")
            .and_then(|b| b.try_into().map_err(|_| f.corrupt("public_key")))?,
        created_at: f.time("created_at")?,
    };
    whole(operator, f.digest("digest")?)
}

/// Operators; they belong to the installation.
pub struct Operators<'a, S>(pub(crate) &'a mut S);

impl<S: Source> Operators<'_, S> {
    /// An operator.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lookup(&mut self, id: &OperatorId) -> Result<Option<Operator>, StoreError> {
        let view = self.0.view();
        view.require(id.tenant())?;
        let rows = view.fetch(LOOKUP, args![id.tenant().as_str(), id.uuid()]).await?;
        rows.into_iter().next().map(from_row).transpose()
    }

    /// The operator with this name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_by_name(&mut self, name: &str) -> Result<Option<Operator>, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        let rows = view.fetch(BY_NAME, args![tenant.as_str(), name]).await?;
        rows.into_iter().next().map(from_row).transpose()
    }

    /// Every operator, the first one first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&mut self) -> Result<Vec<Operator>, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        view.fetch(LIST, args![tenant.as_str()])
            .await?
            .into_iter()
            .map(from_row)
            .collect()
    }

    /// How many operators there are: 0 means that the installation was not claimed yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count(&mut self) -> Result<u64, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        match view
            .fetch(COUNT, args![tenant.as_str()])
            .await?
            .first()
            .and_then(|cells| cells.first())
        {
            Some(Cell::Int(n)) => Ok(u64::try_from(*n).unwrap_or(0)),
            _ => Err(StoreError::RowCorrupt {
                table: TABLE,
                column: "count",
                row: tenant.to_string(),
            }),
        }
    }
}

impl Operators<'_, Tx> {
    /// Writes a claim.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] when the name or the key is registered.
    pub async fn claim(&mut self, t: Transition<Operator>) -> Result<(), StoreError> {
        let id = &t.after.id;
        self.0.view.require(id.tenant())?;
        let values = args![
            id.tenant().as_str(),
            id.uuid(),
            t.after.name.as_str(),
            t.after.public_key.as_slice(),
            t.after.created_at,
            digest_of(&t.after)?,
        ];
        if self.0.write(INSERT, values).await? == 0 {
            return Err(StoreError::Duplicate {
                table: TABLE,
                field: "name or public key",
            });
        }
        let objects = vec![object(None, Some(&t.after))?];
        self.0.enter(t.command, t.reason.as_deref(), objects).await
    }
}
