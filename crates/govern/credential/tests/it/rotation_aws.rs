//! Rotations in a system that makes secrets itself and tells only when one was used last.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bailiwick_base::Time;
use bailiwick_credential::plan::{self, Step, plan};
use bailiwick_credential::rotation::{self, NewThirdParty, register_third_party};
use bailiwick_credential::{
    AwsTarget, EndpointOverride, LastUse, Limits, Observed, Phase, ProbeAnswer, SecretKind, Target,
    ThirdParty,
};
use proptest::prelude::*;

use crate::{at, id};

const OVERLAP: u64 = 60;
const FIRST: &str = "AKIAIOSFODNN7EXAMPLE";

fn wanted() -> NewThirdParty {
    NewThirdParty {
        id: id("acme", 1),
        name: "orders-aws".to_owned(),
        identity: id("acme", 2),
        identity_expires_at: at(10_000_000),
        kind: SecretKind::AwsAccessKey,
        fingerprint: "first".to_owned(),
        expires_at: None,
        every: Some(Duration::from_secs(36_000)),
        overlap: Some(Duration::from_secs(OVERLAP)),
        consumers: vec!["billing".to_owned()],
        target: Some(Target::Aws(AwsTarget {
            user: "orders".to_owned(),
            key: FIRST.to_owned(),
            region: "eu-central-1".to_owned(),
            manager_key: "AKIAIOSFODNN7MANAGER".to_owned(),
            manager: id("acme", 3),
            lease_role: Some("arn:aws:iam::123456789012:role/reports".to_owned()),
            danger_endpoint_override: None,
        })),
    }
}

fn registered() -> ThirdParty {
    register_third_party(wanted(), &Limits::default(), at(0))
        .unwrap()
        .after
}

fn refused(change: impl FnOnce(&mut AwsTarget)) -> &'static str {
    let mut wanted = wanted();
    if let Some(Target::Aws(aws)) = wanted.target.as_mut() {
        change(aws);
    }
    register_third_party(wanted, &Limits::default(), at(0))
        .unwrap_err()
        .code()
}

fn used(seconds: i64) -> Observed {
    Observed {
        seen: BTreeSet::new(),
        used: Some(LastUse {
            at: at(seconds),
            what: "s3 in eu-central-1".to_owned(),
        }),
    }
}

fn watching() -> ThirdParty {
    let begun = rotation::begin(registered(), None, "due", at(10)).unwrap().after;
    assert_eq!(plan(&begun, None, at(10)), [Step::Prepare]);
    let prepared = rotation::prepared(begun).unwrap().after;
    assert_eq!(plan(&prepared, None, at(10)), [Step::Stage]);
    let made = rotation::made(
        prepared,
        "AKIASECOND0000000000".to_owned(),
        "second".to_owned(),
        at(11),
    );
    made.unwrap().after
}

#[test]
fn a_key_is_registered_with_names_that_mean_only_themselves() {
    assert_eq!(registered().target.as_ref().unwrap().handle(), FIRST);
    for code in [
        refused(|t| t.user = "orders&Action=DeleteUser".to_owned()),
        refused(|t| t.user = String::new()),
        refused(|t| t.key = "AKIA".to_owned()),
        refused(|t| t.manager_key = "akiaiosfodnn7example".to_owned()),
        refused(|t| t.manager_key = FIRST.to_owned()),
        refused(|t| t.region = "eu-central-1/../x".to_owned()),
        refused(|t| t.lease_role = Some("reports".to_owned())),
        refused(|t| {
            t.danger_endpoint_override = Some(EndpointOverride {
                url: "https://aws.acme.example".to_owned(),
                addresses: vec!["10.0.0.0/8".to_owned(); 17],
                allow_plaintext: false,
            });
        }),
    ] {
        assert_eq!(code, "credential.target-name");
    }
    assert_eq!(refused(|t| t.manager = id("globex", 3)), "credential.other-owner");
}

#[test]
fn a_key_is_revoked_when_its_known_consumers_confirmed_and_it_lay_still_for_the_overlap() {
    let unconfirmed = watching();
    let refusal = rotation::close(unconfirmed.clone(), &used(5), at(1_000)).unwrap_err();
    assert!(refusal.to_string().contains("`billing`"), "{refusal}");
    assert_eq!(
        rotation::confirm(unconfirmed.clone(), "nightly", at(12))
            .unwrap_err()
            .code(),
        "credential.consumer-unknown"
    );
    let moved = rotation::confirm(unconfirmed, "billing", at(100)).unwrap().after;
    // The overlap counts from the last move, and begins anew with each use.
    assert!(rotation::close(moved.clone(), &used(5), at(159)).is_err());
    assert!(rotation::close(moved.clone(), &used(5), at(160)).is_ok());
    assert!(rotation::close(moved.clone(), &Observed::default(), at(160)).is_ok());
    let stranger = used(150);
    let refusal = rotation::close(moved.clone(), &stranger, at(160)).unwrap_err();
    assert!(refusal.to_string().contains("`s3 in eu-central-1`"), "{refusal}");
    let noted = rotation::observe(moved.clone(), &stranger, at(160))
        .unwrap()
        .unwrap();
    assert_eq!(noted.after.rotation().unwrap().strangers.len(), 1);
    assert!(rotation::close(moved, &stranger, at(210)).is_ok());
}

#[test]
fn one_that_was_taken_back_is_not_tried_again_at_once() {
    let due = registered();
    assert_eq!(plan(&due, None, at(36_000)), [Step::Begin]);
    let begun = rotation::begin(due, None, "its schedule", at(36_000))
        .unwrap()
        .after;
    let back = rotation::roll_back(begun, "refused with LimitExceeded")
        .unwrap()
        .after;
    let back = rotation::rolled_back(back, at(36_001)).unwrap().after;
    assert_eq!(
        back.taken_back.as_ref().unwrap().reason,
        "refused with LimitExceeded"
    );
    assert_eq!(plan(&back, None, at(36_002)), []);
    assert_eq!(plan(&back, None, at(36_001 + 3_600)), [Step::Begin]);
}

/// The keys of a user, two at most, and everything a driver does to them.
struct World {
    row: ThirdParty,
    /// Key and when it was used last.
    keys: BTreeMap<String, Option<Time>>,
    minted: u32,
    now: Time,
}

impl World {
    fn current(&self) -> String {
        self.row.target.as_ref().unwrap().handle().to_owned()
    }

    fn observed(&self) -> Observed {
        let last = self.keys.get(&self.current()).copied().flatten();
        Observed {
            seen: BTreeSet::new(),
            used: last.map(|at| LastUse {
                at,
                what: "s3".to_owned(),
            }),
        }
    }

    fn delete_unknown(&mut self) {
        let current = self.current();
        self.keys.retain(|key, used| *key == current || used.is_some());
    }

    /// One step. `dies` kills the driver after the deed and before its record.
    fn step(&mut self, dies: bool) {
        let (now, row, current) = (self.now, self.row.clone(), self.current());
        let mut steps = plan(&row, None, now);
        if steps == [Step::Look] {
            steps = plan(&row, Some(&self.observed()), now);
        }
        let next = match steps.first() {
            None | Some(Step::End) => return,
            Some(Step::Begin) => rotation::begin(row, None, "due", now),
            Some(Step::Prepare) if self.keys.len() == 1 => rotation::prepared(row),
            Some(Step::Prepare) => rotation::roll_back(row, "no room"),
            Some(Step::Stage) => {
                self.delete_unknown();
                self.minted += 1;
                let handle = format!("KEY{}", self.minted);
                self.keys.insert(handle.clone(), None);
                rotation::made(row, handle.clone(), handle, now)
            }
            Some(Step::Look | Step::Wait(_)) => match rotation::observe(row, &self.observed(), now) {
                Ok(Some(t)) => Ok(t),
                Ok(None) => return,
                Err(refusal) => Err(refusal),
            },
            Some(Step::Close) => rotation::close(row, &self.observed(), now),
            Some(Step::Revoke) if plan::strangers(&row, &self.observed(), now).is_empty() => {
                self.keys.remove(&current);
                rotation::revoked(row)
            }
            Some(Step::Revoke) => rotation::reopen(row, &self.observed(), now),
            Some(Step::Probe) if self.keys.contains_key(&current) => rotation::probe_accepted(row),
            Some(Step::Probe) => {
                let answer = ProbeAnswer {
                    code: "InvalidClientTokenId".to_owned(),
                    text: "refused".to_owned(),
                };
                rotation::complete(row, answer, 7, now)
            }
            Some(Step::Unstage) => {
                let known = row.rotation().unwrap();
                match &known.handle {
                    Some(handle) => drop(self.keys.remove(handle)),
                    None if known.prepared => self.delete_unknown(),
                    None => {}
                }
                rotation::rolled_back(row, now)
            }
        };
        if !dies {
            self.row = next.unwrap().after;
        }
    }

    fn require_sound(&self, persons: &BTreeSet<String>) {
        let mut known = BTreeSet::from([self.current()]);
        known.extend(self.row.rotation().and_then(|r| r.handle.clone()));
        let making = self
            .row
            .rotation()
            .is_some_and(|r| r.prepared && r.handle.is_none());
        for key in self.keys.keys() {
            assert!(
                known.contains(key) || persons.contains(key) || making,
                "a valid secret without a record"
            );
        }
        assert!(!self.keys.is_empty(), "nobody can work");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_key_is_unrecorded_no_persons_key_is_touched_and_it_ends_with_one(
        deeds in proptest::collection::vec((0_u8..8, any::<bool>()), 1..120)
    ) {
        let mut world = World {
            row: registered(),
            keys: BTreeMap::from([(FIRST.to_owned(), Some(at(5)))]),
            minted: 0,
            now: at(36_000),
        };
        let mut persons = BTreeSet::new();
        for (deed, flag) in deeds {
            let (now, current) = (world.now, world.current());
            match deed {
                0..=3 => world.step(flag),
                4 if flag => drop(world.keys.get_mut(&current).map(|used| *used = Some(now))),
                // A person makes a key, and uses it, where there is room and no rotation has found it.
                4 if world.keys.len() == 1 && world.row.rotation().is_none_or(|r| !r.prepared) => {
                    world.keys.insert("PERSONS".to_owned(), Some(now));
                    persons.insert("PERSONS".to_owned());
                }
                5 => if let Ok(t) = rotation::confirm(world.row.clone(), "billing", now) {
                    world.row = t.after;
                },
                6 => world.now = now.after(Duration::from_secs(45)),
                7 => if let Ok(t) = rotation::roll_back(world.row.clone(), "drill") {
                    world.row = t.after;
                },
                _ => {}
            }
            for key in &persons {
                prop_assert!(world.keys.contains_key(key), "a person's key was deleted");
            }
            world.require_sound(&persons);
        }
        // Left alone, with everybody moved, it ends: one key of ours.
        for _ in 0..30 {
            if world.row.rotation().is_none() {
                break;
            }
            if matches!(world.row.rotation().map(|r| &r.phase), Some(Phase::Watching { .. })) {
                if let Ok(t) = rotation::confirm(world.row.clone(), "billing", world.now) {
                    world.row = t.after;
                }
                world.now = world.now.after(Duration::from_secs(OVERLAP + 1));
            }
            world.step(false);
        }
        prop_assert!(world.row.rotation().is_none());
        let ours: Vec<_> = world.keys.keys().filter(|key| !persons.contains(*key)).cloned().collect();
        prop_assert_eq!(ours, vec![world.current()]);
    }
}
