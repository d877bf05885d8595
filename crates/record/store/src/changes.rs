//! How another node catches up: what the log says was touched, as the rows say it now.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bailiwick_base::{
    ClientId, Epoch, IdentityId, SealError, ServerName, StatePos, TaskId, TenantId, TrustId,
};
use bailiwick_decide::Fact;
use serde_json::Value;

use crate::context::Reach;
use crate::error::StoreError;
use crate::mark;
use crate::store::Store;
use crate::tx::{Entry, Receipt, View};

/// How far behind a node may be before it starts from [`Store::facts`] again.
const BEHIND_MAX: u64 = 10_000;

/// Tenant, type and id of something that was touched.
type Touched = BTreeSet<(TenantId, String, String)>;

/// What another node committed.
#[derive(Debug, Clone)]
pub struct Changes {
    /// The position that takes all of it into account.
    pub pos: StatePos,
    /// The epoch there.
    pub epoch: Epoch,
    /// What is true now of everything that was touched; the position comes last.
    pub facts: Vec<Fact>,
    /// The entries, in order.
    pub entries: Vec<Entry>,
    /// Whether operators may have changed.
    pub operators: bool,
}

impl Changes {
    pub(crate) fn into_receipt(self) -> Receipt {
        Receipt {
            pos: self.pos,
            epoch: self.epoch,
            facts: self.facts,
            entries: self.entries,
            answer: Vec::new(),
            replayed: false,
        }
    }
}

impl Store {
    /// Takes what other nodes committed and tells the observer of it, as of a commit of this node.
    ///
    /// # Errors
    /// As [`Store::changes`].
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        let told = StatePos(self.audience().told());
        if self.position().await?.0 != told {
            let changes = self.changes(told).await?;
            self.audience().tell_changes(changes);
        }
        Ok(())
    }

    /// Whether operators may have changed on another node since this was asked last: no fact tells of them.
    #[must_use]
    pub fn take_operators_changed(&self) -> bool {
        self.audience().operators.swap(false, Ordering::AcqRel)
    }

    /// They could not be read: to be asked again.
    pub fn note_operators_changed(&self) {
        self.audience().operators.store(true, Ordering::Release);
    }

    /// What became true since `from`, for a node that has everything before it; the position comes last.
    /// Facts tell the present, so that one thing that changed twice is told once.
    ///
    /// # Errors
    /// [`StoreError::Limit`] when `from` is more than 10,000 entries behind: start from [`Store::facts`];
    /// [`StoreError::NoSuchPosition`] when it is ahead of the log, which means that the log was set back.
    pub async fn changes(&self, from: StatePos) -> Result<Changes, StoreError> {
        self.every().await?.changes(from).await
    }
}

impl View {
    /// As [`Store::changes`], in this view, which must be one of every tenant.
    pub(crate) async fn changes(&mut self, from: StatePos) -> Result<Changes, StoreError> {
        let head = self.head().await?;
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
        let mut entries = Vec::new();
        for sealed in self.span(from.0, head.size, max, None).await? {
            entries.push(Entry {
                index: sealed.index(),
                leaf: sealed.leaf.clone(),
            });
            if sealed.kind().starts_with("state.key.") {
                self.adopt_keys(&sealed.tenant.clone()).await?;
            }
            let opened = match self.open(sealed.clone()) {
                // The keys of a tenant that is new here come before anything of it can be opened.
                Err(StoreError::Seal(SealError::NoKey(_))) => {
                    self.adopt_keys(&sealed.tenant.clone()).await?;
                    self.open(sealed)
                }
                opened => opened,
            };
            match opened {
                Ok(opening) => touch(&mut touched, &opening.tenant, &opening.value()?, opening.index)?,
                // Nothing of a tenant whose key was erased can be true any more.
                Err(StoreError::Seal(SealError::NoKey(_))) => {}
                Err(error) => return Err(error),
            }
        }
        let mut facts = Vec::new();
        let operators = touched.iter().any(|(_, kind, _)| kind == "operator");
        let reach = self.reach.clone();
        for (tenant, kind, id) in touched {
            self.reach = Reach::Tenant(tenant.clone());
            match kind.as_str() {
                "epoch" => facts.push(Fact::EpochFloor(Epoch(head.floor))),
                _ => self.tell(&tenant, &kind, &id, &mut facts).await?,
            }
        }
        self.reach = reach;
        let (pos, epoch) = (StatePos(head.size), Epoch(head.epoch));
        facts.push(Fact::Position(pos, epoch));
        Ok(Changes {
            pos,
            epoch,
            facts,
            entries,
            operators,
        })
    }

    /// Takes the keys of a tenant that other nodes changed.
    async fn adopt_keys(&mut self, tenant: &TenantId) -> Result<(), StoreError> {
        let Some(shelf) = self.ground.shelf.clone() else {
            return Ok(());
        };
        for key in self.keys_of(tenant).await? {
            shelf.adopt(&key)?;
        }
        Ok(())
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
                    // What can be lifted is what stands now, and nothing else.
                    facts.push(Fact::MarkLifted(scope));
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
