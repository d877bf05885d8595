//! What holds now: a stored state, with the marks and the times that overrule it.

use bailiwick_base::{IdentityId, Time};
use bailiwick_credential::{Task, TaskState};
use bailiwick_decide::{Mark, MarkEffect, MarkScope, Snapshot, Thing};
use bailiwick_inventory::{Identity, Kind, State, Tenant, ToolPin, UpstreamServer};
use http::StatusCode;

use crate::Deps;
use crate::problem::RouteError;

/// A state in force, and the mark that is the reason.
pub(crate) struct Effective {
    pub(crate) state: String,
    pub(crate) stopped_by: Option<String>,
}

/// Reads states off one snapshot, at one instant.
pub(crate) struct View<'a> {
    base_url: &'a str,
    pub(crate) snapshot: &'a Snapshot,
    now: Time,
}

impl<'a> View<'a> {
    pub(crate) fn new(deps: &'a Deps, snapshot: &'a Snapshot) -> Self {
        Self::at(snapshot, &deps.base_url, deps.clock.now())
    }

    pub(crate) fn at(snapshot: &'a Snapshot, base_url: &'a str, now: Time) -> Self {
        Self {
            base_url,
            snapshot,
            now,
        }
    }

    /// Who issues the tokens of `tenant`.
    pub(crate) fn issuer(&self, tenant: &bailiwick_base::TenantId) -> String {
        crate::deps::issuer_at(self.base_url, tenant)
    }

    /// Why nothing that belongs to this identity may be used, if it may not.
    pub(crate) fn stopped(&self, owner: &IdentityId) -> Option<String> {
        let Some(identity) = self.snapshot.identity(owner) else {
            return Some("its identity is gone".to_owned());
        };
        let effective = self.identity(identity);
        let living = matches!(effective.state.as_str(), "active" | "probation");
        (!living).then(|| match effective.stopped_by {
            Some(mark) => format!("its identity is {}: {mark}", effective.state),
            None => format!("its identity is {}", effective.state),
        })
    }

    fn mark(&self, tenant: &bailiwick_base::TenantId, thing: Thing<'_>) -> Option<Mark> {
        self.snapshot.mark_on(thing, &self.issuer(tenant))
    }

    pub(crate) fn tenant(&self, tenant: &Tenant) -> Effective {
        let mark = self.mark(&tenant.id, Thing::Tenant(&tenant.id));
        stopped(mark, tenant.state.as_str())
    }

    pub(crate) fn identity(&self, identity: &Identity) -> Effective {
        let own_mark = self.mark(identity.id.tenant(), Thing::Identity(&identity.id));
        let mark = [own_mark, self.mark_on_servers(identity)]
            .into_iter()
            .flatten()
            .max_by_key(|mark| mark.effect);
        let own = self.living(identity);
        if matches!(identity.state, State::Retired { .. }) {
            return Effective {
                state: own.to_owned(),
                stopped_by: mark.as_ref().map(in_words),
            };
        }
        stopped(mark, own)
    }

    /// The identity of an upstream server acts by that server alone: what stops the one stops the other.
    fn mark_on_servers(&self, identity: &Identity) -> Option<Mark> {
        if identity.kind != Kind::McpServer {
            return None;
        }
        let tenant = identity.id.tenant();
        let own = self
            .snapshot
            .servers(tenant)
            .filter(|s| s.identity == identity.id);
        let marks = own.filter_map(|s| self.mark(tenant, Thing::Server(tenant, &s.name)));
        marks.max_by_key(|mark| mark.effect)
    }

    fn living(&self, identity: &Identity) -> &'static str {
        match identity.state {
            State::Retired { .. } => "retired",
            State::Suspended { .. } => "suspended",
            _ if identity.expires_at <= self.now => "expired",
            State::Probation => "probation",
            State::Active => "active",
        }
    }

    pub(crate) fn task(&self, task: &Task) -> Effective {
        let mark = self.mark(task.id.tenant(), Thing::Task(&task.id));
        let holder = self.snapshot.identity(&task.identity).map(|i| self.living(i));
        let own = match (&task.state, holder) {
            (TaskState::Closed { .. }, _) => {
                let own = mark.filter(|m| m.scope == MarkScope::Task(task.id.clone()));
                return stopped(own, "closed");
            }
            (TaskState::Open, _) if task.closes_at <= self.now => {
                return stopped(None, "lapsed");
            }
            (TaskState::Open, Some(dead @ ("retired" | "suspended" | "expired"))) => dead,
            (TaskState::Open, _) if task.opens_at > self.now => "waiting",
            (TaskState::Open, _) => "open",
        };
        stopped(mark, own)
    }

    pub(crate) fn server(&self, server: &UpstreamServer) -> Effective {
        let mark = self.mark(&server.tenant, Thing::Server(&server.tenant, &server.name));
        let holder = self.snapshot.identity(&server.identity).map(|i| self.living(i));
        let dead = holder.filter(|state| matches!(*state, "retired" | "suspended" | "expired"));
        let own = dead.unwrap_or("active");
        stopped(mark, own)
    }

    pub(crate) fn tool(&self, server: &UpstreamServer, pin: &ToolPin) -> Effective {
        let thing = Thing::Tool(&server.tenant, &server.name, &pin.name);
        stopped(self.mark(&server.tenant, thing), pin.state.as_str())
    }
}

/// The level by which an identity in service is held back, if it is: observation holds nobody back.
pub(crate) fn held_back(view: &View<'_>, identity: &Identity) -> Option<&'static str> {
    let living = matches!(identity.state, State::Active | State::Probation);
    let state = view.identity(identity).state;
    living
        .then(|| {
            ["killed", "suspended", "no-egress", "read-only"]
                .into_iter()
                .find(|held| *held == state)
        })
        .flatten()
}

fn stopped(mark: Option<Mark>, own: &str) -> Effective {
    // What stops only a part, or nothing, does not overrule a state that stops everything.
    let runs = matches!(own, "active" | "open" | "pinned" | "probation" | "reads");
    let mark = mark.filter(|m| m.effect.is_whole() || runs);
    let state = match mark.as_ref().map(|m| m.effect) {
        None | Some(MarkEffect::Observe) => own,
        Some(MarkEffect::Kill) => "killed",
        Some(MarkEffect::Suspend) => "suspended",
        Some(partial @ (MarkEffect::NoEgress | MarkEffect::ReadOnly)) => partial.as_str(),
    };
    Effective {
        state: state.to_owned(),
        stopped_by: mark.as_ref().map(in_words),
    }
}

/// `kill of agent report-writer`.
pub(crate) fn in_words(mark: &Mark) -> String {
    let what = match mark.effect {
        MarkEffect::Kill => "kill",
        MarkEffect::NoEgress => "no-egress",
        MarkEffect::Observe => "observation",
        MarkEffect::ReadOnly => "read-only",
        MarkEffect::Suspend => "suspension",
    };
    format!("{what} of {}", scope_in_words(&mark.scope))
}

pub(crate) fn scope_in_words(scope: &MarkScope) -> String {
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

/// Nothing is added where everything was killed for good: it could never act.
pub(crate) fn require_not_killed(deps: &Deps, tenant: &bailiwick_base::TenantId) -> Result<(), RouteError> {
    let snapshot = deps.cell.load();
    match snapshot.mark_on(Thing::Tenant(tenant), &deps.issuer(tenant)) {
        Some(mark) if mark.effect == MarkEffect::Kill => Err(RouteError::new(
            StatusCode::FORBIDDEN,
            "tenant.killed",
            format!(
                "nothing can be added here: the {} stands, and cannot be lifted",
                in_words(&mark)
            ),
        )
        .hint("see `bailiwick kill ls --all-tenants`")),
        _ => Ok(()),
    }
}
