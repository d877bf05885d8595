//! Standard Webhooks 1.0: what is sent, and how it is signed.

use aws_lc_rs::hmac;
use bailiwick_base::{SubscriptionId, Time};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use crate::caep::Signal;
use crate::set::jti;

/// Bytes of a secret that is made here.
const SECRET_LEN: usize = 32;
/// Bytes of a secret (Standard Webhooks, "symmetric").
const SECRET_BOUNDS: std::ops::RangeInclusive<usize> = 24..=64;

/// The secrets of a webhook as they are sealed: base64, the former one while both are used.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// In use.
    pub present: String,
    /// In use before; it signs too until its time is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<String>,
    /// Microseconds since 1970.
    #[serde(default)]
    pub former_until: i64,
}

/// The secrets cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret of the webhook is not usable")]
pub struct WebhookError;

impl Secrets {
    /// The first secret, from random bytes.
    #[must_use]
    pub fn first(bytes: &[u8; SECRET_LEN]) -> Self {
        Self {
            present: STANDARD.encode(bytes),
            former: None,
            former_until: 0,
        }
    }

    /// The next one; the present one stays in use beside it until `until`.
    #[must_use]
    pub fn next(self, bytes: &[u8; SECRET_LEN], until: Time) -> Self {
        Self {
            present: STANDARD.encode(bytes),
            former: Some(self.present),
            former_until: until.micros(),
        }
    }

    /// `v1,…` of each secret in use, with a space between.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub fn sign(&self, id: &str, at: Time, body: &str, now: Time) -> Result<String, WebhookError> {
        let former = self
            .former
            .as_deref()
            .filter(|_| now.micros() < self.former_until);
        let mut signatures = Vec::new();
        for secret in [Some(self.present.as_str()), former].into_iter().flatten() {
            let key = STANDARD.decode(secret).map_err(|_| WebhookError)?;
            if !SECRET_BOUNDS.contains(&key.len()) {
                return Err(WebhookError);
            }
            let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
            let message = format!("{id}.{}.{body}", at.secs());
            let tag = hmac::sign(&key, message.as_bytes());
            signatures.push(format!("v1,{}", STANDARD.encode(tag)));
        }
        Ok(signatures.join(" "))
    }
}

/// The secret as it is shown, once.
#[must_use]
pub fn secret_text(secrets: &Secrets) -> String {
    format!("whsec_{}", secrets.present)
}

/// Id and body of the message about a signal.
#[must_use]
pub fn message(signal: &Signal, subscription: &SubscriptionId, issuer: &str) -> (String, String) {
    let id = jti(subscription, signal.index, signal.part);
    let mut data = Map::new();
    data.insert("issuer".to_owned(), json!(issuer));
    data.insert("subject".to_owned(), signal.subject.clone());
    data.insert("entry".to_owned(), json!(signal.index));
    data.extend(signal.event.clone());
    let body = json!({
        "type": signal.kind.as_str(),
        "timestamp": signal.at.to_string(),
        "data": data,
    });
    (id, body.to_string())
}
