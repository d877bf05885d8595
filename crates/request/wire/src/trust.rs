//! Trust rules.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `POST /v1/tenants/{tenant}/trusts`: which workload of which issuer is which identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTrust {
    /// Identity id or name.
    pub identity: String,
    /// Kind of issuer: `azure`, `gcp`, `generic-oidc`, `github`, `gitlab`, `id-jag`, `kubernetes`, `spiffe-jwt`,
    /// `unix-peer`.
    pub method: String,
    /// `iss`; that of the vendor when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Attributes that a workload has to have.
    pub attributes: BTreeMap<String, String>,
    /// Where its keys are, when its metadata does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// Its keys themselves (JWK Set), for an issuer that cannot be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// Address ranges beyond the public ones where its keys may be fetched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// Fetch its keys over plain HTTP.
    #[serde(default)]
    pub danger_plaintext: bool,
    /// Expiry, RFC 3339; the identity's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// `POST …/trusts/{id}/remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveTrust {
    /// Why.
    pub reason: String,
}

/// A trust rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// Id.
    pub id: String,
    /// Identity.
    pub identity: String,
    /// Its name, for people; absent when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_name: Option<String>,
    /// Kind of issuer.
    pub method: String,
    /// `iss`.
    pub issuer: String,
    /// Attributes.
    pub attributes: BTreeMap<String, String>,
    /// Where its keys are: `discovery`, the URL, or `given` with the digest of the set.
    pub keys: String,
    /// Address ranges beyond the public ones where its keys may be fetched.
    pub allow_addresses: Vec<String>,
    /// Whether its keys may come over plain HTTP.
    pub danger_plaintext: bool,
    /// Added.
    pub created_at: String,
    /// Ends.
    pub expires_at: String,
    /// What it leaves open.
    pub findings: Vec<TrustFinding>,
}

/// One thing that a rule leaves open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustFinding {
    /// Stable code.
    pub code: String,
    /// What, and what to do.
    pub text: String,
}
