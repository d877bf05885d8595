//! Which mark stops a call, and the reason it gives.

use bailiwick_base::ToolName;

use crate::call::{Call, ItemKind};
use crate::mark::{Mark, MarkEffect, MarkScope};
use crate::marks::Standing;
use crate::reason::DenyReason;
use crate::snapshot::{Snapshot, Space};
use crate::view::{Aim, Caller};

/// The strictest mark on anything the call itself falls under; act ancestors are judged apart.
pub(crate) fn marked(
    snapshot: &Snapshot,
    space: Option<&Space>,
    call: &Call,
    caller: &Caller<'_>,
    aim: &Aim<'_>,
) -> Option<(DenyReason, Mark)> {
    let mut standing = Standing::of(call.tenant(), snapshot.epoch());
    if let Caller::Bearer(claims) = caller {
        standing.epoch = claims.epoch;
        standing.issuer = Some(&claims.issuer);
        standing.token = Some(&claims.token);
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
    let tool = match aim {
        Aim::Item(item) if item.kind == ItemKind::Tool => known_tool(space, item),
        _ => None,
    };
    standing.tool = tool.as_ref();
    let mark = snapshot.marks().strictest(&standing)?;
    Some((reason(&mark), mark))
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
    match (&mark.scope, mark.effect) {
        (MarkScope::Identity(_) | MarkScope::Agent(..) | MarkScope::Owner(..), MarkEffect::Kill) => {
            DenyReason::IdentityRevoked
        }
        (MarkScope::Identity(_) | MarkScope::Agent(..) | MarkScope::Owner(..), MarkEffect::Suspend) => {
            DenyReason::IdentitySuspended
        }
        (MarkScope::Issuer(..) | MarkScope::Token(_), _) => DenyReason::TokenRevoked,
        (MarkScope::Server(..) | MarkScope::Tool(..), _) => DenyReason::KilledByOperator,
        (MarkScope::Task(_), _) => DenyReason::TaskClosed,
        (MarkScope::Tenant(_) | MarkScope::All, _) => DenyReason::TenantUnavailable,
    }
}

/// What a person reads about a mark.
pub(crate) fn sentence(mark: &Mark) -> String {
    let verb = match mark.effect {
        MarkEffect::Kill => "was killed",
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
