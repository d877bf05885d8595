//! What the installation says about telling.

use bailiwick_outbound::GuardError;
use serde::{Deserialize, Serialize};

/// `[signals]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalConfig {
    /// Address ranges beyond the public ones that streams of receivers may push to.
    pub push_allow_addresses: Vec<String>,
    /// Streams of receivers may push over plain HTTP.
    pub danger_push_plaintext: bool,
    /// Hours after which a stream or webhook that takes nothing is disabled.
    pub give_up_hours: u64,
}

impl Default for SignalConfig {
    fn default() -> Self {
        Self {
            push_allow_addresses: Vec::new(),
            danger_push_plaintext: false,
            give_up_hours: 72,
        }
    }
}

/// `signals.push_allow_addresses` cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("signals.push_allow_addresses: {0}")]
pub struct SignalConfigError(#[from] GuardError);
