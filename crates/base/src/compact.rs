//! The shape of a compact JWS (RFC 7515 §3.1, §7.1) and its header, before anything in it is believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::algorithm::SigningAlgorithm;
use crate::json;
use crate::limits::TOKEN_MAX;
use crate::public_key::{PublicKey, PublicKeyError};

/// Bytes of a decoded header: three short members.
const HEADER_MAX: usize = 1024;
/// Bytes of a `kid`.
const KID_MAX: usize = 128;

/// Members that change how a token is read or that bring a key along. None of ours has them.
const REFUSED: [&str; 17] = [
    "apu", "apv", "b64", "crit", "cty", "enc", "epk", "iv", "jku", "jwk", "nonce", "p2c", "p2s", "tag",
    "url", "x5u", "zip",
];

/// Why a text is not a compact JWS that is read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    /// Not one of the accepted algorithms, or not that of the key.
    #[error("it is signed with another algorithm than its key is for, or with none")]
    Algorithm,
    /// A part is not strict base64url.
    #[error("a part is not base64url without padding")]
    Encoding,
    /// A header member that is not accepted.
    #[error("its header is not usable: {0}")]
    Header(&'static str),
    /// A part is not strict JSON, or not an object.
    #[error("it does not hold strict JSON")]
    Json,
    /// The signature is not one of this key over this text.
    #[error("its signature does not verify")]
    Signature,
    /// Not three parts.
    #[error("it is not a compact JWS of three parts")]
    Structure,
    /// More bytes than are looked at.
    #[error("it is longer than the {TOKEN_MAX} bytes accepted")]
    TooLong,
    /// `typ` is not text.
    #[error("its type is not text")]
    Type,
}

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
    /// [`CompactError`] when the shape or the header is not acceptable.
    pub fn parse(text: &'a [u8]) -> Result<Self, CompactError> {
        Self::read(text, &[]).map(|(token, _)| token)
    }

    /// As [`Compact::parse`], for proofs of possession (RFC 9449 §4.2): the header brings the public key along, and
    /// the text verifies with that very key. Whose key it is has to be asked elsewhere.
    ///
    /// # Errors
    /// [`CompactError`] when the shape, the header or the key in it is not acceptable.
    pub fn parse_proof(text: &'a [u8]) -> Result<(Self, PublicKey), CompactError> {
        let (token, members) = Self::read(text, &["jwk"])?;
        let Some(Value::Object(jwk)) = members.get("jwk") else {
            return Err(CompactError::Header("`jwk` has to be the public key"));
        };
        // The signature comes later, and only under the algorithm of this key.
        let key = PublicKey::from_jwk(jwk).map_err(|error| match error {
            PublicKeyError::Private(_) => CompactError::Header("`jwk` holds a private key"),
            _ => CompactError::Header("`jwk` is not a public key that is accepted"),
        })?;
        Ok((token, key))
    }

    /// As [`Compact::parse`], for tokens of other makers: thumbprints of certificates (RFC 7515 §4.1.7, §4.1.8) may
    /// stand in the header. They bring no key along, and nothing is done with them.
    ///
    /// # Errors
    /// [`CompactError`] when the shape or the header is not acceptable.
    pub fn parse_foreign(text: &'a [u8]) -> Result<Self, CompactError> {
        Self::read(text, &["x5t", "x5t#S256"]).map(|(token, _)| token)
    }

    fn read(text: &'a [u8], ignored: &[&str]) -> Result<(Self, Map<String, Value>), CompactError> {
        if text.len() > TOKEN_MAX {
            return Err(CompactError::TooLong);
        }
        let last = text
            .iter()
            .rposition(|b| *b == b'.')
            .ok_or(CompactError::Structure)?;
        let (signing_input, signature) = cut(text, last).ok_or(CompactError::Structure)?;
        let first = signing_input
            .iter()
            .position(|b| *b == b'.')
            .ok_or(CompactError::Structure)?;
        let (header, payload) = cut(signing_input, first).ok_or(CompactError::Structure)?;
        if payload.contains(&b'.') {
            return Err(CompactError::Structure);
        }
        let (header, members) = read_header(&decode(header)?, ignored)?;
        let token = Self {
            header,
            signing_input,
            payload,
            signature: decode(signature)?,
        };
        Ok((token, members))
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The payload as it stands there, not verified. Use it to find the key, for nothing else.
    ///
    /// # Errors
    /// [`CompactError::Encoding`].
    pub fn untrusted_payload(&self) -> Result<Vec<u8>, CompactError> {
        decode(self.payload)
    }

    /// The claims as they stand there, not verified. Use them to find the key, for nothing else.
    ///
    /// # Errors
    /// [`CompactError::Encoding`], [`CompactError::Json`].
    pub fn untrusted_claims(&self) -> Result<Map<String, Value>, CompactError> {
        object(&self.untrusted_payload()?, TOKEN_MAX)
    }

    /// Verifies the signature with a key, under the one algorithm of that key.
    ///
    /// # Errors
    /// [`CompactError::Algorithm`], [`CompactError::Signature`].
    pub fn verify(&self, key: &PublicKey) -> Result<(), CompactError> {
        if self.header.algorithm != key.algorithm() {
            return Err(CompactError::Algorithm);
        }
        key.verify(self.signing_input, &self.signature)
            .map_err(|_| CompactError::Signature)
    }
}

/// What stands before and behind the byte at `at`.
fn cut(bytes: &[u8], at: usize) -> Option<(&[u8], &[u8])> {
    let (before, from) = bytes.split_at_checked(at)?;
    Some((before, from.split_first()?.1))
}

/// Strict base64url (RFC 7515 §2): no padding, no white space, no bits left over.
fn decode(part: &[u8]) -> Result<Vec<u8>, CompactError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| CompactError::Encoding)
}

fn object(bytes: &[u8], max: usize) -> Result<Map<String, Value>, CompactError> {
    match json::parse(bytes, max) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(CompactError::Json),
    }
}

fn read_header(bytes: &[u8], ignored: &[&str]) -> Result<(Header, Map<String, Value>), CompactError> {
    if bytes.len() > HEADER_MAX {
        return Err(CompactError::Header("it is longer than 1,024 bytes"));
    }
    let members = object(bytes, HEADER_MAX)?;
    // `x5c`, `x5t` and `x5t#S256` among them.
    let refused = |name: &str| REFUSED.contains(&name) || name.starts_with("x5");
    if members
        .keys()
        .any(|name| refused(name) && !ignored.contains(&name.as_str()))
    {
        return Err(CompactError::Header(
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
        Some(_) => return Err(CompactError::Header("`kid` has to be text of 1 to 128 bytes")),
    };
    let typ = match members.get("typ") {
        None => None,
        Some(Value::String(typ)) => Some(media_type(typ)),
        Some(_) => return Err(CompactError::Type),
    };
    let header = Header {
        algorithm: algorithm.ok_or(CompactError::Algorithm)?,
        kid,
        typ,
    };
    Ok((header, members))
}

/// Media types compare without case, and `application/` may be left out (RFC 7515 §4.1.9).
fn media_type(typ: &str) -> String {
    let lower = typ.to_ascii_lowercase();
    match lower.strip_prefix("application/") {
        Some(rest) if !rest.contains('/') => rest.to_owned(),
        _ => lower,
    }
}
