//! Who tells us what happens elsewhere.

use bailiwick_base::{Digest, TenantId, Time, Transition, TransmitterId, json};
use bailiwick_signal::{Keys, Transmitter};
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::row::{Cells, Fields, args};
use crate::stored::{Rows, Stored, column_bytes, digest_of, members, object, whole};
use crate::tx::{Source, Tx};

const TABLE: &str = "transmitter";
/// Bytes of a body: a key set and a list of people.
const BODY_MAX: usize = 32 * 1024 * 1024;

macro_rules! columns {
    () => {
        "tenant, transmitter, issuer, body, created_at, removed_at, digest"
    };
}

const LOOKUP: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM transmitter WHERE tenant = $1 AND transmitter = $2"
);
const LIVING: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM transmitter WHERE tenant = $1 AND removed_at IS NULL ORDER BY transmitter"
);
const OF_ISSUER: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM transmitter WHERE tenant = $1 AND issuer = $2 AND removed_at IS NULL"
);
const INSERT: &str = concat!(
    "INSERT INTO transmitter (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"
);
const REMOVE: &str = "UPDATE transmitter SET removed_at = $3, digest = $4 \
                      WHERE tenant = $1 AND transmitter = $2 AND digest = $5 AND removed_at IS NULL";

fn body(transmitter: &Transmitter) -> Value {
    let (place, keys) = match &transmitter.keys {
        Keys::Given(text) => ("given", text),
        Keys::Url(url) => ("url", url),
    };
    json!({
        "place": place,
        "keys": keys,
        "allow_addresses": transmitter.allow_addresses,
        "danger_plaintext": transmitter.danger_plaintext,
        "people": transmitter.people,
    })
}

impl Stored for Transmitter {
    const TABLE: &'static str = TABLE;

    fn document(&self) -> Value {
        json!({
            "tenant": self.id.tenant().as_str(),
            "id": self.id.to_string(),
            "issuer": self.issuer,
            "body": body(self),
            "created_at": self.created_at.micros(),
            "removed_at": self.removed_at.map(Time::micros),
        })
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn outline(&self) -> Map<String, Value> {
        members(json!({
            "issuer": self.issuer,
            "keys": match &self.keys {
                Keys::Given(set) => format!("given sha256:{}", Digest::of(set.as_bytes())),
                Keys::Url(url) => url.clone(),
            },
            "allow_addresses": self.allow_addresses,
            "danger_plaintext": self.danger_plaintext,
            "people": self.people.len(),
            "removed": self.removed_at.is_some(),
        }))
    }
}

/// Every row, for the comparison with the log.
pub(crate) const ROWS: Rows = Rows {
    table: TABLE,
    sql: concat!("SELECT tenant, digest, ", columns!(), " FROM transmitter"),
    verify: |cells, _| from_row(cells).map(drop),
};

fn from_row(cells: Cells) -> Result<Transmitter, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
    let id = TransmitterId::from_parts(tenant, f.uuid("transmitter")?);
    let issuer = f.text("issuer")?;
    let bytes = f.bytes("body")?;
    let body = json::parse(&bytes, BODY_MAX).map_err(|_| f.corrupt("body"))?;
    let read = || {
        let keys = body.get("keys")?.as_str()?.to_owned();
        Some(Transmitter {
            id,
            issuer,
            keys: match body.get("place")?.as_str()? {
                "given" => Keys::Given(keys),
                "url" => Keys::Url(keys),
                _ => return None,
            },
            allow_addresses: serde_json::from_value(body.get("allow_addresses")?.clone()).ok()?,
            danger_plaintext: body.get("danger_plaintext")?.as_bool()?,
            people: serde_json::from_value(body.get("people")?.clone()).ok()?,
            created_at: Time::default(),
            removed_at: None,
        })
    };
    let mut transmitter = read().ok_or_else(|| f.corrupt("body"))?;
    transmitter.created_at = f.time("created_at")?;
    transmitter.removed_at = f.int_or_null("removed_at")?.map(Time::from_micros);
    whole(transmitter, f.digest("digest")?)
}

/// Transmitters of a tenant.
pub struct Transmitters<'a, S>(pub(crate) &'a mut S);

impl<S: Source> Transmitters<'_, S> {
    /// One, removed or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lookup(&mut self, id: &TransmitterId) -> Result<Option<Transmitter>, StoreError> {
        let view = self.0.view();
        view.require(id.tenant())?;
        let rows = view.fetch(LOOKUP, args![id.tenant().as_str(), id.uuid()]).await?;
        rows.into_iter().next().map(from_row).transpose()
    }

    /// The living one of this issuer.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_by_issuer(&mut self, issuer: &str) -> Result<Option<Transmitter>, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        let rows = view.fetch(OF_ISSUER, args![tenant.as_str(), issuer]).await?;
        rows.into_iter().next().map(from_row).transpose()
    }

    /// The living ones.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn living(&mut self) -> Result<Vec<Transmitter>, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        let rows = view.fetch(LIVING, args![tenant.as_str()]).await?;
        rows.into_iter().map(from_row).collect()
    }
}

impl Transmitters<'_, Tx> {
    /// Writes a new one, or the removal of a known one, with its entry.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`], [`StoreError::Conflict`].
    pub async fn apply(&mut self, t: Transition<Transmitter>) -> Result<(), StoreError> {
        let (after, tenant) = (&t.after, t.after.id.tenant());
        self.0.view.require(tenant)?;
        let is = digest_of(after)?;
        let removed = after.removed_at.map(Time::micros);
        let row = after.id.to_string();
        match &t.before {
            None => {
                let body = column_bytes((TABLE, "body"), &row, &body(after))?;
                let values = args![
                    tenant.as_str(),
                    after.id.uuid(),
                    after.issuer.as_str(),
                    body,
                    after.created_at,
                    removed,
                    is,
                ];
                if self.0.write(INSERT, values).await? == 0 {
                    return Err(StoreError::Duplicate {
                        table: TABLE,
                        field: "issuer",
                    });
                }
            }
            Some(before) => {
                // Only the removal of a transmitter may change it.
                let same = Transmitter {
                    removed_at: after.removed_at,
                    ..before.clone()
                } == *after;
                let values = args![tenant.as_str(), after.id.uuid(), removed, is, digest_of(before)?];
                if !same || self.0.write(REMOVE, values).await? == 0 {
                    return Err(StoreError::Conflict { table: TABLE, row });
                }
            }
        }
        let objects = vec![object(t.before.as_ref(), Some(after))?];
        self.0.enter(t.command, t.reason.as_deref(), objects).await
    }
}
