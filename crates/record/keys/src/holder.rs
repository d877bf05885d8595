//! Who holds private keys for us: a PKCS #11 token, a key service. The key does not leave it.

use bailiwick_base::{PublicKey, SigningAlgorithm};

/// Why a holder did not do it. Says nothing about what was signed or sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HolderError {
    /// It refused, or answered what cannot be used; asking again does not help.
    #[error("holder of keys refused: {0}")]
    Refused(String),
    /// It does not answer.
    #[error("holder of keys does not answer: {0}")]
    Unreachable(String),
    /// It cannot do it.
    #[error("holder of keys cannot do that: {0}")]
    Unsupported(&'static str),
}

/// A key that a holder made.
pub struct HeldKey {
    /// How the holder finds it again.
    pub locator: String,
    /// Its public half.
    pub public: PublicKey,
}

/// Keeps private keys and uses them. Every method may block for as long as its own limit of time.
pub trait Holder: Send + Sync {
    /// The word for it in rows: `pkcs11`, `aws-kms`.
    fn name(&self) -> &'static str;

    /// Makes a key pair for signing; `label` is for whoever looks at the holder.
    ///
    /// # Errors
    /// [`HolderError`].
    fn generate(&self, label: &str, algorithm: SigningAlgorithm) -> Result<HeldKey, HolderError>;

    /// Signs `message`; the answer has the JOSE form.
    ///
    /// # Errors
    /// [`HolderError`].
    fn sign(
        &self,
        locator: &str,
        algorithm: SigningAlgorithm,
        message: &[u8],
    ) -> Result<Vec<u8>, HolderError>;

    /// Encrypts a few bytes under the holder's own key for that.
    ///
    /// # Errors
    /// [`HolderError`].
    fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, HolderError>;

    /// Opens what [`Holder::seal`] gave.
    ///
    /// # Errors
    /// [`HolderError`].
    fn open(&self, sealed: &[u8]) -> Result<zeroize::Zeroizing<Vec<u8>>, HolderError>;
}
