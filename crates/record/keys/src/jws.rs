//! Compact JWS (RFC 7515 §3.1, §7.1), the writing half. The reading half is `pep::token`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::KeysError;
use crate::signer::TokenSigner;

/// The type of our access tokens (RFC 9068 §2.1).
pub const ACCESS_TOKEN: &str = "at+jwt";
/// The type of client assertions (RFC 7523bis).
pub const CLIENT_ASSERTION: &str = "client-authentication+jwt";

/// Signs `claims` (the bytes of a JSON object) as `header.claims.signature`; the header is `alg`, `kid`, `typ`.
///
/// # Errors
/// [`KeysError::Sign`].
pub fn encode(signer: &TokenSigner, typ: &str, claims: &[u8]) -> Result<String, KeysError> {
    const HEADER: usize = 160;
    const SIGNATURE: usize = 344;
    let mut token = String::with_capacity(HEADER + claims.len().div_ceil(3) * 4 + SIGNATURE);
    signer.push_header(typ, &mut token);
    URL_SAFE_NO_PAD.encode_string(claims, &mut token);
    let signature = signer.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}
