//! `/v1/tenants/{tenant}/marks` and `/v1/all-tenants/marks`: what is stopped right now.

use axum::Json;
use axum::extract::State;
use bailiwick_base::{Digest, TenantId};
use bailiwick_decide::{Mark, MarkScope, Snapshot};
use bailiwick_inventory::installation;
use bailiwick_store::{Reach, Tx};
use bailiwick_wire as wire;

use crate::Deps;
use crate::command::{CommandError, answer, store_error};
use crate::effective::scope_in_words;
use crate::problem::RouteError;
use crate::query::Path;
use crate::session::Session;

/// Marks of one answer.
const MARKS_MAX: u32 = 1_000;

/// The marks of a tenant, and those of the installation, which stop it as well.
pub(crate) async fn of_tenant(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    _: Session,
) -> Result<Json<wire::Page<wire::Mark>>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    listed(&deps, std::slice::from_ref(&tenant)).await
}

/// Reading every tenant's stops is an act of its own and leaves its own entry.
pub(crate) async fn of_all(
    State(deps): State<Deps>,
    session: Session,
) -> Result<Json<wire::Page<wire::Mark>>, RouteError> {
    let context = deps.context(&session, Reach::DangerAllTenants, Digest::default())?;
    deps.store
        .transact(context, async move |_: &mut Tx| answer(&()))
        .await
        .map_err(|e: CommandError| RouteError::from(e))?;
    let snapshot = deps.cell.load();
    let tenants: Vec<TenantId> = snapshot.tenants().map(|(t, _)| t.id.clone()).collect();
    listed(&deps, &tenants).await
}

/// Those of the installation and of `tenants`: the newest of each, for clients end tokens of their own and leave a mark
/// behind each; and how many there are.
async fn listed(deps: &Deps, tenants: &[TenantId]) -> Result<Json<wire::Page<wire::Mark>>, RouteError> {
    let (mut items, mut total) = (Vec::new(), 0);
    for tenant in [None].into_iter().chain(tenants.iter().map(Some)) {
        let left = MARKS_MAX.saturating_sub(u32::try_from(items.len()).unwrap_or(u32::MAX));
        let (found, count) = marks(deps, tenant, left).await?;
        items.extend(found);
        total += count;
    }
    Ok(Json(wire::Page {
        items,
        total,
        next: None,
    }))
}

async fn marks(
    deps: &Deps,
    tenant: Option<&TenantId>,
    max: u32,
) -> Result<(Vec<wire::Mark>, u64), RouteError> {
    let reach = tenant.map_or(Reach::Installation, Reach::from);
    let snapshot = deps.cell.load();
    let mut reader = deps.store.reader(reach).await.map_err(|e| store_error(&e))?;
    let mut items = Vec::new();
    let (found, mut count) = reader.mark().newest(max).await.map_err(|e| store_error(&e))?;
    for set in found {
        let order = reader.mark().order(&set).await.map_err(|e| store_error(&e))?;
        let mut item = to_wire(&snapshot, tenant, &set.mark);
        item.since = Some(set.at.to_string());
        if let Some(order) = order {
            item.by_name = operator_name(deps, &order.actor);
            (item.by, item.reason, item.index) = (Some(order.actor), order.reason, Some(order.index));
        }
        items.push(item);
    }
    for mark in snapshot
        .uncommitted()
        .filter(|m| owner_of(&m.scope).as_ref() == tenant)
    {
        let mut item = to_wire(&snapshot, tenant, mark);
        item.reason = Some("in force on this node; not in the state log yet".to_owned());
        items.push(item);
        count += 1;
    }
    Ok((items, count))
}

pub(super) fn operator_name(deps: &Deps, actor: &str) -> Option<String> {
    let operators = deps.operators.load();
    let found = operators
        .iter()
        .find(|operator| actor.ends_with(&operator.id.to_string()));
    found.map(|operator| operator.name.clone())
}

fn owner_of(scope: &MarkScope) -> Option<TenantId> {
    match crate::stop::reach_of(scope) {
        Reach::Tenant(tenant) if tenant != installation() => Some(tenant),
        _ => None,
    }
}

fn to_wire(snapshot: &Snapshot, tenant: Option<&TenantId>, mark: &Mark) -> wire::Mark {
    let name = match &mark.scope {
        MarkScope::Identity(id) => snapshot.identity(id).map(|i| i.name.clone()),
        MarkScope::Task(id) => snapshot.task(id).map(|(t, _)| t.purpose.clone()),
        _ => None,
    };
    wire::Mark {
        tenant: tenant.map(ToString::to_string),
        scope: scope_in_words(&mark.scope),
        name,
        effect: mark.effect.as_str().to_owned(),
        does: super::kill::level_of(mark.effect).does().to_owned(),
        reversible: mark.effect.is_reversible(),
        since: None,
        epoch: mark.epoch.0,
        by: None,
        by_name: None,
        reason: None,
        index: None,
    }
}
