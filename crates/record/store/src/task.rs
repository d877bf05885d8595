//! Tasks and their grants.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{GrantId, IdentityId, ServerName, TaskId, TenantId, ToolName, Transition, json};
use bailiwick_credential::{Task, TaskState};
use bailiwick_decide::Fact;
use bailiwick_grant::{Condition, Grant, Literal, Operator, Rate, Scope};
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::page::Page;
use crate::row::{Cells, Fields, args};
use crate::stored::{Rows, Stored, column_bytes, digest_of, members, object, whole};
use crate::tx::{Source, Tx};

const TASK: &str = "task";
const GRANT: &str = "task_grant";
/// Bytes of a grant's scopes.
const SCOPES_MAX: usize = 256 * 1024;

macro_rules! task_columns {
    () => {
        "task.tenant, task.task, task.identity, task.purpose, task.requested_by, task.opens_at, task.closes_at, \
         task.closed_at, task.close_reason, task.may_act, task.digest"
    };
}
macro_rules! grant_columns {
    () => {
        "task_grant.grant_id, task_grant.identity, task_grant.scopes, task_grant.expires_at, task_grant.digest"
    };
}
macro_rules! columns {
    () => {
        concat!(task_columns!(), ", ", grant_columns!())
    };
}
macro_rules! joined {
    () => {
        " FROM task JOIN task_grant ON task_grant.tenant = task.tenant AND task_grant.task = task.task"
    };
}

const LOOKUP: &str = concat!(
    "SELECT ",
    columns!(),
    joined!(),
    " WHERE task.tenant = $1 AND task.task = $2"
);
const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    joined!(),
    " WHERE task.tenant = $1 AND task.task > $2 AND ($4 IS NULL OR task.identity = $4) \
     AND ($5 IS NULL OR (task.closed_at IS NULL AND task.closes_at > $5)) ORDER BY task.task LIMIT $3"
);
/// Tasks whose window ended before `$1` can decide nothing any more.
pub(crate) const EVERY: &str = concat!(
    "SELECT ",
    columns!(),
    joined!(),
    " WHERE task.closes_at >= $1 AND (task.closed_at IS NULL OR task.closed_at >= $1)"
);
pub(crate) const EVERY_OF: &str = concat!(
    "SELECT ",
    columns!(),
    joined!(),
    " WHERE task.tenant = $2 AND task.closes_at >= $1 AND (task.closed_at IS NULL OR task.closed_at >= $1)"
);
const INSERT_TASK: &str = "INSERT INTO task (tenant, task, identity, purpose, requested_by, opens_at, closes_at, \
                           closed_at, close_reason, may_act, digest) \
                           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
                           ON CONFLICT DO NOTHING";
const INSERT_GRANT: &str = "INSERT INTO task_grant (tenant, task, grant_id, identity, scopes, expires_at, digest) \
                            VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
const UPDATE_TASK: &str = "UPDATE task SET closes_at = $3, closed_at = $4, close_reason = $5, digest = $6 \
                           WHERE tenant = $1 AND task = $2 AND digest = $7";

impl Stored for Task {
    const TABLE: &'static str = TASK;

    fn document(&self) -> Value {
        let (closed_at, reason) = closed_parts(self);
        let mut document = json!({
            "tenant": self.id.tenant().as_str(),
            "id": self.id.to_string(),
            "identity": self.identity.to_string(),
            "purpose": self.purpose,
            "requested_by": self.requested_by,
            "opens_at": self.opens_at.micros(),
            "closes_at": self.closes_at.micros(),
            "closed_at": closed_at,
            "reason": reason,
        });
        // Left out where nobody may act: the digests of tasks from before this was known stay what they were.
        if let (false, Some(members)) = (self.may_act.is_empty(), document.as_object_mut()) {
            members.insert("may_act".to_owned(), json!(may_act_text(self)));
        }
        document
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn outline(&self) -> Map<String, Value> {
        let mut outline = members(json!({
            "identity": self.identity.to_string(),
            "opens_at": self.opens_at.micros(),
            "closes_at": self.closes_at.micros(),
            "closed_at": closed_parts(self).0,
        }));
        if !self.may_act.is_empty() {
            outline.insert("may_act".to_owned(), json!(may_act_text(self)));
        }
        outline
    }
}

fn may_act_text(task: &Task) -> String {
    let ids: Vec<String> = task.may_act.iter().map(ToString::to_string).collect();
    ids.join(" ")
}

fn may_act_from_text(tenant: &TenantId, text: &str) -> Option<Vec<IdentityId>> {
    text.split_terminator(' ')
        .map(|id| IdentityId::parse(tenant, id).ok())
        .collect()
}

fn closed_parts(task: &Task) -> (Option<i64>, Option<&str>) {
    match &task.state {
        TaskState::Open => (None, None),
        TaskState::Closed { at, reason } => (Some(at.micros()), Some(reason)),
    }
}

impl Stored for Grant {
    const TABLE: &'static str = "grant";

    fn document(&self) -> Value {
        json!({
            "tenant": self.id.tenant().as_str(),
            "id": self.id.to_string(),
            "task": self.task.to_string(),
            "identity": self.identity.to_string(),
            "scopes": self.scopes.iter().map(scope_to_json).collect::<Vec<_>>(),
            "expires_at": self.expires_at.micros(),
        })
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn outline(&self) -> Map<String, Value> {
        members(json!({
            "task": self.task.to_string(),
            "scopes": self.scopes.iter().map(scope_to_json).collect::<Vec<_>>(),
            "expires_at": self.expires_at.micros(),
        }))
    }
}

fn scope_to_json(scope: &Scope) -> Value {
    let condition = |c: &Condition| {
        let values: Vec<Value> = c.values.iter().map(literal_to_json).collect();
        json!({ "arg": c.arg, "operator": operator_word(c.operator), "values": values })
    };
    json!({
        "server": scope.server.as_str(),
        "action": scope.action.as_ref().map(ToolName::as_str),
        "conditions": scope.conditions.iter().map(condition).collect::<Vec<_>>(),
        "rate": scope.rate.map(|r| json!({
            "calls": r.calls,
            "window_ms": u64::try_from(r.window.as_millis()).unwrap_or(u64::MAX),
        })),
    })
}

const OPERATORS: [(Operator, &str); 5] = [
    (Operator::Equal, "="),
    (Operator::In, "in"),
    (Operator::AtLeast, ">="),
    (Operator::AtMost, "<="),
    (Operator::Under, "under"),
];

fn operator_word(operator: Operator) -> &'static str {
    OPERATORS
        .iter()
        .find(|(o, _)| *o == operator)
        .map_or("", |(_, word)| word)
}

/// Numbers go as text: a canonical JSON number keeps 53 bits only.
fn literal_to_json(literal: &Literal) -> Value {
    match literal {
        Literal::Bool(v) => json!({ "bool": v }),
        Literal::Decimal(v) => json!({ "decimal": v.to_string() }),
        Literal::Integer(v) => json!({ "integer": v.to_string() }),
        Literal::Text(v) => json!({ "text": v }),
    }
}

fn literal_from_json(value: &Value) -> Option<Literal> {
    let (kind, inner) = value.as_object().filter(|m| m.len() == 1)?.iter().next()?;
    match kind.as_str() {
        "bool" => inner.as_bool().map(Literal::Bool),
        "decimal" => inner.as_str()?.parse().ok().map(Literal::Decimal),
        "integer" => inner.as_str()?.parse().ok().map(Literal::Integer),
        "text" => inner.as_str().map(|t| Literal::Text(t.to_owned())),
        _ => None,
    }
}

fn condition_from_json(value: &Value) -> Option<Condition> {
    let word = value.get("operator")?.as_str()?;
    Some(Condition {
        arg: value.get("arg")?.as_str()?.to_owned(),
        operator: OPERATORS.iter().find(|(_, w)| *w == word).map(|(o, _)| *o)?,
        values: value
            .get("values")?
            .as_array()?
            .iter()
            .map(literal_from_json)
            .collect::<Option<_>>()?,
    })
}

fn scope_from_json(value: &Value) -> Option<Scope> {
    let action = match value.get("action")? {
        Value::Null => None,
        other => Some(ToolName::parse(other.as_str()?).ok()?),
    };
    let rate = match value.get("rate")? {
        Value::Null => None,
        other => Some(Rate {
            calls: u32::try_from(other.get("calls")?.as_u64()?).ok()?,
            window: Duration::from_millis(other.get("window_ms")?.as_u64()?),
        }),
    };
    Some(Scope {
        server: ServerName::parse(value.get("server")?.as_str()?).ok()?,
        action,
        conditions: value
            .get("conditions")?
            .as_array()?
            .iter()
            .map(condition_from_json)
            .collect::<Option<_>>()?,
        rate,
    })
}

fn scopes_from_bytes(bytes: &[u8]) -> Option<Vec<Scope>> {
    json::parse(bytes, SCOPES_MAX)
        .ok()?
        .as_array()?
        .iter()
        .map(scope_from_json)
        .collect()
}

/// Every row, for the comparison with the log.
pub(crate) const TASK_ROWS: Rows = Rows {
    table: TASK,
    sql: concat!("SELECT tenant, digest, ", task_columns!(), " FROM task"),
    verify: |cells, _| task_from(&mut Fields::of(TASK, cells)).map(drop),
};
/// The same of grants.
pub(crate) const GRANT_ROWS: Rows = Rows {
    table: <Grant as Stored>::TABLE,
    sql: concat!(
        "SELECT tenant, digest, tenant, task, ",
        grant_columns!(),
        " FROM task_grant"
    ),
    verify: |cells, _| {
        let mut f = Fields::of(GRANT, cells);
        let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
        let task = TaskId::from_parts(tenant, f.uuid("task")?);
        grant_from(&mut f, task).map(drop)
    },
};

pub(crate) fn from_row(cells: Cells) -> Result<(Task, Grant), StoreError> {
    let mut f = Fields::of(TASK, cells);
    let task = task_from(&mut f)?;
    let grant = grant_from(&mut f, task.id.clone())?;
    Ok((task, grant))
}

fn task_from(f: &mut Fields) -> Result<Task, StoreError> {
    let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
    let task = Task {
        id: TaskId::from_parts(tenant.clone(), f.uuid("task")?),
        identity: IdentityId::from_parts(tenant.clone(), f.uuid("identity")?),
        purpose: f.text("purpose")?,
        requested_by: f.text("requested_by")?,
        opens_at: f.time("opens_at")?,
        closes_at: f.time("closes_at")?,
        state: TaskState::Open,
        may_act: Vec::new(),
    };
    let state = match (f.int_or_null("closed_at")?, f.text_or_null("close_reason")?) {
        (None, None) => TaskState::Open,
        (Some(at), Some(reason)) => TaskState::Closed {
            at: bailiwick_base::Time::from_micros(at),
            reason,
        },
        _ => return Err(f.corrupt("closed_at")),
    };
    let may_act = f.word("may_act", |text| may_act_from_text(&tenant, text))?;
    let task = Task {
        state,
        may_act,
        ..task
    };
    whole(task, f.digest("digest")?)
}

fn grant_from(f: &mut Fields, task: TaskId) -> Result<Grant, StoreError> {
    let tenant = task.tenant().clone();
    let grant = Grant {
        id: GrantId::from_parts(tenant.clone(), f.uuid("grant_id")?),
        task,
        identity: IdentityId::from_parts(tenant, f.uuid("grant.identity")?),
        scopes: f
            .bytes("scopes")
            .and_then(|b| scopes_from_bytes(&b).ok_or_else(|| f.corrupt("scopes")))?,
        expires_at: f.time("grant.expires_at")?,
    };
    whole(grant, f.digest("grant.digest")?)
}

/// Which tasks of a tenant.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// Of this identity.
    pub identity: Option<IdentityId>,
    /// Only those that are open at this time: neither closed nor past their end.
    pub open_at: Option<bailiwick_base::Time>,
}

/// Tasks of a tenant.
pub struct Tasks<'a, S>(pub(crate) &'a mut S);

impl<S: Source> Tasks<'_, S> {
    /// A task and its grant.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lookup(&mut self, id: &TaskId) -> Result<Option<(Task, Grant)>, StoreError> {
        let view = self.0.view();
        view.require(id.tenant())?;
        let rows = view.fetch(LOOKUP, args![id.tenant().as_str(), id.uuid()]).await?;
        rows.into_iter().next().map(from_row).transpose()
    }

    /// A page of tasks, in the order of ids.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&mut self, filter: &TaskFilter, page: Page) -> Result<Vec<(Task, Grant)>, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        let mut values = args![tenant.as_str()];
        values.extend(page.args()?);
        values.extend(args![
            filter.identity.as_ref().map(bailiwick_base::Id::uuid),
            filter.open_at.map(bailiwick_base::Time::micros),
        ]);
        view.fetch(LIST, values)
            .await?
            .into_iter()
            .map(from_row)
            .collect()
    }
}

impl Tasks<'_, Tx> {
    /// Writes a new task and its grant: one entry.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] when the task or the grant exists, [`StoreError::Limit`] for a grant that is
    /// too large.
    pub async fn open(&mut self, t: Transition<Task>, grant: Grant) -> Result<(), StoreError> {
        let (task, tenant) = (t.after, self.0.view.home());
        for id in [
            task.id.tenant(),
            task.identity.tenant(),
            grant.id.tenant(),
            grant.task.tenant(),
        ] {
            self.0.view.require(id)?;
        }
        if grant.task != task.id || grant.identity != task.identity || t.before.is_some() {
            return Err(StoreError::Conflict {
                table: TASK,
                row: task.id.to_string(),
            });
        }
        let scopes: Vec<Value> = grant.scopes.iter().map(scope_to_json).collect();
        let scopes = column_bytes((GRANT, "scopes"), &grant.id, &scopes)?;
        if scopes.len() > SCOPES_MAX {
            let found = u64::try_from(scopes.len()).unwrap_or(u64::MAX);
            return Err(StoreError::Limit {
                what: "bytes of the grant",
                found,
                max: SCOPES_MAX as u64,
            });
        }
        let (closed_at, reason) = closed_parts(&task);
        let row = args![
            tenant.as_str(),
            task.id.uuid(),
            task.identity.uuid(),
            task.purpose.as_str(),
            task.requested_by.as_str(),
            task.opens_at,
            task.closes_at,
            closed_at,
            reason,
            may_act_text(&task),
            digest_of(&task)?,
        ];
        if self.0.write(INSERT_TASK, row).await? == 0 {
            return Err(StoreError::Duplicate {
                table: TASK,
                field: "id",
            });
        }
        let row = args![
            tenant.as_str(),
            task.id.uuid(),
            grant.id.uuid(),
            grant.identity.uuid(),
            scopes,
            grant.expires_at,
            digest_of(&grant)?,
        ];
        if self.0.write(INSERT_GRANT, row).await? == 0 {
            return Err(StoreError::Duplicate {
                table: GRANT,
                field: "id",
            });
        }
        let objects = vec![object(None, Some(&task))?, object(None, Some(&grant))?];
        self.0.enter(t.command, t.reason.as_deref(), objects).await?;
        self.0.facts.push(Fact::Task(Arc::new(task), Arc::new(grant)));
        Ok(())
    }

    /// Writes a change of a task: its end or its state, nothing else changes.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it was changed meanwhile or something else differs,
    /// [`StoreError::Unchanged`].
    pub async fn apply(&mut self, t: Transition<Task>) -> Result<(), StoreError> {
        let (id, row) = (t.after.id.clone(), t.after.id.to_string());
        let conflict = StoreError::Conflict {
            table: TASK,
            row: row.clone(),
        };
        let (Some(before), Some((_, grant))) = (&t.before, self.lookup(&id).await?) else {
            return Err(conflict);
        };
        let (was, is) = (digest_of(before)?, digest_of(&t.after)?);
        if was == is {
            return Err(StoreError::Unchanged { table: TASK, row });
        }
        let same = Task {
            state: t.after.state.clone(),
            closes_at: t.after.closes_at,
            ..before.clone()
        } == t.after;
        let (closed_at, reason) = closed_parts(&t.after);
        let values = args![
            id.tenant().as_str(),
            id.uuid(),
            t.after.closes_at,
            closed_at,
            reason,
            is,
            was
        ];
        if !same || self.0.write(UPDATE_TASK, values).await? == 0 {
            return Err(conflict);
        }
        let objects = vec![object(Some(before), Some(&t.after))?];
        self.0.enter(t.command, t.reason.as_deref(), objects).await?;
        self.0.facts.push(Fact::Task(Arc::new(t.after), Arc::new(grant)));
        Ok(())
    }
}
