//! Clients without a key, and what operators agreed to.

use serde::{Deserialize, Serialize};

/// `POST /v1/tenants/{tenant}/public-clients`: either redirect URIs, or where documents may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPublicClient {
    /// What people call it.
    pub name: String,
    /// Where its browser may be sent back to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redirects: Vec<String>,
    /// The URL of its document; ending in `/`, all below it; `https://*`, every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<String>,
    /// Address ranges beyond the public ones where documents may be fetched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// Fetch documents over plain HTTP.
    #[serde(default)]
    pub danger_plaintext: bool,
    /// Expiry, RFC 3339; as late as allowed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A client without a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicClient {
    /// `client_id` where it was registered with redirect URIs; the name of the rule otherwise.
    pub client_id: String,
    /// What people call it.
    pub name: String,
    /// Where its browser may be sent back to.
    pub redirects: Vec<String>,
    /// Where its document, or those of many clients, may be.
    pub documents: Option<String>,
    /// Added.
    pub created_at: String,
    /// Ends.
    pub expires_at: String,
}

/// `POST …/public-clients/{id}/remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemovePublicClient {
    /// Why.
    pub reason: String,
}

/// A client whose browser waits for an operator. The code that its browser shows is not told: it is typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingConsent {
    /// `client_id`.
    pub client_id: String,
    /// What it calls itself, or an operator calls it.
    pub client_name: String,
    /// Host its browser goes back to.
    pub redirect_host: String,
    /// Where exactly.
    pub redirect_uri: String,
    /// What it asks for; everything that the task grants when empty.
    pub scope: String,
    /// Resources it named.
    pub resource: Vec<String>,
    /// Since when.
    pub began_at: String,
    /// Until when.
    pub expires_at: String,
}

/// `POST …/consents/waiting/{code}/allow`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowConsent {
    /// The open task whose tokens the client gets.
    pub task: String,
}

/// `POST …/consents/waiting/{code}/refuse`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefuseConsent {
    /// Why.
    pub reason: String,
}

/// What an operator agreed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// Id.
    pub id: String,
    /// What all its tokens stand on: `kill token` with it ends the consent.
    pub token: String,
    /// `client_id`.
    pub client_id: String,
    /// Host its browser went back to.
    pub redirect_host: String,
    /// Task.
    pub task: String,
    /// Identity.
    pub identity: String,
    /// Its name, for people; absent when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_name: Option<String>,
    /// What its tokens may carry.
    pub scope: String,
    /// Who agreed.
    pub given_by: String,
    /// When.
    pub created_at: String,
    /// Ends.
    pub expires_at: String,
    /// `given`, `used` or `ended`.
    pub state: String,
}

/// Answer of `…/allow`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedConsent {
    /// It.
    pub consent: Consent,
    /// What has to be typed into the page on which the code was read, and nowhere else.
    pub word: String,
}

/// `GET …/consents`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consents {
    /// Whose browser waits.
    pub waiting: Vec<WaitingConsent>,
    /// What was agreed to.
    pub items: Vec<Consent>,
}
