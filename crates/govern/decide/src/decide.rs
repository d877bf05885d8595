//! The decision, step by step.

use bailiwick_base::limits::{self, ACT_DEPTH_MAX};
use bailiwick_base::{IdentityId, ServerName, TaskId, Time};
use bailiwick_credential::{Claims, TaskState};
use bailiwick_inventory::{Identity, PinState, State, TenantState};
use smallvec::SmallVec;

use crate::call::{Call, ItemKind, Principal, Target};
use crate::composition;
use crate::decision::{Decision, Effect, Reasons};
use crate::judge::{self, Plainly};
use crate::lineage;
use crate::mark::Mark;
use crate::marks::Bounds;
use crate::reason::DenyReason;
use crate::snapshot::{ServerEntry, Snapshot, Space, TaskEntry};
use crate::stop;
use crate::view::{Aim, Caller, aim_of, caller_of};

/// How far ahead of ours the clock of whoever issued a token may run.
const CLOCK_SKEW: std::time::Duration = std::time::Duration::from_secs(5);

/// Why a call is refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) reason: DenyReason,
    pub(crate) policies: SmallVec<[String; 2]>,
    pub(crate) text: String,
}

impl Refused {
    pub(crate) fn new(reason: DenyReason, text: impl Into<String>) -> Self {
        Self {
            reason,
            policies: SmallVec::new(),
            text: text.into(),
        }
    }
}

/// What policies said yes.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) effect: Effect,
    pub(crate) reasons: Reasons,
}

/// What has been established about a call before any policy is asked.
#[derive(Debug)]
pub(crate) struct Established<'a> {
    pub(crate) space: &'a Space,
    pub(crate) call: &'a Call,
    pub(crate) caller: Caller<'a>,
    pub(crate) aim: Aim<'a>,
    /// The task the call is made under.
    pub(crate) task: Option<&'a TaskEntry>,
    /// The task tokens are asked for.
    pub(crate) issue: Option<&'a TaskEntry>,
    pub(crate) server: Option<&'a ServerEntry>,
    /// Whether the caller holds a scope on the server.
    pub(crate) scoped: bool,
    pub(crate) now: Time,
}

/// Decides `call`. Total and pure: the same arguments give the same decision, and nothing but the arguments
/// is read.
///
/// The order is part of the contract, because the first step that refuses gives the reason: tenant; times
/// and epoch of the token; marks on the credential; state of the identity; its composition; act ancestors; task
/// and its window; marks on the target; coarse scope; server; pin of the tool; policies, a rate being held
/// against the grants that permit.
#[must_use]
pub fn decide(snapshot: &Snapshot, call: &Call, now: Time) -> Decision {
    decided(snapshot, call, now, Plainly::No)
}

/// The same decision, reckoned the plain way: every policy of the tenant and every grant of it, the complete
/// context and all entities, through Cedar's own authorizer. Slow; it is what [`decide`] is held against.
#[must_use]
pub fn decide_plain(snapshot: &Snapshot, call: &Call, now: Time) -> Decision {
    decided(snapshot, call, now, Plainly::Yes)
}

fn decided(snapshot: &Snapshot, call: &Call, now: Time, plainly: Plainly) -> Decision {
    let answer = establish(snapshot, call, now).and_then(|found| {
        let granted = judge::judge(&found, plainly)?;
        lineage::require_granted(&found, plainly)?;
        Ok(granted)
    });
    let answer = answer.map(|granted| watched(snapshot, call, granted));
    let (effect, reasons) = match answer {
        Ok(granted) => (granted.effect, granted.reasons),
        Err(refused) => (
            Effect::Deny(refused.reason),
            Reasons {
                policies: refused.policies,
                text: refused.text,
            },
        ),
    };
    Decision {
        id: call.id.clone(),
        effect,
        reasons,
        obligations: SmallVec::new(),
        epoch: snapshot.epoch(),
        state_pos: snapshot.state_pos(),
        age_ms: 0,
    }
}

/// A call that a mark watches over is permitted all the same; its record names the mark.
fn watched(snapshot: &Snapshot, call: &Call, mut granted: Granted) -> Granted {
    if let Some(mark) = snapshot.watching(call) {
        let text = stop::sentence(&mark);
        let shown = limits::shown(&text);
        granted.reasons.policies.push(format!("mark:{shown}"));
        granted.reasons.policies.sort();
        granted.reasons.text = text;
    }
    granted
}

/// The steps before the policies, for a call that was permitted at `at`.
pub(crate) fn ended(snapshot: &Snapshot, call: &Call, at: Time) -> Option<DenyReason> {
    establish(snapshot, call, at).err().map(|refused| refused.reason)
}

/// Why `call` is refused whatever its arguments are, if it is.
pub(crate) fn barred(snapshot: &Snapshot, call: &Call, now: Time) -> Option<DenyReason> {
    let judged = establish(snapshot, call, now).and_then(|found| judge::require_unbarred(&found));
    judged.err().map(|refused| refused.reason)
}

fn establish<'a>(snapshot: &'a Snapshot, call: &'a Call, now: Time) -> Result<Established<'a>, Refused> {
    let space = require_tenant(snapshot, call)?;
    let caller = caller_of(call).map_err(|text| Refused::new(DenyReason::IdentityUnknown, text))?;
    if let Caller::Bearer(claims) = &caller {
        require_times(claims, call, now)?;
        require_epoch(snapshot, claims)?;
    }
    let aim = aim_of(call);
    // A mark on the target is told only to a living credential.
    let marked = stop::marked(snapshot, Some(space), call, &caller, &aim);
    let stopped = |(reason, mark): &(DenyReason, Mark)| Refused::new(*reason, stop::sentence(mark));
    if let Some(found) = marked.as_ref().filter(|(reason, _)| reason.kills_credential()) {
        return Err(stopped(found));
    }
    if let Principal::Named(named) = &call.principal {
        require_pep(snapshot, space, &named.pep, now)?;
    }
    if let Some(id) = caller.identity() {
        let identity = space.identity(id).map(|e| &*e.identity);
        require_living(id, identity, now)?;
    }
    if let Caller::Bearer(claims) = &caller {
        composition::require_present(space, claims)?;
        require_ancestors(snapshot, space, claims, now)?;
        lineage::require_living(snapshot, space, claims, now)?;
    }
    let task = match (caller.task(), caller.identity()) {
        (Some(task), Some(identity)) => Some(require_task(space, task, identity, now)?),
        _ => None,
    };
    let issue = match &call.target {
        Target::Issue {
            claims,
            subject: None,
            ..
        } => Some(require_issue(snapshot, space, &caller, claims, now)?),
        Target::Issue {
            claims,
            subject: Some(subject),
            ..
        } => {
            lineage::require_exchange(snapshot, space, call, &subject.claims, claims, now)?;
            Some(require_own(snapshot, space, &caller, claims, now)?)
        }
        _ => None,
    };
    if let Some(found) = &marked {
        return Err(stopped(found));
    }
    require_destination(&call.target)?;
    require_scope(&caller, &aim)?;
    let server = match aim.server() {
        None => None,
        Some(name) => Some(require_server(space, name, now)?),
    };
    require_pin(server, &aim)?;
    let scoped = is_scoped(&caller, task, &aim);
    Ok(Established {
        space,
        call,
        caller,
        aim,
        task,
        issue,
        server,
        scoped,
        now,
    })
}

fn require_tenant<'a>(snapshot: &'a Snapshot, call: &Call) -> Result<&'a Space, Refused> {
    let id = call.tenant();
    let refused = |text: String| Refused::new(DenyReason::TenantUnavailable, text);
    let space = snapshot.space(id);
    match space.and_then(|s| s.tenant.as_ref()) {
        None => Err(refused(format!("no tenant `{id}` here"))),
        Some((tenant, _)) if tenant.state != TenantState::Active => {
            Err(refused(format!("tenant `{id}` is closed")))
        }
        Some(_) => space.ok_or_else(|| refused(format!("no tenant `{id}` here"))),
    }
}

pub(crate) fn require_times(claims: &Claims, call: &Call, now: Time) -> Result<(), Refused> {
    if claims.tenant != *call.tenant() || claims.nhi.tenant() != call.tenant() {
        return Err(Refused::new(
            DenyReason::TenantUnavailable,
            "the token belongs to another tenant",
        ));
    }
    if now >= claims.expires_at {
        return Err(Refused::new(
            DenyReason::TokenExpired,
            format!("the token expired at {}", claims.expires_at),
        ));
    }
    if claims.issued_at > now.after(CLOCK_SKEW) {
        return Err(Refused::new(
            DenyReason::TokenExpired,
            format!(
                "the token says it was issued at {}, which is not yet",
                claims.issued_at
            ),
        ));
    }
    Ok(())
}

pub(crate) fn require_epoch(snapshot: &Snapshot, claims: &Claims) -> Result<(), Refused> {
    let refused = |text: String| Err(Refused::new(DenyReason::TokenEpochInvalid, text));
    if claims.epoch < snapshot.epoch_floor(&claims.tenant) {
        return refused(format!(
            "the token is of epoch {}, below the floor {}",
            claims.epoch,
            snapshot.epoch_floor(&claims.tenant)
        ));
    }
    if claims.epoch > snapshot.epoch() {
        return refused(format!(
            "the token is of epoch {}, which is not known here yet",
            claims.epoch
        ));
    }
    Ok(())
}

pub(crate) fn require_living(id: &IdentityId, identity: Option<&Identity>, now: Time) -> Result<(), Refused> {
    let Some(identity) = identity else {
        return Err(Refused::new(
            DenyReason::IdentityUnknown,
            format!("no identity `{id}` in this tenant"),
        ));
    };
    match &identity.state {
        State::Retired { .. } => {
            return Err(Refused::new(
                DenyReason::IdentityRevoked,
                format!("identity `{id}` is retired"),
            ));
        }
        State::Suspended { .. } => {
            return Err(Refused::new(
                DenyReason::IdentitySuspended,
                format!("identity `{id}` is suspended"),
            ));
        }
        State::Active | State::Probation => {}
    }
    if now >= identity.expires_at {
        return Err(Refused::new(
            DenyReason::IdentityExpired,
            format!("identity `{id}` expired at {}", identity.expires_at),
        ));
    }
    Ok(())
}

/// An enforcement point outside vouches for what it says only while it lives.
fn require_pep(snapshot: &Snapshot, space: &Space, pep: &IdentityId, now: Time) -> Result<(), Refused> {
    if let Some(mark) = stop::identity_mark(snapshot, space, pep, snapshot.epoch(), Bounds::default()) {
        let text = format!("enforcement point: {}", stop::sentence(&mark));
        return Err(Refused::new(DenyReason::IdentitySuspended, text));
    }
    require_living(pep, space.identity(pep).map(|e| &*e.identity), now)
        .map_err(|r| Refused::new(r.reason, format!("enforcement point: {}", r.text)))
}

/// Whoever stands behind the bearer: the act chain, and the subject where it is an identity of ours. A token
/// dies with any of them.
pub(crate) fn require_ancestors(
    snapshot: &Snapshot,
    space: &Space,
    claims: &Claims,
    now: Time,
) -> Result<(), Refused> {
    let refused = |text: String| Refused::new(DenyReason::ActorRevoked, text);
    if claims.act.len() > ACT_DEPTH_MAX {
        return Err(refused(format!("the act chain is longer than {ACT_DEPTH_MAX}")));
    }
    let subject = IdentityId::parse(&claims.tenant, &claims.subject).ok();
    for id in claims
        .act
        .iter()
        .chain(subject.as_ref())
        .filter(|id| **id != claims.nhi)
    {
        if id.tenant() != &claims.tenant {
            return Err(refused(format!("ancestor `{id}` belongs to another tenant")));
        }
        if let Some(mark) = stop::identity_mark(snapshot, space, id, claims.epoch, Bounds::default()) {
            return Err(refused(format!("ancestor `{id}`: {}", stop::sentence(&mark))));
        }
        require_living(id, space.identity(id).map(|e| &*e.identity), now)
            .map_err(|r| refused(format!("ancestor: {}", r.text)))?;
    }
    Ok(())
}

pub(crate) fn require_task<'a>(
    space: &'a Space,
    id: &TaskId,
    identity: &IdentityId,
    now: Time,
) -> Result<&'a TaskEntry, Refused> {
    let unknown = || {
        Refused::new(
            DenyReason::TaskUnknown,
            format!("no task `{id}` of identity `{identity}` in this tenant"),
        )
    };
    let entry = space
        .task(id)
        .filter(|e| e.task.identity == *identity)
        .ok_or_else(unknown)?;
    if let TaskState::Closed { at, .. } = &entry.task.state {
        return Err(Refused::new(
            DenyReason::TaskClosed,
            format!("task `{id}` was closed at {at}"),
        ));
    }
    let (opens, closes) = (
        entry.task.opens_at,
        entry.task.closes_at.min(entry.grant.expires_at),
    );
    if now < opens || now >= closes {
        return Err(Refused::new(
            DenyReason::TaskOutsideWindow,
            format!("task `{id}` runs from {opens} to {closes}"),
        ));
    }
    Ok(entry)
}

/// Tokens are issued to an identity for a task of its own; the bearer of a token renews it for the same task.
/// A delegated token is not renewed, and nothing but an exchange makes one: its actors would be lost on the way.
fn require_issue<'a>(
    snapshot: &Snapshot,
    space: &'a Space,
    caller: &Caller<'_>,
    wanted: &Claims,
    now: Time,
) -> Result<&'a TaskEntry, Refused> {
    let is_delegated = |claims: &Claims| !claims.act.is_empty() || !claims.lineage.is_empty();
    if matches!(caller, Caller::Bearer(claims) if is_delegated(claims)) {
        return Err(Refused::new(
            DenyReason::NoGrant,
            "this token is not renewed: exchange the subject token again, or use the refresh token",
        ));
    }
    // What a consent issues names it, and nothing else names anything: it could not be revoked otherwise.
    let of_consent = |claims: &Claims| match wanted.lineage.as_slice() {
        [link] => link.token == claims.token && link.task == claims.task,
        _ => false,
    };
    let stands_alone = wanted.act.is_empty()
        && (wanted.lineage.is_empty() || matches!(caller, Caller::Bearer(claims) if of_consent(claims)));
    if !stands_alone {
        return Err(Refused::new(
            DenyReason::NoGrant,
            "a delegated token is made by an exchange only",
        ));
    }
    require_own(snapshot, space, caller, wanted, now)
}

/// What the tokens will say stays within the task, its grant and the snapshot they are issued under.
fn require_own<'a>(
    snapshot: &Snapshot,
    space: &'a Space,
    caller: &Caller<'_>,
    wanted: &Claims,
    now: Time,
) -> Result<&'a TaskEntry, Refused> {
    let Some(identity) = caller.identity() else {
        return Err(Refused::new(
            DenyReason::IdentityUnknown,
            "tokens are issued to registered identities only",
        ));
    };
    let refused = |text: &str| Err(Refused::new(DenyReason::NoGrant, text));
    if matches!(caller, Caller::Bearer(claims) if claims.task != wanted.task) {
        return refused("a token is renewed for its own task only");
    }
    if wanted.nhi != *identity || wanted.tenant != *identity.tenant() {
        return refused("a token is issued to the identity that asks for it");
    }
    let entry = require_task(space, &wanted.task, identity, now)?;
    let ends = entry.task.closes_at.min(entry.grant.expires_at);
    if wanted.expires_at > ends {
        return refused("a token never outlives its task");
    }
    if wanted.epoch > snapshot.epoch() {
        return refused("a token never names an epoch that is not known here");
    }
    let coarse = entry.grant.coarse_scopes();
    composition::require_stated(space, caller, wanted)?;
    if !wanted.scopes.iter().all(|s| coarse.covers(s)) {
        return refused("a token names no scope that its grant does not");
    }
    if let Caller::Bearer(claims) = caller
        && !wanted.scopes.iter().all(|s| claims.scopes.covers(s))
    {
        return refused("a renewed token names no scope that the token shown does not");
    }
    Ok(entry)
}

fn require_destination(target: &Target) -> Result<(), Refused> {
    match target {
        Target::Http {
            server: None, place, ..
        } => Err(Refused::new(
            DenyReason::ServerUnknown,
            crate::view::no_destination(place),
        )),
        _ => Ok(()),
    }
}

fn require_scope(caller: &Caller<'_>, aim: &Aim<'_>) -> Result<(), Refused> {
    if let (Caller::Bearer(claims), Some((server, name))) = (caller, aim.scope_name())
        && !claims.scopes.contains(server.as_str(), name)
    {
        let name = bailiwick_base::limits::shown(name);
        return Err(Refused::new(
            DenyReason::ScopeMissing,
            format!("the token's scope does not name `{server}:{name}`"),
        ));
    }
    Ok(())
}

/// A server is an identity too: it stops with it.
fn require_server<'a>(space: &'a Space, name: &ServerName, now: Time) -> Result<&'a ServerEntry, Refused> {
    let unknown = || {
        Refused::new(
            DenyReason::ServerUnknown,
            format!("no server `{name}` in this tenant"),
        )
    };
    let entry = space.server(name).ok_or_else(unknown)?;
    let id = &entry.server.identity;
    let identity = space.identity(id).ok_or_else(|| {
        Refused::new(
            DenyReason::ServerUnknown,
            format!("server `{name}` has no identity in this tenant"),
        )
    })?;
    require_living(id, Some(&identity.identity), now).map_err(|r| {
        Refused::new(
            DenyReason::KilledByOperator,
            format!("server `{name}`: {}", r.text),
        )
    })?;
    Ok(entry)
}

fn require_pin(server: Option<&ServerEntry>, aim: &Aim<'_>) -> Result<(), Refused> {
    let (Aim::Item(item), Some(server)) = (aim, server) else {
        return Ok(());
    };
    if item.kind != ItemKind::Tool {
        return Ok(());
    }
    let (reason, why) = match server.tools.get(item.name).map(|t| t.state) {
        Some(PinState::Pinned | PinState::Reads) => return Ok(()),
        Some(PinState::Drifted) => (DenyReason::ToolDrifted, "changed since it was pinned"),
        Some(PinState::New) | None => (DenyReason::ToolNotPinned, "is not pinned"),
    };
    let name = bailiwick_base::limits::shown(item.name);
    Err(Refused::new(
        reason,
        format!("tool `{}:{name}` {why}", item.server),
    ))
}

/// Whether the caller holds any scope on the server: in its token, or without a token in its task's grant.
fn is_scoped(caller: &Caller<'_>, task: Option<&TaskEntry>, aim: &Aim<'_>) -> bool {
    let Some(server) = aim.server() else { return false };
    match caller {
        Caller::Bearer(claims) => claims.scopes.iter().any(|s| {
            s.strip_prefix(server.as_str())
                .is_some_and(|rest| rest.starts_with(':'))
        }),
        _ => task.is_some_and(|t| t.grant.scopes.iter().any(|s| s.server == *server)),
    }
}
