//! The real store keeps what nodes rely on in the simulator, where a model stands in for it.

use std::sync::Arc;

use bailiwick_base::{Epoch, IdentityId, NodeName, StatePos};
use bailiwick_decide::{MarkEffect, MarkScope};
use bailiwick_inventory::{resume, retire, suspend};
use bailiwick_simulation::contract::{SharedStore, require_all};
use bailiwick_simulation::run::database::{Change, News, Refused};
use bailiwick_store::{Receipt, StoreError, Tx};
use tokio::runtime::Runtime;

use crate::bed::{self, Bed, Place};

struct Real {
    runtime: Runtime,
    place: Place,
    starts: u64,
    first: Arc<Bed>,
    identities: Vec<IdentityId>,
}

impl Real {
    fn on(runtime: Runtime, place: Place) -> Self {
        let (first, identities) = runtime.block_on(async {
            let bed = Bed::on(place.clone()).await;
            let tenant = bed.tenant("acme").await;
            let mut identities = Vec::new();
            for name in ["first", "second"] {
                identities.push(bed.identity(&tenant, name).await.id);
            }
            (Arc::new(bed), identities)
        });
        Self {
            runtime,
            place,
            starts: 1,
            first,
            identities,
        }
    }
}

/// A rule of the room that does not hold ends the transaction.
const RULE: StoreError = StoreError::Dangling;

/// As `api` does it: the mark and the states of those it names in one transaction.
async fn carry_out(tx: &mut Tx, change: &Change) -> Result<(), StoreError> {
    match change {
        Change::Stop {
            scope,
            effect,
            members,
        } => {
            tx.mark().set(scope.clone(), *effect, "why").await?;
            for id in members {
                let identity = tx.identity().lookup(id).await?.ok_or(RULE)?;
                let now = tx.now();
                let moved = if *effect == MarkEffect::Kill {
                    retire(identity, "why", now)
                } else {
                    suspend(identity, "why", now)
                };
                tx.identity().apply(moved.map_err(|_| RULE)?).await?;
            }
            Ok(())
        }
        Change::Lift(scope) => {
            if let MarkScope::Identity(id) = scope {
                let identity = tx.identity().lookup(id).await?.ok_or(RULE)?;
                let moved = resume(identity, tx.now()).map_err(|_| RULE)?;
                tx.identity().apply(moved).await?;
            }
            tx.mark().lift(scope, None).await
        }
        Change::Register(..) => Err(RULE),
    }
}

fn refused(error: &StoreError) -> Refused {
    match error {
        StoreError::Dangling => Refused::Rule,
        StoreError::Fenced { .. } => Refused::Fenced,
        StoreError::NoSuchPosition { .. } => Refused::NoSuchPosition,
        other => panic!("the store failed: {other}"),
    }
}

impl SharedStore for Real {
    type Node = Arc<Bed>;

    fn start(&mut self, name: &NodeName) -> Arc<Bed> {
        self.starts += 1;
        let bed = Bed::node(self.place.clone(), name.as_str(), self.starts);
        Arc::new(self.runtime.block_on(bed))
    }

    fn identities(&self) -> Vec<IdentityId> {
        self.identities.clone()
    }

    fn commit(&mut self, node: &Arc<Bed>, change: &Change) -> Result<(StatePos, Epoch), Refused> {
        let (change, tenant) = (change.clone(), self.identities[0].tenant().clone());
        let committing = node.tx(&tenant, async move |tx| carry_out(tx, &change).await);
        let receipt: Result<Arc<Receipt>, StoreError> = self.runtime.block_on(committing);
        receipt
            .map(|receipt| (receipt.pos, receipt.epoch))
            .map_err(|e| refused(&e))
    }

    fn head(&mut self) -> (StatePos, Epoch) {
        self.runtime.block_on(self.first.store.position()).unwrap()
    }

    fn changes(&mut self, node: &Arc<Bed>, from: StatePos) -> Result<News, Refused> {
        let read = self.runtime.block_on(node.store.changes(from));
        let changes = read.map_err(|e| refused(&e))?;
        Ok(News {
            pos: changes.pos,
            epoch: changes.epoch,
            facts: changes.facts,
        })
    }
}

fn hold(place: impl Future<Output = Option<Place>>) {
    let runtime = Runtime::new().unwrap();
    let Some(place) = runtime.block_on(place) else {
        return;
    };
    let mut real = Real::on(runtime, place);
    assert_eq!(require_all(&mut real), Ok(()));
}

#[test]
fn what_nodes_rely_on_holds_on_sqlite() {
    hold(bed::sqlite());
}

#[test]
fn what_nodes_rely_on_holds_on_postgres() {
    hold(bed::postgres());
}
