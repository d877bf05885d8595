//! Proof that whoever redeems a code is who asked for it (RFC 7636, S256 only).

use bailiwick_base::Digest;
use data_encoding::BASE64URL_NOPAD;

/// A code challenge of method S256: 32 bytes in base64url.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge(String);

impl Challenge {
    /// `None` when it is not a SHA-256 in base64url without padding (RFC 7636 §4.2).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        (bytes.len() == 32).then(|| Self(text.to_owned()))
    }

    /// As it came.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `verifier` is what the challenge was made from (RFC 7636 §4.6); one of another form is not.
    #[must_use]
    pub fn is_of(&self, verifier: &str) -> bool {
        let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        (43..=128).contains(&verifier.len())
            && verifier.bytes().all(unreserved)
            && BASE64URL_NOPAD.encode(&Digest::of(verifier.as_bytes()).0) == self.0
    }
}
