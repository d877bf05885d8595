//! Nodes of an installation.

use serde::{Deserialize, Serialize};

/// `POST /v1/nodes`: gives a name a place for ten minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InviteNode {
    /// Name of the new node.
    pub node: String,
}

/// What the new node joins with, once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInvitation {
    /// Name of the new node.
    pub node: String,
    /// Single-use token; a secret.
    pub token: String,
    /// When it ends.
    pub expires_at: String,
}

/// `POST /v1/nodes/join`, by the new node.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinNode {
    /// Name it was invited under.
    pub node: String,
    /// The token.
    pub token: String,
    /// X25519 public key of this joining, base64url.
    pub public: String,
}

/// What a new node needs to start.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedNode {
    /// Name.
    pub node: String,
    /// Base URL of the installation, the same on every node.
    pub base_url: String,
    /// Origin of the state log.
    pub state_origin: String,
    /// Keys, sealed to the public key and the token; base64url.
    pub sealed: String,
}

/// `POST /v1/nodes/{node}/drain`, `…/undrain`, `…/fence`, `…/readmit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandNode {
    /// Why; recorded.
    pub reason: String,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Name.
    pub node: String,
    /// `live`, `draining`, `left`, `fenced` or `invited`.
    pub standing: String,
    /// Whether it publishes the state log and looks after what is due.
    pub leads: bool,
    /// The epoch its memory held at its last word.
    pub epoch: u64,
    /// Words it gave since it began.
    pub beat: u64,
    /// The fence of its last start.
    pub fence: u64,
    /// When it last started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// Verifier key of its decision log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vkey: Option<String>,
}

/// One node's part in a stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEnd {
    /// Node.
    pub node: String,
    /// `acknowledged`, `lapsed` (its word is over) or `left`.
    pub end: String,
    /// When this node knew it, microseconds from the commit.
    pub after_us: u64,
    /// The node at which it hears, where it is a sidecar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}
