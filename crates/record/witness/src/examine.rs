//! The logs of a data folder against what its witness saw, before anything is signed or answered.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bailiwick_audit::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use bailiwick_audit::merkle::RootHash;
use bailiwick_audit::note::NoteVerifier;
use bailiwick_audit::tile::{Prover, TileSource};
use bailiwick_base::{Epoch, Ids};
use bailiwick_decide::{MarkEffect, MarkScope};
use bailiwick_journal::{Disk, NoteKey, TileFolder};
use bailiwick_store::{Actor, Context, Reach, RequestId, Store, StoreError, Tx};

use crate::config::WitnessConfig;
use crate::error::{Refused, WitnessError};
use crate::word::Word;

/// Tiles kept while one proof is made.
const KEPT_MAX: usize = 8;
/// What the epoch is raised by when nobody knows how far it was: more revocations than an installation ever makes.
const UNKNOWN: u64 = 1 << 32;

/// What follows the name of what was put aside, before the number of entries that it had.
pub const ASIDE: &str = "ahead-";

/// A log as it lies in the data folder.
#[derive(Debug, Clone, Copy)]
pub struct LogFolder<'a> {
    /// `state` or `decisions`.
    log: &'static str,
    folder: &'a Path,
    /// Its key, named after its origin.
    verifier: &'a NoteVerifier,
}

/// What an operator goes on in spite of.
#[derive(Debug)]
struct Accepted {
    refused: Refused,
    reason: String,
}

/// What was found before a start; from it comes the keeper.
#[derive(Debug)]
pub struct Examined {
    pub(crate) disk: Arc<dyn Disk>,
    /// None for an installation without a witness.
    pub(crate) path: Option<PathBuf>,
    /// The newest epoch that the file names.
    seen: Epoch,
    /// Why an operator goes on if he has to.
    reason: Option<String>,
    accepted: Option<Accepted>,
}

impl Examined {
    /// Looks at the witness of the data folder `data` before anything is signed. `logs` are the state log and the
    /// decision log.
    ///
    /// # Errors
    /// [`Refused`], unless the configuration accepts it.
    pub async fn new(
        config: &WitnessConfig,
        data: &Path,
        disk: &Arc<dyn Disk>,
        logs: &[LogFolder<'_>],
        store: &Store,
    ) -> Result<Self, WitnessError> {
        let stored = store.position().await?.0.0;
        let mut examined = Self {
            disk: Arc::clone(disk),
            path: config.place(data)?,
            seen: Epoch(0),
            reason: config.accepted().map(str::to_owned),
            accepted: None,
        };
        let Some(path) = examined.path.clone() else {
            return Ok(examined);
        };
        let refused = match Word::read(&**disk, &path) {
            Ok(Some(word)) => {
                examined.seen = word.epoch;
                word.require_current(&path, disk, logs, stored).err()
            }
            Ok(None) if stored == 0 => None,
            Ok(None) => Some(Refused::Missing { path, stored }),
            Err(refused) => Some(refused),
        };
        refused.map_or(Ok(()), |refused| examined.accept(refused))?;
        if let Some(Accepted {
            refused: Refused::Older { .. },
            ..
        }) = &examined.accepted
        {
            for log in logs.iter().filter(|log| log.log == "state") {
                log.put_aside(&**disk, stored)?;
            }
        }
        Ok(examined)
    }

    fn accept(&mut self, refused: Refused) -> Result<(), Refused> {
        let Some(reason) = self.reason.clone().filter(|_| refused.is_acceptable()) else {
            return Err(refused);
        };
        self.accepted = Some(Accepted { refused, reason });
        Ok(())
    }

    /// Compares the epoch of the store, which agrees with its log by now, and carries out an acceptance: on record,
    /// and every token that may have been given out is dead. Gives the epoch of the store.
    ///
    /// # Errors
    /// [`Refused::Epoch`]; [`Refused::Nothing`] when there is nothing that would have to be accepted; what the store
    /// says.
    pub async fn require_epoch(&mut self, store: &Store, ids: &Ids) -> Result<Epoch, WitnessError> {
        let epoch = store.position().await?.1;
        let Some(path) = self.path.clone() else {
            return Ok(epoch);
        };
        if self.accepted.is_none() && epoch < self.seen {
            let (have, seen) = (epoch.0, self.seen.0);
            self.accept(Refused::Epoch { path, have, seen })?;
        } else if self.accepted.is_none() && self.reason.is_some() {
            // It would end every token for nothing.
            return Err(Refused::Nothing { path }.into());
        }
        let Some(Accepted { refused, reason }) = self.accepted.take() else {
            return Ok(epoch);
        };
        let above = match refused {
            // Nobody knows what was given out meanwhile.
            Refused::Missing { .. } | Refused::Damaged { .. } => Epoch(epoch.0.saturating_add(UNKNOWN)),
            _ => self.seen.max(epoch),
        };
        let request = RequestId(ids.uuid().map_err(|_| WitnessError::Randomness)?);
        let context = Context::new(Reach::Installation, Actor::System("witness"), request);
        let reason = format!("{reason} (accepted: {})", refused.code());
        // What was killed meanwhile would run again: everything stays frozen until somebody has looked.
        let is_behind = refused.is_loss();
        let raised = store
            .transact(context, async move |tx: &mut Tx| {
                tx.mark().raise_floor(&reason, above).await?;
                if is_behind {
                    tx.mark()
                        .set(MarkScope::All, MarkEffect::Suspend, &reason)
                        .await?;
                }
                Ok::<_, StoreError>(Vec::new())
            })
            .await?;
        tracing::warn!(
            %refused,
            epoch = raised.epoch.0,
            "an operator goes on although the witness refuses: every token from before is dead"
        );
        Ok(raised.epoch)
    }
}

impl Word {
    /// Whether each log extends what this word saw of it.
    fn require_current(
        &self,
        path: &Path,
        disk: &Arc<dyn Disk>,
        logs: &[LogFolder<'_>],
        stored: u64,
    ) -> Result<(), Refused> {
        if self.checkpoints.is_empty() {
            // That of a node that joined: its logs begin with this start.
            return Ok(());
        }
        for log in logs {
            let other = || Refused::Other {
                path: path.to_owned(),
                origin: log.verifier.name().to_owned(),
            };
            let seen = match self.seen(log.verifier) {
                Ok(Some(seen)) => seen,
                // A node with a new decision log; the state log is what the installation is known by.
                Ok(None) if log.log != "state" => continue,
                Ok(None) | Err(_) => return Err(other()),
            };
            log.require_extends(path, disk, &seen, stored)?;
        }
        Ok(())
    }
}

impl<'a> LogFolder<'a> {
    /// The log `log` (`state` or `decisions`) in `folder`, under its key.
    #[must_use]
    pub fn new(log: &'static str, folder: &'a Path, key: &'a NoteKey) -> Self {
        Self {
            log,
            folder,
            verifier: &key.verifier,
        }
    }

    /// Whether the folder's checkpoint extends the one that was `seen`.
    fn require_extends(
        &self,
        path: &Path,
        disk: &Arc<dyn Disk>,
        seen: &Checkpoint,
        stored: u64,
    ) -> Result<(), Refused> {
        let tiles = TileFolder::on(disk, self.folder);
        let unreadable = |why: String| Refused::Log {
            log: self.log,
            folder: self.folder.to_owned(),
            why,
        };
        let bytes = tiles
            .read("checkpoint")
            .map_err(|error| unreadable(error.to_string()))?;
        let have = match bytes {
            None => None,
            Some(bytes) => match self.verified(&bytes) {
                Ok(have) => Some(have),
                // Opening the log refuses it next, and names the file.
                Err(_) => return Ok(()),
            },
        };
        let size = have.as_ref().map_or(0, |have| have.size);
        if self.log == "state" && stored < seen.size {
            // Its database was put back under it, whatever the folder has.
            return Err(self.shorter(path, stored.min(size), seen.size, stored));
        }
        if size < seen.size {
            return Err(self.shorter(path, size, seen.size, stored));
        }
        let Some(have) = have.filter(|_| seen.size > 0) else {
            return Ok(());
        };
        let root = match have.size == seen.size {
            true => have.root,
            false => root_at(&tiles, &have, seen.size).map_err(unreadable)?,
        };
        if root == seen.root {
            return Ok(());
        }
        Err(Refused::Forked {
            log: self.log,
            path: path.to_owned(),
            size: seen.size,
        })
    }

    /// Where somebody goes on from a store that is older than what this folder signed: tiles and checkpoint are kept
    /// beside those that are made anew from the store.
    fn put_aside(&self, disk: &dyn Disk, stored: u64) -> Result<(), Refused> {
        let tiles = TileFolder::new(self.folder);
        let bytes = tiles.read("checkpoint").ok().flatten();
        let signed = bytes.and_then(|bytes| self.verified(&bytes).ok());
        let Some(signed) = signed.filter(|signed| signed.size > stored) else {
            return Ok(());
        };
        // The checkpoint last: until it is gone, this is done again.
        for name in ["tile", "checkpoint.witnessed", "checkpoint"] {
            let aside = self.folder.join(format!("{name}.{ASIDE}{}", signed.size));
            match disk.rename(&self.folder.join(name), &aside) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.unmoved(&error)),
            }
        }
        disk.sync_folder(self.folder)
            .map_err(|error| self.unmoved(&error))
    }

    fn unmoved(&self, error: &std::io::Error) -> Refused {
        Refused::Log {
            log: self.log,
            folder: self.folder.to_owned(),
            why: format!("what it signed cannot be put aside: {error}"),
        }
    }

    fn verified(&self, bytes: &[u8]) -> Result<Checkpoint, String> {
        let origin = Origin::parse(self.verifier.name()).map_err(|error| error.to_string())?;
        let signed = SignedCheckpoint::verify(bytes, &origin, std::slice::from_ref(self.verifier))
            .map_err(|error| error.to_string())?;
        Ok(signed.checkpoint().clone())
    }

    fn shorter(&self, path: &Path, have: u64, seen: u64, stored: u64) -> Refused {
        let path = path.to_owned();
        if self.log == "state" && stored < seen {
            return Refused::Older { path, have, seen };
        }
        Refused::Cut {
            log: self.log,
            folder: self.folder.to_owned(),
            path,
            have,
            seen,
        }
    }
}

/// The root of the first `size` entries, from tiles that lead to the folder's own checkpoint.
fn root_at(tiles: &TileFolder, have: &Checkpoint, size: u64) -> Result<RootHash, String> {
    let failed = |error: bailiwick_audit::merkle::ProveError| error.to_string();
    let mut prover = Prover::new(tiles, have.size, have.root, KEPT_MAX).map_err(failed)?;
    let (root, _) = prover.prove_consistency(size).map_err(failed)?;
    Ok(root)
}
