//! `/v1/tenants/{tenant}/tasks`

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bailiwick_base::{GrantId, IdentityId, TaskId, TenantId, limits, nearest};
use bailiwick_credential::{self as credential, Task, TaskPlan};
use bailiwick_decide::{Arguments, Call, DenyReason, Door, ItemKind, MarkEffect, Principal, Target};
use bailiwick_grant::{self as grant, Grant, Scope};
use bailiwick_inventory::{Identity, ToolPin};
use bailiwick_store::Tx;
use bailiwick_wire as wire;
use http::{HeaderValue, StatusCode, header};
use smallvec::SmallVec;

use super::arguments;
use crate::Deps;
use crate::body::Strict;
use crate::command::{CommandError, answer, committed, mark_replayed};
use crate::effective::{View, require_not_killed};
use crate::issue;
use crate::problem::RouteError;
use crate::query::Path;
use crate::session::Session;

/// How long a heartbeat may count, seconds.
const HEARTBEAT_SECS: std::ops::RangeInclusive<u64> = 2..=300;

pub(crate) async fn open(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    session: Session,
    Strict(body): Strict<wire::NewTask>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let identity = super::identity(&deps, &tenant, &body.identity)?;
    let scopes = scopes(&body)?;
    let may_act = may_act(&deps, &tenant, &body)?;
    let (task, grant) = (deps.mint(&tenant)?, deps.mint(&tenant)?);
    let requested_by = body
        .requested_by
        .clone()
        .unwrap_or_else(|| format!("operator:{}", session.operator));
    let (purpose, window) = (body.purpose.clone(), Duration::from_secs(body.for_secs));
    let (doors, issues) = (deps.clone(), body.issue);
    // Before there is the task: whatever becomes of the one who asks, it does not outlive his silence.
    let began = (task.clone(), body.heartbeat_secs);
    first_beat(&deps, &began)?;
    let receipt = deps
        .command(&session, &tenant, ("tasks", &body), async move |tx: &mut Tx| {
            require_not_killed(&doors, identity.tenant())?;
            let holder = living(tx, &identity).await?;
            let wanted = TaskPlan {
                id: task.clone(),
                identity: identity.clone(),
                identity_expires_at: holder.expires_at,
                purpose: purpose.clone(),
                requested_by: requested_by.clone(),
                opens_at: None,
                closes_at: tx.now().after(window),
                may_act: may_act.clone(),
            };
            let transition = credential::open_task(wanted, &doors.credential_limits, tx.now())?;
            let granted = granted(grant.clone(), &transition.after, scopes.clone());
            require_keepable(&doors, &granted)?;
            if issues {
                issue::require_issuable(&doors, &transition.after, &granted)?;
            }
            let snapshot = doors.cell.load();
            let shown = to_wire(&View::new(&doors, &snapshot), &transition.after, &granted);
            tx.task().open(transition, granted).await?;
            answer(&shown)
        })
        .await?;
    first_beat(&deps, &began)?;
    let task: wire::Task = serde_json::from_slice(&receipt.answer)
        .map_err(|e| RouteError::broken("stored answer not understood", &e))?;
    let token = if body.issue {
        Some(first_token(&deps, &tenant, &task.id).await?)
    } else {
        None
    };
    let mut response = secret(StatusCode::CREATED, &wire::OpenedTask { task, token });
    mark_replayed(&mut response, &receipt);
    Ok(response)
}

/// A task for somebody who may not act would only look like permission.
async fn living(tx: &mut Tx, id: &IdentityId) -> Result<Identity, CommandError> {
    let holder = tx
        .identity()
        .lookup(id)
        .await?
        .ok_or_else(|| RouteError::not_found("identity"))?;
    if holder.state.reason().is_none() {
        return Ok(holder);
    }
    let detail = format!("identity is {}: a task cannot be opened for it", holder.state);
    Err(RouteError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "task.identity-not-living",
        detail,
    )
    .into())
}

fn scopes(body: &wire::NewTask) -> Result<Vec<Scope>, RouteError> {
    let mut scopes = Vec::new();
    for text in &body.can {
        scopes.push(grant::parse_scope(text).map_err(|e| malformed(text, &e))?);
    }
    if !body.authorization_details.is_empty() {
        let details = serde_json::Value::Array(body.authorization_details.clone());
        let more = grant::from_authorization_details(&details)
            .map_err(|e| RouteError::invalid("invalid_authorization_details", e.to_string()))?;
        scopes.extend(more);
    }
    if scopes.is_empty() {
        return Err(RouteError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "grant.empty",
            "`can` is empty: a task without a scope could do nothing",
        )
        .hint("give at least one, e.g. --can 'files:read_text_file(path under \"/srv/in\")'"));
    }
    Ok(scopes)
}

/// The scope as its writer wrote it, and the place in it.
fn malformed(text: &str, error: &grant::ScopeError) -> RouteError {
    let detail = format!(
        "scope `{}` (`--can`), byte {}: expected {}, found {}",
        limits::shown(text),
        error.position,
        error.expected,
        error.found
    );
    RouteError::invalid("grant.scope-malformed", detail)
}

fn may_act(deps: &Deps, tenant: &TenantId, body: &wire::NewTask) -> Result<Vec<IdentityId>, RouteError> {
    if body.may_act.len() > credential::MAY_ACT_MAX {
        let detail = format!("`may_act`: more than {} identities", credential::MAY_ACT_MAX);
        return Err(RouteError::invalid("task.may-act-too-many", detail));
    }
    body.may_act
        .iter()
        .map(|named| super::identity(deps, tenant, named))
        .collect()
}

/// The grant of a new task: for as long as it is open.
fn granted(id: GrantId, task: &Task, scopes: Vec<Scope>) -> Grant {
    Grant {
        id,
        task: task.id.clone(),
        identity: task.identity.clone(),
        scopes,
        expires_at: task.closes_at,
    }
}

/// A grant is a promise: it compiles, what it names is there, and nothing it names was killed.
fn require_keepable(deps: &Deps, granted: &Grant) -> Result<(), CommandError> {
    require_compiles(granted)?;
    require_servers(&deps.cell.load(), granted)?;
    require_unkilled(deps, granted)
}

fn require_compiles(granted: &Grant) -> Result<(), CommandError> {
    grant::compile(granted).map(drop).map_err(|e| {
        RouteError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "grant.not-compiled",
            e.to_string(),
        )
        .into()
    })
}

/// No tools: `authzen:evaluate` lets an enforcement point outside ask for decisions, `credential:lease` lets a task
/// hold secrets that were made for it, `ssf:manage` and `ssf:read` let a receiver be told what happens,
/// `token:exchange` lets an agent act for others, `token:introspect` lets a resource server ask about any token.
fn is_own(scope: &Scope) -> bool {
    [
        crate::authzen::SCOPE,
        credential::LEASE_SCOPE,
        credential::EXCHANGE_SCOPE,
        crate::oauth::introspect::SCOPE,
        crate::ssf::MANAGE,
        crate::ssf::READ,
    ]
    .iter()
    .any(|(server, action)| {
        scope.server.as_str() == *server && scope.action.as_ref().is_some_and(|a| a.as_str() == *action)
    })
}

/// A scope on a server nobody added is a slip of the pen, not a grant for later.
fn require_servers(snapshot: &bailiwick_decide::Snapshot, granted: &Grant) -> Result<(), CommandError> {
    let tenant = granted.id.tenant();
    for scope in &granted.scopes {
        if is_own(scope) {
            continue;
        }
        let Some(server) = snapshot.server(tenant, &scope.server) else {
            let detail = format!("no server `{}` in this tenant", scope.server);
            let error = RouteError::new(StatusCode::UNPROCESSABLE_ENTITY, "grant.server-unknown", detail);
            let near = nearest(
                scope.server.as_str(),
                snapshot.servers(tenant).map(|s| s.name.as_str()),
            );
            return Err(match near {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("add it with `bailiwick server add`"),
            }
            .into());
        };
        let Some(action) = &scope.action else { continue };
        match server.pins.iter().find(|p| p.name == *action) {
            Some(pin) => require_arguments(scope, pin)?,
            None if action.as_str().contains('/') => {}
            None => {
                let detail = format!("server `{}` has no tool `{action}`", scope.server);
                let error = RouteError::new(StatusCode::UNPROCESSABLE_ENTITY, "grant.tool-unknown", detail);
                let near = nearest(action.as_str(), server.pins.iter().map(|p| p.name.as_str()));
                return Err(match near {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error.hint("see its tools with `bailiwick server ls`"),
                }
                .into());
            }
        }
    }
    Ok(())
}

/// A condition on an argument that the pinned tool does not take could never hold.
fn require_arguments(scope: &Scope, pin: &ToolPin) -> Result<(), CommandError> {
    if scope.conditions.is_empty() {
        return Ok(());
    }
    let taken = arguments::Arguments::of(&pin.definition);
    for condition in &scope.conditions {
        if let Err(stranger) = taken.require_known(&condition.arg) {
            let detail = format!(
                "scope `{}` (`--can`): tool `{}` takes no argument `{}`",
                limits::shown(&scope.to_string()),
                pin.name,
                stranger.name
            );
            let error = RouteError::new(StatusCode::UNPROCESSABLE_ENTITY, "grant.argument-unknown", detail);
            return Err(error.hint(stranger.hint()).into());
        }
    }
    Ok(())
}

/// What was killed does not come back: a scope on it would be a promise that nobody can keep.
fn require_unkilled(deps: &Deps, granted: &Grant) -> Result<(), CommandError> {
    let snapshot = deps.cell.load();
    for scope in granted.scopes.iter().filter(|s| !is_own(s)) {
        let tool = scope.action.as_ref().filter(|a| !a.as_str().contains('/'));
        let call = Call {
            id: deps.mint(granted.id.tenant())?,
            door: Door::Gateway,
            principal: Principal::Identity {
                id: granted.identity.clone(),
                task: None,
            },
            target: Target::Mcp {
                server: scope.server.clone(),
                method: if tool.is_some() {
                    "tools/call"
                } else {
                    "tools/list"
                }
                .to_owned(),
                item: tool.map(|name| (ItemKind::Tool, name.to_string())),
            },
            arguments: Arguments::default(),
            rates: SmallVec::new(),
        };
        if let Some((DenyReason::KilledByOperator, mark)) = snapshot.marked(&call)
            && mark.effect == MarkEffect::Kill
        {
            let detail = format!(
                "`{}` was killed at epoch {}: the task could not use it",
                scope.coarse(),
                mark.epoch
            );
            let error = RouteError::new(StatusCode::UNPROCESSABLE_ENTITY, "grant.killed", detail);
            return Err(error
                .hint("leave it out; what was killed does not come back")
                .into());
        }
    }
    Ok(())
}

async fn first_token(deps: &Deps, tenant: &TenantId, task: &str) -> Result<wire::Token, RouteError> {
    let id =
        TaskId::parse(tenant, task).map_err(|e| RouteError::broken("stored answer not understood", &e))?;
    let issued = issue::for_task(deps, &id, 1, issue::Requester::Operator, None, None).await?;
    issued
        .tokens
        .into_iter()
        .next()
        .ok_or_else(|| RouteError::unavailable("token.none", "no token was issued"))
}

pub(crate) async fn tokens(
    State(deps): State<Deps>,
    Path((slug, id)): Path<(String, String)>,
    requester: issue::Requester,
    Strict(body): Strict<wire::TokenBatchRequest>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let task = TaskId::parse(&tenant, &id).map_err(|_| RouteError::not_found("task"))?;
    if !(1..=issue::BATCH_MAX).contains(&body.count) {
        let detail = format!("`count`: {} is not 1 to {}", body.count, issue::BATCH_MAX);
        return Err(RouteError::invalid("token.count", detail));
    }
    let issued = issue::for_task(&deps, &task, body.count, requester, None, None).await?;
    let batch = wire::TokenBatch {
        tokens: issued.tokens,
        decision: issued.decision.to_string(),
    };
    Ok(secret(StatusCode::OK, &batch))
}

pub(crate) async fn close(
    State(deps): State<Deps>,
    Path((slug, id)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::CloseTask>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let task = TaskId::parse(&tenant, &id).map_err(|_| RouteError::not_found("task"))?;
    let asked = (format!("tasks/{task}/close"), body.clone());
    let reason = body.reason.unwrap_or_else(|| "work is done".to_owned());
    let doors = deps.clone();
    let receipt = deps
        .command(
            &session,
            &tenant,
            (&asked.0, &asked.1),
            async move |tx: &mut Tx| {
                let (open, granted) = tx
                    .task()
                    .lookup(&task)
                    .await?
                    .ok_or_else(|| RouteError::not_found("task"))?;
                let transition = credential::close_task(open, &reason, tx.now())?;
                let snapshot = doors.cell.load();
                let shown = to_wire(&View::new(&doors, &snapshot), &transition.after, &granted);
                tx.task().apply(transition).await?;
                answer(&shown)
            },
        )
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}

/// Whoever runs an open task says that he is there: unless he says so again in time the task is closed. Nothing is
/// written now; the end is.
pub(crate) async fn heartbeat(
    State(deps): State<Deps>,
    Path((slug, id)): Path<(String, String)>,
    _: Session,
    Strict(body): Strict<wire::TaskHeartbeat>,
) -> Result<StatusCode, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let task = TaskId::parse(&tenant, &id).map_err(|_| RouteError::not_found("task"))?;
    let snapshot = deps.cell.load();
    let (open, _) = snapshot
        .task(&task)
        .ok_or_else(|| RouteError::not_found("task"))?;
    if let credential::TaskState::Closed { at, .. } = &open.state {
        let refusal = credential::Refusal::TaskClosed(*at);
        return Err(RouteError::refused(refusal.code(), &refusal));
    }
    beat(&deps, &task, body.secs)?;
    Ok(StatusCode::NO_CONTENT)
}

fn first_beat(deps: &Deps, (task, secs): &(TaskId, Option<u64>)) -> Result<(), RouteError> {
    secs.map_or(Ok(()), |secs| beat(deps, task, secs))
}

fn beat(deps: &Deps, task: &TaskId, secs: u64) -> Result<(), RouteError> {
    if !HEARTBEAT_SECS.contains(&secs) {
        let (least, most) = HEARTBEAT_SECS.into_inner();
        let detail = format!("the heartbeat: {secs} s is not {least} to {most}");
        return Err(RouteError::invalid("task.heartbeat", detail));
    }
    let due_at = deps.clock.monotonic() + Duration::from_secs(secs);
    if deps.heartbeats.beat(task, due_at) {
        return Ok(());
    }
    Err(RouteError::unavailable(
        "task.heartbeat",
        "too many tasks have a heartbeat",
    ))
}

pub(crate) async fn list(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    _: Session,
) -> Result<Json<wire::Page<wire::Task>>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let snapshot = deps.cell.load();
    let view = View::new(&deps, &snapshot);
    let mut items: Vec<wire::Task> = snapshot
        .tasks(&tenant)
        .map(|(t, g)| to_wire(&view, t, g))
        .collect();
    items.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(Json(wire::Page::whole(items)))
}

pub(crate) fn to_wire(view: &View<'_>, task: &Task, granted: &Grant) -> wire::Task {
    let effective = view.task(task);
    wire::Task {
        id: task.id.to_string(),
        tenant: task.id.tenant().to_string(),
        identity: task.identity.to_string(),
        identity_name: view.snapshot.identity(&task.identity).map(|i| i.name.clone()),
        grant: granted.id.to_string(),
        purpose: task.purpose.clone(),
        requested_by: task.requested_by.clone(),
        can: granted.scopes.iter().map(ToString::to_string).collect(),
        opens_at: task.opens_at.to_string(),
        closes_at: task.closes_at.to_string(),
        may_act: task.may_act.iter().map(ToString::to_string).collect(),
        state: match task.state {
            credential::TaskState::Open => "open".to_owned(),
            credential::TaskState::Closed { .. } => "closed".to_owned(),
        },
        effective: effective.state,
        stopped_by: effective.stopped_by,
    }
}

/// An answer with a token in it is never kept by anybody between.
fn secret<T: serde::Serialize>(status: StatusCode, value: &T) -> Response {
    let mut response = (status, Json(value)).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
