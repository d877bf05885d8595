//! Agents that call all the time, and what their permits have to keep.

use std::sync::Arc;

use super::{Happening, MILLI, Simulation};
use crate::run::history::{Made as MadeCall, Violation};
use crate::run::load::{Made, Token, pick};
use crate::run::process::Verdict;

impl Simulation {
    pub(super) fn agent(&mut self, number: usize) {
        let nodes = self.machines.len();
        let tools = self.world.tools.len();
        let Some(agent) = self.load.agents.get_mut(number) else {
            return;
        };
        if agent.vain > 2 {
            // Somewhere else, and as somebody else.
            agent.vain = 0;
            agent.home = pick(&mut self.chance, nodes);
            let tenant = agent.tenant.clone();
            let of = self.load.some_identity(&tenant, &mut self.chance);
            if let Some(agent) = self.load.agents.get_mut(number) {
                agent.of = of;
                agent.token = None;
            }
        }
        let token = self.token_of(number);
        let (node, of) = self
            .load
            .agents
            .get(number)
            .map_or((0, 0), |agent| (agent.home, agent.of));
        let life = self.machines.get(node).map_or(0, |machine| machine.life);
        let Some(token) = token else {
            return self.again(number, false);
        };
        self.next += 1;
        let call = self.next;
        let made = Made {
            agent: number,
            node,
            of,
            token,
            tool: pick(&mut self.chance, tools),
            begun: self.now,
        };
        self.load.calls.insert(call, made);
        let at = self.now + self.way();
        self.push(at, Happening::Arrive { node, life, call });
    }

    /// The agent's token, or a new one.
    pub(super) fn token_of(&mut self, number: usize) -> Option<Token> {
        let agent = self.load.agents.get(number)?;
        if let Some(token) = &agent.token {
            return Some(token.clone());
        }
        let (tenant, of, home) = (agent.tenant.clone(), agent.of, agent.home);
        let machine = self.machines.get(home).filter(|m| m.paused_until <= self.now)?;
        let process = machine.process.as_ref()?;
        let nth = self.load.next_token(&tenant, of);
        let claims = process.issue(&tenant, of, nth)?;
        let token = Token {
            text: self.world.sign(&claims).into(),
            claims: Arc::new(claims),
            issued: self.now,
        };
        self.load.agents.get_mut(number)?.token = Some(token.clone());
        Some(token)
    }

    /// The agent's next call.
    pub(super) fn again(&mut self, number: usize, was_served: bool) {
        if let Some(agent) = self.load.agents.get_mut(number) {
            agent.vain = if was_served { 0 } else { agent.vain + 1 };
        }
        let at = self.now + 5 * MILLI + self.below(150 * MILLI);
        self.push(at, Happening::Agent(number));
    }

    pub(super) fn arrive(&mut self, node: usize, life: u64, call: u64) -> Result<(), Violation> {
        let Some(made) = self.load.calls.get(&call).cloned() else {
            return Ok(());
        };
        let listens = self
            .machines
            .get(node)
            .filter(|machine| machine.life == life)
            .and_then(|machine| machine.process.as_ref())
            .is_some_and(|process| process.listening);
        let tool = self.world.tools.get(made.tool).cloned();
        let (Some(tool), true) = (tool, listens) else {
            self.load.calls.remove(&call);
            self.again(made.agent, false);
            return Ok(());
        };
        let tenant = made.token.claims.tenant.clone();
        self.with(node, life, |process| {
            process.call(call, (&tenant, &made.token.text), &tool)
        })
    }

    pub(super) fn answered(&mut self, node: usize, call: u64, verdict: Verdict) -> Result<(), Violation> {
        let Some(made) = self.load.calls.remove(&call) else {
            return Ok(());
        };
        let fold = match &verdict {
            Verdict::Denied(_) => 1,
            Verdict::Permitted { index, .. } => 2 + index,
            Verdict::Refused => 0,
        };
        self.fold(fold);
        let (agent, of) = (made.agent, made.of);
        let was_served = match verdict {
            Verdict::Denied(denial) => {
                self.summary.denials += 1;
                self.note(|| format!("node {node} denied agent {agent} ({of}): {}", denial.text));
                if self.chance.once_in(2)
                    && let Some(agent) = self.load.agents.get_mut(agent)
                {
                    agent.token = None;
                }
                false
            }
            Verdict::Permitted {
                id,
                index,
                epoch,
                claims,
            } => {
                self.note(|| {
                    format!("node {node} permitted agent {agent} ({of}) at epoch {epoch}, entry {index}")
                });
                self.summary.permits += 1;
                self.require_own(node, &made, &claims)?;
                let tool = self.world.tools.get(made.tool).map_or("", |tool| tool.as_str());
                let call = MadeCall {
                    claims: &made.token.claims,
                    tool,
                    of,
                    issued: made.token.issued,
                    begun: made.begun,
                };
                self.history
                    .require_permissible(&self.world, self.now, node, &call)?;
                let known = self.history.acknowledged(node, made.begun);
                if epoch < known {
                    return Err(self.violation(
                        "no node answers below an epoch that it acknowledged",
                        format!("node {node} permitted at epoch {epoch} after it had acknowledged {known}"),
                    ));
                }
                if let Some(machine) = self.machines.get_mut(node) {
                    machine.acted_on.insert(index, id);
                }
                true
            }
            Verdict::Refused => false,
        };
        self.again(agent, was_served);
        Ok(())
    }

    /// A permit is for whoever called.
    pub(super) fn require_own(
        &self,
        node: usize,
        made: &Made,
        claims: &bailiwick_credential::Claims,
    ) -> Result<(), Violation> {
        let shown = &made.token.claims;
        if claims.tenant == shown.tenant && claims.token == shown.token {
            return Ok(());
        }
        Err(self.violation(
            "a permit is for who called",
            format!(
                "node {node} was shown token `{}` of {} and permitted `{}` of {}",
                shown.token, shown.tenant, claims.token, claims.tenant
            ),
        ))
    }
}
