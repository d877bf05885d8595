//! The token of an HTTP request (RFC 6750 §2.1). Nowhere else: not in the query, not in the body.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::error::TokenError;

/// The bytes of the bearer token; `None` when no Authorization header was sent at all.
///
/// # Errors
/// [`TokenError::Bearer`] when there are several headers, another scheme, or no token in it.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, TokenError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(TokenError::Bearer);
    }
    let (scheme, rest) = value.as_bytes().split_at_checked(6).ok_or(TokenError::Bearer)?;
    match rest {
        [b' ', token @ ..] if scheme.eq_ignore_ascii_case(b"bearer") && is_token(token) => Ok(Some(token)),
        _ => Err(TokenError::Bearer),
    }
}

/// `b64token` of RFC 6750: no space, nothing that could end a header or a part early.
pub(super) fn is_token(token: &[u8]) -> bool {
    let fits =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=');
    !token.is_empty() && token.iter().all(fits)
}
