//! Tenants.

use serde::{Deserialize, Serialize};

/// `POST /v1/tenants`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// Slug `[a-z0-9-]{2,40}`, immutable, never reused.
    pub tenant: String,
    /// Name for people.
    pub name: String,
    /// Employees.
    pub employees: u32,
    /// `RS256` (default), `ES256` or `EdDSA`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Slug.
    pub tenant: String,
    /// Name for people.
    pub name: String,
    /// Employees.
    pub employees: u32,
    /// Signing algorithm of its issuer.
    pub algorithm: String,
    /// Issuer identifier.
    pub issuer: String,
    /// `active` or `closed`.
    pub state: String,
    /// What holds now, stops and times taken into account: `active`, `closed`, `killed`, `suspended`.
    #[serde(default)]
    pub effective: String,
    /// The mark that stops it, such as `kill of agent report-writer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<String>,
    /// When it was added.
    pub created_at: String,
}
