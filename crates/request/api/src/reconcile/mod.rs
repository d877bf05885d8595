//! Finds what is to be carried on now: rotations, ends of credentials, leases, signing keys, and what is to be told.
//!
//! Each round reads what is due in every tenant and gives back one piece of work for each thing that has a turn.
//! Nobody waits for the work of a round: what hangs in one system holds up nothing but its own places.

mod owners;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bailiwick_base::{CredentialId, IdentityId, LeaseId, TaskId, TenantId};
use bailiwick_decide::Snapshot;
use bailiwick_store::{DueCredential, OpenLease, Reader, StoreError};

use self::owners::Owners;
use self::turns::{Lane, Taken, Turns, Wanted};
use crate::deps::BoxFuture;
use crate::lending::{self, Glance};
use crate::receipts::drill::by_schedule;
use crate::receipts::{Tending, complete, tend};
use crate::rotation;
use crate::{Deps, advance_keys};

/// Rows of one statement.
const PAGE: u32 = 1_000;
/// How long at most the keys of identities that ended are left alone.
const ENDED_REST: Duration = Duration::from_secs(15);

/// A piece of work, to be done beside all others.
pub type Work = BoxFuture<'static, ()>;

/// What a lease was made from, and whose that is.
type Source = (CredentialId, IdentityId);

/// Looks for what is to be carried on.
#[derive(Default)]
pub struct Reconciler {
    credentials: Arc<Turns<CredentialId>>,
    leases: Arc<Turns<LeaseId>>,
    /// Where open leases come from, as far as it was seen yet.
    sources: Arc<Mutex<BTreeMap<LeaseId, Source>>>,
    keys: Arc<AtomicBool>,
    owners: Arc<Mutex<Owners>>,
    tenants: Arc<Turns<TenantId>>,
    receipts: Arc<Tending>,
}

/// What is due in one tenant.
struct Due {
    credentials: Vec<DueCredential>,
    leases: Vec<OpenLease>,
}

impl Reconciler {
    /// What each node has to do for itself, whoever leads: nobody else knows its points and its log.
    pub fn own_round(&self, deps: &Deps) -> Vec<Work> {
        let now = deps.clock.monotonic();
        let mut work: Vec<Work> = Vec::new();
        if self
            .receipts
            .is_due((deps.clock.now(), now), deps.cell.load().epoch())
        {
            work.push(Box::pin(tend(deps.clone(), Arc::clone(&self.receipts))));
        }
        let pressed = deps.unsettled.take_pressed();
        if !pressed.is_empty() {
            work.push(Box::pin(complete(deps.clone(), pressed)));
        }
        if deps.pruning.is_due(now) {
            work.push(Box::pin(crate::prune::by_schedule(deps.clone())));
        }
        if deps.drills.is_due(now) {
            work.push(Box::pin(by_schedule(deps.clone())));
        }
        work
    }

    /// What the leader has to do now and is not being done yet.
    pub async fn round(&self, deps: &Deps) -> Vec<Work> {
        let tenants: Vec<TenantId> = deps.cell.load().tenants().map(|(t, _)| t.id.clone()).collect();
        let mut work = crate::signals::due(deps).await;
        let (mut credentials, mut leases) = (BTreeSet::new(), BTreeSet::new());
        for tenant in &tenants {
            match due(deps, tenant).await {
                Ok(due) => {
                    credentials.extend(due.credentials.iter().map(|c| c.id.clone()));
                    leases.extend(due.leases.iter().map(|l| l.id.clone()));
                    let ending: BTreeSet<CredentialId> = due
                        .credentials
                        .iter()
                        .filter(|c| c.is_ending())
                        .map(|c| c.id.clone())
                        .collect();
                    work.extend(self.credentials(deps, tenant, due.credentials));
                    work.extend(self.leases(deps, tenant, &ending, due.leases));
                }
                Err(error) => tracing::warn!(%error, %tenant, "what is due could not be read"),
            }
        }
        self.credentials.keep(|id| credentials.contains(id));
        self.leases.keep(|id| leases.contains(id));
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|id, _| leases.contains(id));
        drop(sources);
        work.extend(self.ended_identities(deps));
        work.extend(self.signing(deps));
        work
    }

    fn credentials(&self, deps: &Deps, tenant: &TenantId, due: Vec<DueCredential>) -> Vec<Work> {
        let wanted = due.into_iter().map(|c| Wanted {
            lanes: vec![if c.is_ending() {
                Lane::Ending(tenant.clone())
            } else {
                Lane::Rotation(tenant.clone())
            }],
            key: c.id,
            row: c.digest,
            pressing: true,
        });
        let taken = self.credentials.take(wanted.collect(), deps.clock.monotonic());
        taken
            .into_iter()
            .map(|taken| -> Work { Box::pin(carry_credential(deps.clone(), taken)) })
            .collect()
    }

    fn leases(
        &self,
        deps: &Deps,
        tenant: &TenantId,
        ending: &BTreeSet<CredentialId>,
        open: Vec<OpenLease>,
    ) -> Vec<Work> {
        let snapshot = deps.cell.load();
        let now = deps.clock.now();
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stops = Stops::new(deps, &snapshot);
        let wanted = open.into_iter().map(|lease| {
            let source = sources.get(&lease.id);
            let pressing = lease.due_at <= now
                || stops.task(&lease.task)
                || source.is_some_and(|(id, owner)| ending.contains(id) || stops.owner(owner));
            let mut lanes = vec![if pressing {
                Lane::Lease(tenant.clone())
            } else {
                Lane::Glance(tenant.clone())
            }];
            lanes.extend(
                source
                    .map(|(id, _)| Lane::Source(id.clone()))
                    .filter(|_| pressing),
            );
            Wanted {
                key: lease.id,
                row: lease.digest,
                pressing,
                lanes,
            }
        });
        let wanted = wanted.collect();
        drop(sources);
        let taken = self.leases.take(wanted, deps.clock.monotonic());
        taken
            .into_iter()
            .map(|taken| -> Work { Box::pin(carry_lease(deps.clone(), Arc::clone(&self.sources), taken)) })
            .collect()
    }

    /// Keys of identities that were killed or retired.
    fn ended_identities(&self, deps: &Deps) -> Vec<Work> {
        let snapshot = deps.cell.load();
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.look(deps, &snapshot);
        let tenants = owners.tenants();
        drop(owners);
        let row = owners::row(&snapshot);
        self.tenants.keep(|tenant| tenants.contains(tenant));
        let wanted = tenants.into_iter().map(|key| Wanted {
            key,
            row,
            pressing: true,
            lanes: Vec::new(),
        });
        let taken = self.tenants.take(wanted.collect(), deps.clock.monotonic());
        taken
            .into_iter()
            .map(|taken| -> Work { Box::pin(end_keys(deps.clone(), Arc::clone(&self.owners), taken)) })
            .collect()
    }

    /// Signing keys, one round of them at a time.
    fn signing(&self, deps: &Deps) -> Option<Work> {
        if self.keys.swap(true, Ordering::AcqRel) {
            return None;
        }
        let (deps, busy) = (deps.clone(), Busy(Arc::clone(&self.keys)));
        Some(Box::pin(async move {
            let _busy = busy;
            advance_keys(&deps).await;
        }))
    }
}

/// Says so until it is dropped.
struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// What is stopped, asked once for each thing.
struct Stops<'a> {
    deps: &'a Deps,
    snapshot: &'a Snapshot,
    tasks: BTreeMap<TaskId, bool>,
    owners: BTreeMap<IdentityId, bool>,
}

impl<'a> Stops<'a> {
    const fn new(deps: &'a Deps, snapshot: &'a Snapshot) -> Self {
        Self {
            deps,
            snapshot,
            tasks: BTreeMap::new(),
            owners: BTreeMap::new(),
        }
    }

    fn task(&mut self, task: &TaskId) -> bool {
        if let Some(known) = self.tasks.get(task) {
            return *known;
        }
        let stopped = lending::stopped(self.deps, self.snapshot, task).is_some();
        self.tasks.insert(task.clone(), stopped);
        stopped
    }

    fn owner(&mut self, owner: &IdentityId) -> bool {
        if let Some(known) = self.owners.get(owner) {
            return *known;
        }
        let stopped = rotation::owner_stopped(self.deps, self.snapshot, owner).is_some();
        self.owners.insert(owner.clone(), stopped);
        stopped
    }
}

/// Everything that is due, page by page.
async fn due(deps: &Deps, tenant: &TenantId) -> Result<Due, StoreError> {
    let mut reader = deps.store.reader(tenant).await?;
    Ok(Due {
        credentials: due_credentials(deps, &mut reader).await?,
        leases: open_leases(&mut reader).await?,
    })
}

async fn due_credentials(deps: &Deps, reader: &mut Reader) -> Result<Vec<DueCredential>, StoreError> {
    let (mut found, now) = (Vec::new(), deps.clock.now());
    loop {
        let page = reader.third_party().due(now, found.last(), PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        found.extend(page);
        if is_last {
            return Ok(found);
        }
    }
}

async fn open_leases(reader: &mut Reader) -> Result<Vec<OpenLease>, StoreError> {
    let mut found = Vec::new();
    loop {
        let page = reader.lease().open(found.last(), PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        found.extend(page);
        if is_last {
            return Ok(found);
        }
    }
}

async fn carry_credential(deps: Deps, taken: Taken<CredentialId>) {
    if let Some((row, most)) = rotation::advance(&deps, &taken.key, taken.row).await {
        taken.rest(row, most, deps.clock.monotonic());
    }
}

async fn end_keys(deps: Deps, owners: Arc<Mutex<Owners>>, taken: Taken<TenantId>) {
    let dead = owners
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .dead(&taken.key);
    let done = owners::end_keys(&deps, &taken.key, &dead).await;
    let now = deps.clock.monotonic();
    owners
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .settle(&taken.key, done, now);
    let row = taken.row;
    taken.rest(row, ENDED_REST, now);
}

async fn carry_lease(deps: Deps, sources: Arc<Mutex<BTreeMap<LeaseId, Source>>>, taken: Taken<LeaseId>) {
    let Glance { source, rest } = lending::advance(&deps, &taken.key, taken.row).await;
    if let Some(source) = source {
        let mut known = sources.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(taken.key.clone(), source);
    }
    if let Some((row, most)) = rest {
        taken.rest(row, most, deps.clock.monotonic());
    }
}
