//! Canonical JSON (RFC 8785, JCS): the one byte form of a value that is hashed or signed.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// A value that has no canonical form: a float that is not finite, a map key that is not text, an integer
/// beyond 2^53.
#[derive(Debug, thiserror::Error)]
#[error("value has no canonical form")]
pub struct CanonicalError(#[source] serde_json::Error);

/// The canonical bytes of `value`: members sorted by UTF-16 code units, no white space, ECMAScript numbers.
///
/// Never rely on the order of a map elsewhere: another crate of the build may switch `serde_json` to
/// insertion order.
///
/// JCS writes every number as a double. An integer that no double holds would share its bytes, and so its
/// digest, with a neighbour; it is refused instead (RFC 8785 §3.1, RFC 7493 §2.2).
///
/// # Errors
/// [`CanonicalError`] when the value cannot be written as JCS.
pub fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    value
        .serialize(&mut Serializer::with_formatter(io::sink(), ExactIntegers))
        .map_err(CanonicalError)?;
    serde_json_canonicalizer::to_vec(value).map_err(CanonicalError)
}

/// Writes nothing; fails at the first integer that a double cannot hold.
struct ExactIntegers;

impl ExactIntegers {
    const MAX: u64 = 1 << 53;

    fn require(magnitude: u64) -> io::Result<()> {
        if magnitude > Self::MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "integer beyond 2^53"));
        }
        Ok(())
    }
}

impl Formatter for ExactIntegers {
    fn write_i64<W: ?Sized + io::Write>(&mut self, _: &mut W, value: i64) -> io::Result<()> {
        Self::require(value.unsigned_abs())
    }
    fn write_u64<W: ?Sized + io::Write>(&mut self, _: &mut W, value: u64) -> io::Result<()> {
        Self::require(value)
    }
    fn write_i128<W: ?Sized + io::Write>(&mut self, _: &mut W, value: i128) -> io::Result<()> {
        Self::require(u64::try_from(value.unsigned_abs()).unwrap_or(u64::MAX))
    }
    fn write_u128<W: ?Sized + io::Write>(&mut self, _: &mut W, value: u128) -> io::Result<()> {
        Self::require(u64::try_from(value).unwrap_or(u64::MAX))
    }
}
