//! `/v1/tenants/{tenant}/check`: a recorded decision with its reasons; nothing is forwarded.

use axum::Json;
use axum::extract::State;
use bailiwick_base::{ServerName, TaskId, TenantId};
use bailiwick_decide::{Arguments, Call, Door, Effect, ItemKind, Principal, Target};
use bailiwick_wire as wire;
use smallvec::SmallVec;

use crate::Deps;
use crate::authzen::named;
use crate::body::Strict;
use crate::problem::RouteError;
use crate::query::Path;
use crate::session::Session;

pub(crate) async fn handler(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    _: Session,
    Strict(body): Strict<wire::CheckRequest>,
) -> Result<Json<wire::CheckAnswer>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let call = call_of(&deps, &tenant, &body)?;
    let recorded = deps
        .pep
        .evaluate(call)
        .await
        .map_err(|denial| RouteError::unavailable(denial.reason.code(), denial.text))?;
    let decision = recorded.value();
    let (effect, code) = match &decision.effect {
        Effect::Permit => ("permit", None),
        Effect::Hold(_) => ("hold", None),
        Effect::Deny(reason) => ("deny", Some(reason.code().to_owned())),
    };
    Ok(Json(wire::CheckAnswer {
        effect: effect.to_owned(),
        code,
        reason: decision.reasons.text.clone(),
        policies: decision.reasons.policies.to_vec(),
        epoch: decision.epoch.0,
        position: decision.state_pos.0,
        decision: decision.id.to_string(),
    }))
}

fn call_of(deps: &Deps, tenant: &TenantId, body: &wire::CheckRequest) -> Result<Call, RouteError> {
    let identity = super::identity(deps, tenant, &body.principal)?;
    let task = match &body.task {
        Some(task) => Some(TaskId::parse(tenant, task).map_err(|_| RouteError::not_found("task"))?),
        None => only_open_task(deps, tenant, &identity),
    };
    let bytes = bailiwick_base::canonical::to_vec(&body.args)
        .map_err(|e| RouteError::invalid("check.args", e.to_string()))?;
    Ok(Call {
        id: deps
            .pep
            .next_id(tenant)
            .map_err(|e| RouteError::broken("randomness failed", &e))?,
        door: Door::Check,
        principal: Principal::Identity { id: identity, task },
        target: target(&body.action, &body.resource)?,
        arguments: Arguments {
            values: body.args.clone(),
            digest: Some(bailiwick_base::Digest::of(&bytes)),
        },
        rates: SmallVec::new(),
    })
}

fn only_open_task(deps: &Deps, tenant: &TenantId, identity: &bailiwick_base::IdentityId) -> Option<TaskId> {
    let snapshot = deps.cell.load();
    let now = deps.clock.now();
    let mut open = snapshot
        .tasks(tenant)
        .filter(|(t, _)| t.identity == *identity && t.state == bailiwick_credential::TaskState::Open)
        .filter(|(t, _)| t.closes_at > now)
        .map(|(t, _)| t.id.clone());
    let first = open.next();
    if open.next().is_some() { None } else { first }
}

/// `server:item` with an MCP method, else an AuthZEN resource as `type/id`.
fn target(action: &str, resource: &str) -> Result<Target, RouteError> {
    let kind = match action {
        "tools/call" => Some(ItemKind::Tool),
        "prompts/get" => Some(ItemKind::Prompt),
        "resources/read" => Some(ItemKind::Resource),
        _ => None,
    };
    if kind.is_some() || action.contains('/') {
        let (server, item) = match resource.split_once(':') {
            Some((server, item)) => (server, Some(item.to_owned())),
            None => (resource, None),
        };
        let server =
            ServerName::parse(server).map_err(|e| RouteError::invalid("check.resource", e.to_string()))?;
        return match (kind, item) {
            (Some(kind), Some(item)) => Ok(Target::Mcp {
                server,
                method: action.to_owned(),
                item: Some((kind, item)),
            }),
            (Some(_), None) => Err(RouteError::invalid(
                "check.resource",
                format!("`{resource}` names no item: write server:item"),
            )),
            (None, _) => Ok(Target::Mcp {
                server,
                method: action.to_owned(),
                item: None,
            }),
        };
    }
    let (kind, id) = resource.split_once('/').ok_or_else(|| {
        RouteError::invalid(
            "check.resource",
            format!("`{resource}` is neither server:item nor type/id"),
        )
    })?;
    Ok(named(action, kind, id))
}
