//! All marks, as a lattice: joining is idempotent, commutative and associative, and the strictest wins.

use std::hash::Hash;

use bailiwick_base::{AgentLabel, Epoch, IdentityId, ServerName, TaskId, TenantId, TokenId, ToolName};

use crate::mark::{Mark, MarkEffect, MarkScope};

/// What stands on one scope: the latest kill and the latest suspension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stop {
    kill: Option<Epoch>,
    suspend: Option<Epoch>,
}

impl Stop {
    fn join(self, effect: MarkEffect, epoch: Epoch) -> Self {
        match effect {
            MarkEffect::Kill => Self {
                kill: self.kill.max(Some(epoch)),
                ..self
            },
            MarkEffect::Suspend => Self {
                suspend: self.suspend.max(Some(epoch)),
                ..self
            },
        }
    }

    /// The mark that stops a caller whose credential is of `epoch`.
    ///
    /// A suspension stops everybody while it stands. A kill stops whoever is older than it; where the thing
    /// killed is not reborn under the same name (`lasting`) it stops everybody.
    fn stops(self, epoch: Epoch, lasting: bool) -> Option<(MarkEffect, Epoch)> {
        if let Some(kill) = self.kill
            && (lasting || kill > epoch)
        {
            return Some((MarkEffect::Kill, kill));
        }
        self.suspend.map(|suspend| (MarkEffect::Suspend, suspend))
    }
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
        self.changed(&mark.scope, |stop| stop.join(mark.effect, mark.epoch))
    }

    /// Without the suspension on `scope`; a kill stays.
    pub(crate) fn lifted(&self, scope: &MarkScope) -> Self {
        self.changed(scope, |stop| Stop {
            suspend: None,
            ..stop
        })
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
            let Some((effect, epoch)) = stop.and_then(|s| s.stops(standing.epoch, lasting)) else {
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

/// How strict a mark is for a call.
fn rank(mark: &Mark) -> (bool, MarkEffect) {
    let on_target = matches!(mark.scope, MarkScope::Server(..) | MarkScope::Tool(..));
    (!on_target, mark.effect)
}

fn hashed<K: Hash + Eq + Clone>(map: &mut imbl::HashMap<K, Stop>, key: &K, change: impl Fn(Stop) -> Stop) {
    let stop = map.entry(key.clone()).or_default();
    *stop = change(*stop);
}

fn ordered<K: Ord + Clone>(map: &mut imbl::OrdMap<K, Stop>, key: &K, change: impl Fn(Stop) -> Stop) {
    let stop = map.entry(key.clone()).or_default();
    *stop = change(*stop);
}
