//! How far the rules of this room may be stretched; one configuration section.

use std::time::Duration;

/// Limits of this room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The longest life of an access token, and the one it gets when none is asked for. Default 300 s.
    pub token_ttl_max: Duration,
    /// The longest window of a task. Default 7 days.
    pub task_window_max: Duration,
    /// The longest life of an OAuth client's key. Default 366 days.
    pub client_lifetime_max: Duration,
    /// The longest life of an upstream credential before it has to be replaced. Default 366 days.
    pub upstream_lifetime_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            token_ttl_max: Duration::from_secs(300),
            task_window_max: Duration::from_secs(7 * 86_400),
            client_lifetime_max: Duration::from_secs(366 * 86_400),
            upstream_lifetime_max: Duration::from_secs(366 * 86_400),
        }
    }
}
