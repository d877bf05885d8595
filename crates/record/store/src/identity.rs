//! Identities.

use std::sync::Arc;

use bailiwick_base::{AgentLabel, IdentityId, TenantId, Transition};
use bailiwick_decide::Fact;
use bailiwick_inventory::{Identity, Kind, Labels, Origin, Owner, State};
use serde_json::{Map, Value, json};

use crate::composition;
use crate::error::StoreError;
use crate::page::Page;
use crate::row::{Arg, Cells, Fields, args};
use crate::stored::{Rows, Stored, digest_of, members, object, whole};
use crate::tx::{Source, Tx};

pub(crate) const TABLE: &str = "identity";

macro_rules! columns {
    () => {
        "tenant, identity, kind, name, platform, owner_team, owner_contact, application, purpose, agent, \
         workflow, origin, state, was_active, state_reason, created_at, expires_at, changed_at, composition, digest"
    };
}

const LOOKUP: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM identity WHERE tenant = $1 AND identity = $2"
);
const BY_NAME: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM identity WHERE tenant = $1 AND name = $2 AND state <> 'retired'"
);
const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM identity WHERE tenant = $1 AND identity > $2 AND ($4 IS NULL OR kind = $4) \
     AND ($5 IS NULL OR state = $5) AND ($6 IS NULL OR agent = $6) AND ($7 IS NULL OR owner_team = $7) \
     ORDER BY identity LIMIT $3"
);
pub(crate) const EVERY: &str = concat!("SELECT ", columns!(), " FROM identity");
pub(crate) const EVERY_OF: &str = concat!("SELECT ", columns!(), " FROM identity WHERE tenant = $1");
const INSERT: &str = concat!(
    "INSERT INTO identity (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) \
     ON CONFLICT DO NOTHING"
);
const UPDATE: &str = "UPDATE identity SET kind = $3, name = $4, platform = $5, owner_team = $6, owner_contact = $7, \
                      application = $8, purpose = $9, agent = $10, workflow = $11, origin = $12, state = $13, \
                      was_active = $14, state_reason = $15, created_at = $16, expires_at = $17, changed_at = $18, \
                      composition = $19, digest = $20 WHERE tenant = $1 AND identity = $2 AND digest = $21";

impl Stored for Identity {
    const TABLE: &'static str = TABLE;

    fn document(&self) -> Value {
        let (was_active, reason) = state_parts(&self.state);
        let mut document = members(json!({
            "tenant": self.id.tenant().as_str(),
            "id": self.id.to_string(),
            "kind": self.kind.as_str(),
            "name": self.name,
            "platform": self.platform,
            "owner": { "team": self.owner.team, "contact": self.owner.contact },
            "application": self.application,
            "purpose": self.purpose,
            "labels": {
                "agent": self.labels.agent.as_ref().map(AgentLabel::as_str),
                "workflow": self.labels.workflow,
            },
            "origin": self.origin.as_str(),
            "state": self.state.as_str(),
            "was_active": was_active,
            "reason": reason,
            "created_at": self.created_at.micros(),
            "expires_at": self.expires_at.micros(),
            "changed_at": self.changed_at.micros(),
        }));
        // Absent where none is declared: rows of before the column keep their digest.
        if let Some(composed) = &self.composition {
            document.insert("composition".to_owned(), composition::document(composed));
        }
        Value::Object(document)
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    /// What a recount needs, and what it is made of.
    fn outline(&self) -> Map<String, Value> {
        let mut outline = members(json!({
            "kind": self.kind.as_str(),
            "origin": self.origin.as_str(),
            "state": self.state.as_str(),
        }));
        if let Some(composed) = &self.composition {
            outline.insert("composition".to_owned(), composition::outline(&composed.present));
        }
        outline
    }
}

/// The two columns beside the word of a state.
fn state_parts(state: &State) -> (Option<i64>, Option<&str>) {
    match state {
        State::Probation | State::Active => (None, None),
        State::Suspended { was_active, reason } => (Some(i64::from(*was_active)), Some(reason)),
        State::Retired { reason } => (None, Some(reason)),
    }
}

fn state_from(word: &str, was_active: Option<i64>, reason: Option<String>) -> Option<State> {
    match (word, was_active, reason) {
        ("probation", None, None) => Some(State::Probation),
        ("active", None, None) => Some(State::Active),
        ("suspended", Some(was @ (0 | 1)), Some(reason)) => Some(State::Suspended {
            was_active: was == 1,
            reason,
        }),
        ("retired", None, Some(reason)) => Some(State::Retired { reason }),
        _ => None,
    }
}

/// Every row, for the comparison with the log.
pub(crate) const ROWS: Rows = Rows {
    table: TABLE,
    sql: concat!("SELECT tenant, digest, ", columns!(), " FROM identity"),
    verify: |cells, _| from_row(cells).map(drop),
};

pub(crate) fn from_row(cells: Cells) -> Result<Identity, StoreError> {
    let mut f = Fields::of(TABLE, cells);
    let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
    let id = IdentityId::from_parts(tenant, f.uuid("identity")?);
    let kind = f.word("kind", Kind::parse)?;
    let name = f.text("name")?;
    let platform = f.text("platform")?;
    let owner = Owner {
        team: f.text("owner_team")?,
        contact: f.text("owner_contact")?,
    };
    let application = f.text_or_null("application")?;
    let purpose = f.text("purpose")?;
    let agent = f.text_or_null("agent")?;
    let agent = agent
        .map(|a| AgentLabel::parse(&a).map_err(|_| f.corrupt("agent")))
        .transpose()?;
    let labels = Labels {
        agent,
        workflow: f.text_or_null("workflow")?,
    };
    let origin = f.word("origin", Origin::parse)?;
    let word = f.text("state")?;
    let (was_active, reason) = (f.int_or_null("was_active")?, f.text_or_null("state_reason")?);
    let state = state_from(&word, was_active, reason).ok_or_else(|| f.corrupt("state"))?;
    let (created_at, expires_at, changed_at) = (
        f.time("created_at")?,
        f.time("expires_at")?,
        f.time("changed_at")?,
    );
    let composition = f.bytes_or_null("composition")?;
    let composition = composition
        .map(|bytes| composition::read(&bytes).ok_or_else(|| f.corrupt("composition")))
        .transpose()?;
    let identity = Identity {
        id,
        kind,
        name,
        platform,
        owner,
        application,
        purpose,
        labels,
        origin,
        state,
        composition,
        created_at,
        expires_at,
        changed_at,
    };
    whole(identity, f.digest("digest")?)
}

fn to_row(i: &Identity) -> Result<Vec<Arg>, StoreError> {
    let (was_active, reason) = state_parts(&i.state);
    Ok(args![
        i.id.tenant().as_str(),
        i.id.uuid(),
        i.kind.as_str(),
        i.name.as_str(),
        i.platform.as_str(),
        i.owner.team.as_str(),
        i.owner.contact.as_str(),
        i.application.as_deref(),
        i.purpose.as_str(),
        i.labels.agent.as_ref().map(AgentLabel::as_str),
        i.labels.workflow.as_deref(),
        i.origin.as_str(),
        i.state.as_str(),
        was_active,
        reason,
        i.created_at,
        i.expires_at,
        i.changed_at,
        i.composition.as_ref().map(composition::to_bytes).transpose()?,
        digest_of(i)?,
    ])
}

/// Which identities of a tenant.
#[derive(Debug, Clone, Default)]
pub struct IdentityFilter {
    /// Of this kind.
    pub kind: Option<Kind>,
    /// In this state (its stable text).
    pub state: Option<&'static str>,
    /// Of this logical agent.
    pub agent: Option<AgentLabel>,
    /// Of this owner (team).
    pub owner: Option<String>,
}

/// Identities of a tenant.
pub struct Identities<'a, S>(pub(crate) &'a mut S);

impl<S: Source> Identities<'_, S> {
    /// An identity.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lookup(&mut self, id: &IdentityId) -> Result<Option<Identity>, StoreError> {
        let view = self.0.view();
        view.require(id.tenant())?;
        let rows = view.fetch(LOOKUP, args![id.tenant().as_str(), id.uuid()]).await?;
        rows.into_iter().next().map(from_row).transpose()
    }

    /// The living identity with this name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_by_name(&mut self, name: &str) -> Result<Option<Identity>, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        let rows = view.fetch(BY_NAME, args![tenant.as_str(), name]).await?;
        rows.into_iter().next().map(from_row).transpose()
    }

    /// A page of identities, in the order of ids.
    ///
    /// # Errors
    /// [`StoreError::Limit`] for a page of 0 or more than 1,000.
    pub async fn list(&mut self, filter: &IdentityFilter, page: Page) -> Result<Vec<Identity>, StoreError> {
        let view = self.0.view();
        let tenant = view.home();
        let mut values = args![tenant.as_str()];
        values.extend(page.args()?);
        values.extend(args![
            filter.kind.map(Kind::as_str),
            filter.state,
            filter.agent.as_ref().map(AgentLabel::as_str),
            filter.owner.as_deref(),
        ]);
        view.fetch(LIST, values)
            .await?
            .into_iter()
            .map(from_row)
            .collect()
    }
}

impl Identities<'_, Tx> {
    /// Writes a transition and its entry.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] for a name that a living identity has, [`StoreError::Conflict`] when the
    /// identity was changed meanwhile, [`StoreError::Unchanged`].
    pub async fn apply(&mut self, t: Transition<Identity>) -> Result<(), StoreError> {
        self.0.view.require(t.after.id.tenant())?;
        let mut values = to_row(&t.after)?;
        match &t.before {
            None => {
                if self.0.write(INSERT, values).await? == 0 {
                    return Err(StoreError::Duplicate {
                        table: TABLE,
                        field: "name",
                    });
                }
            }
            Some(before) => {
                let row = t.after.id.to_string();
                if before.id != t.after.id {
                    return Err(StoreError::Conflict { table: TABLE, row });
                }
                let was = digest_of(before)?;
                if was == digest_of(&t.after)? {
                    return Err(StoreError::Unchanged { table: TABLE, row });
                }
                values.extend(args![was]);
                if self.0.write(UPDATE, values).await? == 0 {
                    return Err(StoreError::Conflict { table: TABLE, row });
                }
            }
        }
        let objects = vec![object(t.before.as_ref(), Some(&t.after))?];
        self.0.enter(t.command, t.reason.as_deref(), objects).await?;
        self.0.facts.push(Fact::Identity(Arc::new(t.after)));
        Ok(())
    }
}
