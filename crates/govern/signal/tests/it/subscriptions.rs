use bailiwick_base::{IdentityId, SubscriptionId, TenantId, Time};
use bailiwick_signal::{
    Change, Delivery, EventKind, Limits, NewSubscription, Place, Refusal, Status, Subscription, change,
    leave_out, renew_secret, set_status, subscribe, take_in, withdraw,
};
use proptest::prelude::*;

fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn id(n: u8) -> SubscriptionId {
    SubscriptionId::parse(&tenant(), &format!("sbs_{}", ident(n))).unwrap()
}

fn identity(n: u8) -> IdentityId {
    IdentityId::parse(&tenant(), &format!("idn_{}", ident(n))).unwrap()
}

/// The text of an id: 25 letters that do not matter, and one of its own.
fn ident(n: u8) -> String {
    let own = char::from(b'a' + n);
    format!("{own}{}", "a".repeat(25))
}

fn asked(n: u8) -> NewSubscription {
    NewSubscription {
        id: id(n),
        receiver: Some(identity(n)),
        delivery: Delivery::Poll,
        asked: vec![
            EventKind::SessionRevoked.uri().to_owned(),
            "https://example.com/other".to_owned(),
        ],
        description: None,
        has_secret: false,
    }
}

fn made(n: u8) -> Subscription {
    subscribe(asked(n), [], &Limits::default(), Time::from_secs(1))
        .unwrap()
        .after
}

#[test]
fn unknown_event_types_are_ignored_and_one_has_to_be_known() {
    let stream = made(0);
    assert_eq!(
        stream.events.iter().copied().collect::<Vec<_>>(),
        [EventKind::SessionRevoked]
    );
    let nothing = NewSubscription {
        asked: vec!["https://example.com/other".to_owned()],
        ..asked(0)
    };
    let refused = subscribe(nothing, [], &Limits::default(), Time::from_secs(1));
    assert_eq!(refused.unwrap_err(), Refusal::Events("events_requested"));
}

#[test]
fn a_receiver_has_one_stream_and_a_tenant_not_too_many() {
    let one = made(0);
    let second = NewSubscription {
        receiver: one.receiver.clone(),
        ..asked(1)
    };
    let refused = subscribe(second, [&one], &Limits::default(), Time::from_secs(2));
    assert_eq!(refused.unwrap_err(), Refusal::Already(one.id.to_string()));
    let few = Limits {
        subscriptions_max: 1,
        ..Limits::default()
    };
    let refused = subscribe(asked(1), [&one], &few, Time::from_secs(2));
    assert_eq!(refused.unwrap_err(), Refusal::TooMany(1));
}

#[test]
fn what_does_not_fit_the_way_of_delivery_is_refused() {
    let place = Place {
        url: "https://hooks.example/in".to_owned(),
        allow_addresses: Vec::new(),
        danger_plaintext: false,
    };
    let cases = [
        (
            NewSubscription {
                has_secret: true,
                ..asked(0)
            },
            Refusal::Misplaced("authorization_header"),
        ),
        (
            NewSubscription {
                delivery: Delivery::Webhook(place.clone()),
                has_secret: true,
                ..asked(0)
            },
            Refusal::Misplaced("receiver"),
        ),
        (
            NewSubscription {
                delivery: Delivery::Webhook(place.clone()),
                receiver: None,
                ..asked(0)
            },
            Refusal::Missing("secret"),
        ),
        (
            NewSubscription {
                delivery: Delivery::Push(place),
                receiver: None,
                ..asked(0)
            },
            Refusal::Missing("receiver"),
        ),
        (
            NewSubscription {
                description: Some("x".repeat(513)),
                ..asked(0)
            },
            Refusal::Limit {
                field: "description",
                max: 512,
            },
        ),
    ];
    for (wanted, expected) in cases {
        let refused = subscribe(wanted, [], &Limits::default(), Time::from_secs(1));
        assert_eq!(refused.unwrap_err(), expected);
    }
}

#[test]
fn subjects_are_left_out_within_a_limit_and_taken_in_again() {
    let few = Limits {
        left_out_max: 1,
        ..Limits::default()
    };
    let now = Time::from_secs(2);
    let one = leave_out(made(0), "{\"a\":1}".to_owned(), &few, now)
        .unwrap()
        .after;
    let full = leave_out(one.clone(), "{\"a\":2}".to_owned(), &few, now);
    assert_eq!(
        full.unwrap_err(),
        Refusal::Limit {
            field: "subjects",
            max: 1
        }
    );
    let short = Limits {
        left_out_bytes_max: 12,
        ..Limits::default()
    };
    let long = leave_out(one.clone(), "{\"a\":2}".to_owned(), &short, now);
    assert_eq!(
        long.unwrap_err(),
        Refusal::Limit {
            field: "bytes of subjects",
            max: 12
        }
    );
    let back = take_in(one, "{\"a\":1}", now).unwrap().after;
    assert!(back.left_out.is_empty());
    assert_eq!(
        take_in(back, "{\"a\":1}", now).unwrap_err(),
        Refusal::Unchanged("added")
    );
}

#[test]
fn each_status_has_its_own_command_for_the_record() {
    let now = Time::from_secs(2);
    let paused = set_status(made(0), Status::Paused, Some("busy"), now).unwrap();
    assert_eq!(
        (paused.command, paused.reason.as_deref()),
        ("subscription.pause", Some("busy"))
    );
    let enabled = set_status(paused.after, Status::Enabled, None, now).unwrap();
    assert_eq!(enabled.command, "subscription.enable");
    assert_eq!(enabled.after.status_reason, None);
    let same = set_status(enabled.after.clone(), Status::Enabled, None, now);
    assert_eq!(same.unwrap_err(), Refusal::Unchanged("enabled"));
    let disabled = set_status(enabled.after, Status::Disabled, None, now).unwrap();
    assert_eq!(disabled.command, "subscription.disable");
}

proptest! {
    #[test]
    fn what_was_removed_stays_removed(steps in proptest::collection::vec(0..6_u8, 1..12), at in 0..12_usize) {
        let now = Time::from_secs(3);
        let mut stream = made(0);
        for (n, step) in steps.into_iter().enumerate() {
            if n == at && stream.removed_at.is_none() {
                stream = withdraw(stream, "over", now).unwrap().after;
            }
            let was_removed = stream.removed_at.is_some();
            let done = match step {
                0 => change(stream.clone(), Change { description: Some(Some(n.to_string())), ..Change::default() }, now),
                1 => set_status(stream.clone(), Status::Paused, Some(&n.to_string()), now),
                2 => leave_out(stream.clone(), n.to_string(), &Limits::default(), now),
                3 => take_in(stream.clone(), &n.to_string(), now),
                4 => renew_secret(stream.clone(), now),
                _ => set_status(stream.clone(), Status::Enabled, Some(&n.to_string()), now),
            };
            if was_removed {
                prop_assert_eq!(done.unwrap_err(), Refusal::Removed(stream.id.to_string()));
            } else if let Ok(done) = done {
                stream = done.after;
            }
        }
    }
}
