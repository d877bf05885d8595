//! Who is told what happens, and who tells us.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `POST /v1/tenants/{tenant}/webhooks` (Standard Webhooks 1.0).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Where messages go.
    pub url: String,
    /// What is told: `credential-change`, `risk-level-change`, `session-revoked`, `token-claims-change`; all of them
    /// when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Address ranges beyond the public ones that it may be in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// Send over plain HTTP.
    #[serde(default)]
    pub danger_plaintext: bool,
}

/// A webhook with its secret, which is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSecret {
    /// Id.
    pub id: String,
    /// `whsec_…`.
    pub secret: String,
    /// Until when the secret before it signs too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_until: Option<String>,
}

/// `POST …/webhooks/{id}/rotate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateWebhook {
    /// Seconds for which the secret before signs too.
    pub overlap_secs: u64,
}

/// A stream or webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Id; the stream id of SSF.
    pub id: String,
    /// `poll`, `push` or `webhook`.
    pub delivery: String,
    /// Whose stream it is.
    pub receiver: Option<String>,
    /// What the receiver is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiver_name: Option<String>,
    /// Where it is sent to.
    pub url: Option<String>,
    /// What is told.
    pub events: Vec<String>,
    /// What it is for.
    pub description: Option<String>,
    /// `enabled`, `paused` or `disabled`.
    pub status: String,
    /// Why it is not enabled.
    pub status_reason: Option<String>,
    /// Everything before this entry of the state log was told.
    pub position: u64,
    /// Failures in a row.
    pub attempts: u64,
    /// Since when nothing was taken.
    pub failing_since: Option<String>,
    /// What went wrong last.
    pub trouble: Option<String>,
    /// Made.
    pub created_at: String,
}

/// `POST …/subscriptions/{id}/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetStatus {
    /// `enabled`, `paused` or `disabled`.
    pub status: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST …/subscriptions/{id}/remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveSubscription {
    /// Why.
    pub reason: String,
}

/// `POST /v1/tenants/{tenant}/transmitters`: an issuer of others that tells us what happens there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTransmitter {
    /// `iss`.
    pub issuer: String,
    /// Where its keys are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// Its keys themselves (JWK Set).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// Address ranges beyond the public ones where its keys may be fetched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// Fetch its keys over plain HTTP.
    #[serde(default)]
    pub danger_plaintext: bool,
    /// Its subjects (`sub`), each with the contact of the owner that person is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub people: BTreeMap<String, String>,
}

/// A transmitter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transmitter {
    /// Id.
    pub id: String,
    /// `iss`.
    pub issuer: String,
    /// Where its keys are: the URL, or `given` with the digest of the set.
    pub keys: String,
    /// `aud` of what it sends here.
    pub audience: String,
    /// Where it sends it to.
    pub endpoint: String,
    /// How many of its subjects are known as owners.
    pub people: usize,
    /// Added.
    pub created_at: String,
}

/// `POST …/transmitters/{id}/remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveTransmitter {
    /// Why.
    pub reason: String,
}
