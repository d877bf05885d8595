//! The key of the egress CA: ECDSA on P-256, one for each installation.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

use crate::error::KeysError;

/// Signs certificates of the egress CA.
pub struct EgressSigner(EcdsaKeyPair);

impl EgressSigner {
    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeysError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8)
            .map(Self)
            .map_err(|_| KeysError::PrivateKey)
    }

    /// The public key: an uncompressed point (SEC 1 §2.3.3).
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// A signature over SHA-256 of `message`, in DER (RFC 3279 §2.2.3).
    ///
    /// # Errors
    /// [`KeysError::Sign`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeysError> {
        let signature = self.0.sign(&SystemRandom::new(), message);
        Ok(signature.map_err(|_| KeysError::Sign)?.as_ref().to_vec())
    }
}
