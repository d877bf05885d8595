//! How another node catches up: what the log says was touched, as the rows say it now.

use std::collections::BTreeSet;
use std::sync::Arc;

use bailiwick_base::{
    ClientId, Epoch, IdentityId, SealError, ServerName, StatePos, TaskId, TenantId, TrustId,
};
use bailiwick_decide::{Fact, MarkEffect};
use serde_json::Value;

use crate::context::Reach;
use crate::error::StoreError;
use crate::mark;
use crate::store::Store;
use crate::tx::View;

/// How far behind a node may be before it starts from [`Store::facts`] again.
const BEHIND_MAX: u64 = 10_000;

/// Tenant, type and id of something that was touched.
type Touched = BTreeSet<(TenantId, String, String)>;

impl Store {
    /// What became true since `from`, for a node that has everything before it; the position comes last.
    /// Facts tell the present, so that one thing that changed twice is told once.
    ///
    /// # Errors
    /// [`StoreError::Limit`] when `from` is more than 10,000 entries behind: start from [`Store::facts`];
    /// [`StoreError::NoSuchPosition`] when it is ahead of the log, which means that the log was set back.
    pub async fn changes(&self, from: StatePos) -> Result<Vec<Fact>, StoreError> {
        let mut view = self.every().await?;
        let head = view.head().await?;
        let behind = head.size.checked_sub(from.0);
        let behind = behind.ok_or(StoreError::NoSuchPosition {
            at: from.0,
            size: head.size,
        })?;
        if behind > BEHIND_MAX {
            return Err(StoreError::Limit {
                what: "entries to catch up",
                found: behind,
                max: BEHIND_MAX,
            });
        }
        let max = u32::try_from(behind).unwrap_or(u32::MAX);
        let mut touched = Touched::new();
        for sealed in view.span(from.0, head.size, max, None).await? {
            match view.open(sealed) {
                Ok(opening) => touch(&mut touched, &opening.tenant, &opening.value()?, opening.index)?,
                // Nothing of a tenant whose key was erased can be true any more.
                Err(StoreError::Seal(SealError::NoKey(_))) => {}
                Err(error) => return Err(error),
            }
        }
        let mut facts = Vec::new();
        for (tenant, kind, id) in touched {
            view.reach = Reach::Tenant(tenant.clone());
            match kind.as_str() {
                "epoch" => facts.push(Fact::EpochFloor(Epoch(head.floor))),
                _ => view.tell(&tenant, &kind, &id, &mut facts).await?,
            }
        }
        facts.push(Fact::Position(StatePos(head.size), Epoch(head.epoch)));
        Ok(facts)
    }
}

fn touch(touched: &mut Touched, tenant: &TenantId, payload: &Value, index: u64) -> Result<(), StoreError> {
    let wrong = StoreError::LogCorrupt {
        index,
        what: "its payload has no objects",
    };
    let objects = payload
        .get("objects")
        .and_then(Value::as_array)
        .ok_or_else(|| wrong.clone())?;
    for object in objects {
        let text = |name| object.get(name).and_then(Value::as_str).map(str::to_owned);
        let (Some(kind), Some(id)) = (text("type"), text("id")) else {
            return Err(wrong);
        };
        // A grant is told with its task, which the same entry names.
        if kind != "grant" {
            touched.insert((tenant.clone(), kind, id));
        }
    }
    Ok(())
}

impl View {
    /// The facts about one thing, of whatever type a record names.
    async fn tell(
        &mut self,
        tenant: &TenantId,
        kind: &str,
        id: &str,
        facts: &mut Vec<Fact>,
    ) -> Result<(), StoreError> {
        match kind {
            "client" => {
                if let Ok(id) = ClientId::parse(tenant, id) {
                    let found = self.client().lookup(&id).await?;
                    facts.extend(found.map(|c| Fact::Client(Arc::new(c))));
                }
            }
            "trust" => {
                if let Ok(id) = TrustId::parse(tenant, id) {
                    let found = self.trust().lookup(&id).await?;
                    facts.extend(found.map(|t| Fact::Trust(Arc::new(t))));
                }
            }
            "identity" => {
                if let Ok(id) = IdentityId::parse(tenant, id) {
                    let found = self.identity().lookup(&id).await?;
                    facts.extend(found.map(|i| Fact::Identity(Arc::new(i))));
                }
            }
            "mark" => {
                if let Some(scope) = mark::scope_from(tenant, id) {
                    let marks = self.mark().lookup(&scope).await?;
                    if marks.iter().all(|m| m.mark.effect != MarkEffect::Suspend) {
                        facts.push(Fact::MarkLifted(scope));
                    }
                    facts.extend(marks.into_iter().map(|m| Fact::Mark(m.mark)));
                }
            }
            "policy" => {
                let latest = self.policy().latest().await?;
                facts.extend(latest.map(|p| Fact::Policies(p.tenant, p.body)));
            }
            "public_client" => {
                if let Ok(id) = ClientId::parse(tenant, id) {
                    let found = self.public_client().lookup(&id).await?;
                    facts.extend(found.map(|c| Fact::PublicClient(Arc::new(c))));
                }
            }
            "server" => {
                if let Ok(name) = ServerName::parse(id) {
                    let found = self.server().lookup(&name).await?;
                    facts.extend(found.map(|s| Fact::Server(Arc::new(s))));
                }
            }
            "signing_key" => {
                let keys = self.signing_key().list().await?;
                facts.push(Fact::SigningKeys(tenant.clone(), keys.into()));
            }
            "task" => {
                if let Ok(id) = TaskId::parse(tenant, id) {
                    let task = self.task().lookup(&id).await?;
                    facts.extend(task.map(|(task, grant)| Fact::Task(Arc::new(task), Arc::new(grant))));
                }
            }
            "tenant" => {
                let tenant = self.tenant().lookup(tenant).await?;
                facts.extend(tenant.map(|(tenant, algorithm)| Fact::Tenant(Arc::new(tenant), algorithm)));
            }
            // Consents, credentials, operators, subscriptions and transmitters are no facts of a decision.
            _ => {}
        }
        Ok(())
    }
}
