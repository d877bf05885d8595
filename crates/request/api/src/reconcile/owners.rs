//! The end of an identity is the end of its keys at the systems that accept them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bailiwick_base::{Digest, Epoch, IdentityId, TenantId};
use bailiwick_credential::plan::ends_now;
use bailiwick_credential::{Standing, ThirdParty, rotation};
use bailiwick_decide::Snapshot;
use bailiwick_store::{Actor, Context, Reach, RequestId, Sealing, StoreError, Tx};

use crate::Deps;
use crate::effective::View;
use crate::rotation::{Stopped, owner_stopped};

/// How often all identities are gone through although nothing was killed.
const AGAIN: Duration = Duration::from_secs(60);
/// How long after its end an identity is still looked at: whatever was being registered for it is there by then.
const SETTLING: Duration = Duration::from_secs(30);
/// Credentials of one identity at one look.
const OWNED_MAX: u32 = 1_000;

/// Identities that may never act again.
#[derive(Default)]
pub(super) struct Owners {
    /// When they were gone through last.
    looked: Option<(Epoch, Duration)>,
    /// Of which something may be left, and since when that is known.
    dead: BTreeMap<TenantId, BTreeMap<IdentityId, Duration>>,
    /// Of which nothing is left.
    settled: BTreeSet<IdentityId>,
}

impl Owners {
    /// Goes through all identities after each revocation, and now and then.
    pub(super) fn look(&mut self, deps: &Deps, snapshot: &Snapshot) {
        let (epoch, now) = (snapshot.epoch(), deps.clock.monotonic());
        if self
            .looked
            .is_some_and(|(at, when)| at == epoch && now < when.saturating_add(AGAIN))
        {
            return;
        }
        self.looked = Some((epoch, now));
        let view = View::new(deps, snapshot);
        for (tenant, _) in snapshot.tenants() {
            let ended = snapshot.identities(&tenant.id).filter(|identity| {
                let state = view.identity(identity).state;
                matches!(state.as_str(), "killed" | "retired")
            });
            for identity in ended.filter(|identity| !self.settled.contains(&identity.id)) {
                let dead = self.dead.entry(tenant.id.clone()).or_default();
                dead.entry(identity.id.clone()).or_insert(now);
            }
        }
    }

    /// Tenants in which something may have to end.
    pub(super) fn tenants(&self) -> Vec<TenantId> {
        self.dead.keys().cloned().collect()
    }

    pub(super) fn dead(&self, tenant: &TenantId) -> Vec<IdentityId> {
        let dead = self.dead.get(tenant).into_iter().flatten();
        dead.map(|(id, _)| id.clone()).collect()
    }

    /// Nothing is left of these.
    pub(super) fn settle(&mut self, tenant: &TenantId, done: Vec<IdentityId>, now: Duration) {
        let Some(dead) = self.dead.get_mut(tenant) else {
            return;
        };
        for id in done {
            if dead
                .get(&id)
                .is_some_and(|since| since.saturating_add(SETTLING) <= now)
            {
                dead.remove(&id);
                self.settled.insert(id);
            }
        }
        if dead.is_empty() {
            self.dead.remove(tenant);
        }
    }
}

/// What changes when another identity ends: until then a tenant may be left alone.
pub(super) fn row(snapshot: &Snapshot) -> Digest {
    Digest::of(&snapshot.epoch().0.to_be_bytes())
}

/// Decides that the keys of `dead` end, as far as a driver can end them; gives those of which nothing is left.
pub(super) async fn end_keys(deps: &Deps, tenant: &TenantId, dead: &[IdentityId]) -> Vec<IdentityId> {
    let (mut living, mut done) = (Vec::new(), Vec::new());
    for identity in dead {
        match owned(deps, identity).await {
            Ok(owned) if owned.is_empty() => done.push(identity.clone()),
            Ok(owned) => living.extend(owned),
            Err(error) => {
                tracing::warn!(%error, %identity, "the keys of an identity that ended could not be read")
            }
        }
    }
    for credential in ends_now(&living) {
        if let Err(error) = end(deps, tenant, credential).await {
            tracing::warn!(%error, credential = %credential.name, %tenant, "the key of an identity that ended goes on");
        }
    }
    done
}

/// What of the identity is still to be ended, by a driver.
async fn owned(deps: &Deps, identity: &IdentityId) -> Result<Vec<ThirdParty>, StoreError> {
    let mut reader = deps.store.reader(identity.tenant()).await?;
    let owned = reader.third_party().of_identity(identity, OWNED_MAX).await?;
    let left = |c: &ThirdParty| c.target.is_some() && !matches!(c.standing, Standing::Revoked { .. });
    Ok(owned.into_iter().filter(left).collect())
}

async fn end(deps: &Deps, tenant: &TenantId, credential: &ThirdParty) -> Result<(), Stopped> {
    let Some(why) = owner_stopped(deps, &deps.cell.load(), &credential.identity) else {
        return Ok(());
    };
    let request = RequestId(deps.ids.uuid()?);
    let context = deps.duty(Context::new(
        Reach::from(tenant),
        Actor::System("rotation"),
        request,
    ));
    let ending = rotation::end(credential.clone(), &why)?;
    let work = async move |tx: &mut Tx| {
        tx.third_party().apply(ending.clone(), Sealing::Keep).await?;
        Ok::<_, Stopped>(Vec::new())
    };
    match deps.store.transact(context, work).await {
        // Somebody else moved it on; the next look sees where it is.
        Err(Stopped::Store(StoreError::Conflict { .. })) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}
