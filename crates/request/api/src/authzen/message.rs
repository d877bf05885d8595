//! AuthZEN 1.0 messages: parsed strictly where the text says required, tolerant where it says unknown fields
//! are ignored.

use bailiwick_base::{IdentityId, TaskId, TenantId};
use bailiwick_decide::{Named, NamedEntity, Principal, Target};
use serde_json::{Map, Value};

use crate::problem::RouteError;

/// Items of one batch.
const BATCH_MAX: usize = 1_024;
/// What the items of one batch may take of one shared member, all together: bytes of text, and
/// [`VALUE_WEIGHT`] for each value.
const SHARED_MAX: usize = 4 * 1024 * 1024;
/// What a JSON value weighs beside its text: in memory a short one is much larger than its text.
const VALUE_WEIGHT: usize = 64;
/// The members that an item takes from the request when it has none of its own.
const SHARED: [&str; 4] = ["action", "context", "resource", "subject"];

/// How a batch is run (AuthZEN 1.0, evaluations semantics).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Semantic {
    DenyOnFirstDeny,
    ExecuteAll,
    PermitOnFirstPermit,
}

/// One evaluation, ready to become a call.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) principal: Principal,
    pub(crate) target: Target,
}

/// A batch.
pub(crate) struct Questions {
    pub(crate) items: Vec<Question>,
    pub(crate) semantic: Semantic,
    /// Whether the request had `evaluations`, so that the answer has them too.
    pub(crate) batch: bool,
}

fn missing(field: &str) -> RouteError {
    RouteError::invalid(
        "authzen.field-missing",
        format!("`{field}` is missing or not of its type"),
    )
}

/// Reads `evaluation`.
pub(crate) fn question(body: &Value, tenant: &TenantId, pep: &IdentityId) -> Result<Question, RouteError> {
    let members = body.as_object().ok_or_else(|| missing("body"))?;
    build(members, &Map::new(), tenant, pep)
}

/// Reads `evaluations`; without items it is a single one.
pub(crate) fn questions(body: &Value, tenant: &TenantId, pep: &IdentityId) -> Result<Questions, RouteError> {
    let defaults = body.as_object().ok_or_else(|| missing("body"))?;
    let empty = Vec::new();
    let items = match defaults.get("evaluations") {
        None => &empty,
        Some(Value::Array(items)) => items,
        Some(_) => return Err(missing("evaluations")),
    };
    if items.len() > BATCH_MAX {
        let detail = format!(
            "{} evaluations are more than the {BATCH_MAX} of one batch",
            items.len()
        );
        return Err(RouteError::invalid("authzen.batch-too-large", detail));
    }
    let semantic = semantic(defaults)?;
    if items.is_empty() {
        let single = build(defaults, &Map::new(), tenant, pep)?;
        return Ok(Questions {
            items: vec![single],
            semantic,
            batch: false,
        });
    }
    require_bounded(items, defaults)?;
    let items = items
        .iter()
        .map(|item| {
            build(
                item.as_object().ok_or_else(|| missing("evaluations[]"))?,
                defaults,
                tenant,
                pep,
            )
        })
        .collect::<Result<_, _>>()?;
    Ok(Questions {
        items,
        semantic,
        batch: true,
    })
}

/// Every item that takes a shared member gets a copy of it, so the copies are counted before the first is made.
fn require_bounded(items: &[Value], defaults: &Map<String, Value>) -> Result<(), RouteError> {
    for name in SHARED {
        let Some(shared) = defaults.get(name) else {
            continue;
        };
        let takers = items.iter().filter(|item| item.get(name).is_none()).count();
        let weight = weight(shared);
        if takers.saturating_mul(weight) > SHARED_MAX {
            let each = SHARED_MAX / takers.max(1);
            let detail = format!(
                "`{name}` is shared by {takers} evaluations and weighs {weight} bytes (its text, and \
                 {VALUE_WEIGHT} for each value); {takers} may share {each}: make it smaller, or send fewer \
                 evaluations at a time"
            );
            return Err(RouteError::invalid("authzen.batch-too-large", detail));
        }
    }
    Ok(())
}

/// The text of a value and of all inside it, and [`VALUE_WEIGHT`] for each.
fn weight(value: &Value) -> usize {
    let mut sum = 0_usize;
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        let text = match value {
            Value::String(text) => text.len(),
            Value::Array(items) => {
                open.extend(items);
                0
            }
            Value::Object(members) => {
                open.extend(members.values());
                members.keys().map(String::len).sum()
            }
            Value::Bool(_) | Value::Null | Value::Number(_) => 0,
        };
        sum = sum.saturating_add(text).saturating_add(VALUE_WEIGHT);
    }
    sum
}

fn semantic(defaults: &Map<String, Value>) -> Result<Semantic, RouteError> {
    let named = defaults
        .get("options")
        .and_then(|o| o.get("evaluations_semantic"));
    match named.map(Value::as_str) {
        None | Some(Some("execute_all")) => Ok(Semantic::ExecuteAll),
        Some(Some("deny_on_first_deny")) => Ok(Semantic::DenyOnFirstDeny),
        Some(Some("permit_on_first_permit")) => Ok(Semantic::PermitOnFirstPermit),
        Some(_) => Err(RouteError::invalid(
            "authzen.semantic",
            "`options.evaluations_semantic` is none of execute_all, deny_on_first_deny, permit_on_first_permit",
        )),
    }
}

fn build(
    item: &Map<String, Value>,
    defaults: &Map<String, Value>,
    tenant: &TenantId,
    pep: &IdentityId,
) -> Result<Question, RouteError> {
    let member = |name: &str| item.get(name).or_else(|| defaults.get(name));
    let subject = entity(member("subject"), "subject")?;
    let resource = entity(member("resource"), "resource")?;
    let action = member("action")
        .and_then(Value::as_object)
        .ok_or_else(|| missing("action"))?;
    let name = text(action, "name").ok_or_else(|| missing("action.name"))?;
    let mut context = match member("context") {
        None => Map::new(),
        Some(Value::Object(context)) => context.clone(),
        Some(_) => return Err(missing("context")),
    };
    let task = match context.remove("task") {
        None => None,
        Some(Value::String(id)) => Some(
            TaskId::parse(tenant, &id)
                .map_err(|e| RouteError::invalid("authzen.task", format!("`context.task`: {e}")))?,
        ),
        Some(_) => return Err(missing("context.task")),
    };
    Ok(Question {
        principal: Principal::Named(Named {
            subject,
            task,
            pep: pep.clone(),
        }),
        target: Target::Named {
            action: name,
            action_properties: properties(action, "action")?,
            resource,
            context,
        },
    })
}

fn entity(value: Option<&Value>, field: &str) -> Result<NamedEntity, RouteError> {
    let members = value.and_then(Value::as_object).ok_or_else(|| missing(field))?;
    Ok(NamedEntity {
        kind: text(members, "type").ok_or_else(|| missing(&format!("{field}.type")))?,
        id: text(members, "id").ok_or_else(|| missing(&format!("{field}.id")))?,
        properties: properties(members, field)?,
    })
}

fn properties(members: &Map<String, Value>, field: &str) -> Result<Map<String, Value>, RouteError> {
    match members.get("properties") {
        None => Ok(Map::new()),
        Some(Value::Object(properties)) => Ok(properties.clone()),
        Some(_) => Err(missing(&format!("{field}.properties"))),
    }
}

fn text(members: &Map<String, Value>, name: &str) -> Option<String> {
    members.get(name).and_then(Value::as_str).map(str::to_owned)
}
