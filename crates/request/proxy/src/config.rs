//! Limits of the proxy.

use std::time::Duration;

/// Limits of the proxy.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// Connections of agents at once.
    pub connections_max: usize,
    /// The longest head of a request or an answer, bytes.
    pub head_max: usize,
    /// For each head of a request, and for a TLS handshake.
    pub head_timeout: Duration,
    /// For a connection to a destination, TLS included.
    pub connect_timeout: Duration,
    /// For the head of an answer once the request was sent, for silence within a body on either side, and for an agent
    /// that takes nothing of what it is answered.
    pub silence_max: Duration,
    /// For a call in all.
    pub call_max: Duration,
    /// The longest body of a request, bytes.
    pub body_max: u64,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            connections_max: 1_024,
            head_max: 64 * 1024,
            head_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            silence_max: Duration::from_secs(60),
            call_max: Duration::from_secs(3_600),
            body_max: 64 << 20,
        }
    }
}
