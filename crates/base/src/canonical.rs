//! Canonical JSON (RFC 8785, JCS): the one byte form of a value that is hashed or signed.

use serde::Serialize;

/// A value that has no canonical form (a float that is not finite, a map key that is not text).
#[derive(Debug, thiserror::Error)]
#[error("value has no canonical form")]
pub struct CanonicalError(#[source] serde_json::Error);

/// The canonical bytes of `value`: members sorted by UTF-16 code units, no white space, ECMAScript numbers.
///
/// Never rely on the order of a map elsewhere: another crate of the build may switch `serde_json` to
/// insertion order.
///
/// # Errors
/// [`CanonicalError`] when the value cannot be written as JCS.
pub fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    serde_json_canonicalizer::to_vec(value).map_err(CanonicalError)
}
