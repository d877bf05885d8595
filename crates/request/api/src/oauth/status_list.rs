//! `GET /t/{tenant}/status-lists/{list}`: Token Status List, for verifiers that do not ask us about each token.
//!
//! It complements introspection and never replaces it: a list is read at most every [`TTL`] seconds, it speaks of a
//! task's tokens together, and a token that was revoked alone is valid in it until it expires. What enforces here does
//! not read it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bailiwick_base::{Digest, Epoch, TaskId, TenantId, Time};
use bailiwick_credential::{Claims, ScopeSet};
use bailiwick_decide::{Arguments, Bearer, Call, DenyReason, Door, MarkEffect, Principal, Snapshot};
use bailiwick_signals::{STATUS_LIST, Standing, place, reference, status_list};
use http::{HeaderValue, header};
use serde_json::Value;
use smallvec::SmallVec;

use super::metadata::served;
use crate::Deps;
use crate::authzen::named;
use crate::problem::RouteError;
use crate::query::Path;

/// How old a copy may be, in seconds.
const TTL: u64 = 10;
/// How long a list holds at most, in seconds.
const LIFETIME: u64 = 60;
/// How often one list is made at most.
const MADE_EVERY: Duration = Duration::from_secs(1);
/// Lists that are kept as they were made.
const KEPT_MAX: usize = 256;
/// Epochs that are remembered, and into how many parts they cut the longest life of a token.
const EPOCHS_MAX: usize = 1_024;
const EPOCHS_APART: u32 = 512;

/// Which task has which place, by tenant and list.
type Places = BTreeMap<(TenantId, u64), BTreeMap<u32, TaskId>>;

#[derive(Default)]
pub(crate) struct StatusLists {
    places: Mutex<Places>,
    epochs: Mutex<VecDeque<(Duration, Epoch)>>,
    /// Lists as they were made.
    made: Mutex<BTreeMap<(TenantId, u64), (Duration, String)>>,
    /// Held while one of a tenant is made: those of a tenant are made one after the other, whoever asks. The key of
    /// another tenant may be with a holder that is slow.
    making: Mutex<BTreeMap<TenantId, Arc<tokio::sync::Mutex<()>>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StatusLists {
    /// Whether the place of `task` is its own. Another task has it already about once in a million times.
    fn claim(&self, snapshot: &Snapshot, task: &TaskId) -> bool {
        let place = place(task);
        let mut places = locked(&self.places);
        let key = (task.tenant().clone(), place.list);
        if !places.contains_key(&key) {
            // Once in an hour and tenant, whether or not anybody reads lists.
            keep_known(&mut places, snapshot);
        }
        let list = places
            .entry(key)
            .or_insert_with(|| known(snapshot, task.tenant(), place.list));
        *list.entry(place.index).or_insert_with(|| task.clone()) == *task
    }

    /// The tasks of a list that are still known; without any there is no list.
    fn tasks(&self, snapshot: &Snapshot, tenant: &TenantId, list: u64) -> BTreeMap<u32, TaskId> {
        let mut places = locked(&self.places);
        keep_known(&mut places, snapshot);
        match places.get(&(tenant.clone(), list)) {
            Some(tasks) => tasks.clone(),
            None => known(snapshot, tenant, list),
        }
    }

    /// The turn of a tenant; those of tenants that nobody asks for are forgotten.
    fn making(&self, tenant: &TenantId) -> Arc<tokio::sync::Mutex<()>> {
        let mut making = locked(&self.making);
        making.retain(|other, turn| other == tenant || Arc::strong_count(turn) > 1);
        Arc::clone(making.entry(tenant.clone()).or_default())
    }

    /// A list that is not too old to be given out again.
    fn kept(&self, key: &(TenantId, u64), now: Duration) -> Option<String> {
        let made = locked(&self.made);
        let (at, text) = made.get(key)?;
        (now.saturating_sub(*at) < MADE_EVERY).then(|| text.clone())
    }

    fn keep(&self, key: (TenantId, u64), now: Duration, text: &str) {
        let mut made = locked(&self.made);
        made.retain(|_, (at, _)| now.saturating_sub(*at) < MADE_EVERY);
        if made.len() < KEPT_MAX {
            made.insert(key, (now, text.to_owned()));
        }
    }

    /// The epoch of the oldest token that may still live: the one from `ttl` ago, the first of all where nobody
    /// remembers.
    fn oldest(&self, now: Duration, epoch: Epoch, ttl: Duration) -> Epoch {
        let mut epochs = locked(&self.epochs);
        let apart = MADE_EVERY.max(ttl / EPOCHS_APART);
        if epochs
            .back()
            .is_none_or(|(at, _)| now.saturating_sub(*at) >= apart)
        {
            epochs.push_back((now, epoch));
        }
        while epochs.len() > EPOCHS_MAX
            || epochs
                .get(1)
                .is_some_and(|(at, _)| now.saturating_sub(*at) >= ttl)
        {
            epochs.pop_front();
        }
        match epochs.front() {
            Some((at, epoch)) if now.saturating_sub(*at) >= ttl => *epoch,
            _ => Epoch(0),
        }
    }
}

/// Without the tasks that nobody has to know any more.
fn keep_known(places: &mut Places, snapshot: &Snapshot) {
    places.retain(|_, tasks| {
        tasks.retain(|_, task| snapshot.task(task).is_some());
        !tasks.is_empty()
    });
}

/// The tasks of one list, the older one where two have a place.
fn known(snapshot: &Snapshot, tenant: &TenantId, list: u64) -> BTreeMap<u32, TaskId> {
    let mut tasks = BTreeMap::new();
    for (task, _) in snapshot.tasks(tenant) {
        let place = place(&task.id);
        if place.list == list {
            tasks.entry(place.index).or_insert_with(|| task.id.clone());
        }
    }
    tasks
}

/// The claim `status` of a token, where its fate is its task's: a delegated token stands on others, and has none.
pub(crate) fn status_of(deps: &Deps, claims: &Claims) -> Option<Value> {
    if !claims.lineage.is_empty() || !claims.act.is_empty() {
        return None;
    }
    let lists = &deps.signals.lists;
    if !lists.claim(&deps.cell.load(), &claims.task) {
        return None;
    }
    let place = place(&claims.task);
    Some(reference(&uri(deps, &claims.tenant, place.list), place.index))
}

fn uri(deps: &Deps, tenant: &TenantId, list: u64) -> String {
    format!("{}/status-lists/{list}", deps.issuer(tenant))
}

pub(crate) async fn handler(
    State(deps): State<Deps>,
    Path((slug, list)): Path<(String, String)>,
) -> Result<Response, RouteError> {
    let tenant = served(&deps, &slug)?;
    let list: u64 = list.parse().map_err(|_| RouteError::not_found("status list"))?;
    if !deps.cell.is_fresh(deps.clock.monotonic()) {
        return Err(RouteError::unavailable(
            "node.stale",
            "this node has not heard from its store in time",
        ));
    }
    let text = made(&deps, &tenant, list).await?;
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/statuslist+jwt"),
    );
    if let Ok(age) = HeaderValue::from_str(&format!("max-age={TTL}")) {
        headers.insert(header::CACHE_CONTROL, age);
    }
    Ok(response)
}

async fn made(deps: &Deps, tenant: &TenantId, list: u64) -> Result<String, RouteError> {
    let lists = &deps.signals.lists;
    let key = (tenant.clone(), list);
    let making = lists.making(tenant);
    let _one_by_one = making.lock().await;
    let now = deps.clock.monotonic();
    if let Some(text) = lists.kept(&key, now) {
        return Ok(text);
    }
    let snapshot = deps.cell.load();
    let tasks = lists.tasks(&snapshot, tenant, list);
    if tasks.is_empty() {
        return Err(RouteError::not_found("status list"));
    }
    let oldest = lists.oldest(now, snapshot.epoch(), deps.credential_limits.token_ttl_max);
    let oldest = oldest.max(snapshot.epoch_floor(tenant));
    let at = deps.clock.now();
    let standings = tasks.iter().map(|(index, task)| {
        let standing = standing(deps, &snapshot, task, (oldest, at))?;
        Ok((*index, standing))
    });
    let standings: BTreeMap<u32, Standing> = standings.collect::<Result<_, RouteError>>()?;
    let said = status_list(
        &uri(deps, tenant, list),
        &deps.issuer(tenant),
        &standings,
        (at, TTL, LIFETIME),
    );
    let signed = crate::signing_keys::sign_all(deps, tenant, STATUS_LIST, vec![said]).await?;
    let text = signed.into_iter().next().unwrap_or_default();
    lists.keep(key, now, &text);
    Ok(text)
}

/// What the oldest token of the task that may still live is worth, as the next decision would find.
fn standing(
    deps: &Deps,
    snapshot: &Snapshot,
    task: &TaskId,
    (epoch, at): (Epoch, Time),
) -> Result<Standing, RouteError> {
    let Some((known, _)) = snapshot.task(task) else {
        return Ok(Standing::Invalid);
    };
    let tenant = task.tenant();
    let identity = snapshot.identity(&known.identity);
    let claims = Claims {
        issuer: deps.issuer(tenant),
        subject: known.identity.to_string(),
        audience: deps.audience(tenant),
        client: crate::issue::OPERATOR_CLIENT.to_owned(),
        issued_at: at,
        expires_at: at.after(Duration::from_secs(LIFETIME)),
        token: deps.mint(tenant)?,
        tenant: tenant.clone(),
        nhi: known.identity.clone(),
        task: task.clone(),
        epoch,
        scopes: ScopeSet::default(),
        act: SmallVec::new(),
        may_act: Vec::new(),
        lineage: Vec::new(),
        confirmation: None,
        composition: identity
            .and_then(|identity| identity.composition.as_ref())
            .map(|made| made.present.digest()),
    };
    let call = Call {
        id: deps.mint(tenant)?,
        door: Door::Check,
        principal: Principal::Bearer(Bearer {
            claims: Arc::new(claims),
            token_hash: Digest::default(),
        }),
        target: named("token.status", "", ""),
        arguments: Arguments::default(),
        rates: SmallVec::new(),
    };
    let marked = snapshot.marked(&call).map(|(_, mark)| mark.effect);
    Ok(match (marked, snapshot.ended(&call, at)) {
        (Some(MarkEffect::Kill), _) => Standing::Invalid,
        (Some(_), _) | (None, Some(DenyReason::IdentitySuspended)) => Standing::Suspended,
        (None, Some(_)) => Standing::Invalid,
        (None, None) => Standing::Valid,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bailiwick_base::{TaskId, TenantId};
    use bailiwick_decide::Snapshot;
    use uuid::Uuid;

    use super::{StatusLists, locked};

    fn task(hour: u128) -> TaskId {
        let tenant = TenantId::parse("acme").unwrap();
        TaskId::from_parts(tenant, Uuid::from_u128(((hour * 3_600_000) << 80) | 7))
    }

    /// Tokens are issued, and nobody ever reads a list.
    #[test]
    fn places_of_tasks_that_are_over_are_forgotten_without_a_reader() {
        let (lists, nobody) = (StatusLists::default(), Snapshot::empty());
        for hour in 0..50 {
            assert!(lists.claim(&nobody, &task(hour)));
        }
        let places = locked(&lists.places);
        assert_eq!(places.values().map(|tasks| tasks.len()).sum::<usize>(), 1);
    }

    #[tokio::test]
    async fn a_tenant_whose_key_is_slow_keeps_no_list_of_another() {
        let lists = StatusLists::default();
        let tenant = |name: &str| TenantId::parse(name).unwrap();
        let slow = lists.making(&tenant("acme"));
        let held = slow.lock().await;
        assert!(lists.making(&tenant("globex")).try_lock().is_ok());
        assert!(lists.making(&tenant("acme")).try_lock().is_err());
        drop(held);
        assert!(Arc::ptr_eq(&slow, &lists.making(&tenant("acme"))));
        drop(slow);
        lists.making(&tenant("globex"));
        assert_eq!(
            locked(&lists.making).len(),
            1,
            "nobody makes one of acme any more"
        );
    }
}
