//! `/v1/tenants/{tenant}/count` and `/v1/all-tenants/count`

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use bailiwick_base::{Digest, Time};
use bailiwick_inventory::{self as inventory, Count, Kind, Origin, States};
use bailiwick_store::{At, Counted, Reach, Tx};
use bailiwick_wire as wire;
use serde::Deserialize;

use crate::Deps;
use crate::command::{CommandError, answer, store_error};
use crate::effective::{View, held_back};
use crate::problem::RouteError;
use crate::query::{Path, Query};
use crate::session::Session;

/// Tenants that are listed one by one.
const TENANTS_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    #[serde(default)]
    explain: bool,
    #[serde(default)]
    at: Option<String>,
}

pub(crate) async fn of_tenant(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    Query(asked): Query<Asked>,
    _: Session,
) -> Result<Json<wire::Count>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    count(&deps, Reach::from(&tenant), tenant.to_string(), &asked)
        .await
        .map(Json)
}

/// Reading every tenant's numbers is an act of its own and leaves its own entry.
pub(crate) async fn of_all(
    State(deps): State<Deps>,
    Query(asked): Query<Asked>,
    session: Session,
) -> Result<Json<wire::Count>, RouteError> {
    let context = deps.context(&session, Reach::DangerAllTenants, Digest::default())?;
    deps.store
        .transact(context, async move |_: &mut Tx| answer(&()))
        .await
        .map_err(|e: CommandError| RouteError::from(e))?;
    count(&deps, Reach::DangerAllTenants, "all-tenants".to_owned(), &asked)
        .await
        .map(Json)
}

/// A position, a time, or now. The explained count is taken at a fixed position, so that both ways of counting
/// speak of the same moment.
async fn count(deps: &Deps, reach: Reach, tenant: String, asked: &Asked) -> Result<wire::Count, RouteError> {
    let at = match &asked.at {
        None => At::Position(deps.store.position().await.map_err(|e| store_error(&e))?.0),
        Some(text) => match text.parse::<u64>() {
            Ok(position) => At::Position(bailiwick_base::StatePos(position)),
            Err(_) => At::Time(Time::parse(text).map_err(|_| {
                RouteError::invalid(
                    "count.at",
                    format!("`at`: `{text}` is neither a log position nor RFC 3339"),
                )
            })?),
        },
    };
    let counted = deps
        .store
        .count(reach.clone(), at)
        .await
        .map_err(|e| store_error(&e))?;
    let explained = if asked.explain {
        Some(explain(deps, reach.clone(), &counted).await?)
    } else {
        None
    };
    let mut answer = to_wire(tenant, &counted, explained);
    if asked.at.is_none() {
        answer.expired = Some(expired(deps, &reach));
        answer.held = held(deps, &reach);
    }
    if matches!(reach, Reach::DangerAllTenants) {
        answer.tenants = each_tenant(deps, counted.position).await?;
    }
    Ok(answer)
}

/// How many in service are past their expiry now: they count until somebody retires them, and may do nothing.
fn expired(deps: &Deps, reach: &Reach) -> u64 {
    let (snapshot, now) = (deps.cell.load(), deps.clock.now());
    let all = matches!(reach, Reach::DangerAllTenants);
    let tenants = snapshot
        .tenants()
        .filter(|(t, _)| all || *reach == Reach::from(&t.id));
    let late = tenants
        .flat_map(|(t, _)| snapshot.identities(&t.id))
        .filter(|identity| {
            matches!(
                identity.state,
                inventory::State::Probation | inventory::State::Active
            ) && identity.expires_at <= now
        });
    late.count() as u64
}

/// How many in service are held back by a mark now, by what that makes of them: they count until somebody retires them.
fn held(deps: &Deps, reach: &Reach) -> BTreeMap<String, u64> {
    let snapshot = deps.cell.load();
    let view = View::new(deps, &snapshot);
    let all = matches!(reach, Reach::DangerAllTenants);
    let tenants = snapshot
        .tenants()
        .filter(|(t, _)| all || *reach == Reach::from(&t.id));
    let mut out = BTreeMap::new();
    for identity in tenants.flat_map(|(t, _)| snapshot.identities(&t.id)) {
        if let Some(by) = held_back(&view, identity) {
            *out.entry(by.to_owned()).or_default() += 1;
        }
    }
    out
}

/// A line for each tenant there is now, at the position of the whole.
async fn each_tenant(
    deps: &Deps,
    position: bailiwick_base::StatePos,
) -> Result<Vec<wire::TenantCount>, RouteError> {
    let tenants: Vec<_> = deps
        .cell
        .load()
        .tenants()
        .map(|(t, _)| t.id.clone())
        .take(TENANTS_MAX)
        .collect();
    let mut lines = Vec::with_capacity(tenants.len());
    for tenant in tenants {
        let counted = deps
            .store
            .count(&tenant, At::Position(position))
            .await
            .map_err(|e| store_error(&e))?;
        let whole = to_wire(tenant.to_string(), &counted, None);
        lines.push(wire::TenantCount {
            states: whole.split(),
            tenant: whole.tenant,
            total: whole.total,
            employees: whole.employees,
        });
    }
    Ok(lines)
}

async fn explain(deps: &Deps, reach: Reach, counted: &Counted) -> Result<wire::CountExplained, RouteError> {
    let recount = deps
        .store
        .recount(reach, At::Position(counted.position))
        .await
        .map_err(|e| store_error(&e))?;
    Ok(wire::CountExplained {
        query: "identities in probation or active, registered and shadow; suspended and retired stand apart"
            .to_owned(),
        recount: recount.counted.count.headline(),
        equal: recount.counted.count == counted.count,
        entries: recount.entries,
        coverage: "every identity registered here; platforms are added by connectors, none is connected yet"
            .to_owned(),
    })
}

fn to_wire(tenant: String, counted: &Counted, explained: Option<wire::CountExplained>) -> wire::Count {
    let count = &counted.count;
    wire::Count {
        tenant,
        total: count.headline(),
        registered: count.of_origin(Origin::Registered).living(),
        shadow: count.of_origin(Origin::Shadow).living(),
        suspended: count.suspended(),
        retired: count.retired(),
        employees: counted.employees,
        position: counted.position.0,
        as_of: (counted.position.0 > 0).then(|| counted.as_of.to_string()),
        expired: None,
        held: BTreeMap::new(),
        tenants: Vec::new(),
        kinds: count.kinds().map(|kind| kind_to_wire(count, kind)).collect(),
        explained,
    }
}

fn kind_to_wire(count: &Count, kind: Kind) -> wire::KindCount {
    let states = |s: States| wire::StateCount {
        probation: s.probation,
        active: s.active,
        suspended: s.suspended,
        retired: s.retired,
    };
    wire::KindCount {
        kind: kind.to_string(),
        registered: states(count.states(kind, Origin::Registered)),
        shadow: states(count.states(kind, Origin::Shadow)),
    }
}
