//! What a node signs for a sidecar, each under a context of its own.

use bailiwick_base::{Digest, PublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::BodyError;

/// The bytes that are signed for a snapshot: `bailiwick-snapshot`, a zero byte, the body.
#[must_use]
pub fn signed_snapshot(body: &str) -> Vec<u8> {
    [b"bailiwick-snapshot\0", body.as_bytes()].concat()
}

/// Verifies a snapshot's signature (Ed25519, base64url without padding).
///
/// # Errors
/// [`BodyError::Signature`].
pub fn verify_snapshot(body: &str, signature: &str, key: &PublicKey) -> Result<(), BodyError> {
    verify(&signed_snapshot(body), signature, key)
}

/// The answer to one word, as it is signed: whoever stands between cannot say that nothing is new.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Who asked.
    pub sidecar: &'a str,
    /// The number of the word that is answered.
    pub beat: u64,
    /// The epoch that is answered.
    pub epoch: u64,
    /// The position of the state log that is answered.
    pub position: u64,
    /// The body of the snapshot that comes along, if one does.
    pub body: Option<&'a str>,
}

/// The bytes that are signed for an answer: `bailiwick-told`, a zero byte, then name, beat, epoch, position and the
/// SHA-256 of the body (`-` without one), each on a line.
#[must_use]
pub fn signed_told(told: &Told<'_>) -> Vec<u8> {
    let digest = told
        .body
        .map_or_else(|| "-".to_owned(), |body| Digest::of(body.as_bytes()).to_string());
    format!(
        "bailiwick-told\0{}\n{}\n{}\n{}\n{digest}\n",
        told.sidecar, told.beat, told.epoch, told.position
    )
    .into_bytes()
}

/// Verifies an answer's signature (Ed25519, base64url without padding).
///
/// # Errors
/// [`BodyError::Signature`].
pub fn verify_told(told: &Told<'_>, signature: &str, key: &PublicKey) -> Result<(), BodyError> {
    verify(&signed_told(told), signature, key)
}

fn verify(message: &[u8], signature: &str, key: &PublicKey) -> Result<(), BodyError> {
    let signature = URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| BodyError::Signature)?;
    key.verify(message, &signature).map_err(|_| BodyError::Signature)
}
