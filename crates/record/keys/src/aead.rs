//! One authenticated cipher for everything that is sealed.
//!
//! AES-256-GCM-SIV (RFC 8452) with random nonces: decisions are sealed at rates at which a random 96-bit nonce
//! of plain GCM would reach its limit of 2^32 messages under one key within hours, and a nonce that comes twice
//! (a machine restored from a snapshot) tells only whether two equal values were sealed.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

/// Bytes of a key.
pub(crate) const KEY_LEN: usize = 32;
/// Bytes of a nonce.
const NONCE_LEN: usize = 12;
/// Bytes of a tag.
const TAG_LEN: usize = 16;
/// What sealing adds to a value.
pub(crate) const OVERHEAD: usize = NONCE_LEN + TAG_LEN;

/// The value does not open, or the cipher failed. There is nothing more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AeadError;

/// A key ready for use.
pub(crate) struct Cipher(RandomizedNonceKey);

impl Cipher {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Result<Self, AeadError> {
        RandomizedNonceKey::new(&AES_256_GCM_SIV, key)
            .map(Self)
            .map_err(|_| AeadError)
    }

    /// Appends `nonce ‖ ciphertext ‖ tag` to `out`.
    pub(crate) fn seal(&self, aad: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), AeadError> {
        let start = out.len();
        out.reserve(plain.len() + OVERHEAD);
        out.extend_from_slice(&[0; NONCE_LEN]);
        out.extend_from_slice(plain);
        let (nonce_at, body) = out
            .get_mut(start..)
            .and_then(|tail| tail.split_at_mut_checked(NONCE_LEN))
            .ok_or(AeadError)?;
        let (nonce, tag) = self
            .0
            .seal_in_place_separate_tag(Aad::from(aad), body)
            .map_err(|_| AeadError)?;
        nonce_at.copy_from_slice(nonce.as_ref());
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens what [`Cipher::seal`] appended.
    pub(crate) fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, AeadError> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(AeadError)?;
        if body.len() < TAG_LEN {
            return Err(AeadError);
        }
        let mut opened = Zeroizing::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let len = self
            .0
            .open_in_place(nonce, Aad::from(aad), &mut opened)
            .map_err(|_| AeadError)?
            .len();
        opened.truncate(len);
        Ok(opened)
    }
}
