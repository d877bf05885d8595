use std::collections::BTreeSet;
use std::time::Duration;

use bailiwick_base::Time;
use bailiwick_credential::plan::{Blocker, Step, ends_now, plan};
use bailiwick_credential::rotation::{self, NewThirdParty, register_third_party};
use bailiwick_credential::{
    Limits, Observed, PgTarget, Phase, ProbeAnswer, Refusal, SecretKind, Seen, Standing, Target, ThirdParty,
    Turn,
};
use proptest::prelude::*;

use crate::{at, id};

const OVERLAP: i64 = 60;

fn wanted() -> NewThirdParty {
    NewThirdParty {
        id: id("acme", 1),
        name: "orders-db".to_owned(),
        identity: id("acme", 2),
        identity_expires_at: at(10_000_000),
        kind: SecretKind::PgLogin,
        fingerprint: "first".to_owned(),
        expires_at: None,
        every: Some(Duration::from_secs(3_600)),
        overlap: Some(Duration::from_secs(60)),
        consumers: vec!["billing".to_owned(), "reports".to_owned()],
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
    }
}

pub(crate) fn pg(target: &mut Option<Target>) -> &mut PgTarget {
    let pg = target.as_mut().and_then(|target| match target {
        Target::Pg(pg) => Some(pg),
        _ => None,
    });
    pg.unwrap()
}

pub(crate) fn registered() -> ThirdParty {
    register_third_party(wanted(), &Limits::default(), at(0))
        .unwrap()
        .after
}

fn refused(change: impl FnOnce(&mut NewThirdParty)) -> &'static str {
    let mut wanted = wanted();
    change(&mut wanted);
    register_third_party(wanted, &Limits::default(), at(0))
        .unwrap_err()
        .code()
}

fn seen(pairs: &[(Turn, &str)]) -> Observed {
    let seen = pairs.iter().map(|(turn, consumer)| Seen {
        turn: *turn,
        consumer: (*consumer).to_owned(),
    });
    Observed {
        seen: seen.collect(),
        used: None,
    }
}

fn refusal() -> ProbeAnswer {
    ProbeAnswer {
        code: "28P01".to_owned(),
        text: "password authentication failed".to_owned(),
    }
}

pub(crate) fn watching() -> ThirdParty {
    let begun = rotation::begin(registered(), Some("second".to_owned()), "due", at(10)).unwrap();
    rotation::staged(begun.after, at(11)).unwrap().after
}

#[test]
fn a_credential_is_registered_with_names_that_mean_only_themselves() {
    assert_eq!(registered().due_at(), at(3_600));
    assert_eq!(refused(|w| w.name = "Orders".to_owned()), "credential.name");
    assert_eq!(
        refused(|w| w.consumers.push(" ".to_owned())),
        "credential.consumer-nameless"
    );
    assert_eq!(
        refused(|w| w.overlap = Some(Duration::from_secs(3_600))),
        "credential.overlap-too-long"
    );
    assert_eq!(refused(|w| w.kind = SecretKind::ApiKey), "credential.no-driver");
    assert_eq!(
        refused(|w| w.identity = id("globex", 2)),
        "credential.other-owner"
    );
    let target = |change: fn(&mut PgTarget)| refused(|w| change(pg(&mut w.target)));
    for hostile in [
        "",
        "Orders",
        "a\"; DROP ROLE b; --",
        "pg_monitor",
        "public",
        "1a",
        "é",
    ] {
        let mut wanted = wanted();
        pg(&mut wanted.target).logins[1] = hostile.to_owned();
        let refusal = register_third_party(wanted, &Limits::default(), at(0)).unwrap_err();
        assert_eq!(refusal.code(), "credential.login-name", "{hostile}");
    }
    assert_eq!(
        target(|t| t.logins[1] = t.logins[0].clone()),
        "credential.logins-alike"
    );
    assert_eq!(
        target(|t| t.host = "db?sslmode=disable".to_owned()),
        "credential.target-address"
    );
    assert_eq!(target(|t| t.manager = id("globex", 3)), "credential.other-owner");
}

#[test]
fn a_rotation_goes_through_its_phases_and_ends_with_the_entry_of_its_evidence() {
    let due = registered();
    assert_eq!(plan(&due, None, at(3_599)), []);
    assert_eq!(plan(&due, None, at(3_600)), [Step::Begin]);
    let watching = watching();
    assert_eq!(plan(&watching, None, at(11)), [Step::Look]);
    let both = seen(&[(Turn::Second, "billing"), (Turn::Second, "reports")]);
    assert!(matches!(
        plan(&watching, Some(&both), at(12))[..],
        [Step::Wait(ref b)] if b.len() == 1
    ));
    assert_eq!(plan(&watching, Some(&both), at(11 + OVERLAP)), [Step::Close]);
    let revoking = rotation::close(watching, &both, at(11 + OVERLAP)).unwrap().after;
    assert_eq!(plan(&revoking, None, at(80)), [Step::Revoke]);
    let probing = rotation::revoked(revoking).unwrap().after;
    assert_eq!(plan(&probing, None, at(80)), [Step::Probe]);
    let again = rotation::probe_accepted(probing.clone()).unwrap().after;
    assert_eq!(plan(&again, None, at(80)), [Step::Revoke]);
    let ended = rotation::complete(probing, refusal(), 41, at(81)).unwrap().after;
    assert_eq!((ended.fingerprint.as_str(), ended.rotation()), ("second", None));
    assert_eq!(ended.target.as_ref().unwrap().current(), Turn::Second);
    assert_eq!(ended.rotated.as_ref().unwrap().entry, 41);
    assert_eq!(ended.due_at(), at(81 + 3_600));
}

#[test]
fn an_unknown_consumer_blocks_the_revoke_until_it_is_gone() {
    let stranger = seen(&[
        (Turn::Second, "billing"),
        (Turn::Second, "reports"),
        (Turn::First, "nightly"),
    ]);
    let noted = rotation::observe(watching(), &stranger, at(12))
        .unwrap()
        .unwrap()
        .after;
    let known = noted.rotation().unwrap();
    assert_eq!(known.strangers, BTreeSet::from(["nightly".to_owned()]));
    assert_eq!(rotation::observe(noted.clone(), &stranger, at(12)).unwrap(), None);
    let refusal = rotation::close(noted.clone(), &stranger, at(1_000)).unwrap_err();
    assert_eq!(refusal.code(), "credential.rotation-blocked");
    assert!(refusal.to_string().contains("`nightly`"), "{refusal}");
    assert!(rotation::close(noted, &Observed::default(), at(1_000)).is_ok());
}

#[test]
fn a_known_consumer_that_works_with_the_old_secret_too_is_waited_for() {
    let two_copies = seen(&[
        (Turn::First, "billing"),
        (Turn::Second, "billing"),
        (Turn::Second, "reports"),
    ]);
    let late = at(11 + 10 * OVERLAP);
    assert_eq!(
        plan(&watching(), Some(&two_copies), late),
        [Step::Wait(vec![Blocker::StillOld("billing".to_owned())])]
    );
    let refusal = rotation::close(watching(), &two_copies, late).unwrap_err();
    assert!(
        refusal.to_string().contains("`billing` is still connected"),
        "{refusal}"
    );
    let noted = rotation::observe(watching(), &two_copies, late)
        .unwrap()
        .unwrap()
        .after;
    assert_eq!(
        noted.rotation().unwrap().moved,
        BTreeSet::from(["reports".to_owned()])
    );
    let moved = seen(&[(Turn::Second, "billing"), (Turn::Second, "reports")]);
    let revoking = rotation::close(noted, &moved, late).unwrap().after;
    // One that comes back at the last moment counts again.
    assert!(bailiwick_credential::plan::would_cut_off(
        &revoking,
        &two_copies,
        late
    ));
    let reopened = rotation::reopen(revoking, &two_copies, late).unwrap().after;
    assert_eq!(
        reopened.rotation().unwrap().moved,
        BTreeSet::from(["reports".to_owned()])
    );
}

#[test]
fn two_rotations_at_once_are_refused_and_one_is_given_up_only_before_the_revoke() {
    let twice = rotation::begin(watching(), Some("third".to_owned()), "again", at(12)).unwrap_err();
    assert_eq!(twice.code(), "credential.rotation-running");
    assert_eq!(
        rotation::roll_back(registered(), "no").unwrap_err(),
        Refusal::NoRotation
    );
    let back = rotation::roll_back(watching(), "wrong database").unwrap().after;
    assert_eq!(plan(&back, None, at(12)), [Step::Unstage]);
    let steady = rotation::rolled_back(back, at(13)).unwrap().after;
    assert_eq!(
        (steady.standing, steady.fingerprint.as_str()),
        (Standing::Steady, "first")
    );
    let everybody = seen(&[(Turn::Second, "billing"), (Turn::Second, "reports")]);
    let revoking = rotation::close(watching(), &everybody, at(1_000)).unwrap().after;
    let late = rotation::roll_back(revoking, "too late").unwrap_err();
    assert_eq!(late.code(), "credential.rotation-phase");
}

#[test]
fn a_credential_is_revoked_whatever_runs_and_is_used_for_nothing_more() {
    for (credential, rotates) in [(registered(), false), (watching(), true)] {
        assert_eq!(
            rotation::end(credential.clone(), " ").unwrap_err().code(),
            "task.reason-missing"
        );
        let ending = rotation::end(credential, "found in a repository").unwrap().after;
        assert_eq!(plan(&ending, None, at(9_000)), [Step::End]);
        assert_eq!(
            (ending.rotation(), ending.unfinished().is_some()),
            (None, rotates)
        );
        assert!(!ending.offers_new());
        let stuck = rotation::trouble(ending.clone(), "not reached")
            .unwrap()
            .unwrap()
            .after;
        assert_eq!(rotation::trouble(stuck.clone(), "not reached").unwrap(), None);
        for refused in [
            rotation::end(stuck.clone(), "again"),
            rotation::begin(stuck.clone(), None, "due", at(9_000)),
            rotation::replace(stuck.clone(), "third".to_owned(), 8, at(9_000)),
        ] {
            assert_eq!(refused.unwrap_err().code(), "credential.revoked");
        }
        let over = rotation::ended(stuck, Some(refusal()), 9, at(9_001))
            .unwrap()
            .after;
        assert_eq!(over.ended(), Some("found in a repository"));
        assert_eq!(plan(&over, None, at(1_000_000)), []);
        assert_eq!(
            rotation::ended(over, None, 10, at(9_002)).unwrap_err().code(),
            "credential.rotation-phase"
        );
    }
}

/// A system with two logins, and everything a driver does to it.
struct World {
    row: ThirdParty,
    live: BTreeSet<Turn>,
    sessions: BTreeSet<Seen>,
    now: Time,
}

impl World {
    fn old(&self) -> Turn {
        self.row.target.as_ref().unwrap().current()
    }

    fn observed(&self) -> Observed {
        Observed {
            seen: self.sessions.clone(),
            used: None,
        }
    }

    fn end_sessions(&mut self, turn: Turn) {
        self.live.remove(&turn);
        self.sessions.retain(|seen| seen.turn != turn);
    }

    /// One step. `dies` kills the driver after the deed and before its record.
    fn step(&mut self, dies: bool) {
        let (now, row) = (self.now, self.row.clone());
        let mut steps = plan(&row, None, now);
        if steps == [Step::Look] {
            steps = plan(&row, Some(&self.observed()), now);
        }
        let old = self.old();
        let next = match steps.first() {
            None | Some(Step::End) => return,
            Some(Step::Begin) => rotation::begin(row, Some("next".to_owned()), "due", now),
            Some(Step::Prepare) => rotation::prepared(row),
            Some(Step::Stage) => {
                self.live.insert(old.next());
                rotation::staged(row, now)
            }
            Some(Step::Look | Step::Wait(_)) => match rotation::observe(row, &self.observed(), now) {
                Ok(Some(t)) => Ok(t),
                Ok(None) => return,
                Err(refusal) => Err(refusal),
            },
            Some(Step::Close) => rotation::close(row, &self.observed(), now),
            Some(Step::Revoke) => {
                if bailiwick_credential::plan::would_cut_off(&row, &self.observed(), now) {
                    rotation::reopen(row, &self.observed(), now)
                } else {
                    self.end_sessions(old);
                    rotation::revoked(row)
                }
            }
            Some(Step::Probe) if self.live.contains(&old) => rotation::probe_accepted(row),
            Some(Step::Probe) => rotation::complete(row, refusal(), 7, now),
            Some(Step::Unstage) => {
                self.end_sessions(old.next());
                rotation::rolled_back(row, now)
            }
        };
        if !dies {
            self.row = next.unwrap().after;
        }
    }

    fn connect(&mut self, turn: Turn, consumer: &str) {
        if self.live.contains(&turn) {
            self.sessions.insert(Seen {
                turn,
                consumer: consumer.to_owned(),
            });
        }
    }

    /// What has to hold at every moment.
    fn require_sound(&self) {
        let old = self.old();
        let (old_live, new_live) = (self.live.contains(&old), self.live.contains(&old.next()));
        assert!(
            !new_live || self.row.rotation().is_some(),
            "a valid secret without a record"
        );
        let ending = self
            .row
            .rotation()
            .is_some_and(|r| matches!(r.phase, Phase::Revoking | Phase::Probing));
        assert!(
            old_live || ending,
            "the old secret went before anybody decided so"
        );
        assert!(old_live || new_live, "nobody can work");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_valid_secret_is_unrecorded_and_no_consumer_is_cut_off(
        deeds in proptest::collection::vec((0_u8..9, any::<bool>()), 1..120)
    ) {
        let mut world = World {
            row: registered(),
            live: BTreeSet::from([Turn::First]),
            sessions: BTreeSet::new(),
            now: at(3_600),
        };
        for (deed, flag) in deeds {
            let old = world.old();
            let with_old = world.sessions.iter().filter(|s| s.turn == old).count();
            match deed {
                0..=3 => {
                    world.step(flag);
                    let left = world.sessions.iter().filter(|s| s.turn == old).count();
                    prop_assert_eq!(left, with_old, "a consumer was cut off");
                }
                4 => world.connect(if flag { old } else { old.next() }, "billing"),
                5 => world.connect(if flag { old } else { old.next() }, "reports"),
                6 if flag => world.connect(old, "nightly"),
                6 => world.sessions.retain(|s| s.turn != old),
                7 => world.now = world.now.after(Duration::from_secs(45)),
                _ => {
                    if let Ok(t) = rotation::roll_back(world.row.clone(), "drill") {
                        world.row = t.after;
                    }
                }
            }
            world.require_sound();
        }
        // Left alone, with everybody moved and no stranger, it ends complete: exactly one valid secret.
        world.sessions.retain(|s| s.consumer != "nightly");
        if world.row.rotation().is_some() {
            for _ in 0..20 {
                let new = world.old().next();
                if matches!(world.row.rotation().map(|r| &r.phase), Some(Phase::Watching { .. })) {
                    world.connect(new, "billing");
                    world.connect(new, "reports");
                    world.sessions.retain(|s| s.turn == new);
                    world.now = world.now.after(Duration::from_secs(61));
                }
                if world.row.rotation().is_none() {
                    break;
                }
                world.step(false);
            }
        }
        prop_assert_eq!(world.row.rotation(), None);
        prop_assert_eq!(world.live.len(), 1);
        prop_assert!(world.live.contains(&world.old()));
    }
}

#[test]
fn what_expired_is_used_for_nothing_and_what_manages_others_ends_after_them() {
    let expired = registered().expires_at;
    let late = rotation::require_usable(&registered(), expired).unwrap_err();
    assert_eq!(late.code(), "credential.expired");
    assert!(rotation::require_usable(&registered(), expired.before(Duration::from_secs(1))).is_ok());
    let begun = rotation::begin(registered(), Some("second".to_owned()), "now", expired);
    assert_eq!(begun.unwrap_err().code(), "credential.expired");
    // One that manages, one that is managed by it, and one that a person has to end.
    let managed = registered();
    let manager = ThirdParty {
        id: id("acme", 3),
        ..managed.clone()
    };
    let by_hand = ThirdParty {
        id: id("acme", 4),
        target: None,
        ..managed.clone()
    };
    let ends = |living: &[ThirdParty]| -> Vec<_> {
        let now = ends_now(living);
        now.into_iter().map(|c| c.id.clone()).collect()
    };
    let all = [manager.clone(), managed.clone(), by_hand];
    assert_eq!(ends(&all), std::slice::from_ref(&managed.id));
    let ending = rotation::end(managed, "killed").unwrap().after;
    assert_eq!(
        ends(&[manager.clone(), ending]),
        [],
        "it is needed until that one is revoked"
    );
    assert_eq!(ends(std::slice::from_ref(&manager)), [manager.id]);
}
