//! What stands on a thing now, for whoever lists things: a stored state alone does not say what is stopped.

use bailiwick_base::{Epoch, IdentityId, ServerName, TaskId, TenantId, ToolName};

use crate::mark::{Mark, MarkScope};
use crate::marks::{Bounds, Standing};
use crate::snapshot::Snapshot;

/// A thing that a mark can stop.
#[derive(Debug, Clone, Copy)]
pub enum Thing<'a> {
    /// An identity, by itself, by its agent or by its owner.
    Identity(&'a IdentityId),
    /// A server, by itself or by its identity.
    Server(&'a TenantId, &'a ServerName),
    /// A task, by itself or by its identity.
    Task(&'a TaskId),
    /// A tenant.
    Tenant(&'a TenantId),
    /// A tool, by itself, by its server or by its server's identity.
    Tool(&'a TenantId, &'a ServerName, &'a ToolName),
}

impl Thing<'_> {
    fn tenant(&self) -> &TenantId {
        match self {
            Self::Identity(id) => id.tenant(),
            Self::Task(id) => id.tenant(),
            Self::Server(tenant, _) | Self::Tool(tenant, ..) | Self::Tenant(tenant) => tenant,
        }
    }
}

impl Snapshot {
    /// The strictest mark that stops a thing, for a credential that would be issued now. `issuer` is the issuer
    /// of the tenant's tokens.
    ///
    /// A kill of an agent or an owner ended the identities that were there; one that was registered since under
    /// the same label is not stopped by it.
    #[must_use]
    pub fn mark_on(&self, thing: Thing<'_>, issuer: &str) -> Option<Mark> {
        let mut standing = Standing::of(thing.tenant(), self.epoch());
        standing.issuer = Some(issuer);
        standing.bounds = Bounds::EVERY;
        let space = self.space(thing.tenant());
        let behind = match thing {
            Thing::Identity(id) => Some(id),
            Thing::Server(_, name) => {
                standing.server = Some(name);
                None
            }
            Thing::Task(id) => {
                standing.task = Some(id);
                space.and_then(|s| s.task(id)).map(|e| &e.task.identity)
            }
            Thing::Tenant(_) => None,
            Thing::Tool(_, server, tool) => {
                (standing.server, standing.tool) = (Some(server), Some(tool));
                None
            }
        };
        let server = standing.server.and_then(|name| space?.server(name));
        let behind = behind.or_else(|| server.map(|s| &s.server.identity));
        let wide = self.strictest(&standing);
        let own = behind.and_then(|id| self.mark_on_identity(id));
        let named = match thing {
            Thing::Task(id) => self.mark_ever(id.tenant(), |s| s.task = Some(id)),
            _ => None,
        };
        [wide, own, named]
            .into_iter()
            .flatten()
            .max_by_key(|mark| mark.effect)
    }

    /// The marks by themselves, agent or owner, of whatever age where the identity is retired: that is the one
    /// that retired it.
    fn mark_on_identity(&self, id: &IdentityId) -> Option<Mark> {
        let space = self.space(id.tenant())?;
        let entry = space.identity(id);
        let retired = entry.is_some_and(|e| e.identity.state.as_str() == "retired");
        let epoch = if retired { Epoch(0) } else { self.epoch() };
        let mark = crate::stop::identity_mark(self, space, id, epoch, Bounds::EVERY)?;
        // Wider ones are the tenant's, and judged there.
        let own = matches!(
            mark.scope,
            MarkScope::Identity(_) | MarkScope::Agent(..) | MarkScope::Owner(..)
        );
        own.then_some(mark)
    }

    /// A mark on one thing that is never reborn, of whatever age.
    fn mark_ever<'a>(&self, tenant: &'a TenantId, name: impl FnOnce(&mut Standing<'a>)) -> Option<Mark> {
        let mut standing = Standing::of(tenant, Epoch(0));
        name(&mut standing);
        self.strictest(&standing)
    }
}
