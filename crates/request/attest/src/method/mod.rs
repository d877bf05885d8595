//! What each method asks of a token beyond its table.

mod aws_web_identity;
mod azure;
mod gcp;
mod generic_oidc;
mod github;
mod gitlab;
mod id_jag;
mod kubernetes;
mod spiffe_jwt;

use bailiwick_credential::trust::Method;
use serde_json::{Map, Value};

use crate::claims::Attributes;
use crate::error::AttestError;
use crate::issuer::IssuerProfile;

pub(crate) use id_jag::TYPE as ID_JAG;
pub(crate) use spiffe_jwt::trust_domain;

/// A verified token, as a method sees it.
pub(crate) struct Seen<'a> {
    pub(crate) issuer: &'a IssuerProfile,
    pub(crate) typ: Option<&'a str>,
    pub(crate) claims: &'a Map<String, Value>,
    pub(crate) attributes: &'a Attributes,
}

impl Seen<'_> {
    fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map(String::as_str).unwrap_or_default()
    }

    /// `typ` is `JWT` or left out (RFC 8725 §3.11: what is not meant for this is told apart by its type).
    fn require_jwt(&self) -> Result<(), AttestError> {
        match self.typ {
            None | Some("jwt") => Ok(()),
            Some(_) => Err(AttestError::Type),
        }
    }

    /// `iss` is the registered issuer, byte for byte.
    fn require_issuer(&self) -> Result<(), AttestError> {
        (self.claim("iss") == Some(self.issuer.issuer.as_str()))
            .then_some(())
            .ok_or(AttestError::Issuer)
    }
}

pub(crate) fn require(method: Method, seen: &Seen<'_>) -> Result<(), AttestError> {
    match method {
        // No token is evidence of AWS: `sts.rs`.
        Method::Aws | Method::UnixPeer => Err(AttestError::Type),
        Method::AwsWebIdentity => aws_web_identity::require(seen),
        Method::Azure => azure::require(seen),
        Method::Gcp => gcp::require(seen),
        Method::GenericOidc => generic_oidc::require(seen),
        Method::Github => github::require(seen),
        Method::Gitlab => gitlab::require(seen),
        Method::IdJag => id_jag::require(seen),
        Method::Kubernetes => kubernetes::require(seen),
        Method::SpiffeJwt => spiffe_jwt::require(seen),
    }
}
