//! Upstream credentials: the secret is sealed, the rest is plain.

use bailiwick_base::{CredentialId, IdentityId, SealContext, Secret, TenantId, Transition};
use bailiwick_credential::UpstreamCredential;
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::page::Page;
use crate::row::{Cells, Fields, args};
use crate::stored::{Rows, Stored, digest_of, members, object, verify_sealed, whole};
use crate::tx::{Source, Tx};

const TABLE: &str = "credential";

macro_rules! columns {
    () => {
        "tenant, credential, identity, fingerprint, created_at, expires_at, digest"
    };
}

const LOOKUP: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM credential WHERE tenant = $1 AND credential = $2"
);
const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM credential WHERE tenant = $1 AND credential > $2 AND ($4 IS NULL OR identity = $4) \
     ORDER BY credential LIMIT $3"
);
const SECRET: &str =
    "SELECT tenant, credential, secret FROM credential WHERE tenant = $1 AND credential = $2";
const INSERT: &str = concat!(
    "INSERT INTO credential (",
    columns!(),
    ", secret) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING"
);
const DELETE: &str = "DELETE FROM credential WHERE tenant = $1 AND credential = $2 AND digest = $3";

impl Stored for UpstreamCredential {
    const TABLE: &'static str = TABLE;

    fn document(&self) -> Value {
        json!({
            "tenant": self.id.tenant().as_str(),
            "id": self.id.to_string(),
            "identity": self.identity.to_string(),
            "fingerprint": self.fingerprint,
            "created_at": self.created_at.micros(),
            "expires_at": self.expires_at.micros(),
        })
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn outline(&self) -> Map<String, Value> {
        members(json!({
            "identity": self.identity.to_string(),
            "fingerprint": self.fingerprint,
            "expires_at": self.expires_at.micros(),
        }))
    }
}

/// Every row, for the comparison with the log.
pub(crate) const ROWS: Rows = Rows {
    table: TABLE,
    sql: concat!("SELECT tenant, digest, ", columns!(), ", secret FROM credential"),
    verify: |mut cells, sealer| {
        let secret = cells.pop();
        let known = from_row(cells)?;
        let row = known.id.uuid();
        verify_sealed(sealer, &sealing(&known.id, row.as_bytes()), &known.name(), secret)
    },
};

fn from_row(cells: Cells) -> Result<UpstreamCredential, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
    let credential = UpstreamCredential {
        id: CredentialId::from_parts(tenant.clone(), f.uuid("credential")?),
        identity: IdentityId::from_parts(tenant, f.uuid("identity")?),
        fingerprint: f.text("fingerprint")?,
        created_at: f.time("created_at")?,
        expires_at: f.time("expires_at")?,
    };
    whole(credential, f.digest("digest")?)
}

fn sealing<'a>(id: &'a CredentialId, row: &'a [u8]) -> SealContext<'a> {
    SealContext {
        tenant: Some(id.tenant()),
        table: TABLE,
        row,
        column: "secret",
    }
}

/// Upstream credentials of a tenant.
pub struct Credentials<'a, S>(pub(crate) &'a mut S);

impl<S: Source> Credentials<'_, S> {
    /// What is known about a credential, without its secret.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lookup(&mut self, id: &CredentialId) -> Result<Option<UpstreamCredential>, StoreError> {
        let view = self.0.view();
        view.require(id.tenant())?;
        let rows = view.fetch(LOOKUP, args![id.tenant().as_str(), id.uuid()]).await?;
        rows.into_iter().next().map(from_row).transpose()
    }

    /// A page of credentials, of one identity or of all, in the order of ids.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(
        &mut self,
        identity: Option<&IdentityId>,
        page: Page,
    ) -> Result<Vec<UpstreamCredential>, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        let mut values = args![tenant.as_str()];
        values.extend(page.args()?);
        values.extend(args![identity.map(bailiwick_base::Id::uuid)]);
        view.fetch(LIST, values)
            .await?
            .into_iter()
            .map(from_row)
            .collect()
    }

    /// The secret itself, opened.
    ///
    /// # Errors
    /// [`StoreError::Seal`] when it does not open: altered, moved from another row, or the key is gone.
    pub async fn reveal(&mut self, id: &CredentialId) -> Result<Option<Secret<Vec<u8>>>, StoreError> {
        let view = self.0.view();
        view.require(id.tenant())?;
        let rows = view.fetch(SECRET, args![id.tenant().as_str(), id.uuid()]).await?;
        let Some(cells) = rows.into_iter().next() else {
            return Ok(None);
        };
        let mut f = Fields::of(TABLE, cells);
        f.text("tenant")?;
        f.uuid("credential")?;
        let sealed = f.bytes("secret")?;
        let row = id.uuid();
        Ok(Some(Secret::new(
            view.ground.sealer.open(&sealing(id, row.as_bytes()), &sealed)?,
        )))
    }
}

impl Credentials<'_, Tx> {
    /// Seals a secret and writes what is known about it.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`], [`StoreError::Seal`].
    pub async fn seal(
        &mut self,
        t: Transition<UpstreamCredential>,
        secret: &Secret<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let id = &t.after.id;
        self.0.view.require(id.tenant())?;
        self.0.view.require(t.after.identity.tenant())?;
        let row = id.uuid();
        let sealed = self
            .0
            .view
            .ground
            .sealer
            .seal(&sealing(id, row.as_bytes()), secret.reveal())?;
        let values = args![
            id.tenant().as_str(),
            row,
            t.after.identity.uuid(),
            t.after.fingerprint.as_str(),
            t.after.created_at,
            t.after.expires_at,
            digest_of(&t.after)?,
            sealed,
        ];
        if self.0.write(INSERT, values).await? == 0 {
            return Err(StoreError::Duplicate {
                table: TABLE,
                field: "id",
            });
        }
        let objects = vec![object(None, Some(&t.after))?];
        self.0.enter(t.command, t.reason.as_deref(), objects).await
    }

    /// Deletes a credential and its secret; the record of it stays.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it was changed meanwhile or is gone.
    pub async fn forget(&mut self, known: &UpstreamCredential, reason: &str) -> Result<(), StoreError> {
        self.0.view.require(known.id.tenant())?;
        let key = args![known.id.tenant().as_str(), known.id.uuid(), digest_of(known)?];
        if self.0.write(DELETE, key).await? == 0 {
            return Err(StoreError::Conflict {
                table: TABLE,
                row: known.id.to_string(),
            });
        }
        let objects = vec![object(Some(known), None)?];
        self.0.enter("credential.remove", Some(reason), objects).await
    }
}
