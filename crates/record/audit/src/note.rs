//! Signed notes (C2SP signed-note 1.0.0) with Ed25519 keys (type 0x01).
//!
//! ```text
//! text, one or more lines
//!                                            ← empty line
//! — example.com/log base64(key id ‖ signature)
//! ```
//!
//! Signatures by unknown keys are ignored. A signature that names a known key
//! and does not verify spoils the whole note.

use std::fmt;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

use crate::base64;
use crate::cosign::COSIGNATURE_TYPE;
use crate::merkle::sha256;

/// Signature type of Ed25519 over the note text.
pub const ED25519_TYPE: u8 = 0x01;

/// Longest note that is read, in bytes.
pub const NOTE_MAX: usize = 1 << 20;

/// Most signature lines that are read.
pub const SIGNATURES_MAX: usize = 64;

/// Signature lines begin with an em dash and a space.
const SIGNATURE_PREFIX: &str = "\u{2014} ";

/// Whatever holds the private key: signs note texts, keeps the key.
pub trait NoteSigner {
    /// Key name in the signature line; a log's is its origin.
    fn name(&self) -> &str;

    /// First four bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key), as
    /// [`key_id`] computes them.
    fn key_id(&self) -> u32;

    /// Ed25519 signature over `text`.
    ///
    /// # Errors
    /// [`SignerError`] when the key cannot be used now.
    fn sign(&self, text: &[u8]) -> Result<[u8; 64], SignerError>;
}

/// A key could not sign.
#[derive(Debug, thiserror::Error)]
#[error("the note key could not sign")]
pub struct SignerError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// A key name, a verifier key or a note is malformed, or a note is not signed
/// as it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Two lines would carry a signature of the same key.
    #[error("the note is already signed by `{name}`")]
    AlreadySigned {
        /// Name of the key.
        name: String,
    },
    /// The key is one under which anybody could sign.
    #[error("the Ed25519 key of `{name}` is weak or not canonical: make a new key")]
    KeyWeak {
        /// Name of the key.
        name: String,
    },
    /// The text is not a verifier key.
    #[error("`{vkey}` is not a verifier key: expected `name+8 hex digits+base64`")]
    KeyMalformed {
        /// What was given.
        vkey: String,
    },
    /// The verifier key is of another type than Ed25519.
    #[error("verifier key of `{name}` has type `{kind}`, only Ed25519 (type 1) is verified")]
    KeyType {
        /// Name of the key.
        name: String,
        /// Type byte of the key.
        kind: u8,
    },
    /// The note is not in the form of the standard.
    #[error("malformed note: {reason}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
    /// A key name is empty or has a space or plus in it.
    #[error("`{name}` cannot be a key name: it must not be empty or contain spaces or `+`")]
    Name {
        /// What was given.
        name: String,
    },
    /// A known key's signature does not verify.
    #[error("the signature of `{name}` does not verify")]
    SignatureInvalid {
        /// Name of the key.
        name: String,
    },
    /// No signature is by a known key.
    #[error("the note is not signed by any known key")]
    Unsigned,
    /// The key of a witness is of another type than Ed25519 cosignatures.
    #[error("witness key of `{name}` has type `{kind}`, only Ed25519 cosignatures (type 4) are verified")]
    WitnessKeyType {
        /// Name of the key.
        name: String,
        /// Type byte of the key.
        kind: u8,
    },
}

const fn malformed(reason: &'static str) -> NoteError {
    NoteError::Malformed { reason }
}

/// Key id: SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key), first four bytes.
#[must_use]
pub fn key_id(name: &str, public_key: &[u8; 32]) -> u32 {
    key_id_of(name, ED25519_TYPE, public_key)
}

pub(crate) fn key_id_of(name: &str, kind: u8, public_key: &[u8; 32]) -> u32 {
    let mut bytes = Vec::with_capacity(name.len() + 34);
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(&[b'\n', kind]);
    bytes.extend_from_slice(public_key);
    let [a, b, c, d, ..] = sha256(&bytes);
    u32::from_be_bytes([a, b, c, d])
}

pub(crate) fn vkey_of(name: &str, id: u32, kind: u8, public_key: &[u8; 32]) -> String {
    let mut key = vec![kind];
    key.extend_from_slice(public_key);
    format!("{name}+{id:08x}+{}", base64::encode(&key))
}

/// The key that `make` makes of name, type and public key of a text in the form of a verifier key, if it has the key id
/// that stands there.
pub(crate) fn parse_vkey<K>(
    vkey: &str,
    make: impl FnOnce(&str, u8, [u8; 32]) -> Result<(u32, K), NoteError>,
) -> Result<K, NoteError> {
    let malformed = || NoteError::KeyMalformed {
        vkey: vkey.to_owned(),
    };
    let mut parts = vkey.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(malformed());
    };
    let is_hex = id.len() == 8
        && id
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let id = u32::from_str_radix(id, 16)
        .ok()
        .filter(|_| is_hex)
        .ok_or_else(malformed)?;
    let key = base64::decode(key).ok_or_else(malformed)?;
    let (kind, public_key) = key.split_first().ok_or_else(malformed)?;
    // Keys of other types have other lengths; their type is what is told.
    let public_key = match public_key.try_into() {
        Ok(public_key) => public_key,
        Err(_) if ![ED25519_TYPE, COSIGNATURE_TYPE].contains(kind) => [0; 32],
        Err(_) => return Err(malformed()),
    };
    let (found, key) = make(name, *kind, public_key)?;
    (found == id).then_some(key).ok_or_else(malformed)
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|char| char.is_whitespace() || char.is_control() || char == '+')
}

/// A public key that verifies notes.
#[derive(Clone, PartialEq, Eq)]
pub struct NoteVerifier {
    name: String,
    key_id: u32,
    public_key: [u8; 32],
}

impl NoteVerifier {
    /// A verifier for an Ed25519 public key.
    ///
    /// # Errors
    /// [`NoteError::Name`], or [`NoteError::KeyWeak`] for a public key that is
    /// of low order or not canonically encoded (RFC 8032 §5.1.3).
    pub fn new(name: &str, public_key: [u8; 32]) -> Result<Self, NoteError> {
        if !is_key_name(name) {
            return Err(NoteError::Name {
                name: name.to_owned(),
            });
        }
        if !is_strong_point(&public_key) {
            return Err(NoteError::KeyWeak {
                name: name.to_owned(),
            });
        }
        Ok(Self {
            name: name.to_owned(),
            key_id: key_id(name, &public_key),
            public_key,
        })
    }

    /// Parses `name+8 hex digits+base64(0x01 ‖ public key)`.
    ///
    /// # Errors
    /// [`NoteError`] when the form, the type or the key id is wrong.
    pub fn parse(vkey: &str) -> Result<Self, NoteError> {
        parse_vkey(vkey, |name, kind, public_key| match kind {
            ED25519_TYPE => Self::new(name, public_key).map(|key| (key.key_id, key)),
            kind => Err(NoteError::KeyType {
                name: name.to_owned(),
                kind,
            }),
        })
    }

    /// The key in `vkey` form, as [`NoteVerifier::parse`] takes it.
    #[must_use]
    pub fn vkey(&self) -> String {
        vkey_of(&self.name, self.key_id, ED25519_TYPE, &self.public_key)
    }

    /// Key name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Key id.
    #[must_use]
    pub fn key_id(&self) -> u32 {
        self.key_id
    }

    /// The Ed25519 public key.
    #[must_use]
    pub fn public_key(&self) -> &[u8; 32] {
        &self.public_key
    }

    /// Whether `signature` is this key's over `text`.
    #[must_use]
    pub fn is_signature(&self, text: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.public_key)
            .verify(text, signature)
            .is_ok()
    }
}

impl fmt::Debug for NoteVerifier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "NoteVerifier({})", self.vkey())
    }
}

/// Refuses encodings of y at or above the field prime and the points of order
/// 1, 2, 4 and 8, for which a signature proves nothing.
fn is_strong_point(encoded: &[u8; 32]) -> bool {
    /// y of the points of order 8 (the sign of x is the top bit, cleared here).
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
            0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
            0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let mut y = *encoded;
    y[31] &= 0x7f;
    let middle_is = |byte: u8| y[1..31].iter().all(|b| *b == byte);
    // p = 2^255 - 19 = ed ff … ff 7f; p - 1 is the y of the point of order 2.
    let at_least_p_minus_one = y[31] == 0x7f && middle_is(0xff) && y[0] >= 0xec;
    // y = 1 is the neutral element, y = 0 has order 4.
    let zero_or_one = y[31] == 0 && middle_is(0) && y[0] <= 1;
    !(at_least_p_minus_one || zero_or_one || ORDER_8.contains(&y))
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// Key name.
    pub name: String,
    /// Key id.
    pub key_id: u32,
    /// The signature, in the form of the key's type.
    pub bytes: Vec<u8>,
}

/// A note in its parts. Nothing in it is trusted before [`Note::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// A note without signatures yet.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] when the text does not end in a newline, is
    /// empty or has control characters.
    pub fn new(text: String) -> Result<Self, NoteError> {
        if !text.ends_with('\n') {
            return Err(malformed("the text must end in a newline"));
        }
        if has_control(&text) {
            return Err(malformed("control characters are not allowed"));
        }
        Ok(Self {
            text,
            signatures: Vec::new(),
        })
    }

    /// Parses a note, strictly.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] naming what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_MAX {
            return Err(malformed("longer than 1 MiB"));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| malformed("not UTF-8"))?;
        if has_control(note) {
            return Err(malformed("control characters are not allowed"));
        }
        let (text, lines) = note
            .rsplit_once("\n\n")
            .ok_or(malformed("no empty line between text and signatures"))?;
        let lines = lines
            .strip_suffix('\n')
            .ok_or(malformed("the last line must end in a newline"))?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == SIGNATURES_MAX {
                return Err(malformed("more than 64 signatures"));
            }
            signatures.push(parse_signature(line)?);
        }
        Ok(Self {
            text: format!("{text}\n"),
            signatures,
        })
    }

    /// The signed text, with its final newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All signature lines, known or not.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds a signature over [`Note::text`].
    ///
    /// # Errors
    /// [`NoteError::Name`], [`NoteError::AlreadySigned`], or
    /// [`NoteError::Malformed`] for an empty signature or too many of them.
    pub fn push(&mut self, signature: NoteSignature) -> Result<(), NoteError> {
        if !is_key_name(&signature.name) {
            return Err(NoteError::Name { name: signature.name });
        }
        if signature.bytes.is_empty() {
            return Err(malformed("a signature is empty"));
        }
        if self.signatures.len() == SIGNATURES_MAX {
            return Err(malformed("more than 64 signatures"));
        }
        let same = |s: &NoteSignature| s.name == signature.name && s.key_id == signature.key_id;
        if self.signatures.iter().any(same) {
            return Err(NoteError::AlreadySigned { name: signature.name });
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// Verifies every signature that names a known key, and returns those keys
    /// (each once, in the order of `known`).
    ///
    /// # Errors
    /// [`NoteError::SignatureInvalid`] when one of them does not verify,
    /// [`NoteError::Unsigned`] when there is none.
    pub fn verify<'k>(&self, known: &'k [NoteVerifier]) -> Result<Vec<&'k NoteVerifier>, NoteError> {
        let mut verified = Vec::new();
        for key in known {
            let mut found = false;
            for line in self
                .signatures
                .iter()
                .filter(|s| s.name == key.name && s.key_id == key.key_id)
            {
                if !key.is_signature(self.text.as_bytes(), &line.bytes) {
                    return Err(NoteError::SignatureInvalid {
                        name: key.name.clone(),
                    });
                }
                found = true;
            }
            if found && !verified.contains(&key) {
                verified.push(key);
            }
        }
        if verified.is_empty() {
            Err(NoteError::Unsigned)
        } else {
            Ok(verified)
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.text)?;
        for line in &self.signatures {
            let mut bytes = line.key_id.to_be_bytes().to_vec();
            bytes.extend_from_slice(&line.bytes);
            writeln!(out, "{SIGNATURE_PREFIX}{} {}", line.name, base64::encode(&bytes))?;
        }
        Ok(())
    }
}

fn has_control(text: &str) -> bool {
    text.bytes().any(|byte| byte < 0x20 && byte != b'\n')
}

fn parse_signature(line: &str) -> Result<NoteSignature, NoteError> {
    let rest = line.strip_prefix(SIGNATURE_PREFIX).ok_or(malformed(
        "a signature line must begin with an em dash and a space",
    ))?;
    let (name, encoded) = rest
        .split_once(' ')
        .ok_or(malformed("a signature line has no signature"))?;
    if !is_key_name(name) {
        return Err(malformed("a signature line has no valid key name"));
    }
    let bytes = base64::decode(encoded).ok_or(malformed("a signature is not canonical base64"))?;
    match bytes.split_first_chunk::<4>() {
        Some((id, signature)) if !signature.is_empty() => Ok(NoteSignature {
            name: name.to_owned(),
            key_id: u32::from_be_bytes(*id),
            bytes: signature.to_vec(),
        }),
        _ => Err(malformed("a signature is shorter than its key id and one byte")),
    }
}
