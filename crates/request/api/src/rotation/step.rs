//! Carrying a rotation on: asks the plan, does one deed, records it, and asks again.
//!
//! It keeps nothing: whatever it was doing when it died, the plan of the stored state is what it does next.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{CredentialId, Digest, Secret, Time, Transition};
use bailiwick_connectors::{Driver, Ended, Probed, Reachable, TargetError};
use bailiwick_credential::plan::{Blocker, Step, plan, rest_max};
use bailiwick_credential::{Observed, Phase, ProbeAnswer, Refusal, ThirdParty, rotation};
use bailiwick_store::{Actor, Context, DueCredential, Reach, RequestId, Sealing, StoreError, Tx};

use crate::Deps;

/// Steps of one rotation before it waits for the next look.
const STEPS_MAX: usize = 16;
/// How long a row that cannot be read is left alone at most.
const UNREADABLE: Duration = Duration::from_secs(60);

/// Why a step did not end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    #[error("no randomness")]
    Entropy(#[from] bailiwick_base::EntropyError),
    #[error("{0}")]
    Gone(&'static str),
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Route(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Target(#[from] TargetError),
}

/// Does what the plan of the credential asks for, until it has to wait; what stops it stands in the credential.
/// Gives how long it may be left alone, as long as its row is this one; `None` when it is to be looked at again at
/// once. `row` is the one that was found to be due.
pub(crate) async fn advance(deps: &Deps, id: &CredentialId, row: Digest) -> Option<(Digest, Duration)> {
    let found = async {
        let mut reader = deps.store.reader(id.tenant()).await?;
        reader.third_party().lookup(id).await
    };
    let credential = match found.await {
        Ok(found) => found?,
        Err(error) => {
            tracing::warn!(%error, credential = %id, "a credential that is due could not be read");
            return Some((row, UNREADABLE));
        }
    };
    let (left, blockers) = carry_on(deps, credential).await?;
    let most = rest_max(&left, &blockers, deps.clock.now());
    let row = DueCredential::digest_of(&left).ok()?;
    Some((row, most))
}

/// As it stands when it has to wait, and what for; `None` when there is more to do.
async fn carry_on(deps: &Deps, mut credential: ThirdParty) -> Option<(ThirdParty, Vec<Blocker>)> {
    let mut observed = None;
    for _ in 0..STEPS_MAX {
        let steps = plan(&credential, observed.as_ref(), deps.clock.now());
        let step = match steps.into_iter().next() {
            None => return Some((credential, Vec::new())),
            Some(Step::Wait(blockers)) => return Some((credential, blockers)),
            // The schedule of what may not be used stands still.
            Some(Step::Begin) if super::require_owner(deps, &credential).is_err() => {
                return Some((credential, Vec::new()));
            }
            Some(step) => step,
        };
        match take(deps, &credential, step, &mut observed).await {
            Ok(next) => credential = next,
            Err(stopped) => return note(deps, credential, &stopped).await.map(|c| (c, Vec::new())),
        }
    }
    None
}

/// One step: the deed first, then its record; where both secrets would change hands, the record first.
async fn take(
    deps: &Deps,
    c: &ThirdParty,
    step: Step,
    observed: &mut Option<Observed>,
) -> Result<ThirdParty, Stopped> {
    let now = deps.clock.now();
    let known = c.clone();
    match step {
        Step::Begin => begin(deps, c).await,
        Step::Wait(_) => Ok(known),
        Step::Close => {
            let seen = observed.take().unwrap_or_default();
            write(deps, rotation::close(known, &seen, now)?, Sealed::Keep).await
        }
        Step::End if c.target.is_none() => ended(deps, known, None).await,
        step => deed(deps, c, step, observed).await,
    }
}

/// A step that needs the system.
async fn deed(
    deps: &Deps,
    c: &ThirdParty,
    step: Step,
    observed: &mut Option<Observed>,
) -> Result<ThirdParty, Stopped> {
    let now = deps.clock.now();
    let known = c.clone();
    let (secret, handle) = manager(deps, c).await?;
    let with = Reachable {
        sender: &deps.sender,
        entropy: deps.entropy.as_ref(),
        now,
    };
    let driver = Driver::of(c, &secret, handle.as_deref(), &with).ok_or(Stopped::Gone("it has no target"))?;
    match step {
        Step::Look => {
            let seen = driver.look().await?;
            let noted = rotation::observe(known, &seen, deps.clock.now())?;
            *observed = Some(seen);
            match noted {
                Some(noted) => write(deps, noted, Sealed::Keep).await,
                None => Ok(c.clone()),
            }
        }
        Step::Prepare => {
            driver.prepare().await?;
            write(deps, rotation::prepared(known)?, Sealed::Keep).await
        }
        Step::Stage => stage(deps, &driver, known).await,
        Step::Revoke => revoke(deps, &driver, known).await,
        Step::Unstage => {
            driver.unstage(secrets(deps, c).await?.1.as_ref()).await?;
            write(deps, rotation::rolled_back(known, now)?, Sealed::Drop).await
        }
        Step::End => {
            let (secret, new) = secrets(deps, c).await?;
            let refused = driver.end_all(&secret, new.as_ref()).await?;
            ended(deps, known, Some(refused)).await
        }
        _ => {
            let (old, new) = secrets(deps, c).await?;
            let new = new.ok_or(Stopped::Gone("its sealed secrets are gone"))?;
            match driver.probe(&old, &new).await? {
                Probed::Accepted => {
                    tracing::warn!(credential = %c.name, tenant = %c.id.tenant(), "{}", rotation::STILL_ACCEPTED);
                    write(deps, rotation::probe_accepted(known)?, Sealed::Keep).await
                }
                Probed::Refused(answer) => complete(deps, known, answer).await,
            }
        }
    }
}

/// Makes the old secret invalid. Where that came to nothing before, it is tried first, and nothing is recorded as
/// long as it opens: an entry at each attempt would fill the log.
async fn revoke(deps: &Deps, driver: &Driver<'_>, c: ThirdParty) -> Result<ThirdParty, Stopped> {
    let (old, new) = secrets(deps, &c).await?;
    if let Ended::Reopened(seen) = driver.revoke(&c, &old, deps.entropy.as_ref()).await? {
        let t = rotation::reopen(c, &seen, deps.clock.now())?;
        return write(deps, t, Sealed::Keep).await;
    }
    let again = c.rotation().is_some_and(|r| r.in_vain);
    if let Some(new) = new.as_ref().filter(|_| again)
        && driver.probe(&old, new).await? == Probed::Accepted
    {
        return Err(Stopped::Gone(rotation::STILL_ACCEPTED));
    }
    write(deps, rotation::revoked(c)?, Sealed::Keep).await
}

/// Makes the new secret valid; one that the system made is sealed in the record that knows its name.
async fn stage(deps: &Deps, driver: &Driver<'_>, c: ThirdParty) -> Result<ThirdParty, Stopped> {
    let (_, given) = secrets(deps, &c).await?;
    let Some(made) = driver.stage(given.as_ref(), deps.entropy.as_ref()).await? else {
        return write(deps, rotation::staged(c, deps.clock.now())?, Sealed::Keep).await;
    };
    let fingerprint = deps
        .keyring
        .fingerprint(c.id.tenant(), made.secret.reveal())
        .map_err(|e| Stopped::Route(e.to_string()))?;
    let t = rotation::made(c, made.handle, fingerprint, deps.clock.now())?;
    write(deps, t, Sealed::Stage(Arc::new(made.secret))).await
}

async fn begin(deps: &Deps, c: &ThirdParty) -> Result<ThirdParty, Stopped> {
    let begun = super::begin_rotation(deps, context(deps, c)?, &c.id, "its schedule");
    begun.await.map_err(|e| Stopped::Route(e.text()))
}

fn context(deps: &Deps, c: &ThirdParty) -> Result<Context, Stopped> {
    let request = RequestId(deps.ids.uuid()?);
    let reach = Reach::from(c.id.tenant());
    Ok(deps.duty(Context::new(reach, Actor::System("rotation"), request)))
}

/// The secret that manages this one, and how its system names it when we rotate it too.
pub(crate) async fn manager(
    deps: &Deps,
    c: &ThirdParty,
) -> Result<(Secret<Vec<u8>>, Option<String>), Stopped> {
    let target = c.target.as_ref().ok_or(Stopped::Gone("it has no target"))?;
    let Some(id) = target.manager() else {
        return Ok((Secret::new(Vec::new()), None));
    };
    let gone = Stopped::Gone("the manager's credential is gone: register it again");
    let mut reader = deps.store.reader(id.tenant()).await?;
    let handle = match reader.third_party().lookup(id).await? {
        Some(manager) => manager.target.map(|t| t.handle().to_owned()),
        None => return Err(gone),
    };
    let secret = reader.third_party().reveal(id).await?.ok_or(gone)?;
    Ok((secret, handle))
}

/// The old and the new secret.
async fn secrets(deps: &Deps, c: &ThirdParty) -> Result<(Secret<Vec<u8>>, Option<Secret<Vec<u8>>>), Stopped> {
    let mut reader = deps.store.reader(c.id.tenant()).await?;
    let old = reader.third_party().reveal(&c.id).await?;
    let new = reader.third_party().reveal_staged(&c.id).await?;
    Ok((old.ok_or(Stopped::Gone("its sealed secrets are gone"))?, new))
}

/// What a record does to the secrets.
#[derive(Clone)]
enum Sealed {
    Drop,
    Keep,
    Stage(Arc<Secret<Vec<u8>>>),
}

async fn write(deps: &Deps, t: Transition<ThirdParty>, sealed: Sealed) -> Result<ThirdParty, Stopped> {
    let after = t.after.clone();
    let work = async move |tx: &mut Tx| {
        let sealing = match &sealed {
            Sealed::Drop => Sealing::Drop,
            Sealed::Keep => Sealing::Keep,
            Sealed::Stage(secret) => Sealing::Stage(secret.as_ref()),
        };
        tx.third_party().apply(t.clone(), sealing).await?;
        Ok::<_, Stopped>(Vec::new())
    };
    deps.store.transact(context(deps, &after)?, work).await?;
    Ok(after)
}

/// The record of the refusal is the evidence of the rotation, and names its own place in the log.
async fn complete(deps: &Deps, c: ThirdParty, answer: ProbeAnswer) -> Result<ThirdParty, Stopped> {
    let end = move |known: ThirdParty, entry, now| rotation::complete(known, answer.clone(), entry, now);
    finish(deps, c, end, Forgotten::Old).await
}

/// The record of the refusal is the evidence that the credential is revoked.
async fn ended(deps: &Deps, c: ThirdParty, answer: Option<ProbeAnswer>) -> Result<ThirdParty, Stopped> {
    let end = move |known: ThirdParty, entry, now| rotation::ended(known, answer.clone(), entry, now);
    finish(deps, c, end, Forgotten::Both).await
}

/// Which secret nobody needs any more.
#[derive(Clone, Copy)]
enum Forgotten {
    Both,
    Old,
}

/// A record that names its own place in the log.
async fn finish(
    deps: &Deps,
    c: ThirdParty,
    end: impl Fn(ThirdParty, u64, Time) -> Result<Transition<ThirdParty>, Refusal> + Send + Sync + 'static,
    forgotten: Forgotten,
) -> Result<ThirdParty, Stopped> {
    let reached = Arc::new(std::sync::Mutex::new(None));
    let (kept, known, context) = (Arc::clone(&reached), c.clone(), context(deps, &c)?);
    let work = async move |tx: &mut Tx| {
        let t = end(known.clone(), tx.position().0, tx.now())?;
        let after = t.after.clone();
        let sealing = match forgotten {
            Forgotten::Both => Sealing::Forget,
            Forgotten::Old => Sealing::Promote,
        };
        tx.third_party().apply(t, sealing).await?;
        *kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(after);
        Ok::<_, Stopped>(Vec::new())
    };
    deps.store.transact(context, work).await?;
    let after = reached
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .take();
    after.ok_or(Stopped::Gone("it ended without a state"))
}

/// What stopped a rotation stands in its state; a refusal while staging takes it back. Gives the credential as it
/// stands now; nothing when somebody else moved it on, or there is something else to do.
async fn note(deps: &Deps, c: ThirdParty, stopped: &Stopped) -> Option<ThirdParty> {
    if matches!(stopped, Stopped::Store(StoreError::Conflict { .. })) {
        return None;
    }
    let staging = c
        .rotation()
        .is_some_and(|r| matches!(r.phase, Phase::Preparing | Phase::Staging));
    let refused = matches!(stopped, Stopped::Target(TargetError::Refused { .. }));
    let takes_back = staging && refused;
    let noted = if takes_back {
        let mut reason = stopped.to_string();
        reason.retain(|ch| !ch.is_control());
        while reason.len() > bailiwick_base::limits::TEXT_MAX {
            reason.pop();
        }
        rotation::roll_back(c.clone(), &reason).map(Some)
    } else {
        rotation::trouble(c.clone(), &stopped.to_string())
    };
    // The same as before is not said again.
    let is_news = !matches!(noted, Ok(None));
    if is_news {
        tracing::warn!(credential = %c.name, tenant = %c.id.tenant(), error = %stopped, "a rotation step did not end");
    }
    let written = match noted {
        Ok(Some(t)) => write(deps, t, Sealed::Keep).await,
        // It did not even begin: there is nowhere to note it.
        Ok(None) | Err(Refusal::NoRotation) => Ok(c.clone()),
        Err(refusal) => Err(refusal.into()),
    };
    match written {
        Ok(_) if takes_back => None,
        Ok(left) => Some(left),
        Err(error) => {
            tracing::warn!(%error, "the trouble of a rotation could not be recorded");
            Some(c)
        }
    }
}
