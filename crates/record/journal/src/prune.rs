//! Pruning: the oldest segments go, a [`Base`] stands for their entries, and every proof stays valid.
//!
//! The order, so that a crash between any two steps is finished by the next start:
//!
//! 1. [`DecisionLog::intend_prune`] writes what is to be done;
//! 2. the caller records it in the state log, with the digest of the base;
//! 3. [`DecisionLog::finish_prune`] makes the base durable, then removes segments, then bundles and tiles that lie
//!    wholly in front of the minimum, then the intent.
//!
//! An intent that the state log knows nothing of is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use bailiwick_audit::entry::Leaf;
use bailiwick_audit::tile::tiles_below;
use bailiwick_base::Time;

use crate::base::{self, Base, CutAt, INTENT, KeptBase};
use crate::cursor::{Cursor, Place, Sums};
use crate::error::JournalError;
use crate::frame::SEGMENT_HEAD;
use crate::log::DecisionLog;
use crate::segment;

/// What a pruning would remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    base: Base,
    /// Segments that go.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Who prunes a log, when, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// When.
    pub at: Time,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Entries of the state log now: the one that records it is not before them.
    pub state_size: u64,
}

impl Plan {
    /// The base that the log would have, without who and why.
    #[must_use]
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Entries that go.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.base.minimum - self.base.from
    }
}

impl DecisionLog {
    /// Where the log begins, and why, once it was pruned.
    #[must_use]
    pub fn base(&self) -> Option<Arc<KeptBase>> {
        self.base.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Index of the first entry that is kept.
    #[must_use]
    pub fn minimum(&self) -> u64 {
        self.base().map_or(0, |kept| kept.base.minimum)
    }

    /// Whether entry `index` was not pruned.
    ///
    /// # Errors
    /// [`JournalError::Pruned`].
    pub fn require_kept(&self, index: u64) -> Result<(), JournalError> {
        match self.base() {
            Some(kept) if index < kept.base.minimum => Err(JournalError::Pruned {
                index,
                minimum: kept.base.minimum,
                at: kept.base.pruned_at(),
                reason: kept.base.reason.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Waits until nobody else prunes it, from plan to end.
    pub async fn prune_alone(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.pruning.lock().await
    }

    /// What pruning everything recorded before `before` would remove: whole segments whose newest entry is older and
    /// of whose entries each is under the checkpoint and in front of `until`. The newest segment is never among them.
    /// Reads all of them. `None` when no segment is.
    ///
    /// # Errors
    /// [`JournalError`] when they cannot be read.
    pub fn plan_prune(&self, before: Time, until: u64) -> Result<Option<Plan>, JournalError> {
        let signed = self.checkpoint();
        let shown = signed.checkpoint();
        let kept = self.base();
        let begins = kept.as_ref().map(|kept| &kept.base);
        let start = base::place_of(begins, &self.origin);
        let before = u64::try_from(before.micros()).unwrap_or(0);
        let end = shown.size.min(until);
        let Some(cut) = self.cut_before(begins, start, (before, end))? else {
            return Ok(None);
        };
        let base = Base::new(&self.origin, start.next, &cut, (shown.size, shown.root.0));
        let mut bytes = 0;
        for ordinal in start.ordinal..base.segment {
            let path = segment::path(&self.dir.path, ordinal);
            let length = self.dir.length(&path);
            bytes += length.map_err(JournalError::file("looking at", &path))?;
        }
        Ok(Some(Plan {
            segments: base.segment - start.ordinal,
            base,
            bytes,
        }))
    }

    /// The last border between two segments such that everything in front of it is older than `before` and in front
    /// of entry `end`.
    fn cut_before(
        &self,
        begins: Option<&Base>,
        start: Place,
        (before, end): (u64, u64),
    ) -> Result<Option<CutAt>, JournalError> {
        let mut tree = begins.and_then(Base::frontier).unwrap_or_default();
        let tenants = begins.into_iter().flat_map(|base| &base.tenants);
        let mut tenants: BTreeMap<Arc<str>, u64> = tenants
            .map(|(tenant, last)| (tenant.as_str().into(), *last))
            .collect();
        let mut newest_at = begins.map_or(0, |base| u64::try_from(base.newest_at).unwrap_or(0));
        let mut cursor = Cursor::at(&self.dir, start, Sums::Verify)?;
        let mut cut = None;
        while cursor.place().next < end {
            let ordinal = cursor.place().ordinal;
            if !cursor.advance()? {
                return Err(cursor.damaged(cursor.place().offset, "an entry that was durable is gone"));
            }
            let place = cursor.place();
            let Some((frame, hash)) = cursor.frame()? else {
                return Err(cursor.damaged(place.offset, "the entry changed while it was read"));
            };
            if place.ordinal != ordinal {
                cut = Some(CutAt {
                    place: Place {
                        ordinal: place.ordinal,
                        offset: SEGMENT_HEAD,
                        next: frame.head.index,
                        before: frame.head.before,
                    },
                    peaks: tree.peaks().to_vec(),
                    tenants: tenants.clone(),
                    newest_at,
                });
            }
            let index = frame.head.index;
            let leaf = Leaf::decode(frame.leaf).map_err(|source| JournalError::Leaf { index, source })?;
            if leaf.at >= before {
                break;
            }
            newest_at = newest_at.max(leaf.at);
            tenants.insert(leaf.tenant_ref.into(), leaf.tenant_seq);
            tree.append(hash).map_err(|error| JournalError::Append {
                index,
                source: error.into(),
            })?;
        }
        Ok(cut)
    }

    /// Makes durable what is to be done, before it is recorded.
    ///
    /// # Errors
    /// [`JournalError::File`]; nothing was pruned.
    pub fn intend_prune(&self, plan: &Plan, why: Why) -> Result<Base, JournalError> {
        let base = Base {
            pruned_at: why.at.micros(),
            by: why.by,
            reason: why.reason,
            state_size: why.state_size,
            ..plan.base.clone()
        };
        base::write_intent(&self.dir, &base)?;
        Ok(base)
    }

    /// What was intended and not finished.
    ///
    /// # Errors
    /// [`JournalError::File`].
    pub fn intended_prune(&self) -> Result<Option<Base>, JournalError> {
        base::read_intent(&self.dir, &self.origin)
    }

    /// Drops what was intended and never recorded.
    ///
    /// # Errors
    /// [`JournalError::File`].
    pub fn abandon_prune(&self) -> Result<(), JournalError> {
        let path = self.dir.path.join(INTENT);
        self.unlink(&path, &mut BTreeSet::new())?;
        self.dir
            .disk
            .sync_folder(&self.dir.path)
            .map_err(JournalError::file("flushing", &self.dir.path))
    }

    /// Carries out what entry `entry` of the state log recorded. After an error the next start, or the same call
    /// again, goes on with it.
    ///
    /// # Errors
    /// [`JournalError::File`].
    pub fn finish_prune(&self, base: Base, entry: u64) -> Result<(), JournalError> {
        let kept = KeptBase { base, entry };
        base::write(&self.dir, &kept)?;
        // From here on nobody looks in front of it.
        self.milestones
            .begin_at(base::place_of(Some(&kept.base), &self.origin));
        let kept = Arc::new(kept);
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&kept));
        self.remove_below(&kept.base)?;
        self.abandon_prune()
    }

    /// Removes segments in front of the base that somebody put back, or that could not be removed then.
    ///
    /// # Errors
    /// [`JournalError::File`].
    pub fn clear_pruned(&self) -> Result<(), JournalError> {
        let Some(kept) = self.base() else {
            return Ok(());
        };
        let mut touched = BTreeSet::new();
        self.remove_segments_below(&kept.base, &mut touched)?;
        self.flush_folders(touched)
    }

    /// Removes what the base stands for. Folders stay: the publisher may be about to write into one of them.
    fn remove_below(&self, base: &Base) -> Result<(), JournalError> {
        let mut touched = BTreeSet::new();
        self.remove_segments_below(base, &mut touched)?;
        for tile in tiles_below(base.from, base.minimum) {
            self.unlink(&self.dir.path.join(tile.path()), &mut touched)?;
        }
        self.flush_folders(touched)
    }

    fn remove_segments_below(
        &self,
        base: &Base,
        touched: &mut BTreeSet<PathBuf>,
    ) -> Result<(), JournalError> {
        for ordinal in segment::list(&self.dir)? {
            if ordinal < base.segment {
                self.unlink(&segment::path(&self.dir.path, ordinal), touched)?;
            }
        }
        Ok(())
    }

    fn flush_folders(&self, touched: BTreeSet<PathBuf>) -> Result<(), JournalError> {
        for folder in touched {
            self.dir
                .disk
                .sync_folder(&folder)
                .map_err(JournalError::file("flushing", &folder))?;
        }
        Ok(())
    }

    fn unlink(&self, path: &Path, touched: &mut BTreeSet<PathBuf>) -> Result<(), JournalError> {
        match self.dir.disk.remove_file(path) {
            Ok(()) => {
                touched.extend(path.parent().map(Path::to_owned));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(JournalError::file("removing", path)(error)),
        }
    }
}
