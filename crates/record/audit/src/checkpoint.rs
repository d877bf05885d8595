//! Checkpoints (C2SP tlog-checkpoint 1.0.0): the signed statement "log
//! `origin` has `size` entries with this root".
//!
//! Crash rule, kept by the caller: entries durable, then their tiles durable,
//! then the checkpoint shown. [`CheckpointIssuer`] keeps the other rule: what
//! it signs extends what it signed before.

use std::fmt;

use crate::base64;
use crate::merkle::{
    ConsistencyProof, HashLengthError, ProofError, RootHash, TreeSize, hash_from_slice, verify_growth,
};
use crate::note::{Note, NoteError, NoteSignature, NoteSigner, NoteVerifier, SignerError};

/// Longest origin in bytes (C2SP tlog-cosignature).
pub const ORIGIN_MAX: usize = 255;

/// The name of a log: first line of its checkpoints and name of its key, such
/// as `example.com/decisions/node-1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin(String);

/// What a log says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log.
    pub origin: Origin,
    /// Number of entries.
    pub size: TreeSize,
    /// Root over them.
    pub root: RootHash,
}

/// A checkpoint is malformed, of another log, or not signed as it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// A line of the body is wrong.
    #[error("malformed checkpoint: {reason}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
    /// The note around the body is wrong or not signed.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The origin cannot name a log.
    #[error("`{origin}` cannot be an origin: 1 to 255 bytes without spaces or `+`")]
    Origin {
        /// What was given.
        origin: String,
    },
    /// The checkpoint is of another log.
    #[error("the checkpoint is of log `{found}`, expected `{expected}`")]
    OriginMismatch {
        /// Origin that was asked for.
        expected: String,
        /// Origin in the checkpoint.
        found: String,
    },
    /// The root is not a hash.
    #[error("malformed checkpoint root")]
    Root(#[from] HashLengthError),
}

const fn malformed(reason: &'static str) -> CheckpointError {
    CheckpointError::Malformed { reason }
}

impl Origin {
    /// Takes a log's name.
    ///
    /// # Errors
    /// [`CheckpointError::Origin`] unless it is 1 to 255 bytes without spaces,
    /// control characters or `+`, so that it can also be the name of the key.
    pub fn parse(origin: &str) -> Result<Self, CheckpointError> {
        let refused = |char: char| char.is_whitespace() || char.is_control() || char == '+';
        if origin.is_empty() || origin.len() > ORIGIN_MAX || origin.chars().any(refused) {
            return Err(CheckpointError::Origin {
                origin: origin.to_owned(),
            });
        }
        Ok(Self(origin.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Checkpoint {
    /// The note text: origin, size and root, a line each.
    #[must_use]
    pub fn body(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            base64::encode(&self.root.0)
        )
    }

    /// Parses a note text. Extension lines are allowed and ignored; they are
    /// covered by an Ed25519 signature, but mean nothing here.
    ///
    /// # Errors
    /// [`CheckpointError`] naming the line that is wrong.
    pub fn parse_body(body: &str) -> Result<Self, CheckpointError> {
        let body = body
            .strip_suffix('\n')
            .ok_or(malformed("the last line must end in a newline"))?;
        let mut lines = body.split('\n');
        let origin = Origin::parse(lines.next().unwrap_or_default())?;
        let size = lines.next().ok_or(malformed("the size is missing"))?;
        let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || (size.starts_with('0') && size != "0") {
            return Err(malformed("the size must be a decimal without leading zeroes"));
        }
        let size = size
            .parse()
            .map_err(|_| malformed("the size is above 2^64 - 1"))?;
        let root = lines.next().ok_or(malformed("the root is missing"))?;
        let root = base64::decode(root).ok_or(malformed("the root is not canonical base64"))?;
        let root = RootHash(hash_from_slice(&root)?);
        if lines.any(str::is_empty) {
            return Err(malformed("an extension line is empty"));
        }
        Ok(Self { origin, size, root })
    }

    /// Verifies that this checkpoint extends an `older` one of the same log.
    /// From size 0 the proof is empty.
    ///
    /// # Errors
    /// [`ExtendError`] when the log is another one, shrank or was rewritten.
    pub fn require_extends(&self, older: &Self, proof: &ConsistencyProof) -> Result<(), ExtendError> {
        if self.origin != older.origin {
            return Err(ExtendError::Origin {
                older: older.origin.clone(),
                newer: self.origin.clone(),
            });
        }
        if (proof.old_size, proof.new_size) != (older.size, self.size) {
            return Err(ExtendError::ProofSizes {
                older: older.size,
                newer: self.size,
            });
        }
        verify_growth(proof, &older.root, &self.root).map_err(ExtendError::Proof)
    }
}

/// One checkpoint does not extend another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtendError {
    /// They are of different logs.
    #[error("checkpoints of different logs: `{older}` and `{newer}`")]
    Origin {
        /// Origin of the older one.
        older: Origin,
        /// Origin of the newer one.
        newer: Origin,
    },
    /// The log was rewritten, or the proof is wrong.
    #[error("the newer checkpoint is not shown to extend the older one")]
    Proof(#[source] ProofError),
    /// The proof is for other sizes.
    #[error("the consistency proof is not from size `{older}` to size `{newer}`")]
    ProofSizes {
        /// Size of the older one.
        older: TreeSize,
        /// Size of the newer one.
        newer: TreeSize,
    },
}

/// A checkpoint together with the note that signs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
}

impl SignedCheckpoint {
    /// Parses a checkpoint and verifies its signatures: the log's key (one of
    /// `known` whose name is `origin`) must be among them; other known keys,
    /// for example of witnesses, are verified where they signed.
    ///
    /// # Errors
    /// [`CheckpointError`]; nothing of an unverified checkpoint is returned.
    pub fn verify(bytes: &[u8], origin: &Origin, known: &[NoteVerifier]) -> Result<Self, CheckpointError> {
        let note = Note::parse(bytes)?;
        let signers = note.verify(known)?;
        if !signers.iter().any(|key| key.name() == origin.as_str()) {
            return Err(NoteError::Unsigned.into());
        }
        let checkpoint = Checkpoint::parse_body(note.text())?;
        if checkpoint.origin != *origin {
            return Err(CheckpointError::OriginMismatch {
                expected: origin.to_string(),
                found: checkpoint.origin.to_string(),
            });
        }
        Ok(Self { checkpoint, note })
    }

    /// Origin, size and root.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The signed note.
    #[must_use]
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// The bytes of the `checkpoint` file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.note.to_string().into_bytes()
    }
}

/// A checkpoint was not issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// It would contradict the one signed before it.
    #[error("refused to sign a checkpoint that does not extend the last one")]
    Inconsistent(#[from] ExtendError),
    /// The note could not be put together.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The key is not the log's.
    #[error("key `{name}` does not belong to log `{origin}`")]
    SignerName {
        /// Name of the key.
        name: String,
        /// Origin of the log.
        origin: Origin,
    },
    /// The key could not sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// Another checkpoint was issued since the proposal was verified.
    #[error("the proposal of size `{proposed}` is stale: size `{last}` was issued since; propose again")]
    Stale {
        /// Size of the proposal.
        proposed: TreeSize,
        /// Size issued last.
        last: TreeSize,
    },
}

/// The only way to a new signed checkpoint of a log: it remembers what it
/// signed last and signs only what provably extends it.
///
/// The caller must store what was signed before showing it, and resume from
/// the last stored one after a restart.
#[derive(Clone, Debug)]
pub struct CheckpointIssuer {
    last: Checkpoint,
}

/// A consistent checkpoint that is not signed yet, for a key that is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposedCheckpoint {
    /// What it was verified to extend.
    base: Checkpoint,
    checkpoint: Checkpoint,
}

impl ProposedCheckpoint {
    /// The text to sign.
    #[must_use]
    pub fn body(&self) -> String {
        self.checkpoint.body()
    }
}

impl CheckpointIssuer {
    /// For a log that never had a checkpoint.
    #[must_use]
    pub fn new_log(origin: Origin) -> Self {
        Self {
            last: Checkpoint {
                origin,
                size: 0,
                root: crate::merkle::EMPTY_ROOT,
            },
        }
    }

    /// For a log whose last checkpoint was verified under its own key.
    #[must_use]
    pub fn resume(last: &SignedCheckpoint) -> Self {
        Self {
            last: last.checkpoint.clone(),
        }
    }

    /// What was signed last; size 0 before the first.
    #[must_use]
    pub fn last(&self) -> &Checkpoint {
        &self.last
    }

    /// Verifies that `(size, root)` extends the last checkpoint. `proof` leads
    /// from its size to `size` ([`crate::tile::TileWriter::consistency_since_mark`]).
    ///
    /// # Errors
    /// [`ExtendError`] when it does not.
    pub fn propose(
        &self,
        size: TreeSize,
        root: RootHash,
        proof: &ConsistencyProof,
    ) -> Result<ProposedCheckpoint, ExtendError> {
        let checkpoint = Checkpoint {
            origin: self.last.origin.clone(),
            size,
            root,
        };
        checkpoint.require_extends(&self.last, proof)?;
        Ok(ProposedCheckpoint {
            base: self.last.clone(),
            checkpoint,
        })
    }

    /// Completes a proposal with a signature made elsewhere. `key` is the
    /// log's public key: a signature that does not verify is not issued.
    ///
    /// # Errors
    /// [`IssueError`] when another checkpoint was issued in between, or the
    /// signature is not the log's; the issuer is then unchanged.
    pub fn complete(
        &mut self,
        proposed: ProposedCheckpoint,
        key: &NoteVerifier,
        signature: [u8; 64],
    ) -> Result<SignedCheckpoint, IssueError> {
        let ProposedCheckpoint { base, checkpoint } = proposed;
        if base != self.last {
            return Err(IssueError::Stale {
                proposed: checkpoint.size,
                last: self.last.size,
            });
        }
        self.require_own_key(key.name())?;
        if !key.is_signature(checkpoint.body().as_bytes(), &signature) {
            return Err(NoteError::SignatureInvalid {
                name: key.name().to_owned(),
            }
            .into());
        }
        self.conclude(checkpoint, key.name(), key.key_id(), signature)
    }

    /// Proposes and signs in one step.
    ///
    /// # Errors
    /// [`IssueError`]; the issuer is then unchanged.
    pub fn issue(
        &mut self,
        size: TreeSize,
        root: RootHash,
        proof: &ConsistencyProof,
        signer: &dyn NoteSigner,
    ) -> Result<SignedCheckpoint, IssueError> {
        self.require_own_key(signer.name())?;
        let ProposedCheckpoint { checkpoint, .. } = self.propose(size, root, proof)?;
        let signature = signer.sign(checkpoint.body().as_bytes())?;
        self.conclude(checkpoint, signer.name(), signer.key_id(), signature)
    }

    fn conclude(
        &mut self,
        checkpoint: Checkpoint,
        name: &str,
        key_id: u32,
        signature: [u8; 64],
    ) -> Result<SignedCheckpoint, IssueError> {
        let mut note = Note::new(checkpoint.body())?;
        note.push(NoteSignature {
            name: name.to_owned(),
            key_id,
            bytes: signature.to_vec(),
        })?;
        self.last.clone_from(&checkpoint);
        Ok(SignedCheckpoint { checkpoint, note })
    }

    fn require_own_key(&self, name: &str) -> Result<(), IssueError> {
        if name == self.last.origin.as_str() {
            return Ok(());
        }
        Err(IssueError::SignerName {
            name: name.to_owned(),
            origin: self.last.origin.clone(),
        })
    }
}
