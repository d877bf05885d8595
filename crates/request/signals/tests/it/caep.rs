use bailiwick_base::Time;
use bailiwick_signals::{Signal, claims, is_told, jti, signals};
use serde_json::{Value, json};

use crate::{ISSUER, record, stream};

fn one(command: &str, id: &str, after: &Value) -> Value {
    json!({
        "actor": "operator:opr_x", "command": command, "request": "r-1", "reason": "why",
        "objects": [{"type": "x", "id": id, "before": null, "after": after}],
    })
}

/// Type of each event, and its subject.
fn told(command: &str, payload: Value) -> Vec<(String, Value)> {
    assert!(is_told(&format!("state.{command}")));
    signals(&record(7, command, payload), &stream(), ISSUER)
        .into_iter()
        .map(|signal| (signal.kind.as_str().to_owned(), signal.subject))
        .collect()
}

#[test]
fn every_mark_is_told_about_what_it_stops() {
    let tenant = json!({"format": "opaque", "id": "acme"});
    let group = |id: &str| {
        json!({
            "format": "complex", "tenant": tenant, "group": {"format": "opaque", "id": id},
        })
    };
    let whole = json!({"format": "complex", "tenant": tenant});
    let session = json!({
        "format": "complex", "tenant": tenant, "session": {"format": "opaque", "id": "tsk_1"},
    });
    let cases = [
        (
            "mark.kill",
            "token:tok_1",
            Some(json!({"format": "jwt_id", "iss": ISSUER, "jti": "tok_1"})),
        ),
        ("mark.suspend", "task:tsk_1", Some(session)),
        // The end of the task says it.
        ("mark.kill", "task:tsk_1", None),
        // The identity's own entry says it.
        ("mark.kill", "identity:idn_1", None),
        ("mark.suspend", "agent:bot", Some(group("agent:bot"))),
        ("mark.kill", "owner:billing", Some(group("owner:billing"))),
        (
            "mark.kill",
            "issuer:https://idp.example",
            Some(group("issuer:https://idp.example")),
        ),
        ("mark.kill", "server:files", Some(group("server:files"))),
        ("mark.kill", "tool:files:read", Some(group("tool:files:read"))),
        ("mark.kill", "tenant:", Some(whole.clone())),
        ("mark.kill", "all:", Some(whole)),
    ];
    for (command, id, expected) in cases {
        let found = told(command, one(command, id, &json!({})));
        let expected: Vec<_> = expected
            .into_iter()
            .map(|subject| ("session-revoked".to_owned(), subject))
            .collect();
        assert_eq!(found, expected, "{command} {id}");
    }
}

/// Command, what is there after it, and what is told.
fn changes() -> Vec<(&'static str, Value, Vec<&'static str>)> {
    vec![
        (
            "identity.suspend",
            json!({}),
            vec!["session-revoked", "risk-level-change"],
        ),
        ("identity.resume", json!({}), vec!["risk-level-change"]),
        ("identity.activate", json!({}), vec!["risk-level-change"]),
        ("identity.retire", json!({}), vec!["session-revoked"]),
        ("identity.register", json!({}), vec![]),
        (
            "identity.compose",
            json!({"state": "probation", "composition": {"model": "m"}}),
            vec!["token-claims-change", "risk-level-change"],
        ),
        (
            "task.close",
            json!({"identity": "idn_1"}),
            vec!["session-revoked"],
        ),
        ("task.open", json!({"identity": "idn_1"}), vec![]),
        (
            "client.register",
            json!({"identity": "idn_1"}),
            vec!["credential-change"],
        ),
        (
            "credential.replace",
            json!({"identity": "idn_1"}),
            vec!["credential-change"],
        ),
        (
            "credential.revoke",
            json!({"identity": "idn_1"}),
            vec!["credential-change"],
        ),
        (
            "credential.rotation-observe",
            json!({"identity": "idn_1"}),
            vec![],
        ),
        (
            "lease.return",
            json!({"task": "tsk_1"}),
            vec!["credential-change"],
        ),
        ("key.rotate", json!({}), vec!["credential-change"]),
        ("key.withdraw", json!({}), vec!["credential-change"]),
        ("public-client.remove", json!({}), vec!["credential-change"]),
        (
            "client.remove",
            json!({"identity": "idn_1"}),
            vec!["credential-change"],
        ),
        (
            "trust.add",
            json!({"identity": "idn_1"}),
            vec!["credential-change"],
        ),
        (
            "trust.remove",
            json!({"identity": "idn_1"}),
            vec!["credential-change"],
        ),
        ("epoch.raise-floor", json!({"floor": 9}), vec!["session-revoked"]),
    ]
}

#[test]
fn every_change_of_a_credential_and_of_risk_has_its_type() {
    for (command, after, expected) in changes() {
        let found = told(command, one(command, "idn_1", &after));
        let kinds: Vec<&str> = found.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, expected, "{command}");
    }
    assert!(!is_told("state.policy.replace"));
    assert!(!is_told("state.tenant.add"));
}

/// A mark that ends no session is a risk that somebody sees, and its end is the end of the risk.
#[test]
fn a_milder_mark_and_its_end_are_told_as_a_change_of_risk() {
    let of = |command: &str, id: &str, lifted: &[&str]| {
        let objects: Vec<Value> = match lifted {
            [] => vec![json!({"type": "mark", "id": id, "before": null, "after": {"effect": "x"}})],
            lifted => lifted
                .iter()
                .map(|effect| json!({"type": "mark", "id": id, "before": {"effect": effect}, "after": null}))
                .collect(),
        };
        let payload = json!({"actor": "operator:opr_x", "reason": "why", "objects": objects});
        signals(&record(7, command, payload), &stream(), ISSUER)
    };
    let levels = |signal: &Signal| {
        let text = |member: &str| {
            signal
                .event
                .get(member)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        (text("principal"), text("previous_level"), text("current_level"))
    };
    let said = |principal: &str, before: Option<&str>, now: &str| {
        (
            Some(principal.to_owned()),
            before.map(str::to_owned),
            Some(now.to_owned()),
        )
    };
    for command in ["mark.observe", "mark.no-egress", "mark.read-only"] {
        for (scope, principal) in [
            ("identity:idn_1", "USER"),
            ("task:tsk_1", "SESSION"),
            ("agent:bot", "GROUP"),
            ("tenant:", "TENANT"),
        ] {
            let found = of(command, scope, &[]);
            assert_eq!(found.len(), 1, "{command} {scope}");
            assert_eq!(found[0].kind.as_str(), "risk-level-change");
            assert_eq!(levels(&found[0]), said(principal, None, "MEDIUM"), "{scope}");
        }
    }
    let milder = of("mark.lift", "agent:bot", &["observe", "read-only"]);
    assert_eq!(levels(&milder[0]), said("GROUP", Some("MEDIUM"), "LOW"));
    let whole = of("mark.lift", "task:tsk_1", &["suspend", "observe"]);
    assert_eq!(levels(&whole[0]), said("SESSION", Some("HIGH"), "LOW"));
    // The entry of the identity tells the end of its suspension.
    assert!(of("mark.lift", "identity:idn_1", &["suspend"]).is_empty());
    assert_eq!(of("mark.lift", "identity:idn_1", &["observe"]).len(), 1);
}

#[test]
fn a_set_has_one_event_one_subject_and_neither_sub_nor_exp() {
    let stream = stream();
    let entry = record(
        7,
        "identity.suspend",
        one("identity.suspend", "idn_1", &json!({})),
    );
    let found = signals(&entry, &stream, ISSUER);
    // Three days later, when the receiver is there again.
    let now = Time::from_secs(1_700_259_200);
    let sets: Vec<Value> = found
        .iter()
        .map(|signal| serde_json::from_slice(&claims(signal, &stream.id, (ISSUER, "idn_r"), now)).unwrap())
        .collect();
    for set in &sets {
        assert_eq!(set["events"].as_object().unwrap().len(), 1);
        assert_eq!(
            set["sub_id"],
            json!({"format": "iss_sub", "iss": ISSUER, "sub": "idn_1"})
        );
        assert_eq!(
            (&set["iss"], &set["aud"], &set["txn"]),
            (&json!(ISSUER), &json!("idn_r"), &json!("r-1"))
        );
        assert!(set.get("sub").is_none() && set.get("exp").is_none());
        assert_eq!(
            (&set["iat"], &set["toe"]),
            (&json!(1_700_259_200), &json!(1_700_000_000))
        );
        let event = set["events"].as_object().unwrap().values().next().unwrap();
        assert_eq!(event["event_timestamp"], json!(1_700_000_000));
        assert_eq!(event["reason_admin"], json!({"en": "why"}));
        assert_eq!(event["initiating_entity"], json!("admin"));
    }
    assert_ne!(sets[0]["jti"], sets[1]["jti"]);
    // Worked out again it is the same, byte for byte.
    let again = signals(&entry, &stream, ISSUER);
    assert_eq!(
        claims(&again[1], &stream.id, (ISSUER, "idn_r"), now),
        claims(&found[1], &stream.id, (ISSUER, "idn_r"), now)
    );
    assert_eq!(sets[1]["jti"], json!(jti(&stream.id, 7, 1)));
    assert_ne!(jti(&stream.id, 7, 1), jti(&stream.id, 8, 1));
}

#[test]
fn what_was_not_asked_for_and_what_is_left_out_is_not_told() {
    let mut stream = stream();
    let entry = record(
        7,
        "identity.suspend",
        one("identity.suspend", "idn_1", &json!({})),
    );
    stream.events.retain(|kind| kind.as_str() == "risk-level-change");
    assert_eq!(signals(&entry, &stream, ISSUER).len(), 1);
    let subject = bailiwick_signals::subject(&json!({"sub": "idn_1", "iss": ISSUER, "format": "iss_sub"}));
    stream.left_out.extend(subject);
    assert!(signals(&entry, &stream, ISSUER).is_empty());
}

#[test]
fn a_stream_hears_of_itself_alone() {
    let stream = stream();
    let own = stream.id.to_string();
    let asked = |id: &str| json!({"actor": "identity:idn_1", "detail": {"subscription": id, "state": "s"}});
    let found = signals(&record(7, "subscription.verify", asked(&own)), &stream, ISSUER);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].subject, json!({"format": "opaque", "id": own}));
    assert_eq!(Value::Object(found[0].event.clone()), json!({"state": "s"}));
    let other = signals(
        &record(7, "subscription.verify", asked("sbs_other")),
        &stream,
        ISSUER,
    );
    assert!(other.is_empty());
    let paused = one("subscription.pause", &own, &json!({}));
    let found = signals(&record(7, "subscription.pause", paused), &stream, ISSUER);
    assert_eq!(
        Value::Object(found[0].event.clone()),
        json!({"status": "paused", "reason": "why"})
    );
}
