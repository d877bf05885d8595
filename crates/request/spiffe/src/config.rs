//! Where the socket is, and what the SPIFFE IDs begin with.

use std::path::PathBuf;

use bailiwick_base::limits::shown;
use serde::{Deserialize, Serialize};

/// Bytes of a trust domain (SPIFFE ID §2.1).
const DOMAIN_MAX: usize = 255;

/// `[spiffe]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpiffeConfig {
    /// Socket of the workload API, in a folder that workloads may enter; none when absent.
    pub socket: Option<PathBuf>,
    /// Trust domain of the SPIFFE IDs; the host of the base URL when empty.
    pub trust_domain: String,
}

/// The configuration is not usable.
#[derive(Debug, thiserror::Error)]
#[error("config key `spiffe.trust_domain`: `{}` is not at most {DOMAIN_MAX} of a-z, 0-9, `.`, `_` and `-`", shown(.0))]
pub struct SpiffeConfigError(String);

impl SpiffeConfig {
    /// # Errors
    /// [`SpiffeConfigError`]
    pub fn validate(&self) -> Result<(), SpiffeConfigError> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        if self.trust_domain.len() <= DOMAIN_MAX && self.trust_domain.bytes().all(fits) {
            return Ok(());
        }
        Err(SpiffeConfigError(self.trust_domain.clone()))
    }

    /// The trust domain of an installation that is reached at `base_url`.
    #[must_use]
    pub fn trust_domain_at(&self, base_url: &str) -> String {
        if !self.trust_domain.is_empty() {
            return self.trust_domain.clone();
        }
        let host = base_url.split_once("://").map_or(base_url, |(_, host)| host);
        let end = host.find([':', '/']).unwrap_or(host.len());
        host.get(..end).unwrap_or_default().to_ascii_lowercase()
    }
}
