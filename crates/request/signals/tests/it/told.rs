use bailiwick_signals::{Consequence, Person, consequences};
use serde_json::{Value, json};

use crate::ISSUER;

const IDP: &str = "https://idp.example";
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";

fn follows(event: &str, subject: &Value) -> Vec<Consequence> {
    let events = [(event.to_owned(), json!({}))].into_iter().collect();
    consequences(&events, subject, IDP, ISSUER)
}

#[test]
fn somebody_who_logs_out_stops_nothing() {
    let events = |who: &str| {
        let event = json!({"initiating_entity": who});
        [(format!("{CAEP}session-revoked"), event)].into_iter().collect()
    };
    let email = json!({"format": "email", "email": "a@b"});
    let mail = Consequence::Owned(Person::Email("a@b".to_owned()));
    for (who, expected) in [
        ("user", Consequence::Nothing),
        ("admin", mail.clone()),
        ("policy", mail),
    ] {
        assert_eq!(
            consequences(&events(who), &email, IDP, ISSUER),
            [expected],
            "{who}"
        );
    }
}

#[test]
fn a_person_in_danger_stops_and_a_device_in_danger_does_not() {
    let email = json!({"format": "email", "email": "a@b"});
    let mail = Consequence::Owned(Person::Email("a@b".to_owned()));
    let level = |level: &str, of: &str| {
        let event = json!({"current_level": level, "principal": of});
        [(format!("{CAEP}risk-level-change"), event)]
            .into_iter()
            .collect()
    };
    for (now, of, expected) in [
        ("HIGH", "USER", mail.clone()),
        ("HIGH", "SESSION", mail.clone()),
        ("HIGH", "DEVICE", Consequence::Nothing),
        ("MEDIUM", "USER", Consequence::Nothing),
    ] {
        let found = consequences(&level(now, of), &email, IDP, ISSUER);
        assert_eq!(found, [expected], "{now} {of}");
    }
    assert_eq!(follows(&format!("{RISC}credential-compromise"), &email), [mail]);
}

#[test]
fn what_is_told_stops_what_it_names() {
    let mail = || Consequence::Owned(Person::Email("a@b".to_owned()));
    let person = || Consequence::Owned(Person::Subject("u-1".to_owned()));
    let workload = || Consequence::Workload("u-1".to_owned());
    let email = json!({"format": "email", "email": "a@b"});
    let sub = json!({"format": "iss_sub", "iss": IDP, "sub": "u-1"});
    let (revoked, disabled) = (
        format!("{CAEP}session-revoked"),
        format!("{RISC}account-disabled"),
    );
    let cases = [
        (disabled.clone(), email.clone(), vec![mail()]),
        (format!("{RISC}account-purged"), email.clone(), vec![mail()]),
        (revoked.clone(), sub.clone(), vec![person(), workload()]),
        (
            revoked.clone(),
            json!({"format": "complex", "user": sub, "session": {"format": "opaque", "id": "s"}}),
            vec![
                person(),
                workload(),
                Consequence::Owned(Person::Subject("s".to_owned())),
            ],
        ),
        (
            revoked.clone(),
            json!({"format": "jwt_id", "iss": ISSUER, "jti": "tok_1"}),
            vec![Consequence::OwnToken("tok_1".to_owned())],
        ),
        (
            disabled.clone(),
            json!({"format": "aliases", "identifiers": [email, {"format": "aliases", "identifiers": [email]}, {"format": "opaque", "id": "u-1"}]}),
            vec![mail(), person()],
        ),
        // Somebody else's subject, somebody else's token, a subject of another form, an event that stops nothing.
        (
            revoked.clone(),
            json!({"format": "iss_sub", "iss": "https://x", "sub": "u-1"}),
            vec![Consequence::Nothing],
        ),
        (
            revoked.clone(),
            json!({"format": "jwt_id", "iss": IDP, "jti": "t"}),
            vec![Consequence::Nothing],
        ),
        (
            revoked,
            json!({"format": "complex", "user": {"format": "complex", "user": email}}),
            vec![Consequence::Nothing],
        ),
        (disabled, json!({"email": "a@b"}), vec![Consequence::Nothing]),
        (
            format!("{RISC}account-enabled"),
            email.clone(),
            vec![Consequence::Nothing],
        ),
        ("session-revoked".to_owned(), email, vec![Consequence::Nothing]),
    ];
    for (event, subject, expected) in cases {
        assert_eq!(follows(&event, &subject), expected, "{event} {subject}");
    }
}
