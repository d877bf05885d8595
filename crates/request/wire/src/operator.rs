//! Operators.

use serde::{Deserialize, Serialize};

/// `POST /claim` on the data folder's socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimRequest {
    /// Name of the operator.
    pub name: String,
    /// Ed25519 public key, base64url without padding.
    pub public_key: String,
}

/// An operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Registered.
    pub created_at: String,
    /// Base URL of the installation, the audience of operator sessions.
    pub base: String,
}
