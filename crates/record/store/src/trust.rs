//! Trust rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use bailiwick_base::{Digest, IdentityId, TenantId, Transition, TrustId, json};
use bailiwick_credential::trust::{IssuerKeys, Method, Trust, TrustedIssuer};
use bailiwick_decide::Fact;
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::row::{Cells, Fields, args};
use crate::stored::{Rows, Stored, column_bytes, digest_of, members, object, whole};
use crate::tx::{Source, Tx};

const TABLE: &str = "trust";
/// Bytes of a body: a key set and a few short members.
const BODY_MAX: usize = 1024 * 1024;

macro_rules! columns {
    () => {
        "tenant, trust, identity, method, issuer, body, created_at, expires_at, removed_at, digest"
    };
}

const LOOKUP: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM trust WHERE tenant = $1 AND trust = $2"
);
pub(crate) const EVERY: &str = concat!("SELECT ", columns!(), " FROM trust WHERE removed_at IS NULL");
pub(crate) const EVERY_OF: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM trust WHERE tenant = $1 AND removed_at IS NULL"
);
const INSERT: &str = concat!(
    "INSERT INTO trust (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING"
);
const UPDATE: &str = "UPDATE trust SET removed_at = $3, digest = $4 \
                      WHERE tenant = $1 AND trust = $2 AND digest = $5 AND removed_at IS NULL";

/// What has no column of its own.
fn body(trust: &Trust) -> Value {
    let (place, keys) = match &trust.issuer.keys {
        IssuerKeys::Discovery => ("discovery", ""),
        IssuerKeys::Given(text) => ("given", text.as_str()),
        IssuerKeys::Url(url) => ("url", url.as_str()),
    };
    json!({
        "attributes": trust.attributes,
        "realm": trust.realm,
        "place": place,
        "keys": keys,
        "allow_addresses": trust.issuer.allow_addresses,
        "danger_plaintext": trust.issuer.danger_plaintext,
    })
}

impl Stored for Trust {
    const TABLE: &'static str = TABLE;

    fn document(&self) -> Value {
        json!({
            "tenant": self.id.tenant().as_str(),
            "id": self.id.to_string(),
            "identity": self.identity.to_string(),
            "method": self.issuer.method.as_str(),
            "issuer": self.issuer.url,
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
        members(json!({
            "identity": self.identity.to_string(),
            "method": self.issuer.method.as_str(),
            "issuer": self.issuer.url,
            "attributes": self.attributes,
            "keys": match &self.issuer.keys {
                IssuerKeys::Discovery => "discovery".to_owned(),
                IssuerKeys::Given(set) => format!("given sha256:{}", Digest::of(set.as_bytes())),
                IssuerKeys::Url(url) => url.clone(),
            },
            "allow_addresses": self.issuer.allow_addresses,
            "danger_plaintext": self.issuer.danger_plaintext,
            "expires_at": self.expires_at.micros(),
            "removed": self.removed_at.is_some(),
        }))
    }
}

/// Every row, for the comparison with the log.
pub(crate) const ROWS: Rows = Rows {
    table: TABLE,
    sql: concat!("SELECT tenant, digest, ", columns!(), " FROM trust"),
    verify: |cells, _| from_row(cells).map(drop),
};

pub(crate) fn from_row(cells: Cells) -> Result<Trust, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
    let id = TrustId::from_parts(tenant.clone(), f.uuid("trust")?);
    let identity = IdentityId::from_parts(tenant, f.uuid("identity")?);
    let method = f.word("method", Method::parse)?;
    let url = f.text("issuer")?;
    let bytes = f.bytes("body")?;
    let (attributes, realm, issuer) = read_body(&bytes, method, url).ok_or_else(|| f.corrupt("body"))?;
    let trust = Trust {
        id,
        issuer,
        realm,
        attributes,
        identity,
        created_at: f.time("created_at")?,
        expires_at: f.time("expires_at")?,
        removed_at: f
            .int_or_null("removed_at")?
            .map(bailiwick_base::Time::from_micros),
    };
    whole(trust, f.digest("digest")?)
}

type Named = BTreeMap<String, String>;

fn read_body(bytes: &[u8], method: Method, url: String) -> Option<(Named, Named, TrustedIssuer)> {
    let body = json::parse(bytes, BODY_MAX).ok()?;
    let texts = |name: &str| -> Option<Named> { serde_json::from_value(body.get(name)?.clone()).ok() };
    let keys = body.get("keys")?.as_str()?.to_owned();
    let keys = match body.get("place")?.as_str()? {
        "discovery" => IssuerKeys::Discovery,
        "given" => IssuerKeys::Given(keys),
        "url" => IssuerKeys::Url(keys),
        _ => return None,
    };
    let issuer = TrustedIssuer {
        method,
        url,
        keys,
        allow_addresses: serde_json::from_value(body.get("allow_addresses")?.clone()).ok()?,
        danger_plaintext: body.get("danger_plaintext")?.as_bool()?,
    };
    Some((texts("attributes")?, texts("realm")?, issuer))
}

/// Trust rules of a tenant.
pub struct Trusts<'a, S>(pub(crate) &'a mut S);

impl<S: Source> Trusts<'_, S> {
    /// A rule, removed or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lookup(&mut self, id: &TrustId) -> Result<Option<Trust>, StoreError> {
        let view = self.0.view();
        view.require(id.tenant())?;
        let rows = view.fetch(LOOKUP, args![id.tenant().as_str(), id.uuid()]).await?;
        rows.into_iter().next().map(from_row).transpose()
    }
}

impl Trusts<'_, Tx> {
    /// Writes a new rule, or the removal of a known one.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`], [`StoreError::Conflict`].
    pub async fn apply(&mut self, t: Transition<Trust>) -> Result<(), StoreError> {
        let (after, tenant) = (&t.after, t.after.id.tenant());
        self.0.view.require(tenant)?;
        self.0.view.require(after.identity.tenant())?;
        let is = digest_of(after)?;
        let removed = after.removed_at.map(bailiwick_base::Time::micros);
        let row = after.id.to_string();
        match &t.before {
            None => {
                let body = column_bytes((TABLE, "body"), &row, &body(after))?;
                let values = args![
                    tenant.as_str(),
                    after.id.uuid(),
                    after.identity.uuid(),
                    after.issuer.method.as_str(),
                    after.issuer.url.as_str(),
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
                // Only the removal of a rule may change it.
                let same = Trust {
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
        self.0.facts.push(Fact::Trust(Arc::new(t.after)));
        Ok(())
    }
}
