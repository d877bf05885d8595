//! Sidecars: enforcement points elsewhere that decide by a signed snapshot (ADR 0046).

use serde::{Deserialize, Serialize};

/// `POST /v1/sidecars`: gives a name a place for ten minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InviteSidecar {
    /// Name of the new sidecar; no node has it.
    pub sidecar: String,
    /// Tenants whose calls it may decide: it gets the facts of these and of nobody else.
    pub tenants: Vec<String>,
}

/// What the new sidecar joins with, once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarInvitation {
    /// Name of the new sidecar.
    pub sidecar: String,
    /// Single-use token; a secret.
    pub token: String,
    /// When it ends.
    pub expires_at: String,
}

/// `POST /v1/sidecars/join`, by the new sidecar.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinSidecar {
    /// Name it was invited under.
    pub sidecar: String,
    /// The token.
    pub token: String,
    /// Ed25519 public key that it signs its words with, base64url.
    pub key: String,
    /// Verifier key of its decision log (C2SP signed-note form).
    pub vkey: String,
}

/// What a new sidecar needs to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedSidecar {
    /// Name.
    pub sidecar: String,
    /// Base URL of the installation, the same on every node.
    pub base_url: String,
    /// Tenants whose calls it may decide.
    pub tenants: Vec<String>,
    /// Ed25519 public key, base64url, that every node signs snapshots with.
    pub snapshot_key: String,
    /// Age of its word at which it refuses everything, milliseconds.
    pub refuse_ms: u64,
    /// Age of its word at which it warns, milliseconds.
    pub warn_ms: u64,
}

/// A sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sidecar {
    /// Name.
    pub sidecar: String,
    /// Tenants whose calls it may decide.
    pub tenants: Vec<String>,
    /// `invited`, `live`, `silent`, `left` or `removed`.
    pub standing: String,
    /// The epoch that its memory held at its last word.
    pub epoch: u64,
    /// The position of the state log that its memory held then.
    pub position: u64,
    /// The number of its last word.
    pub beat: u64,
    /// The node at which it hears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// When it was last heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<String>,
    /// Verifier key of its decision log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vkey: Option<String>,
    /// Entries of its decision log that are anchored in the state log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_size: Option<u64>,
}

/// `POST /v1/sidecars/{sidecar}/remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveSidecar {
    /// Why; recorded.
    pub reason: String,
}

/// `POST /v1/sidecars/{sidecar}/word`: what a sidecar holds now, and the question after what is new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SidecarWord {
    /// Rises with every word.
    pub beat: u64,
    /// Drawn by each process at its start: two with one key are told apart.
    pub process: String,
    /// The epoch that its memory holds.
    pub epoch: u64,
    /// The position of the state log that its memory holds.
    pub position: u64,
    /// The signed checkpoint of its decision log as last published (C2SP signed note).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// How long the answer may wait for something new, milliseconds; a third of the refuse bound at most.
    pub wait_ms: u64,
    /// It decides nothing any more.
    pub leaves: bool,
}

/// The answer to a word: what a sidecar holds is current, together with the snapshot, if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarTold {
    /// The epoch of the installation.
    pub epoch: u64,
    /// The position of the state log up to which nothing else concerns it.
    pub position: u64,
    /// What is new; absent where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SidecarSnapshot>,
    /// Ed25519 by the key of snapshots over name, beat, epoch, position and the digest of the body; base64url. Whoever
    /// stands between cannot say that nothing is new.
    pub signature: String,
}

/// Everything that the decisions of a sidecar are made from, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarSnapshot {
    /// Canonical JSON text.
    pub body: String,
    /// Ed25519 over `bailiwick-snapshot`, a zero byte and the body; base64url.
    pub signature: String,
}
