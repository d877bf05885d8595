use std::collections::BTreeMap;

use bailiwick_base::{TenantId, Time, TransmitterId};
use bailiwick_signal::{Keys, Limits, NewTransmitter, Refusal, add_transmitter, remove_transmitter};

fn asked(issuer: &str) -> NewTransmitter {
    let tenant = TenantId::parse("acme").unwrap();
    NewTransmitter {
        id: TransmitterId::parse(&tenant, &format!("trm_{}", "a".repeat(26))).unwrap(),
        issuer: issuer.to_owned(),
        keys: Keys::Url("https://idp.example/jwks".to_owned()),
        allow_addresses: Vec::new(),
        danger_plaintext: false,
        people: BTreeMap::new(),
    }
}

#[test]
fn an_issuer_is_registered_once_and_removed_with_a_reason() {
    let now = Time::from_secs(1);
    let limits = Limits::default();
    let one = add_transmitter(asked("https://idp.example"), [], &limits, now)
        .unwrap()
        .after;
    let again = add_transmitter(asked("https://idp.example"), [&one], &limits, now);
    assert_eq!(
        again.unwrap_err(),
        Refusal::SameIssuer("https://idp.example".to_owned())
    );
    assert_eq!(
        remove_transmitter(one.clone(), " ", now).unwrap_err(),
        Refusal::Missing("reason")
    );
    let removed = remove_transmitter(one, "left", now).unwrap();
    assert_eq!(
        (removed.command, removed.after.removed_at),
        ("transmitter.remove", Some(now))
    );
    let twice = remove_transmitter(removed.after.clone(), "left", now);
    assert_eq!(twice.unwrap_err(), Refusal::Removed(removed.after.id.to_string()));
}

#[test]
fn texts_and_lists_have_limits() {
    let now = Time::from_secs(1);
    let few = Limits {
        people_max: 1,
        transmitters_max: 1,
        ..Limits::default()
    };
    let crowd = NewTransmitter {
        people: [("a", "x"), ("b", "y")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into(),
        ..asked("https://idp.example")
    };
    let refused = add_transmitter(crowd, [], &few, now);
    assert_eq!(
        refused.unwrap_err(),
        Refusal::Limit {
            field: "people",
            max: 1
        }
    );
    let long = add_transmitter(asked(&"i".repeat(2_049)), [], &few, now);
    assert!(matches!(
        long.unwrap_err(),
        Refusal::Limit { field: "issuer", .. }
    ));
    let one = add_transmitter(asked("https://idp.example"), [], &few, now)
        .unwrap()
        .after;
    let full = add_transmitter(asked("https://other.example"), [&one], &few, now);
    assert_eq!(full.unwrap_err(), Refusal::TooMany(1));
}
