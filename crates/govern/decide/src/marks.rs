//! All marks, as a lattice: joining is idempotent, commutative and associative, and the strictest wins.

use std::hash::Hash;

use bailiwick_base::{AgentLabel, Epoch, IdentityId, ServerName, TaskId, TenantId, TokenId, ToolName};

use crate::mark::{Mark, MarkEffect, MarkScope};

/// What stands on one scope: the latest mark of each effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stop([Option<Epoch>; MarkEffect::ALL.len()]);

impl Stop {
    fn join(mut self, effect: MarkEffect, epoch: Epoch) -> Self {
        for (kept, slot) in MarkEffect::ALL.into_iter().zip(&mut self.0) {
            if kept == effect {
                *slot = (*slot).max(Some(epoch));
            }
        }
        self
    }

    /// A kill is never lifted.
    fn lifted(mut self) -> Self {
        for (effect, slot) in MarkEffect::ALL.into_iter().zip(&mut self.0) {
            if effect.is_reversible() {
                *slot = None;
            }
        }
        self
    }

    /// The mark that stops a caller whose credential is of `epoch`.
    ///
    /// A suspension stops everybody while it stands. A kill stops whoever is older than it; where the thing
    /// killed is not reborn under the same name (`lasting`) it stops everybody. A milder mark stops what it is
    /// there to stop.
    fn stops(self, epoch: Epoch, lasting: bool, bounds: Bounds) -> Option<(MarkEffect, Epoch)> {
        let standing = MarkEffect::ALL.into_iter().zip(self.0).rev();
        standing
            .filter_map(|(effect, set)| Some((effect, set?)))
            .find(|(effect, set)| match effect {
                MarkEffect::Kill => lasting || *set > epoch,
                MarkEffect::Suspend => true,
                MarkEffect::NoEgress => bounds.leaves,
                MarkEffect::ReadOnly => bounds.writes,
                MarkEffect::Observe => bounds.watched,
            })
    }
}

/// What the marks that stop only a part of what a scope does are held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Bounds {
    /// It leaves for another machine, or may.
    pub(crate) leaves: bool,
    /// Marks that stop nothing are looked for as well.
    pub(crate) watched: bool,
    /// It is not known to only read.
    pub(crate) writes: bool,
}

impl Bounds {
    /// Whatever stands on a thing, however mild.
    pub(crate) const EVERY: Self = Self {
        leaves: true,
        watched: true,
        writes: true,
    };
}

/// The marks of one tenant.
#[derive(Debug, Clone, Default)]
struct TenantMarks {
    whole: Stop,
    agents: imbl::OrdMap<AgentLabel, Stop>,
    identities: imbl::HashMap<IdentityId, Stop>,
    issuers: imbl::OrdMap<String, Stop>,
    owners: imbl::OrdMap<String, Stop>,
    servers: imbl::OrdMap<ServerName, Stop>,
    tasks: imbl::HashMap<TaskId, Stop>,
    tokens: imbl::HashMap<TokenId, Stop>,
    tools: imbl::OrdMap<ServerName, imbl::OrdMap<ToolName, Stop>>,
}

/// The marks of the installation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marks {
    all: Stop,
    tenants: imbl::OrdMap<TenantId, TenantMarks>,
    /// Whether a mark was ever set that only watches: looking for one costs a call more.
    watch: bool,
}

/// The issuer that vouched for the workload to which a token was issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voucher<'a> {
    /// By the trust rule that the token names.
    Issuer(&'a str),
    /// The rule is gone: whichever it was, a stop of any issuer holds.
    Unknown,
}

/// The scopes a call falls under. What does not apply is left out; the tenant always applies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing<'a> {
    pub(crate) tenant: &'a TenantId,
    /// Epoch of the credential.
    pub(crate) epoch: Epoch,
    pub(crate) bounds: Bounds,
    pub(crate) issuer: Option<&'a str>,
    pub(crate) voucher: Option<Voucher<'a>>,
    pub(crate) token: Option<&'a TokenId>,
    pub(crate) task: Option<&'a TaskId>,
    pub(crate) identity: Option<&'a IdentityId>,
    pub(crate) agent: Option<&'a AgentLabel>,
    pub(crate) owner: Option<&'a str>,
    pub(crate) server: Option<&'a ServerName>,
    pub(crate) tool: Option<&'a ToolName>,
}

impl<'a> Standing<'a> {
    pub(crate) fn of(tenant: &'a TenantId, epoch: Epoch) -> Self {
        Self {
            tenant,
            epoch,
            bounds: Bounds::default(),
            issuer: None,
            voucher: None,
            token: None,
            task: None,
            identity: None,
            agent: None,
            owner: None,
            server: None,
            tool: None,
        }
    }
}

impl Marks {
    /// With `mark` joined.
    pub(crate) fn with(&self, mark: &Mark) -> Self {
        let mut out = self.changed(&mark.scope, |stop| stop.join(mark.effect, mark.epoch));
        out.watch |= mark.effect == MarkEffect::Observe;
        out
    }

    /// Whether there may be a mark that only watches.
    pub(crate) fn watch(&self) -> bool {
        self.watch
    }

    /// Without what can be lifted on `scope`; a kill stays.
    pub(crate) fn lifted(&self, scope: &MarkScope) -> Self {
        self.changed(scope, Stop::lifted)
    }

    fn changed(&self, scope: &MarkScope, change: impl Fn(Stop) -> Stop) -> Self {
        let mut out = self.clone();
        let (MarkScope::Agent(tenant, _)
        | MarkScope::Owner(tenant, _)
        | MarkScope::Issuer(tenant, _)
        | MarkScope::Server(tenant, _)
        | MarkScope::Tool(tenant, _, _)
        | MarkScope::Tenant(tenant)) = scope
        else {
            match scope {
                MarkScope::Token(id) => hashed(&mut out.of(id.tenant()).tokens, id, change),
                MarkScope::Task(id) => hashed(&mut out.of(id.tenant()).tasks, id, change),
                MarkScope::Identity(id) => hashed(&mut out.of(id.tenant()).identities, id, change),
                _ => out.all = change(out.all),
            }
            return out;
        };
        let marks = out.of(tenant);
        match scope {
            MarkScope::Agent(_, label) => ordered(&mut marks.agents, label, change),
            MarkScope::Owner(_, team) => ordered(&mut marks.owners, team, change),
            MarkScope::Issuer(_, issuer) => ordered(&mut marks.issuers, issuer, change),
            MarkScope::Server(_, server) => ordered(&mut marks.servers, server, change),
            MarkScope::Tool(_, server, tool) => {
                ordered(marks.tools.entry(server.clone()).or_default(), tool, change);
            }
            _ => marks.whole = change(marks.whole),
        }
        out
    }

    fn of(&mut self, tenant: &TenantId) -> &mut TenantMarks {
        self.tenants.entry(tenant.clone()).or_default()
    }

    /// The strictest mark that stops `standing`: one that ends the credential before one on its target, a kill
    /// before a suspension, then the wider scope first.
    pub(crate) fn strictest(&self, standing: &Standing<'_>) -> Option<Mark> {
        let mut found: Option<Mark> = None;
        let mut offer = |stop: Option<&Stop>, lasting: bool, scope: &dyn Fn() -> MarkScope| {
            let Some((effect, epoch)) = stop.and_then(|s| s.stops(standing.epoch, lasting, standing.bounds))
            else {
                return;
            };
            let mark = Mark {
                scope: scope(),
                effect,
                epoch,
            };
            if found.as_ref().is_none_or(|f| rank(f) < rank(&mark)) {
                found = Some(mark);
            }
        };
        offer(Some(&self.all), true, &|| MarkScope::All);
        let tenant = standing.tenant;
        let Some(marks) = self.tenants.get(tenant) else {
            return found;
        };
        offer(Some(&marks.whole), true, &|| MarkScope::Tenant(tenant.clone()));
        if let Some(issuer) = standing.issuer {
            offer(marks.issuers.get(issuer), true, &|| {
                MarkScope::Issuer(tenant.clone(), issuer.to_owned())
            });
        }
        let vouched = |url: &str| match standing.voucher {
            None => false,
            Some(Voucher::Issuer(voucher)) => voucher == url,
            Some(Voucher::Unknown) => true,
        };
        for (url, stop) in marks.issuers.iter().filter(|(url, _)| vouched(url)) {
            offer(Some(stop), true, &|| {
                MarkScope::Issuer(tenant.clone(), url.clone())
            });
        }
        if let Some(server) = standing.server {
            offer(marks.servers.get(server), true, &|| {
                MarkScope::Server(tenant.clone(), server.clone())
            });
            if let Some(tool) = standing.tool {
                let stop = marks.tools.get(server).and_then(|t| t.get(tool));
                offer(stop, true, &|| {
                    MarkScope::Tool(tenant.clone(), server.clone(), tool.clone())
                });
            }
        }
        if let Some(owner) = standing.owner {
            offer(marks.owners.get(owner), false, &|| {
                MarkScope::Owner(tenant.clone(), owner.to_owned())
            });
        }
        if let Some(agent) = standing.agent {
            offer(marks.agents.get(agent), false, &|| {
                MarkScope::Agent(tenant.clone(), agent.clone())
            });
        }
        if let Some(id) = standing.identity {
            offer(marks.identities.get(id), false, &|| {
                MarkScope::Identity(id.clone())
            });
        }
        if let Some(id) = standing.task {
            offer(marks.tasks.get(id), false, &|| MarkScope::Task(id.clone()));
        }
        if let Some(id) = standing.token {
            offer(marks.tokens.get(id), false, &|| MarkScope::Token(id.clone()));
        }
        found
    }
}

/// How strict a mark is for a call. One that stops a part of what a credential does refuses a call, as a mark on the
/// target does.
fn rank(mark: &Mark) -> (bool, MarkEffect) {
    let on_target = matches!(mark.scope, MarkScope::Server(..) | MarkScope::Tool(..));
    (!on_target && mark.effect.is_whole(), mark.effect)
}

fn hashed<K: Hash + Eq + Clone>(map: &mut imbl::HashMap<K, Stop>, key: &K, change: impl Fn(Stop) -> Stop) {
    let stop = map.entry(key.clone()).or_default();
    *stop = change(*stop);
}

fn ordered<K: Ord + Clone>(map: &mut imbl::OrdMap<K, Stop>, key: &K, change: impl Fn(Stop) -> Stop) {
    let stop = map.entry(key.clone()).or_default();
    *stop = change(*stop);
}
