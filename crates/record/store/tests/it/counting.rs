//! A count at a position equals the recount from the log, on random histories.

use std::collections::BTreeMap;
use std::time::Duration;

use bailiwick_base::{Clock, StatePos, Transition};
use bailiwick_inventory::{Count, Identity, Kind, Origin, activate, resume, retire, suspend};
use bailiwick_store::{At, Reach};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::bed::{self, Bed, Place};

#[derive(Debug, Clone)]
enum Step {
    Activate(usize),
    Register { tenant: bool, kind: usize, shadow: bool },
    Resume(usize),
    Retire(usize),
    Suspend(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (any::<bool>(), 0..Kind::ALL.len(), any::<bool>())
            .prop_map(|(tenant, kind, shadow)| Step::Register { tenant, kind, shadow }),
        2 => (0..8_usize).prop_map(Step::Activate),
        1 => (0..8_usize).prop_map(Step::Suspend),
        1 => (0..8_usize).prop_map(Step::Resume),
        1 => (0..8_usize).prop_map(Step::Retire),
    ];
    prop::collection::vec(step, 1..24)
}

/// The inventory as a plain list: the third way to count.
struct World {
    bed: Bed,
    tenants: [bailiwick_base::TenantId; 2],
    identities: Vec<Identity>,
    /// What each position must count, per tenant and for all.
    expected: BTreeMap<u64, [Count; 3]>,
}

impl World {
    fn transition(&self, step: &Step, n: usize) -> Option<(Option<usize>, Transition<Identity>)> {
        let now = self.bed.clock.now();
        let at = |index: &usize| self.identities.get(*index).cloned().map(|i| (Some(*index), i));
        match step {
            Step::Register { tenant, kind, shadow } => {
                let tenant = &self.tenants[usize::from(*tenant)];
                let mut t = self
                    .bed
                    .registration_of(tenant, &format!("agent {n}"), Kind::ALL[*kind]);
                if *shadow {
                    t.after.origin = Origin::Shadow;
                }
                Some((None, t))
            }
            Step::Activate(index) => at(index).and_then(|(i, id)| Some((i, activate(id, now).ok()?))),
            Step::Resume(index) => at(index).and_then(|(i, id)| Some((i, resume(id, now).ok()?))),
            Step::Retire(index) => at(index).and_then(|(i, id)| Some((i, retire(id, "done", now).ok()?))),
            Step::Suspend(index) => at(index).and_then(|(i, id)| Some((i, suspend(id, "drill", now).ok()?))),
        }
    }

    fn remember(&mut self, pos: StatePos) {
        let of = |tenant: &bailiwick_base::TenantId| {
            Count::of(self.identities.iter().filter(|i| i.id.tenant() == tenant))
        };
        let all = Count::of(&self.identities);
        self.expected
            .insert(pos.0, [of(&self.tenants[0]), of(&self.tenants[1]), all]);
    }

    async fn live(&mut self, history: &[Step]) {
        for (n, step) in history.iter().enumerate() {
            self.bed.clock.advance(Duration::from_millis(10));
            let Some((index, t)) = self.transition(step, n) else {
                continue;
            };
            let (tenant, after) = (t.after.id.tenant().clone(), t.after.clone());
            let pos = self.bed.apply(&tenant, t).await.unwrap().pos;
            match index {
                Some(index) => self.identities[index] = after,
                None => self.identities.push(after),
            }
            self.remember(pos);
        }
    }

    async fn judge(&self) {
        let store = &self.bed.store;
        let reaches = [
            Reach::from(&self.tenants[0]),
            Reach::from(&self.tenants[1]),
            Reach::DangerAllTenants,
        ];
        for (pos, counts) in &self.expected {
            for (reach, expected) in reaches.iter().zip(counts) {
                let at = At::Position(StatePos(*pos));
                let counted = store.count(reach.clone(), at).await.unwrap();
                let recount = store.recount(reach.clone(), at).await.unwrap();
                assert_eq!(&counted.count, expected, "at {pos}");
                assert_eq!(recount.counted, counted, "at {pos}");
                let by_time = store.count(reach.clone(), At::Time(counted.as_of)).await.unwrap();
                assert_eq!(by_time, counted, "by the time of the last entry");
            }
        }
    }
}

async fn history_on(place: Place, history: Vec<Step>) {
    let bed = Bed::on(place).await;
    let tenants = [bed.tenant("acme").await, bed.tenant("other").await];
    let mut world = World {
        bed,
        tenants,
        identities: Vec::new(),
        expected: BTreeMap::new(),
    };
    world.live(&history).await;
    world.judge().await;
    world.bed.store.close().await;
}

fn histories<F>(cases: u32, place: impl Fn() -> F)
where
    F: Future<Output = Option<Place>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&steps(), |history| {
        runtime.block_on(async {
            if let Some(place) = place().await {
                history_on(place, history).await;
            }
        });
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_count_equals_its_recount_on_sqlite() {
    histories(12, bed::sqlite);
}

#[test]
fn a_count_equals_its_recount_on_postgres() {
    if bed::postgres_url().is_some() {
        histories(4, bed::postgres);
    }
}

#[tokio::test]
async fn a_position_behind_the_end_is_refused() {
    let bed = Bed::on(bed::sqlite().await.unwrap()).await;
    let acme = bed.tenant("acme").await;
    let refused = bed
        .store
        .count(&acme, At::Position(StatePos(2)))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), "log.no-such-position");
    let empty = bed.store.count(&acme, At::Position(StatePos(0))).await.unwrap();
    assert_eq!((empty.count.headline(), empty.employees), (0, 0));
    let long_ago = At::Time(bailiwick_base::Time::from_secs(0));
    assert_eq!(
        bed.store.count(&acme, long_ago).await.unwrap().position,
        StatePos(0)
    );
    assert_eq!(bed.store.count(&acme, At::Head).await.unwrap().employees, 100);
}
