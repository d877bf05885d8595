//! How far the rules of this room may be stretched; one configuration section.

use std::time::Duration;

/// Identities that may act for the holder of one task.
pub const MAY_ACT_MAX: usize = 16;

/// Limits of this room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The longest life of an access token, and the one it gets when none is asked for. Default 300 s.
    pub token_ttl_max: Duration,
    /// The longest act chain that an exchange makes, the new actor included. Default 4, which is also the most.
    pub exchange_depth_max: usize,
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
            exchange_depth_max: bailiwick_base::limits::ACT_DEPTH_MAX,
            task_window_max: Duration::from_secs(7 * 86_400),
            client_lifetime_max: Duration::from_secs(366 * 86_400),
            upstream_lifetime_max: Duration::from_secs(366 * 86_400),
        }
    }
}
