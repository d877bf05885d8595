//! Who is being looked at now, and who is left alone until when.
//!
//! This is all that the reconciler keeps, and none of it decides anything: without it, as after a start, everything
//! is looked at once. A thing that changed is never left alone, because its row is another one then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bailiwick_base::{CredentialId, Digest, TenantId};

/// The first rest; each further one is twice as long.
const REST_MIN: Duration = Duration::from_secs(1);
/// Things that are remembered. What comes beyond is looked at at every round.
const REMEMBERED_MAX: usize = 65_536;

/// What shares places, so that nothing that hangs takes them from others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// Credentials of a tenant that are to be made invalid.
    Ending(TenantId),
    /// Leases of a tenant of which nothing is known to be wrong.
    Glance(TenantId),
    /// Leases of a tenant that need something.
    Lease(TenantId),
    /// Rotations of a tenant.
    Rotation(TenantId),
    /// Leases from one credential, which are in one system.
    Source(CredentialId),
}

impl Lane {
    const fn places(&self) -> usize {
        match self {
            Self::Ending(_) | Self::Glance(_) | Self::Rotation(_) => 32,
            Self::Lease(_) => 64,
            Self::Source(_) => 8,
        }
    }
}

struct Turn {
    running: bool,
    /// The row after the last look, if it was left alone then.
    row: Option<Digest>,
    /// Whether the last look had a reason.
    pressing: bool,
    /// How often it was left alone with this row.
    rests: u32,
    until: Duration,
}

struct All<K> {
    turns: BTreeMap<K, Turn>,
    running: BTreeMap<Lane, usize>,
}

/// The things of one kind, by their id.
pub(super) struct Turns<K>(Mutex<All<K>>);

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self(Mutex::new(All {
            turns: BTreeMap::new(),
            running: BTreeMap::new(),
        }))
    }
}

/// Something that could be looked at.
pub(super) struct Wanted<K> {
    pub(super) key: K,
    /// Its row as it is now.
    pub(super) row: Digest,
    /// Whether there is a reason to look, and not only time that passed.
    pub(super) pressing: bool,
    pub(super) lanes: Vec<Lane>,
}

impl<K: Clone + Ord> Turns<K> {
    fn all(&self) -> MutexGuard<'_, All<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes as many of `wanted` as have a turn and a place: what has a reason first, then what failed least often,
    /// so that what hangs in one system keeps its places from nothing else.
    pub(super) fn take(self: &Arc<Self>, wanted: Vec<Wanted<K>>, now: Duration) -> Vec<Taken<K>> {
        let mut all = self.all();
        let mut ready: Vec<(u32, Wanted<K>)> = wanted
            .into_iter()
            .filter_map(|wanted| Some((all.rests(&wanted, now)?, wanted)))
            .collect();
        ready.sort_by_key(|(rests, wanted)| (!wanted.pressing, *rests));
        let mut taken = Vec::new();
        for (_, wanted) in ready {
            if all.enter(&wanted) {
                taken.push(Taken {
                    turns: Arc::clone(self),
                    key: wanted.key,
                    row: wanted.row,
                    lanes: wanted.lanes,
                    rest: None,
                });
            }
        }
        taken
    }

    /// Forgets what is not there any more.
    pub(super) fn keep(&self, still: impl Fn(&K) -> bool) {
        self.all().turns.retain(|key, turn| turn.running || still(key));
    }
}

impl<K: Clone + Ord> All<K> {
    /// How often it was left alone, if it is not to be left alone now.
    fn rests(&self, wanted: &Wanted<K>, now: Duration) -> Option<u32> {
        match self.turns.get(&wanted.key) {
            None => Some(0),
            Some(turn) if turn.running => None,
            Some(turn) if turn.row != Some(wanted.row) => Some(0),
            Some(turn) if turn.until <= now || (wanted.pressing && !turn.pressing) => Some(turn.rests),
            Some(_) => None,
        }
    }

    fn enter(&mut self, wanted: &Wanted<K>) -> bool {
        let full = |lane: &Lane| self.running.get(lane).is_some_and(|n| *n >= lane.places());
        if wanted.lanes.iter().any(full) {
            return false;
        }
        for lane in &wanted.lanes {
            *self.running.entry(lane.clone()).or_default() += 1;
        }
        let turn = self.turns.entry(wanted.key.clone()).or_insert(Turn {
            running: true,
            row: None,
            pressing: wanted.pressing,
            rests: 0,
            until: Duration::ZERO,
        });
        (turn.running, turn.pressing) = (true, wanted.pressing);
        true
    }

    fn leave(&mut self, key: &K, lanes: &[Lane], rest: Option<(Digest, Duration, Duration)>) {
        for lane in lanes {
            if let Some(running) = self.running.get_mut(lane) {
                *running = running.saturating_sub(1);
            }
        }
        self.running.retain(|_, running| *running > 0);
        let crowded = self.turns.len() > REMEMBERED_MAX;
        let Some((row, most, now)) = rest.filter(|_| !crowded) else {
            self.turns.remove(key);
            return;
        };
        if let Some(turn) = self.turns.get_mut(key) {
            let again = turn.row == Some(row);
            let before = if again { turn.rests } else { 0 };
            turn.rests = before.saturating_add(1);
            let span = REST_MIN.saturating_mul(1_u32.checked_shl(before).unwrap_or(u32::MAX));
            (turn.running, turn.row, turn.until) = (false, Some(row), now.saturating_add(span.min(most)));
        }
    }
}

/// A turn and its places; both are given back when it is dropped, and without a rest it is looked at again at once.
pub(super) struct Taken<K: Clone + Ord> {
    turns: Arc<Turns<K>>,
    pub(super) key: K,
    /// Its row as it was found.
    pub(super) row: Digest,
    lanes: Vec<Lane>,
    rest: Option<(Digest, Duration, Duration)>,
}

impl<K: Clone + Ord> Taken<K> {
    /// Leaves it alone from `now` on, no longer than `most`, as long as its row is `row`.
    pub(super) fn rest(mut self, row: Digest, most: Duration, now: Duration) {
        self.rest = Some((row, most, now));
    }
}

impl<K: Clone + Ord> Drop for Taken<K> {
    fn drop(&mut self) {
        let rest = self.rest.take();
        self.turns.all().leave(&self.key, &self.lanes, rest);
    }
}

#[cfg(test)]
mod tests {
    use bailiwick_base::{Digest, TenantId};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn lane(tenant: &str) -> Lane {
        Lane::Rotation(TenantId::parse(tenant).expect("a slug"))
    }

    fn wanted(key: usize, row: &str, lanes: &[Lane]) -> Wanted<usize> {
        Wanted {
            key,
            row: Digest::of(row.as_bytes()),
            pressing: true,
            lanes: lanes.to_vec(),
        }
    }

    #[test]
    fn what_waits_for_a_day_is_looked_at_about_once_a_minute_and_at_once_when_it_changed() {
        let turns = Arc::new(Turns::default());
        let mut looks = 0;
        for beat in 0..86_400 {
            for taken in turns.take(vec![wanted(1, "waits", &[])], second(beat)) {
                looks += 1;
                taken.rest(Digest::of(b"waits"), MINUTE, second(beat));
            }
        }
        assert!((1_440..1_450).contains(&looks), "{looks}");
        assert!(
            turns
                .take(vec![wanted(1, "waits", &[])], second(86_400))
                .is_empty()
        );
        let changed = turns.take(vec![wanted(1, "revoked", &[])], second(86_400));
        assert_eq!(changed.len(), 1, "another row is not left alone");
        // From then on it is a new matter.
        for taken in changed {
            taken.rest(Digest::of(b"revoked"), MINUTE, second(86_400));
        }
        assert_eq!(
            turns.take(vec![wanted(1, "revoked", &[])], second(86_401)).len(),
            1
        );
    }

    #[test]
    fn a_reason_ends_the_rest_of_what_had_none_and_a_failure_with_it_is_waited_for() {
        let turns = Arc::new(Turns::default());
        let with = |pressing| Wanted {
            pressing,
            ..wanted(1, "held", &[])
        };
        for taken in turns.take(vec![with(false)], second(0)) {
            taken.rest(Digest::of(b"held"), MINUTE, second(0));
        }
        assert!(turns.take(vec![with(false)], second(0)).is_empty());
        let pressed = turns.take(vec![with(true)], second(0));
        assert_eq!(pressed.len(), 1);
        for taken in pressed {
            taken.rest(Digest::of(b"held"), MINUTE, second(0));
        }
        assert!(turns.take(vec![with(true)], second(0)).is_empty());
    }

    #[test]
    fn what_hangs_in_one_tenant_keeps_its_places_from_no_other() {
        let turns = Arc::new(Turns::default());
        let (a, b) = ([lane("acme")], [lane("bolt")]);
        let many = (0..100).map(|n| wanted(n, "hangs", &a)).collect();
        let hanging = turns.take(many, second(0));
        assert_eq!(hanging.len(), a[0].places());
        assert!(turns.take(vec![wanted(100, "new", &a)], second(1)).is_empty());
        assert_eq!(turns.take(vec![wanted(101, "new", &b)], second(1)).len(), 1);
        // Nobody is looked at twice at once.
        assert!(turns.take(vec![wanted(0, "hangs", &b)], second(1)).is_empty());
        for taken in hanging {
            taken.rest(Digest::of(b"hangs"), MINUTE, second(20));
        }
        // The next places are for those that did not hang yet.
        let again = (0..40).chain([100]).map(|n| wanted(n, "hangs", &a));
        let next = turns.take(again.collect(), second(100));
        let first: Vec<usize> = next.iter().take(9).map(|taken| taken.key).collect();
        assert_eq!(first, [32, 33, 34, 35, 36, 37, 38, 39, 100]);
        assert_eq!(next.len(), a[0].places());
    }
}
