//! Whose turn it is to be told something. Whoever was told least recently is next: a receiver that is slow on purpose
//! has its turn, and then everybody else has one before it has another.

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_base::{SubscriptionId, TenantId, Time};

/// Places of one tenant: what hangs in one receiver keeps nobody else's.
const TENANT_PLACES: usize = 8;
/// Places of everybody.
const PLACES: usize = 128;

#[derive(Default)]
pub(super) struct Turns {
    of: BTreeMap<SubscriptionId, Turn>,
    /// The end of the log at the last look, when nothing was left to do then.
    quiet_at: Option<u64>,
    /// Turns that began so far.
    begun: u64,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Turn {
    running: bool,
    /// Which turn of all its last one was; 0 for none.
    number: u64,
    /// Nothing before this entry is to be told.
    pub(super) position: u64,
    pub(super) retry_at: Time,
}

impl Turns {
    pub(super) fn is_quiet_at(&self, head: u64) -> bool {
        self.quiet_at == Some(head)
    }

    /// Forgets whoever is not there any more.
    pub(super) fn keep(&mut self, living: &BTreeSet<SubscriptionId>) {
        self.of.retain(|id, turn| turn.running || living.contains(id));
    }

    /// A turn is over.
    pub(super) fn end(&mut self, id: SubscriptionId, next: Turn) {
        let running = false;
        self.of.insert(id, Turn { running, ..next });
    }

    /// Who of `wanted` begins now, as many as there are places.
    pub(super) fn admit<'a>(
        &mut self,
        wanted: impl IntoIterator<Item = &'a SubscriptionId>,
        head: u64,
        now: Time,
    ) -> Vec<(SubscriptionId, Turn)> {
        let mut running: BTreeMap<TenantId, usize> = BTreeMap::new();
        for (id, _) in self.of.iter().filter(|(_, turn)| turn.running) {
            *running.entry(id.tenant().clone()).or_default() += 1;
        }
        let mut everywhere: usize = running.values().sum();
        let (mut waiting, mut left) = (Vec::new(), false);
        for id in wanted {
            let turn = *self.of.entry(id.clone()).or_default();
            if !turn.running && turn.position >= head {
                continue;
            }
            left = true;
            if !turn.running && turn.retry_at <= now {
                waiting.push((turn.number, id));
            }
        }
        waiting.sort_unstable();
        let mut admitted = Vec::new();
        for (_, id) in waiting {
            let of_tenant = running.entry(id.tenant().clone()).or_default();
            if *of_tenant >= TENANT_PLACES || everywhere >= PLACES {
                continue;
            }
            let Some(turn) = self.of.get_mut(id) else { continue };
            self.begun += 1;
            (*of_tenant, everywhere) = (*of_tenant + 1, everywhere + 1);
            (turn.running, turn.number) = (true, self.begun);
            admitted.push((id.clone(), *turn));
        }
        self.quiet_at = (!left).then_some(head);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bailiwick_base::{SubscriptionId, TenantId, Time};
    use uuid::Uuid;

    use super::{PLACES, TENANT_PLACES, Turns};

    fn id(tenant: usize, n: usize) -> SubscriptionId {
        let tenant = TenantId::parse(&format!("tenant-{tenant:03}")).unwrap();
        SubscriptionId::from_parts(tenant, Uuid::from_u128(n as u128 + 1))
    }

    /// Slow ones of many tenants that come first in every order take all places; whoever comes behind them has a turn
    /// all the same.
    #[test]
    fn whoever_is_always_first_in_the_list_does_not_go_first_twice() {
        let tenants = PLACES / TENANT_PLACES;
        let slow = (0..tenants).flat_map(|tenant| (0..TENANT_PLACES + 3).map(move |n| id(tenant, n)));
        let mut all: Vec<SubscriptionId> = slow.collect();
        let last = id(tenants, 0);
        all.push(last.clone());
        let mut turns = Turns::default();
        let first = turns.admit(&all, 10, Time::default());
        assert_eq!(first.len(), PLACES);
        assert!(first.iter().all(|(id, _)| *id != last));
        assert!(
            turns.admit(&all, 10, Time::default()).is_empty(),
            "no place is left"
        );
        // One of them is over, and has more to be told at once.
        let (id, turn) = first.first().unwrap().clone();
        turns.end(id.clone(), turn);
        let next = turns.admit(&all, 10, Time::default());
        let next: Vec<_> = next.into_iter().map(|(id, _)| id).collect();
        assert_ne!(next, [id], "it waits like everybody else");
        assert_eq!(next.len(), 1);
        // Within as many ends as there are others, the last one is served.
        let mut ended = BTreeSet::new();
        let mut running: Vec<_> = first.into_iter().skip(1).collect();
        while !ended.contains(&last) {
            let (id, turn) = running.remove(0);
            turns.end(id.clone(), turn);
            ended.insert(id);
            let admitted = turns.admit(&all, 10, Time::default());
            assert!(admitted.len() <= 1);
            ended.extend(admitted.iter().map(|(id, _)| id.clone()));
            running.extend(admitted);
            assert!(ended.len() <= all.len());
        }
    }

    #[test]
    fn a_tenant_has_its_places_and_what_has_nothing_to_be_told_has_none() {
        let all: Vec<_> = (0..TENANT_PLACES + 2).map(|n| id(0, n)).collect();
        let mut turns = Turns::default();
        assert_eq!(turns.admit(&all, 5, Time::default()).len(), TENANT_PLACES);
        let mut quiet = Turns::default();
        assert!(quiet.admit(&all, 0, Time::default()).is_empty());
        assert!(quiet.is_quiet_at(0) && !turns.is_quiet_at(5));
    }
}
