//! The `.tlog-proof` file (C2SP tlog-proof): one entry, proved offline with
//! nothing but the log's verifier key.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64 of the evidence, below>
//! index 73894
//! <base64 hash>             inclusion proof, leaf to root, one per line
//! …
//!
//! example.com/decisions/node-1
//! 109482
//! <base64 root>
//!
//! — example.com/decisions/node-1 <base64 signature>
//! ```
//!
//! The standard leaves `extra` to the application. Ours holds the entry
//! itself, and, where its payload is disclosed, the opening, so that the file
//! alone can be verified. Its bytes are these lines:
//!
//! ```text
//! bailiwick/evidence@v1
//! leaf <base64 of the leaf bytes>
//! key <base64 of the 32-byte tenant log key>      ┐ both or neither
//! payload <base64 of the payload>                 ┘
//! ```
//!
//! each ending in a newline. `extra` is not signed. It needs no trust: the
//! leaf must hash to what the proof leads from, and the payload must open the
//! leaf's commitment.

use crate::base64;
use crate::checkpoint::{Checkpoint, CheckpointError, Origin, SignedCheckpoint};
use crate::entry::{Leaf, LeafError, Opening, OpeningError};
use crate::merkle::{
    Hash, HashLengthError, InclusionProof, ProofError, hash_from_slice, leaf_hash, verify_inclusion,
};
use crate::note::NoteVerifier;

/// Longest proof file that is read, in bytes.
pub const PROOF_MAX: usize = 32 << 20;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
const EVIDENCE_LINE: &str = "bailiwick/evidence@v1";
/// An inclusion proof in a tree of up to 2^64 leaves.
const HASHES_MAX: usize = 64;

/// A proof file is malformed or does not prove its entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofFileError {
    /// The checkpoint is malformed or not signed by the log.
    #[error("the checkpoint of the proof does not verify")]
    Checkpoint(#[from] CheckpointError),
    /// The file has no entry in it, and none was given.
    #[error("the proof file carries no entry: give the entry it is for")]
    EvidenceMissing,
    /// A line of the proof is not a hash.
    #[error("a line of the proof is not a hash")]
    Hash(#[from] HashLengthError),
    /// The entry is not a leaf in canonical form.
    #[error("the entry of the proof is not a canonical leaf")]
    Leaf(#[from] LeafError),
    /// The file is not in the form of the standard.
    #[error("malformed proof file: {reason}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
    /// The payload is not the one the entry commits to.
    #[error(transparent)]
    Opening(#[from] OpeningError),
    /// The entry is not in the tree of the checkpoint.
    #[error("the entry is not shown to be in the log")]
    Proof(#[from] ProofError),
}

const fn malformed(reason: &'static str) -> ProofFileError {
    ProofFileError::Malformed { reason }
}

/// What our proof files carry in `extra`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Bytes of the leaf.
    pub leaf: Vec<u8>,
    /// The payload, where it is disclosed.
    pub opening: Option<Opening>,
}

/// A proof file in its parts. Nothing in it is trusted before
/// [`ProofFile::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofFile {
    /// Opaque bytes of the `extra` line.
    pub extra: Option<Vec<u8>>,
    /// Index of the entry.
    pub index: u64,
    /// Sibling hashes, leaf to root.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint, byte for byte.
    pub checkpoint: String,
}

/// What a verified proof file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedProof {
    /// The checkpoint the entry is in.
    pub checkpoint: Checkpoint,
    /// Index of the entry.
    pub index: u64,
    /// Bytes of the leaf; [`VerifiedProof::leaf`] reads them.
    pub entry: Vec<u8>,
    /// The payload, verified against the leaf, where it is disclosed.
    pub payload: Option<Vec<u8>>,
}

impl VerifiedProof {
    /// The leaf.
    ///
    /// # Errors
    /// [`LeafError`] never occurs here: the bytes were read before.
    pub fn leaf(&self) -> Result<Leaf<'_>, LeafError> {
        Leaf::decode(&self.entry)
    }
}

impl Evidence {
    /// The bytes for the `extra` line.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("{EVIDENCE_LINE}\nleaf {}\n", base64::encode(&self.leaf));
        if let Some(opening) = &self.opening {
            let (key, payload) = (base64::encode(&opening.key), base64::encode(&opening.payload));
            text.push_str(&format!("key {key}\npayload {payload}\n"));
        }
        text.into_bytes()
    }

    /// Reads the bytes of an `extra` line. `index` is the one of the proof.
    ///
    /// # Errors
    /// [`ProofFileError::Malformed`] unless they are exactly the lines above.
    pub fn decode(extra: &[u8], index: u64) -> Result<Self, ProofFileError> {
        let text = std::str::from_utf8(extra).map_err(|_| malformed("extra is not UTF-8"))?;
        let text = text
            .strip_suffix('\n')
            .ok_or(malformed("extra must end in a newline"))?;
        let mut lines = text.split('\n');
        if lines.next() != Some(EVIDENCE_LINE) {
            return Err(malformed("extra must begin with `bailiwick/evidence@v1`"));
        }
        let mut value = |prefix: &str| {
            lines
                .next()
                .map(|line| line.strip_prefix(prefix).and_then(base64::decode))
        };
        let leaf = value("leaf ")
            .flatten()
            .ok_or(malformed("extra has no `leaf` line"))?;
        let opening = match value("key ") {
            None => None,
            Some(key) => {
                let key = key.ok_or(malformed("extra has another line where `key` belongs"))?;
                let key = key
                    .try_into()
                    .map_err(|_| malformed("the key in extra is not 32 bytes"))?;
                let payload = value("payload ")
                    .flatten()
                    .ok_or(malformed("extra has a key but no payload"))?;
                Some(Opening {
                    leaf_index: index,
                    key,
                    payload,
                })
            }
        };
        if lines.next().is_some() {
            return Err(malformed("extra has more lines than it may"));
        }
        Ok(Self { leaf, opening })
    }
}

impl ProofFile {
    /// Puts a proof file together.
    ///
    /// # Errors
    /// [`ProofFileError`] when the parts do not prove `evidence`: a file that
    /// fails in the hands of its receiver is never written.
    pub fn new(
        checkpoint: &SignedCheckpoint,
        proof: &InclusionProof,
        evidence: &Evidence,
    ) -> Result<Self, ProofFileError> {
        let file = Self {
            extra: Some(evidence.encode()),
            index: proof.index,
            hashes: proof.hashes.clone(),
            checkpoint: checkpoint.note().to_string(),
        };
        if proof.size != checkpoint.checkpoint().size {
            return Err(malformed("the proof is not for the size of the checkpoint"));
        }
        file.verify_against(checkpoint.checkpoint(), evidence)?;
        Ok(file)
    }

    /// Parses a proof file, strictly.
    ///
    /// # Errors
    /// [`ProofFileError::Malformed`] or [`ProofFileError::Hash`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofFileError> {
        if bytes.len() > PROOF_MAX {
            return Err(malformed("longer than 32 MiB"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("not UTF-8"))?;
        let (head, checkpoint) = text
            .split_once("\n\n")
            .ok_or(malformed("no empty line before the checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(malformed("the first line must be `c2sp.org/tlog-proof@v1`"));
        }
        let mut line = lines.next().unwrap_or_default();
        let mut extra = None;
        if let Some(encoded) = line.strip_prefix("extra ") {
            extra = Some(base64::decode(encoded).ok_or(malformed("extra is not canonical base64"))?);
            line = lines.next().unwrap_or_default();
        }
        let index = line.strip_prefix("index ").ok_or(malformed("no `index` line"))?;
        let digits = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || (index.starts_with('0') && index != "0") {
            return Err(malformed("the index must be a decimal without leading zeroes"));
        }
        let index = index
            .parse()
            .map_err(|_| malformed("the index is above 2^64 - 1"))?;
        let mut hashes = Vec::new();
        for encoded in lines {
            if hashes.len() == HASHES_MAX {
                return Err(malformed("more than 64 hashes"));
            }
            let hash = base64::decode(encoded).ok_or(malformed("a hash is not canonical base64"))?;
            hashes.push(hash_from_slice(&hash)?);
        }
        Ok(Self {
            extra,
            index,
            hashes,
            checkpoint: checkpoint.to_owned(),
        })
    }

    /// The bytes of the file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{FIRST_LINE}\n");
        if let Some(extra) = &self.extra {
            text.push_str(&format!("extra {}\n", base64::encode(extra)));
        }
        text.push_str(&format!("index {}\n", self.index));
        for hash in &self.hashes {
            text.push_str(&base64::encode(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text.into_bytes()
    }

    /// Verifies one of our proof files: signature of the log `origin`,
    /// inclusion of the leaf, its form, and the payload where it is disclosed.
    ///
    /// # Errors
    /// [`ProofFileError`] naming what fails.
    pub fn verify(&self, origin: &Origin, known: &[NoteVerifier]) -> Result<VerifiedProof, ProofFileError> {
        let extra = self.extra.as_deref().ok_or(ProofFileError::EvidenceMissing)?;
        let evidence = Evidence::decode(extra, self.index)?;
        let signed = SignedCheckpoint::verify(self.checkpoint.as_bytes(), origin, known)?;
        self.verify_against(signed.checkpoint(), &evidence)?;
        Ok(VerifiedProof {
            checkpoint: signed.checkpoint().clone(),
            index: self.index,
            entry: evidence.leaf,
            payload: evidence.opening.map(|opening| opening.payload),
        })
    }

    /// Verifies a proof file of any tlog-tiles log for an `entry` that the
    /// caller has; `extra` is not looked at.
    ///
    /// # Errors
    /// [`ProofFileError`] naming what fails.
    pub fn verify_entry(
        &self,
        entry: &[u8],
        origin: &Origin,
        known: &[NoteVerifier],
    ) -> Result<Checkpoint, ProofFileError> {
        let signed = SignedCheckpoint::verify(self.checkpoint.as_bytes(), origin, known)?;
        self.verify_inclusion_of(entry, signed.checkpoint())?;
        Ok(signed.checkpoint().clone())
    }

    fn verify_inclusion_of(&self, entry: &[u8], checkpoint: &Checkpoint) -> Result<(), ProofFileError> {
        let proof = InclusionProof {
            index: self.index,
            size: checkpoint.size,
            hashes: self.hashes.clone(),
        };
        Ok(verify_inclusion(&proof, &leaf_hash(entry), &checkpoint.root)?)
    }

    fn verify_against(&self, checkpoint: &Checkpoint, evidence: &Evidence) -> Result<(), ProofFileError> {
        self.verify_inclusion_of(&evidence.leaf, checkpoint)?;
        let leaf = Leaf::decode(&evidence.leaf)?;
        if let Some(opening) = &evidence.opening {
            opening.verify(&leaf)?;
        }
        Ok(())
    }
}
