//! Keys of logs: Ed25519, one per origin (C2SP signed-note).

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use bailiwick_base::{Digest, PublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::KeysError;

/// The signature type of Ed25519 in signed notes.
const ED25519_NOTE: u8 = 0x01;

/// Signs the checkpoints of one log.
pub struct LogSigner {
    origin: String,
    pair: Ed25519KeyPair,
    public: PublicKey,
    public_bytes: [u8; 32],
}

impl LogSigner {
    pub(crate) fn from_seed(origin: &str, seed: &[u8; 32]) -> Result<Self, KeysError> {
        let is_name = (1..=255).contains(&origin.len())
            && origin
                .chars()
                .all(|c| !c.is_whitespace() && !c.is_control() && c != '+');
        if !is_name {
            return Err(KeysError::Origin(bailiwick_base::limits::shown(origin)));
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeysError::Generate)?;
        let public_bytes = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| KeysError::Generate)?;
        Ok(Self {
            origin: origin.to_owned(),
            pair,
            public: PublicKey::ed25519(public_bytes)?,
            public_bytes,
        })
    }

    /// The name of the log and of its key.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The 32 bytes of the public key.
    #[must_use]
    pub const fn public_key(&self) -> &[u8; 32] {
        &self.public_bytes
    }

    /// The public key ready to verify with.
    #[must_use]
    pub const fn verifier(&self) -> &PublicKey {
        &self.public
    }

    /// Signs the text of a note, its final newline included.
    ///
    /// # Errors
    /// [`KeysError::Sign`].
    pub fn sign(&self, text: &[u8]) -> Result<[u8; 64], KeysError> {
        let signature = self.pair.try_sign(text).map_err(|_| KeysError::Sign)?;
        signature.as_ref().try_into().map_err(|_| KeysError::Sign)
    }

    /// The four bytes in front of each signature: SHA-256 of name, newline, type and key.
    #[must_use]
    pub fn key_hash(&self) -> [u8; 4] {
        let mut input = Vec::with_capacity(self.origin.len() + 34);
        input.extend_from_slice(self.origin.as_bytes());
        input.push(b'\n');
        input.push(ED25519_NOTE);
        input.extend_from_slice(&self.public_bytes);
        let [a, b, c, d, ..] = Digest::of(&input).0;
        [a, b, c, d]
    }

    /// The verifier key as signed-note tools read it: `name+hash+base64(type ‖ key)`.
    #[must_use]
    pub fn vkey(&self) -> String {
        let mut key = vec![ED25519_NOTE];
        key.extend_from_slice(&self.public_bytes);
        format!(
            "{}+{:08x}+{}",
            self.origin,
            u32::from_be_bytes(self.key_hash()),
            STANDARD.encode(key)
        )
    }
}
