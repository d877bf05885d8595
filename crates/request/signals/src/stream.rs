//! The configuration of a stream as SSF 1.0 writes it (§8.1.1), and the metadata of the transmitter (§7).

use bailiwick_signal::{Delivery, EventKind, Place, Subscription};
use serde::Deserialize;
use serde_json::{Map, Value, json};

const PUSH: &str = "urn:ietf:rfc:8935";
const POLL: &str = "urn:ietf:rfc:8936";
/// Seconds between two verifications of one stream.
pub const VERIFICATION_MIN: u64 = 10;

/// What is asked for is not of a form that can be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Not one of the two methods.
    #[error("`delivery.method` is neither `{PUSH}` nor `{POLL}`")]
    Method,
    /// Push needs a place.
    #[error("`delivery.endpoint_url` is missing: push needs the place where SETs are taken")]
    NoEndpoint,
    /// A poll has no secret.
    #[error("`delivery.authorization_header` is for push only")]
    PollAuthorization,
}

/// What a receiver sends to create, change or replace a stream. What the transmitter supplies is taken and not
/// looked at, so that a configuration that was read can be sent back.
#[derive(Clone, Deserialize)]
pub struct StreamRequest {
    /// Which stream.
    #[serde(default)]
    pub stream_id: Option<String>,
    /// How.
    #[serde(default)]
    delivery: Option<AskedDelivery>,
    /// What.
    #[serde(default)]
    pub events_requested: Option<Vec<String>>,
    /// Words.
    #[serde(default)]
    pub description: Option<String>,
}

#[derive(Clone, Deserialize)]
struct AskedDelivery {
    method: String,
    #[serde(default)]
    endpoint_url: Option<String>,
    #[serde(default)]
    authorization_header: Option<String>,
}

impl StreamRequest {
    /// How it is delivered, with the value of the `Authorization` header we send.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn delivery(&self) -> Result<Option<(Delivery, Option<String>)>, StreamError> {
        let Some(asked) = &self.delivery else {
            return Ok(None);
        };
        match asked.method.as_str() {
            POLL if asked.authorization_header.is_some() => Err(StreamError::PollAuthorization),
            // The place of a poll is ours to give.
            POLL => Ok(Some((Delivery::Poll, None))),
            PUSH => {
                let place = Place {
                    url: asked.endpoint_url.clone().ok_or(StreamError::NoEndpoint)?,
                    allow_addresses: Vec::new(),
                    danger_plaintext: false,
                };
                Ok(Some((Delivery::Push(place), asked.authorization_header.clone())))
            }
            _ => Err(StreamError::Method),
        }
    }

    /// What is asked for; everything there is when nothing is said.
    #[must_use]
    pub fn wanted(&self) -> Vec<String> {
        self.events_requested.clone().unwrap_or_else(supported)
    }
}

fn supported() -> Vec<String> {
    EventKind::REQUESTED
        .iter()
        .map(|kind| kind.uri().to_owned())
        .collect()
}

/// The configuration of `stream` as its receiver reads it. `base` is `{issuer}/ssf`.
#[must_use]
pub fn configuration(stream: &Subscription, issuer: &str) -> Value {
    let delivery = match &stream.delivery {
        Delivery::Push(place) | Delivery::Webhook(place) => {
            json!({"method": PUSH, "endpoint_url": place.url})
        }
        Delivery::Poll => json!({"method": POLL, "endpoint_url": format!("{issuer}/ssf/poll/{}", stream.id)}),
    };
    let delivered: Vec<&str> = stream.events.iter().map(|kind| kind.uri()).collect();
    let audience = stream.receiver.as_ref().map(ToString::to_string);
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| {
        members.insert(name.to_owned(), value);
    };
    put("stream_id", json!(stream.id.to_string()));
    put("iss", json!(issuer));
    put("aud", json!(audience));
    put("events_supported", json!(supported()));
    put("events_requested", json!(stream.asked));
    put("events_delivered", json!(delivered));
    put("delivery", delivery);
    put("min_verification_interval", json!(VERIFICATION_MIN));
    if let Some(description) = &stream.description {
        put("description", json!(description));
    }
    Value::Object(members)
}

/// `/.well-known/ssf-configuration/t/{tenant}`.
#[must_use]
pub fn metadata(issuer: &str) -> Value {
    let at = |rest: &str| format!("{issuer}/ssf/{rest}");
    json!({
        "spec_version": "1_0",
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/jwks"),
        "delivery_methods_supported": [PUSH, POLL],
        "configuration_endpoint": at("stream"),
        "status_endpoint": at("status"),
        "add_subject_endpoint": at("subjects/add"),
        "remove_subject_endpoint": at("subjects/remove"),
        "verification_endpoint": at("verify"),
        "authorization_schemes": [{"spec_urn": "urn:ietf:rfc:6749"}],
        "default_subjects": "ALL",
    })
}

/// A subject as it is kept: canonical, and only if it has a format.
#[must_use]
pub fn subject(value: &Value) -> Option<String> {
    value.get("format").and_then(Value::as_str)?;
    let bytes = bailiwick_base::canonical::to_vec(value).ok()?;
    String::from_utf8(bytes).ok()
}
