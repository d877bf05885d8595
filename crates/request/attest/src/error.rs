//! Why evidence is not taken. Of keys that cannot be had, only the code is for who sent it.

use bailiwick_base::CompactError;
use bailiwick_outbound::FetchError;

/// Why the keys of an issuer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// Its key set or metadata cannot be fetched.
    #[error("{what} cannot be fetched: {error}")]
    Fetch {
        /// Which of the two.
        what: &'static str,
        /// Why.
        error: FetchError,
    },
    /// Its key set is not one.
    #[error("its key set is not usable: {0}")]
    KeySet(&'static str),
    /// Its metadata is not usable.
    #[error("its metadata is not usable: {0}")]
    Metadata(&'static str),
}

impl KeysError {
    /// The stable code: that of the fetch, where one failed.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Fetch { error, .. } => error.code(),
            Self::KeySet(_) | Self::Metadata(_) => "attest.keys-unavailable",
        }
    }
}

/// Why evidence is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestError {
    /// Not for us, or not for us alone.
    #[error("evidence is for another audience: ask the platform for a token with `aud` {0} and no other")]
    Audience(String),
    /// A claim is missing or of another form.
    #[error("claim `{claim}` of the evidence is not usable: {rule}")]
    Claim {
        /// Which.
        claim: String,
        /// What would pass.
        rule: &'static str,
    },
    /// It has run out.
    #[error("evidence has expired: ask the platform for a new token")]
    Expired,
    /// No issuer that this tenant registered.
    #[error(
        "evidence is from an issuer that this tenant does not trust: register it with `bailiwick trust add`"
    )]
    Issuer,
    /// The issuer has no key of this name.
    #[error("evidence is signed with a key that its issuer does not publish")]
    KeyUnknown,
    /// The issuer's keys cannot be used now.
    #[error("keys of the issuer are not available: {0}")]
    Keys(#[from] KeysError),
    /// It lives longer than such tokens do.
    #[error("evidence has a longer lifetime than the {0} s accepted from this kind of issuer")]
    Lifetime(u64),
    /// Its time has not come.
    #[error("evidence is not valid yet: check the clock of its issuer")]
    NotYetValid,
    /// STS did not take the signature.
    #[error("STS does not vouch for the signature: sign a new request with credentials that are valid")]
    NotVouched,
    /// Content that is refused whatever a rule says.
    #[error("evidence is refused: `{claim}` is `{value}`, with which a stranger's content runs")]
    Refused {
        /// The claim.
        claim: String,
        /// Its value, one of the table.
        value: String,
    },
    /// Not a token of the accepted form.
    #[error("evidence is not a token of the accepted form: {0}")]
    Token(#[from] CompactError),
    /// Another kind of token.
    #[error("evidence is of another type than `JWT`")]
    Type,
}

impl AttestError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Audience(_) => "attest.audience",
            Self::Claim { .. } => "attest.claim-invalid",
            Self::Expired => "attest.expired",
            Self::Issuer => "attest.issuer-unknown",
            Self::KeyUnknown => "attest.key-unknown",
            Self::Keys(_) => "attest.keys-unavailable",
            Self::Lifetime(_) => "attest.lifetime",
            Self::NotYetValid => "attest.not-yet-valid",
            Self::NotVouched => "attest.not-vouched",
            Self::Refused { .. } => "attest.refused",
            Self::Token(_) => "attest.token",
            Self::Type => "attest.type",
        }
    }
}
