//! Entries back out of the segments, in order.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bailiwick_audit::checkpoint::Checkpoint;
use bailiwick_audit::entry::Leaf;
use bailiwick_audit::merkle::leaf_hash;
use bailiwick_base::{Sealer, TenantId};

use crate::base;
use crate::cursor::{Cursor, Milestones, Place, Sums};
use crate::disk::Dir;
use crate::error::JournalError;
use crate::frame::Frame;
use crate::log::payload_context;
use crate::replay::Cut;
use crate::segment;

/// How often a reader looks again before it calls what it saw damage.
const LOOKS: u32 = 4;

/// Places of one log that readers have passed, so that the next reader need not begin at the first entry.
#[derive(Debug, Default)]
pub struct Passed(Milestones);

/// Reads a log's entries from the first one that is kept, verifying every frame. Also reads a log that is being written,
/// up to what is there.
#[derive(Debug)]
pub struct LogReader {
    dir: Dir,
    cursor: Option<Cursor>,
    cut: Option<Cut>,
    passed: Option<Arc<Passed>>,
}

/// One entry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its index.
    pub index: u64,
    /// The canonical bytes in the tree.
    pub leaf: Vec<u8>,
    /// The encrypted payload.
    pub sealed: Vec<u8>,
}

impl LogReader {
    /// In front of the first entry that is kept of the log of `origin` in `dir`.
    ///
    /// # Errors
    /// [`JournalError`] when the first segment cannot be read.
    pub fn open(dir: &Path, origin: &str) -> Result<Self, JournalError> {
        let dir = Dir::of_machine(dir);
        Ok(Self {
            cursor: Cursor::first(&dir, base::start(&dir, origin)?, Sums::Verify)?,
            dir,
            cut: None,
            passed: None,
        })
    }

    /// In front of entry `index`, or of the first one that is kept, or behind the last one. Begins at the nearest place that
    /// was `passed` before, and notes those it passes.
    ///
    /// # Errors
    /// As [`LogReader::open`] and [`LogReader::next_entry`].
    pub fn seek(dir: &Path, origin: &str, passed: &Arc<Passed>, index: u64) -> Result<Self, JournalError> {
        let dir = Dir::of_machine(dir);
        let start = base::start(&dir, origin)?;
        // A place that was passed may be gone meanwhile.
        let cursor = match passed
            .0
            .nearest(index)
            .filter(|place| place.ordinal >= start.ordinal)
        {
            Some(place) => Some(Cursor::at(&dir, place, Sums::Verify)?),
            None => Cursor::first(&dir, start, Sums::Verify)?,
        };
        let mut reader = Self {
            dir,
            cursor,
            cut: None,
            passed: Some(Arc::clone(passed)),
        };
        while reader.cursor.as_ref().is_some_and(|c| c.place().next < index) {
            if !reader.advance()? {
                break;
            }
        }
        Ok(reader)
    }

    /// The entries of `range`, which must be durable (nobody may pass a place that a crash takes away), until they
    /// have `bytes_max`: the one that goes beyond is the last.
    ///
    /// # Errors
    /// As [`LogReader::open`] and [`LogReader::next_entry`].
    pub fn page(
        dir: &Path,
        origin: &str,
        passed: &Arc<Passed>,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<LogEntry>, JournalError> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        if range.is_empty() {
            return Ok(page);
        }
        let mut reader = Self::seek(dir, origin, passed, range.start)?;
        while bytes < bytes_max && reader.place().is_some_and(|place| place.next < range.end) {
            let Some(entry) = reader.next_entry()? else {
                break;
            };
            bytes += entry.leaf.len() + entry.sealed.len();
            page.push(entry);
        }
        Ok(page)
    }

    /// The torn flush behind the last whole entry, once [`LogReader::next_entry`] has found the end. In a log
    /// that is being written it may also be a flush under way.
    #[must_use]
    pub fn cut(&self) -> Option<&Cut> {
        self.cut.as_ref()
    }

    /// The next entry; `None` behind the last whole one. A torn tail is not an error here.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] with the place.
    pub fn next_entry(&mut self) -> Result<Option<LogEntry>, JournalError> {
        if !self.advance()? {
            return Ok(None);
        }
        let Some(cursor) = &mut self.cursor else {
            return Ok(None);
        };
        let frame = cursor.frame()?;
        Ok(frame.map(|(frame, _)| LogEntry::from_frame(&frame)))
    }

    fn place(&self) -> Option<Place> {
        self.cursor.as_ref().map(Cursor::place)
    }

    /// Goes to the next frame; `false` behind the last whole one.
    fn advance(&mut self) -> Result<bool, JournalError> {
        let Some(cursor) = &mut self.cursor else {
            return Ok(false);
        };
        if let Some(passed) = &self.passed {
            passed.0.pass(cursor.place());
        }
        let mut found = cursor.advance();
        // A log that is being written may have grown between two reads: look again before saying so.
        for _ in 0..LOOKS {
            if !matches!(found, Err(JournalError::Damaged { .. })) {
                break;
            }
            cursor.refresh();
            found = cursor.advance();
        }
        let found = found?;
        if !found {
            self.cut = cursor.tail().and_then(|tail| tail.cut(&self.dir.path));
            cursor.refresh();
        }
        Ok(found)
    }
}

/// Reads every segment of the log of `origin` in `dir` to its end and changes nothing: each frame verifies, and the
/// entries give the root of `checkpoint`. Also of a log that is being written or pruned, where `checkpoint` was read
/// first; then an error may be that of a file which went away meanwhile. Returns how many entries there are.
///
/// # Errors
/// [`JournalError::Damaged`] with the place; as [`LogReader::open`].
pub fn verify_segments(dir: &Path, origin: &str, checkpoint: &Checkpoint) -> Result<u64, JournalError> {
    let on_disk = Dir::of_machine(dir);
    let kept = base::read(&on_disk, origin)?;
    let start = base::place_of(kept.as_ref().map(|kept| &kept.base), origin);
    let last = segment::list(&on_disk)?.pop();
    let mut tree = kept.and_then(|kept| kept.base.frontier()).unwrap_or_default();
    let mut reader = LogReader::open(dir, origin)?;
    let damaged = |place: Place, reason| JournalError::Damaged {
        path: segment::path(dir, place.ordinal),
        offset: place.offset,
        index: place.next,
        reason,
    };
    loop {
        let place = reader.place().unwrap_or(start);
        if tree.size() == checkpoint.size && tree.root() != checkpoint.root {
            return Err(damaged(
                place,
                "the entries do not give the root of the checkpoint",
            ));
        }
        let Some(entry) = reader.next_entry()? else {
            break;
        };
        tree.append(leaf_hash(&entry.leaf))
            .map_err(|error| JournalError::Append {
                index: entry.index,
                source: error.into(),
            })?;
    }
    let end = reader.place().unwrap_or(start);
    if tree.size() < checkpoint.size {
        return Err(damaged(
            end,
            "entries under a checkpoint are missing from here on",
        ));
    }
    // One that follows may be prepared already.
    if last.is_some_and(|last| last > end.ordinal + 1) {
        return Err(damaged(end, "segments follow that do not belong to the log"));
    }
    Ok(tree.size())
}

impl Iterator for LogReader {
    type Item = Result<LogEntry, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}

impl LogEntry {
    pub(crate) fn from_frame(frame: &Frame<'_>) -> Self {
        Self {
            index: frame.head.index,
            leaf: frame.leaf.to_vec(),
            sealed: frame.sealed.to_vec(),
        }
    }

    /// The leaf.
    ///
    /// # Errors
    /// [`JournalError::Leaf`] when the bytes are not canonical.
    pub fn leaf(&self) -> Result<Leaf<'_>, JournalError> {
        Leaf::decode(&self.leaf).map_err(|source| JournalError::Leaf {
            index: self.index,
            source,
        })
    }

    /// The payload, opened and compared with the leaf's commitment. `tenant` is whose entry it is.
    ///
    /// # Errors
    /// [`JournalError::Leaf`], [`JournalError::Seal`].
    pub fn open(&self, sealer: &dyn Sealer, tenant: Option<&TenantId>) -> Result<Vec<u8>, JournalError> {
        let index = self.index;
        let commitment = self.leaf()?.commitment;
        let seal = |source| JournalError::Seal { index, source };
        let context = payload_context(tenant, &commitment);
        let payload = sealer.open(&context, &self.sealed).map_err(seal)?;
        if sealer.commit(tenant, &payload).map_err(seal)? != commitment {
            let (table, column) = (context.table, context.column);
            return Err(seal(bailiwick_base::SealError::DoesNotOpen { table, column }));
        }
        Ok(payload)
    }
}
