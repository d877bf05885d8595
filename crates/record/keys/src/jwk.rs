//! Published keys (RFC 7517).

use std::sync::Arc;

use bailiwick_base::{PublicKey, SigningAlgorithm};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

/// A public signing key as a JWK set shows it: the bare key with `kid`, `alg` and `use`.
#[derive(Debug, Clone)]
pub struct PublicJwk {
    kid: String,
    key: Arc<PublicKey>,
}

impl PublicJwk {
    pub(crate) fn new(kid: String, key: Arc<PublicKey>) -> Self {
        Self { kid, key }
    }

    /// The key id, an RFC 7638 thumbprint.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The algorithm of the key.
    #[must_use]
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.key.algorithm()
    }

    /// The key itself.
    #[must_use]
    pub fn key(&self) -> &Arc<PublicKey> {
        &self.key
    }

    /// All members.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        let mut members = self.key.to_jwk();
        members.insert("alg".to_owned(), Value::from(self.algorithm().as_str()));
        members.insert("kid".to_owned(), Value::from(self.kid.as_str()));
        members.insert("use".to_owned(), Value::from("sig"));
        members
    }
}

impl Serialize for PublicJwk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

/// A JWK set (RFC 7517 §5).
#[must_use]
pub fn jwks(keys: &[PublicJwk]) -> Value {
    json!({ "keys": keys.iter().map(|key| Value::Object(key.to_json())).collect::<Vec<_>>() })
}
