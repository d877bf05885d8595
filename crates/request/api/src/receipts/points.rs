//! The enforcement points of this node, and a call at each that falls under a scope.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{Digest, Epoch, IdentityId, TenantId, TokenId};
use bailiwick_credential::{Claims, ScopeSet};
use bailiwick_decide::{
    Arguments, Bearer, Call, Connection, Door, Effect, ItemKind, Mark, MarkEffect, MarkScope, Principal,
    Snapshot, Target, Thing,
};
use bailiwick_inventory::State;
use bailiwick_store::Reach;

use crate::Deps;
use crate::authzen::named;
use crate::stop::reach_of;

/// `client` of the calls that are made to see a refusal; no client is registered under it.
pub(crate) const PROBE: &str = "probe";
/// The tool, method or place that such a call names.
const ITEM: &str = "probe";

/// Where calls are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Point {
    Authzen,
    Egress,
    Gateway,
    Introspection,
    Issue,
    Spiffe,
}

impl Point {
    pub(crate) const ALL: [Self; 6] = [
        Self::Gateway,
        Self::Authzen,
        Self::Issue,
        Self::Introspection,
        Self::Egress,
        Self::Spiffe,
    ];

    /// Its name in receipts; the one that its records have, where it makes any.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Introspection => "introspection",
            _ => self.door().as_str(),
        }
    }

    pub(crate) const fn door(self) -> Door {
        match self {
            Self::Authzen => Door::Authzen,
            Self::Egress => Door::Egress,
            Self::Gateway => Door::Gateway,
            Self::Introspection => Door::Check,
            Self::Issue => Door::Issue,
            Self::Spiffe => Door::Spiffe,
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|point| point.as_str() == text)
    }

    /// Whether what it answers is recorded: introspection decides nothing.
    pub(crate) const fn records(self) -> bool {
        !matches!(self, Self::Introspection)
    }
}

impl Deps {
    /// The points at which a stop of `scope` shows, each with a call that it refuses.
    /// Their tokens are of `epoch`: of just before its mark.
    pub(crate) fn points(&self, scope: &MarkScope, effect: MarkEffect, epoch: Epoch) -> Vec<(Point, Call)> {
        // It refuses nothing: what another mark refuses is in the receipt of that one.
        if effect == MarkEffect::Observe {
            return Vec::new();
        }
        let snapshot = self.cell.load();
        let mark = Mark {
            scope: scope.clone(),
            effect,
            epoch: Epoch(u64::MAX),
        };
        let marked = snapshot.with_mark(&mark);
        let calls = Point::ALL
            .into_iter()
            .filter(|point| is_served(&snapshot, scope, *point));
        // Found once: a large family is not gone through for each point.
        let named = named_by(scope, &snapshot);
        calls
            .filter_map(|point| Some((point, self.probe_call(scope, (point, epoch), named.as_ref())?)))
            .filter(|(_, call)| marked.marked(call).is_some())
            .collect()
    }

    /// Whether a point refuses this call now, because of a mark.
    pub(crate) fn refuses(&self, point: Point, call: &Call) -> bool {
        let snapshot = self.cell.load();
        let refused = if point == Point::Introspection {
            snapshot.ended(call, self.clock.now()).is_some()
        } else {
            matches!(self.pep.probe(call).effect, Effect::Deny(_))
        };
        refused && snapshot.marked(call).is_some()
    }

    /// Somebody of a tenant who is stopped by nothing else, so that a refusal is of this stop; anybody where all are.
    fn somebody(&self, snapshot: &Snapshot, tenant: &TenantId) -> Option<IdentityId> {
        let issuer = self.issuer(tenant);
        let is_free = |id: &IdentityId| {
            let mark = snapshot.mark_on(Thing::Identity(id), &issuer);
            !mark.is_some_and(|mark| {
                matches!(
                    mark.scope,
                    MarkScope::Identity(_) | MarkScope::Agent(..) | MarkScope::Owner(..)
                )
            })
        };
        let mut living = snapshot
            .identities(tenant)
            .filter(|i| matches!(i.state, State::Active | State::Probation));
        let free = living.find(|i| is_free(&i.id));
        let found = free.or_else(|| snapshot.identities(tenant).next());
        found.map(|i| i.id.clone())
    }

    /// A call with a token that was issued just before, by somebody the scope names.
    fn probe_call(
        &self,
        scope: &MarkScope,
        (point, epoch): (Point, Epoch),
        named: Option<&IdentityId>,
    ) -> Option<Call> {
        let snapshot = self.cell.load();
        let tenant = match scope {
            MarkScope::All => snapshot.tenants().next().map(|(t, _)| t.id.clone())?,
            other => match reach_of(other) {
                Reach::Tenant(tenant) => tenant,
                _ => return None,
            },
        };
        let nhi = named.cloned().or_else(|| self.somebody(&snapshot, &tenant))?;
        let task = match scope {
            MarkScope::Task(id) => id.clone(),
            _ => self.ids.mint(&tenant).ok()?,
        };
        let token = match scope {
            MarkScope::Token(id) => id.clone(),
            _ => self.ids.mint(&tenant).ok()?,
        };
        let now = self.clock.now();
        let claims = Arc::new(Claims {
            issuer: match scope {
                MarkScope::Issuer(_, issuer) => issuer.clone(),
                _ => self.issuer(&tenant),
            },
            subject: nhi.to_string(),
            audience: self.audience(&tenant),
            client: PROBE.to_owned(),
            issued_at: now,
            expires_at: now.after(Duration::from_secs(60)),
            token: token.clone(),
            tenant: tenant.clone(),
            nhi,
            task,
            epoch,
            scopes: ScopeSet::default(),
            act: smallvec::SmallVec::new(),
            may_act: Vec::new(),
            lineage: Vec::new(),
            confirmation: None,
            composition: None,
        });
        Some(Call {
            id: self.ids.mint(&tenant).ok()?,
            door: point.door(),
            target: target(scope, point, &claims, token),
            principal: Principal::Bearer(Bearer {
                claims,
                token_hash: Digest::default(),
            }),
            arguments: Arguments::default(),
            rates: smallvec::SmallVec::new(),
        })
    }
}

/// Somebody whom the scope names, alive or not: who was killed under a label had it.
fn named_by(scope: &MarkScope, snapshot: &Snapshot) -> Option<IdentityId> {
    match scope {
        MarkScope::Task(id) => snapshot.task(id).map(|(t, _)| t.identity.clone()),
        MarkScope::Agent(tenant, label) => {
            let mut labelled = snapshot.identities(tenant);
            labelled
                .find(|i| i.labels.agent.as_ref() == Some(label))
                .map(|i| i.id.clone())
        }
        MarkScope::Identity(id) => Some(id.clone()),
        MarkScope::Owner(tenant, team) => {
            let mut owned = snapshot.identities(tenant);
            owned.find(|i| i.owner.team == *team).map(|i| i.id.clone())
        }
        _ => None,
    }
}

/// A server of MCP is not behind the egress proxy, and a destination is not behind the gateway.
fn is_served(snapshot: &Snapshot, scope: &MarkScope, point: Point) -> bool {
    let (MarkScope::Server(tenant, server) | MarkScope::Tool(tenant, server, _)) = scope else {
        return true;
    };
    let known = snapshot.server(tenant, server);
    let is_destination = known.is_some_and(|s| matches!(s.connection, Connection::Destination { .. }));
    match point {
        Point::Authzen => true,
        Point::Egress => is_destination,
        Point::Gateway => !is_destination,
        Point::Introspection | Point::Issue | Point::Spiffe => false,
    }
}

fn target(scope: &MarkScope, point: Point, claims: &Arc<Claims>, token: TokenId) -> Target {
    let place = match scope {
        MarkScope::Server(_, server) => Some((server, ITEM)),
        MarkScope::Tool(_, server, tool) => Some((server, tool.as_str())),
        _ => None,
    };
    match (place, point) {
        (Some((server, method)), Point::Egress) => Target::Http {
            server: Some(server.clone()),
            method: method.to_owned(),
            place: ITEM.to_owned(),
        },
        (Some((server, tool)), _) => Target::Mcp {
            server: server.clone(),
            method: "tools/call".to_owned(),
            item: Some((ItemKind::Tool, tool.to_owned())),
        },
        (None, Point::Issue | Point::Spiffe) => Target::Issue {
            claims: Arc::clone(claims),
            tokens: vec![token],
            subject: None,
            evidence: None,
        },
        (None, Point::Introspection) => named("token.introspect", "", ""),
        (None, _) => named(PROBE, "", ""),
    }
}
