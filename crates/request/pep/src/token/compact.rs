//! The shape of a compact JWS (RFC 7515 §3.1, §7.1) and its header, before anything in it is believed.

use bailiwick_base::limits::TOKEN_MAX;
use bailiwick_base::{PublicKey, SigningAlgorithm, json};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::error::TokenError;

/// Bytes of a decoded header: three short members.
const HEADER_MAX: usize = 1024;
/// Bytes of a `kid`.
const KID_MAX: usize = 128;

/// Members that change how a token is read or that bring a key along. None of ours has them.
const REFUSED: [&str; 17] = [
    "apu", "apv", "b64", "crit", "cty", "enc", "epk", "iv", "jku", "jwk", "nonce", "p2c", "p2s", "tag",
    "url", "x5u", "zip",
];

/// The header members we read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// `alg`, one of ours. It is compared with the key; it never chooses anything.
    pub algorithm: SigningAlgorithm,
    /// `kid`.
    pub kid: Option<String>,
    /// `typ`, without the optional `application/` (RFC 7515 §4.1.9), in lower case.
    pub typ: Option<String>,
}

/// A token taken apart. Nothing in it is verified until [`Compact::verify`] says so.
#[derive(Debug)]
pub struct Compact<'a> {
    header: Header,
    signing_input: &'a [u8],
    payload: &'a [u8],
    signature: Vec<u8>,
}

impl<'a> Compact<'a> {
    /// Takes a token apart: at most [`TOKEN_MAX`] bytes, exactly three parts, strict base64url, a strict header.
    ///
    /// # Errors
    /// [`TokenError`] when the shape or the header is not acceptable.
    pub fn parse(text: &'a [u8]) -> Result<Self, TokenError> {
        if text.len() > TOKEN_MAX {
            return Err(TokenError::TooLong);
        }
        let last = text
            .iter()
            .rposition(|b| *b == b'.')
            .ok_or(TokenError::Structure)?;
        let (signing_input, signature) = cut(text, last).ok_or(TokenError::Structure)?;
        let first = signing_input
            .iter()
            .position(|b| *b == b'.')
            .ok_or(TokenError::Structure)?;
        let (header, payload) = cut(signing_input, first).ok_or(TokenError::Structure)?;
        if payload.contains(&b'.') {
            return Err(TokenError::Structure);
        }
        Ok(Self {
            header: read_header(&decode(header)?)?,
            signing_input,
            payload,
            signature: decode(signature)?,
        })
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The payload as it stands there, not verified. Use it to find the key, for nothing else.
    ///
    /// # Errors
    /// [`TokenError::Encoding`].
    pub fn untrusted_payload(&self) -> Result<Vec<u8>, TokenError> {
        decode(self.payload)
    }

    /// The claims as they stand there, not verified. Use them to find the key, for nothing else.
    ///
    /// # Errors
    /// [`TokenError::Encoding`], [`TokenError::Json`].
    pub fn untrusted_claims(&self) -> Result<Map<String, Value>, TokenError> {
        object(&self.untrusted_payload()?, TOKEN_MAX)
    }

    /// Verifies the signature with a key, under the one algorithm of that key.
    ///
    /// # Errors
    /// [`TokenError::Algorithm`], [`TokenError::Signature`].
    pub fn verify(&self, key: &PublicKey) -> Result<(), TokenError> {
        if self.header.algorithm != key.algorithm() {
            return Err(TokenError::Algorithm);
        }
        key.verify(self.signing_input, &self.signature)
            .map_err(|_| TokenError::Signature)
    }
}

/// What stands before and behind the byte at `at`.
fn cut(bytes: &[u8], at: usize) -> Option<(&[u8], &[u8])> {
    let (before, from) = bytes.split_at_checked(at)?;
    Some((before, from.split_first()?.1))
}

/// Strict base64url (RFC 7515 §2): no padding, no white space, no bits left over.
fn decode(part: &[u8]) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Encoding)
}

fn object(bytes: &[u8], max: usize) -> Result<Map<String, Value>, TokenError> {
    match json::parse(bytes, max) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(TokenError::Json),
    }
}

fn read_header(bytes: &[u8]) -> Result<Header, TokenError> {
    if bytes.len() > HEADER_MAX {
        return Err(TokenError::Header("it is longer than 1,024 bytes"));
    }
    let members = object(bytes, HEADER_MAX)?;
    // `x5c`, `x5t` and `x5t#S256` among them.
    if members
        .keys()
        .any(|name| REFUSED.contains(&name.as_str()) || name.starts_with("x5"))
    {
        return Err(TokenError::Header(
            "it holds a member that brings a key along or changes how it is read",
        ));
    }
    let algorithm = members
        .get("alg")
        .and_then(Value::as_str)
        .and_then(SigningAlgorithm::parse);
    let kid = match members.get("kid") {
        None => None,
        Some(Value::String(kid)) if (1..=KID_MAX).contains(&kid.len()) => Some(kid.clone()),
        Some(_) => return Err(TokenError::Header("`kid` has to be text of 1 to 128 bytes")),
    };
    let typ = match members.get("typ") {
        None => None,
        Some(Value::String(typ)) => Some(media_type(typ)),
        Some(_) => return Err(TokenError::Type),
    };
    Ok(Header {
        algorithm: algorithm.ok_or(TokenError::Algorithm)?,
        kid,
        typ,
    })
}

/// Media types compare without case, and `application/` may be left out (RFC 7515 §4.1.9).
fn media_type(typ: &str) -> String {
    let lower = typ.to_ascii_lowercase();
    match lower.strip_prefix("application/") {
        Some(rest) if !rest.contains('/') => rest.to_owned(),
        _ => lower,
    }
}
