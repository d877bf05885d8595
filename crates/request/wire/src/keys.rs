//! Signing keys of a tenant.

use serde::{Deserialize, Serialize};

/// `POST /v1/tenants/{tenant}/keys/rotate`: the next key signs from now on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// The key that signs is compromised: everything it signed dies, and the next one signs however young it is.
    #[serde(default)]
    pub now: bool,
    /// Why; required with `now`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The signing keys of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStatus {
    /// The one that signs, the next one, those that are published for what they signed, those withdrawn.
    pub items: Vec<SigningKey>,
    /// When the next one signs, if nobody rotates before.
    pub next_rotation_at: Option<String>,
    /// From when on the next one may sign.
    pub rotation_possible_at: Option<String>,
    /// When the key that signs began to.
    pub last_rotation: Option<KeyRotation>,
}

/// One signing key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// Key id: the RFC 7638 thumbprint.
    pub kid: String,
    /// Algorithm.
    pub algorithm: String,
    /// Who holds the private key: `file`, `pkcs11`, `aws-kms`.
    pub holder: String,
    /// `active`, `next`, `retired`, `removed`.
    pub state: String,
    /// Made and published.
    pub created_at: String,
    /// Signs from here on.
    pub active_from: Option<String>,
    /// Signs no more.
    pub retired_at: Option<String>,
    /// Until when a retired key is published.
    pub published_until: Option<String>,
    /// Published no more.
    pub removed_at: Option<String>,
    /// Withdrawn as compromised.
    pub compromised: bool,
}

/// The last rotation of a tenant's signing key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRotation {
    /// When.
    pub at: String,
    /// Index of its entry in the state log.
    pub entry: u64,
}
