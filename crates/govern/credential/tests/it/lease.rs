//! Leases: what is made for a task is recorded before and comes back after.

use std::collections::BTreeSet;
use std::time::Duration;

use bailiwick_base::Time;
use bailiwick_credential::lease::{self, LeaseStep, NewLease, lease_plan};
use bailiwick_credential::rotation::{NewThirdParty, register_third_party};
use bailiwick_credential::{
    Lease, LeaseStanding, Limits, PgTarget, ProbeAnswer, SecretKind, Target, Task, TaskPlan, ThirdParty,
    Turn, close_task, findings, open_task,
};
use proptest::prelude::*;

use crate::{at, id};

const SPAN: u64 = 600;

fn source() -> ThirdParty {
    let wanted = NewThirdParty {
        id: id("acme", 1),
        name: "orders-db".to_owned(),
        identity: id("acme", 2),
        identity_expires_at: at(10_000_000),
        kind: SecretKind::PgLogin,
        fingerprint: "first".to_owned(),
        expires_at: None,
        every: None,
        overlap: None,
        consumers: Vec::new(),
        target: Some(Target::Pg(PgTarget {
            host: "127.0.0.1".to_owned(),
            port: 5_432,
            database: "orders".to_owned(),
            role: "orders_app".to_owned(),
            logins: ["orders_a".to_owned(), "orders_b".to_owned()],
            current: Turn::First,
            manager_login: "manager".to_owned(),
            manager: id("acme", 3),
            addresses: Vec::new(),
            allow_plaintext: false,
        })),
    };
    register_third_party(wanted, &Limits::default(), at(0))
        .unwrap()
        .after
}

fn task() -> Task {
    let plan = TaskPlan {
        id: id("acme", 4),
        identity: id("acme", 5),
        identity_expires_at: at(10_000_000),
        purpose: "month end".to_owned(),
        requested_by: "operator:ada".to_owned(),
        opens_at: None,
        closes_at: at(900),
        may_act: Vec::new(),
    };
    open_task(plan, &Limits::default(), at(0)).unwrap().after
}

fn wanted(n: u64) -> NewLease {
    NewLease {
        id: id("acme", n),
        span: Duration::from_secs(SPAN),
        reason: "month end".to_owned(),
        requested_by: "operator:ada".to_owned(),
        is_granted: true,
        beyond_scope: false,
        held: 0,
    }
}

fn requested(n: u64, now: i64) -> Lease {
    lease::ask(wanted(n), &task(), &source(), at(now)).unwrap().after
}

fn refused(change: impl FnOnce(&mut NewLease)) -> &'static str {
    let mut asked = wanted(10);
    change(&mut asked);
    lease::ask(asked, &task(), &source(), at(10)).unwrap_err().code()
}

fn probe() -> ProbeAnswer {
    ProbeAnswer {
        code: "28P01".to_owned(),
        text: "refused".to_owned(),
    }
}

#[test]
fn a_lease_is_asked_for_by_an_open_task_within_its_grant_and_ends_with_it() {
    assert_eq!(requested(10, 10).expires_at, at(610));
    assert_eq!(requested(10, 500).expires_at, at(900), "no longer than its task");
    assert_eq!(refused(|w| w.is_granted = false), "lease.beyond-scope");
    assert_eq!(refused(|w| w.span = Duration::from_secs(9)), "lease.span");
    assert_eq!(refused(|w| w.span = Duration::from_secs(43_201)), "lease.span");
    assert_eq!(refused(|w| w.reason = " ".to_owned()), "task.reason-missing");
    assert_eq!(refused(|w| w.held = 32), "lease.too-many");
    assert_eq!(refused(|w| w.id = id("globex", 10)), "credential.other-owner");
    let closed = close_task(task(), "done", at(5)).unwrap().after;
    let late = lease::ask(wanted(10), &closed, &source(), at(10)).unwrap_err();
    assert_eq!(late.code(), "task.already-closed");
    let mut plain = source();
    plain.target = None;
    let nothing = lease::ask(wanted(10), &task(), &plain, at(10)).unwrap_err();
    assert_eq!(nothing.code(), "lease.nothing");
}

#[test]
fn the_ledger_finds_what_is_beyond_the_grant_what_accumulates_and_what_is_not_back() {
    let codes = |leases: &[Lease], stopped, now| -> Vec<&'static str> {
        findings(leases, stopped, at(now))
            .into_iter()
            .map(|f| f.code)
            .collect()
    };
    let one = lease::held(requested(10, 10), "f".to_owned(), None)
        .unwrap()
        .after;
    assert_eq!(codes(std::slice::from_ref(&one), None, 20), Vec::<&str>::new());
    let mut beyond = wanted(11);
    (beyond.is_granted, beyond.beyond_scope) = (false, true);
    let beyond = lease::ask(beyond, &task(), &source(), at(11)).unwrap().after;
    let both = [one.clone(), beyond.clone()];
    assert_eq!(
        codes(&both, None, 20),
        ["ledger.beyond-scope", "ledger.accumulated"]
    );
    assert_eq!(
        codes(std::slice::from_ref(&one), Some("its task is closed"), 20),
        ["ledger.outlived"]
    );
    assert_eq!(codes(std::slice::from_ref(&one), None, 641), ["ledger.overdue"]);
    let returning = lease::give_back(one, "done").unwrap().after;
    let stuck = lease::trouble(returning.clone(), "not reached").unwrap().after;
    assert_eq!(lease::trouble(stuck.clone(), "not reached"), None);
    assert_eq!(codes(&[stuck], None, 20), ["ledger.not-returned"]);
    let back = lease::returned(returning, Some(probe()), 7, at(21))
        .unwrap()
        .after;
    assert_eq!(
        codes(&[back], Some("its task is closed"), 700),
        Vec::<&str>::new()
    );
    let given_up = lease::give_back(beyond, "done").unwrap().after;
    let given_up = lease::returned(given_up, None, 8, at(22)).unwrap().after;
    assert_eq!(
        codes(&[given_up], None, 700),
        ["ledger.beyond-scope"],
        "that it was held stays"
    );
}

/// A system with roles, a task, and everything that may happen to both.
struct World {
    leases: Vec<Lease>,
    live: BTreeSet<String>,
    stopped: bool,
    now: Time,
}

impl World {
    fn look(&mut self, dies: bool) {
        let stopped = self.stopped.then_some("its task is closed");
        for slot in &mut self.leases {
            let known = slot.clone();
            let after = match lease_plan(&known, stopped, self.now) {
                None => continue,
                Some(LeaseStep::End(reason)) => lease::give_back(known, &reason),
                Some(LeaseStep::Return) => {
                    self.live.remove(&known.handle);
                    lease::returned(known, Some(probe()), 7, self.now)
                }
                Some(LeaseStep::Clear) => lease::returned(known, None, 7, self.now),
            };
            if !dies {
                *slot = after.unwrap().after;
            }
        }
    }

    /// Asks for a lease; whoever makes it dies after `steps` of: record, deed, record.
    fn ask(&mut self, steps: u8) {
        if self.stopped {
            return;
        }
        let mut asked = wanted(100 + self.leases.len() as u64);
        asked.held = self.leases.iter().filter(|l| l.is_live()).count();
        let Ok(made) = lease::ask(asked, &task(), &source(), self.now) else {
            return;
        };
        if steps > 1 {
            self.live.insert(made.after.handle.clone());
        }
        self.leases.push(if steps > 2 {
            lease::held(made.after, "f".to_owned(), None).unwrap().after
        } else {
            made.after
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_is_valid_without_a_record_and_everything_comes_back(
        deeds in proptest::collection::vec((0_u8..6, any::<bool>(), 1_u8..4), 1..80)
    ) {
        let mut world = World { leases: Vec::new(), live: BTreeSet::new(), stopped: false, now: at(1) };
        for (deed, flag, steps) in deeds {
            match deed {
                0 => world.ask(steps),
                1 | 2 => world.look(flag),
                3 => world.now = world.now.after(Duration::from_secs(45)),
                4 if flag => world.stopped = true,
                _ => if let Some(first) = world.leases.first_mut()
                    && let Ok(t) = lease::give_back(first.clone(), "drill") {
                    *first = t.after;
                },
            }
            for handle in &world.live {
                let recorded = world.leases.iter().any(|l| l.handle == *handle && l.is_live());
                prop_assert!(recorded, "something is valid without a record");
            }
        }
        // The task ends; whoever was making something is dead; the reconciler goes on alone.
        world.stopped = true;
        world.now = world.now.after(Duration::from_secs(60));
        for _ in 0..3 {
            world.look(false);
        }
        prop_assert!(world.live.is_empty());
        for lease in &world.leases {
            prop_assert!(matches!(lease.standing, LeaseStanding::Returned { .. }), "{:?}", lease.standing);
        }
        prop_assert!(findings(&world.leases, Some("its task is closed"), world.now).is_empty());
    }
}
