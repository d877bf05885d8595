//! Cosignatures of witnesses (C2SP tlog-cosignature 1.0.1, `cosignature/v1` with Ed25519): a witness states that at
//! this time this checkpoint was the largest it had seen of its log, and that it extends all it had seen before.
//!
//! ```text
//! cosignature/v1
//! time 1763812345
//! <text of the checkpoint's note>
//! ```
//!
//! In the note's signature line stand eight bytes of time, big-endian, and the signature.

use std::fmt;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

use crate::note::{Note, NoteError, NoteSignature, NoteVerifier, key_id_of, parse_vkey, vkey_of};

/// Signature type of an Ed25519 cosignature.
pub const COSIGNATURE_TYPE: u8 = 0x04;

/// What a witness signs, for the text of a checkpoint's note and a time in Unix seconds.
#[must_use]
pub fn message(text: &str, time: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{text}").into_bytes()
}

/// The signature line of a witness.
#[must_use]
pub fn cosignature(key: &WitnessKey, time: u64, signature: &[u8; 64]) -> NoteSignature {
    let mut bytes = time.to_be_bytes().to_vec();
    bytes.extend_from_slice(signature);
    NoteSignature {
        name: key.name.clone(),
        key_id: key.key_id,
        bytes,
    }
}

/// The public key of a witness.
#[derive(Clone, PartialEq, Eq)]
pub struct WitnessKey {
    name: String,
    key_id: u32,
    public_key: [u8; 32],
}

impl WitnessKey {
    /// The key of the witness `name`.
    ///
    /// # Errors
    /// As [`NoteVerifier::new`].
    pub fn new(name: &str, public_key: [u8; 32]) -> Result<Self, NoteError> {
        // The same rules of names and of keys.
        let as_note = NoteVerifier::new(name, public_key)?;
        Ok(Self {
            name: as_note.name().to_owned(),
            key_id: key_id_of(name, COSIGNATURE_TYPE, &public_key),
            public_key,
        })
    }

    /// Parses `name+8 hex digits+base64(0x04 ‖ public key)`.
    ///
    /// # Errors
    /// [`NoteError`] when the form, the type or the key id is wrong.
    pub fn parse(vkey: &str) -> Result<Self, NoteError> {
        parse_vkey(vkey, |name, kind, public_key| match kind {
            COSIGNATURE_TYPE => Self::new(name, public_key).map(|key| (key.key_id, key)),
            kind => Err(NoteError::WitnessKeyType {
                name: name.to_owned(),
                kind,
            }),
        })
    }

    /// The key as [`WitnessKey::parse`] takes it.
    #[must_use]
    pub fn vkey(&self) -> String {
        vkey_of(&self.name, self.key_id, COSIGNATURE_TYPE, &self.public_key)
    }

    /// Name of the witness.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Key id.
    #[must_use]
    pub fn key_id(&self) -> u32 {
        self.key_id
    }

    /// When this witness cosigned the note, Unix seconds; `None` when it did not.
    ///
    /// # Errors
    /// [`NoteError::SignatureInvalid`] when a line names this key and does not verify.
    pub fn cosigned(&self, note: &Note) -> Result<Option<u64>, NoteError> {
        let mut at = None;
        let own = |line: &&NoteSignature| line.name == self.name && line.key_id == self.key_id;
        for line in note.signatures().iter().filter(own) {
            let invalid = || NoteError::SignatureInvalid {
                name: self.name.clone(),
            };
            let (time, signature) = line.bytes.split_first_chunk::<8>().ok_or_else(invalid)?;
            let time = u64::from_be_bytes(*time);
            UnparsedPublicKey::new(&ED25519, self.public_key)
                .verify(&message(note.text(), time), signature)
                .map_err(|_| invalid())?;
            at = at.max(Some(time));
        }
        Ok(at)
    }
}

impl fmt::Debug for WitnessKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "WitnessKey({})", self.vkey())
    }
}

/// Which of `known` cosigned the note, and when. One key counts once, under however many names and lines.
///
/// # Errors
/// [`NoteError::SignatureInvalid`].
pub fn cosigners<'k>(note: &Note, known: &'k [WitnessKey]) -> Result<Vec<(&'k WitnessKey, u64)>, NoteError> {
    let mut found: Vec<(&WitnessKey, u64)> = Vec::new();
    for key in known {
        let Some(time) = key.cosigned(note)? else {
            continue;
        };
        if found.iter().all(|(other, _)| other.public_key != key.public_key) {
            found.push((key, time));
        }
    }
    Ok(found)
}
