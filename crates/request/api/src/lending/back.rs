//! Taking leases back: asks the plan, does one deed, records it, and asks again. It keeps nothing.

use std::time::Duration;

use bailiwick_base::{CredentialId, Digest, IdentityId, LeaseId, Transition};
use bailiwick_connectors::{Back, Driver, Reachable};
use bailiwick_credential::lease::{self, LeaseStep, lease_plan, wakes_at};
use bailiwick_credential::{Lease, ThirdParty};
use bailiwick_decide::Snapshot;
use bailiwick_store::{Actor, Context, OpenLease, Reach, RequestId, StoreError, Tx};

use super::stopped;
use crate::Deps;
use crate::rotation::{Stopped, manager, owner_stopped};

/// Steps of one lease at one look.
const STEPS_MAX: usize = 4;
/// How long a lease that is in order is left alone, unless something happens to it.
const IN_ORDER: Duration = Duration::from_secs(300);
/// How long at most one that should be back is left alone; a row that cannot be read, too.
const REST: Duration = Duration::from_secs(15);

/// What came of looking at a lease.
#[derive(Default)]
pub(crate) struct Glance {
    /// What it was made from, and whose that is.
    pub(crate) source: Option<(CredentialId, IdentityId)>,
    /// How long it may be left alone as long as its row is this one.
    pub(crate) rest: Option<(Digest, Duration)>,
}

/// Takes a lease back if its task may not hold it any more. `row` is the one that was found.
pub(crate) async fn advance(deps: &Deps, id: &LeaseId, row: Digest) -> Glance {
    let found = async {
        let mut reader = deps.store.reader(id.tenant()).await?;
        let Some(lease) = reader.lease().lookup(id).await? else {
            return Ok(None);
        };
        let source = reader.third_party().lookup(&lease.source).await?;
        Ok::<_, StoreError>(Some((lease, source)))
    };
    let (lease, source) = match found.await {
        Ok(Some(found)) => found,
        Ok(None) => return Glance::default(),
        Err(error) => {
            tracing::warn!(%error, lease = %id, "a lease could not be read");
            return Glance {
                source: None,
                rest: Some((row, REST)),
            };
        }
    };
    let owned = source.as_ref().map(|s| (s.id.clone(), s.identity.clone()));
    let rest = carry_on(deps, lease, source.as_ref()).await;
    Glance {
        source: owned,
        rest: rest.and_then(|(left, most)| Some((OpenLease::digest_of(&left).ok()?, most))),
    }
}

/// As it stands when it is left alone, and for how long at most; `None` when there is more to do.
async fn carry_on(deps: &Deps, mut lease: Lease, source: Option<&ThirdParty>) -> Option<(Lease, Duration)> {
    for _ in 0..STEPS_MAX {
        let snapshot = deps.cell.load();
        let why = stopped(deps, &snapshot, &lease.task).or_else(|| unusable(deps, &snapshot, source));
        let now = deps.clock.now();
        let Some(step) = lease_plan(&lease, why.as_deref(), now) else {
            let most = wakes_at(&lease).map_or(IN_ORDER, |at| at.since(now).min(IN_ORDER));
            return Some((lease, most));
        };
        match take(deps, &lease, step).await {
            Ok(next) => lease = next,
            Err(stopped) => return note(deps, lease, &stopped).await.map(|left| (left, REST)),
        }
    }
    None
}

/// What a credential lent comes back when it is revoked, or whoever it belongs to is stopped.
fn unusable(deps: &Deps, snapshot: &Snapshot, source: Option<&ThirdParty>) -> Option<String> {
    let source = source?;
    match source.ended() {
        Some(reason) => Some(format!("its credential is revoked: {reason}")),
        None => owner_stopped(deps, snapshot, &source.identity).map(|why| format!("its credential: {why}")),
    }
}

async fn take(deps: &Deps, lease: &Lease, step: LeaseStep) -> Result<Lease, Stopped> {
    if let LeaseStep::End(reason) = step {
        return write(deps, lease::give_back(lease.clone(), &reason)?).await;
    }
    let mut reader = deps.store.reader(lease.id.tenant()).await?;
    let source = reader.third_party().lookup(&lease.source).await?;
    let source = source.ok_or(Stopped::Gone("the credential it was leased from is gone"))?;
    let secret = reader.lease().reveal(&lease.id).await?;
    // What was never handed out is not the secret of anything the system made under a name of its own.
    let secret = secret.filter(|_| lease.fingerprint.is_some() || !source.makes_secret());
    drop(reader);
    let (managing, handle) = manager(deps, &source).await?;
    let with = Reachable {
        sender: &deps.sender,
        entropy: deps.entropy.as_ref(),
        now: deps.clock.now(),
    };
    let driver =
        Driver::of(&source, &managing, handle.as_deref(), &with).ok_or(Stopped::Gone("it has no target"))?;
    if step == LeaseStep::Clear {
        driver.clear(lease).await?;
        return finish(deps, lease.clone(), None).await;
    }
    match driver.take_back(lease, secret.as_ref()).await? {
        Back::Barred(probe, until) => write(deps, lease::barred(lease.clone(), probe, until)?).await,
        Back::Gone(probe) => finish(deps, lease.clone(), probe).await,
    }
}

fn context(deps: &Deps, lease: &Lease) -> Result<Context, Stopped> {
    let request = RequestId(deps.ids.uuid()?);
    Ok(deps.duty(Context::new(
        Reach::from(lease.id.tenant()),
        Actor::System("lease"),
        request,
    )))
}

async fn write(deps: &Deps, t: Transition<Lease>) -> Result<Lease, Stopped> {
    let after = t.after.clone();
    let work = async move |tx: &mut Tx| {
        tx.lease().apply(t.clone(), None).await?;
        Ok::<_, Stopped>(Vec::new())
    };
    deps.store.transact(context(deps, &after)?, work).await?;
    Ok(after)
}

/// The record that it is back names its own place in the log.
async fn finish(
    deps: &Deps,
    lease: Lease,
    probe: Option<bailiwick_credential::ProbeAnswer>,
) -> Result<Lease, Stopped> {
    let (id, context) = (lease.id.clone(), context(deps, &lease)?);
    let work = async move |tx: &mut Tx| {
        let entry = tx.position().0;
        let back = lease::returned(lease.clone(), probe.clone(), entry, tx.now())?;
        tx.lease().apply(back, None).await?;
        Ok::<_, Stopped>(Vec::new())
    };
    deps.store.transact(context, work).await?;
    let mut reader = deps.store.reader(id.tenant()).await?;
    let found = reader.lease().lookup(&id).await?;
    found.ok_or(Stopped::Gone("it ended without a state"))
}

/// Decides to take it back now.
pub(super) async fn end(deps: &Deps, lease: Lease, reason: &str) {
    let decided = match lease::give_back(lease, reason) {
        Ok(t) => write(deps, t).await.map(drop),
        Err(refusal) => Err(refusal.into()),
    };
    if let Err(error) = decided {
        tracing::warn!(%error, "a lease that could not be made is left to the next look");
    }
}

/// What stopped it stands in its state. Gives the lease as it stands now; nothing when somebody else moved it on.
async fn note(deps: &Deps, lease: Lease, stopped: &Stopped) -> Option<Lease> {
    if matches!(stopped, Stopped::Store(StoreError::Conflict { .. })) {
        return None;
    }
    let Some(noted) = lease::trouble(lease.clone(), &stopped.to_string()) else {
        // The same as before is not said again.
        return Some(lease);
    };
    tracing::warn!(lease = %lease.id, tenant = %lease.id.tenant(), error = %stopped, "a lease is not back yet");
    match write(deps, noted).await {
        Ok(left) => Some(left),
        Err(error) => {
            tracing::warn!(%error, "the trouble of a lease could not be recorded");
            Some(lease)
        }
    }
}
