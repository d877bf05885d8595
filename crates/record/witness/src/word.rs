//! What the witness file says: canonical JSON with a digest over itself.

use std::io;
use std::path::Path;

use bailiwick_audit::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use bailiwick_audit::note::{Note, NoteVerifier};
use bailiwick_base::{Digest, Epoch, canonical, json};
use bailiwick_journal::Disk;
use serde_json::{Map, Value};

use crate::error::Refused;

/// Longest file in bytes.
const WORD_MAX: usize = 64 * 1024;
const VERSION: u64 = 1;
const DIGEST: &str = "digest";

/// What a node said last to its witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The newest epoch that was committed.
    pub epoch: Epoch,
    /// Signed checkpoints, the state log's first.
    pub checkpoints: Vec<String>,
}

impl Word {
    /// The bytes of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut members = Map::new();
        members.insert("checkpoints".to_owned(), self.checkpoints.clone().into());
        members.insert("epoch".to_owned(), self.epoch.0.into());
        members.insert("v".to_owned(), VERSION.into());
        let digest = Digest::of(&bytes_of(&members)).to_string();
        members.insert(DIGEST.to_owned(), digest.into());
        let mut bytes = bytes_of(&members);
        bytes.push(b'\n');
        bytes
    }

    /// Reads what [`Word::encode`] wrote.
    ///
    /// # Errors
    /// What is wrong, as text.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let value = json::parse(bytes, WORD_MAX).map_err(|error| error.to_string())?;
        let object = value.as_object().ok_or("not an object")?;
        if object.get("v").and_then(Value::as_u64) != Some(VERSION) {
            return Err("not of a version that is known".to_owned());
        }
        let epoch = object
            .get("epoch")
            .and_then(Value::as_u64)
            .ok_or("`epoch` is not a number")?;
        let checkpoints = object
            .get("checkpoints")
            .and_then(Value::as_array)
            .ok_or("`checkpoints` is not a list")?;
        let texts = checkpoints
            .iter()
            .map(|text| text.as_str().map(str::to_owned).ok_or("a checkpoint is not text"));
        let word = Self {
            epoch: Epoch(epoch),
            checkpoints: texts.collect::<Result<_, _>>()?,
        };
        // One word has one form, its digest included: no bit of it changes unnoticed.
        if word.encode() == bytes {
            Ok(word)
        } else {
            Err("its bytes are not those that were written".to_owned())
        }
    }

    /// Reads the file; `None` when there is none.
    ///
    /// # Errors
    /// [`Refused::Unreadable`], [`Refused::Damaged`].
    pub fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Self>, Refused> {
        let bytes = match disk.read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(Refused::Unreadable {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let damaged = |why| Refused::Damaged {
            path: path.to_owned(),
            why,
        };
        Self::decode(&bytes).map(Some).map_err(damaged)
    }

    /// Replaces the file; durable when this returns.
    ///
    /// # Errors
    /// [`Refused::Unwritable`].
    pub fn write(&self, disk: &dyn Disk, path: &Path) -> Result<(), Refused> {
        disk.replace(path, &self.encode())
            .map_err(|source| Refused::Unwritable {
                path: path.to_owned(),
                source,
            })
    }

    /// The checkpoint of the log of this key: `Ok(None)` when the word has none of its origin.
    ///
    /// # Errors
    /// When the key did not sign it.
    pub fn seen(&self, key: &NoteVerifier) -> Result<Option<Checkpoint>, String> {
        let of_log = |text: &&String| {
            let origin = Note::parse(text.as_bytes())
                .ok()
                .and_then(|note| Checkpoint::parse_body(note.text()).ok());
            origin.is_some_and(|checkpoint| checkpoint.origin.as_str() == key.name())
        };
        let Some(text) = self.checkpoints.iter().find(of_log) else {
            return Ok(None);
        };
        let origin = Origin::parse(key.name()).map_err(|error| error.to_string())?;
        let signed = SignedCheckpoint::verify(text.as_bytes(), &origin, std::slice::from_ref(key))
            .map_err(|error| error.to_string())?;
        Ok(Some(signed.checkpoint().clone()))
    }
}

/// Texts and numbers far below 2^53 have a canonical form; a word without one would not decode.
fn bytes_of(members: &Map<String, Value>) -> Vec<u8> {
    canonical::to_vec(members).unwrap_or_default()
}
