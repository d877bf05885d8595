//! Clients without a key.

use std::sync::Arc;

use bailiwick_base::{ClientId, TenantId, Transition, json};
use bailiwick_credential::consent::{ClientSource, PublicClient};
use bailiwick_decide::Fact;
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::row::{Cells, Fields, args};
use crate::stored::{Rows, Stored, column_bytes, digest_of, members, object, whole};
use crate::tx::{Source, Tx};

const TABLE: &str = "public_client";
/// Bytes of a body: a name, redirect URIs, address ranges.
const BODY_MAX: usize = 64 * 1024;

macro_rules! columns {
    () => {
        "tenant, client, body, created_at, expires_at, removed_at, digest"
    };
}

const LOOKUP: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM public_client WHERE tenant = $1 AND client = $2"
);
pub(crate) const EVERY: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM public_client WHERE removed_at IS NULL"
);
pub(crate) const EVERY_OF: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM public_client WHERE tenant = $1 AND removed_at IS NULL"
);
const INSERT: &str = concat!(
    "INSERT INTO public_client (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"
);
const UPDATE: &str = "UPDATE public_client SET removed_at = $3, digest = $4 \
                      WHERE tenant = $1 AND client = $2 AND digest = $5 AND removed_at IS NULL";

/// What has no column of its own.
fn body(client: &PublicClient) -> Value {
    match &client.source {
        ClientSource::Documents {
            below,
            allow_addresses,
            danger_plaintext,
        } => json!({
            "name": client.name,
            "below": below,
            "allow_addresses": allow_addresses,
            "danger_plaintext": danger_plaintext,
        }),
        ClientSource::Registered { redirects } => json!({"name": client.name, "redirects": redirects}),
    }
}

impl Stored for PublicClient {
    const TABLE: &'static str = TABLE;

    fn document(&self) -> Value {
        json!({
            "tenant": self.id.tenant().as_str(),
            "id": self.id.to_string(),
            "body": body(self),
            "created_at": self.created_at.micros(),
            "expires_at": self.expires_at.micros(),
            "removed_at": self.removed_at.map(bailiwick_base::Time::micros),
        })
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn outline(&self) -> Map<String, Value> {
        let mut outline = members(body(self));
        outline.insert("expires_at".to_owned(), self.expires_at.micros().into());
        outline.insert("removed".to_owned(), self.removed_at.is_some().into());
        outline
    }
}

/// Every row, for the comparison with the log.
pub(crate) const ROWS: Rows = Rows {
    table: TABLE,
    sql: concat!("SELECT tenant, digest, ", columns!(), " FROM public_client"),
    verify: |cells, _| from_row(cells).map(drop),
};

pub(crate) fn from_row(cells: Cells) -> Result<PublicClient, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
    let id = ClientId::from_parts(tenant, f.uuid("client")?);
    let bytes = f.bytes("body")?;
    let (name, source) = read_body(&bytes).ok_or_else(|| f.corrupt("body"))?;
    let client = PublicClient {
        id,
        name,
        source,
        created_at: f.time("created_at")?,
        expires_at: f.time("expires_at")?,
        removed_at: f
            .int_or_null("removed_at")?
            .map(bailiwick_base::Time::from_micros),
    };
    whole(client, f.digest("digest")?)
}

fn read_body(bytes: &[u8]) -> Option<(String, ClientSource)> {
    let body = json::parse(bytes, BODY_MAX).ok()?;
    let texts = |name: &str| -> Option<Vec<String>> { serde_json::from_value(body.get(name)?.clone()).ok() };
    let name = body.get("name")?.as_str()?.to_owned();
    let source = match body.get("below") {
        None => ClientSource::Registered {
            redirects: texts("redirects")?,
        },
        Some(below) => ClientSource::Documents {
            below: below.as_str()?.to_owned(),
            allow_addresses: texts("allow_addresses")?,
            danger_plaintext: body.get("danger_plaintext")?.as_bool()?,
        },
    };
    Some((name, source))
}

/// Clients without a key of a tenant.
pub struct PublicClients<'a, S>(pub(crate) &'a mut S);

impl<S: Source> PublicClients<'_, S> {
    /// A client, removed or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lookup(&mut self, id: &ClientId) -> Result<Option<PublicClient>, StoreError> {
        let view = self.0.view();
        view.require(id.tenant())?;
        let rows = view.fetch(LOOKUP, args![id.tenant().as_str(), id.uuid()]).await?;
        rows.into_iter().next().map(from_row).transpose()
    }
}

impl PublicClients<'_, Tx> {
    /// Writes a new client, or the removal of a known one.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`], [`StoreError::Conflict`].
    pub async fn apply(&mut self, t: Transition<PublicClient>) -> Result<(), StoreError> {
        let (after, tenant) = (&t.after, t.after.id.tenant());
        self.0.view.require(tenant)?;
        let is = digest_of(after)?;
        let removed = after.removed_at.map(bailiwick_base::Time::micros);
        let row = after.id.to_string();
        match &t.before {
            None => {
                let body = column_bytes((TABLE, "body"), &row, &body(after))?;
                let values = args![
                    tenant.as_str(),
                    after.id.uuid(),
                    body,
                    after.created_at,
                    after.expires_at,
                    removed,
                    is,
                ];
                if self.0.write(INSERT, values).await? == 0 {
                    return Err(StoreError::Duplicate {
                        table: TABLE,
                        field: "id",
                    });
                }
            }
            Some(before) => {
                let was = digest_of(before)?;
                let values = args![tenant.as_str(), after.id.uuid(), removed, is, was];
                // Only the removal of a client may change it.
                let same = PublicClient {
                    removed_at: after.removed_at,
                    ..before.clone()
                } == *after;
                if !same || self.0.write(UPDATE, values).await? == 0 {
                    return Err(StoreError::Conflict { table: TABLE, row });
                }
            }
        }
        let objects = vec![object(t.before.as_ref(), Some(after))?];
        self.0.enter(t.command, t.reason.as_deref(), objects).await?;
        self.0.facts.push(Fact::PublicClient(Arc::new(t.after)));
        Ok(())
    }
}
