//! The gateway's own section of the configuration: limits and names, nothing that is governed.

use std::collections::BTreeSet;
use std::time::Duration;

use bailiwick_base::limits;

/// Static facts of this gateway. [`GatewayConfig::new`] gives defaults; the fields may be changed before use.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Public base URL, without a slash at the end: `https://host`.
    pub base_url: String,
    /// `host` or `host:port` values that a `Host` header may have, in lower case.
    pub hosts: BTreeSet<String>,
    /// `Origin` values that are let in, in lower case.
    pub origins: BTreeSet<String>,
    /// Bytes of a call.
    pub body_max: usize,
    /// Bytes of an answer, and of one event of a stream.
    pub reply_max: usize,
    /// How long a connection to an upstream server may take.
    pub connect_timeout: Duration,
    /// How long an upstream server may be silent within one call.
    pub call_timeout: Duration,
    /// How long a call may take in all, whatever the upstream server sends meanwhile.
    pub call_max: Duration,
    /// How old the known tool list of a server may be when a tool is called or listed.
    pub catalog_ttl: Duration,
    /// Upper bound of `ttlMs` on what callers may cache.
    pub answer_ttl_max: Duration,
    /// How long a question to the caller (MRTR) may stay open.
    pub round_ttl: Duration,
    /// How long a session without a call lives.
    pub session_idle: Duration,
    /// Sessions at once.
    pub sessions_max: usize,
    /// Sessions of one identity at once.
    pub sessions_per_identity_max: usize,
    /// Silence after which a comment keeps an open stream alive.
    pub keep_alive: Duration,
    /// Calls in flight at one standard-stream server.
    pub calls_per_program_max: usize,
}

/// A setting of the gateway that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The base URL is not one.
    #[error("base_url `{0}` is not of the form `https://host[:port]` or `http://host[:port]` without a path")]
    BaseUrl(String),
}

impl GatewayConfig {
    /// Defaults for a gateway that is reached under `base_url`; that host and origin are let in.
    ///
    /// # Errors
    /// [`ConfigError::BaseUrl`] when `base_url` has another form than `scheme://authority`.
    pub fn new(base_url: &str) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::BaseUrl(limits::shown(base_url));
        let uri: http::Uri = base_url.parse().map_err(|_| wrong())?;
        let scheme = uri
            .scheme_str()
            .filter(|s| matches!(*s, "http" | "https"))
            .ok_or_else(wrong)?;
        let authority = uri.authority().ok_or_else(wrong)?.as_str().to_ascii_lowercase();
        let bare = format!("{scheme}://{authority}");
        if !base_url.eq_ignore_ascii_case(&bare) || authority.contains('@') {
            return Err(wrong());
        }
        let mut config = Self::with_defaults(base_url.to_owned());
        config.let_in(scheme, &authority);
        Ok(config)
    }

    /// Lets in one more authority (`host` or `host:port`), with its origin under `scheme`. `server` calls this
    /// for the loopback names of the port it listens on.
    pub fn let_in(&mut self, scheme: &str, authority: &str) {
        let authority = authority.to_ascii_lowercase();
        self.origins.insert(format!("{scheme}://{authority}"));
        self.hosts.insert(authority);
    }

    /// Lets in `127.0.0.1`, `[::1]` and `localhost` at `port`, over plain HTTP.
    pub fn let_in_loopback(&mut self, port: u16) {
        for host in ["127.0.0.1", "[::1]", "localhost"] {
            self.let_in("http", &format!("{host}:{port}"));
        }
    }

    fn with_defaults(base_url: String) -> Self {
        Self {
            base_url,
            hosts: BTreeSet::new(),
            origins: BTreeSet::new(),
            body_max: limits::BODY_MAX,
            reply_max: limits::REPLY_MAX,
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(300),
            call_max: Duration::from_secs(3_600),
            catalog_ttl: Duration::from_secs(5),
            answer_ttl_max: Duration::from_secs(5),
            round_ttl: Duration::from_secs(120),
            session_idle: Duration::from_secs(1_800),
            sessions_max: 100_000,
            sessions_per_identity_max: 1_024,
            keep_alive: Duration::from_secs(15),
            calls_per_program_max: 256,
        }
    }
}
