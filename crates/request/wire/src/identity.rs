//! Identities.

use serde::{Deserialize, Serialize};

/// Who answers for an identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// Team or person.
    pub team: String,
    /// Where to reach them.
    pub contact: String,
}

/// Labels.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// Logical agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
}

/// `POST /v1/tenants/{tenant}/identities`. Owner, purpose and expiry are required; they are optional in this
/// type only so that their absence gets our own message and code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewIdentity {
    /// Name, unique among the living of the tenant.
    pub name: String,
    /// Kind, e.g. `agent`, `service-account`.
    pub kind: String,
    /// Owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// Purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// Expiry, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Platform it lives on; `bailiwick` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Labels.
    #[serde(default)]
    pub labels: Labels,
}

/// An identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Id.
    pub id: String,
    /// Tenant.
    pub tenant: String,
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: String,
    /// `probation`, `active`, `suspended`, `retired`.
    pub state: String,
    /// What holds now, stops and times taken into account: the state, or `expired`, `killed`.
    #[serde(default)]
    pub effective: String,
    /// The mark that stops it, such as `kill of agent report-writer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<String>,
    /// Why it is suspended or retired, or back in probation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_reason: Option<String>,
    /// `registered` or `shadow`.
    pub origin: String,
    /// Platform.
    pub platform: String,
    /// Owner.
    pub owner: Owner,
    /// Application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// Purpose.
    pub purpose: String,
    /// Labels.
    pub labels: Labels,
    /// What it is made of, where that is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub composition: Option<Composed>,
    /// Made.
    pub created_at: String,
    /// Ends by itself.
    pub expires_at: String,
    /// State last changed.
    pub changed_at: String,
}

/// `POST /v1/tenants/{tenant}/identities/{id}/activate`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The digest of the composition that was looked at; with another one nothing is activated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub composition: Option<String>,
}

/// `POST /v1/tenants/{tenant}/identities/{id}/{suspend|resume|retire}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateChange {
    /// Why; required for suspend and retire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `PUT /v1/tenants/{tenant}/identities/{id}/composition`: SHA-256 of each part as base64url without padding, at
/// least one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Composition {
    /// Of the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Of the name and version of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Of the system prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Of the tool manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<String>,
}

/// What an identity is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Composed {
    /// One value for all parts, as tokens carry it.
    pub digest: String,
    /// The parts.
    pub parts: Composition,
    /// Declared.
    pub since: String,
    /// What was declared before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Composition>,
}
