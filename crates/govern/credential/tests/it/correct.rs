use std::time::Duration;

use bailiwick_base::Time;
use bailiwick_credential::correct::{self, Correction};
use bailiwick_credential::plan::rest_max;
use bailiwick_credential::rotation;
use bailiwick_credential::{
    AwsTarget, GithubAppTarget, HttpTarget, Limits, Observed, PgTarget, ProbeAnswer, Seen, Target,
    ThirdParty, Turn,
};
use proptest::prelude::*;

use crate::rotation::{pg, registered, watching};
use crate::{at, id};

fn nothing() -> Correction {
    Correction {
        identity: None,
        identity_expires_at: at(10_000_000),
        expires_at: None,
        every: None,
        overlap: None,
        consumers: None,
        target: None,
        reason: "the host was wrong".to_owned(),
    }
}

fn corrected(c: ThirdParty, change: impl FnOnce(&mut Correction)) -> Result<ThirdParty, &'static str> {
    let mut wanted = nothing();
    change(&mut wanted);
    correct::correct(c, wanted, &Limits::default(), at(20))
        .map(|t| t.after)
        .map_err(|refusal| refusal.code())
}

fn answer() -> ProbeAnswer {
    ProbeAnswer {
        code: "28P01".to_owned(),
        text: "no".to_owned(),
    }
}

fn moved() -> Observed {
    let seen = ["billing", "reports"].map(|consumer| Seen {
        turn: Turn::Second,
        consumer: consumer.to_owned(),
    });
    Observed {
        seen: seen.into(),
        used: None,
    }
}

fn rotated() -> ThirdParty {
    let closed = rotation::close(watching(), &moved(), at(100)).unwrap().after;
    let probing = rotation::revoked(closed).unwrap().after;
    rotation::complete(probing, answer(), 7, at(101)).unwrap().after
}

fn revoked() -> ThirdParty {
    let ending = rotation::end(registered(), "leaked").unwrap().after;
    rotation::ended(ending, Some(answer()), 8, at(30)).unwrap().after
}

#[test]
fn everything_that_was_registered_wrongly_is_set_right_and_nothing_else_changes() {
    let before = registered();
    let right = corrected(before.clone(), |c| {
        c.identity = Some(id("acme", 9));
        c.consumers = Some(vec!["billing".to_owned()]);
        c.every = Some(Duration::from_secs(7_200));
        c.overlap = Some(Duration::from_secs(5));
        c.expires_at = Some(at(5_000));
        let mut target = before.target.clone();
        pg(&mut target).host = "db.acme.example".to_owned();
        c.target = target;
    })
    .unwrap();
    let mut target = before.target.clone();
    pg(&mut target).host = "db.acme.example".to_owned();
    assert_eq!(
        right,
        ThirdParty {
            identity: id("acme", 9),
            consumers: ["billing".to_owned()].into(),
            policy: bailiwick_credential::RotationPolicy {
                every: Duration::from_secs(7_200),
                overlap: Duration::from_secs(5),
            },
            expires_at: at(5_000),
            target,
            ..before.clone()
        }
    );
    // What another identity must not outlive.
    let short = corrected(before.clone(), |c| {
        c.identity = Some(id("acme", 9));
        c.identity_expires_at = at(50);
    });
    assert_eq!(short.unwrap().expires_at, at(50));
    let t = correct::correct(before.clone(), nothing(), &Limits::default(), at(20)).unwrap();
    assert_eq!((t.after, t.command), (before, "credential.correct"));
    assert_eq!(t.reason.as_deref(), Some("the host was wrong"));
}

#[test]
fn a_correction_is_held_to_the_rules_of_a_registration() {
    type Change = fn(&mut Correction);
    let cases: [(Change, &str); 7] = [
        (|c| c.reason = " ".to_owned(), "task.reason-missing"),
        (
            |c| c.consumers = Some(vec![String::new()]),
            "credential.consumer-nameless",
        ),
        (
            |c| c.consumers = Some(vec!["x".to_owned(); 65]),
            "credential.too-many-consumers",
        ),
        (
            |c| c.overlap = Some(Duration::from_secs(3_600)),
            "credential.overlap-too-long",
        ),
        (|c| c.expires_at = Some(at(10)), "credential.expiry-past"),
        (|c| c.identity = Some(id("globex", 9)), "credential.other-owner"),
        (
            |c| {
                let mut target = registered().target;
                pg(&mut target).role = "Orders".to_owned();
                c.target = target;
            },
            "credential.login-name",
        ),
    ];
    for (change, code) in cases {
        assert_eq!(corrected(registered(), change).unwrap_err(), code);
    }
}

#[test]
fn nothing_is_corrected_or_removed_while_a_rotation_or_a_revocation_is_under_way() {
    let begun = rotation::begin(registered(), Some("second".to_owned()), "due", at(10)).unwrap();
    let ending = rotation::end(registered(), "leaked").unwrap().after;
    for (standing, correct_code, remove_code) in [
        (
            begun.after,
            "credential.rotation-running",
            "credential.rotation-running",
        ),
        (
            watching(),
            "credential.rotation-running",
            "credential.rotation-running",
        ),
        (ending, "credential.revoked", "credential.revoke-running"),
    ] {
        assert_eq!(corrected(standing.clone(), |_| {}).unwrap_err(), correct_code);
        assert_eq!(
            correct::withdraw(standing, "gone").unwrap_err().code(),
            remove_code
        );
    }
    assert_eq!(corrected(revoked(), |_| {}).unwrap_err(), "credential.revoked");
}

#[test]
fn what_never_rotated_or_is_revoked_is_removed_and_what_rotated_is_revoked_first() {
    for free in [registered(), revoked()] {
        let out = correct::withdraw(free.clone(), "a slip").unwrap();
        assert_eq!(
            (out.command, out.before, out.after),
            ("credential.remove", Some(free.clone()), free)
        );
    }
    assert_eq!(
        correct::withdraw(rotated(), "a slip").unwrap_err().code(),
        "credential.was-rotated"
    );
    assert_eq!(
        correct::withdraw(registered(), "").unwrap_err().code(),
        "task.reason-missing"
    );
}

#[test]
fn the_secret_of_a_rotation_stays_with_the_name_it_belongs_to() {
    let place = |logins: [&str; 2]| {
        let mut target = registered().target;
        pg(&mut target).logins = logins.map(str::to_owned);
        target
    };
    // `orders_b` has it since the rotation.
    let wrong = corrected(rotated(), |c| c.target = place(["orders_a", "orders_c"]));
    assert_eq!(wrong.unwrap_err(), "credential.secret-belongs");
    for logins in [["orders_c", "orders_b"], ["orders_b", "orders_c"]] {
        let right = corrected(rotated(), |c| c.target = place(logins)).unwrap();
        assert_eq!(right.target.unwrap().handle(), "orders_b");
    }
    // Before the first, the operator may have named the wrong one.
    let right = corrected(registered(), |c| c.target = place(["orders_x", "orders_y"])).unwrap();
    assert_eq!(right.target.unwrap().handle(), "orders_x");
}

fn places() -> [Target; 4] {
    let manager = id("acme", 3);
    [
        registered().target.unwrap(),
        Target::Aws(AwsTarget {
            user: "deploy".to_owned(),
            key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            region: "eu-central-1".to_owned(),
            manager_key: "AKIAI44QH8DHBEXAMPLE".to_owned(),
            manager: id("acme", 3),
            lease_role: None,
            danger_endpoint_override: None,
        }),
        Target::GithubApp(GithubAppTarget {
            app: "Iv23".to_owned(),
            danger_endpoint_override: None,
        }),
        Target::Http(HttpTarget {
            url: "https://api.acme.example/v1".to_owned(),
            key: "key-1".to_owned(),
            manager,
            document: String::new(),
            addresses: Vec::new(),
            allow_plaintext: false,
        }),
    ]
}

fn meet(a: &Target, b: &Target) -> bool {
    !a.slots().is_disjoint(&b.slots())
}

fn otherwise(change: impl FnOnce(&mut PgTarget)) -> Target {
    let mut target = registered().target;
    change(pg(&mut target));
    target.unwrap()
}

#[test]
fn two_places_meet_where_one_rotation_would_touch_what_the_other_holds() {
    let places = places();
    for (n, a) in places.iter().enumerate() {
        for (m, b) in places.iter().enumerate() {
            assert_eq!(meet(a, b), n == m, "{n} and {m}");
        }
    }
    let pg = &places[0];
    // A login is the server's, not the database's; names of hosts are the same in any case.
    assert!(meet(pg, &otherwise(|t| t.database = "stock".to_owned())));
    assert!(meet(pg, &otherwise(|t| t.logins.swap(0, 1))));
    assert!(meet(pg, &otherwise(|t| t.logins[0] = "orders_c".to_owned())));
    assert!(!meet(pg, &otherwise(|t| t.port = 5_433)));
    assert!(!meet(
        pg,
        &otherwise(|t| t.logins = ["x".to_owned(), "y".to_owned()])
    ));
    let host = |name: &str| otherwise(|t| t.host = name.to_owned());
    assert!(meet(&host("DB.acme.example."), &host("db.acme.example")));
    let Target::Aws(aws) = &places[1] else {
        panic!("the second is of AWS")
    };
    let aws = |change: fn(&mut AwsTarget)| {
        let mut other = aws.clone();
        change(&mut other);
        Target::Aws(other)
    };
    // Another key of the same user, by the same manager.
    assert!(meet(
        &places[1],
        &aws(|t| t.key = "AKIAOTHERKEYOTHERKEY".to_owned())
    ));
    // The same name in another account, which has another manager.
    assert!(!meet(
        &places[1],
        &aws(|t| {
            t.key = "AKIAOTHERKEYOTHERKEY".to_owned();
            t.manager_key = "AKIAOTHERMANAGEROTHE".to_owned();
            t.manager = id("acme", 4);
        })
    ));
}

#[test]
fn what_stays_open_after_its_revocation_is_said_once_and_tried_ever_less_often() {
    let closed = rotation::close(watching(), &moved(), at(100)).unwrap().after;
    let early = rest_max(&closed, &[], at(100));
    let probing = rotation::revoked(closed).unwrap().after;
    let open = rotation::probe_accepted(probing).unwrap().after;
    assert_eq!(
        rotation::trouble(open.clone(), rotation::STILL_ACCEPTED).unwrap(),
        None
    );
    assert!(rest_max(&open, &[], at(100)) > early);
    assert_eq!(rest_max(&open, &[], at(100)), Duration::from_secs(60));
}

proptest! {
    #[test]
    fn trouble_that_differs_in_figures_only_is_recorded_once(first in any::<u32>(), then in any::<u32>()) {
        let text = |n: u32| format!("its clock and ours are {n} s apart");
        let ending = rotation::end(registered(), "leaked").unwrap().after;
        for standing in [ending, watching()] {
            let once = rotation::trouble(standing, &text(first)).unwrap().unwrap().after;
            prop_assert_eq!(rotation::trouble(once.clone(), &text(then)).unwrap(), None);
            prop_assert!(rotation::trouble(once, "refused with 42501").unwrap().is_some());
        }
    }
}

#[test]
fn a_correction_never_moves_the_schedule_back() {
    let late: Time = rotated().due_at();
    let right = corrected(rotated(), |c| c.consumers = Some(Vec::new())).unwrap();
    assert_eq!(right.due_at(), late);
}
