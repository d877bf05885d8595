//! Agents that call all the time, and what operators do.

use std::collections::BTreeMap;
use std::sync::Arc;

use bailiwick_base::TenantId;
use bailiwick_credential::Claims;
use bailiwick_decide::{MarkEffect, MarkScope};

use super::world::{IDENTITIES, World, identity_id, task_id, team};
use crate::chance::Chance;

/// A token as its bearer has it.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) text: Arc<str>,
    pub(crate) claims: Arc<Claims>,
    pub(crate) issued: u64,
}

/// Somebody who calls all the time.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) tenant: TenantId,
    /// Which identity it runs as.
    pub(crate) of: u128,
    pub(crate) token: Option<Token>,
    /// The node it talks to.
    pub(crate) home: usize,
    /// Attempts in vain since the last success.
    pub(crate) vain: u32,
}

/// A call under way.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) agent: usize,
    pub(crate) node: usize,
    pub(crate) of: u128,
    pub(crate) token: Token,
    pub(crate) tool: usize,
    pub(crate) begun: u64,
}

/// Everybody outside.
#[derive(Debug, Default)]
pub(crate) struct Load {
    pub(crate) agents: Vec<Agent>,
    pub(crate) calls: BTreeMap<u64, Made>,
    /// Identities of each tenant.
    known: BTreeMap<TenantId, u128>,
    /// Tokens of each identity.
    issued: BTreeMap<(TenantId, u128), u128>,
}

impl Load {
    /// As many agents of each tenant, with the same numbers.
    pub(crate) fn new(world: &World, nodes: usize, chance: &mut Chance) -> Self {
        let mut load = Self::default();
        for tenant in &world.tenants {
            load.known.insert(tenant.clone(), IDENTITIES);
            for of in 1..=IDENTITIES {
                load.agents.push(Agent {
                    tenant: tenant.clone(),
                    of,
                    token: None,
                    home: pick(chance, nodes),
                    vain: 0,
                });
            }
        }
        load
    }

    /// The number of the next identity of a tenant.
    pub(crate) fn next_identity(&mut self, tenant: &TenantId) -> u128 {
        let known = self.known.entry(tenant.clone()).or_insert(IDENTITIES);
        *known += 1;
        *known
    }

    /// The number of the next token of an identity.
    pub(crate) fn next_token(&mut self, tenant: &TenantId, of: u128) -> u128 {
        let issued = self.issued.entry((tenant.clone(), of)).or_default();
        *issued += 1;
        *issued
    }

    /// An identity of the tenant, the newer ones rather.
    pub(crate) fn some_identity(&self, tenant: &TenantId, chance: &mut Chance) -> u128 {
        let known = self.known.get(tenant).copied().unwrap_or(IDENTITIES);
        let back = u128::from(chance.below(u64::try_from(known).unwrap_or(1).min(5)));
        known.saturating_sub(back).max(1)
    }

    /// What an operator stops next.
    pub(crate) fn some_stop(&self, world: &World, chance: &mut Chance) -> Option<(MarkScope, MarkEffect)> {
        let tenant = world.tenants.get(pick(chance, world.tenants.len()))?;
        let n = self.some_identity(tenant, chance);
        let agent = self.agents.get(pick(chance, self.agents.len()))?;
        let token = agent.token.as_ref().map(|token| token.claims.token.clone());
        let tool = world.tools.get(pick(chance, world.tools.len()))?;
        let (of, server) = (tenant.clone(), world.server.clone());
        // Wide kills end the run for everybody they name: rare.
        let (scope, kills) = match chance.below(16) {
            0..4 => (MarkScope::Token(token?), 2),
            4..6 => (MarkScope::Task(task_id(tenant, n)), 2),
            6..9 => (MarkScope::Identity(identity_id(tenant, n)), 3),
            9 => (MarkScope::Agent(of, world.label.clone()), 10),
            10 => (MarkScope::Owner(of, team(n).to_owned()), 10),
            11 => (MarkScope::Issuer(of, world.issuer(tenant)), 40),
            12 => (MarkScope::Server(of, server), 40),
            13 => (MarkScope::Tool(of, server, tool.clone()), 20),
            14 => (MarkScope::Tenant(of), 40),
            _ => (MarkScope::All, 80),
        };
        let effect = if chance.once_in(kills) {
            MarkEffect::Kill
        } else {
            MarkEffect::Suspend
        };
        Some((scope, effect))
    }
}

/// One of `count` places.
pub(crate) fn pick(chance: &mut Chance, count: usize) -> usize {
    usize::try_from(chance.below(count as u64)).unwrap_or(0)
}
