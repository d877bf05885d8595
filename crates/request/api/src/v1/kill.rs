//! `/v1/tenants/{tenant}/kill`, `/v1/all-tenants/kill`, and their resumes.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bailiwick_base::{AgentLabel, Digest, IdentityId, ServerName, TaskId, TenantId, TokenId, ToolName};
use bailiwick_decide::{MarkEffect, MarkScope};
use bailiwick_inventory::{self as inventory, State as IdentityState};
use bailiwick_store::Tx;
use bailiwick_wire::{self as wire, SelectorKind};
use http::StatusCode;

use crate::Deps;
use crate::body::Strict;
use crate::command::{CommandError, answer, committed, request_digest};
use crate::problem::RouteError;
use crate::session::Session;
use crate::stop::{Stop, reach_of};

pub(crate) async fn kill(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    session: Session,
    Strict(body): Strict<wire::KillRequest>,
) -> Result<Response, RouteError> {
    let received = deps.clock.monotonic();
    let tenant = super::tenant(&deps, &slug)?;
    if body.scope == SelectorKind::All {
        return Err(RouteError::invalid(
            "kill.scope",
            "scope `all` is killed at /v1/all-tenants/kill",
        ));
    }
    let scope = scope(&deps, &tenant, body.scope, &body.name)?;
    run(&deps, &session, scope, &body, received).await
}

pub(crate) async fn kill_all(
    State(deps): State<Deps>,
    session: Session,
    Strict(body): Strict<wire::KillRequest>,
) -> Result<Response, RouteError> {
    let received = deps.clock.monotonic();
    if body.scope != SelectorKind::All {
        return Err(RouteError::invalid(
            "kill.scope",
            "only scope `all` is killed across tenants",
        ));
    }
    run(&deps, &session, MarkScope::All, &body, received).await
}

async fn run(
    deps: &Deps,
    session: &Session,
    scope: MarkScope,
    body: &wire::KillRequest,
    received: std::time::Duration,
) -> Result<Response, RouteError> {
    let effect = if body.suspend {
        MarkEffect::Suspend
    } else {
        MarkEffect::Kill
    };
    let stopped = dry_run(deps, &scope, effect);
    if body.dry_run {
        return Ok(Json(stopped).into_response());
    }
    if body.reason.trim().is_empty() {
        return Err(RouteError::invalid(
            "kill.reason-missing",
            "`reason` is missing: say why; it is recorded",
        ));
    }
    require_second(deps, session, &scope, effect, body.break_glass)?;
    let request = request_digest("kill", body)?;
    let stop = Stop {
        scope: scope.clone(),
        effect,
        reason: reason(body),
    };
    let done = deps.stop(session, stop, request, received).await?;
    Ok(Json(wire::KillReceipt {
        scope: shown(&scope),
        effect: if body.suspend { "suspend" } else { "kill" }.to_owned(),
        epoch: done.receipt.epoch.0,
        position: done.receipt.pos.0,
        denied_us: micros(done.denied),
        committed_us: micros(done.committed),
        cancelled_calls: done.cancelled,
        points: done.points,
        stopped,
    })
    .into_response())
}

fn reason(body: &wire::KillRequest) -> String {
    if body.break_glass {
        format!("{} (break-glass)", body.reason.trim())
    } else {
        body.reason.trim().to_owned()
    }
}

fn micros(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// The irreversible kill of an issuer, a tenant or everything takes two operators; a sole one breaks the glass.
fn require_second(
    deps: &Deps,
    session: &Session,
    scope: &MarkScope,
    effect: MarkEffect,
    break_glass: bool,
) -> Result<(), RouteError> {
    let wide = matches!(
        scope,
        MarkScope::Issuer(..) | MarkScope::Tenant(_) | MarkScope::All
    );
    if !wide || effect == MarkEffect::Suspend || session.second.is_some() {
        return Ok(());
    }
    let sole = deps.operators.load().len() < 2;
    let refused = |hint: &str| {
        RouteError::new(
            StatusCode::FORBIDDEN,
            "kill.second-operator",
            "an irreversible kill of an issuer, a tenant or everything needs a second operator",
        )
        .hint(hint)
    };
    match (sole, break_glass) {
        (true, true) => Ok(()),
        (true, false) => Err(refused(
            "you are the only operator: add --break-glass, which is recorded; or use suspend",
        )),
        (false, _) => Err(refused(
            "send the second operator's session in bailiwick-countersign; or use suspend at once",
        )),
    }
}

/// What the words of a request select.
pub(crate) fn scope(
    deps: &Deps,
    tenant: &TenantId,
    kind: SelectorKind,
    name: &str,
) -> Result<MarkScope, RouteError> {
    let malformed = |error: &dyn std::error::Error| RouteError::invalid("kill.name", error.to_string());
    Ok(match kind {
        SelectorKind::Agent => {
            let label = AgentLabel::parse(name).map_err(|e| malformed(&e))?;
            MarkScope::Agent(tenant.clone(), label)
        }
        SelectorKind::All => MarkScope::All,
        SelectorKind::Identity => MarkScope::Identity(super::identity(deps, tenant, name)?),
        SelectorKind::Issuer => MarkScope::Issuer(tenant.clone(), name.to_owned()),
        SelectorKind::Owner => MarkScope::Owner(tenant.clone(), name.to_owned()),
        SelectorKind::Server => {
            let server = ServerName::parse(name).map_err(|e| malformed(&e))?;
            if deps.cell.load().server(tenant, &server).is_none() {
                return Err(RouteError::not_found("server"));
            }
            MarkScope::Server(tenant.clone(), server)
        }
        SelectorKind::Task => {
            let task = TaskId::parse(tenant, name).map_err(|e| malformed(&e))?;
            if deps.cell.load().task(&task).is_none() {
                return Err(RouteError::not_found("task"));
            }
            MarkScope::Task(task)
        }
        SelectorKind::Tenant => {
            if !name.is_empty() && name != tenant.as_str() {
                return Err(RouteError::invalid(
                    "kill.name",
                    format!("`{name}` is not the tenant of the path"),
                ));
            }
            MarkScope::Tenant(tenant.clone())
        }
        SelectorKind::Token => MarkScope::Token(TokenId::parse(tenant, name).map_err(|e| malformed(&e))?),
        SelectorKind::Tool => {
            let (server, tool) = name.split_once(':').ok_or_else(|| {
                RouteError::invalid(
                    "kill.name",
                    format!("tool `{name}` is not of the form server:tool"),
                )
            })?;
            let server = ServerName::parse(server).map_err(|e| malformed(&e))?;
            let tool = ToolName::parse(tool).map_err(|e| malformed(&e))?;
            MarkScope::Tool(tenant.clone(), server, tool)
        }
    })
}

fn shown(scope: &MarkScope) -> String {
    match scope {
        MarkScope::Agent(_, label) => format!("agent {label}"),
        MarkScope::All => "all".to_owned(),
        MarkScope::Identity(id) => format!("identity {id}"),
        MarkScope::Issuer(_, issuer) => format!("issuer {issuer}"),
        MarkScope::Owner(_, team) => format!("owner {team}"),
        MarkScope::Server(_, server) => format!("server {server}"),
        MarkScope::Task(id) => format!("task {id}"),
        MarkScope::Tenant(id) => format!("tenant {id}"),
        MarkScope::Token(id) => format!("token {id}"),
        MarkScope::Tool(_, server, tool) => format!("tool {server}:{tool}"),
    }
}

fn dry_run(deps: &Deps, scope: &MarkScope, effect: MarkEffect) -> wire::DryRun {
    let snapshot = deps.cell.load();
    let tenants: Vec<TenantId> = match scope {
        MarkScope::All => snapshot.tenants().map(|(t, _)| t.id.clone()).collect(),
        _ => vec![reach_tenant(scope)],
    };
    let mut out = wire::DryRun {
        reversible: effect == MarkEffect::Suspend,
        ..wire::DryRun::default()
    };
    for tenant in &tenants {
        for (task, _) in snapshot.tasks(tenant) {
            let open = task.state == bailiwick_credential::TaskState::Open;
            if open && (names_task(scope, &task.id) || names_identity(&snapshot, scope, &task.identity)) {
                out.tasks.push(task.id.to_string());
            }
        }
        for identity in snapshot.identities(tenant) {
            let living = !matches!(identity.state, IdentityState::Retired { .. });
            if living && names_identity(&snapshot, scope, &identity.id) {
                out.identities.push(identity.id.to_string());
            }
        }
    }
    out.calls_in_flight = deps.in_flight(scope);
    out
}

fn reach_tenant(scope: &MarkScope) -> TenantId {
    match reach_of(scope) {
        bailiwick_store::Reach::Tenant(tenant) => tenant,
        _ => inventory::installation(),
    }
}

fn names_task(scope: &MarkScope, task: &TaskId) -> bool {
    matches!(scope, MarkScope::Task(named) if named == task)
}

fn names_identity(
    snapshot: &bailiwick_decide::Snapshot,
    scope: &MarkScope,
    id: &bailiwick_base::IdentityId,
) -> bool {
    let Some(identity) = snapshot.identity(id) else {
        return false;
    };
    match scope {
        MarkScope::All | MarkScope::Tenant(_) | MarkScope::Issuer(..) => true,
        MarkScope::Identity(named) => named == id,
        MarkScope::Agent(_, label) => identity.labels.agent.as_ref() == Some(label),
        MarkScope::Owner(_, team) => identity.owner.team == *team,
        MarkScope::Server(..) | MarkScope::Task(_) | MarkScope::Token(_) | MarkScope::Tool(..) => false,
    }
}

pub(crate) async fn resume(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    session: Session,
    Strict(body): Strict<wire::KillRequest>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let scope = scope(&deps, &tenant, body.scope, &body.name)?;
    lift(&deps, &session, scope, &body).await
}

pub(crate) async fn resume_all(
    State(deps): State<Deps>,
    session: Session,
    Strict(body): Strict<wire::KillRequest>,
) -> Result<Response, RouteError> {
    if body.scope != SelectorKind::All {
        return Err(RouteError::invalid(
            "kill.scope",
            "only scope `all` is resumed across tenants",
        ));
    }
    lift(&deps, &session, MarkScope::All, &body).await
}

/// Lifting widens, so it waits for the commit and touches no memory before.
async fn lift(
    deps: &Deps,
    session: &Session,
    scope: MarkScope,
    body: &wire::KillRequest,
) -> Result<Response, RouteError> {
    let received = deps.clock.monotonic();
    let context = deps.context(session, reach_of(&scope), request_digest("resume", body)?)?;
    let stopped = dry_run(deps, &scope, MarkEffect::Suspend);
    if body.dry_run {
        return Ok(Json(stopped).into_response());
    }
    let (lifted, reason) = (scope.clone(), body.reason.clone());
    let members = match scope {
        MarkScope::Agent(..) | MarkScope::Owner(..) => deps.members(&scope),
        _ => Vec::new(),
    };
    let receipt = deps
        .store
        .transact(context, async move |tx: &mut Tx| {
            lift_in(tx, &lifted, &members, &reason).await?;
            answer(&())
        })
        .await
        .map_err(|e: CommandError| RouteError::from(e))?;
    Ok(Json(wire::KillReceipt {
        scope: shown(&scope),
        effect: "resume".to_owned(),
        epoch: receipt.epoch.0,
        position: receipt.pos.0,
        denied_us: 0,
        committed_us: micros(deps.clock.monotonic().saturating_sub(received)),
        cancelled_calls: 0,
        points: Vec::new(),
        stopped,
    })
    .into_response())
}

async fn lift_in(
    tx: &mut Tx,
    scope: &MarkScope,
    members: &[IdentityId],
    reason: &str,
) -> Result<(), CommandError> {
    if let MarkScope::Identity(id) = scope {
        let identity = tx
            .identity()
            .lookup(id)
            .await?
            .ok_or_else(|| RouteError::not_found("identity"))?;
        let transition = inventory::resume(identity, tx.now())?;
        tx.identity().apply(transition).await?;
    }
    let suspended = tx
        .mark()
        .lookup(scope)
        .await?
        .iter()
        .any(|m| m.mark.effect == MarkEffect::Suspend);
    if !suspended {
        return Err(RouteError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "resume.not-suspended",
            "nothing is suspended on this scope; a kill cannot be lifted",
        )
        .into());
    }
    tx.mark().lift(scope, Some(reason)).await?;
    for id in members {
        resume_member(tx, id).await?;
    }
    Ok(())
}

/// An identity that was suspended with its agent or owner; one that was suspended by itself stays so.
async fn resume_member(tx: &mut Tx, id: &IdentityId) -> Result<(), CommandError> {
    let own = tx.mark().lookup(&MarkScope::Identity(id.clone())).await?;
    if own.iter().any(|m| m.mark.effect == MarkEffect::Suspend) {
        return Ok(());
    }
    let identity = tx
        .identity()
        .lookup(id)
        .await?
        .ok_or_else(|| RouteError::not_found("identity"))?;
    if matches!(identity.state, IdentityState::Suspended { .. }) {
        let transition = inventory::resume(identity, tx.now())?;
        tx.identity().apply(transition).await?;
    }
    Ok(())
}

/// `POST …/identities/{id}/suspend` and `…/retire`: the kill path, with the identity as the answer.
pub(crate) async fn stop_identity(
    deps: &Deps,
    session: &Session,
    slug: &str,
    named: &str,
    body: wire::StateChange,
    suspend: bool,
) -> Result<Response, RouteError> {
    let received = deps.clock.monotonic();
    let tenant = super::tenant(deps, slug)?;
    let id = super::identity(deps, &tenant, named)?;
    let effect = if suspend {
        MarkEffect::Suspend
    } else {
        MarkEffect::Kill
    };
    require_stoppable(deps, &id, body.reason.as_deref().unwrap_or_default(), suspend)?;
    let request: Digest = request_digest(&format!("identities/{id}/{suspend}"), &body)?;
    let reason = body.reason.unwrap_or_default();
    let stop = Stop {
        scope: MarkScope::Identity(id.clone()),
        effect,
        reason,
    };
    deps.stop(session, stop, request, received).await?;
    let snapshot = deps.cell.load();
    let identity = snapshot
        .identity(&id)
        .ok_or_else(|| RouteError::not_found("identity"))?;
    Ok(Json(super::identities::to_wire(identity)).into_response())
}

/// What the room would refuse is refused before anything is stopped.
fn require_stoppable(
    deps: &Deps,
    id: &bailiwick_base::IdentityId,
    reason: &str,
    suspend: bool,
) -> Result<(), RouteError> {
    let snapshot = deps.cell.load();
    let identity = snapshot
        .identity(id)
        .ok_or_else(|| RouteError::not_found("identity"))?;
    let (identity, now) = (inventory::Identity::clone(identity), deps.clock.now());
    let planned = if suspend {
        inventory::suspend(identity, reason, now)
    } else {
        inventory::retire(identity, reason, now)
    };
    planned
        .map(drop)
        .map_err(|refusal| RouteError::refused(refusal.code(), &refusal))
}

pub(crate) async fn resume_identity(
    deps: &Deps,
    session: &Session,
    slug: &str,
    named: &str,
    body: wire::StateChange,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(deps, slug)?;
    let id = super::identity(deps, &tenant, named)?;
    let asked = (format!("identities/{id}/resume"), body.clone());
    let reason = body.reason.unwrap_or_default();
    let receipt = deps
        .command(
            session,
            &tenant,
            (&asked.0, &asked.1),
            async move |tx: &mut Tx| {
                lift_in(tx, &MarkScope::Identity(id.clone()), &[], &reason).await?;
                let resumed = tx
                    .identity()
                    .lookup(&id)
                    .await?
                    .ok_or_else(|| RouteError::not_found("identity"))?;
                answer(&super::identities::to_wire(&resumed))
            },
        )
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}
