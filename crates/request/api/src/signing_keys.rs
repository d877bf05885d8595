//! Signing keys: what is recorded of them changes first, the keyring follows what is recorded.
//!
//! A new key is the exception: it has to be in the keyring before it is recorded, and one that a crash left
//! there unrecorded is forgotten at the next start.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{Epoch, SigningAlgorithm, TenantId, Time};
use bailiwick_credential::signing_key::{
    KeyHolder, KeyRotation, KeySchedule, KeyStep, SigningKey, SigningState, in_state, plan_keys, remove_key,
    rotate_keys,
};
use bailiwick_keys::{KeyState, Keyring, KeysError, jws};
use bailiwick_store::{Actor, Context, Reach, Receipt, RequestId, Tx};

use tokio::sync::{Mutex, Semaphore};

use crate::Deps;
use crate::command::{CommandError, answer};
use crate::problem::{RouteError, chain};

/// When signing keys are made and changed.
pub struct Signing {
    pub(crate) schedule: KeySchedule,
    /// Held by whoever makes or changes signing keys: a key is in the keyring before it is recorded.
    changes: Mutex<()>,
    /// Places for those who wait for a holder.
    held: Arc<Semaphore>,
}

impl Signing {
    /// By this schedule.
    #[must_use]
    pub fn new(schedule: KeySchedule) -> Self {
        Self {
            schedule,
            changes: Mutex::default(),
            held: Arc::new(Semaphore::new(HELD_AT_ONCE)),
        }
    }
}

/// How long a holder may take to sign, waiting for others included; then nothing is issued.
const HELD_WAIT_MAX: Duration = Duration::from_secs(5);
/// Signatures of holders at once. One that hangs keeps its place and its thread until its own limit of time.
const HELD_AT_ONCE: usize = 64;

/// Signs each of `claims` with the key that signs for the tenant.
///
/// # Errors
/// `keys.holder` and `keys.holder-slow` (503) when somebody else holds the key and does not sign.
pub(crate) async fn sign_all(
    deps: &Deps,
    tenant: &TenantId,
    typ: &'static str,
    claims: Vec<Vec<u8>>,
) -> Result<Vec<String>, RouteError> {
    let signer = deps
        .keyring
        .signer(tenant)
        .map_err(|e| RouteError::broken("signing key is not available", &e))?;
    let (is_held, is_batch) = (signer.is_held(), claims.len() > 1);
    let all = move || -> Result<Vec<String>, KeysError> {
        claims
            .iter()
            .map(|claims| jws::encode(&signer, typ, claims))
            .collect()
    };
    let failed = |e: KeysError| match e {
        KeysError::Holder(_) | KeysError::HolderMissing(_) => RouteError::unavailable(e.code(), chain(&e))
            .hint("tokens that were issued go on; look at the holder of the keys, then ask again"),
        other => RouteError::broken("token could not be signed", &other),
    };
    if !is_held {
        // A batch of RSA signatures takes tens of milliseconds: the other calls of this thread go elsewhere.
        let signed = if is_batch {
            tokio::task::block_in_place(all)
        } else {
            all()
        };
        return signed.map_err(failed);
    }
    let places = Arc::clone(&deps.signing.held);
    let signed = async move {
        let place = places.acquire_owned().await.ok()?;
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            all()
        });
        work.await.ok()
    };
    match tokio::time::timeout(HELD_WAIT_MAX, signed).await {
        Ok(Some(signed)) => signed.map_err(failed),
        Ok(None) | Err(_) => Err(RouteError::unavailable(
            "keys.holder-slow",
            "the holder of the signing key did not sign in time",
        )
        .hint("tokens that were issued go on; look at the holder of the keys, then ask again")),
    }
}

/// Makes the keys of a tenant that is about to be added: the one that signs and the next one. Blocks.
pub(crate) fn make_first(
    keyring: &Keyring,
    tenant: &TenantId,
    algorithm: SigningAlgorithm,
) -> Result<(), KeysError> {
    keyring.create_tenant(tenant, algorithm)?;
    let keys = keyring.signing_keys(tenant)?;
    if keys.iter().all(|key| key.state != KeyState::Next) {
        keyring.add_signing_key(tenant, algorithm)?;
    }
    Ok(())
}

/// What the keyring holds, as it is recorded for the first time, under the entry at `entry`.
pub(crate) fn first_record(
    deps: &Deps,
    tenant: &TenantId,
    entry: u64,
    now: Time,
) -> Result<Vec<SigningKey>, RouteError> {
    let keys = deps
        .keyring
        .signing_keys(tenant)
        .map_err(|e| RouteError::broken("keys are not available", &e))?;
    let recorded = keys.into_iter().map(|key| {
        let signed = key.state != KeyState::Next;
        // A holder that nobody here knows is not written down as the folder of keys.
        let holder = KeyHolder::parse(&key.holder).ok_or_else(|| {
            RouteError::unavailable("keys.holder-missing", "a key is held by nobody who is known here")
        })?;
        Ok(SigningKey {
            tenant: tenant.clone(),
            kid: key.kid,
            algorithm: key.algorithm,
            holder,
            created_at: now,
            active_from: signed.then_some(now),
            entry: signed.then_some(entry),
            retired_at: (key.state == KeyState::Retired).then_some(now),
            removed_at: None,
            floor: None,
        })
    });
    recorded.collect()
}

/// A rotation as an operator or the schedule wants it.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) compromised: bool,
    pub(crate) reason: String,
}

/// Lets the next key sign, in one transaction; the answer is what `shown` makes of the keys.
pub(crate) async fn rotate(
    deps: &Deps,
    context: Context,
    wanted: Wanted,
    shown: fn(&Deps, &[SigningKey]) -> Result<Vec<u8>, CommandError>,
) -> Result<Arc<Receipt>, RouteError> {
    let _one_at_a_time = deps.signing.changes.lock().await;
    let doors = deps.clone();
    let receipt = deps
        .store
        .transact(context, async move |tx: &mut Tx| {
            let keys = tx.signing_key().list().await?;
            let rotation = KeyRotation {
                schedule: &doors.signing.schedule,
                compromised: wanted.compromised,
                reason: &wanted.reason,
                now: tx.now(),
                epoch: Epoch(tx.epoch().0.saturating_add(1)),
                entry: tx.position().0,
            };
            tx.signing_key().apply(rotate_keys(&keys, rotation)?).await?;
            shown(&doors, &tx.signing_key().list().await?)
        })
        .await?;
    Ok(receipt)
}

/// Does what the schedule asks for at every tenant: publishes a next key, rotates, takes back what is over. What
/// cannot be done now is said and tried again.
pub async fn advance_keys(deps: &Deps) {
    let tenants: Vec<_> = deps.cell.load().tenants().map(|(t, _)| t.id.clone()).collect();
    for tenant in tenants {
        if let Err(error) = advance(deps, &tenant).await {
            tracing::warn!(%tenant, error = error.detail(), "signing keys are not as scheduled");
        }
    }
}

/// The same for one tenant.
pub(crate) async fn advance(deps: &Deps, tenant: &TenantId) -> Result<(), RouteError> {
    if !deps.has_duty() {
        return Ok(());
    }
    let keys = deps.cell.load().signing_keys(tenant).to_vec();
    if keys.is_empty() {
        return record_first(deps, tenant).await;
    }
    for step in plan_keys(&keys, &deps.signing.schedule, deps.clock.now()) {
        match step {
            KeyStep::Add => add(deps, tenant).await?,
            KeyStep::Remove(kid) => take_back(deps, tenant, kid).await?,
            KeyStep::Rotate => {
                let wanted = Wanted {
                    compromised: false,
                    reason: "due by schedule".to_owned(),
                };
                rotate(deps, context(deps, tenant)?, wanted, |_, _| answer(&())).await?;
            }
        }
    }
    Ok(())
}

fn context(deps: &Deps, tenant: &TenantId) -> Result<Context, RouteError> {
    let id = deps
        .ids
        .uuid()
        .map_err(|e| RouteError::broken("randomness failed", &e))?;
    Ok(deps.duty(Context::new(
        Reach::from(tenant),
        Actor::System("key-schedule"),
        RequestId(id),
    )))
}

/// Keys that were made before there was a record of them.
async fn record_first(deps: &Deps, tenant: &TenantId) -> Result<(), RouteError> {
    let _one_at_a_time = deps.signing.changes.lock().await;
    let (doors, of) = (deps.clone(), tenant.clone());
    deps.store
        .transact(context(deps, tenant)?, async move |tx: &mut Tx| {
            if tx.signing_key().list().await?.is_empty() {
                let keys = first_record(&doors, &of, tx.position().0, tx.now())?;
                let made = keys
                    .into_iter()
                    .map(|key| bailiwick_base::Transition::made("key.record", key));
                tx.signing_key().apply(made.collect()).await?;
            }
            answer(&())
        })
        .await?;
    Ok(())
}

/// A next key: in the keyring, then recorded. An RSA key takes a tenth of a second to find.
async fn add(deps: &Deps, tenant: &TenantId) -> Result<(), RouteError> {
    let _one_at_a_time = deps.signing.changes.lock().await;
    let (_, algorithm) = deps
        .cell
        .load()
        .tenant(tenant)
        .map(|(t, a)| (Arc::clone(t), a))
        .ok_or_else(|| RouteError::not_found("tenant"))?;
    if in_state(deps.cell.load().signing_keys(tenant), SigningState::Next)
        .next()
        .is_some()
    {
        return Ok(());
    }
    let (keyring, of) = (Arc::clone(&deps.keyring), tenant.clone());
    let kid = tokio::task::spawn_blocking(move || keyring.add_signing_key(&of, algorithm))
        .await
        .map_err(|e| RouteError::broken("key could not be made", &e))?
        .map_err(|e| RouteError::unavailable("keys.next-missing", chain(&e)))?;
    let (of, holder) = (tenant.clone(), deps.signing.schedule.holder);
    deps.store
        .transact(context(deps, tenant)?, async move |tx: &mut Tx| {
            let key = SigningKey {
                tenant: of.clone(),
                kid: kid.clone(),
                algorithm,
                holder,
                created_at: tx.now(),
                active_from: None,
                entry: None,
                retired_at: None,
                removed_at: None,
                floor: None,
            };
            tx.signing_key()
                .apply(vec![bailiwick_base::Transition::made("key.add", key)])
                .await?;
            answer(&())
        })
        .await?;
    Ok(())
}

async fn take_back(deps: &Deps, tenant: &TenantId, kid: String) -> Result<(), RouteError> {
    let _one_at_a_time = deps.signing.changes.lock().await;
    deps.store
        .transact(context(deps, tenant)?, async move |tx: &mut Tx| {
            let keys = tx.signing_key().list().await?;
            if let Some(key) = keys.iter().find(|key| key.kid == kid) {
                let removed = remove_key(key, tx.now())?;
                tx.signing_key().apply(vec![removed]).await?;
            }
            answer(&())
        })
        .await?;
    Ok(())
}
