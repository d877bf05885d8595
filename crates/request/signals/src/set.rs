//! Security Event Tokens (RFC 8417), as the CAEP interoperability profile wants them.

use bailiwick_base::{Sha256, SubscriptionId, Time};
use serde_json::{Map, Value, json};

use crate::caep::Signal;

/// Their `typ` (RFC 8417 §2.3).
pub const SECURITY_EVENT: &str = "secevent+jwt";

/// The name of a signal for one subscription: the same whenever it is worked out again.
#[must_use]
pub fn jti(subscription: &SubscriptionId, index: u64, part: u32) -> String {
    let mut sha = Sha256::new();
    sha.update_field(subscription.tenant().as_str().as_bytes());
    sha.update_field(subscription.to_string().as_bytes());
    sha.update_field(&index.to_be_bytes());
    sha.update_field(&part.to_be_bytes());
    sha.finish().to_base64url()
}

/// The claims of its SET, which is issued at `now` (`iat`) about what happened before (`toe`; RFC 8417 §2.2): a receiver
/// that asks how old a SET is takes also what waited for days.
#[must_use]
pub fn claims(
    signal: &Signal,
    subscription: &SubscriptionId,
    (issuer, audience): (&str, &str),
    now: Time,
) -> Vec<u8> {
    let mut events = Map::new();
    events.insert(signal.kind.uri().to_owned(), Value::Object(signal.event.clone()));
    let mut claims = json!({
        "iss": issuer,
        "aud": audience,
        "iat": now.secs(),
        "jti": jti(subscription, signal.index, signal.part),
        "sub_id": signal.subject,
        "toe": signal.at.secs(),
        "events": events,
    });
    if let (Some(txn), Some(members)) = (&signal.txn, claims.as_object_mut()) {
        members.insert("txn".to_owned(), json!(txn));
    }
    claims.to_string().into_bytes()
}
