//! Properties of the state machine, and its refusals one by one.

use std::time::Duration;

use bailiwick_base::{AgentLabel, IdentityId, TenantId, Time, Transition};
use bailiwick_inventory::{
    Count, Identity, Kind, Labels, Limits, Origin, Owner, Refusal, Registration, State, States, activate,
    extend, reassign, register, resume, retire, suspend,
};
use proptest::prelude::*;

const NOW: Time = Time::from_secs(1_763_750_000);

fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn later(days: u64) -> Time {
    NOW.after(Duration::from_secs(days * 86_400))
}

fn wanted() -> Registration {
    Registration {
        id: IdentityId::from_parts(tenant(), uuid::Uuid::from_u128(7)),
        kind: Kind::Agent,
        name: " invoice reader ".to_owned(),
        platform: "bailiwick".to_owned(),
        owner: Some(Owner {
            team: "finance".to_owned(),
            contact: "finance@example.com".to_owned(),
        }),
        application: Some(String::new()),
        purpose: Some("reads invoices".to_owned()),
        labels: Labels {
            agent: Some(AgentLabel::parse("invoices").unwrap()),
            workflow: None,
        },
        expires_at: Some(later(30)),
    }
}

fn made() -> Identity {
    register(wanted(), &Limits::default(), NOW).unwrap().after
}

fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> &'static str {
    result.expect_err("a refusal").code()
}

#[test]
fn an_identity_begins_in_probation() {
    let t = register(wanted(), &Limits::default(), NOW).unwrap();
    assert_eq!((t.command, t.before), ("identity.register", None));
    assert_eq!(
        (t.after.state, t.after.origin),
        (State::Probation, Origin::Registered)
    );
    assert_eq!(
        (t.after.name.as_str(), t.after.application),
        ("invoice reader", None)
    );
    assert_eq!((t.after.created_at, t.after.changed_at), (NOW, NOW));
}

#[test]
fn owner_purpose_and_expiry_are_required() {
    let refused = |change: fn(&mut Registration)| {
        let mut r = wanted();
        change(&mut r);
        register(r, &Limits::default(), NOW).expect_err("a refusal")
    };
    type Case = (fn(&mut Registration), &'static str, &'static str);
    let cases: [Case; 12] = [
        (|r| r.owner = None, "identity.owner-missing", "--owner"),
        (
            |r| r.owner.as_mut().unwrap().team = "  ".to_owned(),
            "identity.owner-missing",
            "--owner",
        ),
        (
            |r| r.owner.as_mut().unwrap().contact.clear(),
            "identity.owner-contact-missing",
            "--owner-contact",
        ),
        (|r| r.purpose = None, "identity.purpose-missing", "--purpose"),
        (
            |r| r.purpose = Some("\t".to_owned()),
            "identity.purpose-missing",
            "--purpose",
        ),
        (|r| r.expires_at = None, "identity.expiry-missing", "--expires"),
        (|r| r.expires_at = Some(NOW), "identity.expiry-past", "2025-11-21"),
        (
            |r| r.expires_at = Some(later(367)),
            "identity.expiry-too-far",
            "extend",
        ),
        (|r| r.name.clear(), "text.name-missing", "name"),
        (|r| r.platform.clear(), "text.name-missing", "platform"),
        (|r| r.name = "x".repeat(257), "text.too-long", "256"),
        (
            |r| r.labels.workflow = Some("a\u{1b}[31mb".to_owned()),
            "text.control-character",
            "workflow",
        ),
    ];
    for (change, code, says) in cases {
        let refusal = refused(change);
        assert_eq!(refusal.code(), code);
        assert!(refusal.to_string().contains(says), "{refusal}");
    }
}

#[test]
fn the_latest_expiry_is_the_limit_itself() {
    let limits = Limits {
        lifetime_max: Duration::from_secs(60),
        ..Limits::default()
    };
    let mut r = wanted();
    r.expires_at = Some(NOW.after(limits.lifetime_max));
    assert!(register(r.clone(), &limits, NOW).is_ok());
    r.expires_at = Some(Time::from_micros(NOW.after(limits.lifetime_max).micros() + 1));
    assert_eq!(code(register(r, &limits, NOW)), "identity.expiry-too-far");
}

#[test]
fn every_refusal_of_the_life() {
    let (now, probation) = (later(1), made());
    let active = activate(probation.clone(), now).unwrap().after;
    let stopped = suspend(active.clone(), "leak", now).unwrap().after;
    let retired = retire(stopped.clone(), "done", now).unwrap().after;
    assert_eq!(code(activate(active.clone(), now)), "identity.already-active");
    assert_eq!(code(activate(stopped.clone(), now)), "identity.already-suspended");
    assert_eq!(
        code(suspend(stopped.clone(), "again", now)),
        "identity.already-suspended"
    );
    assert_eq!(code(suspend(active.clone(), " ", now)), "identity.reason-missing");
    assert_eq!(code(retire(active.clone(), "", now)), "identity.reason-missing");
    assert_eq!(code(resume(active.clone(), now)), "identity.not-suspended");
    assert_eq!(code(resume(probation, now)), "identity.not-suspended");
    assert_eq!(code(resume(stopped.clone(), later(30))), "identity.expired");
    assert_eq!(code(activate(made(), later(30))), "identity.expired");
    assert_eq!(
        code(extend(stopped, NOW, &Limits::default(), now)),
        "identity.expiry-past"
    );
    assert_eq!(
        code(reassign(
            active,
            Owner {
                team: String::new(),
                contact: "c".to_owned()
            }
        )),
        "identity.owner-missing"
    );
    assert_eq!(code(suspend(retired, "late", now)), "identity.retired");
}

#[test]
fn resuming_leads_back_to_what_it_was() {
    for (before, state) in [
        (made(), State::Probation),
        (activate(made(), NOW).unwrap().after, State::Active),
    ] {
        let t = suspend(before.clone(), "leak", later(1)).unwrap();
        assert_eq!(t.reason.as_deref(), Some("leak"));
        assert_eq!(
            resume(t.after, later(2)).unwrap().after,
            Identity {
                state,
                changed_at: later(2),
                ..before
            }
        );
    }
}

#[derive(Debug, Clone)]
enum Command {
    Activate,
    Extend(u64),
    Reassign,
    Resume,
    Retire,
    Suspend,
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        Just(Command::Activate),
        (0..800_u64).prop_map(Command::Extend),
        Just(Command::Reassign),
        Just(Command::Resume),
        Just(Command::Retire),
        Just(Command::Suspend),
    ]
}

fn run(identity: Identity, command: &Command, now: Time) -> Result<Transition<Identity>, Refusal> {
    match command {
        Command::Activate => activate(identity, now),
        Command::Extend(days) => extend(identity, later(*days), &Limits::default(), now),
        Command::Reassign => reassign(
            identity,
            Owner {
                team: "ops".to_owned(),
                contact: "o@example.com".to_owned(),
            },
        ),
        Command::Resume => resume(identity, now),
        Command::Retire => retire(identity, "done", now),
        Command::Suspend => suspend(identity, "leak", now),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// No way out of retired; id, kind, origin, name and birth never change; an accepted command says what it
    /// started from; nobody gets active without having been so or having been activated before the end.
    #[test]
    fn a_life(commands in prop::collection::vec((command(), 0..40_u64), 1..40)) {
        let mut identity = made();
        let mut now = NOW;
        for (command, days) in commands {
            now = now.after(Duration::from_secs(days * 3_600));
            let before = identity.clone();
            match run(identity.clone(), &command, now) {
                Err(refusal) => {
                    if matches!(before.state, State::Retired { .. }) {
                        prop_assert_eq!(refusal.code(), "identity.retired");
                    }
                }
                Ok(t) => {
                    prop_assert!(before.state.as_str() != "retired");
                    prop_assert_eq!(t.before.as_ref(), Some(&before));
                    let fixed = |i: &Identity| (i.id.clone(), i.kind, i.origin, i.name.clone(), i.created_at);
                    prop_assert_eq!(fixed(&before), fixed(&t.after));
                    if t.after.state == State::Active && before.state != State::Active {
                        prop_assert!(now < t.after.expires_at);
                    }
                    prop_assert!(t.after.expires_at <= now.after(Limits::default().lifetime_max));
                    prop_assert!(t.command.starts_with("identity."));
                    identity = t.after;
                }
            }
        }
    }

    /// The count does not depend on order, adds up, and its headline is what is in probation or active.
    #[test]
    fn a_count(states in prop::collection::vec((0..4_usize, 0..Kind::ALL.len(), any::<bool>()), 0..60)) {
        let mut identities: Vec<Identity> = states.iter().map(|(state, kind, shadow)| {
            let active = activate(made(), NOW).unwrap().after;
            let one = match state {
                0 => made(),
                1 => active,
                2 => suspend(active, "x", NOW).unwrap().after,
                _ => retire(active, "x", NOW).unwrap().after,
            };
            let origin = if *shadow { Origin::Shadow } else { Origin::Registered };
            Identity { kind: Kind::ALL[*kind], origin, ..one }
        }).collect();
        let count = Count::of(&identities);
        identities.reverse();
        prop_assert_eq!(&count, &Count::of(&identities));
        let living = identities.iter().filter(|i| matches!(i.state, State::Active | State::Probation)).count();
        prop_assert_eq!(count.headline(), living as u64);
        let sum: u64 = count.kinds().flat_map(|k| Origin::ALL.map(|o| count.states(k, o)))
            .map(|s| s.probation + s.active + s.suspended + s.retired).sum();
        prop_assert_eq!(sum, identities.len() as u64);
        prop_assert_eq!(sum, count.headline() + count.suspended() + count.retired());
    }
}

#[test]
fn an_unknown_state_is_not_counted() {
    let mut count = Count::default();
    assert!(!count.add(Kind::Agent, Origin::Registered, "asleep", 1));
    assert_eq!(count, Count::default());
    assert!(count.add(Kind::Agent, Origin::Shadow, "active", 0));
    assert_eq!(count, Count::default(), "nobody is no cell");
    assert!(count.add(Kind::Agent, Origin::Shadow, "active", 2));
    assert_eq!(
        count.states(Kind::Agent, Origin::Shadow),
        States {
            active: 2,
            ..States::default()
        }
    );
}
