//! Which mark stops a call, and the reason it gives.

use bailiwick_base::{Epoch, IdentityId, ToolName, TrustId};
use bailiwick_credential::Claims;

use crate::call::{Call, ItemKind, Target};
use crate::containment;
use crate::mark::{Mark, MarkEffect, MarkScope};
use crate::marks::{Bounds, Standing, Voucher};
use crate::reason::DenyReason;
use crate::snapshot::{Snapshot, Space};
use crate::view::{Aim, Caller};

/// The strictest mark on anything the call falls under, act ancestors and the identity of the server included.
pub(crate) fn marked_anywhere(
    snapshot: &Snapshot,
    space: Option<&Space>,
    call: &Call,
    caller: &Caller<'_>,
    aim: &Aim<'_>,
) -> Option<(DenyReason, Mark)> {
    let found = marked(snapshot, space, call, caller, aim);
    if found
        .as_ref()
        .is_some_and(|(reason, _)| reason.kills_credential())
    {
        return found;
    }
    if let (Caller::Bearer(claims), Some(space)) = (caller, space)
        && let Some(mark) = behind(snapshot, space, claims, Bounds::default())
    {
        return Some((DenyReason::ActorRevoked, mark));
    }
    // An exchange that is under way dies with its subject token too.
    if let (
        Target::Issue {
            subject: Some(subject),
            ..
        },
        Some(space),
    ) = (&call.target, space)
        && let Some(found) = credential_marked(snapshot, space, &subject.claims)
    {
        return Some(found);
    }
    found
}

/// The strictest mark on whoever stands behind a token and on the tokens it stands on.
fn behind(snapshot: &Snapshot, space: &Space, claims: &Claims, bounds: Bounds) -> Option<Mark> {
    ancestors(claims)
        .filter_map(|id| identity_mark(snapshot, space, &id, claims.epoch, bounds))
        .max_by_key(|mark| mark.effect)
        .or_else(|| crate::lineage::marked(snapshot, space, claims, bounds))
}

/// The mark that stops nothing and lets the record say that the call was watched.
pub(crate) fn watched(
    snapshot: &Snapshot,
    space: &Space,
    call: &Call,
    caller: &Caller<'_>,
    aim: &Aim<'_>,
) -> Option<Mark> {
    let bounds = Bounds {
        watched: true,
        ..Bounds::default()
    };
    let tool = tool_of(Some(space), aim);
    let mut standing = standing_of(snapshot, Some(space), call, caller, aim);
    (standing.bounds, standing.tool) = (bounds, tool.as_ref());
    let own = snapshot.strictest(&standing);
    own.or_else(|| match caller {
        Caller::Bearer(claims) => behind(snapshot, space, claims, bounds),
        _ => None,
    })
}

/// The strictest mark on a token, on what it belongs to, and on what it stands on.
pub(crate) fn credential_marked(
    snapshot: &Snapshot,
    space: &Space,
    claims: &Claims,
) -> Option<(DenyReason, Mark)> {
    let mut standing = Standing::of(&claims.tenant, claims.epoch);
    standing.issuer = Some(&claims.issuer);
    standing.voucher = voucher(Some(space), claims);
    standing.token = Some(&claims.token);
    standing.task = Some(&claims.task);
    standing.identity = Some(&claims.nhi);
    if let Some(entry) = space.identity(&claims.nhi) {
        standing.owner = Some(&entry.identity.owner.team);
        standing.agent = entry.identity.labels.agent.as_ref();
    }
    if let Some(mark) = snapshot.strictest(&standing) {
        return Some((reason(&mark), mark));
    }
    behind(snapshot, space, claims, Bounds::default()).map(|mark| (DenyReason::ActorRevoked, mark))
}

/// Who vouched for the workload that has this token, if a trust rule gave it.
fn voucher<'a>(space: Option<&'a Space>, claims: &Claims) -> Option<Voucher<'a>> {
    let rule = TrustId::parse(&claims.tenant, &claims.client).ok()?;
    Some(vouched(space, &rule))
}

/// Whose word a trust rule takes.
pub(crate) fn vouched<'a>(space: Option<&'a Space>, rule: &TrustId) -> Voucher<'a> {
    let trust = space.and_then(|space| space.trust(rule));
    trust.map_or(Voucher::Unknown, |trust| Voucher::Issuer(&trust.issuer.url))
}

/// Whoever stands behind the bearer of a token: the act chain, and the subject where it is an identity of
/// ours.
pub(crate) fn ancestors(claims: &Claims) -> impl Iterator<Item = IdentityId> {
    let subject = IdentityId::parse(&claims.tenant, &claims.subject).ok();
    claims
        .act
        .iter()
        .cloned()
        .chain(subject)
        .filter(|id| *id != claims.nhi)
}

/// The strictest mark on an identity, its logical agent and its owner, for a credential of `epoch`.
pub(crate) fn identity_mark(
    snapshot: &Snapshot,
    space: &Space,
    id: &IdentityId,
    epoch: Epoch,
    bounds: Bounds,
) -> Option<Mark> {
    let mut standing = Standing::of(id.tenant(), epoch);
    standing.bounds = bounds;
    standing.identity = Some(id);
    if let Some(entry) = space.identity(id) {
        standing.owner = Some(&entry.identity.owner.team);
        standing.agent = entry.identity.labels.agent.as_ref();
    }
    snapshot.strictest(&standing)
}

/// The strictest mark on the call itself and on the identity of the server it aims at; act ancestors are
/// judged apart, but for marks that stop a part of what they do.
pub(crate) fn marked(
    snapshot: &Snapshot,
    space: Option<&Space>,
    call: &Call,
    caller: &Caller<'_>,
    aim: &Aim<'_>,
) -> Option<(DenyReason, Mark)> {
    let bounds = containment::bounds(space, call, aim);
    let tool = tool_of(space, aim);
    let mut standing = standing_of(snapshot, space, call, caller, aim);
    (standing.bounds, standing.tool) = (bounds, tool.as_ref());
    if let Some(mark) = snapshot.strictest(&standing) {
        return Some((reason(&mark), mark));
    }
    // Older kills of the server's identity are in its state; this is for what is newer than the snapshot, and
    // for suspensions.
    let space = space?;
    let server = aim.server().and_then(|name| space.server(name));
    let of_server =
        server.and_then(|s| identity_mark(snapshot, space, &s.server.identity, snapshot.epoch(), bounds));
    if let Some(mark) = of_server {
        let reason = partial(&mark).unwrap_or(DenyReason::KilledByOperator);
        return Some((reason, mark));
    }
    // Whoever acts for somebody does no more than he may.
    let Caller::Bearer(claims) = caller else {
        return None;
    };
    let mark = behind(snapshot, space, claims, bounds)?;
    partial(&mark).map(|reason| (reason, mark))
}

/// The scopes that a call falls under, but for its tool.
fn standing_of<'a>(
    snapshot: &Snapshot,
    space: Option<&'a Space>,
    call: &'a Call,
    caller: &'a Caller<'a>,
    aim: &'a Aim<'a>,
) -> Standing<'a> {
    let mut standing = Standing::of(call.tenant(), snapshot.epoch());
    if let Caller::Bearer(claims) = caller {
        standing.epoch = claims.epoch;
        standing.issuer = Some(&claims.issuer);
        standing.voucher = voucher(space, claims);
        standing.token = Some(&claims.token);
    }
    if let Target::Issue { claims, .. } = &call.target {
        // Nothing is issued that would be born dead.
        standing.issuer.get_or_insert(&claims.issuer);
        standing.voucher = standing.voucher.or_else(|| voucher(space, claims));
    }
    standing.identity = caller.identity();
    standing.task = match aim {
        Aim::Issue(task, _) => Some(*task),
        _ => caller.task(),
    };
    let identity = standing.identity.and_then(|id| space?.identity(id));
    if let Some(entry) = identity {
        standing.owner = Some(&entry.identity.owner.team);
        standing.agent = entry.identity.labels.agent.as_ref();
    }
    standing.server = aim.server();
    standing
}

fn tool_of(space: Option<&Space>, aim: &Aim<'_>) -> Option<ToolName> {
    match aim {
        Aim::Item(item) if item.kind == ItemKind::Tool => known_tool(space, item),
        _ => None,
    }
}

fn known_tool(space: Option<&Space>, item: &crate::view::Item<'_>) -> Option<ToolName> {
    match space
        .and_then(|s| s.server(&item.server))
        .and_then(|s| s.tools.get(item.name))
    {
        Some(tool) => Some(tool.name.clone()),
        None => ToolName::parse(item.name).ok(),
    }
}

/// A mark on the credential, or on whom it belongs to, kills the credential; one on a server or a tool
/// refuses the call.
fn reason(mark: &Mark) -> DenyReason {
    if let Some(partial) = partial(mark) {
        return partial;
    }
    match (&mark.scope, mark.effect) {
        (MarkScope::Identity(_) | MarkScope::Agent(..) | MarkScope::Owner(..), MarkEffect::Kill) => {
            DenyReason::IdentityRevoked
        }
        (MarkScope::Identity(_) | MarkScope::Agent(..) | MarkScope::Owner(..), _) => {
            DenyReason::IdentitySuspended
        }
        (MarkScope::Issuer(..) | MarkScope::Token(_), _) => DenyReason::TokenRevoked,
        (MarkScope::Server(..) | MarkScope::Tool(..), _) => DenyReason::KilledByOperator,
        (MarkScope::Task(_), _) => DenyReason::TaskClosed,
        (MarkScope::Tenant(_) | MarkScope::All, _) => DenyReason::TenantUnavailable,
    }
}

/// The reason of a mark that stops a part of what its scope does; the credential lives on.
fn partial(mark: &Mark) -> Option<DenyReason> {
    match mark.effect {
        MarkEffect::NoEgress => Some(DenyReason::NoEgress),
        MarkEffect::ReadOnly => Some(DenyReason::ReadOnly),
        MarkEffect::Kill | MarkEffect::Observe | MarkEffect::Suspend => None,
    }
}

/// What a person reads about a mark.
pub(crate) fn sentence(mark: &Mark) -> String {
    let verb = match mark.effect {
        MarkEffect::Kill => "was killed",
        MarkEffect::NoEgress => "may reach nothing outside",
        MarkEffect::Observe => "is observed",
        MarkEffect::ReadOnly => "may only read",
        MarkEffect::Suspend => "is suspended",
    };
    let what = match &mark.scope {
        MarkScope::Agent(_, label) => format!("agent `{label}`"),
        MarkScope::All => "the installation".to_owned(),
        MarkScope::Identity(id) => format!("identity `{id}`"),
        MarkScope::Issuer(_, issuer) => format!("issuer `{}`", bailiwick_base::limits::shown(issuer)),
        MarkScope::Owner(_, team) => format!("everything owned by `{}`", bailiwick_base::limits::shown(team)),
        MarkScope::Server(_, server) => format!("server `{server}`"),
        MarkScope::Task(id) => format!("task `{id}`"),
        MarkScope::Tenant(id) => format!("tenant `{id}`"),
        MarkScope::Token(id) => format!("token `{id}`"),
        MarkScope::Tool(_, server, tool) => format!("tool `{server}:{tool}`"),
    };
    format!("{what} {verb} at epoch {}", mark.epoch)
}
