//! Counts again, at start, what the rates of open tasks had counted before: from the decision log.

use std::collections::BTreeMap;
use std::time::Duration;

use bailiwick_audit::entry::Kind;
use bailiwick_base::{DecisionId, IdentityId, Sealer, ServerName, TaskId, TenantId, Time};
use bailiwick_decide::{Arguments, Call, Door, ItemKind, Principal, Snapshot, Target};
use bailiwick_journal::payload::HTTP;
use bailiwick_journal::{DecisionLog, JournalError, LogEntry};
use bailiwick_pep::Pep;
use serde_json::{Map, Value};

use crate::authzen::named;

/// Newest entries of the log that are looked at. Windows that began before them count as full.
const ENTRIES_MAX: u64 = 4 << 20;
/// Entries of one flush may stand in another order than their times.
const DISORDER: Duration = Duration::from_secs(1);

/// Whose rates look back how far, by the tenant's reference.
type Reach = BTreeMap<String, (TenantId, Duration)>;

/// Counts the permits of every window that is still open.
///
/// # Errors
/// [`JournalError`] when the log cannot be read.
pub fn recount_rates(
    pep: &Pep,
    log: &DecisionLog,
    sealer: &dyn Sealer,
    now: Time,
) -> Result<(), JournalError> {
    let reach = reach(&pep.cell().load());
    let Some(longest) = reach.values().map(|(_, window)| *window).max() else {
        return Ok(());
    };
    let (mut first, mut unreadable) = (None, 0_u64);
    let is_cut = log.recall(now.before(longest + DISORDER), ENTRIES_MAX, |entry| {
        let leaf = entry.leaf()?;
        let at = Time::from_micros(i64::try_from(leaf.at).unwrap_or(i64::MAX));
        first.get_or_insert(at);
        let Some((tenant, window)) = reach.get(leaf.tenant_ref) else {
            return Ok(());
        };
        if leaf.kind == Kind::DECISION
            && at > now.before(*window)
            && count(pep, entry, sealer, tenant, at).is_none()
        {
            unreadable += 1;
            pep.forget_until(at);
        }
        Ok::<_, JournalError>(())
    })?;
    if is_cut {
        pep.forget_until(first.unwrap_or(now));
    }
    if is_cut || unreadable > 0 {
        tracing::warn!(
            unreadable,
            entries_max = ENTRIES_MAX,
            "not every call before the start could be counted; rates that look back so far refuse until their window has passed"
        );
    }
    Ok(())
}

/// How far any rate of an open task looks back.
pub(crate) fn longest(snapshot: &Snapshot) -> Option<Duration> {
    let longest = reach(snapshot).values().map(|(_, window)| *window).max();
    longest.map(|window| window + DISORDER)
}

fn reach(snapshot: &Snapshot) -> Reach {
    let mut reach = Reach::new();
    for (tenant, _) in snapshot.tenants() {
        let scopes = snapshot.tasks(&tenant.id).flat_map(|(_, grant)| &grant.scopes);
        if let Some(window) = scopes.filter_map(|scope| Some(scope.rate?.window)).max() {
            reach.insert(tenant.reference.clone(), (tenant.id.clone(), window));
        }
    }
    reach
}

/// `None` when the entry cannot be read; a call that no rate counts is read.
fn count(pep: &Pep, entry: &LogEntry, sealer: &dyn Sealer, tenant: &TenantId, at: Time) -> Option<()> {
    let payload = entry.open(sealer, Some(tenant)).ok()?;
    let payload: Map<String, Value> = serde_json::from_slice(&payload).ok()?;
    let text = |name: &str| payload.get(name).and_then(Value::as_str);
    let is_counted = text("effect")? == "permit" && text("door")? != Door::Check.as_str();
    let Some(task) = text("task").filter(|_| is_counted) else {
        return Some(());
    };
    let task = TaskId::parse(tenant, task).ok()?;
    let Some(target) = target(&payload) else {
        pep.recall_unnamed(&task, at);
        return Some(());
    };
    let caller = text("nhi").or_else(|| text("pep"))?;
    let call = Call {
        id: DecisionId::parse(tenant, text("decision")?).ok()?,
        door: Door::Gateway,
        principal: Principal::Identity {
            id: IdentityId::parse(tenant, caller).ok()?,
            task: Some(task),
        },
        target,
        arguments: Arguments::default(),
        rates: Default::default(),
    };
    pep.recall(&call, at);
    Some(())
}

/// What was called; `None` when a name was too long to be recorded.
fn target(payload: &Map<String, Value>) -> Option<Target> {
    let action = payload.get("action")?.as_str()?.to_owned();
    let resource = match payload.get("resource") {
        Some(resource) => Some((resource.get("type")?.as_str()?, resource.get("id")?.as_str()?)),
        None => None,
    };
    if let (Some(server), Some((HTTP, place))) = (payload.get("server"), resource) {
        return Some(Target::Http {
            server: ServerName::parse(server.as_str()?).ok(),
            method: action,
            place: place.to_owned(),
        });
    }
    if let Some(server) = payload.get("server") {
        let item = match resource {
            Some((kind, id)) => Some((item_kind(kind)?, id.to_owned())),
            None => None,
        };
        return Some(Target::Mcp {
            server: ServerName::parse(server.as_str()?).ok()?,
            method: action,
            item,
        });
    }
    let (kind, id) = resource?;
    Some(named(&action, kind, id))
}

fn item_kind(text: &str) -> Option<ItemKind> {
    Some(match text {
        "prompt" => ItemKind::Prompt,
        "resource" => ItemKind::Resource,
        "tool" => ItemKind::Tool,
        _ => return None,
    })
}
