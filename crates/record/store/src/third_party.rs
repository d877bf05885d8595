//! Third-party credentials: both secrets are sealed, what is known about them is plain.

use bailiwick_base::{
    CredentialId, Digest, IdentityId, SealContext, Secret, TenantId, Time, Transition, json,
};
use bailiwick_credential::{SecretKind, Standing, ThirdParty};
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::page::Page;
use crate::row::{Arg, Cells, Fields, args, signed};
use crate::stored::{
    Rows, Stored, column_bytes, digest_of, members, object, require_seen, verify_sealed, whole,
};
use crate::tx::{Source, Tx, View};

mod detail;
mod place;
mod slot;

const TABLE: &str = "third_party";
/// Bytes of the document. Consumers, strangers and texts have limits of their own and stay below.
const DETAIL_MAX: usize = 256 * 1024;
/// Looked at before everything else: it is to be made invalid.
const ENDING_AT: i64 = -1;
/// There is nothing to do, for ever or until somebody does something.
const NEVER: i64 = i64::MAX;

macro_rules! columns {
    () => {
        "tenant, third_party, name, identity, kind, fingerprint, detail, created_at, expires_at, digest"
    };
}

const LOOKUP: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM third_party WHERE tenant = $1 AND third_party = $2"
);
const BY_NAME: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM third_party WHERE tenant = $1 AND name = $2"
);
const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM third_party WHERE tenant = $1 AND third_party > $2 ORDER BY third_party LIMIT $3"
);
const OF_IDENTITY: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM third_party WHERE tenant = $1 AND identity = $2 ORDER BY third_party LIMIT $3"
);
const DUE: &str = "SELECT tenant, third_party, due_at, digest FROM third_party WHERE tenant = $1 \
                   AND due_at <= $2 AND (due_at, third_party) > ($3, $4) ORDER BY due_at, third_party LIMIT $5";
const TOTAL: &str = "SELECT COUNT(*) FROM third_party WHERE tenant = $1";
const SECRETS: &str =
    "SELECT tenant, third_party, secret, staged FROM third_party WHERE tenant = $1 AND third_party = $2";
const INSERT: &str = concat!(
    "INSERT INTO third_party (",
    columns!(),
    ", due_at, secret) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING"
);
const UPDATE: &str = "UPDATE third_party SET fingerprint = $3, detail = $4, due_at = $5, digest = $6, \
                      secret = $7, staged = $8, identity = $10, expires_at = $11 \
                      WHERE tenant = $1 AND third_party = $2 AND digest = $9";
const DELETE: &str = "DELETE FROM third_party WHERE tenant = $1 AND third_party = $2 AND digest = $3";

impl Stored for ThirdParty {
    const TABLE: &'static str = TABLE;

    fn document(&self) -> Value {
        json!({
            "tenant": self.id.tenant().as_str(),
            "id": self.id.to_string(),
            "name": self.name,
            "identity": self.identity.to_string(),
            "kind": self.kind.as_str(),
            "fingerprint": self.fingerprint,
            "detail": detail::to_json(self),
            "created_at": self.created_at.micros(),
            "expires_at": self.expires_at.micros(),
        })
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    /// All of it: an auditor sees who is known to use it, where it is valid, and how the old secret was refused.
    fn outline(&self) -> Map<String, Value> {
        members(json!({
            "name": self.name,
            "identity": self.identity.to_string(),
            "kind": self.kind.as_str(),
            "fingerprint": self.fingerprint,
            "detail": detail::to_json(self),
            "expires_at": self.expires_at.micros(),
        }))
    }
}

/// Every row, for the comparison with the log.
pub(crate) const ROWS: Rows = Rows {
    table: TABLE,
    sql: concat!(
        "SELECT tenant, digest, ",
        columns!(),
        ", due_at, secret, staged FROM third_party"
    ),
    verify: |mut cells, sealer| {
        let (staged, secret, due) = (cells.pop(), cells.pop(), cells.pop());
        let known = from_row(cells)?;
        require_seen(
            TABLE,
            &known.name(),
            due,
            due_at(&known).max(Time::from_micros(0)),
        )?;
        let row = known.id.uuid();
        let verify = |column, cell| {
            let context = context(&known.id, row.as_bytes(), column);
            verify_sealed(sealer, &context, &known.name(), cell)
        };
        verify("secret", secret).and_then(|()| verify("staged", staged))
    },
};

fn from_row(cells: Cells) -> Result<ThirdParty, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
    let id = CredentialId::from_parts(tenant.clone(), f.uuid("third_party")?);
    let name = f.text("name")?;
    let identity = IdentityId::from_parts(tenant.clone(), f.uuid("identity")?);
    let kind = f.word("kind", SecretKind::parse)?;
    let fingerprint = f.text("fingerprint")?;
    let text = f.bytes("detail")?;
    let corrupt = || StoreError::RowCorrupt {
        table: TABLE,
        column: "detail",
        row: id.to_string(),
    };
    let parsed = json::parse(&text, DETAIL_MAX).map_err(|_| corrupt())?;
    let detail = detail::from_json(&tenant, &parsed).ok_or_else(corrupt)?;
    let credential = ThirdParty {
        name,
        identity,
        kind,
        fingerprint,
        created_at: f.time("created_at")?,
        expires_at: f.time("expires_at")?,
        policy: detail.policy,
        consumers: detail.consumers,
        target: detail.target,
        rotated: detail.rotated,
        taken_back: detail.taken_back,
        standing: detail.standing,
        id,
    };
    whole(credential, f.digest("digest")?)
}

fn context<'a>(id: &'a CredentialId, row: &'a [u8], column: &'static str) -> SealContext<'a> {
    SealContext {
        tenant: Some(id.tenant()),
        table: TABLE,
        row,
        column,
    }
}

fn seal(view: &View, id: &CredentialId, column: &'static str, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
    let row = id.uuid();
    let sealer = &view.ground.sealer;
    Ok(sealer.seal(&context(id, row.as_bytes(), column), plain)?)
}

fn open(
    view: &View,
    id: &CredentialId,
    column: &'static str,
    sealed: &[u8],
) -> Result<Secret<Vec<u8>>, StoreError> {
    let row = id.uuid();
    let sealer = &view.ground.sealer;
    Ok(Secret::new(
        sealer.open(&context(id, row.as_bytes(), column), sealed)?,
    ))
}

/// When the reconciler has to look again: first of all at what is to be made invalid, at once at a rotation under
/// way. A schedule that comes to nothing, because the credential expires before, is none.
fn due_at(credential: &ThirdParty) -> Time {
    let scheduled = credential.due_at();
    Time::from_micros(match &credential.standing {
        Standing::Ending { .. } => ENDING_AT,
        Standing::Revoked { .. } => NEVER,
        Standing::Rotating(_) => 0,
        Standing::Steady if credential.target.is_none() || scheduled >= credential.expires_at => NEVER,
        Standing::Steady => scheduled.micros(),
    })
}

/// A credential that is due, without what is known about it: one whose row cannot be read holds up no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueCredential {
    /// Which.
    pub id: CredentialId,
    /// Since when; before every time when it is to be made invalid.
    pub due_at: Time,
    /// Changes whenever anything about it does.
    pub digest: Digest,
}

impl DueCredential {
    /// Whether it is to be made invalid for good.
    #[must_use]
    pub const fn is_ending(&self) -> bool {
        self.due_at.micros() < 0
    }

    /// What stands in the row of this credential as its digest.
    ///
    /// # Errors
    /// [`StoreError::RowCorrupt`] when it has no canonical form.
    pub fn digest_of(credential: &ThirdParty) -> Result<Digest, StoreError> {
        digest_of(credential)
    }
}

/// What a change does to the secrets.
pub enum Sealing<'a> {
    /// The staged secret is forgotten.
    Drop,
    /// Both secrets are forgotten.
    Forget,
    /// Nothing.
    Keep,
    /// The staged secret takes the place of the one in use, which is forgotten.
    Promote,
    /// Another secret is in use.
    Replace(&'a Secret<Vec<u8>>),
    /// A new secret is staged.
    Stage(&'a Secret<Vec<u8>>),
}

/// Third-party credentials of a tenant.
pub struct ThirdParties<'a, S>(pub(crate) &'a mut S);

impl<S: Source> ThirdParties<'_, S> {
    async fn rows(&mut self, sql: &'static str, values: Vec<Arg>) -> Result<Vec<ThirdParty>, StoreError> {
        let rows = self.0.view().fetch(sql, values).await?;
        rows.into_iter().map(from_row).collect()
    }

    /// What is known about a credential, without its secrets.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lookup(&mut self, id: &CredentialId) -> Result<Option<ThirdParty>, StoreError> {
        self.0.view().require(id.tenant())?;
        let values = args![id.tenant().as_str(), id.uuid()];
        Ok(self.rows(LOOKUP, values).await?.into_iter().next())
    }

    /// The credential with this name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_by_name(&mut self, name: &str) -> Result<Option<ThirdParty>, StoreError> {
        let tenant = self.0.view().home();
        let values = args![tenant.as_str(), name];
        Ok(self.rows(BY_NAME, values).await?.into_iter().next())
    }

    /// A page of credentials, in the order of ids.
    ///
    /// # Errors
    /// [`StoreError::Limit`] for a page of 0 or more than 1,000.
    pub async fn list(&mut self, page: Page) -> Result<Vec<ThirdParty>, StoreError> {
        let tenant = self.0.view().home();
        let mut values = args![tenant.as_str()];
        values.extend(page.args()?);
        self.rows(LIST, values).await
    }

    /// How many the tenant has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn total(&mut self) -> Result<u64, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        let rows = view.fetch(TOTAL, args![tenant.as_str()]).await?;
        let cells = rows.into_iter().next().unwrap_or_default();
        Fields::of(TABLE, cells).number("total")
    }

    /// Those that prove an identity, in the order of ids, at most `max`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn of_identity(
        &mut self,
        identity: &IdentityId,
        max: u32,
    ) -> Result<Vec<ThirdParty>, StoreError> {
        self.0.view().require(identity.tenant())?;
        let values = args![identity.tenant().as_str(), identity.uuid(), signed(max.into())];
        self.rows(OF_IDENTITY, values).await
    }

    /// A page of those whose rotation is due or under way at `now`, or that are to be made invalid: these first,
    /// then the longest due.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn due(
        &mut self,
        now: Time,
        after: Option<&DueCredential>,
        max: u32,
    ) -> Result<Vec<DueCredential>, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        let (at, id) = after.map_or((i64::MIN, Vec::new()), |last| {
            (last.due_at.micros(), last.id.uuid().as_bytes().to_vec())
        });
        let values = args![tenant.as_str(), now, at, id, signed(max.into())];
        let rows = view.fetch(DUE, values).await?;
        let due = rows.into_iter().map(|cells| {
            let mut f = Fields::of(TABLE, cells);
            let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
            Ok(DueCredential {
                id: CredentialId::from_parts(tenant, f.uuid("third_party")?),
                due_at: f.time("due_at")?,
                digest: f.digest("digest")?,
            })
        });
        due.collect()
    }

    /// The sealed secret in use and the staged one.
    async fn sealed(&mut self, id: &CredentialId) -> Result<Option<(Vec<u8>, Option<Vec<u8>>)>, StoreError> {
        let view = self.0.view();
        view.require(id.tenant())?;
        let rows = view
            .fetch(SECRETS, args![id.tenant().as_str(), id.uuid()])
            .await?;
        let Some(cells) = rows.into_iter().next() else {
            return Ok(None);
        };
        let mut f = Fields::of(TABLE, cells);
        f.text("tenant")?;
        f.uuid("third_party")?;
        Ok(Some((f.bytes("secret")?, f.bytes_or_null("staged")?)))
    }

    /// The secret in use, opened.
    ///
    /// # Errors
    /// [`StoreError::Seal`] when it does not open: altered, moved from another row, or the key is gone.
    pub async fn reveal(&mut self, id: &CredentialId) -> Result<Option<Secret<Vec<u8>>>, StoreError> {
        match self.sealed(id).await? {
            Some((secret, _)) => open(self.0.view(), id, "secret", &secret).map(Some),
            None => Ok(None),
        }
    }

    /// The staged secret, opened.
    ///
    /// # Errors
    /// As [`ThirdParties::reveal`].
    pub async fn reveal_staged(&mut self, id: &CredentialId) -> Result<Option<Secret<Vec<u8>>>, StoreError> {
        match self.sealed(id).await? {
            Some((_, Some(staged))) => open(self.0.view(), id, "staged", &staged).map(Some),
            _ => Ok(None),
        }
    }
}

impl ThirdParties<'_, Tx> {
    /// Seals a secret and writes what is known about it.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] for a name that is taken, [`StoreError::Seal`].
    pub async fn add(
        &mut self,
        t: Transition<ThirdParty>,
        secret: &Secret<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let c = &t.after;
        self.0.view.require(c.id.tenant())?;
        let sealed = seal(&self.0.view, &c.id, "secret", secret.reveal())?;
        let values = args![
            c.id.tenant().as_str(),
            c.id.uuid(),
            c.name.as_str(),
            c.identity.uuid(),
            c.kind.as_str(),
            c.fingerprint.as_str(),
            detail_of(c)?,
            c.created_at,
            c.expires_at,
            digest_of(c)?,
            due_at(c),
            sealed,
        ];
        if self.0.write(INSERT, values).await? == 0 {
            return Err(StoreError::Duplicate {
                table: TABLE,
                field: "name",
            });
        }
        self.take_slots(None, c).await?;
        let objects = vec![object(None, Some(c))?];
        self.0.enter(t.command, t.reason.as_deref(), objects).await
    }

    /// Writes a transition, what it does to the secrets, and its entry.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the credential was changed meanwhile, [`StoreError::Unchanged`],
    /// [`StoreError::Seal`].
    pub async fn apply(&mut self, t: Transition<ThirdParty>, sealing: Sealing<'_>) -> Result<(), StoreError> {
        let c = &t.after;
        let row = c.id.to_string();
        let conflict = StoreError::Conflict {
            table: TABLE,
            row: row.clone(),
        };
        let Some(before) = t.before.as_ref().filter(|b| b.id == c.id) else {
            return Err(conflict);
        };
        let was = digest_of(before)?;
        if was == digest_of(c)? {
            return Err(StoreError::Unchanged { table: TABLE, row });
        }
        let Some((secret, staged)) = self.sealed(&c.id).await? else {
            return Err(conflict);
        };
        let view = &self.0.view;
        let (secret, staged) = match sealing {
            Sealing::Drop => (secret, None),
            Sealing::Forget => (seal(view, &c.id, "secret", &[])?, None),
            Sealing::Keep => (secret, staged),
            Sealing::Promote => {
                let staged = staged.ok_or(conflict.clone())?;
                let plain = open(view, &c.id, "staged", &staged)?;
                (seal(view, &c.id, "secret", plain.reveal())?, None)
            }
            Sealing::Replace(plain) => (seal(view, &c.id, "secret", plain.reveal())?, staged),
            Sealing::Stage(plain) => (secret, Some(seal(view, &c.id, "staged", plain.reveal())?)),
        };
        let values = vec![
            Arg::from(c.id.tenant().as_str()),
            Arg::from(c.id.uuid()),
            Arg::from(c.fingerprint.as_str()),
            Arg::from(detail_of(c)?),
            Arg::from(due_at(c)),
            Arg::from(digest_of(c)?),
            Arg::from(secret),
            Arg::BytesOrNull(staged),
            Arg::from(was),
            Arg::from(c.identity.uuid()),
            Arg::from(c.expires_at),
        ];
        if self.0.write(UPDATE, values).await? == 0 {
            return Err(conflict);
        }
        self.take_slots(Some(before), c).await?;
        let objects = vec![object(Some(before), Some(c))?];
        self.0.enter(t.command, t.reason.as_deref(), objects).await
    }

    /// Takes a row and its secrets out. Its entry, and those before it, tell what it was.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the credential was changed meanwhile.
    pub async fn withdraw(&mut self, t: Transition<ThirdParty>) -> Result<(), StoreError> {
        let c = &t.after;
        self.0.view.require(c.id.tenant())?;
        self.leave_slots(c).await?;
        let values = args![c.id.tenant().as_str(), c.id.uuid(), digest_of(c)?];
        if self.0.write(DELETE, values).await? == 0 {
            return Err(StoreError::Conflict {
                table: TABLE,
                row: c.id.to_string(),
            });
        }
        let objects = vec![object(Some(c), None)?];
        self.0.enter(t.command, t.reason.as_deref(), objects).await
    }
}

/// What could not be read again is not written.
fn detail_of(c: &ThirdParty) -> Result<Vec<u8>, StoreError> {
    let bytes = column_bytes((TABLE, "detail"), &c.id, &detail::to_json(c))?;
    if bytes.len() > DETAIL_MAX {
        return Err(StoreError::Limit {
            what: "bytes that are known about the credential",
            found: bytes.len() as u64,
            max: DETAIL_MAX as u64,
        });
    }
    Ok(bytes)
}
