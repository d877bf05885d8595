//! Why a token is refused. Nothing here echoes the token or a claim of it.

use bailiwick_base::CompactError;
use bailiwick_credential::ClaimError;

use super::dpop::ProofError;

/// A token that is not accepted. The answer is HTTP 401 `invalid_token` with [`TokenError::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The actor chain is not of its form, too long, or a circle.
    #[error("claim `act` is not usable: {0}")]
    Actors(&'static str),
    /// `alg` is missing, not text, or not the algorithm of the key.
    #[error("header `alg` is not the algorithm of the key")]
    Algorithm,
    /// For somebody else, for several, or for nobody.
    #[error("token is for another audience: ask the issuer for one for this resource")]
    Audience,
    /// The Authorization header does not hold exactly one bearer token.
    #[error("header `authorization` has to hold exactly one bearer token")]
    Bearer,
    /// Bound to a client certificate, and sent over a connection with another one or none.
    #[error("token is bound to another client certificate than this connection has, or it has none")]
    Certificate,
    /// A claim is missing or not of its form.
    #[error("claim `{claim}` is not usable: {rule}")]
    Claim {
        /// Which.
        claim: &'static str,
        /// What it has to be.
        rule: &'static str,
    },
    /// A part is not strict base64url.
    #[error("token is not base64url without padding")]
    Encoding,
    /// Its time has passed.
    #[error("token has expired: ask for a new one")]
    Expired,
    /// A header member that is not accepted.
    #[error("header of the token is not usable: {0}")]
    Header(&'static str),
    /// The issuer is not one of ours.
    #[error("token is from an unknown issuer")]
    Issuer,
    /// A part is not strict JSON, or not an object.
    #[error("token does not hold strict JSON")]
    Json,
    /// No key of this issuer has this `kid`.
    #[error("token is signed with an unknown key")]
    KeyUnknown,
    /// It would live longer than any token of ours.
    #[error("token has a longer lifetime than is accepted")]
    Lifetime,
    /// Sent with a proof of possession, and bound to no key.
    #[error("token is bound to no key: send it under the scheme Bearer")]
    NotBound,
    /// Its time has not come.
    #[error("token is not valid yet: check the clock of its issuer")]
    NotYetValid,
    /// The proof of possession beside it does not hold.
    #[error("{0}")]
    Proof(#[from] ProofError),
    /// Bound to a key, and sent as if whoever has it might use it.
    #[error("token is bound to a key (`cnf.jkt`): send it under the scheme DPoP with a proof (RFC 9449)")]
    SenderConstrained,
    /// The signature is not one of this key over this text.
    #[error("signature of the token does not verify")]
    Signature,
    /// Not three parts.
    #[error("token is not a compact JWS of three parts")]
    Structure,
    /// A token of another tenant.
    #[error("token belongs to another tenant")]
    Tenant,
    /// More bytes than are looked at.
    #[error("token is longer than the {max} bytes accepted", max = bailiwick_base::limits::TOKEN_MAX)]
    TooLong,
    /// Another kind of token.
    #[error("token is of another type than `at+jwt`")]
    Type,
}

impl TokenError {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Actors(_) => "token.actors-invalid",
            Self::Algorithm => "token.algorithm",
            Self::Audience => "token.audience",
            Self::Bearer => "token.bearer",
            Self::Certificate => "token.certificate",
            Self::Claim { .. } => "token.claim-invalid",
            Self::Encoding => "token.encoding",
            Self::Expired => "token.expired",
            Self::Header(_) => "token.header",
            Self::Issuer => "token.issuer-unknown",
            Self::Json => "token.json",
            Self::KeyUnknown => "token.key-unknown",
            Self::Lifetime => "token.lifetime",
            Self::NotBound => "token.not-bound",
            Self::NotYetValid => "token.not-yet-valid",
            Self::Proof(error) => error.code(),
            Self::SenderConstrained => "token.sender-constrained",
            Self::Signature => "token.signature",
            Self::Structure => "token.structure",
            Self::Tenant => "token.tenant",
            Self::TooLong => "token.too-long",
            Self::Type => "token.type",
        }
    }
}

impl From<ClaimError> for TokenError {
    fn from(error: ClaimError) -> Self {
        if error.claim == "act" {
            return Self::Actors(error.rule);
        }
        Self::Claim {
            claim: error.claim,
            rule: error.rule,
        }
    }
}

impl From<CompactError> for TokenError {
    fn from(error: CompactError) -> Self {
        match error {
            CompactError::Algorithm => Self::Algorithm,
            CompactError::Encoding => Self::Encoding,
            CompactError::Header(rule) => Self::Header(rule),
            CompactError::Json => Self::Json,
            CompactError::Signature => Self::Signature,
            CompactError::Structure => Self::Structure,
            CompactError::TooLong => Self::TooLong,
            CompactError::Type => Self::Type,
        }
    }
}
