//! Consents. They are looked up by id when they are used; no decision reads them.

use bailiwick_base::{
    ConsentId, Digest, Epoch, IdentityId, TaskId, TenantId, Time, TokenId, Transition, json,
};
use bailiwick_credential::ScopeSet;
use bailiwick_credential::consent::{Challenge, Consent};
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::page::Page;
use crate::row::{Cells, Fields, args, signed};
use crate::stored::{Rows, Stored, column_bytes, digest_of, members, object, whole};
use crate::tx::{Source, Tx};

const TABLE: &str = "consent";
/// Bytes of a body: a client id, a redirect URI and scopes.
const BODY_MAX: usize = 64 * 1024;

macro_rules! columns {
    () => {
        "tenant, consent, token, task, identity, body, epoch, created_at, expires_at, code_until, redeemed_at, \
         generation, refresh, digest"
    };
}

const LOOKUP: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM consent WHERE tenant = $1 AND consent = $2"
);
const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM consent WHERE tenant = $1 AND consent > $2 AND expires_at > $4 ORDER BY consent LIMIT $3"
);
const INSERT: &str = concat!(
    "INSERT INTO consent (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING"
);
const UPDATE: &str = "UPDATE consent SET redeemed_at = $3, generation = $4, refresh = $5, digest = $6 \
                      WHERE tenant = $1 AND consent = $2 AND digest = $7";

/// What has no column of its own.
fn body(consent: &Consent) -> Value {
    json!({
        "client": consent.client,
        "redirect": consent.redirect,
        "challenge": consent.challenge.as_str(),
        "scopes": consent.scopes.to_string(),
        "given_by": consent.given_by,
        "composition": consent.composition.map(|digest| digest.to_base64url()),
    })
}

impl Stored for Consent {
    const TABLE: &'static str = TABLE;

    fn document(&self) -> Value {
        json!({
            "tenant": self.id.tenant().as_str(),
            "id": self.id.to_string(),
            "token": self.token.to_string(),
            "task": self.task.to_string(),
            "identity": self.identity.to_string(),
            "body": body(self),
            "epoch": self.epoch.0,
            "created_at": self.created_at.micros(),
            "expires_at": self.expires_at.micros(),
            "code_until": self.code_until.micros(),
            "redeemed_at": self.redeemed_at.map(bailiwick_base::Time::micros),
            "generation": self.generation,
            "refresh": self.refresh.map(|digest| digest.to_string()),
        })
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn outline(&self) -> Map<String, Value> {
        members(json!({
            "client": self.client,
            "redirect": self.redirect,
            "task": self.task.to_string(),
            "identity": self.identity.to_string(),
            "token": self.token.to_string(),
            "scopes": self.scopes.to_string(),
            "redeemed": self.redeemed_at.is_some(),
            "generation": self.generation,
        }))
    }
}

/// Every row, for the comparison with the log.
pub(crate) const ROWS: Rows = Rows {
    table: TABLE,
    sql: concat!("SELECT tenant, digest, ", columns!(), " FROM consent"),
    verify: |cells, _| from_row(cells).map(drop),
};

fn from_row(cells: Cells) -> Result<Consent, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
    let id = ConsentId::from_parts(tenant.clone(), f.uuid("consent")?);
    let token = TokenId::from_parts(tenant.clone(), f.uuid("token")?);
    let task = TaskId::from_parts(tenant.clone(), f.uuid("task")?);
    let identity = IdentityId::from_parts(tenant, f.uuid("identity")?);
    let bytes = f.bytes("body")?;
    let words = read_body(&bytes).ok_or_else(|| f.corrupt("body"))?;
    let consent = Consent {
        id,
        token,
        client: words.client,
        redirect: words.redirect,
        challenge: words.challenge,
        task,
        identity,
        scopes: words.scopes,
        epoch: Epoch(f.number("epoch")?),
        composition: words.composition,
        given_by: words.given_by,
        created_at: f.time("created_at")?,
        expires_at: f.time("expires_at")?,
        code_until: f.time("code_until")?,
        redeemed_at: f
            .int_or_null("redeemed_at")?
            .map(bailiwick_base::Time::from_micros),
        generation: u32::try_from(f.number("generation")?).map_err(|_| f.corrupt("generation"))?,
        refresh: match f.bytes("refresh")?.as_slice() {
            [] => None,
            bytes => Some(Digest(bytes.try_into().map_err(|_| f.corrupt("refresh"))?)),
        },
    };
    whole(consent, f.digest("digest")?)
}

struct Words {
    client: String,
    redirect: String,
    challenge: Challenge,
    scopes: ScopeSet,
    given_by: String,
    composition: Option<Digest>,
}

fn read_body(bytes: &[u8]) -> Option<Words> {
    let body = json::parse(bytes, BODY_MAX).ok()?;
    let text = |name: &str| body.get(name)?.as_str();
    Some(Words {
        client: text("client")?.to_owned(),
        redirect: text("redirect")?.to_owned(),
        challenge: Challenge::parse(text("challenge")?)?,
        scopes: ScopeSet::parse(text("scopes")?),
        given_by: text("given_by")?.to_owned(),
        composition: match body.get("composition")? {
            Value::Null => None,
            stated => Some(Digest::from_base64url(stated.as_str()?)?),
        },
    })
}

/// Consents of a tenant.
pub struct Consents<'a, S>(pub(crate) &'a mut S);

impl<S: Source> Consents<'_, S> {
    /// A consent.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lookup(&mut self, id: &ConsentId) -> Result<Option<Consent>, StoreError> {
        let view = self.0.view();
        view.require(id.tenant())?;
        let rows = view.fetch(LOOKUP, args![id.tenant().as_str(), id.uuid()]).await?;
        rows.into_iter().next().map(from_row).transpose()
    }

    /// A page of the consents that end after `since`, in the order of ids.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&mut self, page: Page, since: Time) -> Result<Vec<Consent>, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        let mut values = args![tenant.as_str()];
        values.extend(page.args()?);
        values.extend(args![since]);
        let rows = view.fetch(LIST, values).await?;
        rows.into_iter().map(from_row).collect()
    }
}

impl Consents<'_, Tx> {
    /// Writes a new consent, or how far a known one was used.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`], [`StoreError::Conflict`].
    pub async fn apply(&mut self, t: Transition<Consent>) -> Result<(), StoreError> {
        let (after, tenant) = (&t.after, t.after.id.tenant());
        self.0.view.require(tenant)?;
        self.0.view.require(after.task.tenant())?;
        self.0.view.require(after.identity.tenant())?;
        let is = digest_of(after)?;
        let row = after.id.to_string();
        let redeemed = after.redeemed_at.map(bailiwick_base::Time::micros);
        let generation = i64::from(after.generation);
        let refresh = after.refresh.map(|digest| digest.0.to_vec()).unwrap_or_default();
        match &t.before {
            None => {
                let body = column_bytes((TABLE, "body"), &row, &body(after))?;
                let values = args![
                    tenant.as_str(),
                    after.id.uuid(),
                    after.token.uuid(),
                    after.task.uuid(),
                    after.identity.uuid(),
                    body,
                    signed(after.epoch.0),
                    after.created_at,
                    after.expires_at,
                    after.code_until,
                    redeemed,
                    generation,
                    refresh,
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
                // Only how far it was used may change.
                let same = Consent {
                    redeemed_at: after.redeemed_at,
                    generation: after.generation,
                    refresh: after.refresh,
                    ..before.clone()
                } == *after;
                let values = args![
                    tenant.as_str(),
                    after.id.uuid(),
                    redeemed,
                    generation,
                    refresh,
                    is,
                    was
                ];
                if !same || self.0.write(UPDATE, values).await? == 0 {
                    return Err(StoreError::Conflict { table: TABLE, row });
                }
            }
        }
        let objects = vec![object(t.before.as_ref(), Some(after))?];
        self.0.enter(t.command, t.reason.as_deref(), objects).await
    }
}
