//! Tiles and checkpoints of the state log. The store owns its entries and brings their leaves in order.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bailiwick_audit::checkpoint::{Origin, SignedCheckpoint};
use bailiwick_audit::merkle::{ConsistencyProof, InclusionProof, LeafHash, leaf_hash};
use bailiwick_audit::proof::ProofFile;

use crate::disk::{Dir, Disk};
use crate::error::JournalError;
use crate::log::NoteKey;
use crate::publish::{Proofs, Tiles};

/// The published form of the state log. Its methods block on the disk: call them off the async threads.
pub struct StateTiles {
    tiles: Mutex<Tiles>,
    proofs: Arc<Proofs>,
}

impl StateTiles {
    /// Opens the tiles in `dir`; a new folder gets a checkpoint of size 0. The store then offers its entries
    /// from [`StateTiles::size`] on, or from earlier, in which case they are compared.
    ///
    /// # Errors
    /// [`JournalError`] when the folder does not hold a log of this origin and key.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, origin: &str, key: NoteKey) -> Result<Self, JournalError> {
        let origin = Origin::parse(origin).map_err(|_| JournalError::Setting {
            setting: "origin",
            found: bailiwick_base::limits::shown(origin),
            expected: "1 to 255 bytes without spaces or `+`",
        })?;
        let tiles = Tiles::open(&Dir::new(disk, dir), &origin, key, None)?;
        let proofs = tiles.proofs();
        Ok(Self {
            tiles: Mutex::new(tiles),
            proofs,
        })
    }

    /// A holder that panicked left tiles whose next publication starts from the files.
    fn lock(&self) -> MutexGuard<'_, Tiles> {
        self.tiles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries taken so far: the index that follows.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.lock().size()
    }

    /// Takes committed entries in order, makes their tiles durable and shows a new checkpoint. An entry that
    /// was published before is compared with what was published. Returns the size of the checkpoint.
    ///
    /// # Errors
    /// [`JournalError::OutOfOrder`], [`JournalError::Rewritten`], or what the disk or the key said; the next
    /// call goes on.
    pub fn publish<'a>(
        &self,
        entries: impl IntoIterator<Item = (u64, &'a [u8])>,
    ) -> Result<u64, JournalError> {
        let mut tiles = self.lock();
        // What an earlier attempt took, but could not publish, comes first: then it can be compared.
        if tiles.checkpoint().size < tiles.size() {
            tiles.publish()?;
        }
        for (index, leaf) in entries {
            let expected = tiles.size();
            if index > expected {
                return Err(JournalError::OutOfOrder { index, expected });
            }
            let hash = leaf_hash(leaf);
            if index == expected {
                tiles.append(hash, leaf)?;
            } else if index < tiles.checkpoint().size {
                self.require_same(index, hash)?;
            } else {
                return Err(JournalError::OutOfOrder { index, expected });
            }
        }
        if tiles.checkpoint().size < tiles.size() {
            tiles.publish()?;
        }
        Ok(tiles.size())
    }

    fn require_same(&self, index: u64, hash: LeafHash) -> Result<(), JournalError> {
        let (published, ..) = self.proofs.prove_inclusion(index)?;
        if published == hash {
            Ok(())
        } else {
            Err(JournalError::Rewritten { index })
        }
    }

    /// The checkpoint that is shown.
    #[must_use]
    pub fn checkpoint(&self) -> Arc<SignedCheckpoint> {
        self.proofs.checkpoint()
    }

    /// Proof that entry `index` is under the checkpoint that is shown, with the entry's hash.
    ///
    /// # Errors
    /// [`JournalError::NotIntegrated`], [`JournalError::Prove`].
    pub fn prove_inclusion(
        &self,
        index: u64,
    ) -> Result<(LeafHash, InclusionProof, Arc<SignedCheckpoint>), JournalError> {
        self.proofs.prove_inclusion(index)
    }

    /// Proof that the checkpoint that is shown extends the log's first `old` entries.
    ///
    /// # Errors
    /// [`JournalError::Prove`].
    pub fn prove_consistency(
        &self,
        old: u64,
    ) -> Result<(ConsistencyProof, Arc<SignedCheckpoint>), JournalError> {
        self.proofs.prove_consistency(old)
    }

    /// The `.tlog-proof` file of entry `index`, with the leaf in it.
    ///
    /// # Errors
    /// [`JournalError::NotIntegrated`], [`JournalError::Prove`].
    pub fn prove(&self, index: u64) -> Result<ProofFile, JournalError> {
        self.proofs.prove(index)
    }
}

impl std::fmt::Debug for StateTiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "StateTiles({} entries)",
            self.proofs.checkpoint().checkpoint().size
        )
    }
}
