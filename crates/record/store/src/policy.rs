//! A tenant's own policies. Their text was validated by `decide` before it comes here.

use std::sync::Arc;

use bailiwick_base::{Digest, TenantId, Time};
use bailiwick_decide::Fact;
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::row::{Cells, Fields, args, signed};
use crate::stored::{Rows, Stored, digest_of, members, object, whole};
use crate::tx::{Source, Tx};

const TABLE: &str = "policy";
/// Bytes of a tenant's policies.
const BODY_MAX: usize = 1024 * 1024;

macro_rules! columns {
    () => {
        "tenant, version, body, created_at, digest"
    };
}

const LATEST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM policy WHERE tenant = $1 ORDER BY version DESC LIMIT 1"
);
const VERSION: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM policy WHERE tenant = $1 AND version = $2"
);
pub(crate) const EVERY: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM policy WHERE version = (SELECT max(newer.version) FROM policy AS newer WHERE newer.tenant = policy.tenant)"
);
const INSERT: &str = concat!(
    "INSERT INTO policy (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5)"
);

/// One version of a tenant's policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySet {
    /// Tenant.
    pub tenant: TenantId,
    /// 1, 2, 3 …
    pub version: u64,
    /// Cedar text.
    pub body: Arc<str>,
    /// When it was written.
    pub created_at: Time,
}

impl Stored for PolicySet {
    const TABLE: &'static str = TABLE;

    fn document(&self) -> Value {
        json!({
            "tenant": self.tenant.as_str(),
            "version": self.version,
            "body": &*self.body,
            "created_at": self.created_at.micros(),
        })
    }

    fn name(&self) -> String {
        format!("policy-{}", self.version)
    }

    fn outline(&self) -> Map<String, Value> {
        members(json!({ "version": self.version, "body": Digest::of(self.body.as_bytes()).to_string() }))
    }
}

/// Every row, for the comparison with the log.
pub(crate) const ROWS: Rows = Rows {
    table: TABLE,
    sql: concat!("SELECT tenant, digest, ", columns!(), " FROM policy"),
    verify: |cells, _| from_row(cells).map(drop),
};

pub(crate) fn from_row(cells: Cells) -> Result<PolicySet, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    let set = PolicySet {
        tenant: f.word("tenant", |t| TenantId::parse(t).ok())?,
        version: f.number("version")?,
        body: Arc::from(f.text("body")?),
        created_at: f.time("created_at")?,
    };
    whole(set, f.digest("digest")?)
}

/// Policies of a tenant.
pub struct Policies<'a, S>(pub(crate) &'a mut S);

impl<S: Source> Policies<'_, S> {
    /// The version that holds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn latest(&mut self) -> Result<Option<PolicySet>, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        view.fetch(LATEST, args![tenant.as_str()])
            .await?
            .into_iter()
            .next()
            .map(from_row)
            .transpose()
    }

    /// One version.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn version(&mut self, version: u64) -> Result<Option<PolicySet>, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        let key = args![tenant.as_str(), signed(version)];
        view.fetch(VERSION, key)
            .await?
            .into_iter()
            .next()
            .map(from_row)
            .transpose()
    }
}

impl Policies<'_, Tx> {
    /// Writes the next version, which holds from now on.
    ///
    /// # Errors
    /// [`StoreError::Unchanged`] for the same text, [`StoreError::Limit`] above 1 MiB.
    pub async fn replace(&mut self, body: &str) -> Result<PolicySet, StoreError> {
        if body.len() > BODY_MAX {
            let found = u64::try_from(body.len()).unwrap_or(u64::MAX);
            return Err(StoreError::Limit {
                what: "bytes of policies",
                found,
                max: BODY_MAX as u64,
            });
        }
        let before = self.latest().await?;
        if before.as_ref().is_some_and(|b| &*b.body == body) {
            return Err(StoreError::Unchanged {
                table: TABLE,
                row: self.0.view.home().to_string(),
            });
        }
        let version = before.as_ref().map_or(0, |b| b.version) + 1;
        let tenant = self.0.view.home();
        let set = PolicySet {
            tenant,
            version,
            body: Arc::from(body),
            created_at: self.0.now,
        };
        let values = args![
            set.tenant.as_str(),
            signed(version),
            body,
            set.created_at,
            digest_of(&set)?
        ];
        self.0.write(INSERT, values).await?;
        self.0
            .enter("policy.replace", None, vec![object(before.as_ref(), Some(&set))?])
            .await?;
        self.0
            .facts
            .push(Fact::Policies(set.tenant.clone(), Arc::clone(&set.body)));
        Ok(set)
    }
}
