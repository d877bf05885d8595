//! Who is told what happens, and how far each one is.

use std::collections::BTreeSet;

use bailiwick_base::{IdentityId, SealContext, Secret, SubscriptionId, TenantId, Time, Transition, json};
use bailiwick_signal::{Delivery, EventKind, Place, Status, Subscription};
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::row::{Cell, Cells, Fields, args, signed};
use crate::store::Store;
use crate::stored::{Rows, Stored, column_bytes, digest_of, members, object, verify_sealed, whole};
use crate::tx::{Source, Tx, View};

const TABLE: &str = "subscription";
const PROGRESS: &str = "subscription_progress";
/// Bytes of a body: lists with limits.
const BODY_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a list of what was taken out of order.
const TAKEN_MAX: usize = 256 * 1024;

macro_rules! columns {
    () => {
        "tenant, subscription, body, status, created_at, changed_at, removed_at, digest"
    };
}

const LOOKUP: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM subscription WHERE tenant = $1 AND subscription = $2"
);
const LIVING: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM subscription WHERE tenant = $1 AND removed_at IS NULL ORDER BY subscription"
);
const EVERY_LIVING: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM subscription WHERE removed_at IS NULL ORDER BY tenant, subscription"
);
const INSERT: &str = concat!(
    "INSERT INTO subscription (",
    columns!(),
    ", secret) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING"
);
const UPDATE: &str = "UPDATE subscription SET body = $3, status = $4, changed_at = $5, removed_at = $6, \
                      digest = $7, secret = $8 WHERE tenant = $1 AND subscription = $2 AND digest = $9";
const SECRET: &str =
    "SELECT tenant, subscription, secret FROM subscription WHERE tenant = $1 AND subscription = $2";
const READ_PROGRESS: &str = "SELECT tenant, subscription, position, taken, attempts, retry_at, failing_since, \
                             verified_at, trouble FROM subscription_progress \
                             WHERE tenant = $1 AND subscription = $2";
const PUT_PROGRESS: &str = "INSERT INTO subscription_progress (tenant, subscription, position, taken, attempts, \
                            retry_at, failing_since, verified_at, trouble) \
                            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
                            ON CONFLICT (tenant, subscription) DO UPDATE SET position = excluded.position, \
                            taken = excluded.taken, attempts = excluded.attempts, \
                            retry_at = excluded.retry_at, failing_since = excluded.failing_since, \
                            verified_at = excluded.verified_at, trouble = excluded.trouble";

/// How far somebody is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Everything before this entry was told.
    pub position: u64,
    /// What was taken at or behind it: entry and part.
    pub taken: BTreeSet<(u64, u32)>,
    /// Failures in a row.
    pub attempts: u64,
    /// Not before.
    pub retry_at: Time,
    /// Since when nothing was taken.
    pub failing_since: Option<Time>,
    /// When a verification was asked for last.
    pub verified_at: Option<Time>,
    /// What went wrong last.
    pub trouble: Option<String>,
}

/// What a change does to the secret beside it.
pub enum WithSecret<'a> {
    /// Nothing.
    Keep,
    /// It is forgotten.
    Forget,
    /// Another one.
    Replace(&'a Secret<Vec<u8>>),
}

fn body(subscription: &Subscription) -> Value {
    let place = subscription.delivery.place().map(|place| {
        json!({
            "url": place.url,
            "allow_addresses": place.allow_addresses,
            "danger_plaintext": place.danger_plaintext,
        })
    });
    json!({
        "receiver": subscription.receiver.as_ref().map(ToString::to_string),
        "delivery": subscription.delivery.as_str(),
        "place": place,
        "events": subscription.events.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
        "asked": subscription.asked,
        "description": subscription.description,
        "left_out": subscription.left_out,
        "status_reason": subscription.status_reason,
        "secret_since": subscription.secret_since.map(Time::micros),
    })
}

impl Stored for Subscription {
    const TABLE: &'static str = TABLE;

    fn document(&self) -> Value {
        json!({
            "tenant": self.id.tenant().as_str(),
            "id": self.id.to_string(),
            "body": body(self),
            "status": self.status.as_str(),
            "created_at": self.created_at.micros(),
            "changed_at": self.changed_at.micros(),
            "removed_at": self.removed_at.map(Time::micros),
        })
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn outline(&self) -> Map<String, Value> {
        let place = self.delivery.place();
        members(json!({
            "receiver": self.receiver.as_ref().map(ToString::to_string),
            "delivery": self.delivery.as_str(),
            "url": place.map(|place| place.url.as_str()),
            "allow_addresses": place.map(|place| &place.allow_addresses),
            "danger_plaintext": place.map(|place| place.danger_plaintext),
            "events": self.events.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
            "left_out": self.left_out.len(),
            "status": self.status.as_str(),
            "removed": self.removed_at.is_some(),
        }))
    }
}

/// Every row, for the comparison with the log.
pub(crate) const ROWS: Rows = Rows {
    table: TABLE,
    sql: concat!(
        "SELECT tenant, digest, ",
        columns!(),
        ", secret FROM subscription"
    ),
    verify: |mut cells, sealer| {
        let secret = cells.pop();
        let known = from_row(cells)?;
        let row = known.id.uuid();
        match (known.secret_since, secret) {
            (None, Some(Cell::Null)) => Ok(()),
            (None, _) | (Some(_), Some(Cell::Null)) => Err(StoreError::RowCorrupt {
                table: TABLE,
                column: "secret",
                row: known.name(),
            }),
            (Some(_), secret) => {
                verify_sealed(sealer, &context(&known.id, row.as_bytes()), &known.name(), secret)
            }
        }
    },
};

fn from_row(cells: Cells) -> Result<Subscription, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
    let id = SubscriptionId::from_parts(tenant.clone(), f.uuid("subscription")?);
    let bytes = f.bytes("body")?;
    let body = json::parse(&bytes, BODY_MAX).map_err(|_| f.corrupt("body"))?;
    let status = f.word("status", Status::parse)?;
    let created_at = f.time("created_at")?;
    let changed_at = f.time("changed_at")?;
    let removed_at = f.int_or_null("removed_at")?.map(Time::from_micros);
    let digest = f.digest("digest")?;
    let subscription = read_body(&body, &id, status, (created_at, changed_at, removed_at));
    whole(subscription.ok_or_else(|| f.corrupt("body"))?, digest)
}

fn read_body(
    body: &Value,
    id: &SubscriptionId,
    status: Status,
    (created_at, changed_at, removed_at): (Time, Time, Option<Time>),
) -> Option<Subscription> {
    let text = |member: &str| body.get(member)?.as_str().map(str::to_owned);
    let texts = |value: &Value, member: &str| -> Option<Vec<String>> {
        serde_json::from_value(value.get(member)?.clone()).ok()
    };
    let place = || {
        let place = body.get("place")?;
        Some(Place {
            url: place.get("url")?.as_str()?.to_owned(),
            allow_addresses: texts(place, "allow_addresses")?,
            danger_plaintext: place.get("danger_plaintext")?.as_bool()?,
        })
    };
    let delivery = match body.get("delivery")?.as_str()? {
        "poll" => Delivery::Poll,
        "push" => Delivery::Push(place()?),
        "webhook" => Delivery::Webhook(place()?),
        _ => return None,
    };
    let receiver = match text("receiver") {
        Some(receiver) => Some(IdentityId::parse(id.tenant(), &receiver).ok()?),
        None => None,
    };
    let events = texts(body, "events")?;
    Some(Subscription {
        id: id.clone(),
        receiver,
        delivery,
        events: events
            .iter()
            .map(|e| EventKind::parse(e))
            .collect::<Option<_>>()?,
        asked: texts(body, "asked")?,
        description: text("description"),
        left_out: texts(body, "left_out")?.into_iter().collect(),
        status,
        status_reason: text("status_reason"),
        secret_since: body.get("secret_since")?.as_i64().map(Time::from_micros),
        created_at,
        changed_at,
        removed_at,
    })
}

fn body_bytes(subscription: &Subscription) -> Result<Vec<u8>, StoreError> {
    column_bytes((TABLE, "body"), &subscription.id, &body(subscription))
}

fn context<'a>(id: &'a SubscriptionId, row: &'a [u8]) -> SealContext<'a> {
    SealContext {
        tenant: Some(id.tenant()),
        table: TABLE,
        row,
        column: "secret",
    }
}

fn seal(view: &View, id: &SubscriptionId, plain: &Secret<Vec<u8>>) -> Result<Vec<u8>, StoreError> {
    let row = id.uuid();
    Ok(view
        .ground
        .sealer
        .seal(&context(id, row.as_bytes()), plain.reveal())?)
}

/// Subscriptions of a tenant.
pub struct Subscriptions<'a, S>(pub(crate) &'a mut S);

impl<S: Source> Subscriptions<'_, S> {
    /// One, removed or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lookup(&mut self, id: &SubscriptionId) -> Result<Option<Subscription>, StoreError> {
        let view = self.0.view();
        view.require(id.tenant())?;
        let rows = view.fetch(LOOKUP, args![id.tenant().as_str(), id.uuid()]).await?;
        rows.into_iter().next().map(from_row).transpose()
    }

    /// The living ones.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn living(&mut self) -> Result<Vec<Subscription>, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        let rows = view.fetch(LIVING, args![tenant.as_str()]).await?;
        rows.into_iter().map(from_row).collect()
    }

    /// The secret beside it.
    ///
    /// # Errors
    /// [`StoreError::Seal`].
    pub async fn reveal(&mut self, id: &SubscriptionId) -> Result<Option<Secret<Vec<u8>>>, StoreError> {
        let view = self.0.view();
        view.require(id.tenant())?;
        let Some(sealed) = sealed(view, id).await? else {
            return Ok(None);
        };
        let row = id.uuid();
        let plain = view.ground.sealer.open(&context(id, row.as_bytes()), &sealed)?;
        Ok(Some(Secret::new(plain)))
    }

    /// How far it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn progress(&mut self, id: &SubscriptionId) -> Result<Progress, StoreError> {
        let view = self.0.view();
        view.require(id.tenant())?;
        let rows = view
            .fetch(READ_PROGRESS, args![id.tenant().as_str(), id.uuid()])
            .await?;
        let Some(cells) = rows.into_iter().next() else {
            return Ok(Progress::default());
        };
        let mut f = Fields::of(PROGRESS, cells);
        f.text("tenant")?;
        f.uuid("subscription")?;
        let position = f.number("position")?;
        let taken = f.text("taken")?;
        let taken: Vec<(u64, u32)> =
            json::parse_as(taken.as_bytes(), TAKEN_MAX).map_err(|_| f.corrupt("taken"))?;
        Ok(Progress {
            position,
            taken: taken.into_iter().collect(),
            attempts: f.number("attempts")?,
            retry_at: f.time("retry_at")?,
            failing_since: f.int_or_null("failing_since")?.map(Time::from_micros),
            verified_at: f.int_or_null("verified_at")?.map(Time::from_micros),
            trouble: f.text_or_null("trouble")?,
        })
    }
}

async fn sealed(view: &mut View, id: &SubscriptionId) -> Result<Option<Vec<u8>>, StoreError> {
    let rows = view.fetch(SECRET, args![id.tenant().as_str(), id.uuid()]).await?;
    let Some(cells) = rows.into_iter().next() else {
        return Ok(None);
    };
    let mut f = Fields::of(TABLE, cells);
    f.text("tenant")?;
    f.uuid("subscription")?;
    f.bytes_or_null("secret")
}

impl Subscriptions<'_, Tx> {
    /// Writes a new one, or a change, with its entry.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`], [`StoreError::Conflict`], [`StoreError::Unchanged`], [`StoreError::Seal`].
    pub async fn apply(
        &mut self,
        t: Transition<Subscription>,
        secret: WithSecret<'_>,
    ) -> Result<(), StoreError> {
        let (after, tenant) = (&t.after, t.after.id.tenant());
        self.0.view.require(tenant)?;
        let is = digest_of(after)?;
        let row = after.id.to_string();
        let sealed = match secret {
            WithSecret::Keep => sealed(&mut self.0.view, &after.id).await?,
            WithSecret::Forget => None,
            WithSecret::Replace(plain) => Some(seal(&self.0.view, &after.id, plain)?),
        };
        let removed = after.removed_at.map(Time::micros);
        let mut values = args![
            tenant.as_str(),
            after.id.uuid(),
            body_bytes(after)?,
            after.status.as_str()
        ];
        match &t.before {
            None => {
                values.extend(args![after.created_at, after.changed_at, removed, is, sealed]);
                if self.0.write(INSERT, values).await? == 0 {
                    return Err(StoreError::Duplicate {
                        table: TABLE,
                        field: "id",
                    });
                }
            }
            Some(before) => {
                let was = digest_of(before)?;
                if was == is {
                    return Err(StoreError::Unchanged { table: TABLE, row });
                }
                values.extend(args![after.changed_at, removed, is, sealed, was]);
                if self.0.write(UPDATE, values).await? == 0 {
                    return Err(StoreError::Conflict { table: TABLE, row });
                }
            }
        }
        let objects = vec![object(t.before.as_ref(), Some(after))?];
        self.0.enter(t.command, t.reason.as_deref(), objects).await
    }

    /// Writes how far it is. Nobody decided that, so there is no entry.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn proceed(&mut self, id: &SubscriptionId, progress: &Progress) -> Result<(), StoreError> {
        self.0.view.require(id.tenant())?;
        let taken: Vec<_> = progress.taken.iter().collect();
        let taken = json!(taken).to_string();
        if taken.len() > TAKEN_MAX {
            return Err(StoreError::Limit {
                what: "bytes of what was taken out of order",
                found: taken.len() as u64,
                max: TAKEN_MAX as u64,
            });
        }
        let values = args![
            id.tenant().as_str(),
            id.uuid(),
            signed(progress.position),
            taken,
            signed(progress.attempts),
            progress.retry_at,
            progress.failing_since.map(Time::micros),
            progress.verified_at.map(Time::micros),
            progress.trouble.as_deref(),
        ];
        self.0.write_quietly(PUT_PROGRESS, values).await?;
        Ok(())
    }
}

impl Store {
    /// The living subscriptions of every tenant: what the one that sends looks through.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn subscriptions(&self) -> Result<Vec<Subscription>, StoreError> {
        let mut view = self.every().await?;
        let rows = view.fetch(EVERY_LIVING, Vec::new()).await?;
        rows.into_iter().map(from_row).collect()
    }
}
