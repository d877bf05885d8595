//! Entries back out of the segments, in order.

use std::path::{Path, PathBuf};

use bailiwick_audit::entry::Leaf;
use bailiwick_base::{Sealer, TenantId};

use crate::cursor::{Cursor, Sums};
use crate::error::JournalError;
use crate::frame::Frame;
use crate::log::payload_context;
use crate::replay::Cut;

/// How often a reader looks again before it calls what it saw damage.
const LOOKS: u32 = 4;

/// Reads a log's entries from the first one, verifying every frame. Also reads a log that is being written,
/// up to what is there.
#[derive(Debug)]
pub struct LogReader {
    dir: PathBuf,
    cursor: Option<Cursor>,
    cut: Option<Cut>,
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
    /// In front of the first entry of the log of `origin` in `dir`.
    ///
    /// # Errors
    /// [`JournalError`] when the first segment cannot be read.
    pub fn open(dir: &Path, origin: &str) -> Result<Self, JournalError> {
        Ok(Self {
            dir: dir.to_owned(),
            cursor: Cursor::first(dir, origin, Sums::Verify)?,
            cut: None,
        })
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
        let Some(cursor) = &mut self.cursor else {
            return Ok(None);
        };
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
            self.cut = cursor.tail().and_then(|tail| tail.cut(&self.dir));
            cursor.refresh();
            return Ok(None);
        }
        let frame = cursor.frame()?;
        Ok(frame.map(|(frame, _)| LogEntry::from_frame(&frame)))
    }
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
