//! How far the rules of this room may be stretched; one configuration section.

use std::time::Duration;

/// Limits of this room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The longest life of an identity, from the moment it is registered or extended. Default 366 days.
    pub lifetime_max: Duration,
    /// Tools of one upstream server. Default 1,000.
    pub tools_max: usize,
    /// Bytes of one tool definition in canonical form. Default 64 KiB.
    pub definition_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lifetime_max: Duration::from_secs(366 * 86_400),
            tools_max: 1_000,
            definition_max: 64 * 1024,
        }
    }
}
