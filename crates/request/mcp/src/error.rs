//! What can be wrong with an upstream server, in words that may be shown to the caller.

/// An upstream server could not be used. Never carries a secret, nor text of the server itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// Too many calls wait for it.
    #[error("the upstream server has no room for another call: try again later")]
    Busy,
    /// The connection broke before the answer was whole.
    #[error("the upstream server closed the connection before it answered")]
    Closed,
    /// Its own credential is missing, revoked or not to be opened.
    #[error(
        "the credential for the upstream server is not available: give it again with `bailiwick server add`"
    )]
    CredentialMissing,
    /// Its answer carried the credential it was opened with.
    #[error("the answer of the upstream server was withheld because it contains a credential")]
    CredentialReturned,
    /// Its process ended.
    #[error("the program of the upstream server ended: {0}")]
    Exited(String),
    /// Its address may not be connected to.
    #[error("the upstream server may not be reached: {0}")]
    Guarded(String),
    /// Its answer is not MCP.
    #[error("the upstream server gave an answer that is not MCP: {0}")]
    NotMcp(&'static str),
    /// Its answer was not complete within the time a call may take.
    #[error("the upstream server did not finish its answer within {0} s: the call was cancelled")]
    Overdue(u64),
    /// It answered with a redirect.
    #[error("the upstream server answered with a redirect: add it under its final URL")]
    Redirected,
    /// It refused the credential it is opened with.
    #[error("the upstream server refused our credential (HTTP {0}): give a new one")]
    Refused(u16),
    /// It does not know the session any more.
    #[error("the upstream server ended the session")]
    SessionLost,
    /// It did not answer in time.
    #[error("the upstream server did not answer in time")]
    TimedOut,
    /// Its answer is longer than the limit.
    #[error("the answer of the upstream server is longer than {0} bytes")]
    TooLong(usize),
    /// It cannot be connected to.
    #[error("the upstream server cannot be reached: {0}")]
    Unreachable(String),
    /// It speaks no revision that we speak.
    #[error("the upstream server speaks no supported protocol revision")]
    Unsupported,
}

impl UpstreamError {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Busy => "upstream.busy",
            Self::Closed => "upstream.closed",
            Self::CredentialMissing => "upstream.credential-missing",
            Self::CredentialReturned => "upstream.credential-returned",
            Self::Exited(_) => "upstream.exited",
            Self::Guarded(_) => "upstream.guarded",
            Self::NotMcp(_) => "upstream.not-mcp",
            Self::Overdue(_) => "upstream.overdue",
            Self::Redirected => "upstream.redirected",
            Self::Refused(_) => "upstream.refused",
            Self::SessionLost => "upstream.session-lost",
            Self::TimedOut => "upstream.timed-out",
            Self::TooLong(_) => "upstream.too-long",
            Self::Unreachable(_) => "upstream.unreachable",
            Self::Unsupported => "upstream.unsupported",
        }
    }
}
