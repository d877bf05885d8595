//! OAuth clients.

use std::sync::Arc;

use bailiwick_base::{ClientId, Digest, IdentityId, SigningAlgorithm, TenantId, Transition};
use bailiwick_credential::{Client, ClientProof};
use bailiwick_decide::Fact;
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::page::Page;
use crate::row::{Cells, Fields, args};
use crate::stored::{Rows, Stored, digest_of, members, object, whole};
use crate::tx::{Source, Tx};

const TABLE: &str = "client";

macro_rules! columns {
    () => {
        "tenant, client, identity, algorithm, jwk, created_at, expires_at, proof, certificate, digest"
    };
}

const LOOKUP: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM client WHERE tenant = $1 AND client = $2"
);
const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM client WHERE tenant = $1 AND client > $2 AND ($4 IS NULL OR identity = $4) ORDER BY client LIMIT $3"
);
pub(crate) const EVERY: &str = concat!("SELECT ", columns!(), " FROM client");
pub(crate) const EVERY_OF: &str = concat!("SELECT ", columns!(), " FROM client WHERE tenant = $1");
const INSERT: &str = concat!(
    "INSERT INTO client (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING"
);
const UPDATE: &str = "UPDATE client SET expires_at = $3, digest = $4 \
                      WHERE tenant = $1 AND client = $2 AND digest = $5";

impl Stored for Client {
    const TABLE: &'static str = TABLE;

    fn document(&self) -> Value {
        let mut document = json!({
            "tenant": self.id.tenant().as_str(),
            "id": self.id.to_string(),
            "identity": self.identity.to_string(),
            "algorithm": self.algorithm.as_str(),
            "jwk": String::from_utf8_lossy(&self.jwk),
            "created_at": self.created_at.micros(),
            "expires_at": self.expires_at.micros(),
        });
        // Left out where nothing is bound: the digests of clients from before this was known stay what they were.
        if let (true, Some(members)) = (self.proof != ClientProof::None, document.as_object_mut()) {
            members.insert("proof".to_owned(), json!(self.proof.as_str()));
        }
        if let (Some(certificate), Some(members)) = (self.certificate, document.as_object_mut()) {
            members.insert("certificate".to_owned(), json!(certificate.to_base64url()));
        }
        document
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn outline(&self) -> Map<String, Value> {
        let mut outline = members(json!({
            "identity": self.identity.to_string(),
            "algorithm": self.algorithm.as_str(),
            "expires_at": self.expires_at.micros(),
        }));
        if self.proof != ClientProof::None {
            outline.insert("proof".to_owned(), json!(self.proof.as_str()));
        }
        if let Some(certificate) = self.certificate {
            outline.insert("certificate".to_owned(), json!(certificate.to_base64url()));
        }
        outline
    }
}

/// Every row, for the comparison with the log.
pub(crate) const ROWS: Rows = Rows {
    table: TABLE,
    sql: concat!("SELECT tenant, digest, ", columns!(), " FROM client"),
    verify: |cells, _| from_row(cells).map(drop),
};

pub(crate) fn from_row(cells: Cells) -> Result<Client, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
    let client = Client {
        id: ClientId::from_parts(tenant.clone(), f.uuid("client")?),
        identity: IdentityId::from_parts(tenant, f.uuid("identity")?),
        algorithm: f.word("algorithm", SigningAlgorithm::parse)?,
        jwk: f.bytes("jwk")?,
        created_at: f.time("created_at")?,
        expires_at: f.time("expires_at")?,
        proof: f.word("proof", ClientProof::parse)?,
        certificate: f.word("certificate", certificate_from_text)?,
    };
    whole(client, f.digest("digest")?)
}

/// Empty where there is none.
fn certificate_from_text(text: &str) -> Option<Option<Digest>> {
    match text {
        "" => Some(None),
        text => Digest::from_base64url(text).map(Some),
    }
}

/// OAuth clients of a tenant.
pub struct Clients<'a, S>(pub(crate) &'a mut S);

impl<S: Source> Clients<'_, S> {
    /// A client.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lookup(&mut self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        let view = self.0.view();
        view.require(id.tenant())?;
        let rows = view.fetch(LOOKUP, args![id.tenant().as_str(), id.uuid()]).await?;
        rows.into_iter().next().map(from_row).transpose()
    }

    /// A page of clients, of one identity or of all, in the order of ids.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(
        &mut self,
        identity: Option<&IdentityId>,
        page: Page,
    ) -> Result<Vec<Client>, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        let mut values = args![tenant.as_str()];
        values.extend(page.args()?);
        values.extend(args![identity.map(|id| id.uuid())]);
        view.fetch(LIST, values)
            .await?
            .into_iter()
            .map(from_row)
            .collect()
    }
}

impl Clients<'_, Tx> {
    /// Writes a new client, or another end of a known one.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`], [`StoreError::Conflict`], [`StoreError::Unchanged`].
    pub async fn apply(&mut self, t: Transition<Client>) -> Result<(), StoreError> {
        let (after, tenant) = (&t.after, t.after.id.tenant());
        self.0.view.require(tenant)?;
        self.0.view.require(after.identity.tenant())?;
        let is = digest_of(after)?;
        match &t.before {
            None => {
                let values = args![
                    tenant.as_str(),
                    after.id.uuid(),
                    after.identity.uuid(),
                    after.algorithm.as_str(),
                    after.jwk.as_slice(),
                    after.created_at,
                    after.expires_at,
                    after.proof.as_str(),
                    after.certificate.map(|c| c.to_base64url()).unwrap_or_default(),
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
                let row = after.id.to_string();
                let was = digest_of(before)?;
                if was == is {
                    return Err(StoreError::Unchanged { table: TABLE, row });
                }
                // Only the end of a client may change.
                let same = Client {
                    expires_at: after.expires_at,
                    ..before.clone()
                } == *after;
                let values = args![tenant.as_str(), after.id.uuid(), after.expires_at, is, was];
                if !same || self.0.write(UPDATE, values).await? == 0 {
                    return Err(StoreError::Conflict { table: TABLE, row });
                }
            }
        }
        let objects = vec![object(t.before.as_ref(), Some(after))?];
        self.0.enter(t.command, t.reason.as_deref(), objects).await?;
        self.0.facts.push(Fact::Client(Arc::new(t.after)));
        Ok(())
    }
}
