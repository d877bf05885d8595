//! What is known of those who are told and of those who tell.

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_base::{IdentityId, SubscriptionId, Time, TransmitterId};

/// What can be told. Variants are those of CAEP 1.0 and SSF 1.0 that exist here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// A credential was made, changed or taken back.
    CredentialChange,
    /// An identity is trusted more or less than before.
    RiskLevelChange,
    /// Tokens are dead.
    SessionRevoked,
    /// The stream itself changed its status.
    StreamUpdated,
    /// Tokens say something else from now on.
    TokenClaimsChange,
    /// An answer to a receiver that asked for one.
    Verification,
}

impl EventKind {
    /// What a receiver can ask for; the others belong to every stream.
    pub const REQUESTED: [Self; 4] = [
        Self::CredentialChange,
        Self::RiskLevelChange,
        Self::SessionRevoked,
        Self::TokenClaimsChange,
    ];

    /// The event type (CAEP 1.0 §3, SSF 1.0 §8.1).
    #[must_use]
    pub const fn uri(self) -> &'static str {
        match self {
            Self::CredentialChange => "https://schemas.openid.net/secevent/caep/event-type/credential-change",
            Self::RiskLevelChange => "https://schemas.openid.net/secevent/caep/event-type/risk-level-change",
            Self::SessionRevoked => "https://schemas.openid.net/secevent/caep/event-type/session-revoked",
            Self::StreamUpdated => "https://schemas.openid.net/secevent/ssf/event-type/stream-updated",
            Self::TokenClaimsChange => {
                "https://schemas.openid.net/secevent/caep/event-type/token-claims-change"
            }
            Self::Verification => "https://schemas.openid.net/secevent/ssf/event-type/verification",
        }
    }

    /// The last part of the URI: the type in webhooks, in rows and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CredentialChange => "credential-change",
            Self::RiskLevelChange => "risk-level-change",
            Self::SessionRevoked => "session-revoked",
            Self::StreamUpdated => "stream-updated",
            Self::TokenClaimsChange => "token-claims-change",
            Self::Verification => "verification",
        }
    }

    /// A kind that can be asked for, by its URI or its last part.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::REQUESTED
            .into_iter()
            .find(|kind| kind.uri() == text || kind.as_str() == text)
    }
}

/// A place that messages are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// URL.
    pub url: String,
    /// Address ranges beyond the public ones; an operator's word.
    pub allow_addresses: Vec<String>,
    /// Plain HTTP; an operator's word.
    pub danger_plaintext: bool,
}

/// How somebody is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The receiver asks (RFC 8936).
    Poll,
    /// We send (RFC 8935).
    Push(Place),
    /// We send, as Standard Webhooks says.
    Webhook(Place),
}

impl Delivery {
    /// Its word in rows.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Push(_) => "push",
            Self::Webhook(_) => "webhook",
        }
    }

    /// Where we send to.
    #[must_use]
    pub const fn place(&self) -> Option<&Place> {
        match self {
            Self::Poll => None,
            Self::Push(place) | Self::Webhook(place) => Some(place),
        }
    }
}

/// Whether somebody is told (SSF 1.0 §8.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Nothing is told and nothing is kept for later.
    Disabled,
    /// What happens is told.
    Enabled,
    /// What happens is told later.
    Paused,
}

impl Status {
    /// As SSF writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Enabled => "enabled",
            Self::Paused => "paused",
        }
    }

    /// Reads it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Disabled, Self::Enabled, Self::Paused]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// Somebody who is told: the receiver of a stream, or a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Id; the stream id of SSF.
    pub id: SubscriptionId,
    /// Whose stream it is; a webhook is the tenant's own.
    pub receiver: Option<IdentityId>,
    /// How.
    pub delivery: Delivery,
    /// What is told.
    pub events: BTreeSet<EventKind>,
    /// What was asked for, known here or not (`events_requested`).
    pub asked: Vec<String>,
    /// The receiver's own words about it.
    pub description: Option<String>,
    /// Subjects that are not told about, in canonical JSON.
    pub left_out: BTreeSet<String>,
    /// Whether anything is told.
    pub status: Status,
    /// Why it is not enabled.
    pub status_reason: Option<String>,
    /// Since when its secret is the one that is sealed beside it.
    pub secret_since: Option<Time>,
    /// Made.
    pub created_at: Time,
    /// Last changed.
    pub changed_at: Time,
    /// Ended.
    pub removed_at: Option<Time>,
}

/// Where the keys of a transmitter are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// A JWK Set, as text.
    Given(String),
    /// The URL of one.
    Url(String),
}

/// An issuer of others that tells us what happens there. It speaks for one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmitter {
    /// Id.
    pub id: TransmitterId,
    /// `iss` of its tokens.
    pub issuer: String,
    /// Its keys.
    pub keys: Keys,
    /// Address ranges beyond the public ones where its keys may be fetched.
    pub allow_addresses: Vec<String>,
    /// Fetch its keys over plain HTTP.
    pub danger_plaintext: bool,
    /// Its subjects (`sub`), each with the contact of the owner that person is.
    pub people: BTreeMap<String, String>,
    /// Added.
    pub created_at: Time,
    /// Ended.
    pub removed_at: Option<Time>,
}
