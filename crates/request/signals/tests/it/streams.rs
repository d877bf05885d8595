use bailiwick_signal::Delivery;
use bailiwick_signals::{StreamError, StreamRequest, configuration, metadata, subject};
use serde_json::{Value, json};

use crate::{ISSUER, stream};

fn asked(value: Value) -> StreamRequest {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_configuration_that_was_read_can_be_sent_back() {
    let shown = configuration(&stream(), ISSUER);
    let back = asked(shown.clone());
    assert_eq!(back.stream_id.as_deref(), shown["stream_id"].as_str());
    assert_eq!(back.delivery().unwrap(), Some((Delivery::Poll, None)));
    assert_eq!(json!(back.wanted()), shown["events_requested"]);
    let place = shown["delivery"]["endpoint_url"].as_str().unwrap();
    assert!(place.starts_with(ISSUER) && place.ends_with(shown["stream_id"].as_str().unwrap()));
}

#[test]
fn a_delivery_that_cannot_be_is_refused() {
    let cases = [
        (json!({"method": "urn:x"}), StreamError::Method),
        (json!({"method": "urn:ietf:rfc:8935"}), StreamError::NoEndpoint),
        (
            json!({"method": "urn:ietf:rfc:8936", "authorization_header": "x"}),
            StreamError::PollAuthorization,
        ),
    ];
    for (delivery, expected) in cases {
        let refused = asked(json!({"delivery": delivery})).delivery();
        assert_eq!(refused.unwrap_err(), expected);
    }
    assert_eq!(asked(json!({})).delivery().unwrap(), None);
}

#[test]
fn metadata_names_every_endpoint_below_the_issuer() {
    let metadata = metadata(ISSUER);
    let endpoints: Vec<&str> = metadata
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| name.ends_with("_endpoint") || name.ends_with("_uri"))
        .map(|(_, value)| value.as_str().unwrap())
        .collect();
    assert_eq!(endpoints.len(), 6);
    assert!(endpoints.iter().all(|url| url.starts_with(ISSUER)));
}

#[test]
fn two_spellings_of_a_subject_are_one() {
    let one = subject(&json!({"format": "email", "email": "a@b"}));
    assert_eq!(one, subject(&json!({"email": "a@b", "format": "email"})));
    assert_eq!(subject(&json!({"email": "a@b"})), None);
    assert_eq!(subject(&json!("x")), None);
}
