//! An issuer as a tenant registered it.

use bailiwick_base::TenantId;
use bailiwick_credential::trust::Method;
use bailiwick_outbound::{AddressRule, Destination};

/// Where the keys of an issuer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// In the metadata at its well-known place (OpenID Connect Discovery §4).
    Discovery,
    /// Given by an operator, for an issuer that cannot be reached: the text of a JWK Set.
    Given(String),
    /// At this URL.
    Url(String),
}

/// An issuer, and how its tokens are judged. One tenant each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerProfile {
    /// The tenant that registered it, and the only one it speaks for.
    pub tenant: TenantId,
    /// What kind of issuer it is.
    pub method: Method,
    /// `iss`, byte for byte. For SPIFFE the trust domain as `spiffe://name`.
    pub issuer: String,
    /// Its keys.
    pub keys: KeyPlace,
    /// Addresses beyond the public ones where its keys may be fetched.
    pub addresses: AddressRule,
    /// Keys over plain HTTP: whoever listens on the way may put in their own.
    pub danger_plaintext: bool,
}

impl IssuerProfile {
    pub(crate) fn destination(&self, url: String) -> Destination {
        Destination {
            tenant: self.tenant.clone(),
            url,
            addresses: self.addresses.clone(),
            danger_plaintext: self.danger_plaintext,
        }
    }
}
