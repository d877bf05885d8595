//! Leases: made for a task when asked for, taken back by whoever looks next once the task may not hold them.

mod back;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bailiwick_base::{LeaseId, Secret, TaskId, TenantId};
use bailiwick_connectors::{Driver, Lent, Reachable};
use bailiwick_credential::lease::{self, NewLease};
use bailiwick_credential::{Lease, LeaseStanding, ThirdParty, findings};
use bailiwick_decide::Snapshot;
use bailiwick_grant::lends;
use bailiwick_store::{Reach, Tx};
use bailiwick_wire as wire;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;

pub(crate) use self::back::{Glance, advance};

use crate::Deps;
use crate::body::Strict;
use crate::command::{CommandError, answer, committed, request_digest, store_error};
use crate::effective::{View, require_not_killed};
use crate::problem::RouteError;
use crate::query::Path;
use crate::rotation::{fresh_secret, manager, require_owner};
use crate::session::Session;
use crate::v1::{self, credentials, tasks};

fn task_id(tenant: &TenantId, text: &str) -> Result<TaskId, RouteError> {
    TaskId::parse(tenant, text)
        .map_err(|_| RouteError::not_found("task").hint("list them with `bailiwick -t TENANT task ls`"))
}

/// Why a task may hold nothing now, if it may not.
pub(crate) fn stopped(deps: &Deps, snapshot: &Snapshot, task: &TaskId) -> Option<String> {
    let Some((task, _)) = snapshot.task(task) else {
        return Some("its task is gone".to_owned());
    };
    let effective = View::new(deps, snapshot).task(task);
    (effective.state != "open").then(|| match effective.stopped_by {
        Some(mark) => format!("its task is {}: {mark}", effective.state),
        None => format!("its task is {}", effective.state),
    })
}

fn require_open(deps: &Deps, task: &TaskId) -> Result<(), RouteError> {
    if deps.cell.load().task(task).is_none() {
        return Err(RouteError::not_found("task").hint("list them with `bailiwick -t TENANT task ls`"));
    }
    match stopped(deps, &deps.cell.load(), task) {
        Some(reason) => Err(
            RouteError::new(StatusCode::CONFLICT, "lease.task-stopped", reason)
                .hint("open a task for the work that needs it"),
        ),
        None => Ok(()),
    }
}

/// Makes a lease for a task: recorded, made, recorded, and only then given away.
pub(crate) async fn lend(
    State(deps): State<Deps>,
    Path((slug, task)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::NewLease>,
) -> Result<Response, RouteError> {
    let tenant = v1::tenant(&deps, &slug)?;
    let task = task_id(&tenant, &task)?;
    require_not_killed(&deps, &tenant)?;
    require_open(&deps, &task)?;
    let source = credentials::known(&deps, &tenant, &body.credential).await?;
    let given = Arc::new(fresh_secret(&deps)?);
    let wanted = NewLease {
        id: deps.mint(&tenant)?,
        span: Duration::from_secs(body.for_secs),
        reason: body.reason.clone(),
        requested_by: format!("operator:{}", session.operator),
        is_granted: false,
        beyond_scope: body.beyond_scope,
        held: 0,
    };
    let id = wanted.id.clone();
    let asked = request_digest(&format!("tasks/{task}/leases"), &body)?;
    let context = deps.context(&session, Reach::from(&tenant), asked)?.alone();
    let (seed, from, doors) = (Arc::clone(&given), source.clone(), deps.clone());
    deps.store
        .transact(context, async move |tx: &mut Tx| {
            let found = tx.task().lookup(&task).await?;
            let (task, grant) = found.ok_or_else(|| RouteError::not_found("task"))?;
            let held = tx.lease().of_task(&task.id).await?;
            // A credential that is revoked meanwhile lends nothing more: its leases are looked for after its end.
            let from = tx.third_party().lookup(&from.id).await?;
            let from = from.ok_or_else(|| RouteError::not_found("credential"))?;
            require_owner(&doors, &from)?;
            let wanted = NewLease {
                is_granted: lends(&grant, &from.name),
                held: held.iter().filter(|l| l.is_live()).count(),
                ..wanted.clone()
            };
            let requested = lease::ask(wanted, &task, &from, tx.now())?;
            tx.lease().apply(requested, Some(&seed)).await?;
            Ok::<_, CommandError>(Vec::new())
        })
        .await?;
    let made = make(&deps, &session, &id, &source, &given).await?;
    Ok(made)
}

async fn read(deps: &Deps, id: &LeaseId) -> Result<Lease, RouteError> {
    let mut reader = deps
        .store
        .reader(id.tenant())
        .await
        .map_err(|e| store_error(&e))?;
    let found = reader.lease().lookup(id).await.map_err(|e| store_error(&e))?;
    found.ok_or_else(|| RouteError::not_found("lease").hint("see `bailiwick task show TASK`"))
}

/// From the record that it is to be made to the one that it was.
async fn make(
    deps: &Deps,
    session: &Session,
    id: &LeaseId,
    source: &ThirdParty,
    given: &Secret<Vec<u8>>,
) -> Result<Response, RouteError> {
    let requested = read(deps, id).await?;
    let lent = match at_the_system(deps, &requested, source, given).await {
        Ok(lent) => Arc::new(lent),
        Err(reason) => {
            back::end(deps, requested, "it could not be made").await;
            return Err(RouteError::new(StatusCode::BAD_GATEWAY, "lease.not-made", reason)
                .hint("what may have been made is taken back; see `bailiwick task show TASK`"));
        }
    };
    let fingerprint = deps
        .keyring
        .fingerprint(id.tenant(), lent.secret.reveal())
        .map_err(|e| RouteError::broken("keys are not available", &e))?;
    let asked = request_digest("leases/hold", &id.to_string())?;
    let context = deps.context(session, Reach::from(id.tenant()), asked)?.alone();
    let task = requested.task.clone();
    let kept = Arc::clone(&lent);
    let receipt = deps
        .store
        .transact(context, async move |tx: &mut Tx| {
            let held = lease::held(requested.clone(), fingerprint.clone(), kept.ends_at)?;
            let shown = to_wire(&held.after);
            tx.lease().apply(held, Some(&kept.secret)).await?;
            answer(&wire::LentSecret {
                lease: shown,
                secret: STANDARD.encode(kept.secret.reveal()),
            })
        })
        .await
        .map_err(|e: CommandError| RouteError::from(e))?;
    // Stopped meanwhile: it is taken back at the next look, and nobody gets it.
    require_open(deps, &task)?;
    Ok(committed(&receipt, StatusCode::CREATED))
}

async fn at_the_system(
    deps: &Deps,
    lease: &Lease,
    source: &ThirdParty,
    given: &Secret<Vec<u8>>,
) -> Result<Lent, String> {
    let (secret, handle) = manager(deps, source).await.map_err(|e| e.to_string())?;
    let with = Reachable {
        sender: &deps.sender,
        entropy: deps.entropy.as_ref(),
        now: deps.clock.now(),
    };
    let driver = Driver::of(source, &secret, handle.as_deref(), &with).ok_or("it has no target")?;
    let lent = driver.lend(lease, given, deps.entropy.as_ref()).await;
    lent.map_err(|e| e.to_string())
}

/// Decides to take a lease back; the reconciler does it.
pub(crate) async fn give_back(
    State(deps): State<Deps>,
    Path((slug, id)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::ReturnLease>,
) -> Result<Response, RouteError> {
    let tenant = v1::tenant(&deps, &slug)?;
    let id = LeaseId::parse(&tenant, &id).map_err(|_| RouteError::not_found("lease"))?;
    let path = format!("leases/{id}/return");
    let reason = body.reason.clone();
    let receipt = deps
        .command(&session, &tenant, (&path, &body), async move |tx: &mut Tx| {
            let found = tx.lease().lookup(&id).await?;
            let known = found.ok_or_else(|| RouteError::not_found("lease"))?;
            let ending = lease::give_back(known, &reason)?;
            let shown = to_wire(&ending.after);
            tx.lease().apply(ending, None).await?;
            answer(&shown)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}

/// What a task may, what it holds now and held before, and what is wrong with that.
pub(crate) async fn ledger(
    State(deps): State<Deps>,
    Path((slug, task)): Path<(String, String)>,
    _: Session,
) -> Result<Json<wire::TaskLedger>, RouteError> {
    let tenant = v1::tenant(&deps, &slug)?;
    let id = task_id(&tenant, &task)?;
    let mut reader = deps.store.reader(&tenant).await.map_err(|e| store_error(&e))?;
    let found = reader.task().lookup(&id).await.map_err(|e| store_error(&e))?;
    let (task, grant) = found.ok_or_else(|| RouteError::not_found("task"))?;
    let leases = reader.lease().of_task(&id).await.map_err(|e| store_error(&e))?;
    let snapshot = deps.cell.load();
    let why = stopped(&deps, &snapshot, &id);
    let found = findings(&leases, why.as_deref(), deps.clock.now());
    let shown = |live: bool| leases.iter().filter(move |l| l.is_live() == live).map(to_wire);
    Ok(Json(wire::TaskLedger {
        task: tasks::to_wire(&View::new(&deps, &snapshot), &task, &grant),
        holds: shown(true).collect(),
        returned: shown(false).collect(),
        findings: found
            .into_iter()
            .map(|f| wire::LedgerFinding {
                code: f.code.to_owned(),
                lease: f.lease.to_string(),
                text: f.text,
            })
            .collect(),
    }))
}

fn to_wire(l: &Lease) -> wire::Lease {
    let (because, trouble) = match &l.standing {
        LeaseStanding::Returning { reason, trouble } => (Some(reason.clone()), trouble.clone()),
        _ => (None, None),
    };
    let (refused, entry) = match &l.standing {
        LeaseStanding::Barred { probe, .. } => (Some(probe.code.clone()), None),
        LeaseStanding::Returned { probe, entry, .. } => {
            (probe.as_ref().map(|p| p.code.clone()), Some(*entry))
        }
        _ => (None, None),
    };
    wire::Lease {
        id: l.id.to_string(),
        task: l.task.to_string(),
        credential: l.name.clone(),
        handle: l.handle.clone(),
        reason: l.reason.clone(),
        requested_by: l.requested_by.clone(),
        created_at: l.created_at.to_string(),
        expires_at: l.expires_at.to_string(),
        state: l.standing.as_str().to_owned(),
        beyond_scope: l.is_beyond_scope,
        fingerprint: l.fingerprint.clone(),
        returning_because: because,
        trouble,
        refused,
        entry,
    }
}
