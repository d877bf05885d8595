//! Doors to the aggregates, and everything the snapshot starts from.

use std::sync::Arc;

use bailiwick_base::{Epoch, StatePos, TenantId};
use bailiwick_credential::TASK_AFTERLIFE;
use bailiwick_decide::{Fact, MarkScope};

use crate::client::{self, Clients};
use crate::consent::Consents;
use crate::context::Reach;
use crate::credential::Credentials;
use crate::error::StoreError;
use crate::identity::{self, Identities};
use crate::kill_receipt::KillReceipts;
use crate::lease::Leases;
use crate::mark::{self, Marks};
use crate::operator::Operators;
use crate::policy::{self, Policies};
use crate::public_client::{self, PublicClients};
use crate::row::args;
use crate::server::{self, Servers};
use crate::signing_key::{self, SigningKeys};
use crate::store::Store;
use crate::subscription::Subscriptions;
use crate::task::{self, Tasks};
use crate::tenant::Tenants;
use crate::third_party::ThirdParties;
use crate::transmitter::Transmitters;
use crate::trust::{self, Trusts};
use crate::tx::{Tx, View};

macro_rules! doors {
    ($type:ident) => {
        impl $type {
            /// Tenants.
            pub fn tenant(&mut self) -> Tenants<'_, Self> {
                Tenants(self)
            }
            /// Identities.
            pub fn identity(&mut self) -> Identities<'_, Self> {
                Identities(self)
            }
            /// OAuth clients.
            pub fn client(&mut self) -> Clients<'_, Self> {
                Clients(self)
            }
            /// Clients without a key.
            pub fn public_client(&mut self) -> PublicClients<'_, Self> {
                PublicClients(self)
            }
            /// Consents.
            pub fn consent(&mut self) -> Consents<'_, Self> {
                Consents(self)
            }
            /// Trust rules.
            pub fn trust(&mut self) -> Trusts<'_, Self> {
                Trusts(self)
            }
            /// Receipts of kills.
            pub fn kill_receipt(&mut self) -> KillReceipts<'_, Self> {
                KillReceipts(self)
            }
            /// Signing keys.
            pub fn signing_key(&mut self) -> SigningKeys<'_, Self> {
                SigningKeys(self)
            }
            /// Who is told what happens.
            pub fn subscription(&mut self) -> Subscriptions<'_, Self> {
                Subscriptions(self)
            }
            /// Who tells us what happens elsewhere.
            pub fn transmitter(&mut self) -> Transmitters<'_, Self> {
                Transmitters(self)
            }
            /// Tasks and grants.
            pub fn task(&mut self) -> Tasks<'_, Self> {
                Tasks(self)
            }
            /// Upstream servers and pins.
            pub fn server(&mut self) -> Servers<'_, Self> {
                Servers(self)
            }
            /// Upstream credentials.
            pub fn credential(&mut self) -> Credentials<'_, Self> {
                Credentials(self)
            }
            /// Third-party credentials.
            pub fn third_party(&mut self) -> ThirdParties<'_, Self> {
                ThirdParties(self)
            }
            /// Leases of third-party credentials.
            pub fn lease(&mut self) -> Leases<'_, Self> {
                Leases(self)
            }
            /// Policies.
            pub fn policy(&mut self) -> Policies<'_, Self> {
                Policies(self)
            }
            /// Marks and the epoch.
            pub fn mark(&mut self) -> Marks<'_, Self> {
                Marks(self)
            }
            /// Operators.
            pub fn operator(&mut self) -> Operators<'_, Self> {
                Operators(self)
            }
        }
    };
}

doors!(View);
doors!(Tx);

impl Store {
    /// Everything the snapshot is built from, in one consistent view; the position comes last.
    ///
    /// # Errors
    /// [`StoreError`], above all [`StoreError::RowCorrupt`]: nobody decides on half a snapshot.
    pub async fn facts(&self) -> Result<Vec<Fact>, StoreError> {
        self.every().await?.facts().await
    }

    /// The same of some tenants, in the same order: theirs, the marks that concern them, the floor and the position.
    /// Nothing of anybody else.
    ///
    /// # Errors
    /// As [`Store::facts`].
    pub async fn facts_of(&self, tenants: &[TenantId]) -> Result<Vec<Fact>, StoreError> {
        self.every().await?.facts_of(tenants).await
    }
}

impl View {
    pub(crate) async fn facts(&mut self) -> Result<Vec<Fact>, StoreError> {
        let view = self;
        let head = view.head().await?;
        let mut facts = vec![Fact::EpochFloor(Epoch(head.floor))];
        facts.extend(
            view.tenant()
                .list()
                .await?
                .into_iter()
                .map(|(t, a)| Fact::Tenant(Arc::new(t), a)),
        );
        facts.extend(signing_key::every(view).await?);
        for cells in view.fetch(identity::EVERY, Vec::new()).await? {
            facts.push(Fact::Identity(Arc::new(identity::from_row(cells)?)));
        }
        for cells in view.fetch(client::EVERY, Vec::new()).await? {
            facts.push(Fact::Client(Arc::new(client::from_row(cells)?)));
        }
        for cells in view.fetch(public_client::EVERY, Vec::new()).await? {
            facts.push(Fact::PublicClient(Arc::new(public_client::from_row(cells)?)));
        }
        for cells in view.fetch(trust::EVERY, Vec::new()).await? {
            facts.push(Fact::Trust(Arc::new(trust::from_row(cells)?)));
        }
        let since = view.ground.clock.now().before(TASK_AFTERLIFE);
        for cells in view.fetch(task::EVERY, args![since]).await? {
            let (task, grant) = task::from_row(cells)?;
            facts.push(Fact::Task(Arc::new(task), Arc::new(grant)));
        }
        let mut pins = server::pins_from_rows(view.fetch(server::EVERY_PIN, Vec::new()).await?)?;
        for cells in view.fetch(server::EVERY, Vec::new()).await? {
            facts.push(Fact::Server(Arc::new(server::from_row(cells, &mut pins)?)));
        }
        for cells in view.fetch(policy::EVERY, Vec::new()).await? {
            let set = policy::from_row(cells)?;
            facts.push(Fact::Policies(set.tenant, set.body));
        }
        for cells in view.fetch(mark::EVERY, Vec::new()).await? {
            facts.push(Fact::Mark(mark::from_row(cells)?.mark));
        }
        facts.push(Fact::Position(StatePos(head.size), Epoch(head.epoch)));
        Ok(facts)
    }
}

/// Whose calls a mark can stop; `None` where everybody's.
fn tenant_of(scope: &MarkScope) -> Option<&TenantId> {
    match scope {
        MarkScope::All => None,
        MarkScope::Agent(tenant, _)
        | MarkScope::Issuer(tenant, _)
        | MarkScope::Owner(tenant, _)
        | MarkScope::Server(tenant, _)
        | MarkScope::Tenant(tenant)
        | MarkScope::Tool(tenant, ..) => Some(tenant),
        MarkScope::Identity(id) => Some(id.tenant()),
        MarkScope::Task(id) => Some(id.tenant()),
        MarkScope::Token(id) => Some(id.tenant()),
    }
}

impl View {
    async fn facts_of(&mut self, tenants: &[TenantId]) -> Result<Vec<Fact>, StoreError> {
        let head = self.head().await?;
        let mut facts = vec![Fact::EpochFloor(Epoch(head.floor))];
        let whole = self.reach.clone();
        for tenant in tenants {
            self.reach = Reach::Tenant(tenant.clone());
            let told = self.facts_of_one(tenant, &mut facts).await;
            self.reach = whole.clone();
            told?;
        }
        for cells in self.fetch(mark::EVERY, Vec::new()).await? {
            let mark = mark::from_row(cells)?.mark;
            if tenant_of(&mark.scope).is_none_or(|tenant| tenants.contains(tenant)) {
                facts.push(Fact::Mark(mark));
            }
        }
        facts.push(Fact::Position(StatePos(head.size), Epoch(head.epoch)));
        Ok(facts)
    }

    async fn facts_of_one(&mut self, tenant: &TenantId, facts: &mut Vec<Fact>) -> Result<(), StoreError> {
        let Some((known, algorithm)) = self.tenant().lookup(tenant).await? else {
            return Ok(());
        };
        facts.push(Fact::Tenant(Arc::new(known), algorithm));
        let keys = self.signing_key().list().await?;
        if !keys.is_empty() {
            facts.push(Fact::SigningKeys(tenant.clone(), keys.into()));
        }
        let of = || args![tenant.as_str()];
        for cells in self.fetch(identity::EVERY_OF, of()).await? {
            facts.push(Fact::Identity(Arc::new(identity::from_row(cells)?)));
        }
        for cells in self.fetch(client::EVERY_OF, of()).await? {
            facts.push(Fact::Client(Arc::new(client::from_row(cells)?)));
        }
        for cells in self.fetch(public_client::EVERY_OF, of()).await? {
            facts.push(Fact::PublicClient(Arc::new(public_client::from_row(cells)?)));
        }
        for cells in self.fetch(trust::EVERY_OF, of()).await? {
            facts.push(Fact::Trust(Arc::new(trust::from_row(cells)?)));
        }
        let since = self.ground.clock.now().before(TASK_AFTERLIFE);
        for cells in self.fetch(task::EVERY_OF, args![since, tenant.as_str()]).await? {
            let (task, grant) = task::from_row(cells)?;
            facts.push(Fact::Task(Arc::new(task), Arc::new(grant)));
        }
        let mut pins = server::pins_from_rows(self.fetch(server::PINS, of()).await?)?;
        for cells in self.fetch(server::LIST, of()).await? {
            facts.push(Fact::Server(Arc::new(server::from_row(cells, &mut pins)?)));
        }
        let latest = self.policy().latest().await?;
        facts.extend(latest.map(|set| Fact::Policies(set.tenant, set.body)));
        Ok(())
    }
}
