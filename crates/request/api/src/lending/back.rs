//! Taking leases back: asks the plan, does one deed, records it, and asks again. It keeps nothing.

use bailiwick_base::{TenantId, Transition};
use bailiwick_connectors::{Back, Driver, Reachable};
use bailiwick_credential::Lease;
use bailiwick_credential::lease::{self, LeaseStep, lease_plan};
use bailiwick_store::{Actor, Context, Reach, RequestId, StoreError, Tx};

use super::stopped;
use crate::Deps;
use crate::rotation::{Stopped, manager};

/// Leases of one tenant at one look.
const LOOK_MAX: u32 = 256;
/// Steps of one lease at one look.
const STEPS_MAX: usize = 4;

/// Looks at every live lease of a tenant, and takes back what its task may not hold any more.
pub async fn advance_leases(deps: Deps, tenant: TenantId) {
    let due = async {
        let mut reader = deps.store.reader(&tenant).await?;
        reader.lease().due(deps.clock.now(), LOOK_MAX).await
    };
    match due.await {
        Ok(due) => {
            for lease in due {
                advance(&deps, lease).await;
            }
        }
        Err(error) => tracing::warn!(%error, %tenant, "leases could not be read"),
    }
}

async fn advance(deps: &Deps, mut lease: Lease) {
    for _ in 0..STEPS_MAX {
        let why = match stopped(deps, &deps.cell.load(), &lease.task) {
            None => revoked(deps, &lease).await,
            task => task,
        };
        let Some(step) = lease_plan(&lease, why.as_deref(), deps.clock.now()) else {
            return;
        };
        match take(deps, &lease, step).await {
            Ok(next) => lease = next,
            Err(stopped) => return note(deps, lease, &stopped).await,
        }
    }
}

/// What a revoked credential lent comes back too.
async fn revoked(deps: &Deps, lease: &Lease) -> Option<String> {
    let mut reader = deps.store.reader(lease.id.tenant()).await.ok()?;
    let source = reader.third_party().lookup(&lease.source).await.ok()??;
    let reason = source.ended()?;
    Some(format!("its credential is revoked: {reason}"))
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
    Ok(Context::new(
        Reach::from(lease.id.tenant()),
        Actor::System("lease"),
        request,
    ))
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

async fn note(deps: &Deps, lease: Lease, stopped: &Stopped) {
    if matches!(stopped, Stopped::Store(StoreError::Conflict { .. })) {
        // Somebody else moved it on; the next look sees where it is.
        return;
    }
    tracing::warn!(lease = %lease.id, tenant = %lease.id.tenant(), error = %stopped, "a lease is not back yet");
    let Some(noted) = lease::trouble(lease, &stopped.to_string()) else {
        return;
    };
    if let Err(error) = write(deps, noted).await {
        tracing::warn!(%error, "the trouble of a lease could not be recorded");
    }
}
