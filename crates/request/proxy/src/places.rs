//! Places: how many connections there may be, and how many of them for whoever is not known yet, a task, a tenant.
//!
//! A task may take one more while it has no more than are left, a tenant while it has no more than twice what is
//! left: alone a task gets half of all places and a tenant two thirds, and whoever comes next finds some. Whoever has
//! not shown a token yet has few, and the oldest of them makes room for the next: a caller shows its token at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bailiwick_base::{TaskId, TenantId};
use tokio_util::sync::CancellationToken;

/// One place in so many is for connections that are not known yet.
const UNKNOWN_SHARE: usize = 8;

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    All,
    Task,
    Tenant,
}

impl Full {
    /// Counts a connection that was refused for it.
    pub(crate) fn count(self) {
        let limit = match self {
            Self::All => "egress",
            Self::Task => "egress-task",
            Self::Tenant => "egress-tenant",
        };
        metrics::counter!("bailiwick_connections_refused_total", "limit" => limit).increment(1);
    }

    /// What the caller can do about it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::All => "all connections are taken: try again",
            Self::Task => "this task has half of all connections: close some, or wait for one to end",
            Self::Tenant => "the tasks of this tenant have two thirds of all connections: close some",
        }
    }
}

/// The places of the proxy.
pub(crate) struct Places {
    all_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    /// The number the next place gets.
    next: u64,
    /// Connections whose caller is not known, oldest first.
    unknown: BTreeMap<u64, CancellationToken>,
    known: usize,
    tasks: BTreeMap<TaskId, usize>,
    tenants: BTreeMap<TenantId, usize>,
}

/// A connection's place; free again when dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    whose: Mutex<Option<TaskId>>,
    given_up: CancellationToken,
}

impl Places {
    pub(crate) fn new(all_max: usize) -> Arc<Self> {
        Arc::new(Self {
            all_max,
            taken: Mutex::default(),
        })
    }

    /// A place for a connection of whom nothing is known.
    pub(crate) fn take(self: &Arc<Self>) -> Result<Place, Full> {
        let mut taken = self.lock();
        let free = self.all_max.saturating_sub(taken.known);
        let unknown_max = (self.all_max / UNKNOWN_SHARE).clamp(1, free.max(1));
        if free == 0 {
            return Err(Full::All);
        }
        while taken.unknown.len() >= unknown_max {
            let Some((_, oldest)) = taken.unknown.pop_first() else {
                break;
            };
            oldest.cancel();
        }
        let number = taken.next;
        taken.next = taken.next.wrapping_add(1);
        let given_up = CancellationToken::new();
        taken.unknown.insert(number, given_up.clone());
        Ok(Place {
            places: Arc::clone(self),
            number,
            whose: Mutex::default(),
            given_up,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn admit(&mut self, all_max: usize, task: &TaskId) -> Result<(), Full> {
        let left = all_max.saturating_sub(self.known);
        let of_task = self.tasks.get(task).copied().unwrap_or_default();
        let of_tenant = self.tenants.get(task.tenant()).copied().unwrap_or_default();
        if left == 0 {
            return Err(Full::All);
        }
        if of_task >= left {
            return Err(Full::Task);
        }
        if of_tenant >= left.saturating_mul(2) {
            return Err(Full::Tenant);
        }
        self.known += 1;
        *self.tasks.entry(task.clone()).or_default() += 1;
        *self.tenants.entry(task.tenant().clone()).or_default() += 1;
        Ok(())
    }

    fn release(&mut self, task: &TaskId) {
        self.known = self.known.saturating_sub(1);
        less(&mut self.tasks, task);
        less(&mut self.tenants, task.tenant());
    }
}

fn less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Place {
    /// From now on it is the place of `task`, which showed a token that was verified.
    pub(crate) fn belongs_to(&self, task: &TaskId) -> Result<(), Full> {
        let mut whose = self.whose();
        if whose.as_ref() == Some(task) {
            return Ok(());
        }
        let mut taken = self.places.lock();
        if whose.is_none() && !taken.unknown.contains_key(&self.number) {
            // It was given up a moment ago.
            return Err(Full::All);
        }
        taken.admit(self.places.all_max, task)?;
        taken.unknown.remove(&self.number);
        if let Some(before) = whose.replace(task.clone()) {
            taken.release(&before);
        }
        Ok(())
    }

    /// Resolves when the place went to another, which happens only before anybody showed a token here.
    pub(crate) async fn given_up(&self) {
        self.given_up.cancelled().await;
    }

    fn whose(&self) -> MutexGuard<'_, Option<TaskId>> {
        self.whose.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let whose = self.whose().take();
        let mut taken = self.places.lock();
        taken.unknown.remove(&self.number);
        if let Some(task) = whose {
            taken.release(&task);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn task(tenant: &str, number: u128) -> TaskId {
        TaskId::from_parts(TenantId::parse(tenant).unwrap(), Uuid::from_u128(number))
    }

    /// As many places as `task` gets.
    fn greedy(places: &Arc<Places>, task: &TaskId) -> Vec<Place> {
        let mut got = Vec::new();
        loop {
            let Ok(place) = places.take() else { return got };
            if place.belongs_to(task).is_err() {
                return got;
            }
            got.push(place);
        }
    }

    #[test]
    fn however_many_are_taken_the_next_task_and_the_next_tenant_find_some() {
        let places = Places::new(1_024);
        let first = greedy(&places, &task("acme", 1));
        assert_eq!(first.len(), 512, "half of all");
        let second = greedy(&places, &task("acme", 2));
        assert!(
            (100..=171).contains(&second.len()),
            "two thirds of all: {}",
            second.len()
        );
        let mut rest = Vec::new();
        for other in 3..100 {
            rest.push(greedy(&places, &task("acme", other)));
        }
        let other = greedy(&places, &task("globex", 1));
        assert!(other.len() >= 100, "{}", other.len());
        drop((first, second, rest, other));
        assert_eq!(greedy(&places, &task("acme", 1)).len(), 512, "all came back");
    }

    #[test]
    fn who_shows_no_token_makes_room_for_who_comes_next() {
        let places = Places::new(16);
        let silent: Vec<Place> = (0..100).map(|_| places.take().unwrap()).collect();
        let given_up = silent
            .iter()
            .filter(|place| place.given_up.is_cancelled())
            .count();
        assert_eq!(given_up, 98);
        let known = places.take().unwrap();
        known.belongs_to(&task("acme", 1)).unwrap();
        drop(greedy(&places, &task("globex", 1)));
        let _more: Vec<Place> = (0..100).map(|_| places.take().unwrap()).collect();
        assert!(!known.given_up.is_cancelled(), "who is known keeps its place");
        assert_eq!(
            silent[0].belongs_to(&task("acme", 1)),
            Err(Full::All),
            "it is another's"
        );
    }

    #[test]
    fn a_place_moves_with_the_token_that_is_shown() {
        let places = Places::new(4);
        let place = places.take().unwrap();
        place.belongs_to(&task("acme", 1)).unwrap();
        place.belongs_to(&task("acme", 1)).unwrap();
        place.belongs_to(&task("globex", 2)).unwrap();
        {
            let taken = places.lock();
            assert_eq!((taken.known, taken.tasks.len(), taken.tenants.len()), (1, 1, 1));
        }
        drop(place);
        let taken = places.lock();
        assert_eq!((taken.known, taken.tasks.len(), taken.unknown.len()), (0, 0, 0));
    }
}
