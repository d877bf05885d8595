//! Opening a log: reading every entry, cutting a torn tail, refusing damage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bailiwick_audit::checkpoint::Checkpoint;
use bailiwick_audit::entry::Leaf;
use bailiwick_base::Digest;

use crate::base::{self, Base};
use crate::cursor::{Cursor, Milestones, Place, Sums, Tail};
use crate::disk::{Dir, DiskFile};
use crate::error::JournalError;
use crate::frame::SegmentHead;
use crate::segment;

/// What was found when the log was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Entries in the log.
    pub entries: u64,
    /// Segments in use.
    pub segments: u64,
    /// Entries that the stored checkpoint covers; the rest is integrated now.
    pub integrated: u64,
    /// What was cut off, when a crash had torn the last flush. No caller was ever told that it is durable.
    pub cut: Option<Cut>,
}

/// A torn flush that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Segment file.
    pub path: PathBuf,
    /// Where the torn bytes began, in bytes from the start of the file.
    pub offset: u64,
    /// How many bytes were set to zero.
    pub bytes: u64,
    /// Index of the first entry that was not whole.
    pub index: u64,
}

/// A log that was read to its end and can be continued.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) tail: Place,
    pub(crate) file: Box<dyn DiskFile>,
    /// A prepared segment behind the tail.
    pub(crate) spare: Option<Box<dyn DiskFile>>,
    /// Where the first entry stands that the checkpoint does not cover.
    pub(crate) unpublished: Place,
    /// Last number of each tenant.
    pub(crate) tenant_seqs: BTreeMap<Arc<str>, u64>,
    /// When the first entry of the last segment was recorded, microseconds.
    pub(crate) began: Option<u64>,
    pub(crate) milestones: Arc<Milestones>,
    pub(crate) recovery: Recovery,
}

/// Reads the log in `dir`, or makes its first segment of `first_bytes`.
pub(crate) fn replay(
    dir: &Dir,
    origin: &str,
    first_bytes: u64,
    checkpoint: &Checkpoint,
    base: Option<&Base>,
) -> Result<Replayed, JournalError> {
    let start = base::place_of(base, origin);
    let folder = dir.path.join(segment::FOLDER);
    Dir::new(Arc::clone(&dir.disk), &folder)
        .make(&segment::path(&dir.path, start.ordinal))
        .map_err(JournalError::file("creating", &folder))?;
    let mut ordinals = segment::list(dir)?;
    // Those in front of the base are gone, or about to go.
    ordinals.retain(|ordinal| *ordinal >= start.ordinal);
    let is_pruned = start.ordinal > 0;
    let found = ordinals
        .iter()
        .copied()
        .chain((is_pruned && ordinals.is_empty()).then_some(u64::MAX));
    for (expected, found) in (start.ordinal..).zip(found) {
        if expected != found {
            let path = segment::path(&dir.path, expected);
            return Err(JournalError::Damaged {
                path,
                offset: 0,
                index: start.next,
                reason: "the segment is missing",
            });
        }
    }
    if ordinals.is_empty() {
        segment::prepare(dir, 0, first_bytes, &AtomicBool::new(true))
            .map_err(JournalError::file("preparing", &segment::path(&dir.path, 0)))?;
    }
    let Some(mut cursor) = Cursor::first(dir, start, Sums::Verify)? else {
        return begin(dir, start, checkpoint);
    };
    let milestones = Arc::new(Milestones::default());
    milestones.begin_at(start);
    let (unpublished, tenant_seqs, began) = read_all(&mut cursor, checkpoint, &milestones, base)?;
    let Some(tail) = cursor.tail() else {
        return Err(cursor.damaged(cursor.place().offset, "the log has no end"));
    };
    let last = tail.spare.map_or(tail.place.ordinal, |(ordinal, _)| ordinal);
    if ordinals.last() != Some(&last) {
        return Err(cursor.damaged(tail.place.offset, "segments follow that do not belong to the log"));
    }
    let (file, cut) = close_tail(dir, &tail)?;
    let spare = tail
        .spare
        .map(|(ordinal, not_zero_to)| clean_spare(dir, ordinal, not_zero_to))
        .transpose()?;
    let recovery = Recovery {
        entries: tail.place.next,
        segments: tail.place.ordinal + 1 - start.ordinal,
        integrated: checkpoint.size,
        cut,
    };
    Ok(Replayed {
        tail: tail.place,
        file,
        spare,
        unpublished,
        tenant_seqs,
        began,
        milestones,
        recovery,
    })
}

/// Puts the first segment into use.
fn begin(dir: &Dir, start: Place, checkpoint: &Checkpoint) -> Result<Replayed, JournalError> {
    let path = segment::path(&dir.path, start.ordinal);
    if checkpoint.size > 0 {
        return Err(JournalError::Damaged {
            path,
            offset: 0,
            index: 0,
            reason: "entries under a checkpoint are missing",
        });
    }
    let file = segment::open(dir, 0)?;
    start_segment(&*file, 0, 0, start.before).map_err(JournalError::file("writing", &path))?;
    let milestones = Milestones::default();
    milestones.begin_at(start);
    let tail = start;
    let recovery = Recovery {
        entries: 0,
        segments: 1,
        integrated: 0,
        cut: None,
    };
    Ok(Replayed {
        tail,
        file,
        spare: None,
        unpublished: tail,
        tenant_seqs: BTreeMap::new(),
        began: None,
        milestones: Arc::new(milestones),
        recovery,
    })
}

/// Writes the header of a prepared segment and makes it durable, so that a frame is never without it. Returns
/// the bytes of the file.
pub(crate) fn start_segment(
    file: &dyn DiskFile,
    ordinal: u64,
    first: u64,
    before: Digest,
) -> std::io::Result<u64> {
    let bytes = file.length()?;
    file.write_all_at(
        &SegmentHead {
            ordinal,
            first,
            bytes,
            before,
        }
        .to_bytes(),
        0,
    )?;
    file.sync_data()?;
    Ok(bytes)
}

type TenantSeqs = BTreeMap<Arc<str>, u64>;

/// Reads every entry: leaves are canonical, tenants are numbered without gaps, and the tree at the size of
/// the checkpoint has its root.
fn read_all(
    cursor: &mut Cursor,
    checkpoint: &Checkpoint,
    milestones: &Milestones,
    base: Option<&Base>,
) -> Result<(Place, TenantSeqs, Option<u64>), JournalError> {
    let mut begun: Option<(u64, u64)> = None;
    let mut tree = base.and_then(Base::frontier).unwrap_or_default();
    let tenants = base.into_iter().flat_map(|base| &base.tenants);
    let mut seqs: TenantSeqs = tenants
        .map(|(tenant, last)| (tenant.as_str().into(), *last))
        .collect();
    let mut unpublished = cursor.place();
    if checkpoint.size < tree.size() {
        return Err(cursor.damaged(0, "the checkpoint is older than what was pruned"));
    }
    loop {
        if tree.size() == checkpoint.size {
            unpublished = cursor.place();
            if tree.root() != checkpoint.root {
                return Err(cursor.damaged(
                    unpublished.offset,
                    "the entries do not give the root of the checkpoint",
                ));
            }
        }
        let Place {
            next: index, offset, ..
        } = cursor.place();
        milestones.pass(cursor.place());
        if !cursor.advance()? {
            if tree.size() < checkpoint.size {
                return Err(cursor.damaged(offset, "entries under a checkpoint are missing from here on"));
            }
            return Ok((unpublished, seqs, begun.map(|(_, at)| at)));
        }
        let place = cursor.place();
        let Some((frame, hash)) = cursor.frame()? else {
            return Err(cursor.damaged(offset, "the entry changed while it was read"));
        };
        let leaf = Leaf::decode(frame.leaf).map_err(|source| JournalError::Leaf { index, source })?;
        if begun.is_none_or(|(ordinal, _)| ordinal != place.ordinal) {
            begun = Some((place.ordinal, leaf.at));
        }
        let follows = match seqs.get_mut(leaf.tenant_ref) {
            Some(last) => {
                *last += 1;
                *last == leaf.tenant_seq
            }
            None => {
                seqs.insert(Arc::from(leaf.tenant_ref), leaf.tenant_seq);
                leaf.tenant_seq == bailiwick_audit::entry::TENANT_SEQ_FIRST
            }
        };
        if !follows {
            return Err(cursor.damaged(offset, "the tenant's entries are not numbered without gaps"));
        }
        tree.append(hash).map_err(|error| JournalError::Append {
            index,
            source: error.into(),
        })?;
    }
}

impl Tail {
    /// What a torn flush left behind the last whole entry.
    pub(crate) fn cut(&self, dir: &Path) -> Option<Cut> {
        let Place {
            ordinal,
            offset,
            next,
            ..
        } = self.place;
        let path = segment::path(dir, ordinal);
        self.torn_to.map(|end| Cut {
            path,
            offset,
            bytes: end - offset,
            index: next,
        })
    }
}

/// Sets a torn flush to zero, so that its bytes can never come back, and makes what was read durable: after
/// a kill it may be in the page cache only.
fn close_tail(dir: &Dir, tail: &Tail) -> Result<(Box<dyn DiskFile>, Option<Cut>), JournalError> {
    let ordinal = tail.place.ordinal;
    let (path, file) = (segment::path(&dir.path, ordinal), segment::open(dir, ordinal)?);
    let cut = tail.cut(&dir.path);
    if let Some(cut) = &cut {
        zero(&*file, cut.offset, cut.bytes).map_err(JournalError::file("cutting the tail", &path))?;
    }
    file.sync_all().map_err(JournalError::file("flushing", &path))?;
    Ok((file, cut))
}

fn clean_spare(dir: &Dir, ordinal: u64, not_zero_to: Option<u64>) -> Result<Box<dyn DiskFile>, JournalError> {
    let (path, file) = (segment::path(&dir.path, ordinal), segment::open(dir, ordinal)?);
    if let Some(end) = not_zero_to {
        zero(&*file, 0, end).map_err(JournalError::file("cutting the header", &path))?;
        file.sync_data().map_err(JournalError::file("flushing", &path))?;
    }
    Ok(file)
}

fn zero(file: &dyn DiskFile, from: u64, bytes: u64) -> std::io::Result<()> {
    let zeros = vec![0_u8; 1 << 16];
    let mut done = 0;
    while done < bytes {
        let piece = usize::try_from(bytes - done)
            .unwrap_or(zeros.len())
            .min(zeros.len());
        file.write_all_at(zeros.get(..piece).unwrap_or(&zeros), from + done)?;
        done += piece as u64;
    }
    Ok(())
}
