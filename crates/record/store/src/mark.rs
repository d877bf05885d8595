//! Marks, the epoch and its floor.

use bailiwick_base::{
    AgentLabel, Epoch, IdentityId, SealError, ServerName, TaskId, TenantId, Time, TokenId, ToolName,
};
use bailiwick_decide::{Fact, Mark, MarkEffect, MarkScope};
use bailiwick_inventory::installation;
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::row::{Cells, Fields, args, signed};
use crate::stored::{Rows, Stored, digest_of, members, object, whole};
use crate::tx::{Source, Tx};

const TABLE: &str = "mark";

macro_rules! columns {
    () => {
        "tenant, scope, effect, epoch, at, digest"
    };
}

const OF_SCOPE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM mark WHERE tenant = $1 AND scope = $2"
);
const NEWEST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM mark WHERE tenant = $1 ORDER BY epoch DESC LIMIT $2"
);
const COUNT: &str = "SELECT count(*) FROM mark WHERE tenant = $1";
pub(crate) const EVERY: &str = concat!("SELECT ", columns!(), " FROM mark ORDER BY epoch");
const PUT: &str = concat!(
    "INSERT INTO mark (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant, scope, effect) DO UPDATE \
     SET epoch = excluded.epoch, at = excluded.at, digest = excluded.digest"
);
/// Entries of one instant: a batch of commands shares it.
const INSTANT_MAX: usize = 1_000;
const DELETE: &str = "DELETE FROM mark WHERE tenant = $1 AND scope = $2 AND effect = $3";

/// Who set a mark and why, as the state log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkOrder {
    /// `operator:…` or `system:…`.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
    /// Index of the entry.
    pub index: u64,
}

/// A mark and when it was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetMark {
    /// The mark.
    pub mark: Mark,
    /// When.
    pub at: Time,
}

impl Stored for SetMark {
    const TABLE: &'static str = TABLE;

    fn document(&self) -> Value {
        json!({
            "tenant": tenant_of(&self.mark.scope).as_str(),
            "scope": scope_text(&self.mark.scope),
            "effect": self.mark.effect.as_str(),
            "epoch": self.mark.epoch.0,
            "at": self.at.micros(),
        })
    }

    fn name(&self) -> String {
        scope_text(&self.mark.scope)
    }

    fn outline(&self) -> Map<String, Value> {
        members(json!({ "effect": self.mark.effect.as_str(), "epoch": self.mark.epoch.0 }))
    }
}

/// The tenant whose row it is; the mark on everything is the installation's.
pub(crate) fn tenant_of(scope: &MarkScope) -> TenantId {
    match scope {
        MarkScope::Token(id) => id.tenant().clone(),
        MarkScope::Task(id) => id.tenant().clone(),
        MarkScope::Identity(id) => id.tenant().clone(),
        MarkScope::Agent(tenant, _)
        | MarkScope::Owner(tenant, _)
        | MarkScope::Issuer(tenant, _)
        | MarkScope::Server(tenant, _)
        | MarkScope::Tool(tenant, _, _)
        | MarkScope::Tenant(tenant) => tenant.clone(),
        MarkScope::All => installation(),
    }
}

/// What the entry of a mark is called.
const fn command_of(effect: MarkEffect) -> &'static str {
    match effect {
        MarkEffect::Kill => "mark.kill",
        MarkEffect::NoEgress => "mark.no-egress",
        MarkEffect::Observe => "mark.observe",
        MarkEffect::ReadOnly => "mark.read-only",
        MarkEffect::Suspend => "mark.suspend",
    }
}

/// `kind:rest`, where the rest is everything behind the first colon.
pub(crate) fn scope_text(scope: &MarkScope) -> String {
    match scope {
        MarkScope::Token(id) => format!("token:{id}"),
        MarkScope::Task(id) => format!("task:{id}"),
        MarkScope::Identity(id) => format!("identity:{id}"),
        MarkScope::Agent(_, label) => format!("agent:{label}"),
        MarkScope::Owner(_, team) => format!("owner:{team}"),
        MarkScope::Issuer(_, issuer) => format!("issuer:{issuer}"),
        MarkScope::Server(_, server) => format!("server:{server}"),
        MarkScope::Tool(_, server, tool) => format!("tool:{server}:{tool}"),
        MarkScope::Tenant(_) => "tenant:".to_owned(),
        MarkScope::All => "all:".to_owned(),
    }
}

pub(crate) fn scope_from(tenant: &TenantId, text: &str) -> Option<MarkScope> {
    let (kind, rest) = text.split_once(':')?;
    Some(match kind {
        "token" => MarkScope::Token(TokenId::parse(tenant, rest).ok()?),
        "task" => MarkScope::Task(TaskId::parse(tenant, rest).ok()?),
        "identity" => MarkScope::Identity(IdentityId::parse(tenant, rest).ok()?),
        "agent" => MarkScope::Agent(tenant.clone(), AgentLabel::parse(rest).ok()?),
        "owner" => MarkScope::Owner(tenant.clone(), rest.to_owned()),
        "issuer" => MarkScope::Issuer(tenant.clone(), rest.to_owned()),
        "server" => MarkScope::Server(tenant.clone(), ServerName::parse(rest).ok()?),
        "tool" => {
            let (server, tool) = rest.split_once(':')?;
            MarkScope::Tool(
                tenant.clone(),
                ServerName::parse(server).ok()?,
                ToolName::parse(tool).ok()?,
            )
        }
        "tenant" if rest.is_empty() => MarkScope::Tenant(tenant.clone()),
        "all" if rest.is_empty() && *tenant == installation() => MarkScope::All,
        _ => return None,
    })
}

/// Every row, for the comparison with the log.
pub(crate) const ROWS: Rows = Rows {
    table: TABLE,
    sql: concat!("SELECT tenant, digest, ", columns!(), " FROM mark"),
    verify: |cells, _| from_row(cells).map(drop),
};

pub(crate) fn from_row(cells: Cells) -> Result<SetMark, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
    let mark = Mark {
        scope: f.word("scope", |s| scope_from(&tenant, s))?,
        effect: f.word("effect", MarkEffect::parse)?,
        epoch: Epoch(f.number("epoch")?),
    };
    let set = SetMark {
        mark,
        at: f.time("at")?,
    };
    whole(set, f.digest("digest")?)
}

/// Marks of a tenant; the mark on everything belongs to the installation.
pub struct Marks<'a, S>(pub(crate) &'a mut S);

impl<S: Source> Marks<'_, S> {
    /// The marks on exactly this scope: at most one of each effect.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lookup(&mut self, scope: &MarkScope) -> Result<Vec<SetMark>, StoreError> {
        let view = self.0.view();
        let tenant = tenant_of(scope);
        view.require(&tenant)?;
        let key = args![tenant.as_str(), scope_text(scope)];
        view.fetch(OF_SCOPE, key)
            .await?
            .into_iter()
            .map(from_row)
            .collect()
    }

    /// The newest marks of this view's tenant, the oldest of them first, and how many it has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn newest(&mut self, max: u32) -> Result<(Vec<SetMark>, u64), StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        let rows = view.fetch(NEWEST, args![tenant.as_str(), i64::from(max)]).await?;
        let marks = rows.into_iter().rev().map(from_row).collect::<Result<_, _>>()?;
        let rows = view.fetch(COUNT, args![tenant.as_str()]).await?;
        let mut f = Fields::of(TABLE, rows.into_iter().next().unwrap_or_default());
        Ok((marks, f.number("count")?))
    }
}

impl<S: Source> Marks<'_, S> {
    /// Who set a mark and why; `None` when there is no entry of it, or the key of its tenant was erased.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Seal`] also when the entry was altered.
    pub async fn order(&mut self, set: &SetMark) -> Result<Option<MarkOrder>, StoreError> {
        let view = self.0.view();
        let tenant = tenant_of(&set.mark.scope);
        view.require(&tenant)?;
        let command = command_of(set.mark.effect);
        let wanted = (scope_text(&set.mark.scope), set.mark.epoch.0);
        for sealed in view
            .at_instant(&tenant, &format!("state.{command}"), set.at, INSTANT_MAX)
            .await?
        {
            let opening = match view.open(sealed) {
                Ok(opening) => opening,
                Err(StoreError::Seal(SealError::NoKey(_))) => return Ok(None),
                Err(error) => return Err(error),
            };
            let payload = opening.value()?;
            let object = payload.pointer("/objects/0");
            let found =
                object.and_then(|o| Some((o.get("id")?.as_str()?, o.pointer("/after/epoch")?.as_u64()?)));
            if found != Some((wanted.0.as_str(), wanted.1)) {
                continue;
            }
            let text = |name| payload.get(name).and_then(Value::as_str).map(str::to_owned);
            return Ok(Some(MarkOrder {
                actor: text("actor").unwrap_or_default(),
                reason: text("reason"),
                index: opening.index,
            }));
        }
        Ok(None)
    }
}

impl Marks<'_, Tx> {
    /// Sets a mark: the epoch rises by one and the mark holds it. Setting it again sets it at the newer epoch.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set(
        &mut self,
        scope: MarkScope,
        effect: MarkEffect,
        reason: &str,
    ) -> Result<Epoch, StoreError> {
        let tenant = tenant_of(&scope);
        self.0.view.require(&tenant)?;
        let before = self
            .lookup(&scope)
            .await?
            .into_iter()
            .find(|m| m.mark.effect == effect);
        let epoch = Epoch(self.0.head.epoch).next();
        let set = SetMark {
            mark: Mark { scope, effect, epoch },
            at: self.0.now,
        };
        let (text, word) = (scope_text(&set.mark.scope), effect.as_str());
        let values = args![
            tenant.as_str(),
            text,
            word,
            signed(epoch.0),
            set.at,
            digest_of(&set)?
        ];
        self.0.write(PUT, values).await?;
        self.0.head.epoch = epoch.0;
        self.0
            .enter(
                command_of(effect),
                Some(reason),
                vec![object(before.as_ref(), Some(&set))?],
            )
            .await?;
        self.0.facts.push(Fact::Mark(set.mark));
        Ok(epoch)
    }

    /// Lifts everything on this scope that can be lifted. A kill stays. The epoch stays: this widens.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is nothing to lift on this scope.
    pub async fn lift(&mut self, scope: &MarkScope, reason: Option<&str>) -> Result<(), StoreError> {
        let tenant = tenant_of(scope);
        self.0.view.require(&tenant)?;
        let text = scope_text(scope);
        let mut objects = Vec::new();
        for before in self.lookup(scope).await? {
            let effect = before.mark.effect;
            if !effect.is_reversible() {
                continue;
            }
            let key = args![tenant.as_str(), text.as_str(), effect.as_str()];
            if self.0.write(DELETE, key).await? != 1 {
                return Err(StoreError::Conflict {
                    table: TABLE,
                    row: text,
                });
            }
            objects.push(object(Some(&before), None)?);
        }
        if objects.is_empty() {
            return Err(StoreError::Conflict {
                table: TABLE,
                row: text,
            });
        }
        self.0.enter("mark.lift", reason, objects).await?;
        self.0.facts.push(Fact::MarkLifted(scope.clone()));
        Ok(())
    }

    /// Raises the epoch over its present one and over `above`, and the floor to it: every token issued before is dead,
    /// also those of a time that this store does not know of. Every restore does this. The transaction must be the
    /// installation's.
    ///
    /// # Errors
    /// [`StoreError::OtherTenant`] in a transaction of a tenant.
    pub async fn raise_floor(&mut self, reason: &str, above: Epoch) -> Result<Epoch, StoreError> {
        self.0.view.require(&installation())?;
        let floor = Epoch(self.0.head.epoch).max(above).next();
        let before = self.0.head.floor;
        self.0.head.epoch = floor.0;
        self.0.head.floor = floor.0;
        // The writer writes the counters with the batch.
        self.0.changes += 1;
        let object = json!({
            "type": "epoch",
            "id": "epoch-floor",
            "before": { "floor": before },
            "after": { "floor": floor.0 },
        });
        self.0
            .enter("epoch.raise-floor", Some(reason), vec![object])
            .await?;
        self.0.facts.push(Fact::EpochFloor(floor));
        Ok(floor)
    }
}
