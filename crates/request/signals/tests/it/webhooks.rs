use bailiwick_base::Time;
use bailiwick_signals::{Secrets, message, secret_text, signals};
use serde_json::{Value, json};

use crate::{ISSUER, record, stream};

#[test]
fn the_signature_is_that_of_the_specification() {
    // The example of the Standard Webhooks libraries.
    let secrets = Secrets {
        present: "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
        former: None,
        former_until: 0,
    };
    let at = Time::from_secs(1_614_265_330);
    let signature = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, r#"{"test": 2432232314}"#, at);
    assert_eq!(
        signature.unwrap(),
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    );
}

#[test]
fn two_secrets_sign_until_the_former_is_over() {
    let first = Secrets::first(&[1; 32]);
    let alone = first
        .sign("id", Time::from_secs(5), "x", Time::from_secs(5))
        .unwrap();
    let both = first.clone().next(&[2; 32], Time::from_secs(10));
    let during = both
        .sign("id", Time::from_secs(5), "x", Time::from_secs(9))
        .unwrap();
    let after = both
        .sign("id", Time::from_secs(5), "x", Time::from_secs(10))
        .unwrap();
    assert_eq!(during, format!("{after} {alone}"));
    assert_ne!(after, alone);
    assert!(secret_text(&both).starts_with("whsec_") && secret_text(&both) != secret_text(&first));
}

#[test]
fn a_secret_of_another_length_signs_nothing() {
    for present in ["", "AAAA", "not base64!"] {
        let secrets = Secrets {
            present: present.to_owned(),
            former: None,
            former_until: 0,
        };
        assert!(
            secrets
                .sign("id", Time::from_secs(1), "x", Time::from_secs(1))
                .is_err()
        );
    }
}

#[test]
fn a_message_has_a_type_a_time_and_data() {
    let payload = json!({"actor": "operator:o", "reason": "why", "objects": [{"id": "idn_1", "after": {}}]});
    let stream = stream();
    let found = signals(&record(7, "identity.retire", payload), &stream, ISSUER);
    let (id, body) = message(&found[0], &stream.id, ISSUER);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(id, bailiwick_signals::jti(&stream.id, 7, 0));
    assert_eq!(body["type"], "session-revoked");
    assert_eq!(body["timestamp"], Time::from_secs(1_700_000_000).to_string());
    assert_eq!(body["data"]["subject"]["sub"], "idn_1");
    assert_eq!(body["data"]["entry"], 7);
}
