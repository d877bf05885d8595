//! `/v1/tenants/{tenant}/kill`, `/v1/all-tenants/kill`, and their resumes.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bailiwick_base::{
    AgentLabel, Digest, IdentityId, ServerName, TaskId, TenantId, TokenId, ToolName, limits, nearest,
};
use bailiwick_decide::{MarkEffect, MarkScope, Snapshot, Thing};
use bailiwick_grant::Grant;
use bailiwick_inventory::{self as inventory, State as IdentityState};
use bailiwick_store::{Context, Receipt, SetMark, Tx};
use bailiwick_wire::{self as wire, SelectorKind};
use http::StatusCode;

use crate::Deps;
use crate::body::Strict;
use crate::command::{CommandError, answer, committed, mark_replayed, request_digest, store_error};
use crate::effective::{View, in_words, scope_in_words};
use crate::problem::RouteError;
use crate::query::Path;
use crate::receipts::{Ends, contained, foresee, micros, withdraw};
use crate::received::{Received, Until};
use crate::session::Session;
use crate::stop::{Stop, Stopped, reach_of};

/// Longest reason, in bytes.
const REASON_MAX: usize = 1_024;
/// Identities, and tasks, that an answer lists; it says how many there are.
const LISTED_MAX: usize = 1_000;
/// Identities that one transaction brings back.
const RESUMED_MAX: usize = 32;

pub(crate) async fn kill(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    command: Received<wire::KillRequest>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    if command.body.scope == SelectorKind::All {
        return Err(RouteError::invalid(
            "kill.scope",
            "scope `all` is killed at /v1/all-tenants/kill",
        ));
    }
    let scope = scope(&deps, &tenant, command.body.scope, &command.body.name)?;
    run(&deps, scope, &command).await
}

pub(crate) async fn kill_all(
    State(deps): State<Deps>,
    command: Received<wire::KillRequest>,
) -> Result<Response, RouteError> {
    if command.body.scope != SelectorKind::All {
        return Err(RouteError::invalid(
            "kill.scope",
            "only scope `all` is killed across tenants",
        ));
    }
    run(&deps, MarkScope::All, &command).await
}

async fn run(
    deps: &Deps,
    scope: MarkScope,
    command: &Received<wire::KillRequest>,
) -> Result<Response, RouteError> {
    let (session, body) = (&command.session, &command.body);
    let effect = effect_of(body)?;
    let before = deps.cell.load();
    if body.dry_run {
        let mut stopped = dry_run(deps, &scope, effect, &before, deps.in_flight(&scope, effect));
        foresee(deps, &scope, effect, &mut stopped).await?;
        stopped.second_operator = second_operator(deps, session, &scope, effect);
        return Ok(Json(stopped).into_response());
    }
    let stop = Stop {
        scope: scope.clone(),
        effect,
        reason: reason(body)?,
    };
    let second = require_second(deps, session, &scope, effect, body.break_glass)?;
    let request = request_digest("kill", body)?;
    if second == Second::Awaited {
        return super::receipts::freeze(deps, session, stop, (request, command.heard)).await;
    }
    let (receipt, done) = match unless_done(deps, session, &stop, request).await? {
        Some(receipt) => (receipt, Err(command.heard.until)),
        None => {
            let done = deps.stop(session, stop, request, command.heard).await?;
            note_stop(session, &scope, effect, &done);
            (Arc::clone(&done.receipt), Ok(done))
        }
    };
    // Reckoned last: listing a large tenant must not hold up its stop.
    let answer = told(deps, (&scope, effect), &before, &receipt, done).await;
    let mut response = Json(answer).into_response();
    mark_replayed(&mut response, &receipt);
    Ok(response)
}

/// The answer to a stop; where that was done before, it is only how far it is to have come.
pub(crate) async fn told(
    deps: &Deps,
    (scope, effect): (&MarkScope, MarkEffect),
    before: &Snapshot,
    receipt: &Receipt,
    done: Result<Stopped, Until>,
) -> wire::KillReceipt {
    let ends = match &done {
        Ok(done) => done.ends.clone(),
        Err(Until::Committed) => Ends::default(),
        Err(Until::Contained) => contained(deps, &reach_of(scope), receipt.epoch, receipt.pos).await,
    };
    let done = done.ok();
    let cancelled = done.as_ref().map_or(0, |d| d.cancelled);
    wire::KillReceipt {
        scope: scope_in_words(scope),
        effect: effect.as_str().to_owned(),
        reversible: effect.is_reversible(),
        epoch: receipt.epoch.0,
        position: receipt.pos.0,
        denied_us: done.as_ref().map_or(0, |d| micros(d.denied)),
        committed_us: done.as_ref().map_or(0, |d| micros(d.committed)),
        cancelled_calls: cancelled,
        receipt: done.as_ref().is_none_or(|d| d.kept).then_some(receipt.epoch.0),
        pending: false,
        points: done.map(|d| d.points).unwrap_or_default(),
        contained_us: ends.contained_us,
        nodes: ends.nodes,
        // Reckoned last: listing a large tenant must not hold up its stop.
        stopped: dry_run(deps, scope, effect, before, cancelled),
        lifted: Vec::new(),
        still: Vec::new(),
    }
}

/// How far it is to be contained. `suspend` is the older word for the level `frozen`.
fn effect_of(body: &wire::KillRequest) -> Result<MarkEffect, RouteError> {
    let level = match (body.level, body.suspend) {
        (None, false) => wire::Level::Killed,
        (None | Some(wire::Level::Frozen), true) => wire::Level::Frozen,
        (Some(level), false) => level,
        (Some(_), true) => {
            return Err(RouteError::invalid(
                "kill.level",
                "`level` and `suspend` say different things: send `level` alone",
            ));
        }
    };
    Ok(match level {
        wire::Level::Frozen => MarkEffect::Suspend,
        wire::Level::Killed => MarkEffect::Kill,
        wire::Level::NoEgress => MarkEffect::NoEgress,
        wire::Level::Observe => MarkEffect::Observe,
        wire::Level::ReadOnly => MarkEffect::ReadOnly,
    })
}

/// The level of a mark.
pub(crate) const fn level_of(effect: MarkEffect) -> wire::Level {
    match effect {
        MarkEffect::Kill => wire::Level::Killed,
        MarkEffect::NoEgress => wire::Level::NoEgress,
        MarkEffect::Observe => wire::Level::Observe,
        MarkEffect::ReadOnly => wire::Level::ReadOnly,
        MarkEffect::Suspend => wire::Level::Frozen,
    }
}

/// What was stopped, its mark, and how long that took, in one line of the log.
pub(crate) fn note_stop(session: &Session, scope: &MarkScope, effect: MarkEffect, done: &Stopped) {
    tracing::info!(
        scope = %limits::shown(&scope_in_words(scope)),
        effect = effect.as_str(),
        epoch = done.receipt.epoch.0,
        position = done.receipt.pos.0,
        operator = %session.operator,
        denied_us = micros(done.denied),
        committed_us = micros(done.committed),
        cancelled_calls = done.cancelled,
        "kill or suspension committed"
    );
}

/// What the room would refuse is refused before anything is stopped, unless it is refused because this very
/// command was carried out before.
async fn unless_done(
    deps: &Deps,
    session: &Session,
    stop: &Stop,
    request: Digest,
) -> Result<Option<Arc<Receipt>>, RouteError> {
    let MarkScope::Identity(id) = &stop.scope else {
        return Ok(None);
    };
    let Err(refused) = require_stoppable(deps, id, &stop.reason, stop.effect) else {
        return Ok(None);
    };
    match deps.replayed(session, reach_of(&stop.scope), request).await? {
        Some(receipt) => Ok(Some(receipt)),
        None => Err(refused),
    }
}

pub(crate) fn reason(body: &wire::KillRequest) -> Result<String, RouteError> {
    let given = body.reason.trim();
    if given.is_empty() {
        return Err(RouteError::invalid(
            "kill.reason-missing",
            "`reason` is missing: say why; it is recorded",
        ));
    }
    require_plain("kill.reason-malformed", "reason", given, REASON_MAX)?;
    Ok(if body.break_glass {
        format!("{given} (break-glass)")
    } else {
        given.to_owned()
    })
}

fn require_plain(code: &str, field: &str, text: &str, max: usize) -> Result<(), RouteError> {
    if text.len() > max || text.chars().any(char::is_control) {
        let detail = format!("`{field}` must be one line of at most {max} bytes");
        return Err(RouteError::invalid(code, detail));
    }
    Ok(())
}

/// Whether a second operator has agreed, or has to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Second {
    /// Frozen until he has.
    Awaited,
    /// Nobody else is needed, or he has.
    Settled,
}

/// The irreversible kill of an issuer, a tenant or everything takes two operators; a sole one breaks the glass.
fn require_second(
    deps: &Deps,
    session: &Session,
    scope: &MarkScope,
    effect: MarkEffect,
    break_glass: bool,
) -> Result<Second, RouteError> {
    let Some(needed) = second_operator(deps, session, scope, effect) else {
        return Ok(Second::Settled);
    };
    let sole = needed == wire::SecondOperator::BreakGlass;
    let refused = |hint: &str| {
        RouteError::new(
            StatusCode::FORBIDDEN,
            "kill.second-operator",
            "an irreversible kill of an issuer, a tenant or everything needs a second operator",
        )
        .hint(hint)
    };
    match (sole, break_glass) {
        (true, true) => Ok(Second::Settled),
        (true, false) => Err(refused(
            "you are the only operator: add --break-glass, which is recorded; or use suspend",
        )),
        (false, true) => Err(refused(
            "breaking the glass is for a sole operator: leave it out, and it is frozen until a second one signs",
        )),
        (false, false) => Ok(Second::Awaited),
    }
}

/// What one operator's word is not enough for, and what it takes beside it.
fn second_operator(
    deps: &Deps,
    session: &Session,
    scope: &MarkScope,
    effect: MarkEffect,
) -> Option<wire::SecondOperator> {
    let wide = matches!(
        scope,
        MarkScope::Issuer(..) | MarkScope::Tenant(_) | MarkScope::All
    );
    if !wide || effect.is_reversible() || session.second.is_some() {
        return None;
    }
    Some(if deps.operators.load().len() < 2 {
        wire::SecondOperator::BreakGlass
    } else {
        wire::SecondOperator::Signs
    })
}

/// What the words of a request select.
pub(crate) fn scope(
    deps: &Deps,
    tenant: &TenantId,
    kind: SelectorKind,
    name: &str,
) -> Result<MarkScope, RouteError> {
    let malformed = |error: &dyn std::error::Error| RouteError::invalid("kill.name", error.to_string());
    let snapshot = deps.cell.load();
    let identities: Vec<_> = match kind {
        SelectorKind::Agent | SelectorKind::Owner => snapshot.identities(tenant).collect(),
        _ => Vec::new(),
    };
    Ok(match kind {
        SelectorKind::Agent => {
            let label = AgentLabel::parse(name).map_err(|e| malformed(&e))?;
            let labels = identities.iter().filter_map(|i| i.labels.agent.as_ref());
            require_known("agent", name, labels.map(AgentLabel::as_str))?;
            MarkScope::Agent(tenant.clone(), label)
        }
        SelectorKind::All => MarkScope::All,
        SelectorKind::Identity => MarkScope::Identity(super::identity(deps, tenant, name)?),
        SelectorKind::Issuer => {
            let own = deps.issuer(tenant);
            let trusted = snapshot.trusts(tenant).map(|rule| rule.issuer.url.as_str());
            let known: Vec<&str> = trusted.chain([own.as_str()]).collect();
            require_known("issuer", name, known.into_iter())?;
            MarkScope::Issuer(tenant.clone(), name.to_owned())
        }
        SelectorKind::Owner => {
            require_known("owner", name, identities.iter().map(|i| i.owner.team.as_str()))?;
            MarkScope::Owner(tenant.clone(), name.to_owned())
        }
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
            require_tool(&snapshot, tenant, &server, &tool)?;
            MarkScope::Tool(tenant.clone(), server, tool)
        }
    })
}

/// A tool that is not there yet cannot be meant: it would be refused for not being pinned.
fn require_tool(
    snapshot: &Snapshot,
    tenant: &TenantId,
    server: &ServerName,
    tool: &ToolName,
) -> Result<(), RouteError> {
    let Some(known) = snapshot.server(tenant, server) else {
        let servers: Vec<&str> = snapshot.servers(tenant).map(|s| s.name.as_str()).collect();
        return require_known("server", server.as_str(), servers.into_iter());
    };
    let tools = known.pins.iter().map(|p| p.name.as_str());
    require_known("tool", tool.as_str(), tools)
}

/// A stop that names nothing is a slip of the pen, and whoever made it believes that something was stopped.
fn require_known<'a>(
    what: &str,
    name: &str,
    mut known: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), RouteError> {
    let names = known.clone();
    if known.any(|k| k == name) {
        return Ok(());
    }
    let error = RouteError::not_found(what);
    Err(match nearest(name, names) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error,
    })
}

/// What a command stops, or would stop, of what there was before it.
fn dry_run(
    deps: &Deps,
    scope: &MarkScope,
    effect: MarkEffect,
    snapshot: &Snapshot,
    calls_in_flight: u64,
) -> wire::DryRun {
    let tenants: Vec<TenantId> = match scope {
        MarkScope::All => snapshot.tenants().map(|(t, _)| t.id.clone()).collect(),
        _ => vec![reach_tenant(scope)],
    };
    let view = View::new(deps, snapshot);
    let level = level_of(effect);
    let mut out = wire::DryRun {
        scope: scope_in_words(scope),
        level: Some(level),
        does: level.does().to_owned(),
        reversible: effect.is_reversible(),
        calls_in_flight,
        ..wire::DryRun::default()
    };
    let is_thing = matches!(scope, MarkScope::Server(..) | MarkScope::Tool(..));
    let mut users = BTreeSet::new();
    for tenant in &tenants {
        for (task, grant) in snapshot.tasks(tenant) {
            let open = matches!(
                view.task(task).state.as_str(),
                "no-egress" | "open" | "read-only" | "suspended" | "waiting"
            );
            let named = names_task(scope, &task.id, grant) || names_identity(snapshot, scope, &task.identity);
            if open && named {
                out.task_count += 1;
                if is_thing && users.len() < LISTED_MAX {
                    users.insert(task.identity.clone());
                }
                if out.tasks.len() < LISTED_MAX {
                    out.tasks.push(task.id.to_string());
                    out.names.insert(task.id.to_string(), task.purpose.clone());
                }
            }
        }
        for identity in snapshot.identities(tenant) {
            let living = !matches!(identity.state, IdentityState::Retired { .. });
            if living && names_identity(snapshot, scope, &identity.id) {
                out.identity_count += 1;
                if out.identities.len() < LISTED_MAX {
                    out.identities.push(identity.id.to_string());
                    out.names.insert(identity.id.to_string(), identity.name.clone());
                }
            }
        }
    }
    for id in users {
        if let Some(identity) = snapshot.identity(&id) {
            out.names.insert(id.to_string(), identity.name.clone());
        }
        out.users.push(id.to_string());
    }
    out
}

fn reach_tenant(scope: &MarkScope) -> TenantId {
    match reach_of(scope) {
        bailiwick_store::Reach::Tenant(tenant) => tenant,
        _ => inventory::installation(),
    }
}

/// Whether a stop cuts into a task: by its id, or because it is granted something on what stops.
pub(crate) fn names_task(scope: &MarkScope, task: &TaskId, grant: &Grant) -> bool {
    match scope {
        MarkScope::Task(named) => named == task,
        MarkScope::Server(_, server) => grant.scopes.iter().any(|s| s.server == *server),
        MarkScope::Tool(_, server, tool) => grant
            .scopes
            .iter()
            .any(|s| s.server == *server && s.action.as_ref().is_none_or(|a| a.as_str() == tool.as_str())),
        _ => false,
    }
}

pub(crate) fn names_identity(
    snapshot: &Snapshot,
    scope: &MarkScope,
    id: &bailiwick_base::IdentityId,
) -> bool {
    let Some(identity) = snapshot.identity(id) else {
        return false;
    };
    match scope {
        MarkScope::All | MarkScope::Tenant(_) => true,
        // Of an issuer that is trusted, what its workloads hold stops, and nobody's own registration.
        MarkScope::Issuer(tenant, url) => !snapshot.trusts(tenant).any(|rule| rule.issuer.url == *url),
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
    let (before, calls) = (deps.cell.load(), deps.in_flight(&scope, MarkEffect::Suspend));
    let mut stopped = dry_run(deps, &scope, MarkEffect::Suspend, &before, calls);
    // Nothing is stopped by it: what would be lifted is what counts.
    (stopped.level, stopped.does) = (None, String::new());
    if body.dry_run {
        stopped.lifts = liftable(deps, &scope).await?;
        return Ok(Json(stopped).into_response());
    }
    require_plain("resume.reason-malformed", "reason", &body.reason, REASON_MAX)?;
    let (lifted, resumed, reason) = (scope.clone(), scope.clone(), body.reason.clone());
    resume_members(deps, &context, &scope).await?;
    let receipt = deps
        .store
        .transact(context, async move |tx: &mut Tx| {
            answer(&lift_in(tx, &lifted, &reason).await?)
        })
        .await
        .map_err(|e: CommandError| RouteError::from(e))?;
    let mut response = Json(wire::KillReceipt {
        scope: scope_in_words(&scope),
        effect: "resume".to_owned(),
        reversible: true,
        epoch: receipt.epoch.0,
        position: receipt.pos.0,
        denied_us: 0,
        committed_us: micros(deps.clock.monotonic().saturating_sub(received)),
        cancelled_calls: 0,
        receipt: None,
        pending: false,
        points: Vec::new(),
        contained_us: None,
        nodes: Vec::new(),
        stopped,
        // A receipt of before these were kept has none.
        lifted: serde_json::from_slice(&receipt.answer).unwrap_or_default(),
        still: standing_on(deps, &resumed),
    })
    .into_response();
    mark_replayed(&mut response, &receipt);
    Ok(response)
}

/// What still stops the things of a scope whose suspension was lifted.
fn standing_on(deps: &Deps, scope: &MarkScope) -> Vec<String> {
    let snapshot = deps.cell.load();
    let tenant = reach_tenant(scope);
    let mut things: Vec<Thing<'_>> = match scope {
        MarkScope::All => snapshot.tenants().map(|(t, _)| Thing::Tenant(&t.id)).collect(),
        MarkScope::Identity(id) => vec![Thing::Identity(id)],
        MarkScope::Server(_, server) => vec![Thing::Server(&tenant, server)],
        MarkScope::Task(id) => vec![Thing::Task(id)],
        MarkScope::Tool(_, server, tool) => vec![Thing::Tool(&tenant, server, tool)],
        MarkScope::Agent(..)
        | MarkScope::Issuer(..)
        | MarkScope::Owner(..)
        | MarkScope::Tenant(_)
        | MarkScope::Token(_) => vec![Thing::Tenant(&tenant)],
    };
    let members = deps.members(scope);
    things.extend(members.iter().map(Thing::Identity));
    let marks = things
        .into_iter()
        .filter_map(|thing| snapshot.mark_on(thing, &deps.issuer(&tenant)));
    let mut still: Vec<String> = marks.map(|mark| in_words(&mark)).collect();
    still.sort();
    still.dedup();
    still
}

/// The states of an agent's or owner's identities come back while the mark still stops them, a few at a time: no kill
/// waits behind a large family, and a lift that breaks off leaves everybody stopped.
async fn resume_members(deps: &Deps, context: &Context, scope: &MarkScope) -> Result<(), RouteError> {
    if !matches!(scope, MarkScope::Agent(..) | MarkScope::Owner(..)) {
        return Ok(());
    }
    for batch in deps.members(scope).chunks(RESUMED_MAX) {
        let (batch, scope) = (batch.to_vec(), scope.clone());
        deps.store
            .transact(context.clone().alone(), async move |tx: &mut Tx| {
                let marks = tx.mark().lookup(&scope).await?;
                if marks.iter().any(|m| m.mark.effect == MarkEffect::Suspend) {
                    for id in &batch {
                        resume_member(tx, id).await?;
                    }
                }
                answer(&())
            })
            .await
            .map_err(|e: CommandError| RouteError::from(e))?;
    }
    Ok(())
}

/// The levels that a resume would lift now.
async fn liftable(deps: &Deps, scope: &MarkScope) -> Result<Vec<wire::Level>, RouteError> {
    let mut reader = deps
        .store
        .reader(reach_of(scope))
        .await
        .map_err(|e| store_error(&e))?;
    let marks = reader.mark().lookup(scope).await.map_err(|e| store_error(&e))?;
    Ok(levels(&marks))
}

/// The levels among marks that can be lifted, the mildest first.
fn levels(marks: &[SetMark]) -> Vec<wire::Level> {
    let effects: BTreeSet<MarkEffect> = marks.iter().map(|m| m.mark.effect).collect();
    let liftable = effects.into_iter().filter(|effect| effect.is_reversible());
    liftable.map(level_of).collect()
}

/// Lifts what can be lifted, and tells the levels.
async fn lift_in(tx: &mut Tx, scope: &MarkScope, reason: &str) -> Result<Vec<wire::Level>, CommandError> {
    let marks = tx.mark().lookup(scope).await?;
    let suspended = marks.iter().any(|m| m.mark.effect == MarkEffect::Suspend);
    let liftable = marks.iter().any(|m| m.mark.effect.is_reversible());
    // Milder marks changed no state; without any mark the room says what is wrong.
    if let MarkScope::Identity(id) = scope
        && (suspended || !liftable)
    {
        let identity = tx
            .identity()
            .lookup(id)
            .await?
            .ok_or_else(|| RouteError::not_found("identity"))?;
        let transition = inventory::resume(identity, tx.now())?;
        tx.identity().apply(transition).await?;
    }
    if !liftable {
        return Err(RouteError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "resume.not-suspended",
            "nothing is suspended on this scope; a kill cannot be lifted",
        )
        .into());
    }
    tx.mark().lift(scope, Some(reason)).await?;
    withdraw(tx, scope).await?;
    Ok(levels(&marks))
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
    slug: &str,
    named: &str,
    command: &Received<wire::StateChange>,
    effect: MarkEffect,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(deps, slug)?;
    let id = super::identity(deps, &tenant, named)?;
    let request = request_digest(&format!("identities/{id}/{effect:?}"), &command.body)?;
    let stop = Stop {
        scope: MarkScope::Identity(id.clone()),
        effect,
        reason: command.body.reason.clone().unwrap_or_default(),
    };
    let receipt = match unless_done(deps, &command.session, &stop, request).await? {
        Some(receipt) => receipt,
        None => {
            deps.stop(&command.session, stop, request, command.heard)
                .await?
                .receipt
        }
    };
    Ok(committed(&receipt, StatusCode::OK))
}

/// Whether the room would let this identity be stopped.
fn require_stoppable(
    deps: &Deps,
    id: &bailiwick_base::IdentityId,
    reason: &str,
    effect: MarkEffect,
) -> Result<(), RouteError> {
    let snapshot = deps.cell.load();
    let identity = snapshot
        .identity(id)
        .ok_or_else(|| RouteError::not_found("identity"))?;
    let (identity, now) = (inventory::Identity::clone(identity), deps.clock.now());
    let planned = match effect {
        MarkEffect::Suspend => inventory::suspend(identity, reason, now),
        MarkEffect::Kill => inventory::retire(identity, reason, now),
        // No state of it changes, so none is in the way.
        MarkEffect::NoEgress | MarkEffect::Observe | MarkEffect::ReadOnly => return Ok(()),
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
    let (reason, resumed) = (body.reason.unwrap_or_default(), id.clone());
    let doors = deps.clone();
    let receipt = deps
        .command(
            session,
            &tenant,
            (&asked.0, &asked.1),
            async move |tx: &mut Tx| {
                lift_in(tx, &MarkScope::Identity(id.clone()), &reason).await?;
                let resumed = tx
                    .identity()
                    .lookup(&id)
                    .await?
                    .ok_or_else(|| RouteError::not_found("identity"))?;
                answer(&super::identities::to_wire(&doors, &resumed))
            },
        )
        .await?;
    // What the command wrote down still saw the mark that it lifts; this is what holds now.
    let Some(identity) = deps.cell.load().identity(&resumed).cloned() else {
        return Ok(committed(&receipt, StatusCode::OK));
    };
    let mut response = Json(super::identities::to_wire(deps, &identity)).into_response();
    mark_replayed(&mut response, &receipt);
    Ok(response)
}
